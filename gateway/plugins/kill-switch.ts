// Counts how often a plugin had to be stopped, and sets it aside when that is too often: a guest that
// burns its budget on every request costs every other request of the worker. Pure but for its clock.

import type { CallFault } from "../base/errors.ts";
import { LIMITS } from "../base/limits.ts";

// What ends an instance, and so costs more than the call.
const KILLS: ReadonlySet<CallFault> = new Set([
  "deadline",
  "async_timeout",
  "stack",
  "trap",
  "host_denied",
  "kernel_memory",
]);

/** True for what a guest had to be stopped for. */
export function isKill(fault: CallFault): boolean {
  return KILLS.has(fault);
}

export class KillSwitch {
  // When the last few kills happened, as a ring.
  readonly #killsMs = new Float64Array(LIMITS.pluginKillsMax).fill(-Infinity);
  #next = 0;
  #untilMs = -Infinity;
  #holdMs: number = LIMITS.pluginQuarantineMs;

  /** True while the plugin is not to be called. */
  isOpen(nowMs: number): boolean {
    return nowMs < this.#untilMs;
  }

  /**
   * Counts a kill; true when it is the one too many. The plugin is then set aside, at each relapse for
   * twice as long.
   */
  onKill(nowMs: number): boolean {
    this.#killsMs[this.#next] = nowMs;
    this.#next = (this.#next + 1) % this.#killsMs.length;
    // The entry that the next kill will overwrite is the first of the last `pluginKillsMax`.
    if (nowMs - this.#killsMs[this.#next] > LIMITS.pluginKillWindowMs) return false;
    this.#untilMs = nowMs + this.#holdMs;
    this.#holdMs = Math.min(this.#holdMs * 2, LIMITS.pluginQuarantineMsMax);
    this.#killsMs.fill(-Infinity);
    return true;
  }
}
