// The CPU time and stack of one instance. Metered code counts fuel down and calls `refuel` when it is
// used up; only then is a clock read. Fuel is not time (what a unit takes varies a hundredfold), so
// fuel decides how often to look and the clock decides when to end.

import { Halt } from "./errors.ts";
import { STACK_BYTES_TOP, type SandboxLimits } from "./limits.ts";
import { runDelayMs } from "./run-delay.ts";
import { FUEL_EXPORT, REFUEL_EXPORT, STACK_EXPORT } from "./meter.ts";

/** Units between two looks at the clock: some 0.1 ms of simple code. */
export const FUEL_SLICE = 131_072;

/**
 * The most that counts of what was before the first look at what others took. What takes longer was not
 * running, and no slice of code is known to take half of it.
 */
const UNKNOWN_MS_MAX = 2;
/** A look at what others took costs some 10 us: a call that is shorter goes without. */
const SHORT_MS = 0.5;
/**
 * Whatever a call was doing, it ends at this multiple of what it may use. Far beyond it: a thread that
 * waits for a CPU holds nobody up but itself, and an innocent call is not to be failed for that.
 */
const WALL_FACTOR = 20;

export class Budget {
  readonly #stackBytesMax: number;
  readonly #asyncMsMax: number;
  readonly #wallFactor: number;
  #fuel: WebAssembly.Global | null = null;
  #stack: WebAssembly.Global | null = null;
  #slices = 0;
  #allowedMs = 0;
  #beganMs = 0;
  // What others took of the thread's time: up to the last suspension, and the kernel's count since.
  #delayedMs = 0;
  #delayBeganMs = 0;
  #isDelayKnown = false;
  #suspendedMs = 0;
  #suspendedAtMs = 0;
  #isSuspended = false;

  /** `wallFactor`: calls end at this multiple of what they may use, whatever they were doing. */
  constructor(limits: SandboxLimits, wallFactor = WALL_FACTOR) {
    this.#stackBytesMax = Math.min(limits.stackBytesMax, STACK_BYTES_TOP);
    this.#asyncMsMax = limits.asyncMsMax;
    this.#wallFactor = wallFactor;
  }

  /** Takes hold of a new instance's counters; `refuel` is the kernel's export of that name. */
  attach(exports: WebAssembly.Exports, refuel: unknown): void {
    const fuel = exports[FUEL_EXPORT];
    const stack = exports[STACK_EXPORT];
    const table = exports[REFUEL_EXPORT];
    if (
      !(fuel instanceof WebAssembly.Global) ||
      !(stack instanceof WebAssembly.Global) ||
      !(table instanceof WebAssembly.Table)
    ) {
      throw new Error("the module has no counters: prepare the module first");
    }
    this.#fuel = fuel;
    this.#stack = stack;
    stack.value = this.#stackBytesMax;
    table.set(0, refuel);
  }

  /** Begins a call that may run for `cpuMs`. */
  begin(cpuMs: number): void {
    this.#allowedMs = cpuMs;
    this.#slices = 0;
    this.#beganMs = performance.now();
    this.#delayedMs = 0;
    this.#isDelayKnown = false;
    this.#suspendedMs = 0;
    this.#isSuspended = false;
    this.#fuel!.value = FUEL_SLICE;
  }

  /** The guest waits from now on; answers how many ms it may. */
  suspend(): number {
    if (this.#isDelayKnown) this.#delayedMs += runDelayMs() - this.#delayBeganMs;
    this.#suspendedAtMs = performance.now();
    this.#isSuspended = true;
    return Math.max(0, this.#asyncMsMax - this.#suspendedMs);
  }

  /** The guest goes on: what it waited is none of its own time. */
  resume(): void {
    this.#isSuspended = false;
    const waitedMs = performance.now() - this.#suspendedAtMs;
    this.#suspendedMs += waitedMs;
    this.#beganMs += waitedMs;
    if (this.#isDelayKnown) this.#delayBeganMs = runDelayMs();
  }

  /** Units of fuel that the last call has used. */
  get fuelUsed(): number {
    return this.#fuel === null ? 0 : (this.#slices + 1) * FUEL_SLICE - this.#fuel.value;
  }

  /** Called by guests without fuel or stack; gives more fuel, or throws a Halt. */
  refuel(): void {
    if (this.#stack!.value < 0) {
      const allowed = this.#stackBytesMax;
      const why = `the guest's calls are nested too deep: they need more than ${allowed} bytes`;
      throw new Halt("stack", why);
    }
    const nowMs = performance.now();
    // Most calls end within their first slice and never come here.
    if (!this.#isDelayKnown && nowMs - this.#beganMs > SHORT_MS) {
      this.#beganMs = Math.max(this.#beganMs, nowMs - UNKNOWN_MS_MAX);
      this.#delayBeganMs = runDelayMs();
      this.#isDelayKnown = true;
    }
    this.#slices += 1;
    const ranMs = nowMs - this.#beganMs;
    if (ranMs >= this.#allowedMs) this.#checkDeadline(ranMs);
    this.#fuel!.value = FUEL_SLICE;
  }

  /**
   * Takes fuel for work that the host does on the guest's account; may throw a Halt. While the guest
   * waits the clock tells nothing about it: then the guest itself finds that it has none left.
   */
  pay(units: number): void {
    const fuel = this.#fuel!;
    fuel.value -= units;
    if (fuel.value < 0 && !this.#isSuspended) this.refuel();
  }

  // A busy machine must not fail a plugin, and a plugin must not hold a worker for long.
  #checkDeadline(ranMs: number): void {
    const allowedMs = this.#allowedMs;
    const usedMs = ranMs - this.#delayedMs - (runDelayMs() - this.#delayBeganMs);
    if (usedMs < allowedMs && ranMs < allowedMs * this.#wallFactor) return;
    const used = Math.max(usedMs, allowedMs).toFixed(1);
    throw new Halt("deadline", `the guest used ${used} ms of CPU time; ${allowedMs} are allowed`);
  }
}
