// Slow on purpose: a head, a body, a reader or an origin that makes no progress, or just enough of it.
// Each meets a deadline of its own: in every test one is short and all others are long, so that nothing
// else can have ended it.
//
// Families of the catalogue that do not apply here:
// - the handshake of TLS: its deadline is a constant of ten seconds.
// - a half-open connection: TCP's keep-alive is the kernel's, every state here has a deadline anyhow.

import assert from "node:assert/strict";
import { Readable } from "node:stream";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { LIMITS } from "../../gateway/base/limits.ts";
import type { Config } from "../../gateway/config/schema.ts";
import { startEdge } from "../support/edge.ts";
import type { Edge, EdgeOptions } from "../support/edge.ts";
import {
  END_HEADERS,
  END_STREAM,
  FRAME,
  connectRawH2,
  frame,
  literals,
  request,
} from "../support/h2-raw.ts";
import { h2Session } from "../support/h2-websocket.ts";
import { until } from "../support/origin-user.ts";
import { connectRaw, exchangeRaw, ok, rawOrigin, statusOf } from "../support/raw.ts";
import type { OriginScript, RawClient, RawOrigin } from "../support/raw.ts";

const SHORT_MS = 200;
const LONG_MS = 60_000;
const TRICKLE_MS = 20;
/** What a trickle brings is a tenth of it. */
const RATE_MIN = 10_000;
const PIECE_BYTES = 65_536;
const LARGE_BYTES = 32 * 1024 * 1024;
const HOST = "Host: a\r\n";

type Timeouts = NonNullable<EdgeOptions["timeouts"]>;

/** A gateway with this deadline short and the others long. */
async function slowEdge(
  t: TestContext,
  short: Timeouts,
  config: Partial<Config> = {},
): Promise<Edge> {
  return await startEdge(t, {
    timeouts: { head_ms: LONG_MS, body_idle_ms: LONG_MS, idle_ms: LONG_MS, ...short },
    config: {
      routes: [{ name: "all", timeout_ms: LONG_MS, respond: { body: "here" } }],
      ...config,
    },
  });
}

async function slowUpstream(
  t: TestContext,
  script: OriginScript,
  given: { short?: Timeouts; upstreamMs?: number; routeMs?: number },
): Promise<{ edge: Edge; origin: RawOrigin }> {
  const { short = {}, upstreamMs = LONG_MS, routeMs = LONG_MS } = given;
  const origin = await rawOrigin(t, script);
  const timeouts = { first_byte_ms: LONG_MS, idle_ms: upstreamMs };
  const edge = await slowEdge(t, short, {
    upstreams: [{ name: "origin", targets: [{ address: origin.address }], timeouts }],
    routes: [{ name: "all", timeout_ms: routeMs, upstream: "origin" }],
  });
  return { edge, origin };
}

/** Sends a piece every now and then for as long as the connection is open. */
function trickle(t: TestContext, client: RawClient, piece: string): void {
  const timer = setInterval(() => client.send(piece), TRICKLE_MS);
  client.socket.on("error", () => clearInterval(timer));
  client.socket.on("close", () => clearInterval(timer));
  t.after(() => clearInterval(timer));
}

/** Milliseconds until the server closes. */
async function closedAfterMs(client: RawClient): Promise<number> {
  const startMs = performance.now();
  await client.closed();
  return performance.now() - startMs;
}

test("a connection that never speaks is closed, without a word", async (t) => {
  const edge = await slowEdge(t, { head_ms: SHORT_MS });
  const { text, reset } = await (await connectRaw(t, edge.port)).closed();
  assert.deepEqual([text, reset], ["", false]);
  await until(() => edge.host.connectionCount === 0, "the end of the connection");
});

test("slow head: a byte at a time buys no time, also on a connection that was served", async (t) => {
  const edge = await slowEdge(t, { head_ms: SHORT_MS });
  for (const before of ["", `GET / HTTP/1.1\r\n${HOST}\r\n`]) {
    const client = await connectRaw(t, edge.port);
    client.send(before);
    if (before !== "") await client.until((text) => text.endsWith("here"));
    client.send("GET / HTTP/1.1\r\nX: ");
    trickle(t, client, "a");
    const text = await client.until((seen) => seen.includes('"code":"REQUEST_TIMEOUT"'));
    assert.equal(statusOf(text.slice(text.lastIndexOf("HTTP/1.1 4"))), 408);
    assert.equal(statusOf((await exchangeRaw(t, edge.port, `GET / HTTP/1.0\r\n\r\n`)).text), 200);
  }
});

