// What an origin may send over HTTP/1.1, and what must never reach a client: every row over raw
// sockets. Each is judged three times: by the bytes that the client got, by what the origin
// received, and by which connections the next request found open, at the client's side and at the
// origin's.

import assert from "node:assert/strict";
import { once } from "node:events";
import { test } from "node:test";
import type { TestContext } from "node:test";
import type { UpstreamConfig } from "../../gateway/config/schema.ts";
import { UPSTREAM_ROW } from "../../gateway/telemetry/metrics.ts";
import { startEdge } from "../support/edge.ts";
import { BAD, CUT, RELAYED } from "../support/origin-responses.ts";
import type { Ending } from "../support/origin-responses.ts";
import { connectRaw, exchangeRaw, ok, rawOrigin, statusOf } from "../support/raw.ts";
import type { OriginScript, RawOrigin } from "../support/raw.ts";

const HOST = "host: example.com\r\n";
const NEXT = ok("next");

async function setup(t: TestContext, script: OriginScript, upstream: Partial<UpstreamConfig> = {}) {
  const origin = await rawOrigin(t, script);
  const edge = await startEdge(t, {
    config: {
      upstreams: [{ name: "origin", targets: [{ address: origin.address }], ...upstream }],
      routes: [{ name: "all", upstream: "origin" }],
    },
  });
  const counted = (counter: "cut" | "retries" | "timeouts" | "reused") =>
    edge.metrics.snapshot().upstreams.rows[UPSTREAM_ROW[counter]];
  return { origin, edge, counted };
}

/** The text without the fields that differ from run to run. */
function stable(text: string): string {
  return text.replaceAll(/(date|x-request-id): [^\r]*\r\n/g, "");
}

/** Answers the first request with this response and this ending, every later one with NEXT. */
function first(response: string, ending: Ending | null): OriginScript {
  let requests = 0;
  return (socket, received, connection) => {
    if (!received.endsWith("\r\n\r\n")) return;
    if (requests++ > 0) socket.write(NEXT);
    else socket.write(response, "latin1", () => ending !== null && socket[ending]());
    assert.ok(connection < 2);
  };
}

/** On which of its connections the origin received the request for /next. */
function connectionOfNext(origin: RawOrigin): number {
  const at = origin.received.findIndex((text) => text.includes("GET /next HTTP/1.1\r\n"));
  assert.equal(origin.received.join("\n").split(/^GET \/next /m).length, 2, "it is sent once");
  return at;
}

for (const row of RELAYED) {
  test(`relayed: ${row.what}`, async (t) => {
    const { method = "GET", minor = 1, client: wanted } = row;
    const { origin, edge, counted } = await setup(t, first(row.response, row.then ?? null));
    let client = await connectRaw(t, edge.port);
    client.send(`${method} /first HTTP/1.${minor}\r\n${HOST}\r\n`);
    if (row.isClientKept) {
      await client.until((text) => stable(text).length >= wanted.length);
    } else {
      const { text, reset } = await client.closed();
      assert.equal(stable(text), wanted);
      assert.equal(reset, false);
      client = await connectRaw(t, edge.port);
    }
    client.send(`GET /next HTTP/1.1\r\n${HOST}\r\n`);
    const text = await client.until((received) => received.endsWith("next"));
    assert.equal(stable(text), (row.isClientKept ? wanted : "") + NEXT);
    assert.ok(origin.received[0].startsWith(`${method} /first HTTP/1.1\r\n${HOST}`));
    assert.equal(connectionOfNext(origin), row.isOriginKept ? 0 : 1);
    assert.equal(counted("cut"), 0);
  });
}

for (const [what, response, then] of BAD) {
  test(`answered with 502, and nothing of it is passed on: ${what}`, async (t) => {
    const { origin, edge, counted } = await setup(t, first(response, then ?? null));
    const client = await connectRaw(t, edge.port);
    client.send(`GET /first HTTP/1.1\r\n${HOST}\r\n`);
    const refusal = await client.until((text) => text.includes('"code":"UPSTREAM_'));
    assert.equal(statusOf(refusal), 502);
    assert.doesNotMatch(refusal, /hi|x-a|101 Switching|100 Continue|SSH/);
    // The client did nothing wrong: its connection goes on, the origin's does not.
    client.send(`GET /next HTTP/1.1\r\n${HOST}\r\n`);
    const text = await client.until((received) => received.endsWith("next"));
    assert.equal(text.split("HTTP/1.1 ").length, 3);
    assert.equal(connectionOfNext(origin), 1);
    assert.deepEqual([counted("cut"), counted("retries")], [0, 0]);
  });
}

