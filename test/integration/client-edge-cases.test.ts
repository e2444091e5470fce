// What a client may send over HTTP/1.1, and what must never reach an origin: every row over a raw
// socket, judged by the bytes of the answer and by what a recording origin received.

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
const REFUSED: readonly (readonly [what: string, bytes: string, status: number])[] = [
  ["no Host", "GET / HTTP/1.1\r\n\r\n", 400],
  ["two Hosts", `GET / HTTP/1.1\r\n${HOST}${HOST}\r\n`, 400],
  ["a Host with a path", "GET / HTTP/1.1\r\nhost: a/b\r\n\r\n", 400],
  ["a Host with user information", "GET / HTTP/1.1\r\nhost: a@b\r\n\r\n", 400],
  [
    "Content-Length and Transfer-Encoding",
    `POST / HTTP/1.1\r\n${HOST}content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n`,
    400,
  ],
  [
    "two equal Content-Length",
    `POST / HTTP/1.1\r\n${HOST}content-length: 1\r\ncontent-length: 1\r\n\r\na`,
    400,
  ],
  [
    "two different Content-Length",
    `POST / HTTP/1.1\r\n${HOST}content-length: 1\r\ncontent-length: 2\r\n\r\na`,
    400,
  ],
  ["Content-Length +1", `POST / HTTP/1.1\r\n${HOST}content-length: +1\r\n\r\na`, 400],
  ["Content-Length 0x1", `POST / HTTP/1.1\r\n${HOST}content-length: 0x1\r\n\r\na`, 400],
  ["Content-Length 1,1", `POST / HTTP/1.1\r\n${HOST}content-length: 1,1\r\n\r\na`, 400],
  ["Content-Length empty", `POST / HTTP/1.1\r\n${HOST}content-length:\r\n\r\n`, 400],
  ["TE xchunked", `POST / HTTP/1.1\r\n${HOST}transfer-encoding: xchunked\r\n\r\n`, 501],
  ["TE gzip, chunked", `POST / HTTP/1.1\r\n${HOST}transfer-encoding: gzip, chunked\r\n\r\n`, 501],
  [
    "TE twice",
    `POST / HTTP/1.1\r\n${HOST}transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n`,
    400,
  ],
  ["TE on HTTP/1.0", `POST / HTTP/1.0\r\n${HOST}transfer-encoding: chunked\r\n\r\n0\r\n\r\n`, 400],
  ["a space before the colon", `GET / HTTP/1.1\r\n${HOST}x : 1\r\n\r\n`, 400],
  ["obs-fold", `GET / HTTP/1.1\r\n${HOST}x: 1\r\n 2\r\n\r\n`, 400],
  ["a bare LF, at once", `GET / HTTP/1.1\n`, 400],
  ["a bare CR, at once", `GET / HTTP/1.1\r\n${HOST}x: a\rb`, 400],
  ["a NUL, at once", `GET / HTTP/1.1\r\n${HOST}x: a\0`, 400],
  ["# in the target", `GET /a#b HTTP/1.1\r\n${HOST}\r\n`, 400],
  ["an encoded slash", `GET /a%2fb HTTP/1.1\r\n${HOST}\r\n`, 400],
  ["a backslash", `GET /a\\b HTTP/1.1\r\n${HOST}\r\n`, 400],
  ["dots above the root", `GET /../a HTTP/1.1\r\n${HOST}\r\n`, 400],
  ["an encoded NUL", `GET /%00 HTTP/1.1\r\n${HOST}\r\n`, 400],
  ["a broken escape", `GET /%zz HTTP/1.1\r\n${HOST}\r\n`, 400],
  [
    "another expectation",
    `POST / HTTP/1.1\r\n${HOST}expect: more\r\ncontent-length: 1\r\n\r\n`,
    417,
  ],
  ["HTTP/2.0", `GET / HTTP/2.0\r\n${HOST}\r\n`, 505],
  ["a lower-case version", `GET / http/1.1\r\n${HOST}\r\n`, 400],
  ["CONNECT", `CONNECT a:1 HTTP/1.1\r\n${HOST}\r\n`, 501],
  ["TRACE", `TRACE / HTTP/1.1\r\n${HOST}\r\n`, 501],
  ["a method of its own", `FROB / HTTP/1.1\r\n${HOST}\r\n`, 501],
  ["a head over the limit", `GET / HTTP/1.1\r\n${HOST}x: ${"a".repeat(40_000)}\r\n\r\n`, 431],
  ["too many fields", `GET / HTTP/1.1\r\n${HOST}${"x: 1\r\n".repeat(200)}\r\n`, 431],
  ["a target over the limit", `GET /${"a".repeat(20_000)} HTTP/1.1\r\n${HOST}\r\n`, 414],
  ["a body over the limit", `POST / HTTP/1.1\r\n${HOST}content-length: 2000000\r\n\r\n`, 413],
];

for (const [what, bytes, status] of REFUSED) {
  test(`refused, and nothing reaches the origin: ${what}`, async (t) => {
    const { origin, edge } = await setup(t);
    const answer = await exchangeRaw(t, edge.port, bytes);
    assert.equal(statusOf(answer.text), status);
    assert.match(answer.text, /connection: close/);
    assert.match(answer.text, /"code":"[A-Z_]+"/);
    assert.deepEqual(origin.received, []);
  });
}

