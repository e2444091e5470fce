// What a host function sees of the guest that called it: the call's context, the memory they share,
// and a way to end the call. It counts what one call may use; it never hands out a view of memory.

import type { Budget } from "./budget.ts";
import { Halt, printable } from "./errors.ts";
import type { Signature } from "./imports.ts";
import type { Kernel } from "./kernel.ts";
import type { SandboxLimits } from "./limits.ts";

/**
 * A function of `extism:host/user`. `run` gets the guest and the arguments (i64 as bigint) and
 * answers the result, or a promise of it when the function suspends its guest; what it throws ends the
 * call as `host_error`.
 */
export type HostFunction<C> = {
  readonly params: Signature["params"][number][];
  readonly results: Signature["results"][number][];
  // oxlint-disable-next-line typescript/no-explicit-any -- the arguments are typed by `params`
  run(guest: Guest<C>, ...args: any[]): number | bigint | void | Promise<number | bigint | void>;
  /** True when `run` may answer later. */
  readonly suspends?: boolean;
};

/** Where log lines go; `level` is one of LOG_LEVELS. */
export type GuestLog<C> = (level: string, line: string, context: C) => void;

/** Extism's levels, in the order of their numbers. */
export const LOG_LEVELS = ["trace", "debug", "info", "warn", "error"] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

export type GuestOptions<C> = {
  readonly kernel: Kernel;
  readonly limits: SandboxLimits;
  readonly log: GuestLog<C>;
  readonly logLevel: LogLevel;
  /** Who pays for what the host does; left out where code is not metered. */
  readonly budget?: Budget;
};

/** Bytes of a name that is looked up. A longer one is not there, and not even read. */
export const NAME_BYTES_MAX = 1_024;

/** What a call of a host function costs beside the bytes it moves, in fuel: about a microsecond. */
const HOST_CALL_COST = 1_000;
/** What may be owed before it is paid: reaching for the guest's counter costs more than adding. */
const OWED_MAX = 8_192;

/** One running instance, as host functions know it. Handles are Extism's: 0 means absent. */
export class Guest<C> {
  /** The context of the call under way. Only valid while one is. */
  context: C = undefined as C;
  /** False until the instance is initialised: then host functions of the user are refused. */
  ready = false;
  /** True while the call under way may wait. */
  maySuspend = false;
  /** The guest's own memory, null when it exports none. */
  memory: WebAssembly.Memory | null = null;
  readonly kernel: Kernel;
  readonly limits: SandboxLimits;
  readonly #log: GuestLog<C>;
  readonly #logLevel: number;
  readonly #budget: Budget | null;
  #owed = 0;
  #hostCalls = 0;
  #asyncCalls = 0;
  #logLines = 0;
  #nowMs = 0;
  #view: Buffer = Buffer.alloc(0);

  constructor(options: GuestOptions<C>) {
    this.kernel = options.kernel;
    this.limits = options.limits;
    this.#log = options.log;
    this.#logLevel = LOG_LEVELS.indexOf(options.logLevel);
    this.#budget = options.budget ?? null;
  }

  // Nothing is read whose length is not bounded first: decoding a megabyte that is not UTF-8 takes as
  // long as a whole call may.

  /**
   * The text behind a handle; "" when there is none. Bytes that are not UTF-8 become U+FFFD. Ends the
   * call when it is longer than `bytesMax`.
   */
  readString(handle: bigint, bytesMax: number): string {
    const length = this.kernel.lengthOf(handle);
    if (length > bytesMax)
      this.fail(`a text of ${length} bytes is passed; ${bytesMax} are allowed`);
    this.pay(length);
    return this.kernel.readString(handle);
  }

  /** The name behind a handle; null when it is longer than any that could be found. */
  readName(handle: bigint): string | null {
    const length = this.kernel.lengthOf(handle);
    if (length > NAME_BYTES_MAX) return null;
    this.pay(length);
    return this.kernel.readString(handle);
  }

