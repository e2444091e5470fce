// One guest module instantiated over one kernel: its imports bound, its start functions run in the
// order the development kits expect, and single calls into it. What a call throws is turned into a
// value here; after that the instance is marked as broken and must not be called again.

import { bindSuspending, bindUser, isStackOverflow } from "./bind.ts";
import type { Budget } from "./budget.ts";
import { Halt, printable, type CallErrorCode } from "./errors.ts";
import { Guest, type GuestOptions, type HostFunction } from "./guest.ts";
import { bindAbort, bindHostCall, type HostState } from "./hostcalls.ts";
import {
  ASSEMBLYSCRIPT,
  EXTISM_ENV,
  EXTISM_USER,
  KERNEL_IMPORTS,
  signatureOf,
  WASI,
} from "./imports.ts";
import type { Kernel } from "./kernel.ts";
import { START_EXPORT } from "./meter.ts";
import { Snapshot } from "./snapshot.ts";
import type { BorderFunction, GuestObserver } from "./observer.ts";
import { bindWasi } from "./wasi.ts";

/** What came of a call. Failures are values: the guest is untrusted, and its faults are expected. */
export type Outcome =
  | {
      readonly kind: "ok";
      /** A copy of the output; null when it is empty. */
      readonly output: Uint8Array | null;
      /** Always 0: anything else is a `guest_error`. */
      readonly returnCode: number;
    }
  | {
      readonly kind: "failed";
      readonly code: CallErrorCode;
      /** For the operator's log, never for a client; bounded, without control characters. */
      readonly detail: string;
    };

const DETAIL_CHARS_MAX = 1_024;

export function failed(code: CallErrorCode, detail: string): Outcome {
  return { kind: "failed", code, detail: printable(detail, DETAIL_CHARS_MAX) };
}

/** What the instances of one pool share. */
export type InstanceOptions<C> = GuestOptions<C> & {
  readonly module: WebAssembly.Module;
  readonly imports: readonly WebAssembly.ImportDescriptor[];
  readonly hostFunctions: ReadonlyMap<string, HostFunction<C>>;
  readonly state: HostState;
  /** No call may see anything of another: its state is brought back, where that can be done. */
  readonly isFresh: boolean;
  /** Whose `refuel` the kernel has. */
  readonly budget: Budget;
  readonly observer: GuestObserver | null;
};

/** Throws when the module imports what the sandbox does not provide: it was not prepared. */
export function checkImports<C>(
  imports: readonly WebAssembly.ImportDescriptor[],
  hostFunctions: ReadonlyMap<string, HostFunction<C>>,
): void {
  for (const { module, name, kind } of imports) {
    if (kind !== "function" || signatureOf(module, name, hostFunctions) === null) {
      throw new Error(`the ${kind} ${module}.${name} cannot be imported: prepare the module first`);
    }
  }
}

export class Instance<C> {
  readonly #guest: Guest<C>;
  readonly #budget: Budget;
  readonly #options: InstanceOptions<C>;
  readonly #observer: GuestObserver | null;
  readonly #functions = new Map<string, () => unknown>();
  readonly #suspendable = new Map<string, () => Promise<unknown>>();
  readonly #callsMax: number;
  #firstBytes = 0;
  // The guest's buffer when it was last looked at: growth detaches it, and its length becomes 0.
  #buffer: ArrayBuffer | null = null;
  #calls = 0;
  #broken = false;
  #snapshot: Snapshot | null = null;

  constructor(options: InstanceOptions<C>) {
    this.#options = options;
    this.#budget = options.budget;
    this.#observer = options.observer;
    this.#guest = new Guest(options);
    this.#callsMax = options.limits.callsPerInstanceMax;
  }

  /** Instantiates and initialises; null when all went well. To be called once, before any call. */
  start(context: C): Outcome | null {
    const guest = this.#guest;
    guest.beginCall(context);
    try {
      this.#start();
      return null;
    } catch (error) {
      this.#broken = true;
      this.#observer?.onEnded(this.#budget.fuelUsed, error);
      const { code, detail } = classify(error, guest);
      return failed(code, `initialisation: ${detail}`);
    } finally {
      guest.endCall();
    }
  }

