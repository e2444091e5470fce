// Every fuzzer for a short while: FUZZ_SECONDS for all of them together, from SEED or a seed that is
// printed. Longer, and one by one: node test/fuzz/fuzzers.ts.

import assert from "node:assert/strict";
import { test } from "node:test";
import { SEED, searchMs } from "../support/random.ts";
import { allFuzzers, canary } from "./fuzzers.ts";
import { runFuzzer, showCounts, showFinding } from "./fuzzing.ts";

const SECONDS_DEFAULT = 20;
const CANARY_MS_MAX = 30_000;
const FUZZERS = allFuzzers();

for (const fuzzer of FUZZERS) {
  test(`the fuzzer ${fuzzer.name} finds nothing`, async (t) => {
    t.diagnostic(`seed ${SEED}`);
    const ms = searchMs(1 / FUZZERS.length, SECONDS_DEFAULT);
    const report = await runFuzzer(fuzzer, { seed: SEED, ms });
    t.diagnostic(showCounts(report));
    assert.equal(report.finding, null, showFinding(report));
    assert.ok(report.counts["inputs"] > 0);
  });
}

test("the fuzzing itself finds the fault of a parser that has one", async () => {
  const report = await runFuzzer(canary(), { seed: SEED, ms: CANARY_MS_MAX });
  assert.match(
    showFinding(report),
    /^canary: (?:llhttp refuses it|another fields): .*again: .* --seed \d+$/s,
  );
});
