// How long this thread was ready to run and did not, because others did: what a busy machine takes from
// a call, as the kernel counts it (proc(5), /proc/PID/schedstat).

import { readFileSync } from "node:fs";

/** Milliseconds since the thread began; 0 where the system does not tell. Costs some 10 us. */
export function runDelayMs(): number {
  try {
    const [, delayNs] = readFileSync("/proc/thread-self/schedstat", "latin1").split(" ");
    const ms = Number(delayNs) / 1e6;
    return Number.isFinite(ms) ? ms : 0;
  } catch {
    return 0;
  }
}
