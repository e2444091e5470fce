// The balancers, with seeded chance and a clock of their own: shares follow weights, a key stays
// with its target while that lives, load and latency are followed, and what is excluded is passed
// over.

import assert from "node:assert/strict";
import { test } from "node:test";
import { createBalancer } from "../../../gateway/upstream/balance.ts";
import type { Balancer, BalancerOptions } from "../../../gateway/upstream/balance.ts";
import { SEED, seededRandom } from "../../support/random.ts";

type Algorithm = BalancerOptions["algorithm"];
const ALGORITHMS: readonly Algorithm[] = [
  "round-robin",
  "least-connections",
  "consistent-hash",
  "ewma",
];

function setup(algorithm: Algorithm, weights: readonly number[], seed = SEED) {
  const clock = { ms: 1_000_000 };
  const balancer = createBalancer({
    algorithm,
    targets: weights.map((weight, index) => ({ address: addressOf(index), weight })),
    random: seededRandom(seed),
    nowMs: () => clock.ms,
  });
  return { balancer, clock };
}

const addressOf = (index: number) => `192.0.2.${index}:80`;

/** How many of the next `count` requests each target gets, when so many are under way at a time. */
function countPicks(
  balancer: Balancer,
  count: number,
  { targets, exclude = -1, underWay = 8 }: { targets: number; exclude?: number; underWay?: number },
): number[] {
  const counts = Array<number>(targets).fill(0);
  const running: number[] = [];
  for (let i = 0; i < count; i++) {
    const index = balancer.pick(`key ${i}`, exclude);
    counts[index]++;
    balancer.started(index);
    if (running.push(index) > underWay) balancer.finished(running.shift() ?? -1, 1, true);
  }
  for (const index of running) balancer.finished(index, 1, true);
  return counts;
}

for (const algorithm of ALGORITHMS) {
  test(`${algorithm}: a target of weight 0 gets nothing; without targets there is no pick`, () => {
    const { balancer } = setup(algorithm, [0, 1, 0, 2]);
    const counts = countPicks(balancer, 500, { targets: 4 });
    assert.equal(counts[0] + counts[2], 0);
    assert.ok(counts[1] > 0 && counts[3] > 0, String(counts));
    assert.equal(setup(algorithm, []).balancer.pick("", -1), -1);
    assert.equal(setup(algorithm, [0, 0]).balancer.pick("", -1), -1);
    assert.equal(setup(algorithm, [0, 0]).balancer.pick("", 0), -1);
  });

  test(`${algorithm}: the excluded target is avoided if another exists`, () => {
    const { balancer } = setup(algorithm, [1, 5, 1]);
    const counts = countPicks(balancer, 500, { targets: 3, exclude: 1 });
    assert.equal(counts[1], 0);
    assert.ok(counts[0] > 0 && counts[2] > 0, String(counts));
    assert.equal(setup(algorithm, [1]).balancer.pick("", 0), 0);
    assert.equal(setup(algorithm, [1, 0]).balancer.pick("", 0), 0);
    assert.equal(setup(algorithm, [0, 1]).balancer.pick("", 0), 1);
  });
}

test("round-robin: shares are exact to one, in every turn and over all turns", () => {
  for (const weights of [[1], [1, 1], [5, 1, 1], [1, 2, 3, 4], [10, 0, 3], [7, 7, 7]]) {
    const { balancer } = setup("round-robin", weights);
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    const sums = weights.map(() => 0);
    for (let turn = 1; turn <= 20; turn++) {
      const counts = countPicks(balancer, total, { targets: weights.length });
      for (const [index, weight] of weights.entries()) {
        sums[index] += counts[index];
        assert.ok(Math.abs(counts[index] - weight) <= 1, `${counts} for ${weights}`);
        assert.ok(Math.abs(sums[index] - turn * weight) <= 1, `${sums} for ${weights}`);
      }
    }
  }
});

test("round-robin: workers begin at different places", () => {
  const firsts = new Set<number>();
  for (let seed = 0; seed < 50; seed++) {
    firsts.add(setup("round-robin", [1, 1, 1, 1], seed).balancer.pick("", -1));
  }
  assert.deepEqual([...firsts].sort(), [0, 1, 2, 3]);
});

test("least-connections: the target with the fewest requests per weight is taken", () => {
  const { balancer } = setup("least-connections", [1, 1, 2]);
  const active = [0, 0, 0];
  for (let i = 0; i < 40; i++) {
    const index = balancer.pick("", -1);
    const loads = [active[0] + 1, active[1] + 1, (active[2] + 1) / 2];
    assert.equal(loads[index], Math.min(...loads), `${active}`);
    active[index]++;
    balancer.started(index);
  }
  assert.deepEqual(active, [10, 10, 20]);
  // What ends makes room again.
  for (let i = 0; i < 5; i++) balancer.finished(1, 1, true);
  for (let i = 0; i < 5; i++) {
    assert.equal(balancer.pick("", -1), 1);
    balancer.started(1);
  }
});

test("least-connections: idle targets take turns", () => {
  const { balancer } = setup("least-connections", [1, 1, 1]);
  assert.deepEqual(countPicks(balancer, 30, { targets: 3, underWay: 0 }), [10, 10, 10]);
});

const KEYS = Array.from({ length: 20_000 }, (_, i) => `user-${i}`);

function ownersOf(weights: readonly number[]): number[] {
  const { balancer } = setup("consistent-hash", weights);
  return KEYS.map((key) => balancer.pick(key, -1));
}