for (const [what, response, then] of CUT) {
  test(`the client is reset, nothing passes for complete: ${what}`, async (t) => {
    const { origin, edge, counted } = await setup(t, first(response, then ?? null));
    const answer = await exchangeRaw(t, edge.port, `GET /first HTTP/1.1\r\n${HOST}\r\n`);
    assert.equal(answer.reset, true);
    assert.equal(answer.ended, false);
    assert.doesNotMatch(answer.text, /\r\n0\r\n\r\n$/);
    assert.equal(counted("cut"), 1);
    const client = await connectRaw(t, edge.port);
    client.send(`GET /next HTTP/1.1\r\n${HOST}\r\n`);
    assert.equal(stable(await client.until((text) => text.endsWith("next"))), NEXT);
    assert.equal(connectionOfNext(origin), 1);
  });
}

test("bytes on an idle connection end it, and the next request does not see them", async (t) => {
  const { origin, edge } = await setup(t, first(ok("hi"), null));
  const client = await connectRaw(t, edge.port);
  client.send(`GET /first HTTP/1.1\r\n${HOST}\r\n`);
  await client.until((text) => text.endsWith("hi"));
  const [socket] = origin.sockets;
  const ended = once(socket, "close");
  socket.write(ok("forged"));
  await ended;
  client.send(`GET /next HTTP/1.1\r\n${HOST}\r\n`);
  const text = await client.until((received) => received.endsWith("next"));
  assert.doesNotMatch(text, /forged/);
  assert.equal(connectionOfNext(origin), 1);
});

for (const reads of [true, false]) {
  test(`an early answer is relayed at once (the origin ${reads ? "reads" : "stops"})`, async (t) => {
    const uploadBytes = 16 * 1024 * 1024;
    let answered = false;
    const { origin, edge, counted } = await setup(t, (socket) => {
      if (answered) return;
      answered = true;
      if (!reads) socket.pause();
      socket.write("HTTP/1.1 413 Enough\r\ncontent-length: 6\r\n\r\nenough");
    });
    const client = await connectRaw(t, edge.port);
    client.send(`POST /first HTTP/1.1\r\n${HOST}content-length: ${uploadBytes}\r\n\r\nbegin`);
    const answer = await client.until((text) => text.endsWith("enough"));
    assert.equal(
      stable(answer),
      "HTTP/1.1 413 Enough\r\ncontent-length: 6\r\nconnection: close\r\n\r\nenough",
    );
    // The rest is taken up to a bound, and never for a request.
    client.send(`GET /smuggled HTTP/1.1\r\n${HOST}\r\n`);
    client.send(Buffer.alloc(uploadBytes / 16, "a"));
    const { text } = await client.closed();
    assert.equal(text, answer);
    await Promise.all(
      origin.sockets.filter((socket) => !socket.closed).map((s) => once(s, "close")),
    );
    assert.ok(origin.received.join("").length < uploadBytes / 2);
    assert.doesNotMatch(origin.received.join(""), /GET \/smuggled/);
    assert.deepEqual([origin.received.length, counted("cut")], [1, 0]);
  });
}

test("an upload that the origin stopped reading does not hold up its answer", async (t) => {
  const uploadBytes = 16 * 1024 * 1024;
  const { edge } = await setup(t, (socket, received) => {
    // Both ways are full by then: the client waits for us, and we for the origin.
    if (received.length < 1024 * 1024 || socket.isPaused()) return;
    socket.pause();
    socket.write("HTTP/1.1 413 Enough\r\ncontent-length: 6\r\n\r\nenough");
  });
  const client = await connectRaw(t, edge.port);
  client.send(`POST / HTTP/1.1\r\n${HOST}content-length: ${uploadBytes}\r\n\r\n`);
  client.send(Buffer.alloc(uploadBytes, "a"));
  const answer = await client.until((text) => text.endsWith("enough"));
  assert.match(answer, /^HTTP\/1\.1 413 Enough\r\n[^]*connection: close\r\n/);
});

