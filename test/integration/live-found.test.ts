// Faults that the fuzzers of live listeners found once, over HTTP/2, TLS and PROXY headers, each in its
// plainest form: clients and origins that take back, cut, or go within a read, a handshake or a head.

import assert from "node:assert/strict";
import { once } from "node:events";
import net from "node:net";
import type { Socket } from "node:net";
import { Duplex } from "node:stream";
import { test } from "node:test";
import type { TestContext } from "node:test";
import tls from "node:tls";
import { Authority } from "../support/certificates.ts";
import { startEdge, tlsOptions } from "../support/edge.ts";
import type { Edge, EdgeOptions } from "../support/edge.ts";
import {
  connectRawH2,
  END_HEADERS,
  END_STREAM,
  frame,
  FRAME,
  literals,
  RawH2,
  request,
  uint32,
} from "../support/h2-raw.ts";
import { H2Reader, PREFACE } from "../support/h2-reader.ts";
import { until } from "../support/origin-user.ts";
import { connectRaw, exchangeRaw, ok, rawOrigin, statusOf } from "../support/raw.ts";

const WAIT_MS = 5_000;
const ECHO: EdgeOptions["config"] = { routes: [{ name: "echo", echo: true }] };
const SECURE = tlsOptions([new Authority("authority").make({ dns: ["a.test"] })]);
const GET = "GET / HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n\r\n";

const headers = (stream: number, flags: number, payload: Buffer) =>
  frame(FRAME.HEADERS, { stream, flags, payload });

// What comes with the preface is read in one go, and streams are told of afterwards: answering one that
// was over by then ended the process.
const REFUSED = headers(1, END_STREAM | END_HEADERS, request("/", [["host", "other.test"]]));
for (const [how, after] of [
  ["reset", frame(FRAME.RST_STREAM, { stream: 1, payload: uint32(8) })],
  ["said goodbye to", frame(FRAME.GOAWAY, { payload: Buffer.concat([uint32(0), uint32(2)]) })],
  ["followed by a broken block", headers(3, END_STREAM | END_HEADERS, Buffer.of(0x80))],
  ["followed by data of no stream", frame(FRAME.DATA)],
] as const) {
  test(`a bad head that comes with the preface and is ${how} at once harms nobody`, async (t) => {
    const edge = await startEdge(t, { http2: true, config: ECHO });
    const client = new RawH2(net.connect(edge.port, "127.0.0.1"));
    t.after(() => client.socket.destroy());
    client.send(Buffer.from(PREFACE), frame(FRAME.SETTINGS), REFUSED, after);
    client.socket.end();
    await client.closed();
    assert.equal(statusOf((await exchangeRaw(t, edge.port, GET)).text), 200);
  });
}

for (const fields of [[], [["te", "trailers"]]] as const) {
  const who = fields.length === 0 ? "" : " that takes trailers";
  test(`an early refusal reaches a client${who} whole, and then its upload is refused`, async (t) => {
    const edge = await startEdge(t, {
      http2: true,
      config: { routes: [{ name: "small", body_bytes_max: 10, echo: true }] },
    });
    const client = await connectRawH2(t, edge.port);
    const rest = [["content-length", "20"], ...fields] as const;
    client.send(headers(1, END_HEADERS, post("POST", rest)));
    const reset = await client.until(({ type }) => type === FRAME.RST_STREAM);
    assert.equal(reset.payload.readUInt32BE(), 0);
    const ended = client.frames.filter(
      ({ type, flags }) => type <= FRAME.HEADERS && flags % 2 === 1,
    );
    assert.equal(ended.length, 1);
  });
}

// node:http2 does not call a HEAD aborted.
for (const method of ["HEAD", "POST"]) {
  for (const how of ["taken back", "left"]) {
    test(`the body of a ${method} that is ${how} is no whole one for the origin`, async (t) => {
      const origin = await rawOrigin(t, () => {});
      const upstreams = [{ name: "origin", targets: [{ address: origin.address }] }];
      const routes = [{ name: "all", upstream: "origin" }];
      const edge = await startEdge(t, { http2: true, config: { upstreams, routes } });
      const client = await connectRawH2(t, edge.port);
      client.send(headers(1, END_HEADERS, post(method)));
      await until(() => origin.received[0]?.endsWith("\r\n\r\n") === true, "the head");
      const head = origin.received[0];
      if (how === "left") client.socket.end();
      else client.send(frame(FRAME.RST_STREAM, { stream: 1, payload: uint32(8) }));
      await once(origin.sockets[0], "close", { signal: AbortSignal.timeout(WAIT_MS) });
      assert.equal(origin.received[0], head);
    });
  }
}

for (const [name, options, said] of [
  ["TLS", { tls: SECURE }, ""],
  ["TLS, amid a record", { tls: SECURE }, "\x16\x03\x01\x00"],
  ["clear text of either protocol", { http2: true }, ""],
  ["clear text of either protocol, amid the preface", { http2: true }, "PRI"],
  ["a PROXY header", { proxyProtocol: ["127.0.0.1"] }, ""],
  ["a PROXY header, amid it", { proxyProtocol: ["127.0.0.1"] }, "PROXY"],
] as const) {
  test(`${name}: a client that goes before it said who it is takes no place`, async (t) => {
    const timeouts = { head_ms: 2 * WAIT_MS };
    const edge = await startEdge(t, { ...options, timeouts, config: ECHO });
    const client = await connectRaw(t, edge.port);
    client.send(Buffer.from(said, "latin1"));
    client.socket.end();
    await client.closed();
  });
}

