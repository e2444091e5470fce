// PROXY headers and bounds on connections, over real sockets: whom a header is believed from and what
// it changes, in front of clear text, HTTP/2 and TLS, and what origins get that ask for one.

import assert from "node:assert/strict";
import { once } from "node:events";
import http2 from "node:http2";
import net from "node:net";
import tls from "node:tls";
import { test } from "node:test";
import type { TestContext } from "node:test";
import type { UpstreamConfig } from "../../gateway/config/schema.ts";
import {
  ProxyHeaderReader,
  proxyHeaderV1,
  proxyHeaderV2,
} from "../../gateway/wire/proxy-protocol.ts";
import { Authority } from "../support/certificates.ts";
import { startEdge, tlsOptions } from "../support/edge.ts";
import type { EdgeOptions } from "../support/edge.ts";
import { until } from "../support/origin-user.ts";
import { answerWith, connectRaw, exchangeRaw, ok, rawOrigin } from "../support/raw.ts";

const CLIENT = { address: "203.0.113.7", port: 4711 };
const SERVER = { address: "192.0.2.1", port: 443 };
const V1 = proxyHeaderV1(CLIENT, SERVER);
const V2 = proxyHeaderV2(CLIENT, SERVER).latin1Slice();
const GET = "GET / HTTP/1.1\r\nhost: a\r\nx-forwarded-for: 198.51.100.1\r\n\r\n";
const LAST = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
const PROXIED = ["127.0.0.0/8"];
const ECHO: EdgeOptions["config"] = { routes: [{ name: "echo", echo: true }] };

const authority = new Authority("authority");
const CERTIFICATE = authority.make({ dns: ["localhost"] });
const SECURE = tlsOptions([CERTIFICATE]);

/** What the echo route says of the client, per answer. */
const clientsIn = (text: string) =>
  [...text.matchAll(/"x-forwarded-for": ?"([^"]*)"/g)].map(([, address]) => address);

for (const [name, header] of [
  ["version 1", V1],
  ["version 2", V2],
]) {
  test(`${name}: every request of the connection is of the client it names`, async (t) => {
    const edge = await startEdge(t, { config: ECHO, proxyProtocol: PROXIED });
    const { text } = await exchangeRaw(t, edge.port, Buffer.from(header + GET + LAST, "latin1"));
    assert.deepEqual(clientsIn(text), [CLIENT.address, CLIENT.address]);
  });

  test(`${name}: may come a byte at a time`, async (t) => {
    const edge = await startEdge(t, { config: ECHO, proxyProtocol: PROXIED });
    const client = await connectRaw(t, edge.port);
    client.socket.setNoDelay(true);
    for (const byte of Buffer.from(header + LAST, "latin1")) {
      client.socket.write(Buffer.of(byte));
      await new Promise((resolve) => setImmediate(resolve));
    }
    assert.deepEqual(clientsIn((await client.closed()).text), [CLIENT.address]);
  });

  test(`${name}: comes before the TLS handshake`, async (t) => {
    const edge = await startEdge(t, { config: ECHO, proxyProtocol: PROXIED, tls: SECURE });
    for (const together of [false, true]) {
      const under = net.connect(edge.port, "127.0.0.1");
      t.after(() => under.destroy());
      if (together) under.cork();
      under.write(Buffer.from(header, "latin1"));
      const client = handshake(under);
      if (together) setImmediate(() => under.uncork());
      await once(client, "secureConnect");
      client.write(LAST);
      let text = "";
      for await (const chunk of client) text += String(chunk);
      assert.deepEqual(clientsIn(text), [CLIENT.address]);
    }
  });

  test(`${name}: comes before HTTP/2 with prior knowledge`, async (t) => {
    const edge = await startEdge(t, { config: ECHO, proxyProtocol: PROXIED, http2: true });
    const under = net.connect(edge.port, "127.0.0.1");
    under.write(Buffer.from(header, "latin1"));
    const session = http2.connect("http://a", { createConnection: () => under });
    t.after(() => session.destroy());
    const request = session.request({ ":path": "/" });
    let text = "";
    for await (const chunk of request) text += String(chunk);
    assert.deepEqual(clientsIn(text), [CLIENT.address]);
  });
}