  /** The text behind a handle, cut to `bytesMax` bytes. */
  readStart(handle: bigint, bytesMax: number): string {
    this.pay(Math.min(this.kernel.lengthOf(handle), bytesMax));
    return this.kernel.readLine(handle, bytesMax);
  }

  /** A copy of the bytes behind a handle; empty when there are none. */
  readBytes(handle: bigint): Uint8Array {
    this.pay(this.kernel.lengthOf(handle));
    return this.kernel.readBytes(handle);
  }

  /** A handle to `text`; 0n when it is empty or the kernel memory of the call is used up. */
  writeString(text: string): bigint {
    this.pay(text.length);
    return this.kernel.writeString(text);
  }

  /** A handle to a copy of `bytes`; 0n when they are empty or the kernel memory is used up. */
  writeBytes(bytes: Uint8Array): bigint {
    this.pay(bytes.length);
    return this.kernel.writeBytes(bytes);
  }

  /** Ends the call as `host_denied`: the guest asked for what it may not have. */
  fail(message: string): never {
    throw new Halt("host_denied", printable(message, 1_024));
  }

  // The rest is for the sandbox itself.

  /** Forgets what the call before used. */
  beginCall(context: C): void {
    this.context = context;
    this.#owed = 0;
    this.#hostCalls = 0;
    this.#asyncCalls = 0;
    this.#logLines = 0;
    this.#nowMs = 0;
  }

  /** Says how many log lines were dropped, and lets go of the context. */
  endCall(): void {
    const dropped = this.#logLines - this.limits.logLinesMax;
    if (dropped > 0) this.#log("warn", `${dropped} more log lines were dropped`, this.context);
    this.context = undefined as C;
  }

  /** Charges the call for bytes that the host is about to move; throws when its time is over. */
  pay(bytes: number): void {
    this.#owed += bytes;
    if (this.#owed < OWED_MAX) return;
    const units = this.#owed;
    this.#owed = 0;
    this.#budget?.pay(units);
  }

  /** Counts one call of a host function; throws when there were too many. */
  countHostCall(): void {
    this.#hostCalls += 1;
    if (this.#hostCalls > this.limits.hostCallsMax) {
      const allowed = this.limits.hostCallsMax;
      throw new Halt("host_denied", `more than ${allowed} calls of host functions in one call`);
    }
    this.pay(HOST_CALL_COST);
  }

  /** Counts one call of a function that suspends the guest; throws when there were too many. */
  countAsyncCall(): void {
    if (!this.maySuspend) {
      const why = "functions that answer later cannot be called while the configuration is checked";
      throw new Halt("host_denied", why);
    }
    this.#asyncCalls += 1;
    if (this.#asyncCalls > this.limits.asyncCallsMax) {
      const allowed = this.limits.asyncCallsMax;
      throw new Halt("host_denied", `more than ${allowed} asynchronous calls in one call`);
    }
  }

  /** Extism's number of the log level; lines below it are not wanted. */
  get logLevel(): number {
    return this.#logLevel;
  }

  /** True when a line of this level would be kept; counts it against the call. */
  wantsLine(level: number): boolean {
    if (level < this.#logLevel) return false;
    this.#logLines += 1;
    return this.#logLines <= this.limits.logLinesMax;
  }

  /** Passes on a line that `wantsLine` has admitted and the caller has bounded. */
  writeLine(level: LogLevel, line: string): void {
    this.#log(level, line, this.context);
  }

  /** The time of the call in whole ms since 1970: it stands still, so that it measures nothing. */
  get nowMs(): number {
    if (this.#nowMs === 0) this.#nowMs = Date.now();
    return this.#nowMs;
  }

  /** The guest's memory as it is now; growth detaches older views, so it is not to be kept. */
  view(): Buffer {
    if (this.memory === null) {
      throw new Halt("trap", "the guest exports no memory that the host could read");
    }
    const { buffer } = this.memory;
    if (this.#view.buffer !== buffer) this.#view = Buffer.from(buffer);
    return this.#view;
  }
}
