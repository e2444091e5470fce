// Chance in tests, repeatable: the seed of a run comes from SEED when it is set, and every test
// that draws from it says which it was. Long searches are bounded by time, FUZZ_SECONDS makes them
// longer.

import type { TestContext } from "node:test";

/** The seed of this run. */
export const SEED: number =
  process.env["SEED"] === undefined ? Date.now() % 2 ** 31 : Number(process.env["SEED"]);

/** Numbers in [0, 1), the same for the same seed (mulberry32). */
export function seededRandom(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Milliseconds for one search that gets this share of the run's FUZZ_SECONDS. */
export function searchMs(share: number, secondsDefault: number): number {
  return Number(process.env["FUZZ_SECONDS"] ?? secondsDefault) * share * 1000;
}

/** Parameters of fast-check for a search that ends by time and not by a count of runs. */
export function untilTime(ms: number) {
  return {
    seed: SEED,
    numRuns: Number.MAX_SAFE_INTEGER,
    interruptAfterTimeLimit: ms,
    markInterruptAsFailure: false,
  };
}

/** Counts what a search met, by name. */
export class Tally {
  readonly #counts = new Map<string, number>();

  add(name: string): void {
    this.#counts.set(name, this.of(name) + 1);
  }

  of(name: string): number {
    return this.#counts.get(name) ?? 0;
  }

  /** Prints the seed and the counts with the test's result. */
  report(t: TestContext): void {
    const counts = [...this.#counts].map(([name, count]) => `${count} ${name}`);
    t.diagnostic(`seed ${SEED}: ${counts.join(", ")}`);
  }
}
