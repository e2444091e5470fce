// WebSocket through the gateway: real clients and a real server (ws and the platform's own), and raw
// sockets where the handshake or the drain must be seen byte by byte.

import assert from "node:assert/strict";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { WebSocket, WebSocketServer } from "ws";
import { startEdge } from "../support/edge.ts";
import type { Edge } from "../support/edge.ts";
import { connectRaw, exchangeRaw, ok, rawOrigin, statusOf } from "../support/raw.ts";
import type { OriginScript, RawOrigin } from "../support/raw.ts";

const KEY = "dGhlIHNhbXBsZSBub25jZQ==";
/** The answer to that key in RFC 6455, 1.3. */
const ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
const SWITCH = `HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-accept: ${ACCEPT}\r\n\r\n`;

function handshake(edit: (fields: Map<string, string>) => void = () => {}): string {
  const fields = new Map([
    ["host", "a.test"],
    ["connection", "Upgrade"],
    ["upgrade", "websocket"],
    ["sec-websocket-version", "13"],
    ["sec-websocket-key", KEY],
  ]);
  edit(fields);
  const lines = [...fields].map(([name, value]) => `${name}: ${value}\r\n`);
  return `GET /chat HTTP/1.1\r\n${lines.join("")}\r\n`;
}

async function edgeTo(
  t: TestContext,
  address: string,
  websocket: { idle_ms?: number } = {},
): Promise<Edge> {
  return await startEdge(t, {
    config: {
      upstreams: [{ name: "origin", targets: [{ address }] }],
      routes: [{ name: "all", upstream: "origin", timeout_ms: 500, websocket }],
    },
  });
}

async function echoServer(t: TestContext): Promise<{ address: string; server: WebSocketServer }> {
  const server = new WebSocketServer({ port: 0, host: "127.0.0.1" });
  server.on("connection", (socket) => {
    socket.on("message", (data, isBinary) => socket.send(data, { binary: isBinary }));
  });
  await once(server, "listening");
  t.after(() => {
    for (const client of server.clients) client.terminate();
    server.close();
  });
  return { address: `127.0.0.1:${(server.address() as AddressInfo).port}`, server };
}

/** Turns of the event loop until it holds, for ten seconds at most. */
async function until(holds: () => boolean): Promise<void> {
  const deadlineMs = performance.now() + 10_000;
  while (!holds()) {
    assert.ok(performance.now() < deadlineMs, "it did not come about");
    await new Promise((resolve) => setImmediate(resolve));
  }
}

async function rawEdge(t: TestContext, script: OriginScript) {
  const origin: RawOrigin = await rawOrigin(t, script);
  const edge = await edgeTo(t, origin.address);
  return { origin, edge };
}

test("a client that half-closed before the origin agreed is known to have ended", async (t) => {
  const origin = await rawOrigin(t, () => {});
  const edge = await edgeTo(t, origin.address);
  const client = await connectRaw(t, edge.port);
  client.socket.end(handshake());
  await until(() => origin.received.length === 1 && origin.received[0].endsWith("\r\n\r\n"));
  // The answer to a later connection says that the end of this one has been read.
  await exchangeRaw(t, edge.port, "GET / HTTP/1.1\r\nbroken\r\n\r\n");
  let ended = false;
  origin.sockets[0].once("end", () => (ended = true));
  origin.sockets[0].write(SWITCH);
  await until(() => ended);
});

