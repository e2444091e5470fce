// What is HTTP/1.1's own at the client's side: reads that cut a head, pipelining, HTTP/1.0, deadlines of
// a connection. What holds over every protocol is in test/integration/conformance.test.ts.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { startEdge } from "../support/edge.ts";
import { answerWith, connectRaw, exchangeRaw, ok, rawOrigin, statusOf } from "../support/raw.ts";

async function setup(t: TestContext, timeouts = {}) {
  const origin = await rawOrigin(t, answerWith(ok("hello")));
  const edge = await startEdge(t, {
    timeouts,
    config: {
      upstreams: [{ name: "origin", targets: [{ address: origin.address }] }],
      routes: [
        { name: "all", upstream: "origin", body_bytes_max: 1_000_000 },
        { name: "echo", match: { paths: [{ exact: "/echo" }] }, echo: true },
      ],
    },
  });
  return { origin, edge };
}

const HOST = "host: example.com\r\n";

test("a request cut at every byte is understood the same", async (t) => {
  const { origin, edge } = await setup(t);
  const request = `GET /cut?x=1 HTTP/1.1\r\n${HOST}x-a: b\r\n\r\n`;
  for (let at = 1; at < request.length; at += 3) {
    const client = await connectRaw(t, edge.port);
    client.socket.setNoDelay(true);
    client.send(request.slice(0, at));
    // A second connection's whole exchange proves that the first part was read before the rest.
    client.send(request.slice(at));
    assert.match(await client.until((text) => text.endsWith("hello")), /^HTTP\/1\.1 200 OK\r\n/);
    client.socket.destroy();
  }
  const heads = origin.received.join("").match(/GET \/cut\?x=1 HTTP/g);
  assert.equal(heads?.length, Math.ceil((request.length - 1) / 3));
});

test("pipelined requests are answered in order, on one connection", async (t) => {
  const { edge } = await setup(t);
  const client = await connectRaw(t, edge.port);
  const requests = ["/1", "/2", "/3"].map(
    (path) => `GET ${path} HTTP/1.1\r\n${HOST}x-request-id: r${path.slice(1)}\r\n\r\n`,
  );
  client.send(requests.join(""));
  const text = await client.until((received) => received.split("hello").length === 4);
  const ids = [...text.matchAll(/x-request-id: r(\d)/g)].map(([, id]) => id);
  assert.deepEqual(ids, ["1", "2", "3"]);
});

test("HTTP/1.0 is answered and closed unless it asks to keep alive", async (t) => {
  const { edge } = await setup(t);
  const answer = await exchangeRaw(t, edge.port, "GET / HTTP/1.0\r\n\r\n");
  assert.equal(statusOf(answer.text), 200);
  const client = await connectRaw(t, edge.port);
  client.send("GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n");
  assert.match(await client.until((text) => text.endsWith("hello")), /connection: keep-alive\r\n/);
  client.send("GET / HTTP/1.0\r\n\r\n");
  assert.equal((await client.closed()).text.split("hello").length, 3);
});

test("a slow head gets 408, a slow body 408, an idle connection is closed silently", async (t) => {
  const { edge } = await setup(t, { head_ms: 150, body_idle_ms: 150, idle_ms: 150 });
  const head = await exchangeRaw(t, edge.port, "GET / HT");
  assert.equal(statusOf(head.text), 408);
  const body = await exchangeRaw(
    t,
    edge.port,
    `POST /echo HTTP/1.1\r\n${HOST}content-length: 10\r\n\r\nabc`,
  );
  assert.equal(statusOf(body.text), 408);
  const idle = await connectRaw(t, edge.port);
  idle.send(`GET / HTTP/1.1\r\n${HOST}\r\n`);
  const answer = await idle.closed();
  assert.equal(answer.text.match(/HTTP\/1\.1/g)?.length, 1);
});

test("a HEAD answer has no body and the next request is understood", async (t) => {
  const origin = await rawOrigin(t, answerWith("HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n"));
  const edge = await startEdge(t, {
    config: {
      upstreams: [{ name: "origin", targets: [{ address: origin.address }] }],
      routes: [{ name: "all", match: { methods: ["HEAD"] }, upstream: "origin" }],
    },
  });
  const client = await connectRaw(t, edge.port);
  client.send(`HEAD / HTTP/1.1\r\n${HOST}\r\n`);
  assert.match(await client.until((text) => text.endsWith("\r\n\r\n")), /content-length: 99\r\n/);
  client.send(`GET / HTTP/1.1\r\n${HOST}\r\n`);
  const text = await client.until((received) => received.includes("METHOD_NOT_ALLOWED"));
  assert.match(text, /HTTP\/1\.1 405 [^]*allow: HEAD\r\n/);
});

test("a client that pipelines and does not read gets no more answers made than it takes", async (t) => {
  const body = "x".repeat(30_000);
  const edge = await startEdge(t, { config: { routes: [{ name: "large", respond: { body } }] } });
  const client = await connectRaw(t, edge.port);
  client.socket.pause();
  const request = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
  const count = 5_000;
  client.send(request.repeat(count));
  // The kernel's buffers take some megabytes; then the answers stop, and the input is not read.
  const others = await connectRaw(t, edge.port);
  for (let i = 1; i <= 20; i++) {
    others.send(request);
    await others.until((text) => text.length >= i * body.length);
  }
  const made = edge.finished.length;
  assert.ok(made < count / 2, `${made} answers were made`);
  others.send(request);
  await others.until((text) => text.length >= 21 * body.length);
  assert.equal(edge.finished.length, made + 1);
  client.socket.resume();
  await client.until((text) => text.length >= 1_000 * body.length);
});
