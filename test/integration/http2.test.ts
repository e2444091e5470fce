// HTTP/2 from clients: the platform's own client, over TLS by ALPN and over clear text with prior
// knowledge. One behaviour: what holds over HTTP/1.1 holds here, down to what the origin receives.

import assert from "node:assert/strict";
import { once } from "node:events";
import http2 from "node:http2";
import type { ClientHttp2Session, ClientHttp2Stream, OutgoingHttpHeaders } from "node:http2";
import { test } from "node:test";
import type { TestContext } from "node:test";
import tls from "node:tls";
import { selfSignedCertificate } from "../../gateway/cluster/self-signed.ts";
import type { Config } from "../../gateway/config/schema.ts";
import { startEdge, tlsOptions } from "../support/edge.ts";
import type { Edge } from "../support/edge.ts";
import { temporaryFolder } from "../support/gateway.ts";
import { answerWith, ok, rawOrigin } from "../support/raw.ts";
import type { OriginScript, RawOrigin } from "../support/raw.ts";

const WAIT_MS = 10_000;

type Answer = {
  readonly status: number;
  readonly headers: http2.IncomingHttpHeaders;
  readonly body: string;
  readonly rstCode: number;
};

async function connectTo(t: TestContext, edge: Edge): Promise<ClientHttp2Session> {
  const session = http2.connect(`http://127.0.0.1:${edge.port}`);
  session.on("error", () => {});
  t.after(() => session.destroy());
  await once(session, "connect");
  return session;
}

async function answerOf(stream: ClientHttp2Stream): Promise<Answer> {
  let headers: http2.IncomingHttpHeaders = {};
  let body = "";
  stream.setEncoding("latin1");
  stream.on("response", (received) => (headers = received));
  stream.on("data", (text: string) => (body += text));
  stream.on("error", () => {});
  await closedOf(stream);
  return { status: Number(headers[":status"] ?? 0), headers, body, rstCode: stream.rstCode ?? 0 };
}

// Not once(): that rejects with the error that is expected here.
async function closedOf(closing: ClientHttp2Stream | ClientHttp2Session): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error("it was not closed")), WAIT_MS);
    closing.once("close", () => {
      clearTimeout(timer);
      resolve();
    });
  });
}

async function ask(
  session: ClientHttp2Session,
  headers: OutgoingHttpHeaders,
  body?: string | Buffer,
): Promise<Answer> {
  const stream = session.request(headers, { endStream: body === undefined });
  if (body !== undefined) stream.end(body);
  return await answerOf(stream);
}

async function forwarding(t: TestContext, script: OriginScript, rest: Partial<Config> = {}) {
  const origin: RawOrigin = await rawOrigin(t, script);
  const edge = await startEdge(t, {
    http2: true,
    config: {
      upstreams: [{ name: "origin", targets: [{ address: origin.address }] }],
      routes: [{ name: "all", upstream: "origin" }],
      ...rest,
    },
  });
  return { origin, edge, session: await connectTo(t, edge) };
}

test("over TLS the client chooses by ALPN, and both protocols are served", async (t) => {
  const certificate = await selfSignedCertificate(temporaryFolder(t));
  const edge = await startEdge(t, {
    http2: true,
    tls: tlsOptions([certificate]),
    config: { routes: [{ name: "echo", echo: true }] },
  });
  const session = http2.connect(`https://localhost:${edge.port}`, { ca: certificate.cert });
  t.after(() => session.destroy());
  await once(session, "connect");
  assert.equal(session.alpnProtocol, "h2");
  const answer = await ask(session, { ":path": "/a?b=c", "x-test": "1" });
  assert.equal(answer.status, 200);
  const seen = JSON.parse(answer.body) as Record<string, unknown>;
  assert.deepEqual([seen["scheme"], seen["path"], seen["query"]], ["https", "/a", "b=c"]);
  const socket = tls.connect({
    port: edge.port,
    ca: certificate.cert,
    servername: "localhost",
    ALPNProtocols: ["http/1.1"],
  });
  t.after(() => socket.destroy());
  await once(socket, "secureConnect");
  socket.write("GET /h1 HTTP/1.1\r\nhost: localhost\r\n\r\n");
  const [chunk] = (await once(socket, "data")) as [Buffer];
  assert.match(chunk.toString(), /^HTTP\/1\.1 200 OK/);
});

