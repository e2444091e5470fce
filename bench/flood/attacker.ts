// One flood, as a process of its own: attacks a gateway on 127.0.0.1 for some seconds and then tells, as
// a line of JSON, what it sent and how soon it was cut. Its priority is low: what it takes of
// its CPU, the load of the bystanders must not miss.
//   node bench/flood/attacker.ts FLOOD PORT TLS-PORT SECONDS

import { once } from "node:events";
import { writeFileSync } from "node:fs";
import net from "node:net";
import os from "node:os";
import tls from "node:tls";
import {
  END_HEADERS,
  END_STREAM,
  FRAME,
  frame,
  literals,
  uint32,
} from "../../test/support/h2-raw.ts";
import { HOST } from "../peers/peer.ts";

const PRIORITY = 10;
/** Written at once: more than a turn of the gateway's loop reads of one socket. */
const BATCH_BYTES = 4 * 2 ** 20;
/** A flood that is cut comes again so soon. */
const AGAIN_MS = 1_000;
const SLOW_HEADS = 1_000;
const HANDSHAKES_PER_SECOND = 1_000;
const BURST_MS = 20;
const PREFACE = Buffer.concat([
  Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
  frame(FRAME.SETTINGS),
]);

/** What a run of a flood came to. */
export type AttackReport = {
  /** Frames written to sockets, or connections opened where those are the flood. */
  sent: number;
  connections: number;
  /** From the first byte to the end, of each connection that was cut. */
  readonly cutMs: number[];
};

type FrameFlood = {
  /** Sent once on each connection. */
  readonly opening?: Buffer;
  readonly frames: (stream: number) => readonly Buffer[];
  /** Each round of frames has a stream of its own. */
  readonly isNumbered?: boolean;
};

/** The header block of a request that the gateway forwards. */
const REQUEST = literals([
  [":method", "POST"],
  [":scheme", "http"],
  [":path", "/api/x"],
  [":authority", HOST],
]);
const UPLOAD = frame(FRAME.HEADERS, {
  stream: 1,
  flags: END_HEADERS,
  payload: Buffer.concat([REQUEST, literals([["content-length", "1000000000"]])]),
});

export const FRAME_FLOODS: Readonly<Record<string, FrameFlood>> = {
  "rapid reset": {
    isNumbered: true,
    frames: (stream) => [
      frame(FRAME.HEADERS, {
        stream,
        flags: END_HEADERS | END_STREAM,
        payload: REQUEST,
      }),
      frame(FRAME.RST_STREAM, { stream, payload: uint32(8) }),
    ],
  },
  CONTINUATION: {
    opening: frame(FRAME.HEADERS, { stream: 1, flags: END_STREAM, payload: REQUEST }),
    frames: () => [
      frame(FRAME.CONTINUATION, { stream: 1, payload: literals([["x-fill", "y".repeat(100)]]) }),
    ],
  },
  PING: { frames: () => [frame(FRAME.PING, { payload: Buffer.alloc(8) })] },
  SETTINGS: { frames: () => [frame(FRAME.SETTINGS)] },
  WINDOW_UPDATE: { frames: () => [frame(FRAME.WINDOW_UPDATE, { payload: uint32(1) })] },
  "empty DATA": { opening: UPLOAD, frames: () => [frame(FRAME.DATA, { stream: 1 })] },
  "DATA of 1 byte": {
    opening: UPLOAD,
    frames: () => [frame(FRAME.DATA, { stream: 1, payload: Buffer.alloc(1) })],
  },
};

/** Every flood, as they are listed. */
export const FLOODS: readonly string[] = [...Object.keys(FRAME_FLOODS), "slow heads", "handshakes"];

type Target = { readonly port: number; readonly tlsPort: number; readonly durationMs: number };

const report: AttackReport = { sent: 0, connections: 0, cutMs: [] };

if (import.meta.main) {
  yieldCpu();
  const [name, port, tlsPort, seconds] = process.argv.slice(2);
  const hello = await clientHello();
  const flood = FRAME_FLOODS[name];
  const batch = flood === undefined ? Buffer.alloc(0) : batchOf(flood);
  const target: Target = {
    port: Number(port),
    tlsPort: Number(tlsPort),
    durationMs: Number(seconds) * 1_000,
  };
  if (name === "slow heads") await openSlowHeads(target);
  process.stdout.write("ready\n");
  setTimeout(() => {
    process.stdout.write(`${JSON.stringify(report)}\n`, () => process.exit());
  }, target.durationMs);
  if (name === "handshakes") cutHandshakes(target, hello);
  else if (flood !== undefined) {
    floodFrames(target, { flood, batch, frameBytes: batch.length / framesIn(batch) });
  }
}

