// A plugin that misbehaves in a running gateway: it is stopped within its budget while other requests
// go on, what failed is counted by its own code, and a version that has to be stopped again and again
// is set aside for the one before it. Guests are assembled here; requests go over real sockets.

import assert from "node:assert/strict";
import { test } from "node:test";
import { startGateway } from "../support/gateway.ts";
import type { RunningGateway } from "../support/gateway.ts";
import { TEXT, TEXT_IMPORTS, watAssembler } from "../support/wat.ts";

const wat = await watAssembler();

/** Says its version in a response header; misbehaves when the request has the header `x-bad`. */
function guest(version: string, misbehaviour: string): Uint8Array {
  return wat(`(module
    ${TEXT_IMPORTS}
    (import "extism:host/user" "request_header" (func $header (param i64) (result i64)))
    (import "extism:host/user" "set_response_header" (func $set (param i64 i64)))
    (memory (export "memory") 1)
    (data (i32.const 0) "x-bad")
    (data (i32.const 16) "x-version")
    (data (i32.const 32) "${version}")
    ${TEXT}
    (func $recurse (call $recurse))
    (func (export "on_request") (result i32)
      (if (i64.ne (call $header (call $text (i32.const 0) (i32.const 5))) (i64.const 0))
        (then ${misbehaviour}))
      (call $set (call $text (i32.const 16) (i32.const 9))
        (call $text (i32.const 32) (i32.const ${version.length})))
      (i32.const 0)))`);
}

const LOOP = "(loop $l (br $l))";

const CONFIG = {
  listeners: [{ name: "http", address: "127.0.0.1:0" }],
  routes: [
    {
      name: "guarded",
      match: { paths: [{ prefix: "/guarded" }] },
      plugins: [{ plugin: "guard" }],
      respond: { status: 200, body: "guarded" },
    },
    {
      name: "open",
      match: { paths: [{ prefix: "/open" }] },
      plugins: [{ plugin: "guard", fail_mode: "open" as const }],
      respond: { status: 200, body: "open" },
    },
    { name: "plain", respond: { status: 200, body: "plain" } },
  ],
};

async function ask(gateway: RunningGateway, path: string, bad = false): Promise<Response> {
  const headers: Record<string, string> = bad ? { "x-bad": "1" } : {};
  return await fetch(`http://127.0.0.1:${gateway.port()}${path}`, { headers });
}

const CASES = [
  { what: "an endless loop", code: "deadline", misbehaviour: LOOP, status: 504 },
  { what: "endless recursion", code: "stack", misbehaviour: "(call $recurse)", status: 500 },
  { what: "a trap", code: "trap", misbehaviour: "(unreachable)", status: 500 },
  {
    what: "more calls of the host than allowed",
    code: "host_denied",
    misbehaviour:
      "(loop $l (drop (call $header (call $text (i32.const 0) (i32.const 5)))) (br $l))",
    status: 500,
  },
];

for (const { what, code, misbehaviour, status } of CASES) {
  test(`${what} ends its own request and no other, and is counted as ${code}`, async (t) => {
    const gateway = await startGateway(t, {
      workers: 1,
      plugins: { guard: guest("1", misbehaviour) },
      config: CONFIG,
    });
    const refused = await ask(gateway, "/guarded", true);
    assert.equal(refused.status, status);
    await refused.text();
    assert.equal(await (await ask(gateway, "/open", true)).text(), "open");
    assert.equal(await (await ask(gateway, "/plain")).text(), "plain");
    const good = await ask(gateway, "/guarded");
    assert.equal(good.headers.get("x-version"), "1");
    assert.equal(await good.text(), "guarded");
    const metrics = await (await fetch(`${gateway.adminUrl}/metrics`)).text();
    const line = `sallyport_plugin_errors_total{plugin="guard",version="1.0.0",code="${code}"`;
    assert.ok(metrics.includes(line), metrics);
  });
}

test("a version that is stopped five times is set aside and the one before it serves", async (t) => {
  const gateway = await startGateway(t, {
    workers: 2,
    plugins: { guard: guest("1", "") },
    config: CONFIG,
  });
  const loaded = await gateway.admin("POST", "/admin/plugins/load?name=guard", guest("2", LOOP));
  assert.equal(loaded.status, 201, loaded.text);
  assert.equal((await ask(gateway, "/guarded")).headers.get("x-version"), "2");
  // Each worker counts for itself, and one that has had enough refuses at once.
  // Workers change one after the other.
  let inARow = 0;
  for (let i = 0; i < 400 && inARow < 20; i++) {
    const version = (await ask(gateway, "/guarded", true)).headers.get("x-version");
    inARow = version === "1" ? inARow + 1 : 0;
  }
  assert.equal(inARow, 20, "the version before did not come back");
  const { body } = await gateway.admin("GET", "/admin/plugins/guard");
  const [second] = body.versions;
  assert.equal(second.version, "1.0.1");
  assert.match(second.set_aside.reason, /^deadline: the guest used/);
  assert.match(gateway.stderr(), /a plugin had to be stopped too often and is set aside/);
  // A range that is resolved now comes to another one; what is served is not asked.
  const plugins = [{ plugin: "guard", version: "^1.0" }];
  const patched = await gateway.admin("PATCH", "/admin/routes/open", { plugins });
  assert.equal(patched.status, 200, patched.text);
  const attached = await gateway.admin("GET", "/admin/routes/open/plugins");
  assert.equal(attached.body[0].resolved, "1.0.0");
  // The operator decides: the version serves again, in every worker, at once.
  const again = await gateway.admin("PUT", "/admin/plugins/guard/current", { version: "1.0.1" });
  assert.equal(again.status, 200, again.text);
  for (let i = 0; i < 10; i++) {
    assert.equal((await ask(gateway, "/guarded")).headers.get("x-version"), "2");
  }
});

test("a version with none before it is refused for a while, as its fail_mode says", async (t) => {
  const gateway = await startGateway(t, {
    workers: 1,
    plugins: { guard: guest("1", LOOP) },
    config: CONFIG,
  });
  for (let i = 0; i < 5; i++) assert.equal((await ask(gateway, "/guarded", true)).status, 504);
  const beganMs = performance.now();
  const refused = await ask(gateway, "/guarded", true);
  assert.equal(refused.status, 503);
  assert.match(await refused.text(), /"code":\s*"PLUGIN_QUARANTINED"/);
  assert.ok(performance.now() - beganMs < 2_000);
  // Another attachment counts for itself.
  assert.equal(await (await ask(gateway, "/open")).text(), "open");
});