test("messages of every size pass in both directions, beyond the route's time", async (t) => {
  const { address } = await echoServer(t);
  const edge = await edgeTo(t, address);
  const socket = new WebSocket(`ws://127.0.0.1:${edge.port}/chat`, { perMessageDeflate: true });
  t.after(() => socket.terminate());
  await once(socket, "open");
  for (const bytes of [0, 1, 125, 126, 65_535, 65_536, 5_000_000]) {
    const sent = Buffer.alloc(bytes, "sallyport");
    socket.send(sent);
    const [received] = (await once(socket, "message")) as [Buffer];
    assert.ok(sent.equals(received), `${bytes} bytes came back changed`);
  }
  // Longer than the route allows a request.
  const laterMs = performance.now() + 700;
  while (performance.now() < laterMs) {
    socket.send("tick");
    await once(socket, "message");
  }
  socket.close(4001, "enough");
  const [code, reason] = (await once(socket, "close")) as [number, Buffer];
  assert.deepEqual([code, reason.toString()], [4001, "enough"]);
  const [exchange] = edge.finished;
  assert.equal(exchange.status, 101);
  assert.ok(exchange.bytesReceived > 5_000_000 && exchange.bytesSent > 5_000_000);
});

test("a slow reader holds the origin back instead of filling the gateway", async (t) => {
  const { address, server } = await echoServer(t);
  const edge = await edgeTo(t, address);
  const [[socket]] = await Promise.all([
    once(server, "connection") as Promise<[WebSocket]>,
    connectRaw(t, edge.port).then(async (client) => {
      client.send(handshake());
      await client.until((text) => text.includes("\r\n\r\n"));
      client.socket.pause();
    }),
  ]);
  const chunk = Buffer.alloc(1_000_000);
  for (let i = 0; i < 64; i++) socket.send(chunk);
  const before = process.memoryUsage().external;
  // The origin's queue stays full: what the kernel's buffers do not take is not read.
  await new Promise((resolve) => setImmediate(resolve));
  assert.ok(socket.bufferedAmount > 32_000_000, `${socket.bufferedAmount} bytes are left`);
  assert.ok(process.memoryUsage().external - before < 16_000_000);
});

test("no byte of the client reaches the origin before it agreed", async (t) => {
  const { origin, edge } = await rawEdge(t, () => {});
  const client = await connectRaw(t, edge.port);
  client.send(`${handshake()}early bytes`);
  await until(() => (origin.received[0] ?? "").includes("\r\n\r\n"));
  assert.equal(origin.received[0].includes("early"), false);
  assert.match(origin.received[0], /\r\nconnection: upgrade\r\nupgrade: websocket\r\n/);
  origin.sockets[0].write(SWITCH);
  await client.until((text) => text.includes("101 Switching"));
  await until(() => origin.received[0].endsWith("early bytes"));
});

test("an origin that does not agree answers like any other, and the bytes behind are no request", async (t) => {
  const { origin, edge } = await rawEdge(t, (socket, received) => {
    if (received.endsWith("\r\n\r\n")) socket.write(ok("no"));
  });
  const text = (await exchangeRaw(t, edge.port, `${handshake()}\x81\x85garbage`)).text;
  assert.match(text, /^HTTP\/1\.1 200 OK\r\n[^]*\r\n\r\nnoHTTP\/1\.1 400 /);
  assert.equal(origin.received.length, 1);
});

test("what cannot become a WebSocket is told so, and the origin is not asked", async (t) => {
  const { origin, edge } = await rawEdge(t, (socket) => socket.write(SWITCH));
  const cases: readonly (readonly [status: number, edit: (fields: Map<string, string>) => void])[] =
    [
      [426, (fields) => fields.set("sec-websocket-version", "8")],
      [426, (fields) => fields.delete("sec-websocket-version")],
      [400, (fields) => fields.set("sec-websocket-key", "short")],
      [400, (fields) => fields.delete("sec-websocket-key")],
    ];
  for (const [status, edit] of cases) {
    const head = handshake((fields) => {
      edit(fields);
      fields.set("connection", "upgrade, close");
    });
    const { text } = await exchangeRaw(t, edge.port, head);
    assert.equal(statusOf(text), status, head);
    if (status === 426) assert.match(text, /\r\nsec-websocket-version: 13\r\n/);
  }
  assert.deepEqual(origin.received, []);
});

