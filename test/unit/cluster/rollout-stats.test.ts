// What the primary keeps of workers' counts: who is gone counts on, and a worker that comes and goes for
// weeks takes no more room than one that stays.

import assert from "node:assert/strict";
import { test } from "node:test";
import { NO_SHADOW_COUNTS } from "../../../gateway/cluster/rollout-counters.ts";
import type { RolloutReport } from "../../../gateway/cluster/rollout-counters.ts";
import { RolloutStats } from "../../../gateway/cluster/rollout-stats.ts";
import { NO_COUNTS } from "../../../gateway/rollout/counts.ts";

function report(calls: number): RolloutReport {
  return {
    id: "a",
    stable: { ...NO_COUNTS, calls },
    candidate: { ...NO_COUNTS, calls: calls * 2, faults: { trap: 1 } },
    shadow: { ...NO_SHADOW_COUNTS, same: calls, by: { action: 1 } },
    differences: [],
  };
}

test("workers that are gone count on, each once", () => {
  const stats = new RolloutStats(() => 0);
  stats.take(1, [report(5)]);
  stats.take(2, [report(7)]);
  stats.beginStep("a");
  stats.take(2, [report(8)]);
  stats.leave(2);
  stats.leave(2);
  stats.leave(3);
  stats.take(4, [report(10)]);
  stats.leave(4);
  const { stable, candidate } = stats.totals("a");
  assert.deepEqual([stable.calls, candidate.calls, candidate.faults], [23, 46, { trap: 3 }]);
  assert.deepEqual([stats.shadow("a").same, stats.shadow("a").by], [23, { action: 3 }]);
  assert.equal(stats.ofStep("a").stable.calls, 11);
});

test("a worker that is replaced again and again takes no more room", () => {
  const stats = new RolloutStats(() => 0);
  const usedBytes = () => {
    globalThis.gc?.();
    return process.memoryUsage().heapUsed;
  };
  const replace = (from: number, to: number) => {
    for (let worker = from; worker < to; worker++) {
      stats.take(worker, [structuredClone(report(1))]);
      stats.leave(worker);
    }
  };
  replace(1, 1_000);
  const before = usedBytes();
  replace(1_000, 9_000);
  const grownBytes = usedBytes() - before;
  assert.equal(stats.totals("a").stable.calls, 8_999);
  // Kept one by one they would be some 30 MB.
  assert.ok(grownBytes < 15_000_000, `${grownBytes} bytes`);
});
