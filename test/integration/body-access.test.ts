// Plugins that look at bodies: a policy sees the beginning of a body, or all of it up to a bound, before
// it decides, over both client protocols; and whoever takes the body afterwards gets every byte of it
// in order, however it was cut, with the client made to wait and not the gateway's memory.

import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import http from "node:http";
import http2 from "node:http2";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { startGateway } from "../support/gateway.ts";
import type { RunningGateway } from "../support/gateway.ts";
import { exchangeRaw } from "../support/raw.ts";
import { TEXT, TEXT_IMPORTS, watAssembler } from "../support/wat.ts";

const wat = await watAssembler();

/** Denies bodies whose shown part begins with "no"; tells the origin what it was shown. */
const LOOKER = wat(`(module
    ${TEXT_IMPORTS}
  (import "extism:host/env" "load_u8" (func $load (param i64) (result i32)))
  (import "extism:host/env" "length" (func $length (param i64) (result i64)))
  (import "extism:host/user" "request_body" (func $body (result i64)))
  (import "extism:host/user" "request_body_is_whole" (func $whole (result i32)))
  (import "extism:host/user" "set_request_header" (func $set (param i64 i64)))
  (import "extism:host/user" "respond" (func $respond (param i32 i64)))
  (memory (export "memory") 1)
  (data (i32.const 0) "x-whole")
  (data (i32.const 16) "x-length")
    ${TEXT}
  (func $digits (param $n i32) (result i64) (local $at i32)
    (local.set $at (i32.const 64))
    (loop $next
      (local.set $at (i32.sub (local.get $at) (i32.const 1)))
      (i32.store8 (local.get $at) (i32.add (i32.const 48) (i32.rem_u (local.get $n) (i32.const 10))))
      (local.set $n (i32.div_u (local.get $n) (i32.const 10)))
      (br_if $next (local.get $n)))
    (call $text (local.get $at) (i32.sub (i32.const 64) (local.get $at))))
  (func (export "on_request") (result i32) (local $body i64)
    (local.set $body (call $body))
    (call $set (call $text (i32.const 0) (i32.const 7)) (call $digits (call $whole)))
    (call $set (call $text (i32.const 16) (i32.const 8))
      (call $digits (i32.wrap_i64 (call $length (local.get $body)))))
    (if (i32.and
          (i32.eq (call $load (local.get $body)) (i32.const 110))
          (i32.eq (call $load (i64.add (local.get $body) (i64.const 1))) (i32.const 111)))
      (then (call $respond (i32.const 403) (i64.const 0))))
    (i32.const 0)))`);

type Seen = { whole: string; length: string; bytes: number; hash: string; method: string };

async function start(
  t: TestContext,
  body: object,
): Promise<{
  gateway: RunningGateway;
  seen: Seen[];
}> {
  const seen: Seen[] = [];
  const origin = http.createServer((request, response) => {
    const hash = createHash("sha256");
    let bytes = 0;
    request.on("data", (chunk: Buffer) => {
      bytes += chunk.length;
      hash.update(chunk);
    });
    request.on("end", () => {
      const { "x-whole": whole, "x-length": length } = request.headers;
      seen.push({
        whole: String(whole),
        length: String(length),
        bytes,
        hash: hash.digest("hex"),
        method: request.method ?? "",
      });
      response.end("done");
    });
  });
  origin.listen(0, "127.0.0.1");
  await new Promise((resolve) => origin.once("listening", resolve));
  t.after(() => {
    origin.closeAllConnections();
    origin.close();
  });
  const { port } = origin.address() as AddressInfo;
  const gateway = await startGateway(t, {
    workers: 1,
    plugins: { looker: LOOKER },
    config: {
      listeners: [{ name: "http", address: "127.0.0.1:0", http2: true }],
      upstreams: [{ name: "origin", targets: [{ address: `127.0.0.1:${port}` }] }],
      routes: [
        { name: "all", plugins: [{ plugin: "looker", grants: { body } }], upstream: "origin" },
      ],
    } as never,
  });
  return { gateway, seen };
}

function post(gateway: RunningGateway, body: Buffer, pieces = 1): Promise<number> {
  return new Promise((resolve, reject) => {
    const request = http.request(
      { port: gateway.port(), host: "127.0.0.1", method: "POST", agent: false },
      (response) => {
        response.resume().once("end", () => resolve(response.statusCode ?? 0));
      },
    );
    // An early answer may close the connection while the rest is written.
    request.on("error", reject);
    const size = Math.ceil(body.length / pieces);
    for (let at = 0; at < body.length; at += size) request.write(body.subarray(at, at + size));
    request.end();
  });
}

