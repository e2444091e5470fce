// Whether a failed attempt may be repeated: the whole table of what is known about it, and the
// budget that keeps retries a fraction of the traffic, on a clock of its own.

import assert from "node:assert/strict";
import { test } from "node:test";
import { ERRORS } from "../../../gateway/base/errors.ts";
import type { ErrorCode } from "../../../gateway/base/errors.ts";
import { RetryBudget, mayRetry } from "../../../gateway/upstream/retry.ts";
import type { Failure } from "../../../gateway/upstream/retry.ts";

const ALL = ["connect-failure", "reset-before-headers", "502", "503", "504"];
/** A failure that may be repeated, whatever the code: each row takes one thing away. */
const BEST: Failure = {
  code: "UPSTREAM_RESET",
  status: 0,
  on: ALL,
  idempotent: true,
  bodyReplayable: true,
  bytesSent: false,
};

type Row = readonly [what: string, change: Partial<Failure>, allowed: boolean];
const CONNECT = { code: "UPSTREAM_CONNECT" } as const;
const STATUS = { code: null, status: 503, bytesSent: true } as const;

const ROWS: readonly Row[] = [
  ["a reset before anything was sent", {}, true],
  ["a reset of a sent, idempotent request", { bytesSent: true }, true],
  ["a reset of a sent request with an effect", { bytesSent: true, idempotent: false }, false],
  ["a reset of an unsent request with an effect", { idempotent: false }, true],
  ["a reset, its body begun", { bodyReplayable: false }, false],
  ["a reset that is not retried on", { on: ["connect-failure", "503"] }, false],
  ["a reset, nothing retried on", { on: [] }, false],
  ["no connection", CONNECT, true],
  ["no connection for a request with an effect", { ...CONNECT, idempotent: false }, true],
  ["no connection, not retried on", { ...CONNECT, on: ["reset-before-headers"] }, false],
  ["no connection, its body begun", { ...CONNECT, bodyReplayable: false }, false],
  ["a status that is retried on", STATUS, true],
  ["a status for a request with an effect", { ...STATUS, idempotent: false }, false],
  ["a status, its body begun", { ...STATUS, bodyReplayable: false }, false],
  ["another status", { ...STATUS, status: 500 }, false],
  ["a status that is not retried on", { ...STATUS, on: ["502"] }, false],
  ["no status", { ...STATUS, status: 0 }, false],
];

for (const [what, change, allowed] of ROWS) {
  test(`${allowed ? "may" : "may not"} be repeated: ${what}`, () => {
    assert.equal(mayRetry({ ...BEST, ...change }), allowed);
  });
}

test("no other code is ever retried, and the table says so", () => {
  for (const code of Object.keys(ERRORS) as ErrorCode[]) {
    const may = code === "UPSTREAM_RESET" || code === "UPSTREAM_CONNECT";
    assert.equal(mayRetry({ ...BEST, code }), may, code);
    assert.equal(ERRORS[code].retry !== "never", may, code);
  }
});

function setup(ratio: number, perSecondMin: number) {
  const clock = { ms: 1_500 };
  const budget = new RetryBudget({ ratio, perSecondMin }, () => clock.ms);
  const take = (wanted: number) => {
    let taken = 0;
    for (let i = 0; i < wanted; i++) if (budget.withdraw()) taken++;
    return taken;
  };
  return { clock, budget, take };
}

test("the budget is a share of the window's requests and a few besides", () => {
  const { budget, take } = setup(0.2, 3);
  assert.equal(take(100), 30, "the least, for a window of ten seconds");
  for (let i = 0; i < 50; i++) budget.deposit();
  assert.equal(take(100), 10, "a fifth of fifty more");
  for (let i = 0; i < 4; i++) budget.deposit();
  assert.equal(take(100), 0, "less than a whole one is none");
  budget.deposit();
  assert.equal(take(100), 1);
});

test("a budget of nothing allows nothing, one of ratio 1 a retry for each request", () => {
  assert.equal(setup(0, 0).take(10), 0);
  const { budget, take } = setup(1, 0);
  for (let i = 0; i < 7; i++) budget.deposit();
  assert.equal(take(10), 7);
});

test("requests and retries are forgotten after ten seconds, and not before", () => {
  const { clock, budget, take } = setup(0.5, 0);
  for (let i = 0; i < 10; i++) budget.deposit();
  assert.equal(take(3), 3);
  clock.ms += 9_000;
  assert.equal(take(10), 2, "what was taken still counts");
  clock.ms += 1_000;
  assert.equal(take(10), 0, "the requests are gone");
  for (let i = 0; i < 10; i++) budget.deposit();
  assert.equal(take(10), 3, "the first retries are gone too, those of a second ago are not");
  clock.ms += 9_000;
  assert.equal(take(10), 2);
});

test("a long silence forgets everything, once", () => {
  const { clock, budget, take } = setup(1, 0);
  for (let i = 0; i < 5; i++) budget.deposit();
  clock.ms += 3_600_000;
  assert.equal(take(1), 0);
  for (let i = 0; i < 5; i++) budget.deposit();
  assert.equal(take(10), 5);
});