  /** Calls an export; `name` must be one the module has. */
  call(name: string, input: string | Uint8Array | null, context: C): Outcome {
    const guest = this.#guest;
    const entry = this.#entry(name);
    if (!guest.kernel.begin(input)) return this.#inputTooLarge();
    guest.beginCall(context);
    this.#budget.begin(guest.limits.cpuMsMax);
    try {
      const outcome = this.#outcome(entry());
      this.#observer?.onEnded(this.#budget.fuelUsed, null);
      return outcome;
    } catch (error) {
      return this.#fail(error);
    } finally {
      guest.endCall();
    }
  }

  /** The same for a module that imports functions which answer later. */
  async callLater(name: string, input: string | Uint8Array | null, context: C): Promise<Outcome> {
    const guest = this.#guest;
    const entry = this.#promising(name);
    if (!guest.kernel.begin(input)) return this.#inputTooLarge();
    guest.beginCall(context);
    guest.maySuspend = true;
    this.#budget.begin(guest.limits.cpuMsMax);
    try {
      const outcome = this.#outcome(await entry());
      this.#observer?.onEnded(this.#budget.fuelUsed, null);
      return outcome;
    } catch (error) {
      return this.#fail(error);
    } finally {
      guest.maySuspend = false;
      guest.endCall();
    }
  }

  /** What it was made over, for the next instance where it ended well. */
  get kernel(): Kernel {
    return this.#guest.kernel;
  }

  get budget(): Budget {
    return this.#budget;
  }

  /** True when no call was cut off. */
  get endedWell(): boolean {
    return !this.#broken;
  }

  /** True when it may serve another call. */
  get reusable(): boolean {
    if (this.#broken || this.#calls >= this.#callsMax) return false;
    const buffer = this.#buffer;
    if (buffer === null || buffer.byteLength !== 0 || this.#firstBytes === 0) return true;
    this.#buffer = this.#guest.memory!.buffer;
    return this.#buffer.byteLength <= this.#firstBytes * 2;
  }

  /** Makes it as it was before its first call; false when only a new one is. */
  restore(): boolean {
    if (!this.reusable || this.#snapshot?.restore() !== true) return false;
    this.#options.state.variables.clear();
    return true;
  }

  #promising(name: string): () => Promise<unknown> {
    const entry = this.#entry(name);
    let promising = this.#suspendable.get(name);
    if (promising === undefined) {
      promising = WebAssembly.promising(entry);
      this.#suspendable.set(name, promising);
    }
    return promising;
  }

  #entry(name: string): () => unknown {
    const entry = this.#functions.get(name);
    if (entry === undefined) throw new Error(`the module exports no function ${name}`);
    this.#calls += 1;
    return entry;
  }

  #inputTooLarge(): Outcome {
    const allowed = this.#guest.limits.kernelBytesMax;
    return failed("kernel_memory", `the input does not fit the kernel memory of ${allowed} bytes`);
  }

  #fail(error: unknown): Outcome {
    this.#broken = true;
    this.#observer?.onEnded(this.#budget.fuelUsed, error);
    const { code, detail } = classify(error, this.#guest);
    return failed(code, detail);
  }

