// What a plugin may use beyond its request when its attachment grants it: values shared by all workers,
// and calls of other hosts. Guests are suspended meanwhile, so the gateway must go on. The hosts that
// are called are real servers on loopback.

import assert from "node:assert/strict";
import http from "node:http";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { startGateway } from "../support/gateway.ts";
import type { RunningGateway } from "../support/gateway.ts";
import { TEXT, TEXT_IMPORTS, watAssembler } from "../support/wat.ts";

const wat = await watAssembler();

/** A guest with `text` (of static data) at hand, and `body` as its `on_request`. */
function guest(texts: readonly string[], imports: string, body: string): Uint8Array {
  const offsets: number[] = [];
  let at = 0;
  for (const text of texts) {
    offsets.push(at);
    at += text.length;
  }
  const quoted = texts.map((text) => text.replaceAll('"', "\\22")).join("");
  const handles = texts
    .map(
      (text, i) => `(func $text${i} (result i64)
        (call $text (i32.const ${offsets[i]}) (i32.const ${text.length})))`,
    )
    .join("\n");
  return wat(`(module
    ${TEXT_IMPORTS}
    (import "extism:host/user" "respond" (func $respond (param i32 i64)))
    ${imports}
    (memory (export "memory") 1)
    (data (i32.const 0) "${quoted}")
    ${TEXT}
    ${handles}
    (func (export "on_request") (result i32) ${body} (i32.const 0)))`);
}

const KV = `
  (import "extism:host/user" "kv_get" (func $get (param i64) (result i64)))
  (import "extism:host/user" "kv_set" (func $set (param i64 i64 i64)))
  (import "extism:host/user" "kv_incr" (func $incr (param i64 i64 i64) (result i64)))`;
const HTTP = `(import "extism:host/user" "http_call" (func $http (param i64) (result i64)))`;

/** Counts requests and answers with status 200 + count. */
const COUNTER = guest(
  ["hits"],
  KV,
  `(call $respond
     (i32.add (i32.const 200) (i32.wrap_i64 (call $incr (call $text0) (i64.const 1) (i64.const 60000))))
     (i64.const 0))`,
);

function config(grants: object | null, limits?: object): object {
  return {
    listeners: [{ name: "http", address: "127.0.0.1:0" }],
    routes: [
      {
        name: "guarded",
        match: { paths: [{ prefix: "/guarded" }] },
        plugins: [
          {
            plugin: "guest",
            ...(grants === null ? {} : { grants }),
            limits: limits ?? { async_ms: 20_000 },
          },
        ],
        respond: { status: 299, body: "passed" },
      },
      { name: "plain", respond: { status: 200, body: "plain" } },
    ],
  };
}

async function ask(gateway: RunningGateway, path = "/guarded"): Promise<Response> {
  return await fetch(`http://127.0.0.1:${gateway.port()}${path}`);
}

async function startOrigin(
  t: TestContext,
  answer: (request: http.IncomingMessage, response: http.ServerResponse) => void,
): Promise<number> {
  const server = http.createServer(answer).listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return (server.address() as AddressInfo).port;
}

async function startCaller(
  t: TestContext,
  request: object,
  grant: object,
): Promise<{ gateway: RunningGateway; answer: () => Promise<unknown> }> {
  const module = guest(
    [JSON.stringify({ timeout_ms: 10_000, ...request })],
    HTTP,
    "(call $respond (i32.const 200) (call $http (call $text0)))",
  );
  const gateway = await startGateway(t, {
    workers: 1,
    plugins: { guest: module },
    config: config({ http: grant }) as never,
  });
  return { gateway, answer: async () => JSON.parse(await (await ask(gateway)).text()) };
}

test("a value that plugins count up is one for all workers", async (t) => {
  const gateway = await startGateway(t, {
    workers: 2,
    plugins: { guest: COUNTER },
    config: config({ kv: true }) as never,
  });
  const answers = await Promise.all(Array.from({ length: 60 }, () => ask(gateway)));
  const counts = answers.map(({ status }) => status - 200).sort((a, b) => a - b);
  assert.deepEqual(
    counts,
    Array.from({ length: 60 }, (_, i) => i + 1),
  );
});

test("a value that was set is read by a later request", async (t) => {
  const module = guest(
    ["key", "kept"],
    KV,
    `(call $respond (i32.const 200) (call $get (call $text0)))
     (call $set (call $text0) (call $text1) (i64.const 60000))`,
  );
  const gateway = await startGateway(t, {
    workers: 1,
    plugins: { guest: module },
    config: config({ kv: true }) as never,
  });
  assert.equal(await (await ask(gateway)).text(), "");
  assert.equal(await (await ask(gateway)).text(), "kept");
});

test("a plugin does not start without what it needs", async (t) => {
  const gateway = await startGateway(t, {
    workers: 1,
    plugins: { guest: COUNTER },
    config: config({ kv: true }) as never,
  });
  const refused = await gateway.admin("PUT", "/admin/routes/guarded", {
    match: { paths: [{ prefix: "/guarded" }] },
    plugins: [{ plugin: "guest" }],
    respond: { status: 299 },
  });
  assert.equal(refused.status, 422, refused.text);
  assert.match(refused.text, /it needs kv \(it calls kv_get\)/);
  assert.equal((await ask(gateway)).status, 201, "what ran before runs on");
});

