// A rollout as people see it: what it is, and the numbers of both versions.

import type { ArmView, RolloutView } from "../../admin/api/control.ts";
import { defaultThresholds } from "../rollout/analysis.ts";
import type { Thresholds } from "../rollout/analysis.ts";
import { latencyQuantile, requestsOf } from "../rollout/counts.ts";
import type { ArmCounts } from "../rollout/counts.ts";
import { isActive, weightOf } from "../rollout/rollout.ts";
import type { Rollout } from "../rollout/rollout.ts";
import type { RolloutFacts } from "../telemetry/rollout-families.ts";
import type { RolloutStats } from "./rollout-stats.ts";

export function viewOf(rollout: Rollout, stats: RolloutStats): RolloutView {
  const totals = stats.totals(rollout.id);
  const leftMs = Math.round(rollout.intervalMs - stats.elapsedMs(rollout.id));
  const what = waitsFor(rollout, leftMs, requestsOf(stats.ofStep(rollout.id).candidate));
  return {
    rollout,
    weight: weightOf(rollout),
    stable: armView(rollout.stable, totals.stable),
    candidate: armView(rollout.candidate, totals.candidate),
    shadow: rollout.mode === "shadow" ? { ...stats.shadow(rollout.id) } : null,
    waitsFor: what,
    stepLeftMs: what === INTERVAL ? leftMs : 0,
  };
}

/** The same as metrics. */
export function factsOf(rollout: Rollout, stats: RolloutStats): RolloutFacts {
  const { id, route, plugin, stable, candidate, mode, state } = rollout;
  const weight = weightOf(rollout);
  const shadow = mode === "shadow" ? stats.shadow(id) : null;
  const arms = stats.totals(id);
  return { route, plugin, stable, candidate, mode, state, weight, arms, shadow };
}

function armView(version: string, counts: ArmCounts): ArmView {
  const { calls, errors, faults, asked, denied, forwarded, upstreamErrors } = counts;
  return {
    version,
    requests: requestsOf(counts),
    calls,
    errors,
    faults,
    errorRate: share(errors, requestsOf(counts)),
    denyRate: share(denied, asked),
    upstreamErrorRate: share(upstreamErrors, forwarded),
    p50Us: latencyQuantile(counts, 0.5),
    p99Us: latencyQuantile(counts, 0.99),
  };
}

const INTERVAL = "the end of the interval";

function waitsFor(rollout: Rollout, leftMs: number, requests: number): string {
  if (!isActive(rollout)) return "";
  if (rollout.state === "paused") return "resume, promote or abort";
  // Good for an interval already, and nowhere to go by itself.
  if (rollout.events.at(-1)?.what === "passed") return "promote or abort";
  if (leftMs > 0) return INTERVAL;
  const { minRequests } = rollout.thresholds;
  if (requests < minRequests) return `${minRequests - requests} more requests of the candidate`;
  return "the next look";
}

function share(of: number, from: number): number | null {
  return from === 0 ? null : of / from;
}

/** The command that starts it again as it was, at the step that it had come to. */
export function startAgain(rollout: Rollout): string {
  const { route, plugin, candidate, mode, steps, step, intervalMs, sticky, thresholds } = rollout;
  const words = [`sallyport rollout start ${route} ${plugin} --candidate ${candidate}`];
  if (mode === "shadow") words.push("--mode shadow");
  else {
    const left = steps.slice(step).filter((weight) => weight > 0);
    if (left.length > 0) words.push(`--steps ${left.join(",")}`);
  }
  words.push(`--interval ${Math.round(intervalMs)}ms`);
  if (sticky.name !== "") words.push(`--sticky ${sticky.by}:${sticky.name}`);
  else if (sticky.by !== "ip") words.push(`--sticky ${sticky.by}`);
  const defaults = defaultThresholds(mode);
  for (const [flag, field] of THRESHOLD_FLAGS) {
    if (thresholds[field] !== defaults[field]) words.push(`${flag} ${thresholds[field]}`);
  }
  return words.join(" ");
}

const THRESHOLD_FLAGS: readonly (readonly [flag: string, field: keyof Thresholds])[] = [
  ["--min-requests", "minRequests"],
  ["--error-rate-max", "errorRateMax"],
  ["--deny-rate-delta-max", "denyRateDeltaMax"],
  ["--p99-ratio-max", "p99RatioMax"],
  ["--upstream-error-rate-delta-max", "upstreamErrorRateDeltaMax"],
];