  #outcome(returned: unknown): Outcome {
    const { kernel, limits } = this.#guest;
    if (kernel.hasError) return failed("guest_error", kernel.error(DETAIL_CHARS_MAX));
    if (returned !== undefined && returned !== 0) {
      return failed("guest_error", `the guest returned ${String(returned)}`);
    }
    const length = kernel.outputLength;
    if (length === 0) return NOTHING;
    if (length > limits.outputBytesMax) {
      const allowed = limits.outputBytesMax;
      return failed("bad_output", `the output is ${length} bytes long; ${allowed} are allowed`);
    }
    return { kind: "ok", output: kernel.output(), returnCode: 0 };
  }

  #start(): void {
    const guest = this.#guest;
    const { module, imports } = this.#options;
    const { exports } = new WebAssembly.Instance(module, this.#bindAll());
    this.#budget.attach(exports, guest.kernel.exports["refuel"]);
    this.#observer?.onStarted(exports);
    for (const [name, value] of Object.entries(exports)) {
      if (typeof value === "function") this.#functions.set(name, value as () => unknown);
    }
    const { memory } = exports;
    if (memory instanceof WebAssembly.Memory) guest.memory = memory;
    this.#budget.begin(guest.limits.initMsMax);
    this.#functions.get(START_EXPORT)?.();
    this.#initialise(imports.some((entry) => entry.module === WASI));
    if (guest.memory !== null) {
      this.#buffer = guest.memory.buffer;
      this.#firstBytes = this.#buffer.byteLength;
    }
    if (guest.kernel.hasError) {
      throw new Halt("guest_error", guest.kernel.error(DETAIL_CHARS_MAX));
    }
    if (this.#options.isFresh) this.#snapshot = Snapshot.take(exports);
    guest.ready = true;
  }

  // As the official runtimes do it: Haskell's runtime needs its reactor first; then C's constructors
  // or the reactor; `_start` only for modules without WASI (AssemblyScript's --exportStart), since
  // the main function of a WASI command would run and exit.
  #initialise(hasWasi: boolean): void {
    const haskell = this.#nullary("hs_init", 2);
    if (haskell !== null) {
      this.#nullary("_initialize", 0)?.();
      haskell(0, 0);
      return;
    }
    const constructors = this.#nullary("__wasm_call_ctors", 0) ?? this.#nullary("_initialize", 0);
    if (constructors !== null) return void constructors();
    if (!hasWasi) this.#nullary("_start", 0)?.();
  }

  #nullary(name: string, params: number): ((...args: number[]) => unknown) | null {
    const start = this.#functions.get(name);
    return start !== undefined && start.length === params ? start : null;
  }

  #bindAll(): WebAssembly.Imports {
    const modules: WebAssembly.Imports = Object.create(null) as WebAssembly.Imports;
    for (const { module, name } of this.#options.imports) {
      modules[module] ??= Object.create(null) as Record<string, unknown>;
      const bound = this.#bind(module, name);
      const isPlain = typeof bound === "function" && this.#observer !== null;
      modules[module][name] = isPlain ? this.#observer.wrap(bound as BorderFunction) : bound;
    }
    return modules;
  }

  #bind(module: string, name: string): unknown {
    // Sandbox functions know nothing of the context, and a guest of any context will do.
    const guest = this.#guest as unknown as Guest<never>;
    switch (module) {
      case EXTISM_ENV:
        if (KERNEL_IMPORTS.has(name)) return guest.kernel.exports[name];
        return bindHostCall(name, guest, this.#options.state);
      case EXTISM_USER:
        return this.#bindUser(name);
      case WASI:
        return bindWasi(name, guest);
      case ASSEMBLYSCRIPT:
        return bindAbort(guest);
      default:
        return null;
    }
  }

  #bindUser(name: string): unknown {
    const host = this.#options.hostFunctions.get(name);
    if (host === undefined) throw new Error(`there is no host function ${name}`);
    if (host.suspends !== true) return bindUser(name, host, this.#guest);
    return bindSuspending(name, host, { guest: this.#guest, budget: this.#budget });
  }
}

const NOTHING: Outcome = Object.freeze({ kind: "ok", output: null, returnCode: 0 });

function classify<C>(error: unknown, guest: Guest<C>): { code: CallErrorCode; detail: string } {
  if (error instanceof Halt) return error;
  if (isStackOverflow(error)) return { code: "stack", detail: "the guest used up the call stack" };
  if (error instanceof WebAssembly.RuntimeError) {
    const { failedAllocs } = guest.kernel;
    if (failedAllocs === 0) return { code: "trap", detail: error.message };
    // Guests trap when an allocation fails; the cause is worth more to the operator.
    const detail = `${error.message} after ${failedAllocs} failed allocations of kernel memory`;
    return { code: "kernel_memory", detail };
  }
  const detail = error instanceof Error ? error.message : String(error);
  return { code: "host_error", detail };
}
