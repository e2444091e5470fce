// Frames that carry nothing, from an HTTP/2 client that reads every answer: each flood ends with its
// connection, soon and counted, although idle bounds are at their defaults. Clients that talk a lot for
// good reasons are not taken for floods.

import assert from "node:assert/strict";
import { once } from "node:events";
import http2 from "node:http2";
import net from "node:net";
import { test } from "node:test";
import type { TestContext } from "node:test";
import tls from "node:tls";
import { Authority } from "../support/certificates.ts";
import { startEdge, tlsOptions } from "../support/edge.ts";
import type { Edge, EdgeOptions } from "../support/edge.ts";
import { h2Origin } from "../support/h2-origin.ts";
import {
  END_HEADERS,
  END_STREAM,
  FRAME,
  RawH2,
  SETTINGS_INITIAL_WINDOW,
  connectRawH2,
  frame,
  request,
  settings,
  uint32,
} from "../support/h2-raw.ts";
import { h2Session, until } from "../support/h2-websocket.ts";
import { rawOrigin } from "../support/raw.ts";
import type { Config } from "../../gateway/config/schema.ts";
import { LISTENER_ROW } from "../../gateway/telemetry/metrics.ts";

const { NGHTTP2_ENHANCE_YOUR_CALM, NGHTTP2_INTERNAL_ERROR } = http2.constants;
const MIB = 1_048_576;
const PRIORITY = 2;
const UNKNOWN = 0xee;
const LARGE = 50 * MIB;
const BATCH = 200;
const FLOOD_MAX = 64 * MIB;
const CUT_MS = 2_000;

const UPLOAD = frame(FRAME.HEADERS, {
  stream: 1,
  flags: END_HEADERS,
  payload: request("/upload", [["content-length", "1000000"]]),
});
const ping = frame(FRAME.PING, { payload: Buffer.alloc(8) });
const windowUpdate = (stream: number, by: number) =>
  frame(FRAME.WINDOW_UPDATE, { stream, payload: uint32(by) });

type Flood = {
  readonly what: string;
  /** Sent once, before. */
  readonly opening?: Buffer;
  readonly bytes: Buffer;
  /** Each is answered, and the answers are waited for: else the queue of them would end it. */
  readonly isAnswered?: boolean;
  /** When they cost more than the tick of the watch allows for. */
  readonly bytesMax?: number;
  /** How it is told why; ENHANCE_YOUR_CALM. */
  readonly code?: number;
};

const FLOODS: readonly Flood[] = [
  { what: "PING", bytes: ping, isAnswered: true },
  { what: "empty SETTINGS", bytes: frame(FRAME.SETTINGS), isAnswered: true },
  {
    what: "SETTINGS",
    bytes: frame(FRAME.SETTINGS, { payload: settings(SETTINGS_INITIAL_WINDOW, 65_535) }),
    isAnswered: true,
  },
  { what: "WINDOW_UPDATE", bytes: windowUpdate(0, 1) },
  { what: "WINDOW_UPDATE of a stream", opening: UPLOAD, bytes: windowUpdate(1, 1) },
  { what: "PRIORITY", bytes: frame(PRIORITY, { stream: 3, payload: Buffer.alloc(5, 1) }) },
  { what: "frames of no known type", bytes: frame(UNKNOWN) },
  // node:http2's own bound on these says it otherwise.
  {
    what: "empty DATA",
    opening: UPLOAD,
    bytes: frame(FRAME.DATA, { stream: 1 }),
    code: NGHTTP2_INTERNAL_ERROR,
  },
  {
    what: "DATA of one byte each",
    opening: UPLOAD,
    bytes: frame(FRAME.DATA, { stream: 1, payload: Buffer.alloc(1) }),
    bytesMax: 100_000,
  },
];

function abused(edge: Edge): number {
  return edge.metrics.snapshot().listeners.rows[LISTENER_ROW.abused];
}

function startTarget(t: TestContext, rest: Partial<EdgeOptions> = {}): Promise<Edge> {
  const config = { routes: [{ name: "echo", echo: true, timeout_ms: 0 }] };
  return startEdge(t, { http2: true, config, ...rest });
}

/** An origin that answers with LARGE bytes, and the routes to it. */
async function largeOrigin(t: TestContext) {
  const origin = await rawOrigin(t, (socket, received) => {
    if (!received.endsWith("\r\n\r\n")) return;
    socket.write(`HTTP/1.1 200 OK\r\ncontent-length: ${LARGE}\r\n\r\n`);
    socket.write(Buffer.alloc(LARGE));
  });
  const config: Config = {
    upstreams: [{ name: "origin", targets: [{ address: origin.address }] }],
    routes: [{ name: "all", upstream: "origin" }],
  };
  return { origin, config };
}

