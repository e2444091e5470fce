// HTTP/2 from clients, and what is its own: the platform's client over TLS by ALPN and over clear text with
// prior knowledge, windows, streams beside each other, resets, drains. That what holds over HTTP/1.1 holds
// here is in test/integration/conformance.test.ts.

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
import { ok, rawOrigin } from "../support/raw.ts";
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