const CHUNKED = `POST / HTTP/1.1\r\n${HOST}transfer-encoding: chunked\r\n\r\n`;
for (const [what, body] of [
  ["a negative size", "-1\r\n"],
  ["a size over the limit", "fffffffff\r\n"],
  ["a size of no digits", "\r\n"],
  ["a bare LF after the size", "1\na\r\n0\r\n\r\n"],
  ["data longer than its size", "1\r\nab\r\n"],
  ["a NUL in an extension", "1;a=\0\r\n"],
] as const) {
  test(`refused with 400 and the origin's request is not completed: ${what}`, async (t) => {
    const { origin, edge } = await setup(t);
    const answer = await exchangeRaw(t, edge.port, CHUNKED + body);
    assert.equal(statusOf(answer.text), 400);
    for (const text of origin.received) assert.doesNotMatch(text, /\r\n0\r\n\r\n$/);
  });
}

test("chunk extensions and trailers are dropped, the data arrives whole", async (t) => {
  const seen: string[] = [];
  const origin = await rawOrigin(t, (socket, received) => {
    if (!received.endsWith("0\r\n\r\n")) return;
    seen.push(received);
    socket.write(ok("done"));
  });
  const edge = await startEdge(t, {
    config: {
      upstreams: [{ name: "origin", targets: [{ address: origin.address }] }],
      routes: [{ name: "all", upstream: "origin" }],
    },
  });
  const client = await connectRaw(t, edge.port);
  client.send(`${CHUNKED}3;ext="v"\r\nabc\r\n2\r\nde\r\n0\r\nx-trailer: 1\r\n\r\n`);
  await client.until((text) => text.endsWith("done"));
  assert.equal(seen.length, 1);
  assert.match(seen[0], /transfer-encoding: chunked\r\n/);
  assert.ok(seen[0].endsWith("\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"), seen[0]);
  assert.doesNotMatch(seen[0], /x-trailer|ext=/);
});

test("the host of an absolute target wins over the Host field", async (t) => {
  const { origin, edge } = await setup(t);
  const client = await connectRaw(t, edge.port);
  client.send(`GET http://inner.example/a?b HTTP/1.1\r\nhost: outer.example\r\n\r\n`);
  await client.until((text) => text.endsWith("hello"));
  assert.match(origin.received[0], /^GET \/a\?b HTTP\/1\.1\r\nhost: inner\.example\r\n/);
  assert.doesNotMatch(origin.received[0], /outer/);
});

test("OPTIONS * is about the gateway itself and is answered by it", async (t) => {
  const { origin, edge } = await setup(t);
  const asked = `OPTIONS * HTTP/1.1\r\n${HOST}\r\n`;
  const last = `OPTIONS * HTTP/1.1\r\n${HOST}connection: close\r\n\r\n`;
  const { text } = await exchangeRaw(t, edge.port, asked + last);
  assert.deepEqual(
    [...text.matchAll(/^HTTP\/1\.1 (\d+)/gm)].map(([, status]) => status),
    ["204", "204"],
  );
  const refused = await exchangeRaw(t, edge.port, `GET * HTTP/1.1\r\n${HOST}\r\n`);
  assert.equal(statusOf(refused.text), 400);
  assert.deepEqual(origin.received, []);
});

test("fields of one connection stay on it; credentials cannot be nominated away", async (t) => {
  const { origin, edge } = await setup(t);
  const client = await connectRaw(t, edge.port);
  client.send(
    `GET / HTTP/1.1\r\n${HOST}connection: host, authorization, x-mine\r\nx-mine: 1\r\n` +
      "authorization: Bearer t\r\nkeep-alive: 5\r\nte: trailers\r\nupgrade: h2c\r\n" +
      "proxy-authorization: p\r\nx-forwarded-for: 6.6.6.6\r\nforwarded: for=6.6.6.6\r\n" +
      "x_real_ip: 6.6.6.6\r\nx-kept: yes\r\n\r\n",
  );
  await client.until((text) => text.endsWith("hello"));
  const [head] = origin.received;
  assert.match(head, /host: example\.com\r\n/);
  assert.match(head, /authorization: Bearer t\r\n/);
  assert.match(head, /x-kept: yes\r\n/);
  assert.match(head, /x-forwarded-for: 127\.0\.0\.1\r\n/);
  assert.doesNotMatch(
    head,
    /x-mine|keep-alive|te:|upgrade|proxy-auth|6\.6\.6\.6|x_real_ip|connection/i,
  );
});

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

test("a client that half-closes after its request is answered", async (t) => {
  const { edge } = await setup(t);
  const client = await connectRaw(t, edge.port);
  client.socket.end(`GET / HTTP/1.1\r\n${HOST}\r\n`);
  const answer = await client.closed();
  assert.equal(statusOf(answer.text), 200);
  assert.ok(answer.text.endsWith("hello"));
});

test("100 Continue is sent when the body is wanted, and only then", async (t) => {
  const origin = await rawOrigin(t, (socket, received) => {
    if (received.endsWith("body")) socket.write(ok("thanks"));
  });
  const edge = await startEdge(t, {
    config: {
      upstreams: [{ name: "origin", targets: [{ address: origin.address }] }],
      routes: [
        { name: "all", upstream: "origin" },
        { name: "no", match: { paths: [{ exact: "/no" }] }, respond: { status: 403 } },
      ],
    },
  });
  const wanted = await connectRaw(t, edge.port);
  wanted.send(`POST / HTTP/1.1\r\n${HOST}expect: 100-continue\r\ncontent-length: 4\r\n\r\n`);
  await wanted.until((text) => text === "HTTP/1.1 100 Continue\r\n\r\n");
  wanted.send("body");
  await wanted.until((text) => text.endsWith("thanks"));
  assert.doesNotMatch(origin.received[0], /expect/);
  const refused = await exchangeRaw(
    t,
    edge.port,
    `POST /no HTTP/1.1\r\n${HOST}expect: 100-continue\r\ncontent-length: 4\r\n\r\n`,
  );
  assert.equal(statusOf(refused.text), 403);
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
