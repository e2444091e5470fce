// The instances of one plugin version in one worker. Calls are synchronous, so more than one
// instance is in use only when a host function calls a guest again. An instance that threw is never
// used again; with `fresh` isolation one is used again only as it was before its first call.

import { RESERVED_EXPORT_PREFIX } from "./admit.ts";
import { Budget } from "./budget.ts";
import type { Guest, GuestLog, HostFunction, LogLevel } from "./guest.ts";
import { EXTISM_USER } from "./imports.ts";
import { Variables } from "./hostcalls.ts";
import { checkImports, failed, Instance, type Outcome } from "./instance.ts";
import type { GuestObserver } from "./observer.ts";
import { compileKernel, Kernel } from "./kernel.ts";
import type { SandboxLimits } from "./limits.ts";

export type { Guest, Outcome };

export type GuestPoolOptions<C> = {
  /** Compiled from prepared bytes. */
  readonly module: WebAssembly.Module;
  readonly limits: SandboxLimits;
  readonly hostFunctions: ReadonlyMap<string, HostFunction<C>>;
  /** What config_get answers. */
  readonly config: ReadonlyMap<string, string>;
  /** `reuse`: calls share an instance's state. `fresh`: no call sees anything of an earlier one. */
  readonly isolation: "reuse" | "fresh";
  readonly log: GuestLog<C>;
  /** Lines below it are dropped; `info` when left out. */
  readonly logLevel?: LogLevel;
  readonly observer?: GuestObserver;
  /** Nobody waits for the calls: what a busy machine leaves no time is not ended for that. */
  readonly isBackground?: boolean;
};

export class GuestPool<C> {
  readonly #options: GuestPoolOptions<C>;
  readonly #imports: readonly WebAssembly.ImportDescriptor[];
  readonly #exports: ReadonlySet<string>;
  readonly #kernelModule: WebAssembly.Module;
  readonly #variables: Variables;
  readonly #idle: Instance<C>[] = [];
  // Kernels of instances that ended well: a kernel shows nothing of one call to the next, and making
  // one costs about as much as making the guest.
  readonly #spares: Spare[] = [];
  #busy = 0;
  #closed = false;

  /** Throws on a module that was not prepared with these host functions; starts no instance. */
  constructor(options: GuestPoolOptions<C>) {
    this.#options = options;
    this.#imports = WebAssembly.Module.imports(options.module);
    checkImports(this.#imports, options.hostFunctions);
    this.#exports = functionNames(options.module);
    this.#kernelModule = compileKernel();
    this.#variables = new Variables(options.limits.varBytesMax);
  }

  /** True when calls may have to wait: then only `callLater` will do. */
  get suspends(): boolean {
    const { hostFunctions } = this.#options;
    return this.#imports.some(
      ({ module, name }) => module === EXTISM_USER && hostFunctions.get(name)?.suspends === true,
    );
  }

  /** True when the module imports this host function. */
  uses(name: string): boolean {
    return this.#imports.some((entry) => entry.module === EXTISM_USER && entry.name === name);
  }

  hasExport(name: string): boolean {
    return this.#exports.has(name);
  }

  /** Instances alive, idle ones included. */
  get size(): number {
    return this.#busy + this.#idle.length;
  }

  /** Makes sure that an instance is ready; what came of it, when its start failed. */
  warm(context: C): Outcome | null {
    if (this.#idle.length > 0) return null;
    const instance = this.#start(context);
    if (!(instance instanceof Instance)) return instance;
    if (!this.#closed) this.#idle.push(instance);
    return null;
  }

  /**
   * Calls an export that the module has, with the input in kernel memory. Never throws for what a
   * guest does. `input` and the output are copied; the context reaches host functions and the log.
   */
  call(exportName: string, input: string | Uint8Array | null, context: C): Outcome {
    const instance = this.#take(exportName, context);
    if (!(instance instanceof Instance)) return instance;
    this.#busy += 1;
    try {
      return instance.call(exportName, input, context);
    } finally {
      this.#giveBack(instance);
    }
  }

  /** The same for a module that imports functions which answer later: see `suspends`. */
  async callLater(
    exportName: string,
    input: string | Uint8Array | null,
    context: C,
  ): Promise<Outcome> {
    const instance = this.#take(exportName, context);
    if (!(instance instanceof Instance)) return instance;
    this.#busy += 1;
    try {
      return await instance.callLater(exportName, input, context);
    } finally {
      this.#giveBack(instance);
    }
  }

  /** Lets go of every instance; a call under way ends as it would. Idempotent. */
  close(): void {
    this.#closed = true;
    this.#idle.length = 0;
    this.#spares.length = 0;
  }

  // An idle instance, or a new one; why there is none, else.
  #take(exportName: string, context: C): Instance<C> | Outcome {
    if (this.#closed) return failed("pool_exhausted", "the pool is closed");
    if (!this.#exports.has(exportName)) {
      throw new Error(`the module exports no function ${exportName}: ask hasExport first`);
    }
    const instance = this.#idle.pop();
    if (instance !== undefined) return instance;
    if (this.#busy >= this.#options.limits.poolMax) {
      return failed("pool_exhausted", `all ${this.#busy} instances are busy`);
    }
    return this.#start(context);
  }

  #giveBack(instance: Instance<C>): void {
    this.#busy -= 1;
    if (this.#closed) return;
    const isReady = this.#options.isolation === "reuse" ? instance.reusable : instance.restore();
    if (isReady) this.#idle.push(instance);
    else if (instance.endedWell)
      this.#spares.push({ kernel: instance.kernel, budget: instance.budget });
  }

  #start(context: C): Instance<C> | Outcome {
    let instance: Instance<C>;
    try {
      instance = this.#build();
    } catch (error) {
      // Each memory reserves address space, and there is an end to it.
      return failed("pool_exhausted", `no kernel could be made: ${String(error)}`);
    }
    this.#busy += 1;
    const failure = instance.start(context);
    this.#busy -= 1;
    return failure ?? instance;
  }

  #build(): Instance<C> {
    const { module, limits, hostFunctions, config, isolation, log, logLevel } = this.#options;
    const { observer = null } = this.#options;
    const { kernel, budget } = this.#spares.pop() ?? this.#makeSpare();
    const variables = isolation === "fresh" ? new Variables(limits.varBytesMax) : this.#variables;
    return new Instance({
      module,
      limits,
      hostFunctions,
      imports: this.#imports,
      kernel,
      budget,
      state: { config, variables },
      isFresh: isolation === "fresh",
      log,
      logLevel: logLevel ?? "info",
      observer,
    });
  }

  #makeSpare(): Spare {
    const { limits, observer, isBackground } = this.#options;
    const budget = new Budget(limits, isBackground === true ? Infinity : undefined);
    const refuel = () => budget.refuel();
    const seen = observer === undefined ? refuel : (observer.wrap(refuel) as () => void);
    return { kernel: new Kernel(this.#kernelModule, limits.kernelBytesMax, seen), budget };
  }
}

/** A kernel, and the budget that its `refuel` draws on. */
type Spare = { readonly kernel: Kernel; readonly budget: Budget };

function functionNames(module: WebAssembly.Module): ReadonlySet<string> {
  const names = new Set<string>();
  for (const { kind, name } of WebAssembly.Module.exports(module)) {
    if (kind === "function" && !name.startsWith(RESERVED_EXPORT_PREFIX)) names.add(name);
  }
  return names;
}