test("the origin gets one clean HTTP/1.1 request, and the answer comes back", async (t) => {
  const answer = `HTTP/1.1 201 Created\r\ncontent-length: 2\r\nset-cookie: a=1\r\nset-cookie: b=2\r\nconnection: x-hop\r\nx-hop: 1\r\n\r\nhi`;
  const { origin, session } = await forwarding(t, answerWith(answer));
  const got = await ask(session, {
    ":path": "/things/%7Ejoe?x=1",
    ":authority": "api.test",
    cookie: ["one=1", "two=2"],
    "x-own": "value",
    te: "trailers",
  });
  assert.deepEqual([got.status, got.body], [201, "hi"]);
  assert.deepEqual(got.headers["set-cookie"], ["a=1", "b=2"]);
  assert.equal(got.headers["x-hop"], undefined);
  assert.match(String(got.headers["x-request-id"]), /^[0-9a-f]{32}$/);
  const [received] = origin.received;
  assert.match(received, /^GET \/things\/~joe\?x=1 HTTP\/1\.1\r\nhost: api\.test\r\n/);
  assert.match(received, /\r\nx-own: value\r\n/);
  assert.match(received, /\r\ncookie: one=1; two=2\r\n/);
  assert.match(received, /\r\nx-forwarded-host: api\.test\r\n/);
  assert.doesNotMatch(received, /\r\n(te|connection|transfer-encoding):/);
});

test("bodies pass in both directions, with and without a length", async (t) => {
  const large = Buffer.alloc(3_000_000, "sallyport ");
  const { origin, session } = await forwarding(t, (socket, received) => {
    const head = received.slice(0, received.indexOf("\r\n\r\n"));
    const isWhole = /transfer-encoding: chunked/.test(head)
      ? received.endsWith("0\r\n\r\n")
      : received.length >= head.length + 4 + large.length;
    if (!isWhole) return;
    socket.write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
    socket.write(`${large.length.toString(16)}\r\n`);
    socket.write(large);
    socket.write("\r\n0\r\n\r\n");
  });
  const sized = await ask(session, { ":method": "POST", "content-length": large.length }, large);
  assert.equal(sized.body.length, large.length);
  const open = await ask(session, { ":method": "POST", ":path": "/open" }, large);
  assert.ok(Buffer.from(open.body, "latin1").equals(large));
  assert.match(origin.received.join(""), /\r\ncontent-length: 3000000\r\n/);
  assert.match(origin.received.join(""), /\r\ntransfer-encoding: chunked\r\n/);
});

test("a client that does not read holds the origin back", async (t) => {
  const total = 64 * 1024 * 1024;
  const { origin, session } = await forwarding(t, (socket, received) => {
    if (!received.endsWith("\r\n\r\n")) return;
    socket.write(`HTTP/1.1 200 OK\r\ncontent-length: ${total}\r\n\r\n`);
    socket.write(Buffer.alloc(total));
  });
  const stream = session.request({ ":path": "/" }, { endStream: true });
  const [headers] = (await once(stream, "response")) as [http2.IncomingHttpHeaders];
  assert.equal(headers[":status"], 200);
  // Other streams of the same connection go on.
  const { port } = await forwardingNothing(t);
  assert.ok(port > 0);
  for (let i = 0; i < 200; i++) await new Promise((resolve) => setImmediate(resolve));
  assert.ok(origin.sockets[0].writableLength > total / 2, "most of it was never taken");
  let bytes = 0;
  stream.on("data", (chunk: Buffer) => (bytes += chunk.length));
  await once(stream, "end", { signal: AbortSignal.timeout(WAIT_MS) });
  assert.equal(bytes, total);
});

