// Who watches a plugin's calls gets what the plugin saw, and no more of it than it has room for: a recorder
// beside a shadow must not fill the shadow, and a few large requests must not either.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { setImmediate as nextTurn } from "node:timers/promises";
import { NO_GRANTS } from "../../../gateway/plugins/grants.ts";
import { Shadow } from "../../../gateway/plugins/shadow.ts";
import type { ShadowSetup } from "../../../gateway/plugins/shadow-worker.ts";
import { Sighting, watching } from "../../../gateway/plugins/witness.ts";
import type { Said, Witness, Witnessed } from "../../../gateway/plugins/witness.ts";
import { makeExchange } from "../../support/made-exchange.ts";

const PASSES: Said = {
  kind: "decided",
  decision: {
    ...{ status: 0, body: "", reason: "", path: null },
    ...{ headers: [], requestEdits: [], responseEdits: [], values: [] },
  },
};

function witness(wants: boolean): Witness & { readonly taken: Witnessed[] } {
  const taken: Witnessed[] = [];
  return { taken, wants: () => wants, take: (witnessed) => void taken.push(witnessed) };
}

test("who does not want to know of a call is not told because somebody else is", () => {
  const exchange = makeExchange();
  const [full, keen, last] = [witness(false), witness(true), witness(true)];
  const wanting = watching([full, keen, last], exchange);
  assert.deepEqual(wanting, [keen, last]);
  new Sighting(wanting ?? [], { exchange, response: null, grants: NO_GRANTS }).end(PASSES, "1.0.0");
  assert.deepEqual([full.taken.length, keen.taken.length, last.taken.length], [0, 1, 1]);
  assert.equal(watching([full, full], exchange), null);
});

test("what a plugin adds to the values after it was asked is not what it was shown", () => {
  const exchange = makeExchange();
  exchange.values = new Map([["before", "1"]]);
  const keen = witness(true);
  const sighting = new Sighting([keen], { exchange, response: null, grants: NO_GRANTS });
  sighting.end(PASSES, "1.0.0");
  exchange.values.set("after", "2");
  assert.deepEqual([...(keen.taken[0].context.request?.values ?? [])], [["before", "1"]]);
});

/** A shadow whose thread comes to nothing, and how many calls it had no room for. */
function shadowOf(t: TestContext): { readonly shadow: Shadow; skipped(): number } {
  let skipped = 0;
  const shadow = new Shadow({
    setup: {} as ShadowSetup,
    onCall: () => {},
    onDifference: () => {},
    onSkipped: () => skipped++,
    onStoppedTooOften: () => {},
    warn: () => {},
  });
  t.after(() => shadow.close());
  return { shadow, skipped: () => skipped };
}

for (const [what, bodyBytes, kept] of [
  ["small requests by their number", 10, 512],
  ["large requests by their bytes", 1024 * 1024, 8],
] as const) {
  test(`a shadow that is behind bounds ${what}`, (t) => {
    const { shadow, skipped } = shadowOf(t);
    const exchange = makeExchange();
    exchange.body = { bytes: new Uint8Array(bodyBytes), whole: true };
    const grants = { ...NO_GRANTS, body: bodyBytes };
    for (let i = 0; i < 520; i++) {
      new Sighting([shadow], { exchange, response: null, grants }).end(PASSES, "1.0.0");
    }
    assert.equal(skipped(), 520 - kept);
    assert.equal(shadow.wants(), false);
  });
}

test("what cannot be copied to a shadow's thread is counted as not shown, and no error of the worker", async (t) => {
  const { shadow, skipped } = shadowOf(t);
  const exchange = makeExchange();
  exchange.claims = { sub: () => {} };
  new Sighting([shadow], { exchange, response: null, grants: NO_GRANTS }).end(PASSES, "1.0.0");
  const endMs = performance.now() + 10_000;
  while (skipped() === 0) {
    assert.ok(performance.now() < endMs, "it is not counted");
    await nextTurn();
  }
  assert.equal(skipped(), 1);
});