/** Floods until the end; tells how long that took. */
async function endOf(attacker: RawH2, { opening, bytes, isAnswered }: Flood): Promise<number> {
  if (opening !== undefined) attacker.send(opening);
  const startMs = performance.now();
  const batch = Buffer.concat(Array(BATCH).fill(bytes));
  while (!attacker.isClosed && attacker.bytesSent < FLOOD_MAX) {
    const expected = attacker.frames.length + (isAnswered === true ? BATCH : 0);
    attacker.send(batch);
    await new Promise((resolve) => setImmediate(resolve));
    await until(() => attacker.isClosed || attacker.frames.length >= expected);
  }
  await until(() => attacker.isClosed);
  return performance.now() - startMs;
}

for (const flood of FLOODS) {
  test(`a flood of ${flood.what} ends its connection, and is counted`, async (t) => {
    const edge = await startTarget(t);
    const attacker = await connectRawH2(t, edge.port);
    const tookMs = await endOf(attacker, flood);
    assert.ok(attacker.bytesSent < (flood.bytesMax ?? FLOOD_MAX), `${attacker.bytesSent} bytes`);
    assert.ok(tookMs < CUT_MS, `${tookMs} ms`);
    assert.equal(attacker.goawayCode, flood.code ?? NGHTTP2_ENHANCE_YOUR_CALM);
    assert.equal(abused(edge), 1);
  });
}

test("refused heads count as resets do", async (t) => {
  const edge = await startTarget(t);
  const attacker = await connectRawH2(t, edge.port);
  const payload = request("/", [["host", "b.test"]]);
  for (let stream = 1; !attacker.isClosed && stream < 2_000; stream += 2) {
    attacker.send(frame(FRAME.HEADERS, { stream, flags: END_HEADERS | END_STREAM, payload }));
    await until(() => attacker.isClosed || attacker.frames.some((got) => got.stream === stream));
  }
  await until(() => attacker.isClosed);
  assert.equal(attacker.goawayCode, NGHTTP2_ENHANCE_YOUR_CALM);
  assert.equal(abused(edge), 1);
});

test("the bytes of a flood are seen within TLS too", async (t) => {
  const { cert, key } = new Authority("ca").make({ dns: ["a.test"] });
  const edge = await startTarget(t, { tls: tlsOptions([{ cert, key }]) });
  const socket = tls.connect({
    host: "127.0.0.1",
    port: edge.port,
    rejectUnauthorized: false,
    ALPNProtocols: ["h2"],
  });
  t.after(() => socket.destroy());
  await once(socket, "secureConnect");
  const attacker = new RawH2(socket);
  attacker.send(Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), frame(FRAME.SETTINGS));
  const tookMs = await endOf(attacker, { what: "WINDOW_UPDATE", bytes: windowUpdate(0, 1) });
  assert.ok(tookMs < CUT_MS, `${tookMs} ms`);
  assert.equal(attacker.goawayCode, NGHTTP2_ENHANCE_YOUR_CALM);
});

test("a client that is cut and neither reads nor leaves does not keep its socket", async (t) => {
  const { origin, config } = await largeOrigin(t);
  const edge = await startTarget(t, { config });
  const attacker = await connectRawH2(t, edge.port, [SETTINGS_INITIAL_WINDOW, 2 ** 31 - 1]);
  attacker.socket.pause();
  const head = { stream: 1, flags: END_HEADERS | END_STREAM, payload: request("/") };
  attacker.send(windowUpdate(0, 2 ** 30), frame(FRAME.HEADERS, head));
  // Every buffer on the way is full when the origin's no longer shrinks.
  let [left, sinceMs] = [Infinity, 0];
  await until(() => {
    const now = origin.sockets[0]?.writableLength ?? Infinity;
    if (now !== left) [left, sinceMs] = [now, performance.now()];
    return left > 0 && left < Infinity && performance.now() - sinceMs > 200;
  });
  attacker.send(Buffer.concat(Array<Buffer>(200 * BATCH).fill(windowUpdate(0, 1))));
  await until(() => abused(edge) === 1);
  await until(() => edge.host.connectionCount === 0);
});

