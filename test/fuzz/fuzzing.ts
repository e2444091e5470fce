// What a fuzzer is, and how one is run: in rounds, each from a seed of its own, so that a finding is
// repeated by the one round that made it and not by the hours before.

import { Chance } from "../support/chance.ts";

/** Of an input, in a report; the whole of it is made again by its seed. */
const INPUT_CHARS_MAX = 4_000;

/** What a round met, by name. `inputs` is counted by every fuzzer. */
export type Counts = Readonly<Record<string, number>>;

export type Fuzzer = {
  readonly name: string;
  /**
   * One round, all of it drawn from `random`: some seconds at the most, cut short at the deadline
   * (of the monotonic clock). Throws what it finds.
   */
  run(random: Chance, deadlineMs: number): Promise<Counts>;
};

/** Something that must not be. */
export class Finding extends Error {
  /** The input, or its hexadecimal digits. */
  readonly input: string;

  constructor(what: string, input: string) {
    super(what);
    this.name = "Finding";
    this.input = input;
  }
}

export type Report = {
  readonly name: string;
  readonly counts: Counts;
  readonly seconds: number;
  /** What ended it early, and the seed of the round that makes it again. */
  readonly finding: { readonly error: Error; readonly seed: number } | null;
};

export type RunOptions = {
  readonly seed: number;
  readonly ms: number;
  /** Told of each round's seed before it begins. */
  onRound?(seed: number): void;
};

/** Runs rounds from consecutive seeds until the time is over or something is found. */
export async function runFuzzer(fuzzer: Fuzzer, options: RunOptions): Promise<Report> {
  const startedMs = performance.now();
  const deadlineMs = startedMs + options.ms;
  const counts: Record<string, number> = { rounds: 0 };
  let finding: Report["finding"] = null;
  for (let { seed } = options; performance.now() < deadlineMs; seed = (seed + 1) % 2 ** 31) {
    options.onRound?.(seed);
    try {
      const round = await fuzzer.run(new Chance(seed), deadlineMs);
      counts["rounds"]++;
      for (const [name, count] of Object.entries(round)) {
        counts[name] = (counts[name] ?? 0) + count;
      }
    } catch (error) {
      finding = { error: error instanceof Error ? error : new Error(String(error)), seed };
      break;
    }
  }
  const seconds = (performance.now() - startedMs) / 1000;
  return { name: fuzzer.name, counts, seconds, finding };
}

/** One line: the inputs a second, then what was met. */
export function showCounts({ counts, seconds }: Report): string {
  const perSecond = Math.round((counts["inputs"] ?? 0) / seconds);
  const list = Object.entries(counts).map(([name, count]) => `${count} ${name}`);
  return `${perSecond}/s: ${list.join(", ")}`;
}

/** What was found, with the command that finds it again. */
export function showFinding({ name, finding }: Report): string {
  if (finding === null) return "";
  const { error, seed } = finding;
  const text = error instanceof Finding ? error.message : (error.stack ?? error.message);
  const input = error instanceof Finding ? `\n  input: ${showInput(error.input)}` : "";
  return `${name}: ${text}${input}\n  again: node test/fuzz/fuzzers.ts ${name} --seed ${seed}`;
}

function showInput(input: string): string {
  const shown = JSON.stringify(input.slice(0, INPUT_CHARS_MAX));
  return input.length <= INPUT_CHARS_MAX ? shown : `${shown} and ${input.length} in all`;
}
