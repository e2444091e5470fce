// Rollouts on disk: what was saved is read again, and a file that was damaged or edited by hand neither
// keeps the gateway from starting nor takes the sound ones along. It is set aside and told of.

import assert from "node:assert/strict";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { openRollouts } from "../../../gateway/cluster/rollout-store.ts";
import { defaultThresholds, judge } from "../../../gateway/rollout/analysis.ts";
import { NO_COUNTS } from "../../../gateway/rollout/counts.ts";
import { end, startRollout, stepOn, withhold } from "../../../gateway/rollout/rollout.ts";
import type { Rollout, RolloutPlan } from "../../../gateway/rollout/rollout.ts";
import { temporaryFolder } from "../../support/gateway.ts";

const ACT = { at: "2026-01-01T00:00:00.000Z", actor: "me", reason: "" };
const PLAN: RolloutPlan = {
  ...{ route: "r", plugin: "authz", stable: "1.0.0", candidate: "1.0.1", mode: "canary" },
  ...{ steps: [5, 100], intervalMs: 1_000, sticky: { by: "ip", name: "" }, attached: null },
  thresholds: defaultThresholds("canary"),
};

const COUNTS = { ...NO_COUNTS, calls: 500, asked: 500, forwarded: 500 };
const JUDGED = judge(COUNTS, COUNTS, { thresholds: PLAN.thresholds, surely: true });

const STEPPED = stepOn(startRollout(PLAN, "a", ACT), JUDGED, ACT);
const SHADOW = startRollout({ ...PLAN, route: "s", mode: "shadow", steps: [] }, "b", ACT);
const ENDED = end(startRollout({ ...PLAN, route: "e", attached: "^1" }, "c", ACT), "aborted", ACT);
const WITHHELD = withhold(startRollout({ ...PLAN, route: "w" }, "d", ACT), ACT);
const ALL = [STEPPED, SHADOW, ENDED, WITHHELD];

async function opened(t: TestContext, text: string | null) {
  const path = join(temporaryFolder(t), "rollouts.json");
  if (text !== null) writeFileSync(path, text);
  const lines: unknown[] = [];
  const store = await openRollouts(path, {
    warn: (message, fields) => lines.push([message, fields]),
  });
  const aside = existsSync(`${path}.damaged`) ? readFileSync(`${path}.damaged`, "utf8") : null;
  return { path, store, lines, aside };
}

test("what was saved is read again, and nothing is said of it", async (t) => {
  const { path, store } = await opened(t, null);
  await store.save(ALL);
  const { store: again, lines, aside } = await opened(t, readFileSync(path, "utf8"));
  assert.deepEqual(again.rollouts, ALL);
  assert.deepEqual([lines, aside], [[], null]);
});

for (const [what, text] of [
  ["is cut off", JSON.stringify({ format: 1, rollouts: ALL }).slice(0, -20)],
  ["is empty", ""],
  ["holds null", "null"],
  ["is of another format", JSON.stringify({ format: 2, rollouts: [] })],
  ["holds no list", JSON.stringify({ format: 1, rollouts: { a: STEPPED } })],
] as const) {
  test(`a file that ${what} is set aside, and there are no rollouts`, async (t) => {
    const { path, store, lines, aside } = await opened(t, text);
    assert.deepEqual(store.rollouts, []);
    assert.equal(aside, text);
    assert.equal(lines.length, 1);
    const again = await opened(t, readFileSync(path, "utf8"));
    assert.deepEqual(again.lines, []);
  });
}

const BAD: readonly unknown[] = [
  null,
  "text",
  { ...STEPPED, candidate: 1 },
  { ...STEPPED, state: "runing" },
  { ...STEPPED, mode: "both" },
  { ...STEPPED, steps: [] },
  { ...STEPPED, steps: [5, 5] },
  { ...STEPPED, steps: [5, 101] },
  { ...STEPPED, steps: Array.from({ length: 33 }, (_, i) => i + 1) },
  { ...STEPPED, step: 2 },
  { ...STEPPED, step: 0.5 },
  { ...STEPPED, intervalMs: 0 },
  { ...STEPPED, intervalMs: null },
  { ...STEPPED, sticky: { by: "name", name: "" } },
  { ...STEPPED, thresholds: { ...PLAN.thresholds, p99RatioMax: "3" } },
  { ...STEPPED, events: [null] },
  { ...STEPPED, judged: { ...JUDGED, findings: [{ ...JUDGED.findings[0], metric: "other" }] } },
  { ...SHADOW, steps: [5] },
];

for (const bad of BAD) {
  const differs = Object.entries(bad === null ? {} : (bad as Partial<Rollout>)).filter(
    ([key, value]) => JSON.stringify(value) !== JSON.stringify(STEPPED[key as keyof Rollout]),
  );
  const shown = JSON.stringify(typeof bad === "string" ? bad : Object.fromEntries(differs));
  test(`a rollout that says ${shown.slice(0, 90)} is dropped, the others stay`, async (t) => {
    const rollouts = [ENDED, bad, { ...STEPPED, route: "sound" }];
    const text = JSON.stringify({ format: 1, rollouts });
    const { store, lines, aside, path } = await opened(t, text);
    const routes = store.rollouts.map(({ route }) => route);
    assert.deepEqual(routes, ["e", "sound"]);
    assert.equal(aside, text);
    assert.deepEqual(lines, [
      [
        "rollouts were damaged on disk; the file is set aside",
        { damaged: 1, kept: 2, aside: `${path}.damaged` },
      ],
    ]);
  });
}

test("of two rollouts of one place the later one stands", async (t) => {
  const rollouts = [STEPPED, { ...STEPPED, id: "later", candidate: "1.0.2" }];
  const { store, lines } = await opened(t, JSON.stringify({ format: 1, rollouts }));
  assert.deepEqual([store.rollouts.map(({ id }) => id), lines.length], [["later"], 1]);
});
