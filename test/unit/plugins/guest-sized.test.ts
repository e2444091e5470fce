// What guests pass to the host is as long as they like. Every function of the interface that takes a
// handle, whichever there are, is called for ever with texts of several lengths that are no UTF-8, the
// dearest to decode: the host never reads more than its longest bound, and the call ends in its time.

import assert from "node:assert/strict";
import { after, before, test, type TestContext } from "node:test";
import { setFlagsFromString } from "node:v8";
import { LocalView } from "../../../gateway/http/response-view.ts";
import { HOST_FUNCTIONS, type CallContext } from "../../../gateway/plugins/abi.ts";
import { Decision, DECISION_LIMITS } from "../../../gateway/plugins/decision.ts";
import type { Grants } from "../../../gateway/plugins/grants.ts";
import { HOST_IMPORTS, type Signature } from "../../../sandbox/imports.ts";
import { Kernel } from "../../../sandbox/kernel.ts";
import {
  compileModule,
  DEFAULT_SANDBOX_LIMITS,
  GuestPool,
  prepareModule,
} from "../../../sandbox/sandbox.ts";
import { makeExchange } from "../../support/made-exchange.ts";
import { watAssembler } from "../../support/wat.ts";

const wat = await watAssembler();

const CPU_MS = DEFAULT_SANDBOX_LIMITS.cpuMsMax;
/** As for the other modules that mean harm, in test/unit/sandbox/hostile.test.ts. */
const ALLOWED_MS = CPU_MS * 4 + 15;
const RUNS_MAX = 5;
/** Just within each of the bounds, and most of a call's memory. */
const LENGTHS = [256, 1_024, 4_096, 24_576, 65_536, 900_000];

before(() => setFlagsFromString("--no-wasm-lazy-compilation"));
after(() => setFlagsFromString("--wasm-lazy-compilation"));

type Case = {
  readonly module: string;
  readonly name: string;
  readonly signature: Signature;
  /** The first handle is a good name: otherwise a long one hides what becomes of a long value. */
  readonly named: boolean;
};

const CASES: Case[] = [
  ...[...HOST_IMPORTS].map((entry) => ["extism:host/env", ...entry] as const),
  ...[...HOST_FUNCTIONS].map((entry) => ["extism:host/user", ...entry] as const),
].flatMap(([module, name, signature]) => {
  const handles = signature.params.filter((type) => type === "i64").length;
  const ways = handles === 0 ? [] : handles === 1 ? [false] : [false, true];
  return ways.map((named) => ({ module, name, signature, named }));
});

/** Calls the function for ever, with the handle wherever an i64 is taken. */
function caller({ module, name, signature, named }: Case, bytes: number): Uint8Array {
  const { params, results } = signature;
  const first = named ? params.indexOf("i64") : -1;
  const args = params.map((type, i) => {
    if (i === first) return "(call $name)";
    return type === "i64" ? "(local.get $big)" : "(i32.const 200)";
  });
  const call = `(call $f ${args.join(" ")})`;
  return wat(`(module
    (import "extism:host/env" "alloc" (func $alloc (param i64) (result i64)))
    (import "extism:host/env" "length" (func $length (param i64) (result i64)))
    (import "extism:host/env" "store_u64" (func $store (param i64 i64)))
    (import "${module}" "${name}" (func $f (param ${params.join(" ")}) (result ${results.join(" ")})))
    (func $fill (result i64) (local $big i64) (local $at i64)
      (local.set $big (call $alloc (i64.const ${bytes})))
      (loop $next
        (call $store (i64.add (local.get $big) (local.get $at)) (i64.const -1))
        (local.set $at (i64.add (local.get $at) (i64.const 8)))
        (br_if $next (i64.lt_u (local.get $at) (i64.const ${bytes}))))
      (local.get $big))
    (func $name (result i64) (local $name i64)
      (local.set $name (call $alloc (i64.const 8)))
      (call $store (local.get $name) (i64.const 0x6161616161616161))
      (local.get $name))
    (func (export "on_request") (result i32) (local $big i64)
      (local.set $big (call $fill))
      (loop $again
        ${results.length > 0 ? `(drop ${call})` : call}
        ;; Some functions free what they are given: its bytes are still there.
        (if (i64.eqz (call $length (local.get $big)))
          (then (local.set $big (call $alloc (i64.const ${bytes})))))
        (br $again))
      unreachable))`);
}