test("a header that names nobody leaves the client to be the peer", async (t) => {
  const edge = await startEdge(t, { config: ECHO, proxyProtocol: PROXIED });
  const { text } = await exchangeRaw(t, edge.port, `PROXY UNKNOWN\r\n${LAST}`);
  assert.deepEqual(clientsIn(text), ["127.0.0.1"]);
});

for (const [what, bytes] of [
  ["no header at all", LAST],
  ["a header that is wrong", `PROXY TCP4 256.0.0.1 1.1.1.1 1 1\r\n${LAST}`],
  ["an HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"],
]) {
  test(`${what} ends the connection without an answer`, async (t) => {
    const edge = await startEdge(t, { config: ECHO, proxyProtocol: PROXIED, http2: true });
    assert.equal((await exchangeRaw(t, edge.port, bytes)).text, "");
    assert.equal(edge.host.connectionCount, 0);
  });
}

test("a second header is no request", async (t) => {
  const edge = await startEdge(t, { config: ECHO, proxyProtocol: PROXIED });
  const { text } = await exchangeRaw(t, edge.port, V1 + V1 + LAST);
  assert.match(text, /^HTTP\/1\.1 400 /);
});

test("a peer that is not trusted is closed, whatever it sends", async (t) => {
  const edge = await startEdge(t, { config: ECHO, proxyProtocol: ["192.0.2.0/24"] });
  assert.equal((await exchangeRaw(t, edge.port, V1 + LAST)).text, "");
});

test("without the option a header is a bad request", async (t) => {
  const edge = await startEdge(t, { config: ECHO });
  for (const header of [V1, V2]) {
    const { text } = await exchangeRaw(t, edge.port, Buffer.from(header + LAST, "latin1"));
    assert.match(text, /^HTTP\/1\.1 400 /);
  }
});

test("a header that does not come in time ends the connection", async (t) => {
  const timeouts = { head_ms: 100 };
  const edge = await startEdge(t, { config: ECHO, proxyProtocol: PROXIED, timeouts });
  assert.equal((await exchangeRaw(t, edge.port, "PROXY TCP4 ")).text, "");
});

for (const secure of [null, SECURE]) {
  const kind = secure === null ? "clear text" : "TLS";

  test(`connections of one address are bounded, of ${kind}, and places come back`, async (t) => {
    const edge = await startEdge(t, {
      config: ECHO,
      connectionsPerAddressMax: 2,
      proxyProtocol: PROXIED,
      ...(secure === null ? {} : { tls: secure }),
    });
    const from = async (address: string) => {
      const under = net.connect(edge.port, "127.0.0.1");
      under.write(proxyHeaderV1({ address, port: 1 }, SERVER));
      const client = secure === null ? under : handshake(under);
      return { client, status: await askOver(t, client) };
    };
    const first = await from("203.0.113.1");
    const second = await from("203.0.113.1");
    const third = await from("203.0.113.1");
    const other = await from("203.0.113.2");
    const refusal = secure === null ? "503" : "";
    assert.deepEqual(
      [first, second, third, other].map(({ status }) => status),
      ["200", "200", refusal, "200"],
    );
    first.client.destroy();
    second.client.destroy();
    await until(() => edge.host.connectionCount === 1, "the end of two connections");
    assert.equal((await from("203.0.113.1")).status, "200");
  });

  test(`all connections are bounded, of ${kind}, those without a request included`, async (t) => {
    const edge = await startEdge(t, {
      config: ECHO,
      connectionsMax: 2,
      ...(secure === null ? {} : { tls: secure }),
    });
    const idle = [await connectRaw(t, edge.port), await connectRaw(t, edge.port)];
    const { text } = await (await connectRaw(t, edge.port)).closed();
    assert.equal(text.slice(9, 12), secure === null ? "503" : "");
    for (const { socket } of idle) socket.resetAndDestroy();
    let answer = "";
    for (let i = 0; i < 100 && answer !== "200"; i++) {
      const under = net.connect(edge.port, "127.0.0.1");
      answer = await askOver(t, secure === null ? under : handshake(under));
    }
    assert.equal(answer, "200");
  });
}