async function forwardingNothing(t: TestContext): Promise<{ port: number }> {
  return await startEdge(t, { config: { routes: [{ name: "r", respond: {} }] } });
}

test("what is malformed or ambiguous is refused, and nothing of it reaches the origin", async (t) => {
  const { origin, edge } = await forwarding(t, answerWith(ok("never")));
  const bad: readonly (readonly [what: string, headers: [string, string][], status: number])[] = [
    [
      "two hosts",
      [
        [":authority", "a.test"],
        ["host", "b.test"],
      ],
      400,
    ],
    ["user information", [[":authority", "user@a.test"]], 400],
    [
      "an absolute path",
      [
        [":authority", "a.test"],
        [":path", "http://evil.test/"],
      ],
      400,
    ],
    [
      "a fragment",
      [
        [":authority", "a.test"],
        [":path", "/a#b"],
      ],
      400,
    ],
    [
      "a double escape",
      [
        [":authority", "a.test"],
        [":path", "/a/%zz"],
      ],
      400,
    ],
    [
      "an unknown method",
      [
        [":authority", "a.test"],
        [":method", "BREW"],
      ],
      501,
    ],
    [
      "TRACE",
      [
        [":authority", "a.test"],
        [":method", "TRACE"],
      ],
      501,
    ],
    [
      "an unknown expectation",
      [
        [":authority", "a.test"],
        ["expect", "miracles"],
      ],
      417,
    ],
  ];
  for (const [what, headers, status] of bad) {
    const session = await connectTo(t, edge);
    const all = new Map<string, string>([
      [":path", "/"],
      [":method", "GET"],
      [":scheme", "http"],
      ...headers,
    ]);
    const stream = session.request([...all].flat(), { endStream: true });
    const answer = await answerOf(stream);
    if (answer.status === 0) {
      // nghttp2 was faster: it resets streams whose pseudo headers no request can have.
      assert.equal(answer.rstCode, http2.constants.NGHTTP2_PROTOCOL_ERROR, what);
      continue;
    }
    assert.equal(answer.status, status, what);
    assert.equal(answer.headers["content-type"], "application/problem+json", what);
  }
  assert.deepEqual(origin.received, []);
});

test("a body that does not fit its length is not passed off as one", async (t) => {
  const { origin, session } = await forwarding(t, answerWith(ok("never")));
  const stream = session.request({ ":method": "POST", "content-length": 10 });
  stream.end("short");
  const answer = await answerOf(stream);
  assert.notEqual(answer.status, 200);
  assert.equal((origin.received[0] ?? "").endsWith("short") && origin.sockets[0].writable, false);
});

test("an origin that is cut off resets the stream", async (t) => {
  const { session } = await forwarding(t, (socket) => {
    socket.write("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf");
    setImmediate(() => socket.destroy());
  });
  const answer = await ask(session, { ":path": "/" });
  assert.equal(answer.status, 200);
  assert.notEqual(answer.rstCode, http2.constants.NGHTTP2_NO_ERROR);
});

test("nor is a body without a length that is cut off taken for a whole one", async (t) => {
  const { session } = await forwarding(t, (socket) => {
    socket.write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n");
    setImmediate(() => socket.destroy());
  });
  const answer = await ask(session, { ":path": "/" });
  assert.deepEqual([answer.status, answer.body], [200, "half"]);
  assert.equal(answer.rstCode, http2.constants.NGHTTP2_INTERNAL_ERROR);
});

test("a stream that its client resets ends the request at the origin", async (t) => {
  const { origin, session, edge } = await forwarding(t, () => {});
  const stream = session.request({ ":path": "/" });
  stream.on("error", () => {});
  await until(() => (origin.received[0] ?? "").includes("\r\n\r\n"));
  const gone = once(origin.sockets[0], "close");
  stream.close(http2.constants.NGHTTP2_CANCEL);
  await gone;
  await until(() => edge.finished.length === 1);
});

