// The life of a rollout against a model of ten lines: random acts and random judgements in any order, also
// those that its keeper would never ask for. Steps only go forward, callers are never sent back while it
// runs, what has ended stays ended, and what it says about itself is kept within bounds.

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { DEFAULT_THRESHOLDS } from "../../gateway/rollout/analysis.ts";
import type { Judgement } from "../../gateway/rollout/analysis.ts";
import * as life from "../../gateway/rollout/rollout.ts";
import type { Act, Rollout, RolloutPlan } from "../../gateway/rollout/rollout.ts";
import { Tally, searchMs, untilTime } from "../support/random.ts";

const VERDICTS = ["good", "bad", "not-yet"] as const;
const INTERVAL_MS = 1_000;

const plan = fc.record({
  mode: fc.constantFrom("canary" as const, "shadow" as const),
  rises: fc.array(fc.integer({ min: 1, max: 30 }), { minLength: 1, maxLength: 8 }),
});
/** What happens to it: somebody acts, or somebody looks at the counts. */
const event = fc.oneof(
  fc.record({ act: fc.constantFrom("next", "pause", "resume", "promote", "abort") }),
  fc.record({
    act: fc.constant("look"),
    verdict: fc.constantFrom(...VERDICTS),
    elapsedMs: fc.constantFrom(0, INTERVAL_MS - 1, INTERVAL_MS, INTERVAL_MS * 9),
  }),
);
type Event = { act: string; verdict?: Judgement["verdict"]; elapsedMs?: number };

function planOf(mode: "canary" | "shadow", rises: readonly number[]): RolloutPlan {
  let sum = 0;
  const all = rises.map((rise) => (sum = Math.min(100, sum + rise)));
  return {
    ...{ route: "orders", plugin: "guard", stable: "1.0.0", candidate: "2.0.0", mode },
    steps: mode === "shadow" ? [] : [...new Set(all)],
    ...{ intervalMs: INTERVAL_MS, sticky: { by: "ip", name: "" } },
    ...{ thresholds: DEFAULT_THRESHOLDS, attached: null },
  };
}

function judgement(verdict: Judgement["verdict"]): Judgement {
  return { verdict, findings: [], stableRequests: 1_000, candidateRequests: 50 };
}

/** Judged the same by the plain numbers and beyond chance. */
function looked(verdict: Judgement["verdict"]): life.Looked {
  return { plain: judgement(verdict), sure: judgement(verdict) };
}

/** As the keeper of rollouts does: only what is active is acted on. */
function apply(rollout: Rollout, event: Event, act: Act): Rollout {
  if (!life.isActive(rollout)) return rollout;
  switch (event.act) {
    case "next":
      return rollout.step >= rollout.steps.length - 1
        ? life.end(rollout, "promoted", act)
        : life.stepOn(rollout, null, act);
    case "pause":
      return rollout.state === "running" ? life.pause(rollout, act) : rollout;
    case "resume":
      return rollout.state === "paused" ? life.resume(rollout, act) : rollout;
    case "promote":
      return life.end(rollout, "promoted", act);
    case "abort":
      return life.end(rollout, "aborted", act);
    default: {
      const judged = judgement(event.verdict ?? "not-yet");
      const look = { plain: judged, sure: judged };
      const move = life.nextMove(rollout, look, event.elapsedMs ?? 0);
      if (move.kind === "abort") return life.end(rollout, "aborted", act, judged);
      if (move.kind === "step") return life.stepOn(rollout, judged, act);
      if (move.kind === "promote") return life.end(rollout, "promoted", act, judged);
      return move.kind === "pass" ? life.passInterval(rollout, judged, act) : rollout;
    }
  }
}

/** The model: a state, an index, and nothing else. */
type Model = { state: Rollout["state"]; step: number };

function model({ state, step }: Model, event: Event, { steps }: RolloutPlan): Model {
  if (state === "promoted" || state === "aborted") return { state, step };
  const isLast = step >= steps.length - 1;
  const isDue = event.verdict === "good" && (event.elapsedMs ?? 0) >= INTERVAL_MS;
  if (event.act === "abort" || event.verdict === "bad") return { state: "aborted", step };
  if (event.act === "promote") return { state: "promoted", step };
  if (event.act === "pause") return { state: "paused", step };
  if (event.act === "resume") return { state: "running", step };
  const goesOn = event.act === "next" || (isDue && state === "running");
  if (!goesOn) return { state, step };
  if (!isLast) return { state, step: step + 1 };
  const isAll = steps[step] === 100 || event.act === "next";
  return { state: isAll ? "promoted" : state, step };
}

