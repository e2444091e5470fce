// The budgets of an HTTP/2 connection, with time as an argument, and the turns in which connections are
// looked at.

import assert from "node:assert/strict";
import { test } from "node:test";
import { LIMITS } from "../../../../gateway/base/limits.ts";
import { TimerWheel } from "../../../../gateway/base/timer-wheel.ts";
import { beginTurn } from "../../../../gateway/base/clock.ts";
import { ByteBudget, FloodWatch, SecondBudget } from "../../../../gateway/http/h2/flood-watch.ts";

const PER_TICK = LIMITS.h2LooksPerTickMax;
const MAX = LIMITS.h2UnexplainedBytesPerSecondMax;

test("unexplained bytes are allowed up to the bound, and again when they have leaked away", () => {
  const budget = new ByteBudget(0);
  assert.equal(budget.isExceeded(0, MAX), false);
  assert.equal(budget.isExceeded(500, MAX + MAX / 2), false);
  assert.equal(budget.isExceeded(500, MAX + MAX / 2 + 1), true);
});

test("quiet seconds are not saved up", () => {
  const budget = new ByteBudget(0);
  assert.equal(budget.isExceeded(1e6, 0), false);
  assert.equal(budget.isExceeded(1e6, MAX + LIMITS.h2WindowBytes + 1), true);
});

test("what explains bytes is not charged", () => {
  const explanations: readonly (readonly [
    what: string,
    explain: (budget: ByteBudget) => void,
    bytes: number,
  ])[] = [
    ["a head", (budget) => budget.head(1_000), 1_000],
    ["a body in frames of ten bytes", (budget) => budget.body(10_000), 19_000],
    ["two updates of windows per KiB taken", (budget) => budget.sent(1_048_576), 2 * 13 * 1_024],
    ["the rest of a window", (budget) => budget.unread(), LIMITS.h2WindowBytes],
  ];
  for (const [what, explain, bytes] of explanations) {
    const budget = new ByteBudget(0);
    budget.isExceeded(0, MAX);
    explain(budget);
    assert.equal(budget.isExceeded(0, MAX + bytes), false, what);
    assert.equal(budget.isExceeded(0, MAX + bytes + LIMITS.h2WindowBytes), true, what);
  }
});

test("a body in frames of one byte explains less than its frames take", () => {
  const budget = new ByteBudget(0);
  budget.body(MAX);
  assert.equal(budget.isExceeded(0, 10 * MAX), true);
});

test("a count per second begins anew with the second", () => {
  const budget = new SecondBudget(2);
  const seen = [0, 1, 2, 1_000, 2_500, 2_501, 2_502].map((atMs) => budget.isExceeded(5_000 + atMs));
  assert.deepEqual(seen, [false, false, true, true, false, false, true]);
});

test("connections are looked at in turns of a bounded length, and none is left out", () => {
  const wheel = new TimerWheel(beginTurn, 0.001);
  const watch = new FloodWatch(wheel);
  const looks = Array.from({ length: 2.4 * PER_TICK }, () => 0);
  const watched = looks.map((_, i) => ({ look: () => void looks[i]++ }));
  for (const each of watched) watch.add(each);
  const total = () => looks.reduce((sum, each) => sum + each, 0);
  const turn = () => {
    const before = total();
    while (total() === before) wheel.tick();
    return total() - before;
  };
  assert.deepEqual([turn(), turn(), turn()], [PER_TICK, PER_TICK, PER_TICK]);
  assert.ok(Math.min(...looks) >= 1 && Math.max(...looks) === 2);
  for (const each of watched.slice(1)) watch.remove(each);
  const before = [...looks];
  assert.equal(turn(), 1);
  assert.deepEqual(looks.slice(1), before.slice(1));
  watch.remove(watched[0]);
  watch.add(watched[1]);
  assert.equal(turn(), 1);
  assert.equal(looks[1], before[1] + 1);
  wheel.close();
});
