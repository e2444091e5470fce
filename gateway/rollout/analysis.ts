// Whether a candidate is as good as the stable version beside it. Pure: counts in, findings out. Too
// little traffic is "not yet" and never "good".

import { latencyQuantile, requestsOf } from "./counts.ts";
import type { ArmCounts } from "./counts.ts";

/** What a candidate may be worse by. Rates are shares from 0 to 1. */
export type Thresholds = {
  /** Requests of each version without which nothing is judged. */
  readonly minRequests: number;
  /** By so much may its failed calls for each request be above the stable version's. */
  readonly errorRateMax: number;
  /** By so much may its share of denials differ, either way: who denies less lets more pass. */
  readonly denyRateDeltaMax: number;
  /** So many times the stable version's p99 may its p99 be, and so many times its p90 the p90. */
  readonly p99RatioMax: number;
  /** By so much may the share of errors behind it be above that behind the stable version. */
  readonly upstreamErrorRateDeltaMax: number;
};

export const DEFAULT_THRESHOLDS: Thresholds = Object.freeze({
  minRequests: 100,
  errorRateMax: 0.01,
  denyRateDeltaMax: 0.05,
  p99RatioMax: 3,
  upstreamErrorRateDeltaMax: 0.05,
});

/** What a shadow would deny is what one wants to see: it is no reason to end it unless one is given. */
export function defaultThresholds(mode: "canary" | "shadow"): Thresholds {
  return mode === "shadow" ? { ...DEFAULT_THRESHOLDS, denyRateDeltaMax: 1 } : DEFAULT_THRESHOLDS;
}

export type Metric = "error_rate" | "deny_rate" | "p90_us" | "p99_us" | "upstream_error_rate";

/** One comparison. */
export type Finding = {
  readonly metric: Metric;
  /** null: the stable version had too few to compare with. */
  readonly stable: number | null;
  readonly candidate: number;
  /** The candidate's bound, given the stable version's value. */
  readonly max: number;
  readonly min: number;
  readonly passed: boolean;
};

export type Judgement = {
  readonly verdict: "good" | "bad" | "not-yet";
  readonly findings: readonly Finding[];
  /** Requests that it rests on. */
  readonly stableRequests: number;
  readonly candidateRequests: number;
};

export type JudgeOptions = {
  readonly thresholds: Thresholds;
  /**
   * Only what two standard errors cannot explain counts as bad: for looking before an interval has
   * ended, again and again. Without it the plain numbers decide.
   */
  readonly surely: boolean;
};

/** Compares a candidate with the stable version over the same time. */
export function judge(stable: ArmCounts, candidate: ArmCounts, options: JudgeOptions): Judgement {
  const { minRequests } = options.thresholds;
  const requests = requestsOf(candidate);
  const facts = { stableRequests: requestsOf(stable), candidateRequests: requests };
  if (requests < minRequests) return { verdict: "not-yet", findings: [], ...facts };
  const findings = [
    errorFinding(stable, candidate, options),
    denyFinding(stable, candidate, options),
    latencyFinding("p90_us", stable, candidate, options),
    latencyFinding("p99_us", stable, candidate, options),
    upstreamFinding(stable, candidate, options),
  ].filter((finding) => finding !== null);
  const verdict = findings.every(({ passed }) => passed) ? "good" : "bad";
  return { verdict, findings, ...facts };
}

type Share = { readonly of: number; readonly from: number };

// By how much two shares may differ by chance: two standard errors.
function chance(a: Share, b: Share | null): number {
  const variance = ({ of, from }: Share) => {
    // Agresti's correction: none of few says little.
    const p = (of + 1) / (from + 2);
    return (p * (1 - p)) / from;
  };
  return 2 * Math.sqrt(variance(a) + (b === null ? 0 : variance(b)));
}

