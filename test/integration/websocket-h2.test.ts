// WebSocket from clients of HTTP/2 (RFC 8441), through the gateway to origins of HTTP/1.1: an extended
// CONNECT becomes an upgrade, and what holds for the one kind of client holds for the other. The client
// makes its frames itself; the origins are a real server, or a raw socket where the bytes matter.

import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import http2 from "node:http2";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { WebSocketServer } from "ws";
import type { WebSocket } from "ws";
import { startEdge } from "../support/edge.ts";
import type { Edge } from "../support/edge.ts";
import {
  BINARY,
  CLOSE,
  H2WebSocket,
  TEXT,
  closePayload,
  h2Session,
  until,
} from "../support/h2-websocket.ts";
import { ok, rawOrigin } from "../support/raw.ts";

const { NGHTTP2_CANCEL, NGHTTP2_INTERNAL_ERROR, NGHTTP2_NO_ERROR, NGHTTP2_PROTOCOL_ERROR } =
  http2.constants;
const MIB = 1_048_576;

type Served = {
  readonly edge: Edge;
  readonly session: http2.ClientHttp2Session;
  /** The origin's ends, in the order they came. */
  readonly sockets: WebSocket[];
  /** Heads of the handshakes as the origin read them. */
  readonly heads: Map<string, string[]>[];
};

async function edgeTo(t: TestContext, address: string): Promise<Edge> {
  return await startEdge(t, {
    http2: true,
    config: {
      upstreams: [{ name: "origin", targets: [{ address }] }],
      routes: [
        { name: "own", match: { paths: [{ prefix: "/own" }] }, respond: { body: "no socket" } },
        { name: "echo", match: { paths: [{ prefix: "/echo" }] }, echo: true },
        { name: "all", upstream: "origin", timeout_ms: 500 },
      ],
    },
  });
}

