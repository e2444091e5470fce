// `fresh` brings an instance back to what it was before its first call, where that is all its state, and
// makes a new one where it is not. Each module counts its calls in one kind of state and returns the count
// as an error code, so that a count above one shows what was left; how many instances were made is counted
// too, so that neither way passes for the other.

import assert from "node:assert/strict";
import { test } from "node:test";
import {
  compileModule,
  DEFAULT_SANDBOX_LIMITS,
  GuestPool,
  prepareModule,
} from "../../../sandbox/sandbox.ts";
import { watAssembler } from "../../support/wat.ts";

const wat = await watAssembler();
const CALLS = 5;

type Row = {
  readonly name: string;
  /** Counts in its state, and leaves the count before on the stack. */
  readonly module: string;
  /** Instances for five calls. */
  readonly instances: 1 | 5;
};

const call = (body: string) => `(func (export "on_request") (result i32) ${body})`;
const global = (type: string, zero: string, more: string) => `
  (global $n (mut ${type}) (${type}.const ${zero}))
  ${call(`(global.get $n) (global.set $n (${type}.add (global.get $n) (${type}.const 1))) ${more}`)}`;

const ROWS: readonly Row[] = [
  { name: "nothing at all", module: call("(i32.const 0)"), instances: 1 },
  { name: "a global of i32", module: global("i32", "0", ""), instances: 1 },
  { name: "a global of i64", module: global("i64", "0", "i32.wrap_i64"), instances: 1 },
  { name: "a global of f32", module: global("f32", "0", "i32.trunc_f32_s"), instances: 1 },
  { name: "a global of f64", module: global("f64", "0", "i32.trunc_f64_s"), instances: 1 },
  {
    name: "a memory that is not exported",
    module: `(memory 2) ${call(`(i32.load (i32.const 70000))
      (i32.store (i32.const 70000) (i32.add (i32.load (i32.const 70000)) (i32.const 1)))`)}`,
    instances: 1,
  },
  {
    name: "what its start left, which stays",
    module: `(memory 1) (global $n (mut i32) (i32.const 0)) (start $start)
      (func $start (i32.store (i32.const 8) (i32.const 41)) (global.set $n (i32.const 41)))
      ${call(`(i32.sub (i32.add (i32.load (i32.const 8)) (global.get $n)) (i32.const 82))
        (i32.store (i32.const 8) (i32.const 50)) (global.set $n (i32.const 50))`)}`,
    instances: 1,
  },
  {
    name: "a memory that grows",
    module: `(memory 1) ${call(`(i32.sub (memory.size) (i32.const 1))
      (drop (memory.grow (i32.const 1)))`)}`,
    instances: 5,
  },
  {
    name: "a memory that is costly to copy",
    module: `(memory 9) ${call(`(i32.load (i32.const 8)) (i32.store (i32.const 8) (i32.const 1))`)}`,
    instances: 5,
  },
  {
    name: "a table that it writes to",
    module: `(table 2 funcref) (func $f) (elem declare func $f)
      ${call(`(i32.eqz (ref.is_null (table.get (i32.const 1))))
        (table.set (i32.const 1) (ref.func $f))`)}`,
    instances: 5,
  },
  {
    name: "a table that grows",
    module: `(table 1 100 funcref) ${call(`(i32.sub (table.size) (i32.const 1))
      (drop (table.grow (ref.null func) (i32.const 1)))`)}`,
    instances: 5,
  },
  {
    name: "a segment that it drops",
    module: `(memory 1) (data $d "x") (global $n (mut i32) (i32.const 0))
      ${call(`(global.get $n) (global.set $n (i32.const 1))
        (memory.init $d (i32.const 0) (i32.const 0) (i32.const 1)) (data.drop $d)`)}`,
    instances: 5,
  },
  {
    name: "a global of a reference",
    module: `(global $n (mut funcref) (ref.null func)) (func $f) (elem declare func $f)
      ${call("(i32.eqz (ref.is_null (global.get $n))) (global.set $n (ref.func $f))")}`,
    instances: 5,
  },
  {
    name: "a global of a vector",
    module: `(global $n (mut v128) (v128.const i32x4 0 0 0 0))
      ${call("(v128.any_true (global.get $n)) (global.set $n (v128.const i32x4 1 0 0 0))")}`,
    instances: 5,
  },
  {
    name: "a global that is no number",
    module: `(global $n (mut f64) (f64.const nan:0x123))
      ${call("(f64.eq (global.get $n) (global.get $n)) (global.set $n (f64.const 1))")}`,
    instances: 5,
  },
  {
    name: "more globals than are kept",
    module: `${"(global (mut i32) (i32.const 0)) ".repeat(65)}
      ${call("(global.get 64) (global.set 64 (i32.const 1))")}`,
    instances: 5,
  },
];

async function open(text: string, isolation: "fresh" | "reuse") {
  const hostFunctions = new Map();
  const prepared = prepareModule(wat(`(module ${text})`), {
    limits: DEFAULT_SANDBOX_LIMITS,
    hostFunctions,
    requiredExports: ["on_request"],
  });
  const counted = { instances: 0 };
  const pool = new GuestPool<null>({
    module: await compileModule(prepared.bytes),
    limits: DEFAULT_SANDBOX_LIMITS,
    hostFunctions,
    config: new Map(),
    isolation,
    log: () => {},
    observer: { wrap: (run) => run, onStarted: () => counted.instances++, onEnded: () => {} },
  });
  return { pool, counted };
}

for (const { name, module, instances } of ROWS) {
  test(`${name}: no call sees it of another, over ${instances} instances`, async () => {
    const { pool, counted } = await open(module, "fresh");
    for (let i = 0; i < CALLS; i++) {
      const outcome = pool.call("on_request", null, null);
      assert.deepEqual(outcome, { kind: "ok", output: null, returnCode: 0 }, `call ${i}`);
    }
    assert.equal(counted.instances, instances);
  });
}

test("the modules do leave what is looked for", async () => {
  for (const { name, module } of ROWS.slice(1)) {
    if (/stays|drops/.test(name)) continue;
    const { pool } = await open(module, "reuse");
    assert.equal(pool.call("on_request", null, null).kind, "ok", name);
    const second = pool.call("on_request", null, null);
    assert.equal(second.kind, "failed", `${name}: the second call sees nothing`);
  }
});

test("variables go with the call that set them", async () => {
  const { pool, counted } = await open(
    `(import "extism:host/env" "alloc" (func $alloc (param i64) (result i64)))
     (import "extism:host/env" "var_get" (func $get (param i64) (result i64)))
     (import "extism:host/env" "var_set" (func $set (param i64 i64)))
     ${call(`(i32.wrap_i64 (call $get (call $alloc (i64.const 4))))
       (call $set (call $alloc (i64.const 4)) (call $alloc (i64.const 8)))`)}`,
    "fresh",
  );
  for (let i = 0; i < CALLS; i++) {
    assert.equal(pool.call("on_request", null, null).kind, "ok", `call ${i}`);
  }
  assert.equal(counted.instances, 1);
});

test("an instance that was cut off is not brought back", async () => {
  const { pool, counted } = await open(`(memory 1) ${call("unreachable")}`, "fresh");
  for (let i = 0; i < CALLS; i++) {
    assert.equal(pool.call("on_request", null, null).kind, "failed");
  }
  assert.equal(counted.instances, CALLS);
});
