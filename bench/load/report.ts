// What a run found, as rows of text and as one value for a file.

import { median, pairedRatio, spreadOf } from "../measure.ts";
import type { Spread } from "../measure.ts";
import type { Outcome, Round } from "./run.ts";

/** Below this part of a CPU a peer was not what limited the requests per second. */
const BUSY_MIN = 0.9;

const RATIOS = ["cpuUsPerRequest", "rps", "p50Us", "p99Us"] as const;

export type Ratio = {
  readonly subject: string;
  readonly baseline: string;
} & Readonly<Record<(typeof RATIOS)[number], Spread>>;

export type ScenarioReport = {
  readonly name: string;
  readonly about: string;
  readonly outcomes: readonly Outcome[];
  readonly ratios: readonly Ratio[];
};

export function reportOf(
  scenario: { readonly name: string; readonly about: string },
  outcomes: readonly Outcome[],
): ScenarioReport {
  const ran = outcomes.filter(({ rounds }) => rounds.length > 0);
  const baselines = ran.filter(({ role }) => role === "baseline");
  const ratios = ran
    .filter(({ role }) => role === "subject")
    .flatMap((subject) => baselines.map((baseline) => ratioOf(subject, baseline)));
  return { name: scenario.name, about: scenario.about, outcomes, ratios };
}

function ratioOf(subject: Outcome, baseline: Outcome): Ratio {
  const paired = (name: (typeof RATIOS)[number]) =>
    pairedRatio(valuesOf(subject, name), valuesOf(baseline, name));
  return {
    subject: subject.label,
    baseline: baseline.label,
    cpuUsPerRequest: paired("cpuUsPerRequest"),
    rps: paired("rps"),
    p50Us: paired("p50Us"),
    p99Us: paired("p99Us"),
  };
}

/** Requests that failed, in all rounds, and contenders that did not run though they should. */
export function countFaults({ outcomes }: ScenarioReport): number {
  return outcomes.reduce(
    (sum, outcome) => sum + errorsOf(outcome) + (outcome.left?.isFault ? 1 : 0),
    0,
  );
}

/** The report for people: one table of contenders, one of ratios. */
export function formatReport(report: ScenarioReport): string {
  const contenders = table([
    ["", "CPU us/request", "RPS", "p50 ms", "p99 ms", "busy", "RSS MB", "PSS MB", "errors"],
    ...report.outcomes.map(rowOf),
  ]);
  const ratios = report.ratios.map(({ subject, baseline, ...ratio }) => [
    `${subject} / ${baseline}`,
    ...RATIOS.map((name) => spread(ratio[name])),
  ]);
  const parts = [`${report.name}: ${report.about}`, contenders];
  if (ratios.length > 0) {
    parts.push(table([["ratio", "CPU us/request", "RPS", "p50", "p99"], ...ratios]));
  }
  return `${parts.join("\n\n")}\n`;
}

function rowOf(outcome: Outcome): string[] {
  const { label, left } = outcome;
  if (left !== null) return [label, left.isFault ? "failed, the reason is above" : left.why];
  const cpu = spreadOf(valuesOf(outcome, "cpuUsPerRequest"));
  const rps = spreadOf(valuesOf(outcome, "rps"));
  const busy = median(valuesOf(outcome, "busy"));
  const pss = outcome.rounds.map(({ pssBytes }) => pssBytes);
  return [
    label,
    `${cpu.median.toFixed(1)} (${cpu.min.toFixed(1)})`,
    `${rps.median.toFixed(0)} (${rps.max.toFixed(0)})${busy < BUSY_MIN ? "*" : ""}`,
    (median(valuesOf(outcome, "p50Us")) / 1000).toFixed(2),
    (median(valuesOf(outcome, "p99Us")) / 1000).toFixed(2),
    `${(busy * 100).toFixed(0)}%`,
    megabytes(Math.max(...valuesOf(outcome, "rssBytes"))),
    pss.every((bytes) => bytes !== null) ? megabytes(Math.max(...pss)) : "-",
    String(errorsOf(outcome)),
  ];
}

function errorsOf({ rounds }: Outcome): number {
  return rounds.reduce((sum, { refused, lost }) => sum + refused + lost, 0);
}

type NumberField = { [K in keyof Round]: Round[K] extends number ? K : never }[keyof Round];

function valuesOf({ rounds }: Outcome, name: NumberField): number[] {
  return rounds.map((round) => round[name]);
}

function spread({ median: middle, min, max }: Spread): string {
  return `${middle.toFixed(2)} (${min.toFixed(2)}-${max.toFixed(2)})`;
}

function megabytes(bytes: number): string {
  return (bytes / 1e6).toFixed(0);
}

// The first column to the left, figures to the right; a row may end early.
function table(rows: readonly (readonly string[])[]): string {
  const full = rows.filter((row) => row.length === rows[0].length);
  const widths = rows[0].map((_, i) => Math.max(...full.map((row) => row[i].length)));
  widths[0] = Math.max(...rows.map((row) => row[0].length));
  return rows
    .map((row) => {
      const isShort = row.length < rows[0].length;
      const cells = row.map((cell, i) =>
        i === 0 || isShort ? cell.padEnd(widths[i]) : cell.padStart(widths[i]),
      );
      return `  ${cells.join("   ")}`.trimEnd();
    })
    .join("\n");
}
