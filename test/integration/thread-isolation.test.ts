// `isolation: thread` in this process: what a plugin decides there is what it decides in the worker, case
// by case; what does not end is ended at its deadline, and nothing else ends with it.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { compileAssemblyScript } from "../../plugins-src/build.ts";
import { THREAD_LIMITS } from "../../sandbox/sandbox.ts";
import { readCases } from "../support/plugin-cases.ts";
import type { Decided, PluginCase } from "../support/plugin-cases.ts";
import { MISDEEDS, misbehavingPlugin } from "../support/misbehaving-plugin.ts";
import { PROBES } from "../support/sdk-probes.ts";
import { attach } from "../support/thread-plugin.ts";
import type { Attaching } from "../support/thread-plugin.ts";
import { watAssembler } from "../support/wat.ts";

const SOURCES = join(import.meta.dirname, "../../plugins-src");
const PLUGINS = [
  { name: "hello", folder: "assemblyscript/hello", module: "build/hello.wasm" },
  {
    name: "header-guard",
    folder: "assemblyscript/header-guard",
    module: "build/header-guard.wasm",
  },
  { name: "path-guard", folder: "rust/path-guard", module: "prebuilt/path-guard.wasm" },
];

for (const { name, folder, module } of PLUGINS) {
  test(`${name} decides its golden cases as it does in the worker`, async (t) => {
    const bytes = readFileSync(join(SOURCES, module));
    const cases = readCases(join(SOURCES, folder));
    assert.ok(cases.length > 0);
    await compare(t, bytes, cases);
  });
}

test("a plugin that uses all of an SDK sees and says the same", async (t) => {
  const bytes = await compileAssemblyScript("sdk/probe.ts");
  await compare(t, bytes, PROBES);
});

const FAILURES: readonly [sentence: string, path: string, message: RegExp | null][] = [
  ["a trap", MISDEEDS.trap, /: trap: /],
  ["memory that grows for ever ends at its bound", MISDEEDS.memory, null],
  ["blocks without end", MISDEEDS.blocks, /: kernel_memory: /],
  ["a block larger than all memory", MISDEEDS.bigBlock, /: kernel_memory: /],
  ["a result other than 0", MISDEEDS.returns, /: guest_error: the guest returned 7$/],
  ["an error", MISDEEDS.error, /: guest_error: \/e$/],
  ["an error that is taken back", MISDEEDS.errorTakenBack, null],
  ["an output that is no decision", MISDEEDS.output, /: bad_output: the output is not JSON$/],
  ["a part of a block as output", MISDEEDS.outputPart, null],
  ["calls without end", MISDEEDS.calls, /: host_denied: more than 256 calls/],
  ["calls that nest for ever", MISDEEDS.stack, /: stack: /],
  ["nothing at all", MISDEEDS.fine, null],
];

for (const isolation of ["reuse", "thread"] as const) {
  test(`with ${isolation} a call fails for the same reasons, and the next one works`, async (t) => {
    const { decide } = await attach(t, await misbehavingPlugin(), { isolation, threads: 1 });
    for (const [sentence, path, message] of FAILURES) {
      assertOutcome(await decide({ request: { path } }), message, sentence);
      assertOutcome(await decide({ request: { path: MISDEEDS.fine } }), null, `after ${sentence}`);
    }
  });
}

test("an access out of reach, which the official kernel does not forgive, is a trap", async (t) => {
  const { decide } = await attach(t, await misbehavingPlugin(), { threads: 1 });
  assertOutcome(await decide({ request: { path: MISDEEDS.wide } }), /: trap: /, "out of reach");
});

test("variables are one plugin's, whichever thread has the call, and outlive a kill", async (t) => {
  const options = { threads: 2, limits: { cpuMsMax: 400 } };
  const { decide } = await attach(t, await misbehavingPlugin(), options);
  const variable = { request: { path: MISDEEDS.variable } };
  assertOutcome(await decide(variable), null, "not set yet");
  assertOutcome(await decide({ request: { path: MISDEEDS.loop } }), /: deadline: /, "the kill");
  const all = await Promise.all([decide(variable), decide(variable), decide(variable)]);
  for (const decided of all) assertOutcome(decided, /the guest returned 9$/, "set");
});

