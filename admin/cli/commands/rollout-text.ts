// Rollouts as text for people: all of them, one of them, what an action did, what a shadow saw.

import { plain, table } from "../output.ts";
import { differenceText } from "./difference-text.ts";
import type { ShownDifference } from "./difference-text.ts";

/** A version's numbers, as the admin API shows them. */
export type ShownArm = {
  readonly version: string;
  readonly calls: number;
  readonly faults: Readonly<Record<string, number>>;
  readonly error_rate: number | null;
  readonly deny_rate: number | null;
  readonly upstream_error_rate: number | null;
  readonly p50_us: number;
  readonly p99_us: number;
};

export type ShownEvent = {
  readonly at: string;
  readonly actor: string;
  readonly what: string;
  readonly weight: number;
  readonly reason: string;
};

export type ShownRollout = {
  readonly id: string;
  readonly route: string;
  readonly plugin: string;
  readonly stable: string;
  readonly candidate: string;
  readonly mode: "canary" | "shadow";
  readonly state: "running" | "paused" | "promoted" | "aborted";
  readonly sticky: { readonly by: string; readonly name: string };
  readonly weight: number;
  /** From 1 on. */
  readonly step: number;
  readonly steps: readonly number[];
  readonly waits_for: string;
  readonly step_left_ms: number;
  readonly numbers: { readonly stable: ShownArm; readonly candidate: ShownArm };
  readonly shadow: {
    readonly same: number;
    readonly different: number;
    readonly incomparable: number;
    readonly skipped: number;
    readonly by: Readonly<Record<string, number>>;
  } | null;
  readonly judged: {
    readonly verdict: "good" | "bad" | "not-yet";
    readonly stable_requests: number;
    readonly candidate_requests: number;
    readonly findings: readonly { readonly passed: boolean; readonly text: string }[];
  } | null;
  readonly events: readonly ShownEvent[];
};

/** What an action did. */
export type ShownChange = ShownRollout & {
  readonly from: number;
  readonly to: number;
  readonly revision: number;
  readonly undo: string;
  readonly took_ms: number;
};

export function isOver({ state }: ShownRollout): boolean {
  return state === "promoted" || state === "aborted";
}

/** All rollouts, those under way first. */
export function listText(rollouts: readonly ShownRollout[]): string {
  if (rollouts.length === 0) return "no rollouts";
  const order = [...rollouts.filter((each) => !isOver(each)), ...rollouts.filter(isOver)];
  return table([
    ["ROUTE", "PLUGIN", "MODE", "STATE", "STEP", "CALLERS", "STABLE", "CANDIDATE", "WAITS FOR"],
    ...order.map((each) => [
      each.route,
      each.plugin,
      each.mode,
      each.state,
      each.steps.length === 0 ? "-" : `${each.step}/${each.steps.length}`,
      `${each.weight} %`,
      each.stable,
      each.candidate,
      waitText(each) || "-",
    ]),
  ]);
}

/** Everything of one. */
export function rolloutText(rollout: ShownRollout): string {
  const { route, plugin, stable, candidate, mode, state, shadow, judged, events } = rollout;
  const parts = [
    [
      `${plugin} on ${route}: ${mode} ${stable} -> ${candidate}, ${state}`,
      ...shareText(rollout),
      ...(isOver(rollout) ? [] : [`waits for ${waitText(rollout)}`]),
    ],
    [numbersText(rollout)],
    shadow === null ? [] : shadowText(rollout, shadow),
    judged === null || judged.findings.length === 0 ? [] : judgedText(judged),
    events.map(eventText),
  ];
  return parts
    .filter((lines) => lines.length > 0)
    .map((lines) => lines.join("\n"))
    .join("\n\n");
}

function shareText(rollout: ShownRollout): string[] {
  const { mode, sticky, step, steps, weight } = rollout;
  if (mode === "shadow") return [];
  if (isOver(rollout)) return [`ended at step ${step} of ${steps.length}`];
  const by = sticky.name === "" ? sticky.by : `${sticky.by} ${sticky.name}`;
  return [`step ${step} of ${steps.length}, ${weight} % of the callers, told apart by ${by}`];
}

