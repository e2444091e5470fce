// The wheel against its contract: never early, late by at most a tick, cheap to move, and safe when
// what expires touches other deadlines. Time is a variable, so no test waits.

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { Deadline, TimerWheel } from "../../../gateway/base/timer-wheel.ts";

const TICK_MS = 50;

function setup() {
  const clock = { ms: 1_000 };
  const wheel = new TimerWheel(() => clock.ms, TICK_MS);
  const advanceTo = (ms: number) => {
    while (clock.ms < ms) {
      clock.ms = Math.min(ms, clock.ms + TICK_MS);
      wheel.tick();
    }
  };
  return { clock, wheel, advanceTo };
}

test("a deadline expires once, never early, at most a tick late", () => {
  const { clock, wheel, advanceTo } = setup();
  const expiredAt: number[] = [];
  const deadline = new Deadline(() => expiredAt.push(clock.ms));
  wheel.arm(deadline, clock.ms, 120);
  advanceTo(5_000);
  assert.equal(expiredAt.length, 1);
  assert.ok(expiredAt[0] >= 1_120 && expiredAt[0] <= 1_120 + 2 * TICK_MS);
  wheel.close();
});

test("a deadline moved later, earlier and off follows its last arming", () => {
  const { clock, wheel, advanceTo } = setup();
  let expired = 0;
  const deadline = new Deadline(() => expired++);
  wheel.arm(deadline, clock.ms, 200);
  wheel.arm(deadline, clock.ms, 60_000);
  advanceTo(60_900);
  assert.equal(expired, 0);
  wheel.arm(deadline, clock.ms, 100);
  advanceTo(61_200);
  assert.equal(expired, 1);
  wheel.arm(deadline, clock.ms, 100);
  wheel.disarm(deadline);
  advanceTo(120_000);
  assert.equal(expired, 1);
  assert.equal(wheel.count, 0);
  wheel.close();
});

test("what expires may remove and arm its neighbours", () => {
  const { clock, wheel, advanceTo } = setup();
  const seen: string[] = [];
  const victims = [0, 1, 2].map((i) => new Deadline(() => seen.push(`victim ${i}`)));
  const killer = new Deadline(() => {
    seen.push("killer");
    for (const victim of victims) wheel.remove(victim);
    wheel.arm(killer, clock.ms, 100);
  });
  wheel.arm(victims[0], clock.ms, 100);
  wheel.arm(killer, clock.ms, 100);
  wheel.arm(victims[1], clock.ms, 100);
  advanceTo(1_160);
  const killerAt = seen.indexOf("killer");
  assert.ok(killerAt !== -1 && killerAt === seen.length - 1);
  advanceTo(1_400);
  assert.equal(seen.filter((name) => name === "killer").length > 1, true);
  wheel.close();
});

test("after a stall everything that is due expires", () => {
  const { clock, wheel } = setup();
  let expired = 0;
  for (let i = 1; i <= 600; i++) wheel.arm(new Deadline(() => expired++), clock.ms, i * 100);
  clock.ms += 100_000;
  wheel.tick();
  assert.equal(expired, 600);
  wheel.close();
});

test("random armings agree with a plain list", () => {
  const step = fc.record({
    index: fc.nat(7),
    delayMs: fc.integer({ min: 1, max: 70_000 }),
    kind: fc.constantFrom("arm", "arm", "disarm", "remove"),
    waitMs: fc.integer({ min: 0, max: 20_000 }),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const { clock, wheel, advanceTo } = setup();
      const due: (number | null)[] = Array.from({ length: 8 }, () => null);
      const deadlines = due.map(
        (_, i) =>
          new Deadline(() => {
            const wanted = due[i];
            assert.ok(wanted !== null && clock.ms >= wanted && clock.ms <= wanted + 2 * TICK_MS);
            due[i] = null;
          }),
      );
      for (const { index, delayMs, kind, waitMs } of steps) {
        if (kind === "arm") wheel.arm(deadlines[index], clock.ms, delayMs);
        else wheel[kind](deadlines[index]);
        due[index] = kind === "arm" ? clock.ms + delayMs : null;
        advanceTo(clock.ms + waitMs);
        for (const at of due) assert.ok(at === null || at + 2 * TICK_MS >= clock.ms);
      }
      wheel.close();
    }),
  );
});