test("a call that does not end is ended, and those that wait behind it run", async (t) => {
  const options = { threads: 1, limits: { cpuMsMax: 400 } };
  const { decide } = await attach(t, await misbehavingPlugin(), options);
  const beganMs = performance.now();
  const loop = decide({ request: { path: MISDEEDS.loop } });
  const behind = Array.from({ length: 5 }, () => decide({ request: { path: MISDEEDS.fine } }));
  assertOutcome(await loop, /: deadline: the guest ran for 400 ms/, "the loop");
  const tookMs = performance.now() - beganMs;
  assert.ok(tookMs >= 400, `ended after ${tookMs} ms`);
  for (const decided of await Promise.all(behind)) assertOutcome(decided, null, "behind the loop");
  t.diagnostic(`ended after ${tookMs.toFixed(1)} ms, all done after ${since(beganMs)} ms`);
});

test("calls go on in one thread while another one loops", async (t) => {
  const options = { threads: 2, limits: { cpuMsMax: 2_000 } };
  const { decide } = await attach(t, await misbehavingPlugin(), options);
  let isLooping = true;
  const loop = decide({ request: { path: MISDEEDS.loop } }).finally(() => (isLooping = false));
  let count = 0;
  while (isLooping && count < 20) {
    assertOutcome(await decide({ request: { path: MISDEEDS.fine } }), null, "beside the loop");
    count += 1;
  }
  assert.equal(isLooping, true, `only ${count} calls in two seconds`);
  assertOutcome(await loop, /: deadline: /, "the loop");
});

test("so many calls wait for a thread and no more; closing ends all of them", async (t) => {
  const options = { threads: 1, limits: { cpuMsMax: 60_000 } };
  const { decide, plugin } = await attach(t, await misbehavingPlugin(), options);
  const loop = decide({ request: { path: MISDEEDS.loop } });
  const { queueMax } = THREAD_LIMITS;
  const waiting = Array.from({ length: queueMax }, () => decide({ request: { path: "/x" } }));
  const beyond = await decide({ request: { path: "/x" } });
  assertOutcome(beyond, /: pool_exhausted: 1 threads are busy and 64 calls wait$/, "beyond");
  assert.equal(beyond["code"], "PLUGIN_UNAVAILABLE");
  plugin.close();
  for (const decided of await Promise.all(waiting)) {
    assertOutcome(decided, /: pool_exhausted: the pool is closed$/, "waiting");
  }
  assertOutcome(await loop, /: host_error: its thread ended/, "running");
  const after = await decide({ request: { path: "/x" } });
  assertOutcome(after, /: pool_exhausted: the pool is closed$/, "after");
});

test("a plugin that does not end its start is refused, and its threads are ended", async (t) => {
  const bytes = await misbehavingPlugin({ loopsAtStart: true });
  const { fault } = await attach(t, bytes, { threads: 1 });
  assert.match(fault ?? "", /^deadline: initialisation: not done after 2000 ms/);
});

const REFUSED: readonly [sentence: string, wat: string, fault: RegExp][] = [
  [
    "a configuration that the plugin refuses",
    `(import "extism:host/env" "alloc" (func $alloc (param i64) (result i64)))
     (import "extism:host/env" "error_set" (func $error (param i64)))
     (func (export "on_request"))
     (func (export "on_config") (call $error (call $alloc (i64.const 3))))`,
    /^guest_error: {4}$/,
  ],
  [
    "a function that answers later",
    `(import "extism:host/user" "kv_get" (func (param i64) (result i64)))
     (func (export "on_request"))`,
    /kv/,
  ],
  [
    "a question about the request while there is none",
    `(import "extism:host/user" "request_path" (func $path (result i64)))
     (func (export "on_request"))
     (func (export "on_config") (drop (call $path)))`,
    /^host_denied: there is no request while the configuration is checked$/,
  ],
  [
    "a question about the request during the start",
    `(import "extism:host/user" "request_path" (func $path (result i64)))
     (func (export "_initialize") (drop (call $path)))
     (func (export "on_request"))`,
    /^host_denied: initialisation: request_path was called during initialisation$/,
  ],
];