test("other upgrades are not offered: their fields go, and the request is answered as it is", async (t) => {
  const { origin, edge } = await rawEdge(t, (socket, received) => {
    if (received.endsWith("\r\n\r\n")) socket.write(ok("plain"));
  });
  for (const token of ["h2c", "websocket, h2c", "TLS/1.0"]) {
    const head = handshake((fields) => {
      fields.set("upgrade", token);
      fields.set("connection", "upgrade, http2-settings, close");
      fields.set("http2-settings", "AAMAAABkAAQAoAAAAAIAAAAA");
    });
    assert.match((await exchangeRaw(t, edge.port, head)).text, /\r\n\r\nplain$/);
  }
  for (const received of origin.received) {
    assert.equal(/upgrade|http2-settings/i.test(received), false, received);
  }
});

test("a 101 that does not answer the handshake is a bad response", async (t) => {
  const wrongs = [
    SWITCH.replace(ACCEPT, "AAAAAAAAAAAAAAAAAAAAAAAAAAA="),
    SWITCH.replace("upgrade: websocket", "upgrade: h2c"),
    SWITCH.replace("connection: Upgrade\r\n", ""),
  ];
  for (const answer of wrongs) {
    const { edge } = await rawEdge(t, (socket) => socket.write(answer));
    const client = await connectRaw(t, edge.port);
    client.send(handshake());
    const text = await client.until((received) => received.includes("\r\n\r\n"));
    assert.equal(statusOf(text), 502);
  }
});

test("a silent WebSocket is ended", async (t) => {
  const { address } = await echoServer(t);
  const edge = await edgeTo(t, address, { idle_ms: 200 });
  const socket = new WebSocket(`ws://127.0.0.1:${edge.port}/chat`);
  socket.on("error", () => {});
  await once(socket, "open");
  const [code] = (await once(socket, "close")) as [number];
  assert.equal(code, 1006);
});

test("when one side goes, the other is closed too", async (t) => {
  const { address, server } = await echoServer(t);
  const edge = await edgeTo(t, address);
  const client = await connectRaw(t, edge.port);
  const connected = once(server, "connection") as Promise<[WebSocket]>;
  client.send(handshake());
  const [atOrigin] = await connected;
  await client.until((text) => text.includes("101"));
  client.socket.resetAndDestroy();
  await once(atOrigin, "close");
  const second = await connectRaw(t, edge.port);
  const again = once(server, "connection") as Promise<[WebSocket]>;
  second.send(handshake());
  const [other] = await again;
  await second.until((text) => text.includes("101"));
  other.terminate();
  await second.closed();
});

test("a drain tells both sides with a close frame between two of their own", async (t) => {
  const { address, server } = await echoServer(t);
  const edge = await edgeTo(t, address);
  const connected = once(server, "connection") as Promise<[WebSocket]>;
  const socket = new WebSocket(`ws://127.0.0.1:${edge.port}/chat`);
  await once(socket, "open");
  const [atOrigin] = await connected;
  socket.send("before");
  await once(socket, "message");
  const closes = Promise.all([once(socket, "close"), once(atOrigin, "close")]);
  await edge.host.drain();
  const [[clientCode], [originCode]] = (await closes) as [[number], [number]];
  assert.deepEqual([clientCode, originCode], [1001, 1001]);
});

test("a drain in the middle of a frame waits for its end", async (t) => {
  const { origin, edge } = await rawEdge(t, (socket, received) => {
    if (received.endsWith("\r\n\r\n")) socket.write(SWITCH);
  });
  const client = await connectRaw(t, edge.port);
  client.send(handshake());
  await client.until((text) => text.endsWith("\r\n\r\n"));
  origin.sockets[0].write(Buffer.from([0x81, 10, ...Buffer.from("half ")]));
  await client.until((text) => text.endsWith("half "));
  void edge.host.drain();
  origin.sockets[0].write("donee");
  const { text } = await client.closed();
  assert.equal(text.slice(text.indexOf("\r\n\r\n") + 4), "\x81\x0ahalf donee\x88\x02\x03\xe9");
});
