// Rollouts among the metrics: each version's counts under its arm, one state at 1, no shadow of a canary,
// and names that would break a line of the format.

import assert from "node:assert/strict";
import { test } from "node:test";
import { exposition } from "../../../gateway/telemetry/exposition.ts";
import { mergeSnapshots } from "../../../gateway/telemetry/metrics.ts";
import type { RolloutFacts } from "../../../gateway/telemetry/rollout-families.ts";

const FACTS = {
  version: "1.2.3",
  workers: 1,
  restarts: 0,
  revision: 1,
  generation: 1,
  startedAtS: 0,
};
const CANARY: RolloutFacts = {
  route: "orders",
  plugin: "authz",
  stable: "1.0.0",
  candidate: "1.1.0",
  mode: "canary",
  state: "paused",
  weight: 2.5,
  arms: {
    stable: { calls: 90, denied: 3, faults: {} },
    candidate: { calls: 10, denied: 0, faults: { trap: 2, deadline: 1 } },
  },
  shadow: null,
};
const SHADOW: RolloutFacts = {
  ...CANARY,
  route: 'a"b\\c\n',
  mode: "shadow",
  state: "aborted",
  weight: 0,
  shadow: { same: 7, different: 2, incomparable: 1, skipped: 0 },
};

/** The samples of rollouts. */
async function samplesOf(rollouts: readonly RolloutFacts[]): Promise<string[]> {
  const text = await exposition(mergeSnapshots([]), { ...FACTS, rollouts });
  return text.split("\n").filter((line) => line.startsWith("sallyport_rollout_"));
}

test("a canary is told by its weight, its state and what both versions did", async () => {
  const place = 'route="orders",plugin="authz"';
  const versions = `${place},stable="1.0.0",candidate="1.1.0",mode="canary"`;
  const stable = `${place},version="1.0.0",arm="stable"`;
  const candidate = `${place},version="1.1.0",arm="candidate"`;
  assert.deepEqual(await samplesOf([CANARY]), [
    `sallyport_rollout_weight_percent{${versions}} 2.5`,
    `sallyport_rollout_state{${versions},state="running"} 0`,
    `sallyport_rollout_state{${versions},state="paused"} 1`,
    `sallyport_rollout_state{${versions},state="promoted"} 0`,
    `sallyport_rollout_state{${versions},state="aborted"} 0`,
    `sallyport_rollout_calls_total{${stable}} 90`,
    `sallyport_rollout_calls_total{${candidate}} 10`,
    `sallyport_rollout_errors_total{${candidate},fault="trap"} 2`,
    `sallyport_rollout_errors_total{${candidate},fault="deadline"} 1`,
    `sallyport_rollout_denied_total{${stable}} 3`,
    `sallyport_rollout_denied_total{${candidate}} 0`,
  ]);
});

test("a shadow's decisions are counted by what they came to, under names that are escaped", async () => {
  const where = String.raw`route="a\"b\\c\n",plugin="authz",candidate="1.1.0"`;
  assert.deepEqual(
    (await samplesOf([CANARY, SHADOW])).filter((line) => line.includes("shadow_total")),
    Object.entries(SHADOW.shadow ?? {}).map(
      ([outcome, count]) =>
        `sallyport_rollout_shadow_total{${where},outcome="${outcome}"} ${count}`,
    ),
  );
});

test("a gateway without rollouts says nothing of them", async () => {
  assert.deepEqual(await samplesOf([]), []);
});
