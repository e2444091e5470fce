// The functions of `extism:host/env` that need the host (configuration, variables, logging), and
// AssemblyScript's `abort`. All read handles that the kernel has checked, all are bounded, and none
// reaches beyond the pool: http_request is refused, always.

import { Halt, printable } from "./errors.ts";
import { LOG_LEVELS, NAME_BYTES_MAX, type Guest } from "./guest.ts";

// What a variable costs beside its bytes, so that a thousand empty names are not free.
const VARIABLE_OVERHEAD_BYTES = 32;
const ABORT_CHARS_MAX = 512;

/** The variables of a plugin, bounded in sum. They outlive a call, but never the pool. */
export class Variables {
  readonly #values = new Map<string, Uint8Array>();
  readonly #bytesMax: number;
  #bytes = 0;
  /** True once a plugin has set or removed one. */
  changed = false;

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  /** Variables as another thread listed them; those that would pass the bound are left out. */
  static of(list: Iterable<readonly [string, Uint8Array]>, bytesMax: number): Variables {
    const variables = new Variables(bytesMax);
    for (const [name, value] of list) variables.set(name, value);
    variables.changed = false;
    return variables;
  }

  list(): [string, Uint8Array][] {
    return [...this.#values];
  }

  get(name: string): Uint8Array | undefined {
    return this.#values.get(name);
  }

  /** False, and nothing changes, when the sum would pass the bound. */
  set(name: string, value: Uint8Array): boolean {
    const bytes = this.#bytes - this.#cost(name) + cost(name, value);
    if (bytes > this.#bytesMax) return false;
    this.#bytes = bytes;
    this.#values.set(name, value);
    this.changed = true;
    return true;
  }

  /** As new. */
  clear(): void {
    this.#values.clear();
    this.#bytes = 0;
  }

  delete(name: string): void {
    this.#bytes -= this.#cost(name);
    if (this.#values.delete(name)) this.changed = true;
  }

  #cost(name: string): number {
    const value = this.#values.get(name);
    return value === undefined ? 0 : cost(name, value);
  }
}

function cost(name: string, value: Uint8Array): number {
  return Buffer.byteLength(name) + value.length + VARIABLE_OVERHEAD_BYTES;
}

/** What host calls reach beside their guest. */
export type HostState = {
  readonly config: ReadonlyMap<string, string>;
  readonly variables: Variables;
};

/** The host function behind `extism:host/env` `name`, bound to its guest; null for another name. */
export function bindHostCall(
  name: string,
  guest: Guest<never>,
  state: HostState,
): ((...args: never[]) => unknown) | null {
  switch (name) {
    case "config_get":
      return (key: bigint) => configGet(guest, state, key);
    case "var_get":
      return (key: bigint) => varGet(guest, state, key);
    case "var_set":
      return (key: bigint, value: bigint) => varSet(guest, state, { key, value });
    case "http_request":
      return () => {
        throw new Halt("host_denied", "the guest called http_request, which no policy is granted");
      };
    case "http_status_code":
      return () => 0;
    case "http_headers":
      return () => 0n;
    case "get_log_level":
      return () => guest.logLevel;
    default: {
      const level = LOG_LEVELS.findIndex((word) => name === `log_${word}`);
      return level === -1 ? null : (line: bigint) => log(guest, level, line);
    }
  }
}

/** AssemblyScript's `abort(message, file, line, column)`: strings are UTF-16 in guest memory. */
export function bindAbort(guest: Guest<never>): (...args: number[]) => never {
  return (message, file, line, column) => {
    const text = readUtf16(guest, message >>> 0) || "abort";
    const place = readUtf16(guest, file >>> 0) || "unknown";
    throw new Halt("trap", `${text} at ${place}:${line >>> 0}:${column >>> 0}`);
  };
}

// The host owns the handles it is passed and frees them; the answer is allocated first, so that a
// development kit which frees its key once more cannot hit the answer.

function configGet(guest: Guest<never>, state: HostState, key: bigint): bigint {
  guest.countHostCall();
  const name = guest.readName(key);
  const value = name === null ? undefined : state.config.get(name);
  const handle = value === undefined ? 0n : guest.writeString(value);
  guest.kernel.free(key);
  return handle;
}

function varGet(guest: Guest<never>, state: HostState, key: bigint): bigint {
  guest.countHostCall();
  const name = guest.readName(key);
  const value = name === null ? undefined : state.variables.get(name);
  const handle = value === undefined ? 0n : guest.writeBytes(value);
  guest.kernel.free(key);
  return handle;
}

function varSet(
  guest: Guest<never>,
  state: HostState,
  handles: { key: bigint; value: bigint },
): void {
  guest.countHostCall();
  const { key, value } = handles;
  // A handle to nothing is not a name; the official SDK ignores it too.
  if (guest.kernel.lengthOf(key) === 0) return;
  const name = guest.readString(key, NAME_BYTES_MAX);
  const length = guest.kernel.lengthOf(value);
  if (value === 0n) {
    state.variables.delete(name);
  } else if (length > 0) {
    const allowed = guest.limits.varBytesMax;
    if (length > allowed || !state.variables.set(name, guest.readBytes(value))) {
      throw new Halt("host_denied", `the plugin's variables would take more than ${allowed} bytes`);
    }
    guest.kernel.free(value);
  }
  guest.kernel.free(key);
}

function log(guest: Guest<never>, level: number, line: bigint): void {
  guest.countHostCall();
  if (guest.wantsLine(level)) {
    guest.writeLine(LOG_LEVELS[level], guest.readStart(line, guest.limits.logLineBytesMax));
  }
  guest.kernel.free(line);
}

function readUtf16(guest: Guest<never>, at: number): string {
  const view = guest.view();
  // The length in bytes stands four bytes before the text.
  if (at < 4 || at > view.length) return "";
  const length = Math.min(view.readUInt32LE(at - 4), view.length - at, ABORT_CHARS_MAX * 2);
  return printable(view.toString("utf16le", at, at + (length & ~1)), ABORT_CHARS_MAX);
}