function waitText({ waits_for: what, step_left_ms: leftMs }: ShownRollout): string {
  return leftMs > 0 ? `${what}, ${durationText(leftMs)} left` : what;
}

function numbersText({ numbers: { stable, candidate } }: ShownRollout): string {
  const row = (what: string, show: (arm: ShownArm) => string) => [
    what,
    show(stable),
    show(candidate),
  ];
  const faults = [...new Set([...Object.keys(stable.faults), ...Object.keys(candidate.faults)])];
  return table([
    ["", `${stable.version} (stable)`, `${candidate.version} (candidate)`],
    row("calls", ({ calls }) => String(calls)),
    row("failed", (arm) => percent(arm.error_rate)),
    ...faults.sort().map((fault) => row(`  ${fault}`, (arm) => String(arm.faults[fault] ?? 0))),
    row("denied", (arm) => percent(arm.deny_rate)),
    row("failed at the upstream", (arm) => percent(arm.upstream_error_rate)),
    row("p50", (arm) => micros(arm, arm.p50_us)),
    row("p99", (arm) => micros(arm, arm.p99_us)),
  ]);
}

function shadowText(
  { route, plugin }: ShownRollout,
  { same, different, incomparable, skipped, by }: NonNullable<ShownRollout["shadow"]>,
): string[] {
  const counts = `${same} same, ${different} different, ${incomparable} incomparable, ${skipped} skipped`;
  if (different === 0) return [`decisions: ${counts}`];
  const fields = Object.entries(by).map(([what, count]) => `${what} ${count}`);
  return [
    `decisions: ${counts}`,
    `differ in: ${fields.join(", ")}`,
    `see them: sallyport rollout diffs ${route} ${plugin}`,
  ];
}

function judgedText(judged: NonNullable<ShownRollout["judged"]>): string[] {
  const { verdict, stable_requests: stable, candidate_requests: candidate, findings } = judged;
  return [
    `last judged ${verdict}, on ${stable} calls of the stable version and ${candidate} of the candidate`,
    ...findings.map(({ passed, text }) => `  ${passed ? "ok " : "BAD"}  ${text}`),
  ];
}

/** What happened, in one line. */
export function eventText({ at, actor, what, weight, reason }: ShownEvent): string {
  const why = reason === "" ? "" : `: ${plain(reason)}`;
  return `${at}  ${what.padEnd(8)}  ${`${weight} %`.padStart(5)}  by ${actor}${why}`;
}

/** What an action did, and how to undo it. */
export function changeText(change: ShownChange): string {
  const { route, plugin, candidate, mode, state, from, to } = change;
  const { revision, undo, took_ms: tookMs } = change;
  const share = from === to ? `${to} %` : `${from} % -> ${to} %`;
  const effect = mode === "shadow" && to === 0 ? "it decides nothing" : `${share} of the callers`;
  return [
    `${plugin} on ${route}: ${mode} of ${candidate} ${state}, ${effect}`,
    `revision ${revision}, took ${tookMs} ms`,
    `undo: ${undo}`,
  ].join("\n");
}

/** The last of the decisions that differ. */
export function diffsText(rollout: ShownRollout, last: readonly ShownDifference[]): string {
  const { mode, stable, candidate, shadow } = rollout;
  if (shadow === null) return `this is a ${mode}: only a shadow compares decisions`;
  if (last.length === 0) return `${shadow.same} decisions compared, none differs`;
  const compared = shadow.same + shadow.different;
  const count = `${shadow.different} of ${compared} decisions differ between ${stable} (stable) and ${candidate} (candidate); the last ${last.length}:`;
  return [count, ...last.map(differenceText)].join("\n\n");
}

/** A time left, as exact as it matters. */
export function durationText(ms: number): string {
  if (ms < 999.5) return `${Math.round(ms)} ms`;
  const s = Math.round(ms / 1_000);
  if (s < 60) return `${s} s`;
  if (s < 3_600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  return `${Math.floor(s / 3_600)} h ${Math.floor((s % 3_600) / 60)} min`;
}

function percent(share: number | null): string {
  return share === null ? "-" : `${(share * 100).toFixed(2)} %`;
}

function micros({ calls }: ShownArm, us: number): string {
  return calls === 0 ? "-" : `${us} us`;
}