test("idle: a connection that was served is kept its time and closed, without a word", async (t) => {
  const edge = await slowEdge(t, { idle_ms: SHORT_MS });
  const client = await connectRaw(t, edge.port);
  client.send(`GET / HTTP/1.1\r\n${HOST}\r\n`);
  const answer = await client.until((text) => text.endsWith("here"));
  assert.ok((await closedAfterMs(client)) >= SHORT_MS - LIMITS.timerTickMs);
  assert.equal((await client.closed()).text, answer);
});

for (const [what, framing, begun] of [
  ["of a declared length", "Content-Length: 10\r\n", "abc"],
  ["in chunks", "Transfer-Encoding: chunked\r\n", "3\r\nabc\r\n"],
] as const) {
  test(`slow body ${what}: one that stops gets 408, and the origin's request is taken back`, async (t) => {
    const { edge, origin } = await slowUpstream(t, () => {}, { short: { body_idle_ms: SHORT_MS } });
    const client = await connectRaw(t, edge.port);
    client.send(`POST / HTTP/1.1\r\n${HOST}${framing}\r\n${begun}`);
    const { text } = await client.closed();
    assert.equal(statusOf(text), 408);
    await until(() => origin.sockets.every((socket) => socket.closed), "the end at the origin");
    assert.ok(origin.received[0].endsWith(begun));
  });

  test(`slow body ${what}: one that trickles is ended by the route's time`, async (t) => {
    const given = { short: { body_idle_ms: 2 * SHORT_MS }, routeMs: 5 * SHORT_MS };
    const { edge, origin } = await slowUpstream(t, () => {}, given);
    const client = await connectRaw(t, edge.port);
    const isChunked = framing.startsWith("Transfer");
    const head = isChunked ? framing : "Content-Length: 1000000\r\n";
    const startMs = performance.now();
    client.send(`POST / HTTP/1.1\r\n${HOST}${head}\r\n${begun}`);
    trickle(t, client, isChunked ? "1\r\na\r\n" : "a");
    const text = await client.until((seen) => seen.includes('"code":"ROUTE_TIMEOUT"'));
    assert.equal(statusOf(text), 504);
    assert.ok(performance.now() - startMs >= 5 * SHORT_MS - LIMITS.timerTickMs);
    await until(() => origin.sockets.every((socket) => socket.closed), "the end at the origin");
  });
}

for (const [what, framing, piece] of [
  ["of a declared length", "Content-Length: 1000000\r\n", "a"],
  ["in chunks", "Transfer-Encoding: chunked\r\n", "1\r\na\r\n"],
] as const) {
  test(`slow body ${what}: one below the least rate gets 408, after a grace of one window`, async (t) => {
    const short = { body_bytes_per_second_min: RATE_MIN, body_window_ms: SHORT_MS };
    const { edge, origin } = await slowUpstream(t, () => {}, { short });
    const client = await connectRaw(t, edge.port);
    const startMs = performance.now();
    client.send(`POST / HTTP/1.1\r\n${HOST}${framing}\r\n`);
    trickle(t, client, piece);
    const text = await client.until((seen) => seen.includes('"code":"REQUEST_TIMEOUT"'));
    assert.equal(statusOf(text), 408);
    assert.ok(performance.now() - startMs >= 2 * SHORT_MS - LIMITS.timerTickMs);
    await until(() => origin.sockets.every((socket) => socket.closed), "the end at the origin");
  });
}

for (const [what, short] of [
  ["at the least rate", { body_bytes_per_second_min: 1, body_window_ms: 2 * SHORT_MS }],
  ["of any rate, if that will do,", { body_bytes_per_second_min: 0, body_window_ms: SHORT_MS }],
] as const) {
  test(`slow body: one ${what} is ended by the route's time only`, async (t) => {
    const { edge } = await slowUpstream(t, () => {}, { short, routeMs: 7 * SHORT_MS });
    const client = await connectRaw(t, edge.port);
    client.send(`POST / HTTP/1.1\r\n${HOST}Content-Length: 1000000\r\n\r\n`);
    trickle(t, client, "a");
    const text = await client.until((seen) => seen.includes("HTTP/1.1"));
    assert.equal(statusOf(text), 504);
  });
}

