// From rounds to a report: which ratios there are, what counts as a fault, and that contenders which
// did not run are named and enter no ratio.

import assert from "node:assert/strict";
import { test } from "node:test";
import { countFaults, formatReport, reportOf } from "../../../bench/load/report.ts";
import type { Outcome, Round } from "../../../bench/load/run.ts";

function round(cpuUsPerRequest: number, more: Partial<Round> = {}): Round {
  return {
    requests: 1000,
    durationUs: 1e6,
    bytes: 200_000,
    p50Us: 1500,
    p99Us: 4000,
    refused: 0,
    lost: 0,
    rps: 1000,
    cpuUsPerRequest,
    busy: 1,
    rssBytes: 50e6,
    pssBytes: 40e6,
    ...more,
  };
}

const SUBJECT: Outcome = {
  label: "gateway",
  role: "subject",
  left: null,
  rounds: [round(20), round(60), round(33)],
};
const BASELINE: Outcome = {
  label: "haproxy",
  role: "baseline",
  left: null,
  rounds: [round(20), round(40), round(30)],
};
const UNABLE: Outcome = {
  label: "nginx",
  role: "baseline",
  left: { why: "no JWT", isFault: false },
  rounds: [],
};
const FAILED: Outcome = {
  label: "caddy",
  role: "baseline",
  left: { why: "it ended", isFault: true },
  rounds: [],
};
const SCENARIO = { name: "plain", about: "a scenario" };

test("each subject is compared with each baseline that ran, round by round", () => {
  const { ratios } = reportOf(SCENARIO, [SUBJECT, BASELINE, UNABLE, FAILED]);
  assert.deepEqual(
    ratios.map(({ subject, baseline }) => [subject, baseline]),
    [["gateway", "haproxy"]],
  );
  assert.deepEqual(ratios[0].cpuUsPerRequest, { median: 1.1, min: 1, max: 1.5 });
});

test("failed requests and contenders that should have run are faults, missing features are not", () => {
  const wrong = { ...BASELINE, rounds: [round(20, { refused: 3 }), round(20, { lost: 4 })] };
  const cases: [string, Outcome[], number][] = [
    ["all well", [SUBJECT, BASELINE], 0],
    ["a peer that cannot do the work", [SUBJECT, UNABLE], 0],
    ["a peer that failed", [SUBJECT, FAILED], 1],
    ["requests refused and lost", [wrong], 7],
  ];
  for (const [what, outcomes, expected] of cases) {
    assert.equal(countFaults(reportOf(SCENARIO, outcomes)), expected, what);
  }
});

test("the table has median and best, marks what was idle, and names what is left out", () => {
  const idle = { ...BASELINE, rounds: [round(20, { busy: 0.5, pssBytes: null })] };
  const text = formatReport(reportOf(SCENARIO, [SUBJECT, UNABLE, FAILED]));
  assert.match(text, /^plain: a scenario\n/);
  assert.match(text, /gateway +33\.0 \(20\.0\) +1000 \(1000\) +1\.50 +4\.00 +100% +50 +40 +0\n/);
  assert.match(text, /nginx +no JWT\n/);
  assert.match(text, /caddy +failed/);
  const marked = formatReport(reportOf(SCENARIO, [idle]));
  assert.match(marked, /haproxy +20\.0 \(20\.0\) +1000 \(1000\)\* .* 50% +50 +- +0\n/);
});