function postH2(gateway: RunningGateway, body: Buffer): Promise<number> {
  return new Promise((resolve, reject) => {
    const session = http2.connect(`http://127.0.0.1:${gateway.port()}`);
    session.on("error", reject);
    const stream = session.request({ ":method": "POST", ":path": "/" });
    let status = 0;
    stream.on("response", (headers) => (status = headers[":status"] ?? 0));
    stream.on("error", reject);
    stream.resume().on("end", () => {
      session.close();
      resolve(status);
    });
    stream.end(body);
  });
}

for (const [protocol, send] of [
  ["HTTP/1.1", post],
  ["HTTP/2", postH2],
] as const) {
  test(`a policy peeks at a body over ${protocol} and the origin gets all of it`, async (t) => {
    const { gateway, seen } = await start(t, { mode: "peek", bytes_max: 1_000 });
    for (const size of [1, 999, 1_000, 1_001, 70_000, 3_000_000]) {
      const body = randomBytes(size);
      body[0] = 1;
      assert.equal(await send(gateway, body), 200, `${size} bytes`);
      const last = seen.at(-1);
      assert.equal(last?.bytes, size);
      assert.equal(last.hash, createHash("sha256").update(body).digest("hex"));
      assert.equal(last.length, String(Math.min(size, 1_000)), `${size} bytes`);
      if (size > 1_000) assert.equal(last.whole, "0");
      if (size < 1_000) assert.equal(last.whole, "1");
    }
  });

  test(`a policy sees all of a body over ${protocol}, and longer ones are refused`, async (t) => {
    const { gateway, seen } = await start(t, { mode: "full", bytes_max: 100_000 });
    for (const size of [1, 65_535, 65_536, 100_000]) {
      const body = randomBytes(size);
      body[0] = 1;
      assert.equal(await send(gateway, body), 200, `${size} bytes`);
      assert.deepEqual(seen.at(-1), {
        method: "POST",
        whole: "1",
        length: String(size),
        bytes: size,
        hash: createHash("sha256").update(body).digest("hex"),
      });
    }
    const before = seen.length;
    const status = await send(gateway, Buffer.alloc(100_001, 1)).catch(() => 413);
    assert.equal(status, 413);
    assert.equal(seen.length, before, "nothing of it reached the origin");
  });

  test(`a policy denies by what it read over ${protocol}`, async (t) => {
    const { gateway, seen } = await start(t, { mode: "peek", bytes_max: 2 });
    assert.equal(await send(gateway, Buffer.from("no way")), 403);
    assert.equal(await send(gateway, Buffer.from("yes")), 200);
    assert.equal(seen.length, 1);
  });
}

test("a request without a body is shown as an empty whole one", async (t) => {
  const { gateway, seen } = await start(t, { mode: "full" });
  const answer = await fetch(`http://127.0.0.1:${gateway.port()}/`);
  assert.equal(answer.status, 200);
  assert.equal(seen[0].whole, "1");
  assert.equal(seen[0].length, "0");
});

test("a body that comes in pieces is decided about when enough is there", async (t) => {
  const { gateway, seen } = await start(t, { mode: "full", bytes_max: 500_000 });
  const body = randomBytes(400_000);
  body[0] = 1;
  assert.equal(await post(gateway, body, 50), 200);
  assert.equal(seen[0].hash, createHash("sha256").update(body).digest("hex"));
  assert.equal(seen[0].length, "400000");
});

test("a denied upload on a kept connection is followed by the next request or by its end", async (t) => {
  const { gateway, seen } = await start(t, { mode: "peek", bytes_max: 4 });
  const denied = `POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 8\r\n\r\nno dice!`;
  const next = `GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n`;
  const { text: answers } = await exchangeRaw(t, gateway.port(), denied + next);
  assert.match(answers, /^HTTP\/1\.1 403 /);
  assert.match(answers, /HTTP\/1\.1 200 OK/);
  assert.deepEqual(
    seen.map(({ method }) => method),
    ["GET"],
  );
});

test("a plugin without the grant is refused when it asks for bodies", async (t) => {
  const { gateway } = await start(t, { mode: "peek" });
  const refused = await gateway.admin("PUT", "/admin/routes/all", {
    plugins: [{ plugin: "looker" }],
    upstream: "origin",
  });
  assert.equal(refused.status, 422);
  assert.match(refused.text, /it needs body \(it calls request_body\)/);
});