test("slow body: the least rate is not asked for once the answer has begun", async (t) => {
  const short = { body_bytes_per_second_min: RATE_MIN, body_window_ms: SHORT_MS / 2 };
  const head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
  const script: OriginScript = (socket, received) => {
    if (received.length === received.indexOf("\r\n\r\n") + 4) socket.write(head);
    else if (received.endsWith("a".repeat(100))) socket.write("2\r\nok\r\n0\r\n\r\n");
  };
  const { edge } = await slowUpstream(t, script, { short });
  const client = await connectRaw(t, edge.port);
  client.send(`POST / HTTP/1.1\r\n${HOST}Content-Length: 100\r\n\r\n`);
  await client.until((seen) => seen.includes("200 OK"));
  trickle(t, client, "a");
  const text = await client.until((seen) => seen.endsWith("0\r\n\r\n"));
  assert.ok(text.endsWith("2\r\nok\r\n0\r\n\r\n"));
});

test("slow body over HTTP/2: one below the least rate gets 408, and the connection goes on", async (t) => {
  const origin = await rawOrigin(t, () => {});
  const edge = await startEdge(t, {
    http2: true,
    timeouts: { body_bytes_per_second_min: RATE_MIN, body_window_ms: SHORT_MS },
    config: {
      upstreams: [{ name: "origin", targets: [{ address: origin.address }] }],
      routes: [
        { name: "here", match: { paths: [{ exact: "/here" }] }, respond: { body: "here" } },
        { name: "all", upstream: "origin" },
      ],
    },
  });
  const client = await connectRawH2(t, edge.port);
  const body = async (stream: number) => {
    const data = await client.until((one) => one.type === FRAME.DATA && one.stream === stream);
    return data.payload.latin1Slice();
  };
  const startMs = performance.now();
  const post = literals([
    [":method", "POST"],
    [":scheme", "http"],
    [":path", "/"],
    [":authority", "a"],
  ]);
  client.send(frame(FRAME.HEADERS, { stream: 1, flags: END_HEADERS, payload: post }));
  const payload = Buffer.from("a");
  const timer = setInterval(
    () => client.send(frame(FRAME.DATA, { stream: 1, payload })),
    TRICKLE_MS,
  );
  t.after(() => clearInterval(timer));
  assert.match(await body(1), /"code":"REQUEST_TIMEOUT"/);
  assert.ok(performance.now() - startMs >= 2 * SHORT_MS - LIMITS.timerTickMs);
  await until(() => origin.sockets.every((socket) => socket.closed), "the end at the origin");
  const flags = END_HEADERS | END_STREAM;
  client.send(frame(FRAME.HEADERS, { stream: 3, flags, payload: request("/here") }));
  assert.equal(await body(3), "here");
});

test("slow reader of an answer made here: cut off, whatever is left", async (t) => {
  const edge = await slowEdge(
    t,
    { body_idle_ms: SHORT_MS },
    { routes: [{ name: "large", respond: { body: "a".repeat(LARGE_BYTES) } }] },
  );
  const client = await connectRaw(t, edge.port);
  client.socket.pause();
  client.send(`GET / HTTP/1.1\r\n${HOST}\r\n`);
  await until(() => edge.finished.length === 1, "the answer");
  await until(() => edge.host.connectionCount === 0, "the end of the connection");
  client.socket.resume();
  assert.ok((await client.closed()).text.length < LARGE_BYTES);
});

test("slow reader of an origin's answer: cut off, and the origin is let go", async (t) => {
  const { edge, origin } = await slowUpstream(
    t,
    (socket) => socket.write(ok("a".repeat(LARGE_BYTES))),
    {
      short: { body_idle_ms: SHORT_MS },
    },
  );
  const client = await connectRaw(t, edge.port);
  client.socket.pause();
  client.send(`GET / HTTP/1.1\r\n${HOST}\r\n`);
  await until(() => edge.host.connectionCount === 1, "the connection");
  await until(() => edge.host.connectionCount === 0, "the end of the connection");
  await until(() => origin.sockets.every((socket) => socket.closed), "the end at the origin");
  assert.equal(edge.finished.length, 1);
  client.socket.resume();
  assert.ok((await client.closed()).text.length < LARGE_BYTES);
});

