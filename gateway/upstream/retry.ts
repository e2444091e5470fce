// Whether a failed attempt may be repeated: a rule over what is known, and a budget that keeps
// retries a fraction of the traffic, so that a failing upstream is not finished off by them. Pure.

import { ERRORS } from "../base/errors.ts";
import type { ErrorCode } from "../base/errors.ts";

const WINDOW_SECONDS = 10;

export type RetryBudgetOptions = {
  /** Retries per request within the window, 0 to 1. */
  readonly ratio: number;
  /** Retries a second that are always allowed. */
  readonly perSecondMin: number;
};

/** Allows `ratio` retries for each request of the last ten seconds, and a few besides. */
export class RetryBudget {
  readonly #options: RetryBudgetOptions;
  readonly #nowMs: () => number;
  readonly #requests = new Float64Array(WINDOW_SECONDS);
  readonly #retries = new Float64Array(WINDOW_SECONDS);
  #second: number;

  constructor(options: RetryBudgetOptions, nowMs: () => number) {
    this.#options = options;
    this.#nowMs = nowMs;
    this.#second = Math.floor(nowMs() / 1000);
  }

  /** Counts a request. */
  deposit(): void {
    this.#requests[this.#slot()]++;
  }

  /** Takes a retry from the budget; false when it is used up. */
  withdraw(): boolean {
    const slot = this.#slot();
    const allowed =
      sum(this.#requests) * this.#options.ratio + this.#options.perSecondMin * WINDOW_SECONDS;
    if (sum(this.#retries) + 1 > allowed) return false;
    this.#retries[slot]++;
    return true;
  }

  // Forgets the seconds that have passed.
  #slot(): number {
    const second = Math.floor(this.#nowMs() / 1000);
    const passed = Math.min(second - this.#second, WINDOW_SECONDS);
    for (let i = 1; i <= passed; i++) {
      const slot = (this.#second + i) % WINDOW_SECONDS;
      this.#requests[slot] = 0;
      this.#retries[slot] = 0;
    }
    this.#second = second;
    return second % WINDOW_SECONDS;
  }
}

function sum(values: Float64Array): number {
  let total = 0;
  for (const value of values) total += value;
  return total;
}

/** What is known of an attempt that failed. */
export type Failure = {
  /** null: a response came, with a status that the route retries on. */
  readonly code: ErrorCode | null;
  readonly status: number;
  /** What the route retries on. */
  readonly on: readonly string[];
  /** The method may be repeated without a further effect (RFC 9110, 9.2.2). */
  readonly idempotent: boolean;
  /** No byte of the body was taken from the client yet. */
  readonly bodyReplayable: boolean;
  /** The origin can have seen the request. */
  readonly bytesSent: boolean;
};

/** True when another attempt is allowed; attempts and budget are counted elsewhere. */
export function mayRetry(failure: Failure): boolean {
  const { code, status, on, idempotent, bodyReplayable, bytesSent } = failure;
  if (!bodyReplayable) return false;
  if (code === null) return idempotent && on.includes(String(status));
  const { retry } = ERRORS[code];
  if (retry === "never") return false;
  const wanted = code === "UPSTREAM_CONNECT" ? "connect-failure" : "reset-before-headers";
  if (!on.includes(wanted)) return false;
  return retry === "always" || !bytesSent || idempotent;
}
