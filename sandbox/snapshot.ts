// The state of an instance as its initialisation left it, to be brought back after a call: what the next
// call sees is then a new instance, for the price of copying some pages instead of making one. Only for
// modules whose whole state this is: meter.ts says which.

import { KEPT_EXPORT, MEMORY_EXPORT, RESTORE_EXPORT } from "./meter.ts";

/** A larger memory costs more to copy than an instance to make. */
const BYTES_MAX = 8 * 65_536;

type Kept = { readonly global: WebAssembly.Global; readonly value: number };

export class Snapshot {
  readonly #memory: WebAssembly.Memory | null;
  readonly #bytes: Uint8Array;
  readonly #globals: readonly Kept[];

  private constructor(memory: WebAssembly.Memory | null, globals: readonly Kept[]) {
    this.#memory = memory;
    this.#bytes = memory === null ? new Uint8Array() : new Uint8Array(memory.buffer).slice();
    this.#globals = globals;
  }

  /** What an instance is now; null when that is not all of its state, or too much of it. */
  static take(exports: WebAssembly.Exports): Snapshot | null {
    if (!Object.hasOwn(exports, RESTORE_EXPORT)) return null;
    const memory = exports[MEMORY_EXPORT];
    const own = memory instanceof WebAssembly.Memory ? memory : null;
    if (own !== null && own.buffer.byteLength > BYTES_MAX) return null;
    const globals: Kept[] = [];
    for (const [name, global] of Object.entries(exports)) {
      if (!name.startsWith(KEPT_EXPORT) || !(global instanceof WebAssembly.Global)) continue;
      // Of an i64 a bigint; it is only given back.
      const { value } = global;
      // Which of its many forms it has is lost on the way through JavaScript.
      if (Number.isNaN(value)) return null;
      globals.push({ global, value });
    }
    return new Snapshot(own, globals);
  }

  /** Brings it back; false when it cannot, because the memory has grown. */
  restore(): boolean {
    if (this.#memory !== null) {
      const bytes = new Uint8Array(this.#memory.buffer);
      if (bytes.length !== this.#bytes.length) return false;
      bytes.set(this.#bytes);
    }
    for (const { global, value } of this.#globals) global.value = value;
    return true;
  }
}
