// What a version did, counted in two ways: sums and differences against plain additions, quantiles against
// a sorted list of the same durations.

import assert from "node:assert/strict";
import { test } from "node:test";
import {
  ArmCounter,
  NO_COUNTS,
  addCounts,
  isArmCounts,
  latencyQuantile,
} from "../../../gateway/rollout/counts.ts";
import { SEED, seededRandom } from "../../support/random.ts";

/** A bucket's upper end is so much above its lower one. */
const BUCKET = 2 ** (1 / 8);

function counted(micros: readonly number[]) {
  const counter = new ArmCounter();
  for (const each of micros) counter.called(null, each);
  return counter.counts();
}

test("every kind of event is counted where it belongs", () => {
  const counter = new ArmCounter();
  counter.called(null, 10);
  counter.called("trap", 20);
  counter.called("trap", 30);
  counter.called("deadline", 40);
  for (const status of [0, 200, 399, 400, 403, 503]) {
    counter.asked();
    counter.decided(status);
  }
  for (const status of [0, 200, 404, 499, 500, 504]) counter.forwarded(status);
  const { latency, ...rest } = counter.counts();
  assert.deepEqual(rest, {
    calls: 4,
    errors: 3,
    faults: { trap: 2, deadline: 1 },
    asked: 6,
    denied: 3,
    forwarded: 5,
    upstreamErrors: 2,
  });
  assert.equal(
    latency.reduce((sum, count) => sum + count, 0),
    4,
  );
});

test("counts are a copy: what comes later does not change them", () => {
  const counter = new ArmCounter();
  const before = counter.counts();
  counter.called("trap", 5);
  assert.deepEqual(before, NO_COUNTS);
});

test("a sum less one of its parts is the other one, also of faults that only one has", (t) => {
  t.diagnostic(`seed ${SEED}`);
  const random = seededRandom(SEED);
  const some = () => {
    const counter = new ArmCounter();
    for (let i = 0; i < 200; i++) {
      const fault = random() < 0.5 ? null : random() < 0.5 ? "trap" : "deadline";
      counter.called(fault, 2 ** (random() * 30 - 4));
      counter.decided(random() < 0.3 ? 403 : 0);
      counter.forwarded(random() < 0.3 ? 502 : 200);
    }
    return counter.counts();
  };
  const [a, b] = [some(), some()];
  assert.deepEqual(addCounts(addCounts(a, b), b, -1), a);
  assert.deepEqual(addCounts(a, NO_COUNTS), a);
  const onlyDeadline = addCounts(NO_COUNTS, { ...NO_COUNTS, faults: { deadline: 3 } });
  assert.deepEqual(onlyDeadline.faults, { deadline: 3 });
});

for (const [name, draw] of [
  ["even", (random: () => number) => 1 + random() * 1_000],
  ["over many magnitudes", (random: () => number) => 2 ** (random() * 24 - 2)],
  ["mostly fast", (random: () => number) => (random() < 0.985 ? 3 + random() : 4_000)],
] as const) {
  test(`a quantile of durations that are ${name} is what sorting says, at most 9 % above`, (t) => {
    t.diagnostic(`seed ${SEED}`);
    const random = seededRandom(SEED);
    for (const size of [1, 2, 99, 100, 5_000]) {
      const micros = Array.from({ length: size }, () => draw(random));
      const counts = counted(micros);
      const sorted = micros.toSorted((a, b) => a - b);
      for (const q of [0, 0.01, 0.5, 0.9, 0.99, 0.999, 1, 1.2]) {
        const exact = sorted[Math.max(0, Math.ceil(Math.min(q, 1) * size) - 1)];
        const found = latencyQuantile(counts, q);
        assert.ok(found >= exact * (1 - 1e-9), `q ${q} of ${size}: ${found} < ${exact}`);
        assert.ok(found <= exact * BUCKET * (1 + 1e-9), `q ${q} of ${size}: ${found} > ${exact}`);
      }
    }
  });
}

test("no calls take no time, and durations out of bounds count at the bounds", () => {
  assert.equal(latencyQuantile(NO_COUNTS, 0.99), 0);
  for (const micros of [0, -1, Number.NaN, 0.001]) {
    assert.ok(latencyQuantile(counted([micros]), 0.5) < 0.5, String(micros));
  }
  for (const micros of [1e9, Infinity]) {
    assert.equal(latencyQuantile(counted([micros]), 0.5), 2 ** 24);
  }
});

test("what another process says is believed only in this form", () => {
  const good = counted([1, 2, 3]);
  assert.ok(isArmCounts(structuredClone(good)));
  for (const bad of [
    null,
    7,
    {},
    { ...good, calls: "3" },
    { ...good, faults: null },
    { ...good, latency: good.latency.slice(1) },
    { ...good, latency: "x" },
    { ...good, denied: undefined },
  ]) {
    assert.equal(isArmCounts(bad), false, JSON.stringify(bad)?.slice(0, 80));
  }
});
