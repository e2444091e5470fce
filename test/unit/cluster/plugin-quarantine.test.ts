// Versions that are set aside: which one serves instead, how long, and how an operator lifts it. Time is
// node:test's.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { LIMITS } from "../../../gateway/base/limits.ts";
import { createLog } from "../../../gateway/base/log.ts";
import { PluginQuarantine } from "../../../gateway/cluster/plugin-quarantine.ts";
import { PluginRegistry } from "../../../gateway/cluster/plugin-registry.ts";
import type { PluginEntry } from "../../../gateway/cluster/plugin-registry.ts";

function setup(t: TestContext) {
  t.mock.timers.enable({ apis: ["setTimeout", "Date"] });
  let rebinds = 0;
  const quarantine = new PluginQuarantine({
    log: createLog(() => {}, {}),
    rebind: async () => void (rebinds += 1),
  });
  const registry = new PluginRegistry([
    entryOf("p", ["1.0.0", "1.5.0", "2.0.0", "3.0.0"]),
    entryOf("q", ["1.0.0"]),
  ]).withRetired("p", "1.5.0", "2026-01-01T00:00:00.000Z");
  const current = (name: string) => quarantine.serving(registry).entry(name)?.current;
  return { quarantine, current, rebinds: () => rebinds };
}

// Each of its versions was current, the last one is.
function entryOf(name: string, numbers: readonly string[]): PluginEntry {
  const facts = { digest: "", sizeBytes: 0, exports: [], manifest: null, createdAt: "" };
  const versions = numbers.map((version) => ({ version, ...facts, signature: null }));
  const [current = "", ...history] = [...numbers].reverse();
  return { name, current, history: history.reverse(), versions: versions.reverse(), retired: [] };
}

test("the newest version that is neither set aside nor retired serves", (t) => {
  const { quarantine, current, rebinds } = setup(t);
  quarantine.add("p", "3.0.0", "deadline");
  assert.equal(current("p"), "2.0.0");
  quarantine.add("p", "2.0.0", "trap");
  assert.equal(current("p"), "1.0.0");
  quarantine.add("p", "1.0.0", "trap");
  assert.equal(current("p"), "3.0.0", "with none left it stays");
  assert.equal(rebinds(), 3);
  assert.equal(current("q"), "1.0.0", "others are not concerned");
});

test("several workers that say the same change nothing more", (t) => {
  const { quarantine, rebinds } = setup(t);
  quarantine.add("p", "3.0.0", "first");
  quarantine.add("p", "3.0.0", "second");
  assert.equal(rebinds(), 1);
  assert.equal(quarantine.of("p", "3.0.0")?.reason, "first");
});

test("it is tried again after its time, which doubles at each relapse", (t) => {
  const { quarantine, current } = setup(t);
  for (const holdMs of [LIMITS.pluginQuarantineMs, LIMITS.pluginQuarantineMs * 2]) {
    quarantine.add("p", "3.0.0", "deadline");
    t.mock.timers.tick(holdMs - 1);
    assert.equal(current("p"), "2.0.0");
    t.mock.timers.tick(1);
    assert.equal(current("p"), "3.0.0");
  }
});

test("lifting forgets the relapses too", (t) => {
  const { quarantine, current } = setup(t);
  quarantine.add("p", "3.0.0", "deadline");
  quarantine.lift("p", "3.0.0");
  assert.equal(current("p"), "3.0.0");
  quarantine.add("p", "3.0.0", "deadline");
  t.mock.timers.tick(LIMITS.pluginQuarantineMs);
  assert.equal(current("p"), "3.0.0");
});