test("a rollout lives as its model does, whatever happens in whatever order", (t) => {
  const tally = new Tally();
  fc.assert(
    fc.property(plan, fc.array(event, { maxLength: 160 }), ({ mode, rises }, events) => {
      const made = planOf(mode, rises);
      let now = 0;
      const act = (): Act => ({ at: new Date(now++).toISOString(), actor: "me", reason: "why" });
      let rollout = life.startRollout(made, "id", act());
      let expected: Model = { state: "running", step: 0 };
      for (const each of events as Event[]) {
        const before = rollout;
        rollout = apply(before, each, act());
        expected = model(expected, each, made);
        assert.deepEqual({ state: rollout.state, step: rollout.step }, expected, each.act);
        const weight = life.weightOf(rollout);
        assert.ok(weight >= 0 && weight <= 100);
        if (life.isActive(rollout)) assert.ok(weight >= life.weightOf(before), "sent back");
        else assert.equal(weight, rollout.state === "promoted" ? 100 : 0);
        assert.equal(rollout.id, before.id);
        assert.equal(rollout.startedAt, before.startedAt);
        const last = rollout.events.at(-1);
        assert.ok(rollout.events.length <= life.ROLLOUT_LIMITS.eventsMax);
        if (rollout.state !== before.state || rollout.step !== before.step) {
          assert.notEqual(rollout, before);
          assert.equal(last?.weight, weight, "an event tells the weight after it");
          tally.add(last?.what ?? "nothing");
        }
      }
      assert.deepEqual(structuredClone(rollout), JSON.parse(JSON.stringify(rollout)));
    }),
    untilTime(searchMs(1 / 4, 8)),
  );
  tally.report(t);
  for (const what of ["step", "paused", "resumed", "promoted", "aborted"]) {
    assert.ok(tally.of(what) > 0, `no run came to ${what}`);
  }
});

test("a bad judgement ends a paused one too, a good one waits for the operator", () => {
  const act = { at: "now", actor: "me", reason: "" };
  const paused = life.pause(life.startRollout(planOf("canary", [5, 20]), "id", act), act);
  assert.equal(life.nextMove(paused, looked("bad"), 0).kind, "abort");
  assert.deepEqual(life.nextMove(paused, looked("good"), INTERVAL_MS * 9), {
    kind: "wait",
    why: "paused",
  });
});

test("a shadow, and a last step below 100, pass their intervals and end by an operator only", () => {
  const act = { at: "now", actor: "me", reason: "" };
  for (const made of [planOf("shadow", [1]), planOf("canary", [30])]) {
    let rollout = life.startRollout(made, "id", act);
    for (let i = 0; i < 300; i++) {
      assert.equal(life.nextMove(rollout, looked("good"), INTERVAL_MS).kind, "pass");
      rollout = life.passInterval(rollout, judgement("good"), act);
    }
    assert.deepEqual(
      rollout.events.map(({ what }) => what),
      ["started", "passed"],
    );
    assert.equal(rollout.state, "running");
  }
});

test("too little traffic is said with both numbers", () => {
  const act = { at: "now", actor: "me", reason: "" };
  const rollout = life.startRollout(planOf("canary", [5]), "id", act);
  assert.deepEqual(life.nextMove(rollout, looked("not-yet"), INTERVAL_MS), {
    kind: "wait",
    why: "50 requests of the candidate, 100 are needed",
  });
});

test("what may be chance neither ends nor steps, until two intervals have shown it", () => {
  const act = { at: "now", actor: "me", reason: "" };
  const rollout = life.startRollout(planOf("canary", [5, 50]), "id", act);
  const maybe = { plain: judgement("bad"), sure: judgement("good") };
  const moves = [0.5, 1, 1.5, 2].map((intervals) =>
    life.nextMove(rollout, maybe, INTERVAL_MS * intervals),
  );
  assert.deepEqual(
    moves.map(({ kind }) => kind),
    ["wait", "wait", "wait", "abort"],
  );
  const sure = { plain: judgement("good"), sure: judgement("bad") };
  assert.equal(life.nextMove(rollout, sure, 0).kind, "abort");
});

test("only the latest events are kept", () => {
  const act = (reason: string) => ({ at: "now", actor: "me", reason });
  let rollout = life.startRollout(planOf("canary", [5]), "id", act("first"));
  for (let i = 0; i < 300; i++) {
    rollout = life.resume(life.pause(rollout, act(`pause ${i}`)), act(`resume ${i}`));
  }
  assert.equal(rollout.events.length, life.ROLLOUT_LIMITS.eventsMax);
  assert.equal(rollout.events.at(-1)?.reason, "resume 299");
});