test("slow reader of pipelined answers: cut off", async (t) => {
  const body = "a".repeat(60_000);
  const edge = await slowEdge(
    t,
    { body_idle_ms: SHORT_MS },
    { routes: [{ name: "r", respond: { body } }] },
  );
  const client = await connectRaw(t, edge.port);
  client.socket.pause();
  client.send(`GET / HTTP/1.1\r\n${HOST}\r\n`.repeat(2_000));
  await until(() => edge.finished.length > 0, "an answer");
  await until(() => edge.host.connectionCount === 0, "the end of the connection");
  assert.ok(edge.finished.length < 2_000);
});

test("slow to leave: a client that does not close after the last answer is left after a while", async (t) => {
  const edge = await slowEdge(t, {});
  for (const request of [`GET / HTTP/1.1\r\n${HOST}Connection: close\r\n\r\n`, "GET /\n"]) {
    const client = await connectRaw(t, edge.port);
    client.send(request);
    // The client's own half stays open.
    await client.closed();
    await until(() => edge.host.connectionCount === 0, "the end of the connection");
  }
});

test("slow origin: one that does not take an upload is given up, and the client is told", async (t) => {
  // Whatever rate its client has to keep: it is not asked for more.
  const { edge, origin } = await slowUpstream(t, (socket) => void socket.pause(), {
    short: { body_bytes_per_second_min: RATE_MIN, body_window_ms: SHORT_MS / 4 },
    upstreamMs: 3 * SHORT_MS,
  });
  const client = await connectRaw(t, edge.port);
  client.send(`POST / HTTP/1.1\r\n${HOST}Content-Length: ${LARGE_BYTES}\r\n\r\n`);
  client.send(Buffer.alloc(LARGE_BYTES, "a"));
  const text = await client.until((seen) => seen.includes('"code":"UPSTREAM_TIMEOUT"'));
  assert.equal(statusOf(text), 504);
  assert.ok(origin.received.join("").length < LARGE_BYTES);
});

test("slow origin: one that does not take an upload over HTTP/2 is not its client's fault either", async (t) => {
  const origin = await rawOrigin(t, (socket) => void socket.pause());
  const timeouts = { first_byte_ms: LONG_MS, idle_ms: 3 * SHORT_MS };
  const edge = await startEdge(t, {
    http2: true,
    timeouts: { body_bytes_per_second_min: RATE_MIN, body_window_ms: SHORT_MS / 4 },
    config: {
      upstreams: [{ name: "origin", targets: [{ address: origin.address }], timeouts }],
      routes: [{ name: "all", upstream: "origin" }],
    },
  });
  const session = await h2Session(t, edge.port);
  const stream = session.request({ ":method": "POST", ":path": "/" });
  stream.on("error", () => {});
  let status = 0;
  stream.on("response", (headers) => (status = Number(headers[":status"])));
  // In pieces: what a client of node:http2 has queued keeps it from reading the answer.
  const pieces = Array<Buffer>(LARGE_BYTES / PIECE_BYTES).fill(Buffer.alloc(PIECE_BYTES));
  Readable.from(pieces).pipe(stream.resume());
  await until(() => stream.closed, "the answer");
  assert.equal(status, 504);
});

test("slow origin: an answer that trickles is ended by the route's time, and is not whole", async (t) => {
  const { edge } = await slowUpstream(
    t,
    (socket) => {
      socket.write("HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n");
      const timer = setInterval(() => socket.write("a"), TRICKLE_MS);
      socket.on("close", () => clearInterval(timer));
    },
    { upstreamMs: 2 * SHORT_MS, routeMs: 5 * SHORT_MS },
  );
  const answer = await exchangeRaw(t, edge.port, `GET / HTTP/1.1\r\n${HOST}\r\n`);
  assert.equal(statusOf(answer.text), 200);
  assert.equal(answer.reset, true);
});