test("a TLS client may end its half behind its request", async (t) => {
  const origin = await rawOrigin(t, () => {});
  const upstreams = [{ name: "origin", targets: [{ address: origin.address }] }];
  const routes = [{ name: "all", upstream: "origin" }];
  const edge = await startEdge(t, { tls: SECURE, config: { upstreams, routes } });
  const client = await secureWire(t, edge, { protocol: "http/1.1" });
  let text = "";
  client.secure.on("data", (bytes: Buffer) => (text += bytes.latin1Slice()));
  client.secure.end(GET);
  await once(client.under, "finish", { signal: AbortSignal.timeout(WAIT_MS) });
  await until(() => origin.received.length === 1, "the request");
  // Longer than the end takes to come.
  for (let turn = 0; turn < 100; turn++) await new Promise((resolve) => setImmediate(resolve));
  origin.sockets[0].write(ok("hello"));
  await once(client.secure, "end", { signal: AbortSignal.timeout(WAIT_MS) });
  assert.match(text, /^HTTP\/1\.1 200 [^]*hello$/);
});

for (const version of ["TLSv1.2", "TLSv1.3"] as const) {
  for (const protocol of ["http/1.1", "h2"]) {
    test(`${version}, ${protocol}: a record that is none ends the connection`, async (t) => {
      const edge = await startEdge(t, { tls: SECURE, http2: true, config: ECHO });
      const client = await secureWire(t, edge, { protocol, version });
      client.spoils = true;
      client.secure.write(GET);
      await until(() => client.under.destroyed, "the end of the connection");
      assert.equal(edge.host.connectionCount, 0);
    });
  }
}

for (const status of ["204", "304"]) {
  test(`a response of ${status} whose stream the origin never ends is not waited for`, async (t) => {
    const answer = literals([[":status", status]]);
    const edge = await beforeH2Origin(t, (socket, stream) => {
      socket.write(headers(stream, END_HEADERS, answer));
    });
    const { text } = await exchangeRaw(t, edge.port, GET);
    assert.ok(["", status].includes(String(statusOf(text) || "")), text);
    await until(() => edge.host.connectionCount === 0, "the end of the connection");
  });
}

// A reset without an error reads like an end in node:http2.
test("a response that its origin resets without an error is never passed off as complete", async (t) => {
  const edge = await beforeH2Origin(t, (socket, stream) => {
    const data = frame(FRAME.DATA, { stream, payload: Buffer.from("a part") });
    const reset = frame(FRAME.RST_STREAM, { stream, payload: uint32(0) });
    const head = headers(stream, END_HEADERS, literals([[":status", "200"]]));
    socket.write(Buffer.concat([head, data, reset]));
  });
  const { text } = await exchangeRaw(t, edge.port, GET);
  assert.match(text, /a part/);
  assert.doesNotMatch(text, /\r\n0\r\n\r\n$/);
});

function post(method: string, rest: readonly (readonly [string, string])[] = []): Buffer {
  return literals([
    [":method", method],
    [":scheme", "http"],
    [":path", "/"],
    [":authority", "a.test"],
    ...rest,
  ]);
}

/** A gateway before an HTTP/2 origin that answers each head by a script. */
async function beforeH2Origin(
  t: TestContext,
  answer: (socket: Socket, stream: number) => void,
): Promise<Edge> {
  const sockets = new Set<Socket>();
  const origin = net.createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    socket.write(frame(FRAME.SETTINGS));
    const reader = new H2Reader({ kind: "request" });
    const answered = new Set<number>();
    socket.on("data", (bytes: Buffer) => {
      reader.push(bytes);
      for (const stream of reader.messages.keys()) {
        if (answered.has(stream)) continue;
        answered.add(stream);
        answer(socket, stream);
      }
    });
  });
  await new Promise<void>((resolve) => origin.listen(0, "127.0.0.1", resolve));
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    origin.close();
  });
  const { port } = origin.address() as net.AddressInfo;
  const upstream = {
    name: "origin",
    protocol: "http2" as const,
    targets: [{ address: `127.0.0.1:${port}` }],
    timeouts: { first_byte_ms: 1_000, idle_ms: 200 },
  };
  return startEdge(t, {
    config: { upstreams: [upstream], routes: [{ name: "all", upstream: "origin" }] },
  });
}

/** A client of TLS whose records pass through our hands. */
async function secureWire(
  t: TestContext,
  edge: Edge,
  { protocol, version = "TLSv1.3" }: { protocol: string; version?: tls.SecureVersion },
) {
  const under = net.connect({ port: edge.port, host: "127.0.0.1" });
  t.after(() => under.destroy());
  under.on("error", () => {});
  const client = { under, spoils: false };
  const wire = new Duplex({
    read() {},
    write(record: Buffer, _encoding, done) {
      const sent = Buffer.from(record);
      if (client.spoils) sent[sent.length - 1] ^= 1;
      under.write(sent, () => done());
    },
    final(done) {
      under.end(() => done());
    },
  });
  under.on("data", (bytes: Buffer) => wire.push(bytes));
  under.on("end", () => wire.push(null));
  const secure = tls.connect({
    socket: wire,
    rejectUnauthorized: false,
    ALPNProtocols: [protocol],
    minVersion: version,
    maxVersion: version,
    allowHalfOpen: true,
  } as tls.ConnectionOptions);
  secure.on("error", () => {});
  await once(secure, "secureConnect", { signal: AbortSignal.timeout(WAIT_MS) });
  return Object.assign(client, { secure });
}