test("consistent-hash: a key goes to one target, whatever goes before and in any worker", () => {
  const owners = ownersOf([1, 1, 1]);
  const { balancer } = setup("consistent-hash", [1, 1, 1], SEED + 1);
  for (let i = KEYS.length - 1; i >= 0; i -= 7) {
    assert.equal(balancer.pick(KEYS[i], -1), owners[i]);
    balancer.started(owners[i]);
  }
});

test("consistent-hash: shares follow weights within a quarter", () => {
  for (const weights of [
    [1, 1, 1, 1],
    [1, 2, 3],
    [100, 100, 50],
  ]) {
    const owners = ownersOf(weights);
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    for (const [index, weight] of weights.entries()) {
      const share = owners.filter((owner) => owner === index).length / KEYS.length;
      assert.ok(Math.abs(share / (weight / total) - 1) < 0.25, `${share} of ${weights}`);
    }
  }
});

const LOSSES: readonly (readonly [what: string, weights: readonly number[]])[] = [
  ["few targets", [1, 1, 1, 1]],
  ["different weights", [1, 5, 2]],
  // More weight than the ring has points for: they are thinned out, for all targets alike.
  ["weights beyond the ring's size", Array<number>(20).fill(100)],
];

for (const [what, weights] of LOSSES) {
  test(`consistent-hash: when a target goes, only its own keys move (${what})`, () => {
    const before = ownersOf(weights);
    for (const lost of [0, weights.length - 1]) {
      const after = ownersOf(weights.with(lost, 0));
      const moved = KEYS.filter((_, i) => before[i] !== lost && after[i] !== before[i]);
      assert.deepEqual(moved, []);
      assert.ok(!after.includes(lost));
    }
  });
}

test("consistent-hash: keys of the excluded target spread, others stay", () => {
  const { balancer } = setup("consistent-hash", [1, 1, 1, 1]);
  const taken = new Set<number>();
  for (const key of KEYS.slice(0, 2_000)) {
    const owner = balancer.pick(key, -1);
    const second = balancer.pick(key, 2);
    if (owner !== 2) assert.equal(second, owner);
    else taken.add(second);
  }
  assert.deepEqual([...taken].sort(), [0, 1, 3]);
});

/** Sends requests one after another to targets that take so long to answer. */
function runSequence(
  { balancer, clock }: ReturnType<typeof setup>,
  latenciesMs: readonly number[],
  count: number,
): number[] {
  const counts = latenciesMs.map(() => 0);
  for (let i = 0; i < count; i++) {
    const index = balancer.pick("", -1);
    counts[index]++;
    balancer.started(index);
    clock.ms += latenciesMs[index];
    balancer.finished(index, latenciesMs[index], true);
  }
  return counts;
}

test("ewma: the fast target gets nearly everything, the slow one is tried", () => {
  const [fast, slow] = runSequence(setup("ewma", [1, 1]), [2, 100], 2_000);
  assert.ok(slow >= 1);
  assert.ok(fast > 1_900, `${fast} to ${slow}`);
});

test("ewma: among many the two slow ones get the least", () => {
  const latenciesMs = [5, 200, 5, 5, 200, 5];
  const counts = runSequence(setup("ewma", [1, 1, 1, 1, 1, 1]), latenciesMs, 3_000);
  for (const slow of [1, 4]) {
    for (const fast of [0, 2, 3, 5]) assert.ok(counts[slow] * 3 < counts[fast], String(counts));
  }
});

test("ewma: one peak is believed at once, and fades when no answers come", () => {
  const { balancer, clock } = setup("ewma", [1, 1]);
  for (const index of [0, 1]) {
    balancer.started(index);
    balancer.finished(index, 10, true);
  }
  balancer.started(0);
  balancer.finished(0, 1_000, true);
  // Even with a request under way the other one is the better choice, as long as it is remembered.
  balancer.started(1);
  for (let i = 0; i < 20; i++) assert.equal(balancer.pick("", -1), 1);
  clock.ms += 120_000;
  for (let i = 0; i < 20; i++) assert.equal(balancer.pick("", -1), 0);
});

test("ewma: a failure counts as very slow, however fast it came", () => {
  const { balancer } = setup("ewma", [1, 1]);
  balancer.started(0);
  balancer.finished(0, 1, false);
  balancer.started(1);
  balancer.finished(1, 500, true);
  for (let i = 0; i < 20; i++) assert.equal(balancer.pick("", -1), 1);
});

test("ewma: an unknown target is not flooded", () => {
  const { balancer } = setup("ewma", [1, 1]);
  for (const latencyMs of [3, 3, 3]) {
    balancer.started(0);
    balancer.finished(0, latencyMs, true);
  }
  const counts = [0, 0];
  for (let i = 0; i < 40; i++) {
    const index = balancer.pick("", -1);
    counts[index]++;
    balancer.started(index);
  }
  assert.ok(counts[0] >= 5, `the known target got ${counts[0]} of 40 under way`);
  assert.ok(counts[1] > counts[0]);
});

test("ewma: of targets alike the heavier one has more under way", () => {
  const { balancer } = setup("ewma", [1, 3]);
  const counts = [0, 0];
  for (let i = 0; i < 400; i++) {
    const index = balancer.pick("", -1);
    counts[index]++;
    balancer.started(index);
  }
  assert.ok(Math.abs(counts[1] / counts[0] - 3) < 0.1, String(counts));
});