for (const [what, head] of [
  ["of a declared length", "content-length: 3145728"],
  ["in chunks", "transfer-encoding: chunked"],
] as const) {
  test(`a large body ${what} arrives whole, and its connection is reused`, async (t) => {
    const body = Buffer.alloc(3 * 1024 * 1024, "0123456789abcde\n").latin1Slice();
    const half = body.length / 2;
    const chunks = [body.slice(0, half), body.slice(half)].map(
      (part) => `${part.length.toString(16)}\r\n${part}\r\n`,
    );
    const sent = head.startsWith("content") ? body : `${chunks.join("")}0\r\n\r\n`;
    const { origin, edge } = await setup(
      t,
      first(`HTTP/1.1 200 OK\r\n${head}\r\n\r\n${sent}`, null),
    );
    const client = await connectRaw(t, edge.port);
    client.send(`GET /first HTTP/1.1\r\n${HOST}\r\n`);
    const isWhole = (text: string) =>
      head.startsWith("content") ? text.length > body.length : text.endsWith("\r\n0\r\n\r\n");
    const received = await client.until(isWhole);
    const relayed = received.slice(received.indexOf("\r\n\r\n") + 4);
    const data = head.startsWith("content") ? relayed : dechunked(relayed);
    assert.equal(data === body, true);
    client.send(`GET /next HTTP/1.1\r\n${HOST}\r\n`);
    await client.until((text) => text.endsWith("next"));
    assert.equal(connectionOfNext(origin), 0);
  });
}

/** The data of a chunked body, by the simplest reading there is. */
function dechunked(text: string): string {
  let data = "";
  for (let at = 0; ;) {
    const end = text.indexOf("\r\n", at);
    const size = Number.parseInt(text.slice(at, end), 16);
    if (size === 0) return data;
    data += text.slice(end + 2, end + 2 + size);
    at = end + 2 + size + 2;
  }
}

const LENT_BYTES = 60_000;

/** Answers with a body of the letter in the target, in one write or, for /split, in two. */
const lettered: OriginScript = (socket, received) => {
  const head = received.slice(received.lastIndexOf("GET /"));
  const [, path, letter] = /^GET \/(\w+)\?(\w)/.exec(head) ?? ["", "", ""];
  const response = ok(letter.repeat(LENT_BYTES));
  if (path === "whole") {
    socket.write(response);
    return;
  }
  socket.setNoDelay(true);
  socket.write(response.slice(0, 1_000));
  // Not before the gateway has read the first part: it shares this event loop.
  setImmediate(() => setImmediate(() => socket.write(response.slice(1_000))));
};

for (const path of ["whole", "split"]) {
  test(`unread bytes stay as they were, though buffers are shared (${path})`, async (t) => {
    const count = 400;
    const { edge } = await setup(t, lettered);
    const slow = await connectRaw(t, edge.port);
    slow.socket.pause();
    slow.send(`GET /${path}?a HTTP/1.1\r\n${HOST}\r\n`.repeat(count));
    // Others come and go until the slow one has been stuck for a while.
    const fast = await connectRaw(t, edge.port);
    let stuck = 0;
    for (let i = 1; stuck < 50; i++) {
      const before = edge.finished.length;
      fast.send(`GET /${path}?b HTTP/1.1\r\n${HOST}\r\n`);
      await fast.until((text) => text.length >= i * LENT_BYTES && edge.finished.length > before);
      stuck = edge.finished.length === before + 1 ? stuck + 1 : 0;
    }
    slow.socket.resume();
    const text = await slow.until((received) => received.length > count * LENT_BYTES);
    const bodies = text.split(/HTTP\/1\.1 200 OK\r\n[^]*?\r\n\r\n/).slice(1);
    assert.ok(bodies.slice(0, -1).every((body) => body === "a".repeat(LENT_BYTES)));
    assert.ok(bodies.length >= count - 2);
  });
}

test("an origin that does not begin to answer in time gets no second chance: 504", async (t) => {
  const { origin, edge, counted } = await setup(
    t,
    (socket, received) => void (received.includes("/next") && socket.write(NEXT)),
    { timeouts: { first_byte_ms: 150 } },
  );
  const client = await connectRaw(t, edge.port);
  client.send(`GET /first HTTP/1.1\r\n${HOST}\r\n`);
  const refusal = await client.until((text) => text.includes('"code":"UPSTREAM_TIMEOUT"'));
  assert.equal(statusOf(refusal), 504);
  client.send(`GET /next HTTP/1.1\r\n${HOST}\r\n`);
  await client.until((text) => text.endsWith("next"));
  assert.equal(connectionOfNext(origin), 1);
  assert.equal(counted("timeouts"), 1);
});

test("an origin that stops within its body is not waited for: the client is reset", async (t) => {
  const { edge, counted } = await setup(
    t,
    first("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\npart", null),
    { timeouts: { idle_ms: 150 } },
  );
  const answer = await exchangeRaw(t, edge.port, `GET /first HTTP/1.1\r\n${HOST}\r\n`);
  assert.equal(answer.reset, true);
  assert.deepEqual([counted("cut"), counted("timeouts")], [1, 1]);
});