for (const version of ["v1", "v2"] as const) {
  test(`an origin that asks for ${version} gets one header per connection, and one request`, async (t) => {
    const origin = await rawOrigin(t, (socket, received) => {
      if (received.endsWith("\r\n\r\n")) socket.write(ok("hi"));
    });
    const edge = await startEdge(t, {
      config: toOrigin({ targets: [{ address: origin.address }], proxy_protocol: version }),
      proxyProtocol: PROXIED,
    });
    await exchangeRaw(t, edge.port, V1 + GET + LAST);
    assert.equal(origin.received.length, 2);
    for (const received of origin.received) assertIntroduced(received);
  });
}

test("an origin over TLS gets the header before the handshake", async (t) => {
  const headers: string[] = [];
  const secure = tls.createServer(CERTIFICATE, (socket) => {
    socket.on("data", () => socket.write(ok("hi")));
    socket.on("error", () => {});
  });
  const port = await listenWithHeader(t, secure, headers);
  const edge = await startEdge(t, {
    config: toOrigin({
      targets: [{ address: `127.0.0.1:${port}` }],
      proxy_protocol: "v2",
      tls: { verify: false },
    }),
    proxyProtocol: PROXIED,
  });
  const { text } = await exchangeRaw(t, edge.port, V1 + LAST);
  assert.match(text, /^HTTP\/1\.1 200 .*hi$/s);
  assert.deepEqual(headers, [CLIENT.address]);
});

test("a place in the pool that has served its one request goes to who waits", async (t) => {
  const origin = await rawOrigin(t, answerWith(ok("hi")));
  const edge = await startEdge(t, {
    config: toOrigin({
      targets: [{ address: origin.address }],
      proxy_protocol: "v1",
      pool: { sockets_max: 1 },
    }),
    proxyProtocol: PROXIED,
  });
  const answers = await Promise.all(
    Array.from({ length: 5 }, () => exchangeRaw(t, edge.port, V1 + LAST)),
  );
  for (const { text } of answers) assert.match(text, /^HTTP\/1\.1 200 /);
  assert.equal(origin.received.length, 5);
});

function handshake(under: net.Socket): tls.TLSSocket {
  return tls.connect({ socket: under, ca: authority.cert, servername: "localhost" });
}

/** Sends a request; the status of what comes back, "" for the end. */
async function askOver(t: TestContext, client: net.Socket): Promise<string> {
  t.after(() => client.destroy());
  client.on("error", () => {});
  const { promise, resolve } = Promise.withResolvers<string>();
  client.once("data", (bytes: Buffer) => resolve(bytes.latin1Slice(9, 12)));
  for (const end of ["end", "close"]) client.once(end, () => resolve(""));
  client.write(GET);
  return await promise;
}

function toOrigin(upstream: Omit<UpstreamConfig, "name">): EdgeOptions["config"] {
  return {
    upstreams: [{ name: "origin", ...upstream }],
    routes: [{ name: "all", upstream: "origin" }],
  };
}

function assertIntroduced(received: string): void {
  const read = new ProxyHeaderReader().push(Buffer.from(received, "latin1"));
  assert.ok(read.kind === "done", read.kind);
  assert.equal(read.header.source?.address, CLIENT.address);
  const rest = read.rest.latin1Slice();
  assert.match(rest, /^GET \/ HTTP\/1\.1\r\n/);
  assert.equal(rest.split("GET /").length, 2);
}

/** Reads a PROXY header off every connection, and hands the rest to the server. */
async function listenWithHeader(
  t: TestContext,
  server: tls.Server,
  headers: string[],
): Promise<number> {
  const front = net.createServer({ pauseOnConnect: true }, (socket) => {
    const reader = new ProxyHeaderReader();
    const look = () => {
      const chunk = socket.read() as Buffer | null;
      if (chunk === null) return;
      const read = reader.push(chunk);
      if (read.kind === "more") return;
      socket.off("readable", look);
      if (read.kind === "bad") return void socket.destroy();
      headers.push(read.header.source?.address ?? "");
      if (read.rest.length > 0) socket.unshift(read.rest);
      server.emit("connection", socket);
    };
    socket.on("readable", look);
  });
  front.listen(0, "127.0.0.1");
  await once(front, "listening");
  t.after(() => front.close());
  return (front.address() as net.AddressInfo).port;
}
