// The flags and the texts of the rollout commands: what is written is read as it is meant or refused, and
// what clients wrote cannot steer the terminal of who looks at it.

import assert from "node:assert/strict";
import { test } from "node:test";
import { InvalidArgumentError } from "commander";
import {
  diffsText,
  durationText,
  listText,
  rolloutText,
} from "../../../admin/cli/commands/rollout-text.ts";
import type { ShownRollout } from "../../../admin/cli/commands/rollout-text.ts";
import { durationMs, stepsOf, stickyOf } from "../../../admin/cli/words-rollout.ts";

test("times are a whole number with its unit", () => {
  for (const [text, ms] of [
    ["500ms", 500],
    ["30s", 30_000],
    ["5m", 300_000],
    ["1h", 3_600_000],
    ["0s", 0],
  ] as const) {
    assert.equal(durationMs(text), ms);
  }
  for (const text of ["", "5", "s", "1.5s", "-1s", "1d", "1 s", "1S", "1s1s", "9999999999s"]) {
    assert.throws(() => durationMs(text), InvalidArgumentError, text);
  }
});

test("steps are percentages that rise", () => {
  assert.deepEqual(stepsOf("5,25,50,100"), [5, 25, 50, 100]);
  assert.deepEqual(stepsOf("0.1, 1"), [0.1, 1]);
  for (const text of ["", "0", "5,5", "9,10,2", "50,101", "5,,6", "a", "5%", "1e1"]) {
    assert.throws(() => stepsOf(text), InvalidArgumentError, text);
  }
});

test("callers are told apart by what has a name where it needs one", () => {
  assert.deepEqual(stickyOf("ip"), { by: "ip" });
  assert.deepEqual(stickyOf("consumer"), { by: "consumer" });
  assert.deepEqual(stickyOf("header:X-User"), { by: "header", name: "X-User" });
  assert.deepEqual(stickyOf("cookie:a:b"), { by: "cookie", name: "a:b" });
  for (const text of ["", "header", "header:", "cookie:", "ip:x", "query:x"]) {
    assert.throws(() => stickyOf(text), InvalidArgumentError, text);
  }
});

const ARM = {
  version: "1.0.0",
  calls: 0,
  faults: {},
  error_rate: null,
  deny_rate: null,
  upstream_error_rate: null,
  p50_us: 0,
  p99_us: 0,
};

const ROLLOUT: ShownRollout = {
  id: "a",
  route: "orders",
  plugin: "authz",
  stable: "1.0.0",
  candidate: "1.1.0",
  mode: "canary",
  state: "running",
  sticky: { by: "cookie", name: "sid" },
  weight: 25,
  step: 2,
  steps: [5, 25, 100],
  waits_for: "the end of the interval",
  step_left_ms: 61_000,
  numbers: {
    stable: ARM,
    candidate: { ...ARM, version: "1.1.0", calls: 8, error_rate: 0.125, p99_us: 12.5 },
  },
  shadow: null,
  judged: null,
  events: [],
};

test("a rollout is told by its step, its share, what it waits for, and both versions side by side", () => {
  const numbers = { ...ROLLOUT.numbers, stable: { ...ARM, faults: { trap: 2 } } };
  const text = rolloutText({ ...ROLLOUT, numbers });
  assert.equal(
    text,
    `authz on orders: canary 1.0.0 -> 1.1.0, running
step 2 of 3, 25 % of the callers, told apart by cookie sid
waits for the end of the interval, 1 min 1 s left

                        1.0.0 (stable)  1.1.0 (candidate)
calls                   0               8
failed                  -               12.50 %
  trap                  2               0
denied                  -               -
failed at the upstream  -               -
p50                     -               0 us
p99                     -               12.5 us`,
  );
});

test("rollouts under way are listed before those that are over", () => {
  const over = {
    ...ROLLOUT,
    route: "old",
    state: "aborted",
    waits_for: "",
    step_left_ms: 0,
  } as const;
  const rows = listText([over, ROLLOUT]).split("\n");
  assert.deepEqual(
    rows.slice(1).map((row) => row.split(/ {2,}/)),
    [
      [
        "orders",
        "authz",
        "canary",
        "running",
        "2/3",
        "25 %",
        "1.0.0",
        "1.1.0",
        "the end of the interval, 1 min 1 s left",
      ],
      ["old", "authz", "canary", "aborted", "2/3", "25 %", "1.0.0", "1.1.0", "-"],
    ],
  );
  assert.equal(listText([]), "no rollouts");
});

test("times that are left are as exact as it matters", () => {
  for (const [ms, text] of [
    [80, "80 ms"],
    [999.6, "1 s"],
    [1_400, "1 s"],
    [59_600, "1 min 0 s"],
    [3_599_900, "1 h 0 min"],
    [93_780_000, "26 h 3 min"],
  ] as const) {
    assert.equal(durationText(ms), text);
  }
});

test("no byte of a request or a reason steers the terminal or begins a line", () => {
  const said = {
    action: "respond",
    status: 403,
    reason: "\u001b[2J\u202eno\n2.0.0 continue",
    path: null,
    request_headers: {},
    response_headers: { "x-a": "\u009b31m" },
    values: {},
  };
  const request = { method: "GET", host: "a", path: "/\u001b]0;x\u0007", query: "" };
  const difference = {
    at_ms: 0,
    request_id: "1",
    route: "orders",
    phase: "on_request",
    differs: ["status"],
    request: { ...request, client_ip: "10.0.0.1", consumer: "bob\r\n" },
    stable: said,
    candidate: said,
  };
  const shadow = { same: 1, different: 1, incomparable: 0, skipped: 0, by: { status: 1 } };
  const rollout = { ...ROLLOUT, mode: "shadow", shadow } as const;
  const text = diffsText(rollout, [difference]);
  assert.equal(text.split("\n").length, 6);
  assert.match(text, /^1 of 2 decisions differ/);
  const event = {
    at: "now",
    actor: "gateway",
    what: "aborted",
    weight: 0,
    reason: "a\u001b[0m\nb",
  };
  const whole = rolloutText({ ...rollout, events: [event] });
  assert.match(whole, /by gateway: a\?\[0m\?b$/);
  for (const each of [text, whole]) assert.doesNotMatch(each, /(?!\n)[\p{Cc}\p{Cf}]/u);
});
