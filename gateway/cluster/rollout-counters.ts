// What rollouts count in one worker, by rollout. It outlives the generations of a rollout's steps and goes
// with the rollout; the primary asks for it.

import { ArmCounter, isArmCounts } from "../rollout/counts.ts";
import type { ArmCounts } from "../rollout/counts.ts";
import type { ShownDifference } from "../plugins/redact.ts";
import type { ShadowResult } from "../plugins/shadow-worker.ts";

/** Differences that wait to be fetched; beyond them the oldest are dropped, and counted all the same. */
const DIFFERENCES_MAX = 200;

/** What a shadow came to. */
export type ShadowCounts = {
  readonly same: number;
  readonly different: number;
  /** The candidate asked its host what the stable version had not asked. */
  readonly incomparable: number;
  /** The shadow's thread had no room for them. */
  readonly skipped: number;
  /** By what differed. */
  readonly by: Readonly<Record<string, number>>;
};

/** What one worker counted for one rollout; counts only grow, differences are those since the last report. */
export type RolloutReport = {
  readonly id: string;
  readonly stable: ArmCounts;
  readonly candidate: ArmCounts;
  readonly shadow: ShadowCounts;
  readonly differences: readonly ShownDifference[];
};

export const NO_SHADOW_COUNTS: ShadowCounts = Object.freeze({
  same: 0,
  different: 0,
  incomparable: 0,
  skipped: 0,
  by: Object.freeze({}),
});

/** The counters of one rollout. */
export class RolloutCounter {
  readonly stable = new ArmCounter();
  readonly candidate = new ArmCounter();
  #same = 0;
  #different = 0;
  #incomparable = 0;
  #skipped = 0;
  readonly #by = new Map<string, number>();
  #differences: ShownDifference[] = [];

  /** The candidate saw a request in the shadow. */
  shadowed({ fault, micros, phase, status, outcome }: ShadowResult): void {
    this.candidate.called(fault, micros);
    if (phase === "on_request") this.candidate.asked();
    this.candidate.decided(status);
    if (outcome === "different") this.#different++;
    else if (outcome === "incomparable") this.#incomparable++;
    else this.#same++;
  }

  skipped(): void {
    this.#skipped++;
  }

  differed(difference: ShownDifference): void {
    for (const what of difference.differs) this.#by.set(what, (this.#by.get(what) ?? 0) + 1);
    if (this.#differences.length >= DIFFERENCES_MAX) this.#differences.shift();
    this.#differences.push(difference);
  }

  report(id: string): RolloutReport {
    const differences = this.#differences;
    this.#differences = [];
    return {
      id,
      stable: this.stable.counts(),
      candidate: this.candidate.counts(),
      shadow: {
        same: this.#same,
        different: this.#different,
        incomparable: this.#incomparable,
        skipped: this.#skipped,
        by: Object.fromEntries(this.#by),
      },
      differences,
    };
  }
}

export class RolloutCounters {
  readonly #byId = new Map<string, RolloutCounter>();

  of(id: string): RolloutCounter {
    let counter = this.#byId.get(id);
    if (counter === undefined) this.#byId.set(id, (counter = new RolloutCounter()));
    return counter;
  }

  /** Forgets the rollouts that are over. */
  retain(ids: ReadonlySet<string>): void {
    for (const id of this.#byId.keys()) if (!ids.has(id)) this.#byId.delete(id);
  }

  reports(): RolloutReport[] {
    return [...this.#byId].map(([id, counter]) => counter.report(id));
  }
}

/** The sum of two shadows. */
export function addShadowCounts(a: ShadowCounts, b: ShadowCounts): ShadowCounts {
  const by: Record<string, number> = { ...a.by };
  for (const [what, count] of Object.entries(b.by)) by[what] = (by[what] ?? 0) + count;
  return {
    same: a.same + b.same,
    different: a.different + b.different,
    incomparable: a.incomparable + b.incomparable,
    skipped: a.skipped + b.skipped,
    by,
  };
}

/** True for plain data of this form. */
export function isRolloutReport(value: unknown): value is RolloutReport {
  if (typeof value !== "object" || value === null) return false;
  const { id, stable, candidate, shadow, differences } = value as Record<string, unknown>;
  return (
    typeof id === "string" &&
    isArmCounts(stable) &&
    isArmCounts(candidate) &&
    typeof shadow === "object" &&
    shadow !== null &&
    Array.isArray(differences)
  );
}
