// When a candidate is good, bad, or not yet known: each metric by a table, then the judgement as a whole
// by simulation. Equal versions must hardly ever be taken for different ones however often one looks, and
// versions that are clearly worse must be found within two intervals.

import assert from "node:assert/strict";
import { test } from "node:test";
import { DEFAULT_THRESHOLDS, findingText, judge } from "../../../gateway/rollout/analysis.ts";
import type { Judgement, Metric, Thresholds } from "../../../gateway/rollout/analysis.ts";
import { ArmCounter, NO_COUNTS } from "../../../gateway/rollout/counts.ts";
import type { ArmCounts } from "../../../gateway/rollout/counts.ts";
import { SEED, seededRandom } from "../../support/random.ts";

const PLAINLY = { thresholds: DEFAULT_THRESHOLDS, surely: false };
const SURELY = { thresholds: DEFAULT_THRESHOLDS, surely: true };

type Made = {
  readonly calls: number;
  readonly errors?: number;
  readonly asked?: number;
  readonly denied?: number;
  readonly forwarded?: number;
  readonly upstreamErrors?: number;
  /** Microseconds of the usual call, and of the slowest two in a hundred. */
  readonly micros?: number;
  readonly slowMicros?: number;
};

function made({ calls, micros = 10, slowMicros = micros, ...rest }: Made): ArmCounts {
  const counter = new ArmCounter();
  for (let i = 0; i < calls; i++) counter.called(null, i % 50 === 0 ? slowMicros : micros);
  const { asked = calls } = rest;
  return { ...counter.counts(), asked, ...rest };
}

function failed({ findings }: Judgement): Metric[] {
  return findings.filter(({ passed }) => !passed).map(({ metric }) => metric);
}

type Row = {
  readonly name: string;
  readonly stable: Made;
  readonly candidate: Made;
  readonly verdict: Judgement["verdict"];
  readonly failed?: readonly Metric[];
  readonly judged?: readonly Metric[];
  readonly thresholds?: Partial<Thresholds>;
  readonly surely?: boolean;
};