function compareShares(
  metric: Metric,
  shares: { readonly stable: Share | null; readonly candidate: Share },
  allowed: { readonly above: number; readonly below: number },
  surely: boolean,
): Finding {
  const { stable, candidate } = shares;
  const base = stable === null ? 0 : stable.of / stable.from;
  const value = candidate.of / candidate.from;
  const slack = surely ? chance(candidate, stable) : 0;
  const max = base + allowed.above;
  const min = Math.max(0, base - allowed.below);
  return {
    metric,
    stable: stable === null ? null : base,
    candidate: value,
    max,
    min,
    passed: value - slack <= max && value + slack >= min,
  };
}

// Of the stable version, or null where there is too little of it.
function enough(of: number, from: number, { thresholds }: JudgeOptions): Share | null {
  return from < thresholds.minRequests ? null : { of, from };
}

function errorFinding(stable: ArmCounts, candidate: ArmCounts, options: JudgeOptions): Finding {
  const shares = {
    stable: enough(stable.errors, requestsOf(stable), options),
    candidate: { of: candidate.errors, from: requestsOf(candidate) },
  };
  const allowed = { above: options.thresholds.errorRateMax, below: Infinity };
  return compareShares("error_rate", shares, allowed, options.surely);
}

function denyFinding(
  stable: ArmCounts,
  candidate: ArmCounts,
  options: JudgeOptions,
): Finding | null {
  const base = enough(stable.denied, stable.asked, options);
  if (base === null || candidate.asked < options.thresholds.minRequests) return null;
  const delta = options.thresholds.denyRateDeltaMax;
  const shares = { stable: base, candidate: { of: candidate.denied, from: candidate.asked } };
  return compareShares("deny_rate", shares, { above: delta, below: delta }, options.surely);
}

function upstreamFinding(
  stable: ArmCounts,
  candidate: ArmCounts,
  options: JudgeOptions,
): Finding | null {
  const base = enough(stable.upstreamErrors, stable.forwarded, options);
  if (base === null || candidate.forwarded < options.thresholds.minRequests) return null;
  const allowed = { above: options.thresholds.upstreamErrorRateDeltaMax, below: Infinity };
  const own = { of: candidate.upstreamErrors, from: candidate.forwarded };
  const shares = { stable: base, candidate: own };
  return compareShares("upstream_error_rate", shares, allowed, options.surely);
}

// The p99 of few calls is the worst of them, and that is chance: the candidate's is taken as low, and the
// stable version's as high, as so many calls allow (order statistics, two standard errors). On a machine
// with more to do than it can, the p99 of both is how long they waited for a CPU; their p90 still tells.
function latencyFinding(
  metric: "p90_us" | "p99_us",
  stable: ArmCounts,
  candidate: ArmCounts,
  { thresholds }: JudgeOptions,
): Finding | null {
  if (requestsOf(stable) < thresholds.minRequests) return null;
  const q = metric === "p90_us" ? 0.9 : 0.99;
  const slack = (calls: number) => 2 * Math.sqrt((q * (1 - q)) / calls);
  const high = latencyQuantile(stable, q + slack(stable.calls));
  const low = latencyQuantile(candidate, q - slack(candidate.calls));
  return {
    metric,
    stable: latencyQuantile(stable, q),
    candidate: latencyQuantile(candidate, q),
    max: latencyQuantile(stable, q) * thresholds.p99RatioMax,
    min: 0,
    passed: low <= high * thresholds.p99RatioMax,
  };
}

const WORDS: Readonly<Record<Metric, string>> = {
  error_rate: "calls failed",
  deny_rate: "requests denied",
  p90_us: "p90 of a call",
  p99_us: "p99 of a call",
  upstream_error_rate: "requests failed at the upstream",
};

/** A finding as a sentence for people. */
export function findingText({ metric, stable, candidate, max, min }: Finding): string {
  const show = (value: number) =>
    metric.endsWith("_us") ? `${Number(value.toPrecision(3))} us` : `${(value * 100).toFixed(2)} %`;
  const base = stable === null ? "" : `, stable ${show(stable)}`;
  const bound = candidate < min ? `at least ${show(min)}` : `at most ${show(max)}`;
  return `${WORDS[metric]}: candidate ${show(candidate)}${base}, allowed ${bound}`;
}
