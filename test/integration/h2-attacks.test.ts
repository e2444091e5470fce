// What an HTTP/2 client can do to harm others, frame by frame: floods, bombs and stalls. Each attack must
// end by itself, after a bounded number of bytes, while a bystander on a connection of its own is served
// on, and the process (attacker, gateway and bystander together) must not grow beyond MEMORY_MAX.

import assert from "node:assert/strict";
import http2 from "node:http2";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { startEdge } from "../support/edge.ts";
import type { Edge } from "../support/edge.ts";
import {
  END_HEADERS,
  END_STREAM,
  FRAME,
  RawH2,
  SETTINGS_INITIAL_WINDOW,
  connectRawH2,
  frame,
  indexed,
  literals,
  references,
  request,
  settings,
  uint32,
} from "../support/h2-raw.ts";
import { h2Session, until } from "../support/h2-websocket.ts";
import { rawOrigin } from "../support/raw.ts";

const {
  NGHTTP2_ENHANCE_YOUR_CALM,
  NGHTTP2_FLOW_CONTROL_ERROR,
  NGHTTP2_NO_ERROR,
  NGHTTP2_PROTOCOL_ERROR,
} = http2.constants;
const MIB = 1_048_576;
/** V8's young generation alone may take 50 of it; what is not bounded would take hundreds. */
const MEMORY_MAX = 128 * MIB;
const FLOOD_MAX = 32 * MIB;
const IDLE_MS = 500;
const STREAM = { stream: 1, flags: END_HEADERS };
const WHOLE = { stream: 1, flags: END_HEADERS | END_STREAM };

type Setup = { readonly edge: Edge; readonly largeAddress: string };

async function target(t: TestContext, bodyIdleMs = IDLE_MS): Promise<Setup> {
  const large = await rawOrigin(t, (socket, received) => {
    if (!received.endsWith("\r\n\r\n")) return;
    socket.write(`HTTP/1.1 200 OK\r\ncontent-length: ${8 * MIB}\r\n\r\n`);
    socket.write(LARGE);
  });
  const edge = await startEdge(t, {
    http2: true,
    timeouts: { idle_ms: IDLE_MS, body_idle_ms: bodyIdleMs },
    config: {
      upstreams: [{ name: "large", targets: [{ address: large.address }] }],
      routes: [
        { name: "large", match: { paths: [{ prefix: "/large" }] }, upstream: "large" },
        { name: "page", match: { paths: [{ prefix: "/page" }] }, respond: { body: PAGE } },
        { name: "echo", echo: true, timeout_ms: 0 },
      ],
    },
  });
  return { edge, largeAddress: large.address };
}

const LARGE = Buffer.alloc(8 * MIB);
const PAGE = "x".repeat(60_000);

/** Runs an attack; a bystander asks all the while, and memory is watched. */
async function survives(t: TestContext, edge: Edge, attack: () => Promise<void>): Promise<void> {
  const before = process.memoryUsage.rss();
  let bystander = await h2Session(t, edge.port);
  let over = false;
  let served = 0;
  let peak = 0;
  const watch = async () => {
    do {
      // A pause of the whole process can make it idle too: then it is told so, and connects anew.
      if (bystander.closed) bystander = await h2Session(t, edge.port);
      const status = await statusOf(bystander);
      if (status === 200) served++;
      else assert.ok(bystander.closed, `the bystander got ${status}`);
      peak = Math.max(peak, process.memoryUsage.rss() - before);
    } while (!over);
  };
  const attacking = attack().finally(() => (over = true));
  await Promise.all([watch(), attacking]);
  assert.ok(served > 0);
  assert.ok(peak < MEMORY_MAX, `grew by ${(peak / MIB).toFixed(1)} MiB`);
}

async function statusOf(session: http2.ClientHttp2Session): Promise<number> {
  const stream = session.request({ ":path": "/bystander" }, { endStream: true });
  let status = 0;
  stream.on("response", (headers) => (status = Number(headers[":status"])));
  stream.on("error", () => {});
  stream.resume();
  await until(() => stream.closed);
  return status;
}

/** A flood ends with its connection, before so many bytes were sent. */
async function endsFlood(attacker: RawH2, bytes: Buffer): Promise<void> {
  await attacker.flood(bytes, FLOOD_MAX);
  await attacker.closed();
  assert.ok(attacker.bytesSent < FLOOD_MAX, `${attacker.bytesSent} bytes were taken`);
}