const ROWS: readonly Row[] = [
  { name: "no calls at all", stable: { calls: 0 }, candidate: { calls: 0 }, verdict: "not-yet" },
  {
    name: "one call less than needed, all of them failed",
    stable: { calls: 5_000 },
    candidate: { calls: 99, errors: 99 },
    verdict: "not-yet",
  },
  {
    name: "as many calls as needed",
    stable: { calls: 5_000 },
    candidate: { calls: 100 },
    verdict: "good",
  },
  {
    name: "more calls needed than there are",
    stable: { calls: 5_000 },
    candidate: { calls: 2_000, errors: 2_000 },
    thresholds: { minRequests: 2_001 },
    verdict: "not-yet",
  },
  {
    name: "errors at the bound",
    stable: { calls: 1_000, errors: 20 },
    candidate: { calls: 1_000, errors: 30 },
    verdict: "good",
  },
  {
    name: "errors above the bound",
    stable: { calls: 1_000, errors: 20 },
    candidate: { calls: 1_000, errors: 31 },
    verdict: "bad",
    failed: ["error_rate"],
  },
  {
    name: "fewer errors than the stable version has",
    stable: { calls: 1_000, errors: 500 },
    candidate: { calls: 1_000 },
    verdict: "good",
  },
  {
    name: "errors above the bound, and nobody to compare with",
    stable: { calls: 10 },
    candidate: { calls: 1_000, errors: 11 },
    verdict: "bad",
    failed: ["error_rate"],
    judged: ["error_rate"],
  },
  {
    name: "no traffic on the stable version and no errors: denials and times are not judged",
    stable: { calls: 0 },
    candidate: { calls: 1_000, denied: 1_000, micros: 9_000 },
    verdict: "good",
    judged: ["error_rate"],
  },
  {
    name: "five points more denials",
    stable: { calls: 1_000, denied: 100 },
    candidate: { calls: 1_000, denied: 150 },
    verdict: "good",
  },
  {
    name: "more than five points more denials",
    stable: { calls: 1_000, denied: 100 },
    candidate: { calls: 1_000, denied: 151 },
    verdict: "bad",
    failed: ["deny_rate"],
  },
  {
    name: "more than five points fewer denials: it lets pass what was denied",
    stable: { calls: 1_000, denied: 100 },
    candidate: { calls: 1_000, denied: 49 },
    verdict: "bad",
    failed: ["deny_rate"],
  },
  {
    name: "denials of a version that is not asked about requests",
    stable: { calls: 1_000, asked: 0 },
    candidate: { calls: 1_000, denied: 1_000 },
    verdict: "good",
    judged: ["error_rate", "p90_us", "p99_us"],
  },
  {
    name: "any difference of denials, where all are allowed",
    stable: { calls: 1_000 },
    candidate: { calls: 1_000, denied: 1_000 },
    thresholds: { denyRateDeltaMax: 1 },
    verdict: "good",
  },
  {
    name: "a slowest hundredth that takes four times as long",
    stable: { calls: 2_000, slowMicros: 100 },
    candidate: { calls: 2_000, slowMicros: 400 },
    verdict: "bad",
    failed: ["p99_us"],
  },
  {
    name: "a slowest hundredth that takes twice as long",
    stable: { calls: 2_000, slowMicros: 100 },
    candidate: { calls: 2_000, slowMicros: 200 },
    verdict: "good",
  },
  {
    name: "all calls take four times as long, where the slowest of both wait for a CPU",
    stable: { calls: 2_000, micros: 10, slowMicros: 20_000 },
    candidate: { calls: 2_000, micros: 40, slowMicros: 20_000 },
    verdict: "bad",
    failed: ["p90_us"],
  },
  {
    name: "faster than the stable version",
    stable: { calls: 2_000, micros: 1_000 },
    candidate: { calls: 2_000, micros: 1 },
    verdict: "good",
  },
  {
    name: "errors of the upstream above the bound",
    stable: { calls: 1_000, forwarded: 1_000, upstreamErrors: 10 },
    candidate: { calls: 1_000, forwarded: 1_000, upstreamErrors: 61 },
    verdict: "bad",
    failed: ["upstream_error_rate"],
  },
  {
    name: "errors of the upstream for too few requests that were let through",
    stable: { calls: 1_000, forwarded: 1_000 },
    candidate: { calls: 1_000, forwarded: 99, upstreamErrors: 99 },
    verdict: "good",
  },
  {
    name: "an early look at what chance explains",
    stable: { calls: 200, errors: 0 },
    candidate: { calls: 200, errors: 4 },
    surely: true,
    verdict: "good",
  },
  {
    name: "an early look at what chance does not explain",
    stable: { calls: 200, errors: 0 },
    candidate: { calls: 200, errors: 14 },
    surely: true,
    verdict: "bad",
    failed: ["error_rate"],
  },
  {
    name: "several faults at once",
    stable: { calls: 1_000 },
    candidate: { calls: 1_000, errors: 500, denied: 500, micros: 5_000 },
    verdict: "bad",
    failed: ["error_rate", "deny_rate", "p90_us", "p99_us"],
  },
];

for (const row of ROWS) {
  test(`${row.name}: ${row.verdict}`, () => {
    const thresholds = { ...DEFAULT_THRESHOLDS, ...row.thresholds };
    const judged = judge(made(row.stable), made(row.candidate), {
      thresholds,
      surely: row.surely ?? false,
    });
    assert.equal(judged.verdict, row.verdict);
    assert.deepEqual(failed(judged), row.failed ?? []);
    if (row.judged !== undefined) {
      assert.deepEqual(
        judged.findings.map(({ metric }) => metric),
        row.judged,
      );
    }
    assert.equal(judged.stableRequests, row.stable.calls);
    assert.equal(judged.candidateRequests, row.candidate.calls);
  });
}