const GRANTS: Grants = {
  kv: {
    get: async () => null,
    set: async () => {},
    increment: async () => 1,
  },
  http: {
    refusal: () => null,
    call: async () => ({ status: 200, headers: {}, body: "", error: "" }),
    close: () => {},
  },
  body: 65_536,
};

function contextFor(name: string): CallContext {
  const exchange = makeExchange({ query: "a=%41&".repeat(2_000) });
  const answer = { status: 200, headers: [], body: "" };
  const response = name.startsWith("response_") ? new LocalView(answer, exchange) : null;
  const decision = new Decision();
  decision.begin();
  return { exchange, response, decision, grants: GRANTS };
}

/** The bytes of the longest text that the host has read so far. */
function longestRead(t: TestContext): () => number {
  let longest = 0;
  const { readString, readBytes, readLine } = Kernel.prototype;
  const note = (bytes: number) => void (longest = Math.max(longest, bytes));
  t.mock.method(Kernel.prototype, "readString", function (this: Kernel, handle: bigint) {
    note(this.lengthOf(handle));
    return readString.call(this, handle);
  });
  t.mock.method(Kernel.prototype, "readBytes", function (this: Kernel, handle: bigint) {
    note(this.lengthOf(handle));
    return readBytes.call(this, handle);
  });
  t.mock.method(Kernel.prototype, "readLine", function (this: Kernel, at: bigint, max: number) {
    note(Math.min(this.lengthOf(at), max));
    return readLine.call(this, at, max);
  });
  return () => longest;
}

for (const row of CASES) {
  test(`${row.name}${row.named ? " by a good name" : ""} reads no more than it may of what it is passed, and in time`, async (t) => {
    const longest = longestRead(t);
    const times: string[] = [];
    for (const bytes of LENGTHS) {
      const ms = await fastest(row, bytes);
      times.push(`${bytes}: ${ms.toFixed(1)}`);
      assert.ok(ms <= ALLOWED_MS, `${bytes} bytes took ${ms.toFixed(1)} ms`);
    }
    t.diagnostic(`ms of ${CPU_MS} by bytes: ${times.join(", ")}`);
    assert.ok(longest() <= DECISION_LIMITS.bodyBytesMax, `${longest()} bytes were read`);
  });
}

/** The time of the fastest of some runs; the first that is good ends them. */
async function fastest(row: Case, bytes: number): Promise<number> {
  const limits = DEFAULT_SANDBOX_LIMITS;
  const options = { limits, hostFunctions: HOST_FUNCTIONS, requiredExports: ["on_request"] };
  const pool = new GuestPool<CallContext>({
    module: await compileModule(prepareModule(caller(row, bytes), options).bytes),
    ...{ limits, hostFunctions: HOST_FUNCTIONS, isolation: "reuse" },
    config: new Map(),
    log: () => {},
  });
  let bestMs = Infinity;
  for (let left = RUNS_MAX; left > 0 && bestMs > CPU_MS * 2; left--) {
    const context = contextFor(row.name);
    assert.equal(pool.warm(context), null);
    const beganMs = performance.now();
    const outcome = pool.suspends
      ? await pool.callLater("on_request", null, context)
      : pool.call("on_request", null, context);
    bestMs = Math.min(bestMs, performance.now() - beganMs);
    assert.ok(outcome.kind === "failed", JSON.stringify(outcome));
    assert.ok(["deadline", "host_denied"].includes(outcome.code), JSON.stringify(outcome));
  }
  return bestMs;
}
