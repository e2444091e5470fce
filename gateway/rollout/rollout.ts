// The life of one rollout: a plugin's next version on one route, step by step. Pure: every function takes a
// rollout and answers the next one. What it looks like is what is kept on disk.

import type { Judgement, Thresholds } from "./analysis.ts";
import { findingText } from "./analysis.ts";
import type { Sticky } from "./share.ts";

export const ROLLOUT_LIMITS = {
  stepsMax: 32,
  intervalMsMin: 100,
  intervalMsMax: 30 * 86_400_000,
  eventsMax: 100,
} as const;

/** How a rollout is to go. */
export type RolloutPlan = {
  readonly route: string;
  readonly plugin: string;
  /** The version that serves; what the route goes back to. */
  readonly stable: string;
  readonly candidate: string;
  /**
   * canary: the candidate decides for a share of the callers. shadow: it sees every request after the
   * stable version has decided, and decides nothing.
   */
  readonly mode: "canary" | "shadow";
  /** Percent of the callers, rising; empty for a shadow. */
  readonly steps: readonly number[];
  /** How long a step lasts at least. */
  readonly intervalMs: number;
  readonly sticky: Sticky;
  readonly thresholds: Thresholds;
  /** Attachments' `version` in the configuration when it began; null: they follow the current one. */
  readonly attached: string | null;
};

export type RolloutState = "running" | "paused" | "promoted" | "aborted";

export type RolloutEvent = {
  readonly at: string;
  /** Who: a key's name, or "gateway". */
  readonly actor: string;
  readonly what: "started" | "step" | "paused" | "resumed" | "promoted" | "aborted" | "passed";
  /** Percent of the callers after it. */
  readonly weight: number;
  readonly reason: string;
};

export type Rollout = RolloutPlan & {
  /** Of this rollout, among all: names its counters. */
  readonly id: string;
  readonly state: RolloutState;
  /** Index in `steps`. */
  readonly step: number;
  readonly startedAt: string;
  readonly stepBeganAt: string;
  /** The last judgement on a whole interval, or the one that ended it. */
  readonly judged: Judgement | null;
  /** The latest last. */
  readonly events: readonly RolloutEvent[];
};

/** Who does something, and when; ISO 8601. */
export type Act = { readonly at: string; readonly actor: string; readonly reason: string };

/** A rollout at its first step. */
export function startRollout(plan: RolloutPlan, id: string, act: Act): Rollout {
  const rollout: Rollout = {
    ...plan,
    id,
    state: "running",
    step: 0,
    startedAt: act.at,
    stepBeganAt: act.at,
    judged: null,
    events: [],
  };
  return withEvent(rollout, "started", act);
}

/** True while it has a say in what serves. */
export function isActive({ state }: Rollout): boolean {
  return state === "running" || state === "paused";
}

/** Percent of the callers that the candidate decides for. */
export function weightOf({ state, steps, step }: Rollout): number {
  if (state === "promoted") return 100;
  return state === "aborted" ? 0 : (steps[step] ?? 0);
}

/** What is to be done after a look at the counts. */
export type Move =
  | { readonly kind: "wait"; readonly why: string }
  | { readonly kind: "abort"; readonly why: string }
  | { readonly kind: "step" }
  | { readonly kind: "promote" }
  /** A shadow, or the last step below 100: good so far, and an operator's turn. */
  | { readonly kind: "pass" };

/** The same counts judged both ways: by the plain numbers, and by what chance cannot explain. */
export type Looked = { readonly plain: Judgement; readonly sure: Judgement };

/**
 * What a look means. Surely bad ends a rollout at once, whenever it is seen; good counts when the interval is
 * over. In between it waits for more, but not for ever: after two intervals the plain numbers decide.
 */
export function nextMove(rollout: Rollout, { plain, sure }: Looked, elapsedMs: number): Move {
  const { state, intervalMs, thresholds, step, steps } = rollout;
  if (sure.verdict === "bad") return { kind: "abort", why: whyBad(sure) };
  const isLate = elapsedMs >= 2 * intervalMs;
  if (plain.verdict === "bad" && isLate) return { kind: "abort", why: whyBad(plain) };
  if (state === "paused") return { kind: "wait", why: "paused" };
  if (elapsedMs < intervalMs) return { kind: "wait", why: "the interval is not over" };
  if (plain.verdict === "not-yet") {
    const why = `${plain.candidateRequests} requests of the candidate, ${thresholds.minRequests} are needed`;
    return { kind: "wait", why };
  }
  if (plain.verdict === "bad") return { kind: "wait", why: "it may be chance" };
  if (step < steps.length - 1) return { kind: "step" };
  return weightOf(rollout) >= 100 ? { kind: "promote" } : { kind: "pass" };
}

export function stepOn(rollout: Rollout, judged: Judgement | null, act: Act): Rollout {
  const step = Math.min(rollout.step + 1, rollout.steps.length - 1);
  return withEvent({ ...rollout, step, judged, stepBeganAt: act.at }, "step", act);
}

/** Good for a whole interval, with nowhere to go by itself; the next interval begins. */
export function passInterval(rollout: Rollout, judged: Judgement, act: Act): Rollout {
  const next = { ...rollout, judged, stepBeganAt: act.at };
  // Once is worth an event; a shadow that runs for a week is not a thousand of them.
  return rollout.events.at(-1)?.what === "passed" ? next : withEvent(next, "passed", act);
}

export function pause(rollout: Rollout, act: Act): Rollout {
  return withEvent({ ...rollout, state: "paused" }, "paused", act);
}

export function resume(rollout: Rollout, act: Act): Rollout {
  return withEvent({ ...rollout, state: "running", stepBeganAt: act.at }, "resumed", act);
}

/** Gives the candidate to nobody, where it cannot be ended at once. */
export function withhold(rollout: Rollout, act: Act): Rollout {
  return withEvent({ ...rollout, state: "paused", steps: [0], step: 0 }, "paused", act);
}

/** Ends it; `judged` is what speaks for or against the candidate, where something does. */
export function end(
  rollout: Rollout,
  state: "promoted" | "aborted",
  act: Act,
  judged: Judgement | null = rollout.judged,
): Rollout {
  return withEvent({ ...rollout, state, judged }, state, act);
}

function withEvent(rollout: Rollout, what: RolloutEvent["what"], act: Act): Rollout {
  const event: RolloutEvent = { ...act, what, weight: weightOf(rollout) };
  return { ...rollout, events: [...rollout.events, event].slice(-ROLLOUT_LIMITS.eventsMax) };
}

function whyBad({ findings }: Judgement): string {
  return findings
    .filter(({ passed }) => !passed)
    .map(findingText)
    .join("; ");
}