// Linux may weigh sessions of processes against each other, and then only the session's priority counts.
function yieldCpu(): void {
  os.setPriority(PRIORITY);
  try {
    writeFileSync("/proc/self/autogroup", String(PRIORITY));
  } catch {
    // This kernel weighs processes only.
  }
}

function batchOf({ frames, isNumbered }: FrameFlood): Buffer {
  const one = frames(1);
  if (isNumbered !== true) {
    const bytes = Buffer.concat(one);
    return Buffer.concat(Array<Buffer>(Math.ceil(BATCH_BYTES / bytes.length)).fill(bytes));
  }
  const all: Buffer[] = [];
  for (let size = 0, stream = 1; size < BATCH_BYTES / 4; stream += 2) {
    const bytes = Buffer.concat(frames(stream));
    size += bytes.length;
    all.push(bytes);
  }
  return Buffer.concat(all);
}

function framesIn(batch: Buffer): number {
  let count = 0;
  for (let at = 0; at < batch.length; at += 9 + batch.readUIntBE(at, 3)) count++;
  return count;
}

/** One connection at a time, at full speed; cut, it comes again. */
function floodFrames(
  target: Target,
  what: { readonly flood: FrameFlood; readonly batch: Buffer; readonly frameBytes: number },
): void {
  const { flood, batch, frameBytes } = what;
  const socket = net.connect(target.port, "127.0.0.1");
  report.connections++;
  let startMs = 0;
  socket.on("error", () => {});
  socket.on("close", () => {
    report.sent += Math.trunc(
      Math.max(0, socket.bytesWritten - socket.writableLength) / frameBytes,
    );
    report.cutMs.push(performance.now() - startMs);
    setTimeout(() => floodFrames(target, what), AGAIN_MS);
  });
  socket.on("connect", () => {
    startMs = performance.now();
    socket.write(PREFACE);
    socket.write(frame(FRAME.SETTINGS, { flags: 1 }));
    if (flood.opening !== undefined) socket.write(flood.opening);
    socket.write(batch);
  });
  socket.on("drain", () => {
    // Numbers of streams would repeat.
    if (flood.isNumbered !== true) socket.write(batch);
  });
  socket.resume();
}

/** Opens connections that each send a header field a second, and never the end of the head. */
async function openSlowHeads({ port }: Target): Promise<void> {
  for (let i = 0; i < SLOW_HEADS; i++) {
    const socket = net.connect(port, "127.0.0.1");
    const startMs = performance.now();
    socket.on("error", () => {});
    socket.on("close", () => report.cutMs.push(performance.now() - startMs));
    await once(socket, "connect");
    report.connections++;
    socket.resume().write(`GET /api/x HTTP/1.1\r\nhost: ${HOST}\r\n`);
    const tell = () => {
      report.sent++;
      socket.write("x-fill: y\r\n");
      setTimeout(tell, 1_000);
    };
    // Not all in the same moment.
    setTimeout(tell, (i / SLOW_HEADS) * 1_000);
  }
}

/** New connections at a rate; each leaves when the server has answered its first message. */
function cutHandshakes({ tlsPort }: Target, hello: Buffer): void {
  let lastMs = performance.now();
  setInterval(() => {
    const nowMs = performance.now();
    // What was missed is not made up for: no burst, rather a lower rate.
    const elapsedMs = Math.min(nowMs - lastMs, BURST_MS);
    const count = Math.round((elapsedMs / 1_000) * HANDSHAKES_PER_SECOND);
    if (count > 0) lastMs = nowMs;
    for (let i = 0; i < count; i++) {
      report.connections++;
      const socket = net.connect(tlsPort, "127.0.0.1");
      socket.on("error", () => {});
      socket.on("data", () => {
        report.sent++;
        socket.destroy();
      });
      socket.write(hello);
    }
  }, 1);
}

/** The first message of a client of Node, which a server must answer with a key and a signature. */
async function clientHello(): Promise<Buffer> {
  const { promise, resolve } = Promise.withResolvers<Buffer>();
  const server = net.createServer((socket) => socket.once("data", resolve));
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  const { port } = server.address() as net.AddressInfo;
  const client = tls.connect({ host: "127.0.0.1", port, servername: HOST });
  client.on("error", () => {});
  const hello = await promise;
  client.destroy();
  server.close();
  return hello;
}
