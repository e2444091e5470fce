// What becomes of a rollout when the configuration beside it is another one: it goes on, or it ends as what
// the configuration says. With ranges: by what they came to.

import assert from "node:assert/strict";
import { test } from "node:test";
import { PluginRegistry } from "../../../gateway/cluster/plugin-registry.ts";
import { fitRollouts, heldRanges } from "../../../gateway/cluster/rollout-fit.ts";
import { defaultThresholds } from "../../../gateway/rollout/analysis.ts";
import { end, startRollout } from "../../../gateway/rollout/rollout.ts";

const ACT = { at: "2026-01-01T00:00:00.000Z", actor: "me", reason: "" };

const registry = ["1.0.0", "1.0.1", "1.0.2"].reduce(
  (before, version) =>
    before.withVersion("authz", {
      ...{ version, digest: "", sizeBytes: 0, exports: [], manifest: null, createdAt: "" },
      signature: null,
    }),
  new PluginRegistry(),
);

/** From 1.0.0 to 1.0.1. */
function rolloutOf(attached: string | null) {
  return startRollout(
    {
      ...{ route: "r", plugin: "authz", stable: "1.0.0", candidate: "1.0.1", mode: "canary" },
      ...{ steps: [5, 100], intervalMs: 1_000, sticky: { by: "ip", name: "" } },
      thresholds: defaultThresholds("canary"),
      attached,
    } as Parameters<typeof startRollout>[0],
    "id",
    ACT,
  );
}

const GOES_ON = ["running", ""];
const RANGE = "^1.0";

for (const [attached, version, cameTo, [state, reason]] of [
  [null, undefined, null, GOES_ON],
  [null, "1.0.1", null, ["promoted", "the configuration says version 1.0.1"]],
  [null, RANGE, "1.0.1", ["promoted", "the configuration says version ^1.0 (1.0.1)"]],
  ["1.0.0", "1.0.0", null, GOES_ON],
  ["1.0.0", undefined, null, ["aborted", "the configuration says version current"]],
  [RANGE, RANGE, "1.0.0", GOES_ON],
  [RANGE, RANGE, "1.0.1", ["promoted", "the configuration says version ^1.0 (1.0.1)"]],
  [RANGE, RANGE, "1.0.2", ["aborted", "the configuration says version ^1.0 (1.0.2)"]],
  [RANGE, "1.0.1", null, ["promoted", "the configuration says version 1.0.1"]],
  [RANGE, "~1.0", "1.0.0", ["aborted", "the configuration says version ~1.0 (1.0.0)"]],
] as const) {
  test(`begun at ${attached}, beside ${version} (${cameTo}): ${state}`, () => {
    const config = {
      routes: [{ name: "r", plugins: [{ plugin: "authz", version }], echo: true }],
    };
    const resolution = cameTo === null ? {} : { [`authz@${version}`]: cameTo };
    const before = [rolloutOf(attached)];
    const after = fitRollouts(before, { config, resolution }, registry, ACT);
    assert.equal(after[0].state, state);
    if (state === "running") assert.equal(after, before);
    else assert.equal(after[0].events.at(-1)?.reason, reason);
  });
}

test("a rollout whose candidate is retired has ended", () => {
  const config = { routes: [{ name: "r", plugins: [{ plugin: "authz" }], echo: true }] };
  const retired = registry.withRetired("authz", "1.0.1", ACT.at);
  const [after] = fitRollouts([rolloutOf(null)], { config, resolution: {} }, retired, ACT);
  assert.equal(after.state, "aborted");
});

test("ranges are held at the stable version while their rollouts are under way", () => {
  assert.deepEqual(heldRanges([rolloutOf(RANGE), rolloutOf(null)]), { "authz@^1.0": "1.0.0" });
  assert.deepEqual(heldRanges([end(rolloutOf(RANGE), "promoted", ACT)]), {});
});