test("nor does one that is told to go for being idle, and stays", async (t) => {
  const edge = await startTarget(t, { timeouts: { idle_ms: 100 } });
  const socket = net.connect({ port: edge.port, host: "127.0.0.1", allowHalfOpen: true });
  t.after(() => socket.destroy());
  socket.on("error", () => {});
  const client = new RawH2(socket);
  client.send(Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), frame(FRAME.SETTINGS));
  await once(socket, "end", { signal: AbortSignal.timeout(10_000) });
  await until(() => edge.host.connectionCount === 0);
});

test("a ping a time is answered each time, a thousand times", async (t) => {
  const edge = await startTarget(t);
  const session = await h2Session(t, edge.port);
  for (let i = 0; i < 1_000; i++) {
    await new Promise<void>((resolve, reject) => {
      session.ping((error) => (error === null ? resolve() : reject(error)));
    });
  }
  assert.equal(abused(edge), 0);
});

test("a download whose client opens its windows by the kilobyte is whole", async (t) => {
  const { config } = await largeOrigin(t);
  const edge = await startTarget(t, { config });
  const client = await connectRawH2(t, edge.port);
  let received = 0;
  let opened = 0;
  let isWhole = false;
  client.socket.on("data", (chunk: Buffer) => {
    received += chunk.length;
    const updates: Buffer[] = [];
    for (; opened + 1_024 <= received; opened += 1_024) {
      updates.push(windowUpdate(0, 1_024), windowUpdate(1, 1_024));
    }
    // As gRPC measures a connection while it receives.
    if (updates.length > 0) client.send(...updates, ping);
    isWhole ||= client.frames.some(
      ({ type, flags }) => type === FRAME.DATA && flags === END_STREAM,
    );
    // Kept they would be 50 MiB.
    client.frames.length = 0;
  });
  const head = { stream: 1, flags: END_HEADERS | END_STREAM, payload: request("/") };
  client.send(frame(FRAME.HEADERS, head));
  await until(() => isWhole || client.isClosed);
  assert.ok(received > LARGE);
  assert.equal(abused(edge), 0);
});

test("a thousand streams at a time in both directions, ten messages on each", async (t) => {
  const origin = await h2Origin(t, (stream) => {
    stream.respond({ ":status": 200 });
    stream.pipe(stream);
  });
  const config = {
    upstreams: [
      { name: "origin", protocol: "http2" as const, targets: [{ address: origin.address }] },
    ],
    routes: [{ name: "all", upstream: "origin", timeout_ms: 0 }],
  };
  const edge = await startTarget(t, { config });
  const sessions = await Promise.all(Array.from({ length: 10 }, () => h2Session(t, edge.port)));
  const message = Buffer.alloc(16);
  const speak = async (stream: http2.ClientHttp2Stream) => {
    stream.write(message);
    await once(stream, "data", { signal: AbortSignal.timeout(20_000) });
  };
  const streams: http2.ClientHttp2Stream[] = [];
  for (const session of sessions) {
    const opened = Array.from({ length: 100 }, () =>
      session.request({ ":method": "POST", ":path": "/both" }),
    );
    await Promise.all(opened.map(speak));
    streams.push(...opened);
  }
  const echoed = streams.map(async (stream) => {
    for (let i = 0; i < 9; i++) await speak(stream);
    return stream.closed;
  });
  assert.deepEqual(new Set(await Promise.all(echoed)), new Set([false]));
  assert.equal(abused(edge), 0);
});

test("uploads that are refused early, with bytes of them under way, are no flood", async (t) => {
  const config = { routes: [{ name: "no", respond: { status: 401 } }] };
  const edge = await startTarget(t, { config });
  const client = await connectRawH2(t, edge.port);
  const payload = request("/", [["content-length", "1000000"]]);
  const data = Buffer.alloc(15_000);
  const body = (stream: number) => frame(FRAME.DATA, { stream, payload: data });
  for (let stream = 1; stream < 200; stream += 2) {
    client.send(frame(FRAME.HEADERS, { stream, flags: END_HEADERS, payload }));
    await client.until((got) => got.stream === stream && got.type === FRAME.RST_STREAM);
    client.send(body(stream), body(stream));
    const sent = 30_000 * ((stream + 1) / 2);
    await until(() => client.isClosed || windowOf(client) - sent > 30_000);
  }
  assert.equal(client.isClosed, false);
  assert.equal(abused(edge), 0);
});

/** How much the server let its client send on the connection, ever. */
function windowOf({ frames }: RawH2): number {
  const updates = frames.filter(({ type, stream }) => type === FRAME.WINDOW_UPDATE && stream === 0);
  return updates.reduce((sum, { payload }) => sum + payload.readUInt32BE(), 65_535);
}
