// Slow on purpose: a head, a body, a reader or an origin that makes no progress, or just enough of it.
// Each meets a deadline of its own: in every test one is short and all others are long, so that nothing
// else can have ended it.
//
// Families of the catalogue that do not apply here:
// - a least rate for bodies: there is none; a body that trickles is ended by the route's time.
// - the handshake of TLS: its deadline is a constant of ten seconds.
// - a half-open connection: TCP's keep-alive is the kernel's, every state here has a deadline anyhow.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { LIMITS } from "../../gateway/base/limits.ts";
import type { Config } from "../../gateway/config/schema.ts";
import { startEdge } from "../support/edge.ts";
import type { Edge, EdgeOptions } from "../support/edge.ts";
import { until } from "../support/origin-user.ts";
import { connectRaw, exchangeRaw, ok, rawOrigin, statusOf } from "../support/raw.ts";
import type { OriginScript, RawClient, RawOrigin } from "../support/raw.ts";

const SHORT_MS = 200;
const LONG_MS = 60_000;
const TRICKLE_MS = 20;
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
  const { edge, origin } = await slowUpstream(t, (socket) => void socket.pause(), {
    upstreamMs: SHORT_MS,
  });
  const client = await connectRaw(t, edge.port);
  client.send(`POST / HTTP/1.1\r\n${HOST}Content-Length: ${LARGE_BYTES}\r\n\r\n`);
  client.send(Buffer.alloc(LARGE_BYTES, "a"));
  const text = await client.until((seen) => seen.includes('"code":"UPSTREAM_TIMEOUT"'));
  assert.equal(statusOf(text), 504);
  assert.ok(origin.received.join("").length < LARGE_BYTES);
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
