// What a guest did beside its outcome: the memory it has, the fuel it used, and the stack at which it
// ended.

import type { BorderFunction, GuestObserver } from "../../../sandbox/sandbox.ts";

const PAGE_BYTES = 65_536;
const STACK_FRAMES = 64;

export class Observer implements GuestObserver {
  readonly #exports: WebAssembly.Exports[] = [];
  readonly #stackFrames = Error.stackTraceLimit;
  #haltStack: string | null = null;
  #stack: string | null = null;
  #fuelUsed = 0;

  /** Stacks are recorded deeper until it is disposed. */
  constructor() {
    Error.stackTraceLimit = STACK_FRAMES;
  }

  // What ends a call from outside, an abort or a limit, is thrown by a host function and has no stack.
  wrap(run: BorderFunction): BorderFunction {
    return (...args) => {
      try {
        return run(...args);
      } catch (error) {
        this.#haltStack = new Error().stack ?? null;
        throw error;
      }
    };
  }

  onStarted(exports: WebAssembly.Exports): void {
    this.#exports.push(exports);
  }

  onEnded(fuelUsed: number, error: unknown): void {
    this.#fuelUsed = fuelUsed;
    if (error === null) return;
    this.#stack = error instanceof Error ? (error.stack ?? null) : this.#haltStack;
  }

  /** Pages of guest memory, of the largest instance; memory never shrinks. null without any. */
  get memoryPages(): number | null {
    const sizes = this.#exports
      .flatMap((exports) => Object.values(exports))
      .filter((value) => value instanceof WebAssembly.Memory)
      .map(({ buffer }) => buffer.byteLength / PAGE_BYTES);
    return sizes.length === 0 ? null : Math.max(...sizes);
  }

  /** Units of fuel that the last call used: the same for the same work, on any machine. */
  get fuelUsed(): number {
    return this.#fuelUsed;
  }

  /** V8's text of the stack at which a call last ended badly; null when none did. */
  get failureStack(): string | null {
    return this.#stack;
  }

  /** The values of the i32 globals that any instance exports with this prefix, in sum. */
  globals(prefix: string): Map<string, number> {
    const sums = new Map<string, number>();
    for (const exports of this.#exports) {
      for (const [name, value] of Object.entries(exports)) {
        if (!name.startsWith(prefix) || !(value instanceof WebAssembly.Global)) continue;
        sums.set(name, (sums.get(name) ?? 0) + Number(value.value));
      }
    }
    return sums;
  }

  [Symbol.dispose](): void {
    Error.stackTraceLimit = this.#stackFrames;
  }
}