/** A server that sends each message back; paths with "forbidden" it refuses. */
async function served(t: TestContext): Promise<Served> {
  const server = createServer();
  const sockets: WebSocket[] = [];
  const heads: Map<string, string[]>[] = [];
  const websockets = new WebSocketServer({ noServer: true });
  server.on("upgrade", (request, socket, rest) => {
    if (request.url?.includes("forbidden") === true) {
      socket.end("HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno");
      return;
    }
    const fields = Object.entries(request.headersDistinct) as [string, string[]][];
    heads.push(new Map([[":line", [`${request.method} ${request.url}`]], ...fields]));
    websockets.handleUpgrade(request, socket, rest, (websocket) => {
      sockets.push(websocket);
      websocket.on("error", () => {});
      websocket.on("message", (data, isBinary) => websocket.send(data, { binary: isBinary }));
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => {
    for (const socket of sockets) socket.terminate();
    server.close();
  });
  const edge = await edgeTo(t, `127.0.0.1:${(server.address() as AddressInfo).port}`);
  return { edge, session: await h2Session(t, edge.port), sockets, heads };
}

async function open(session: http2.ClientHttp2Session): Promise<H2WebSocket> {
  const client = new H2WebSocket(session);
  client.read();
  assert.equal(await client.answered(), 200);
  return client;
}

test("messages pass in both directions, byte for byte, beyond the route's time", async (t) => {
  const { session, edge } = await served(t);
  assert.equal(session.remoteSettings.enableConnectProtocol, true);
  const client = await open(session);
  for (const bytes of [0, 1, 125, 126, 65_535, 65_536, MIB]) {
    const sent = Buffer.from(new Uint8Array(bytes).map((_, i) => (i * 31) ^ (i >> 8)));
    client.send(BINARY, sent);
    const { opcode, payload } = await client.next();
    assert.equal(opcode, BINARY);
    assert.ok(payload.equals(sent), `${bytes} bytes came back changed`);
  }
  const laterMs = performance.now() + 700;
  while (performance.now() < laterMs) {
    client.send(TEXT, "tick");
    assert.deepEqual(await client.next(), { opcode: TEXT, payload: Buffer.from("tick") });
  }
  client.send(CLOSE, closePayload(1000, ""));
  await client.next();
  await client.closed();
  await until(() => edge.finished.length === 1);
  assert.ok(edge.finished[0].bytesReceived > MIB && edge.finished[0].bytesSent > MIB);
});

test("codes and reasons of a close pass, whichever side begins", async (t) => {
  const { session, sockets } = await served(t);
  const first = await open(session);
  const closedAtOrigin = once(sockets[0], "close") as Promise<[number, Buffer]>;
  first.send(CLOSE, closePayload(4001, "enough"));
  const [code, reason] = await closedAtOrigin;
  assert.deepEqual([code, reason.toString()], [4001, "enough"]);
  assert.deepEqual((await first.next()).payload, closePayload(4001, "enough"));
  const second = await open(session);
  sockets[1].close(4002, "from here");
  const { opcode, payload } = await second.next();
  assert.deepEqual([opcode, payload], [CLOSE, closePayload(4002, "from here")]);
  second.send(CLOSE, payload);
  assert.equal(await second.closed(), NGHTTP2_NO_ERROR);
  assert.equal(second.hasEnded, true);
});

test("the origin sees one correct upgrade, and the client the answer of HTTP/2", async (t) => {
  const { session, heads } = await served(t);
  const keyOfClient = "dGhlIHNhbXBsZSBub25jZQ==";
  const client = new H2WebSocket(session, {
    ":path": "/chat?room=1",
    origin: "http://a.test",
    cookie: "a=1",
    "sec-websocket-protocol": "chat",
    // Of no meaning here (RFC 8441, 5.1): a second key would make the handshake invalid.
    "sec-websocket-key": keyOfClient,
  });
  assert.equal(await client.answered(), 200);
  assert.equal(client.headers["sec-websocket-protocol"], "chat");
  assert.equal(client.headers["sec-websocket-accept"], undefined);
  const [head] = heads;
  assert.deepEqual(head.get(":line"), ["GET /chat?room=1"]);
  assert.deepEqual(head.get("host"), ["a.test"]);
  assert.deepEqual(head.get("connection"), ["upgrade"]);
  assert.deepEqual(head.get("upgrade"), ["websocket"]);
  assert.deepEqual(head.get("sec-websocket-version"), ["13"]);
  assert.deepEqual(head.get("origin"), ["http://a.test"]);
  assert.deepEqual(head.get("cookie"), ["a=1"]);
  const keys = head.get("sec-websocket-key") ?? [];
  assert.equal(keys.length, 1);
  assert.equal(Buffer.from(keys[0], "base64").length, 16);
  assert.notEqual(keys[0], keyOfClient);
  assert.equal(head.has("transfer-encoding") || head.has("content-length"), false);
});

test("a refusal of the origin reaches the client as it is", async (t) => {
  const { session } = await served(t);
  const client = new H2WebSocket(session, { ":path": "/forbidden" });
  let body = "";
  client.stream.on("data", (chunk: Buffer) => (body += chunk.toString()));
  assert.equal(await client.answered(), 403);
  await until(() => client.hasEnded);
  assert.equal(body, "no");
  // The session goes on.
  await open(session);
});

test("no other success is taken for an open WebSocket", async (t) => {
  const plain = await rawOrigin(t, (socket) => socket.write(ok("a page")));
  const edge = await edgeTo(t, plain.address);
  const session = await h2Session(t, edge.port);
  // Over HTTP/2 any 2xx says that it is open (RFC 8441, 5): neither a page nor our own answer does.
  for (const path of ["/page", "/own", "/echo"]) {
    const client = new H2WebSocket(session, { ":path": path });
    assert.equal(await client.answered(), 501, path);
    client.stream.resume();
    await client.closed();
  }
  const client = new H2WebSocket(session, { "sec-websocket-version": "8", ":path": "/old" });
  assert.equal(await client.answered(), 426);
  assert.equal(client.headers["sec-websocket-version"], "13");
  assert.equal(plain.received.length, 1);
});

test("a handshake that expects a 100 gets its answer, and the gateway lives on", async (t) => {
  const { session, sockets } = await served(t);
  const client = new H2WebSocket(session, { expect: "100-continue" });
  client.read();
  assert.equal(await client.answered(), 200);
  client.send(TEXT, "hello");
  assert.equal((await client.next()).payload.toString(), "hello");
  assert.equal(sockets.length, 1);
});

test("what is no extended CONNECT for WebSocket is refused, and its session goes on", async (t) => {
  const { session, heads } = await served(t);
  const cases: readonly (readonly [what: string, edits: Record<string, string | null>])[] = [
    ["another protocol", { ":protocol": "connect-udp" }],
    ["a protocol in other letters", { ":protocol": "WebSocket" }],
    ["a protocol with another method", { ":method": "GET" }],
    ["a plain CONNECT", { ":protocol": null, ":scheme": null, ":path": null }],
    ["a plain CONNECT with a path", { ":protocol": null }],
    ["a path that is none", { ":path": "*" }],
    ["a declared length", { "content-length": "5" }],
    ["an upgrade within", { upgrade: "websocket" }],
    ["a host that differs", { host: "b.test" }],
  ];
  for (const [what, edits] of cases) {
    let status = 0;
    try {
      const client = new H2WebSocket(session, edits);
      status = await client.answered();
      if (status === 0) assert.equal(await client.closed(), NGHTTP2_PROTOCOL_ERROR, what);
      client.stream.close(NGHTTP2_CANCEL);
    } catch (error) {
      // The client's own half of node:http2 does not let some of them leave.
      assert.match(String((error as { code?: string }).code), /^ERR_HTTP2_/, what);
    }
    assert.ok(status === 0 || status === 400 || status === 501, `${what}: ${status}`);
  }
  assert.deepEqual(heads, []);
  await open(session);
});

test("a stream that its client resets closes the origin's socket", async (t) => {
  const { session, sockets, edge } = await served(t);
  for (const code of [NGHTTP2_CANCEL, NGHTTP2_NO_ERROR]) {
    const client = await open(session);
    const atOrigin = sockets.at(-1) as WebSocket;
    const gone = once(atOrigin, "close", { signal: AbortSignal.timeout(10_000) });
    client.stream.close(code);
    const [closeCode] = (await gone) as [number];
    assert.equal(closeCode, 1006);
  }
  const client = await open(session);
  const gone = once(sockets[2], "close", { signal: AbortSignal.timeout(10_000) });
  session.destroy();
  await gone;
  await until(() => edge.finished.length === 3 && client.stream.closed);
});

test("a client that ends its half is answered, and the stream ends", async (t) => {
  const { session, sockets } = await served(t);
  const client = await open(session);
  const gone = once(sockets[0], "close", { signal: AbortSignal.timeout(10_000) });
  client.stream.end();
  await gone;
  await client.closed();
});

test("an origin that goes abruptly ends the stream, and it does not look like a clean end", async (t) => {
  const { session, sockets } = await served(t);
  const reset = await open(session);
  const socket = (sockets[0] as unknown as { _socket: { resetAndDestroy(): void } })._socket;
  socket.resetAndDestroy();
  assert.equal(await reset.closed(), NGHTTP2_INTERNAL_ERROR);
  // An end without a close frame is for the client to judge (RFC 6455, 7.1.5: 1006).
  const ended = await open(session);
  sockets[1].terminate();
  await ended.closed();
  await open(session);
});

test("a drain tells both sides with a close frame, and the session ends", async (t) => {
  const { session, sockets, edge } = await served(t);
  const client = await open(session);
  client.send(TEXT, "before");
  await client.next();
  const closedAtOrigin = once(sockets[0], "close") as Promise<[number]>;
  const drained = edge.host.drain();
  const { opcode, payload } = await client.next();
  assert.deepEqual([opcode, payload], [CLOSE, closePayload(1001, "")]);
  assert.equal((await closedAtOrigin)[0], 1001);
  await drained;
  await until(() => session.closed);
});

test("many WebSockets share one session and do not mix", async (t) => {
  const { session, sockets } = await served(t);
  const clients = await Promise.all(Array.from({ length: 20 }, () => open(session)));
  assert.equal(sockets.length, 20);
  const large = Buffer.alloc(100_000);
  await Promise.all(
    clients.map(async (client, index) => {
      for (let turn = 0; turn < 10; turn++) {
        const sent = Buffer.from(large.fill(index + turn));
        client.send(BINARY, sent);
        const { payload } = await client.next();
        assert.ok(payload.equals(sent), `socket ${index}, turn ${turn}`);
      }
    }),
  );
  // One of them ends and the others do not notice.
  clients[0].stream.close(NGHTTP2_CANCEL);
  clients[1].send(TEXT, "still here");
  assert.equal((await clients[1].next()).payload.toString(), "still here");
});

test("a client that does not read holds the origin back instead of filling the gateway", async (t) => {
  const { session, sockets } = await served(t);
  const client = new H2WebSocket(session);
  assert.equal(await client.answered(), 200);
  const other = await open(session);
  const chunk = Buffer.alloc(MIB, "sallyport");
  const before = process.memoryUsage();
  for (let i = 0; i < 20; i++) sockets[0].send(chunk);
  // A round trip on another stream of the session: whoever would read on has had its turns.
  for (let i = 0; i < 200; i++) {
    other.send(TEXT, "tick");
    await other.next();
  }
  assert.ok(sockets[0].bufferedAmount > 8 * MIB, `${sockets[0].bufferedAmount} bytes are left`);
  const grown = process.memoryUsage().arrayBuffers - before.arrayBuffers;
  assert.ok(grown < 4 * MIB, `${grown} bytes more`);
  client.read();
  for (let i = 0; i < 20; i++) assert.ok((await client.next()).payload.equals(chunk));
});

test("an origin that does not read holds the client back", async (t) => {
  const { session, sockets, edge } = await served(t);
  const client = await open(session);
  sockets[0].pause();
  const frame = Buffer.alloc(MIB, 7);
  for (let i = 0; i < 20; i++) client.send(BINARY, frame);
  // Over another session: what fills the client's own queue would keep its next stream waiting.
  const other = await open(await h2Session(t, edge.port));
  for (let i = 0; i < 200; i++) {
    other.send(TEXT, "tick");
    await other.next();
  }
  const left = client.stream.writableLength;
  assert.ok(left > 8 * MIB, `${left} bytes are left`);
  sockets[0].resume();
  for (let i = 0; i < 20; i++) assert.ok((await client.next()).payload.equals(frame));
});
