// What one version of a rollout did in one worker, and the sum over workers. Counting is additions; what
// crosses processes is plain data, and every count only grows, so that differences are of any interval.

import type { CallFault } from "../base/errors.ts";

// Eight buckets for each doubling from 1/4 us to 16 s: a quantile is at most 9 % too high.
const PER_DOUBLING = 8;
const FIRST_DOUBLING = -2;
const BUCKETS = 26 * PER_DOUBLING;

/** Counts of one version, as plain data. */
export type ArmCounts = {
  /** Calls of either phase. */
  readonly calls: number;
  /** Calls that failed, whatever `fail_mode` made of it. */
  readonly errors: number;
  readonly faults: Readonly<Record<string, number>>;
  /** Calls of the request phase. */
  readonly asked: number;
  /** Those that answered with a status of 400 or more. */
  readonly denied: number;
  /** Requests that were let through and answered by the upstream, or should have been. */
  readonly forwarded: number;
  /** Those that ended with a status of 500 or more. */
  readonly upstreamErrors: number;
  /** Calls by duration. */
  readonly latency: readonly number[];
};

/** Counts one version in one worker. */
export class ArmCounter {
  #calls = 0;
  #errors = 0;
  readonly #faults = new Map<CallFault, number>();
  #asked = 0;
  #denied = 0;
  #forwarded = 0;
  #upstreamErrors = 0;
  readonly #latency = new Float64Array(BUCKETS);

  /** A call ended; `fault` is null when it ended well. */
  called(fault: CallFault | null, micros: number): void {
    this.#calls++;
    this.#latency[bucketOf(micros)]++;
    if (fault === null) return;
    this.#errors++;
    this.#faults.set(fault, (this.#faults.get(fault) ?? 0) + 1);
  }

  /** It is asked about a request. */
  asked(): void {
    this.#asked++;
  }

  /** What it answered with, 0 when it let the request pass. */
  decided(status: number): void {
    if (status >= 400) this.#denied++;
  }

  /** A request that it let through has ended. Status 0: the client left first, which says nothing. */
  forwarded(status: number): void {
    if (status === 0) return;
    this.#forwarded++;
    if (status >= 500) this.#upstreamErrors++;
  }

  counts(): ArmCounts {
    return {
      calls: this.#calls,
      errors: this.#errors,
      faults: Object.fromEntries(this.#faults),
      asked: this.#asked,
      denied: this.#denied,
      forwarded: this.#forwarded,
      upstreamErrors: this.#upstreamErrors,
      latency: [...this.#latency],
    };
  }
}

/** Of nothing at all. */
export const NO_COUNTS: ArmCounts = Object.freeze({
  calls: 0,
  errors: 0,
  faults: Object.freeze({}),
  asked: 0,
  denied: 0,
  forwarded: 0,
  upstreamErrors: 0,
  latency: Object.freeze(Array.from({ length: BUCKETS }, () => 0)),
});

/** The sum, or with sign -1 what `a` has more than `b`. */
export function addCounts(a: ArmCounts, b: ArmCounts, sign: 1 | -1 = 1): ArmCounts {
  const faults: Record<string, number> = { ...a.faults };
  for (const [fault, count] of Object.entries(b.faults)) {
    faults[fault] = (faults[fault] ?? 0) + sign * count;
  }
  return {
    calls: a.calls + sign * b.calls,
    errors: a.errors + sign * b.errors,
    faults,
    asked: a.asked + sign * b.asked,
    denied: a.denied + sign * b.denied,
    forwarded: a.forwarded + sign * b.forwarded,
    upstreamErrors: a.upstreamErrors + sign * b.upstreamErrors,
    latency: a.latency.map((count, i) => count + sign * b.latency[i]),
  };
}

/** How many requests it had to do with: a plugin of both phases is called twice for one. */
export function requestsOf({ asked, calls }: ArmCounts): number {
  return asked > 0 ? asked : calls;
}

/** Microseconds that a share `q` of the calls took at most; 0 without calls. */
export function latencyQuantile({ calls, latency }: ArmCounts, q: number): number {
  if (calls === 0) return 0;
  const rank = Math.max(1, Math.ceil(Math.min(q, 1) * calls));
  let seen = 0;
  for (let i = 0; i < latency.length; i++) {
    seen += latency[i];
    if (seen >= rank) return 2 ** ((i + 1) / PER_DOUBLING + FIRST_DOUBLING);
  }
  return 2 ** (BUCKETS / PER_DOUBLING + FIRST_DOUBLING);
}

function bucketOf(micros: number): number {
  const at = Math.floor((Math.log2(micros) - FIRST_DOUBLING) * PER_DOUBLING);
  return at > 0 ? Math.min(at, BUCKETS - 1) : 0;
}

const NUMBERS = [
  "calls",
  "errors",
  "asked",
  "denied",
  "forwarded",
  "upstreamErrors",
] as const satisfies readonly (keyof ArmCounts)[];

/** True for plain data of this form. */
export function isArmCounts(value: unknown): value is ArmCounts {
  if (typeof value !== "object" || value === null) return false;
  const record = value as Record<string, unknown>;
  const { latency, faults } = record;
  return (
    NUMBERS.every((name) => typeof record[name] === "number") &&
    typeof faults === "object" &&
    faults !== null &&
    Array.isArray(latency) &&
    latency.length === BUCKETS
  );
}