test("HEAD, 204, 304, early hints and the continue of a body", async (t) => {
  const { session } = await forwarding(t, (socket, received) => {
    if (received.endsWith("\r\n\r\n")) {
      socket.write("HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n");
      const status = received.startsWith("HEAD") ? "200 OK" : "204 No Content";
      socket.write(`HTTP/1.1 ${status}\r\ncontent-length: 7\r\n\r\n`);
    }
  });
  const stream = session.request({ ":method": "HEAD", ":path": "/" }, { endStream: true });
  const hints = once(stream, "headers") as Promise<[http2.IncomingHttpHeaders]>;
  const head = answerOf(stream);
  const [early] = await hints;
  assert.deepEqual([early[":status"], early["link"]], [103, "</a.css>"]);
  const { status, headers, body } = await head;
  assert.deepEqual([status, headers["content-length"], body], [200, "7", ""]);
  const echo = await startEdge(t, { http2: true, config: { routes: [{ name: "e", echo: true }] } });
  const other = await connectTo(t, echo);
  const waiting = other.request({ ":method": "POST", ":path": "/", expect: "100-continue" });
  await once(waiting, "continue", { signal: AbortSignal.timeout(WAIT_MS) });
  waiting.end("now");
  assert.equal((JSON.parse((await answerOf(waiting)).body) as { body: string }).body, "now");
});

test("a route's time, a slow body and an idle connection each end by themselves", async (t) => {
  const origin = await rawOrigin(t, () => {});
  const edge = await startEdge(t, {
    http2: true,
    timeouts: { body_idle_ms: 150, idle_ms: 300 },
    config: {
      upstreams: [{ name: "origin", targets: [{ address: origin.address }] }],
      routes: [
        {
          name: "slow",
          match: { paths: [{ prefix: "/slow" }] },
          upstream: "origin",
          timeout_ms: 200,
        },
        { name: "echo", echo: true },
      ],
    },
  });
  const session = await connectTo(t, edge);
  assert.equal((await ask(session, { ":path": "/slow" })).status, 504);
  const stalled = session.request({ ":method": "POST", ":path": "/" });
  stalled.write("some");
  assert.equal((await answerOf(stalled)).status, 408);
  await closedOf(session);
});

test("a flood of resets is cut off, and others are served on", async (t) => {
  const { edge, origin } = await forwarding(t, () => {});
  const attacker = await connectTo(t, edge);
  const closed = closedOf(attacker);
  for (let i = 0; i < 2_000 && !attacker.destroyed; i++) {
    const stream = attacker.request({ ":path": "/" });
    stream.on("error", () => {});
    stream.close(http2.constants.NGHTTP2_CANCEL);
    if (i % 50 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  await closed;
  assert.ok(origin.received.length < 1_500, `${origin.received.length} reached the origin`);
  const echo = await startEdge(t, { http2: true, config: { routes: [{ name: "e", echo: true }] } });
  assert.equal((await ask(await connectTo(t, echo), { ":path": "/" })).status, 200);
});

test("a drain lets streams end and takes no new ones", async (t) => {
  const { edge, origin, session } = await forwarding(t, () => {});
  const going = ask(session, { ":path": "/" });
  await until(() => (origin.received[0] ?? "").includes("\r\n\r\n"));
  const drained = edge.host.drain();
  await once(session, "goaway", { signal: AbortSignal.timeout(WAIT_MS) });
  origin.sockets[0].write(ok("whole"));
  assert.equal((await going).body, "whole");
  await drained;
});

async function until(holds: () => boolean): Promise<void> {
  const deadlineMs = performance.now() + WAIT_MS;
  while (!holds()) {
    assert.ok(performance.now() < deadlineMs, "it did not come about");
    await new Promise((resolve) => setImmediate(resolve));
  }
}