for (const [sentence, code, fault] of REFUSED) {
  test(`does not start: ${sentence}`, async (t) => {
    const wat = await watAssembler();
    const attached = await attach(t, wat(`(module ${code})`), { threads: 1 });
    assert.match(attached.fault ?? "it started", fault);
  });
}

test("WASI has no files, a clock that stands still, and a log", async (t) => {
  const attached = await attachWat(t, {
    code: `
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "path_open" (func $open
      (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
    (memory (export "memory") 1)
    (data (i32.const 0) "\\10\\00\\00\\00\\05\\00\\00\\00")
    (data (i32.const 16) "hello")
    (func (export "_start") (call $exit (i32.const 3)))
    (func (export "on_response") (call $exit (i32.const 4)))
    (func (export "on_request") (result i32)
      (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
      (i32.ne (i32.const 52) (call $open (i32.const 3) (i32.const 0) (i32.const 16) (i32.const 5)
        (i32.const 0) (i64.const 0) (i64.const 0) (i32.const 0) (i32.const 32))))`,
  });
  assert.equal(attached.fault, null);
  const decided = await attached.decide({ request: { path: "/x" } });
  assertOutcome(decided, null, "WASI");
  assert.deepEqual(decided["logs"], ["hello"]);
  const exited = await attached.decide({ request: { path: "/x" }, response: { status: 200 } });
  assertOutcome(exited, /: trap: the guest exited with code 4$/, "proc_exit");
});

test("http_request fails the call, as everywhere", async (t) => {
  const { decide } = await attachWat(t, {
    code: `(import "extism:host/env" "http_request" (func $http (param i64 i64) (result i64)))
      (func (export "on_request") (drop (call $http (i64.const 0) (i64.const 0))))`,
  });
  const decided = await decide({ request: { path: "/x" } });
  assertOutcome(decided, /: host_denied: the guest called http_request/, "http_request");
});

// Runs all cases in the worker and in a thread, one attachment for each configuration.
async function compare(
  t: TestContext,
  bytes: Uint8Array,
  cases: readonly (readonly [what: string, asked: PluginCase, ...unknown[]])[],
): Promise<void> {
  const byConfig = Map.groupBy(cases, ([, { config = {} }]) => JSON.stringify(config));
  let count = 0;
  for (const [config, alike] of byConfig) {
    const options = { threads: 1, config: JSON.parse(config) as Decided };
    const here = await attach(t, bytes, { ...options, isolation: "reuse" });
    const there = await attach(t, bytes, options);
    assert.equal(there.fault, here.fault, config);
    for (const [what, asked] of alike) {
      const [wanted, found] = [await here.decide(asked), await there.decide(asked)];
      assert.deepEqual(withoutTime(found), withoutTime(wanted), what);
      count += 1;
    }
    there.plugin.close();
  }
  assert.ok(count > 1, `${count} cases`);
}

// Each call has the time of its own.
function withoutTime(decided: Decided): Decided {
  const text = JSON.stringify(decided).replace(/\bnow=\d+/g, "now");
  return JSON.parse(text) as Decided;
}

async function attachWat(t: TestContext, { code, ...options }: Attaching & { code: string }) {
  const wat = await watAssembler();
  return await attach(t, wat(`(module ${code})`), { threads: 1, ...options });
}

// `message` null: the call continues.
function assertOutcome(decided: Decided, message: RegExp | null, sentence: string): void {
  const said = JSON.stringify(decided);
  assert.equal(decided["action"], message === null ? "continue" : "error", `${sentence}: ${said}`);
  if (message !== null) assert.match(String(decided["message"]), message, sentence);
}

function since(beganMs: number): string {
  return (performance.now() - beganMs).toFixed(1);
}
