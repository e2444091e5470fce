// A guest that waits uses no CPU time, whatever the host moves for it meanwhile; what was moved is paid
// for all the same. A host function waits three times as long as the call may run, and each time answers
// more bytes than there is fuel between two looks at the clock.

import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as wait } from "node:timers/promises";
import { FUEL_SLICE } from "../../../sandbox/budget.ts";
import {
  compileModule,
  DEFAULT_SANDBOX_LIMITS,
  GuestPool,
  prepareModule,
  type HostFunction,
} from "../../../sandbox/sandbox.ts";
import { watAssembler } from "../../support/wat.ts";

const wat = await watAssembler();

const CPU_MS = DEFAULT_SANDBOX_LIMITS.cpuMsMax;
const ANSWER = "x".repeat(200_000);
const LATER: HostFunction<null> = {
  params: [],
  results: ["i64"],
  suspends: true,
  run: async (guest) => {
    await wait(CPU_MS * 3);
    return guest.writeString(ANSWER);
  },
};

async function outcomeOf(body: string): Promise<string> {
  const hostFunctions = new Map([["later", LATER]]);
  const text = `(module (import "extism:host/user" "later" (func $later (result i64)))
    (func (export "on_request") (result i32) ${body}))`;
  const limits = DEFAULT_SANDBOX_LIMITS;
  const options = { limits, hostFunctions, requiredExports: ["on_request"] };
  const pool = new GuestPool<null>({
    module: await compileModule(prepareModule(wat(text), options).bytes),
    ...{ limits, hostFunctions, isolation: "reuse" },
    config: new Map(),
    log: () => {},
  });
  const outcome = await pool.callLater("on_request", null, null);
  return outcome.kind === "ok" ? "ok" : outcome.code;
}

test("bytes moved while a guest waits do not count the wait as its time", async () => {
  const call = "(drop (call $later))";
  // Only who has looked at the clock once looks at it for a deadline.
  const slice = `(loop (br_if 0 (i32.lt_u
    (local.tee 0 (i32.add (local.get 0) (i32.const 1))) (i32.const ${FUEL_SLICE / 4}))))`;
  assert.equal(await outcomeOf(`(local i32) ${slice} ${call} ${call} ${call} (i32.const 0)`), "ok");
});

test("a guest that has waited is still stopped when it does not end", async () => {
  assert.equal(await outcomeOf("(drop (call $later)) (loop (br 0)) unreachable"), "deadline");
});