test("a head that never ends is cut off", async (t) => {
  for (const size of [0, 1, 10_000]) {
    const { edge } = await target(t);
    const attacker = await connectRawH2(t, edge.port);
    await survives(t, edge, async () => {
      attacker.send(frame(FRAME.HEADERS, { stream: 1, flags: END_STREAM, payload: request("/") }));
      const payload =
        size === 10_000 ? literals([["x-fill", "y".repeat(9_988)]]) : Buffer.alloc(size);
      await endsFlood(attacker, frame(FRAME.CONTINUATION, { stream: 1, payload }));
    });
    assert.ok(attacker.bytesSent < MIB, `${attacker.bytesSent} bytes`);
    assert.equal(edge.finished.filter(({ path }) => path === "/").length, 0);
  }
});

test("answers that pile up because nobody reads them end the connection", async (t) => {
  const floods: readonly (readonly [what: string, bytes: Buffer])[] = [
    ["SETTINGS", frame(FRAME.SETTINGS, { payload: settings(SETTINGS_INITIAL_WINDOW, 65_535) })],
    ["PING", frame(FRAME.PING, { payload: Buffer.alloc(8) })],
  ];
  for (const [what, bytes] of floods) {
    const { edge } = await target(t);
    const attacker = await connectRawH2(t, edge.port);
    attacker.socket.pause();
    await survives(t, edge, () => endsFlood(attacker, Buffer.concat(Array(500).fill(bytes))));
    assert.ok(attacker.isClosed, what);
  }
});

test("nor does a flood whose answers are read keep a connection alive", async (t) => {
  for (const bytes of [
    frame(FRAME.SETTINGS),
    frame(FRAME.PING, { payload: Buffer.alloc(8) }),
    frame(FRAME.WINDOW_UPDATE, { payload: uint32(1) }),
    frame(0xee, { payload: Buffer.alloc(8) }),
  ]) {
    const { edge } = await target(t);
    const attacker = await connectRawH2(t, edge.port);
    const startMs = performance.now();
    await survives(t, edge, () => endsFlood(attacker, Buffer.concat(Array(20).fill(bytes))));
    assert.ok(performance.now() - startMs < 10 * IDLE_MS);
  }
});

test("a flood of empty frames of a body ends the connection", async (t) => {
  const { edge } = await target(t);
  const attacker = await connectRawH2(t, edge.port);
  await survives(t, edge, async () => {
    attacker.send(frame(FRAME.HEADERS, { ...STREAM, payload: request("/") }));
    await endsFlood(attacker, Buffer.concat(Array(100).fill(frame(FRAME.DATA, { stream: 1 }))));
  });
  assert.ok(attacker.bytesSent < MIB, `${attacker.bytesSent} bytes`);
});

test("a window that overflows ends the connection, be it a stream's or its own", async (t) => {
  const { edge } = await target(t);
  for (const stream of [0, 1]) {
    const attacker = await connectRawH2(t, edge.port);
    await survives(t, edge, async () => {
      attacker.send(frame(FRAME.HEADERS, { ...STREAM, payload: request("/") }));
      for (let i = 0; i < 2; i++) {
        attacker.send(frame(FRAME.WINDOW_UPDATE, { stream, payload: uint32(0x7fffffff) }));
      }
      await attacker.closed();
    });
    assert.equal(attacker.goawayCode, NGHTTP2_FLOW_CONTROL_ERROR);
  }
});

test("a head beyond the limits is refused, whichever of them", async (t) => {
  const { edge } = await target(t);
  const heads: readonly (readonly [what: string, payload: Buffer])[] = [
    ["one long value", request("/", [["x-fill", "y".repeat(40_000)]])],
    [
      "many fields",
      request(
        "/",
        Array.from({ length: 200 }, (_, i) => [`x-${i}`, "y"] as const),
      ),
    ],
    ["a long path", request(`/${"p".repeat(20_000)}`)],
    [
      "many cookies",
      request(
        "/",
        Array.from({ length: 60 }, () => ["cookie", "c".repeat(700)]),
      ),
    ],
  ];
  for (const [what, payload] of heads) {
    const attacker = await connectRawH2(t, edge.port);
    await survives(t, edge, async () => {
      attacker.send(...headFrames(payload));
      await until(
        () =>
          attacker.isClosed ||
          attacker.frames.some(({ stream, type }) => stream === 1 && isEnd(type)),
      );
    });
    assert.equal(edge.finished.filter(({ path }) => path !== "/bystander").length, 0, what);
    attacker.socket.destroy();
  }
});

const isEnd = (type: number) => type === FRAME.HEADERS || type === FRAME.RST_STREAM;

/** A header block in as many frames as it takes. */
function headFrames(block: Buffer): Buffer[] {
  const frames: Buffer[] = [];
  for (let at = 0; at < block.length; at += 16_384) {
    const payload = block.subarray(at, at + 16_384);
    const isLast = at + 16_384 >= block.length;
    const flags = (isLast ? END_HEADERS : 0) | (at === 0 ? END_STREAM : 0);
    frames.push(
      frame(at === 0 ? FRAME.HEADERS : FRAME.CONTINUATION, { stream: 1, flags, payload }),
    );
  }
  return frames;
}

