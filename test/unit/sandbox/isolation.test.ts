// No request's data is ever readable by another: `fresh` shows nothing of earlier calls, `reuse` only
// what the guest itself kept. Each call carries a canary as its input and looks for those of others
// everywhere it can read: its own memory, globals, table, variables and all of the kernel's memory,
// also while other calls of the same plugin are suspended.

import assert from "node:assert/strict";
import { test } from "node:test";
import {
  compileModule,
  DEFAULT_SANDBOX_LIMITS,
  GuestPool,
  prepareModule,
} from "../../../sandbox/sandbox.ts";
import type { HostFunction, Outcome } from "../../../sandbox/sandbox.ts";
import { watAssembler } from "../../support/wat.ts";

const wat = await watAssembler();
const limits = { ...DEFAULT_SANDBOX_LIMITS, cpuMsMax: 5_000, asyncMsMax: 20_000 };
const CANARIES = 20;

/**
 * Keeps its input in memory, a global and a variable, and answers with two numbers: 8-byte words in
 * the kernel's memory that are a canary but not its own, and what its memory and global held before.
 */
const KEEPER = `(module
  (import "extism:host/env" "input_load_u64" (func $input (param i64) (result i64)))
  (import "extism:host/env" "load_u64" (func $load (param i64) (result i64)))
  (import "extism:host/env" "alloc" (func $alloc (param i64) (result i64)))
  (import "extism:host/env" "store_u64" (func $store (param i64 i64)))
  (import "extism:host/env" "output_set" (func $output (param i64 i64)))
  (import "extism:host/user" "pause" (func $pause))
  (memory 1)
  (global $kept (mut i64) (i64.const 0))
  (func (export "on_request") (result i32)
    (local $own i64) (local $at i64) (local $foreign i64) (local $word i64) (local $handle i64)
    (local.set $own (call $input (i64.const 0)))
    (call $pause)
    ;; Fresh blocks, as large as can be had, so that all that was ever written lies within reach.
    (local.set $handle (call $alloc (i64.const 900000)))
    (loop $next
      (local.set $word (call $load (local.get $at)))
      (if (i32.and
            (i64.eq (i64.shr_u (local.get $word) (i64.const 16)) (i64.const 0x7972616e6163))
            (i64.ne (local.get $word) (local.get $own)))
        (then (local.set $foreign (i64.add (local.get $foreign) (i64.const 1)))))
      (local.set $at (i64.add (local.get $at) (i64.const 8)))
      (br_if $next (i64.lt_u (local.get $at) (i64.const 2097152))))
    (call $store (local.get $handle) (local.get $foreign))
    (call $store (i64.add (local.get $handle) (i64.const 8)) (i64.load (i32.const 512)))
    (call $store (i64.add (local.get $handle) (i64.const 16)) (global.get $kept))
    (call $output (local.get $handle) (i64.const 24))
    (i64.store (i32.const 512) (local.get $own))
    (global.set $kept (local.get $own))
    (i32.const 0)))`;

/** Two digits, then "canary": one word of eight bytes. */
function canary(i: number): string {
  return `${String(i % 100).padStart(2, "0")}canary`;
}

type Report = { foreign: bigint; memory: bigint; global: bigint };

function report(outcome: Outcome): Report {
  assert.equal(outcome.kind, "ok", JSON.stringify(outcome));
  const bytes = outcome.kind === "ok" ? outcome.output : null;
  assert.ok(bytes !== null && bytes.length === 24);
  const view = Buffer.from(bytes);
  return {
    foreign: view.readBigUInt64LE(0),
    memory: view.readBigUInt64LE(8),
    global: view.readBigUInt64LE(16),
  };
}

async function openPool(
  isolation: "reuse" | "fresh",
  pause: HostFunction<null>,
): Promise<GuestPool<null>> {
  const hostFunctions = new Map([["pause", pause]]);
  const prepared = prepareModule(wat(KEEPER), {
    limits,
    hostFunctions,
    requiredExports: ["on_request"],
  });
  const module = await compileModule(prepared.bytes);
  const config = new Map<string, string>();
  return new GuestPool({ module, limits, hostFunctions, config, isolation, log: () => {} });
}

const AT_ONCE: HostFunction<null> = { params: [], results: [], run: () => {} };

test("fresh: a call finds nothing of any call before it", async () => {
  const pool = await openPool("fresh", AT_ONCE);
  for (let i = 0; i < CANARIES; i++) {
    const found = report(pool.call("on_request", canary(i), null));
    assert.deepEqual(found, { foreign: 0n, memory: 0n, global: 0n }, `call ${i}`);
  }
});

test("reuse: a call finds what the guest kept, and nothing else of a call before it", async () => {
  const pool = await openPool("reuse", AT_ONCE);
  for (let i = 0; i < CANARIES; i++) {
    const found = report(pool.call("on_request", canary(i), null));
    const before = i === 0 ? 0n : Buffer.from(canary(i - 1)).readBigUInt64LE(0);
    assert.deepEqual(found, { foreign: 0n, memory: before, global: before }, `call ${i}`);
  }
});

for (const isolation of ["fresh", "reuse"] as const) {
  test(`${isolation}: calls that are suspended together see nothing of each other`, async () => {
    const waiting: (() => void)[] = [];
    const pool = await openPool(isolation, {
      params: [],
      results: [],
      suspends: true,
      run: () => new Promise<void>((resolve) => void waiting.push(resolve)),
    });
    const calls = Array.from({ length: CANARIES }, (_, i) =>
      pool.callLater("on_request", canary(i), null),
    );
    assert.equal(waiting.length, CANARIES, "all of them are under way");
    // In another order than they began.
    for (const resume of waiting.reverse()) resume();
    for (const [i, outcome] of (await Promise.all(calls)).entries()) {
      assert.deepEqual(report(outcome), { foreign: 0n, memory: 0n, global: 0n }, `call ${i}`);
    }
  });
}

test("a suspended instance is not given to another call, and one that was cut is not used again", async () => {
  const hung: HostFunction<null> = {
    params: [],
    results: [],
    suspends: true,
    run: () => new Promise<void>(() => {}),
  };
  const hostFunctions = new Map([["pause", hung]]);
  const short = { ...limits, asyncMsMax: 20 };
  const prepared = prepareModule(wat(KEEPER), {
    limits: short,
    hostFunctions,
    requiredExports: ["on_request"],
  });
  const pool = new GuestPool<null>({
    module: await compileModule(prepared.bytes),
    limits: short,
    hostFunctions,
    config: new Map(),
    isolation: "reuse",
    log: () => {},
  });
  const outcomes = await Promise.all([
    pool.callLater("on_request", canary(1), null),
    pool.callLater("on_request", canary(2), null),
  ]);
  for (const outcome of outcomes) {
    assert.equal(outcome.kind === "failed" && outcome.code, "async_timeout");
  }
  assert.equal(pool.size, 0);
});
