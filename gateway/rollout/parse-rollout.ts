// Rollouts as they are read from disk: a file that somebody edited, or that a disk damaged, is told from one
// that the gateway wrote. What passes here can be gone on with.

import type { Finding, Judgement, Thresholds } from "./analysis.ts";
import { ROLLOUT_LIMITS } from "./rollout.ts";
import type { Rollout, RolloutEvent, RolloutState } from "./rollout.ts";
import type { Sticky } from "./share.ts";

type Fields = Readonly<Record<string, unknown>>;
type Check = (value: unknown) => boolean;

const STATES: readonly RolloutState[] = ["running", "paused", "promoted", "aborted"];
const STICKY_BY: readonly Sticky["by"][] = ["ip", "header", "cookie", "consumer"];
const VERDICTS: readonly Judgement["verdict"][] = ["good", "bad", "not-yet"];
const METRICS: readonly Finding["metric"][] = [
  "error_rate",
  "deny_rate",
  "p90_us",
  "p99_us",
  "upstream_error_rate",
];

const EVENT: Readonly<Record<keyof RolloutEvent, Check>> = {
  at: isText,
  actor: isText,
  what: isText,
  weight: isCount,
  reason: isText,
};

const FINDING: Readonly<Record<keyof Finding, Check>> = {
  metric: oneOf(METRICS),
  stable: (value) => value === null || isCount(value),
  candidate: isCount,
  max: isCount,
  min: isCount,
  passed: (value) => typeof value === "boolean",
};

const JUDGEMENT: Readonly<Record<keyof Judgement, Check>> = {
  verdict: oneOf(VERDICTS),
  findings: listOf(FINDING),
  stableRequests: isCount,
  candidateRequests: isCount,
};

const THRESHOLDS: Readonly<Record<keyof Thresholds, Check>> = {
  minRequests: isCount,
  errorRateMax: isCount,
  denyRateDeltaMax: isCount,
  p99RatioMax: isCount,
  upstreamErrorRateDeltaMax: isCount,
};

const ROLLOUT: Readonly<Record<keyof Rollout, Check>> = {
  id: isName,
  route: isName,
  plugin: isName,
  stable: isName,
  candidate: isName,
  mode: oneOf(["canary", "shadow"]),
  steps: isRising,
  intervalMs: (value) =>
    isCount(value) &&
    value >= ROLLOUT_LIMITS.intervalMsMin &&
    value <= ROLLOUT_LIMITS.intervalMsMax,
  sticky: (value) => holds(value, { by: oneOf(STICKY_BY), name: isText }),
  thresholds: (value) => holds(value, THRESHOLDS),
  attached: (value) => value === null || isText(value),
  state: oneOf(STATES),
  step: (value) => Number.isInteger(value) && isCount(value),
  startedAt: isText,
  stepBeganAt: isText,
  judged: (value) => value === null || holds(value, JUDGEMENT),
  events: listOf(EVENT),
};

/** The rollout that a file holds, or null for something else. */
export function parseRollout(value: unknown): Rollout | null {
  if (!holds(value, ROLLOUT)) return null;
  const rollout = value as Rollout;
  const { mode, steps, step } = rollout;
  const isStep = mode === "shadow" ? steps.length === 0 && step === 0 : step < steps.length;
  return isStep ? rollout : null;
}

function holds(value: unknown, checks: Readonly<Record<string, Check>>): boolean {
  if (typeof value !== "object" || value === null) return false;
  return Object.entries(checks).every(([name, check]) => check((value as Fields)[name]));
}

function listOf(checks: Readonly<Record<string, Check>>): Check {
  return (value) => Array.isArray(value) && value.every((each) => holds(each, checks));
}

function oneOf(words: readonly string[]): Check {
  return (value) => words.some((word) => word === value);
}

function isText(value: unknown): value is string {
  return typeof value === "string";
}

function isName(value: unknown): boolean {
  return isText(value) && value !== "";
}

function isCount(value: unknown): value is number {
  return typeof value === "number" && value >= 0;
}

function isRising(value: unknown): boolean {
  if (!Array.isArray(value) || value.length > ROLLOUT_LIMITS.stepsMax) return false;
  // The first may be 0: a candidate that is withheld has such a step.
  return value.every((step: unknown, i) => {
    const isAbove = i === 0 || (isCount(step) && step > Number(value[i - 1]));
    return isCount(step) && isAbove && step <= 100;
  });
}