test("a granted host is called and its answer is the plugin's to use", async (t) => {
  const port = await startOrigin(t, (request, response) => {
    response.setHeader("x-seen", `${request.method} ${request.url} ${request.headers["x-key"]}`);
    response.end("from the host");
  });
  const { answer } = await startCaller(
    t,
    {
      method: "POST",
      url: `http://127.0.0.1:${port}/v1?a=b`,
      headers: { "x-key": "k" },
      body: "{}",
    },
    { hosts: [`127.0.0.1:${port}`], private: true },
  );
  const { status, body, headers } = (await answer()) as Record<string, never>;
  assert.equal(status, 200);
  assert.equal(body, "from the host");
  assert.equal((headers as Record<string, string>)["x-seen"], "POST /v1?a=b k");
});

test("a host inside the network is not reached, by address or by name, unless it may be", async (t) => {
  let connections = 0;
  const port = await startOrigin(t, (_, response) => {
    connections += 1;
    response.end("inside");
  });
  const named = await startCaller(
    t,
    { url: `http://localhost:${port}/` },
    { hosts: ["localhost"] },
  );
  assert.deepEqual(await named.answer(), { status: 0, error: "denied" });
  const addressed = await startCaller(
    t,
    { url: `http://127.0.0.1:${port}/` },
    { hosts: ["127.0.0.1"] },
  );
  assert.equal((await ask(addressed.gateway)).status, 500);
  assert.match(addressed.gateway.stderr(), /host_denied: http_call may not call 127\.0\.0\.1/);
  assert.equal(connections, 0);
});

test("a host that was not granted is not called, directly or by a redirect", async (t) => {
  let reached = 0;
  const secret = await startOrigin(t, (_, response) => {
    reached += 1;
    response.end("secret");
  });
  const port = await startOrigin(t, (_, response) => {
    response.writeHead(302, { location: `http://127.0.0.1:${secret}/` }).end();
  });
  const direct = await startCaller(
    t,
    { url: `http://127.0.0.1:${secret}/` },
    { hosts: [`127.0.0.1:${port}`], private: true },
  );
  assert.equal((await ask(direct.gateway)).status, 500);
  assert.match(direct.gateway.stderr(), /it is not among the hosts that are granted/);
  const redirected = await startCaller(
    t,
    { url: `http://127.0.0.1:${port}/` },
    { hosts: [`127.0.0.1:${port}`], private: true },
  );
  assert.equal(((await redirected.answer()) as { status: number }).status, 302);
  assert.equal(reached, 0);
});

test("a redirect to a granted host is followed, without the credentials of the first", async (t) => {
  let seen: string | undefined = "never asked";
  const second = await startOrigin(t, (request, response) => {
    seen = request.headers.authorization;
    response.end("second");
  });
  const first = await startOrigin(t, (_, response) => {
    response.writeHead(302, { location: `http://127.0.0.1:${second}/` }).end();
  });
  const { answer } = await startCaller(
    t,
    { url: `http://127.0.0.1:${first}/`, headers: { authorization: "Bearer x" } },
    { hosts: ["127.0.0.1"], private: true },
  );
  assert.equal(((await answer()) as { body: string }).body, "second");
  assert.equal(seen, undefined);
});

test("a slow host costs its plugin's request alone, and no longer than it may wait", async (t) => {
  const port = await startOrigin(t, () => {});
  const call = { url: `http://127.0.0.1:${port}/`, timeout_ms: 60_000 };
  const module = guest(
    [JSON.stringify(call)],
    HTTP,
    "(call $respond (i32.const 200) (call $http (call $text0)))",
  );
  const gateway = await startGateway(t, {
    workers: 1,
    plugins: { guest: module },
    config: config({ http: { hosts: ["127.0.0.1"], private: true } }, { async_ms: 400 }) as never,
  });
  const beganMs = performance.now();
  const waiting = Array.from({ length: 3 }, () => ask(gateway));
  for (let i = 0; i < 20; i++) {
    assert.equal(await (await ask(gateway, "/plain")).text(), "plain");
  }
  const others = performance.now() - beganMs;
  for (const answer of await Promise.all(waiting)) assert.equal(answer.status, 504);
  const all = performance.now() - beganMs;
  assert.ok(all >= 400, `it was cut after ${all} ms`);
  t.diagnostic(`20 other requests took ${others.toFixed(0)} ms, the slow ones ${all.toFixed(0)}`);
  assert.match(gateway.stderr(), /async_timeout/);
});

test("an answer that is too large, and a host that is not there, are answers", async (t) => {
  const port = await startOrigin(t, (_, response) => void response.end("x".repeat(100_000)));
  const large = await startCaller(
    t,
    { url: `http://127.0.0.1:${port}/` },
    { hosts: ["127.0.0.1"], private: true },
  );
  assert.deepEqual(await large.answer(), { status: 0, error: "too large" });
  const absent = await startCaller(
    t,
    { url: "http://127.0.0.1:1/" },
    { hosts: ["127.0.0.1"], private: true },
  );
  assert.deepEqual(await absent.answer(), { status: 0, error: "refused" });
});
