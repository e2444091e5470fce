// How long to wait before a worker is replaced: at once after a lone death, longer and longer when
// workers die one after another, and at once again after a healthy while. Pure.

import { LIMITS } from "../base/limits.ts";

/** A quiet time after which earlier deaths are forgotten. */
const HEALTHY_MS = 10_000;

export class Respawn {
  #nextMs: number = LIMITS.respawnMinMs;
  #lastMs = -Infinity;

  /** Delay before the replacement of a worker that died now. */
  delayMs(nowMs: number): number {
    if (nowMs - this.#lastMs > HEALTHY_MS) this.#nextMs = LIMITS.respawnMinMs;
    const delayMs = this.#nextMs;
    this.#nextMs = Math.min(this.#nextMs * 2, LIMITS.respawnMaxMs);
    this.#lastMs = nowMs + delayMs;
    return delayMs;
  }
}
