// What all workers counted for the rollouts, in the primary. A worker that is gone counts on with what it
// last said, as one sum of all such: workers may come and go for weeks. Of differing decisions the latest
// are kept, up to a bound.

import { NO_COUNTS, addCounts } from "../rollout/counts.ts";
import type { ArmCounts } from "../rollout/counts.ts";
import type { ShownDifference } from "../plugins/redact.ts";
import { NO_SHADOW_COUNTS, addShadowCounts } from "./rollout-counters.ts";
import type { RolloutReport, ShadowCounts } from "./rollout-counters.ts";

const DIFFERENCES_MAX = 1_000;
/** In the place of a worker: all those that are gone. The first worker is 1. */
const GONE = 0;

/** Both versions over the same time. */
export type Pair = { readonly stable: ArmCounts; readonly candidate: ArmCounts };

type Book = {
  readonly byWorker: Map<number, RolloutReport>;
  /** The totals when the present step began. */
  base: Pair;
  stepBeganMs: number;
  differences: ShownDifference[];
};

const NOTHING: Pair = { stable: NO_COUNTS, candidate: NO_COUNTS };

export class RolloutStats {
  readonly #books = new Map<string, Book>();
  readonly #nowMs: () => number;

  constructor(nowMs: () => number) {
    this.#nowMs = nowMs;
  }

  /** Takes what one worker said. */
  take(worker: number, reports: readonly RolloutReport[]): void {
    for (const report of reports) {
      const book = this.#book(report.id);
      book.byWorker.set(worker, { ...report, differences: [] });
      book.differences = [...book.differences, ...report.differences].slice(-DIFFERENCES_MAX);
    }
  }

  /** A worker that was taken from the last time is gone. */
  leave(worker: number): void {
    for (const { byWorker } of this.#books.values()) {
      const last = byWorker.get(worker);
      if (last === undefined) continue;
      byWorker.delete(worker);
      const gone = byWorker.get(GONE);
      byWorker.set(GONE, gone === undefined ? last : sumOf(gone, last));
    }
  }

  /** Since the rollout began. */
  totals(id: string): Pair {
    const reports = [...this.#book(id).byWorker.values()];
    return {
      stable: reports.reduce((sum, { stable }) => addCounts(sum, stable), NO_COUNTS),
      candidate: reports.reduce((sum, { candidate }) => addCounts(sum, candidate), NO_COUNTS),
    };
  }

  /** Since its present step began. */
  ofStep(id: string): Pair {
    const { base } = this.#book(id);
    const { stable, candidate } = this.totals(id);
    return {
      stable: addCounts(stable, base.stable, -1),
      candidate: addCounts(candidate, base.candidate, -1),
    };
  }

  shadow(id: string): ShadowCounts {
    const reports = [...this.#book(id).byWorker.values()];
    return reports.reduce((sum, { shadow }) => addShadowCounts(sum, shadow), NO_SHADOW_COUNTS);
  }

  /** The latest last. */
  differences(id: string): readonly ShownDifference[] {
    return this.#book(id).differences;
  }

  /** A step begins now. */
  beginStep(id: string): void {
    const book = this.#book(id);
    book.base = this.totals(id);
    book.stepBeganMs = this.#nowMs();
  }

  /** Milliseconds since the present step began, or since this process did. */
  elapsedMs(id: string): number {
    return this.#nowMs() - this.#book(id).stepBeganMs;
  }

  /** Forgets all but these. */
  retain(ids: ReadonlySet<string>): void {
    for (const id of this.#books.keys()) if (!ids.has(id)) this.#books.delete(id);
  }

  #book(id: string): Book {
    let book = this.#books.get(id);
    if (book === undefined) {
      const stepBeganMs = this.#nowMs();
      book = { byWorker: new Map(), base: NOTHING, stepBeganMs, differences: [] };
      this.#books.set(id, book);
    }
    return book;
  }
}

function sumOf(a: RolloutReport, b: RolloutReport): RolloutReport {
  return {
    ...a,
    stable: addCounts(a.stable, b.stable),
    candidate: addCounts(a.candidate, b.candidate),
    shadow: addShadowCounts(a.shadow, b.shadow),
  };
}