test("a small block that names one large entry again and again is not unfolded", async (t) => {
  const { edge } = await target(t);
  const attacker = await connectRawH2(t, edge.port);
  await survives(t, edge, async () => {
    const entry = indexed("x-bomb", "y".repeat(4_000));
    // 120 KiB that mean 480 MiB.
    attacker.send(...headFrames(Buffer.concat([request("/"), entry, references(120_000)])));
    await until(() => attacker.isClosed || attacker.frames.some(({ type }) => isEnd(type)));
  });
  assert.equal(edge.finished.filter(({ path }) => path !== "/bystander").length, 0);
});

test("a client whose window stays shut holds a bounded part of its answers, and not for long", async (t) => {
  for (const path of ["/large", "/page"]) {
    const { edge } = await target(t);
    const attacker = await connectRawH2(t, edge.port, [SETTINGS_INITIAL_WINDOW, 0]);
    await survives(t, edge, async () => {
      for (let stream = 1; stream < 200; stream += 2) {
        attacker.send(frame(FRAME.HEADERS, { ...WHOLE, stream, payload: request(path) }));
      }
      await attacker.until(({ type }) => type === FRAME.HEADERS);
      const resets = () => attacker.frames.filter(({ type }) => type === FRAME.RST_STREAM).length;
      await until(() => attacker.isClosed || resets() === 100);
      await attacker.closed();
    });
    assert.equal(attacker.frames.filter(({ type }) => type === FRAME.DATA).length, 0);
    const taken = edge.finished.filter((exchange) => exchange.path === path).length;
    // Some were refused at once: a session's own memory is bounded as well.
    assert.ok(taken > 0 && taken <= 100, `${taken} streams`);
  }
});

test("a refusal that cannot leave keeps no connection either", async (t) => {
  const { edge } = await target(t);
  const attacker = await connectRawH2(t, edge.port, [SETTINGS_INITIAL_WINDOW, 0]);
  await survives(t, edge, async () => {
    const payload = request("/", [["host", "b.test"]]);
    attacker.send(frame(FRAME.HEADERS, { ...WHOLE, payload }));
    await attacker.until(({ type }) => type === FRAME.HEADERS);
    await attacker.closed();
  });
  await until(() => edge.host.connectionCount <= 1);
});

test("resets that the client provokes cost as much as its own", async (t) => {
  const { edge } = await target(t);
  const provocations: readonly ((stream: number) => Buffer)[] = [
    (stream) => frame(FRAME.RST_STREAM, { stream, payload: uint32(8) }),
    (stream) => frame(FRAME.WINDOW_UPDATE, { stream, payload: uint32(0) }),
    (stream) => frame(FRAME.WINDOW_UPDATE, { stream, payload: uint32(0x7fffffff) }),
  ];
  for (const provoke of provocations) {
    const attacker = await connectRawH2(t, edge.port);
    let streams = 0;
    await survives(t, edge, async () => {
      for (; !attacker.isClosed && streams < 20_000; streams += 20) {
        for (let i = 0; i < 20; i++) {
          const stream = 2 * (streams + i) + 1;
          const head = frame(FRAME.HEADERS, { ...STREAM, stream, payload: request("/") });
          attacker.send(head, provoke(stream));
        }
        await new Promise((resolve) => setImmediate(resolve));
      }
      await attacker.closed();
    });
    assert.ok(streams < 2_000, `${streams} streams`);
  }
});

test("an upload that its client resets is not passed off as a whole one, whatever the code", async (t) => {
  for (const code of [NGHTTP2_NO_ERROR, NGHTTP2_PROTOCOL_ERROR, NGHTTP2_ENHANCE_YOUR_CALM]) {
    const origin = await rawOrigin(t, () => {});
    const edge = await startEdge(t, {
      http2: true,
      config: {
        upstreams: [{ name: "origin", targets: [{ address: origin.address }] }],
        routes: [{ name: "all", upstream: "origin" }],
      },
    });
    const client = await connectRawH2(t, edge.port);
    client.send(
      frame(FRAME.HEADERS, { ...STREAM, payload: request("/", [["x-upload", "1"]]) }),
      frame(FRAME.DATA, { stream: 1, payload: Buffer.from("half") }),
    );
    await until(() => (origin.received[0] ?? "").includes("half"));
    client.send(frame(FRAME.RST_STREAM, { stream: 1, payload: uint32(code) }));
    await until(() => edge.finished.length === 1 && origin.sockets[0].closed);
    assert.equal(origin.received[0].endsWith("\r\n0\r\n\r\n"), false, `code ${code}`);
  }
});
