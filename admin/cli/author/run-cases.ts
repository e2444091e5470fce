// Runs golden cases under the limits of production, and tells of each what differs, what failed and
// how to see it again.

import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { REQUIRED_EXPORTS } from "../../../gateway/plugins/abi.ts";
import { LIMITS } from "./admit.ts";
import { AbiText } from "./abi-text.ts";
import type { Built } from "./build-plugin.ts";
import { decide } from "./cases.ts";
import type { Decided, GoldenCase } from "./cases.ts";
import { Observer } from "./observe.ts";
import { framesText, traceStack } from "./trap.ts";
import type { Frame, TracedModule } from "./trap.ts";

export type Difference = {
  /** Names from the decision on, joined with dots. */
  readonly at: string;
  readonly expected: unknown;
  readonly found: unknown;
};

/** A call that did not end well. */
export type Failure = {
  readonly code: string;
  readonly detail: string;
  /** The code's sentence. */
  readonly meaning: string;
  readonly frames: readonly Frame[];
};

/** What a call used of what it may use. */
export type Usage = {
  /** Units: the same for the same work, on any machine. */
  readonly fuel: number;
  readonly memory_pages: number | null;
  readonly memory_pages_max: number;
};

export type CaseResult = {
  readonly file: string;
  readonly passed: boolean;
  readonly differences: readonly Difference[];
  readonly failure: Failure | null;
  readonly usage: Usage;
  /** A command that runs the case again and shows everything. */
  readonly replay: string;
};

/** Runs each case through an attachment of its own. */
export async function runCases(
  built: Built,
  cases: readonly (readonly [file: string, golden: GoldenCase])[],
): Promise<CaseResult[]> {
  const results: CaseResult[] = [];
  const exports = WebAssembly.Module.exports(built.module).map(({ name }) => name);
  // A case runs through all of the plugin, whichever of its exports is named.
  const entry = REQUIRED_EXPORTS.find((name) => exports.includes(name)) ?? "on_request";
  for (const [file, golden] of cases) {
    using observer = new Observer();
    const decided = await decide({ ...built, observer }, golden);
    const differences = differencesOf(golden.expect, decided);
    const { folder, file: module } = built.project;
    results.push({
      file,
      passed: differences.length === 0,
      differences,
      failure: differences.length === 0 ? null : failureOf(decided, built, observer),
      usage: usageOf(observer),
      replay: `sallyport plugin call ${quoted(module)} ${entry} --case ${quoted(join(folder, "cases", file))}`,
    });
  }
  return results;
}

// As a shell takes it for one word.
function quoted(path: string): string {
  return /^[\w./-]+$/.test(path) ? path : `'${path.replaceAll("'", String.raw`'\''`)}'`;
}

export function usageOf(observer: Observer): Usage {
  return {
    fuel: observer.fuelUsed,
    memory_pages: observer.memoryPages,
    memory_pages_max: LIMITS.memoryPagesMax,
  };
}

/** Where a decision is not as expected; keys that nothing is expected of may hold anything. */
export function differencesOf(expect: Decided, decided: Decided): Difference[] {
  return Object.entries(expect).flatMap(([key, expected]) => walk(key, expected, decided[key]));
}

/** The failure behind a decision that is an error; null for any other. */
export function failureOf(
  decided: Decided,
  traced: TracedModule,
  observer: Observer,
): Failure | null {
  if (decided["action"] !== "error") return null;
  const message = String(decided["message"]);
  // Behind the plugin's name and version, the sandbox's code.
  const [, code, detail] = /^(?:\S+@\S+: )?([a-z_]+): ([^]*)$/.exec(message) ?? [
    "",
    String(decided["code"]),
    message,
  ];
  return describeFailure({ code, detail }, traced, observer);
}

/** A failed call with its frames. */
export function describeFailure(
  { code, detail }: { readonly code: string; readonly detail: string },
  traced: TracedModule,
  observer: Observer,
): Failure {
  const { failureStack: stack } = observer;
  const frames = stack === null ? [] : traceStack(stack, traced);
  return { code, detail, meaning: new AbiText().codeMeaning(code), frames };
}

/** A failure as lines: the code and its sentence, what was used, where it happened. */
export function failureText(failure: Failure, usage: Usage): string[] {
  const { code, detail, meaning, frames } = failure;
  const { memory_pages: pages, memory_pages_max: pagesMax } = usage;
  return [
    `${code}: ${detail}`,
    ...(meaning === "" ? [] : [`  ${meaning}`]),
    ...framesText(frames),
    ...(pages === null ? [] : [`  memory ${pages} of ${pagesMax} pages`]),
  ];
}

function walk(at: string, expected: unknown, found: unknown): Difference[] {
  if (isDeepStrictEqual(expected, found)) return [];
  if (!isRecord(expected) || !isRecord(found)) return [{ at, expected, found }];
  const keys = new Set([...Object.keys(expected), ...Object.keys(found)]);
  return [...keys].flatMap((key) => walk(`${at}.${key}`, expected[key], found[key]));
}

function isRecord(value: unknown): value is Decided {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