test("a finding says both values and the bound that was passed", () => {
  const stable = made({ calls: 1_000, denied: 100, micros: 10 });
  const more = judge(stable, made({ calls: 1_000, denied: 200, micros: 10 }), PLAINLY);
  assert.deepEqual(more.findings.filter(({ passed }) => !passed).map(findingText), [
    "requests denied: candidate 20.00 %, stable 10.00 %, allowed at most 15.00 %",
  ]);
  const fewer = judge(stable, made({ calls: 1_000, denied: 0, micros: 10 }), PLAINLY);
  assert.deepEqual(fewer.findings.filter(({ passed }) => !passed).map(findingText), [
    "requests denied: candidate 0.00 %, stable 10.00 %, allowed at least 5.00 %",
  ]);
  const alone = judge(NO_COUNTS, made({ calls: 1_000, errors: 30 }), PLAINLY);
  assert.deepEqual(alone.findings.map(findingText), [
    "calls failed: candidate 3.00 %, allowed at most 1.00 %",
  ]);
});

/** What a version does with each request, as probabilities; its times have a long tail. */
type Nature = { readonly traps?: number; readonly denies?: number; readonly slower?: number };

class Version {
  readonly #counter = new ArmCounter();
  readonly #nature: Nature;
  readonly #random: () => number;

  constructor(nature: Nature, random: () => number) {
    this.#nature = nature;
    this.#random = random;
  }

  requests(count: number): void {
    const { traps = 0, denies = 0, slower = 1 } = this.#nature;
    for (let i = 0; i < count; i++) {
      // Pareto: one in a hundred takes ten times the least, one in a thousand over twenty times.
      const micros = (5 * slower) / (1 - this.#random()) ** 0.5;
      const isTrapped = this.#random() < traps;
      this.#counter.asked();
      this.#counter.called(isTrapped ? "trap" : null, micros);
      if (isTrapped) continue;
      const isDenied = this.#random() < denies;
      this.#counter.decided(isDenied ? 403 : 0);
      if (!isDenied) this.#counter.forwarded(this.#random() < 0.01 ? 502 : 200);
    }
  }

  counts(): ArmCounts {
    return this.#counter.counts();
  }
}

test("of 1,000 rollouts of an equal version, at most 20 are ended by one of 40 early looks", (t) => {
  t.diagnostic(`seed ${SEED}`);
  const random = seededRandom(SEED);
  const ended = new Map<Metric, number>();
  let wrong = 0;
  for (let rollout = 0; rollout < 1_000; rollout++) {
    const nature = { traps: 0.005, denies: random() * 0.5 };
    const stable = new Version(nature, random);
    const candidate = new Version(nature, random);
    for (let look = 0; look < 40; look++) {
      stable.requests(20);
      candidate.requests(10);
      const judged = judge(stable.counts(), candidate.counts(), SURELY);
      if (judged.verdict !== "bad") continue;
      wrong++;
      for (const metric of failed(judged)) ended.set(metric, (ended.get(metric) ?? 0) + 1);
      break;
    }
  }
  t.diagnostic(`${wrong} of 1000 ended: ${JSON.stringify([...ended])}`);
  assert.ok(wrong <= 20, `${wrong} of 1000 equal versions were taken back`);
});

const WORSE: readonly (readonly [string, Nature, Metric])[] = [
  ["traps on 2 % of its calls", { traps: 0.02, denies: 0.1 }, "error_rate"],
  ["denies 10 points more", { denies: 0.2 }, "deny_rate"],
  ["denies 10 points less", { denies: 0 }, "deny_rate"],
  ["is 10 times slower", { denies: 0.1, slower: 10 }, "p90_us"],
  ["is 10 times slower", { denies: 0.1, slower: 10 }, "p99_us"],
];

for (const [what, nature, metric] of WORSE) {
  test(`a version that ${what} is found by ${metric} within two intervals of 1,000 calls`, (t) => {
    t.diagnostic(`seed ${SEED}`);
    const random = seededRandom(SEED);
    const tries = 100;
    let found = 0;
    for (let i = 0; i < tries; i++) {
      const stable = new Version({ denies: 0.1 }, random);
      const candidate = new Version(nature, random);
      const isFound = [1, 2].some(() => {
        stable.requests(1_000);
        candidate.requests(1_000);
        const judged = judge(stable.counts(), candidate.counts(), PLAINLY);
        return failed(judged).includes(metric);
      });
      if (isFound) found++;
    }
    assert.ok(found >= tries * 0.98, `found ${found} times of ${tries}`);
  });
}
