// Runs a module, as it is or metered, with calls drawn from a seed, and writes down everything that
// can be seen of it, so that two runs can be compared. Its imports answer by what happened before.

import { Kernel, compileKernel } from "../../sandbox/kernel.ts";
import { FUEL_EXPORT, REFUEL_EXPORT, STACK_EXPORT, START_EXPORT } from "../../sandbox/meter.ts";
import type { Chance } from "../support/chance.ts";
import { COUNT_EXPORT } from "./valid-module.ts";

/** A module with what its calls need to know. */
export type Subject = {
  readonly entries: readonly { readonly name: string; readonly takes: readonly string[] }[];
  /** Results of each imported function, by `module.name`. */
  readonly imports: ReadonlyMap<string, readonly string[]>;
};

/** Thrown from within `more`, it ends a run. */
export const STOP: unique symbol = Symbol("stop");

export type Fuel = {
  readonly units: number;
  readonly stackBytes: number;
  /** Answers more fuel, or throws STOP; told whether it is the stack that is used up. */
  more(isStack: boolean): number;
};

export type Trace = {
  /** Calls, what they told the host, and what they answered or how they trapped; in order. */
  readonly events: readonly string[];
  readonly memory: Buffer;
  /** Exported globals, and the functions in the exported table. */
  readonly state: string;
  readonly isStopped: boolean;
  readonly hasTrapped: boolean;
  readonly fuelUsed: number;
  readonly calls: number;
  /** What a counting module has counted. */
  readonly count: bigint;
  /** A call after which the stack was not what it was before; null for none. */
  readonly unbalanced: string | null;
};

const CALLS_MAX = 5;
const KERNEL_BYTES = 64 * 1024;
const NUMBERS = [0, 1, -1, 2, 100, 65_535, 2 ** 31, -(2 ** 31), 0.5, -7.25, 1e30];

export class ModuleRunner {
  readonly #kernel: Kernel;
  #refuel: () => void = () => {};

  constructor() {
    this.#kernel = new Kernel(compileKernel(), KERNEL_BYTES, () => this.#refuel());
  }

  /** Runs prepared bytes with this fuel, or original ones with none. */
  run(bytes: Uint8Array, subject: Subject, chance: Chance, fuel: Fuel | null): Trace {
    this.#kernel.begin("the input of a call");
    const run = new Run(subject, this.#kernel, fuel);
    this.#refuel = () => run.refuel();
    return run.all(bytes, chance);
  }
}

class Run {
  readonly #subject: Subject;
  readonly #kernel: Kernel;
  readonly #fuel: Fuel | null;
  readonly #events: string[] = [];
  #exports: WebAssembly.Exports = {};
  #counter: WebAssembly.Global | null = null;
  #stack: WebAssembly.Global | null = null;
  #given = 0;
  #calls = 0;
  #unbalanced: string | null = null;

  constructor(subject: Subject, kernel: Kernel, fuel: Fuel | null) {
    this.#subject = subject;
    this.#kernel = kernel;
    this.#fuel = fuel;
  }

  all(bytes: Uint8Array, chance: Chance): Trace {
    let isStopped = false;
    let hasTrapped = false;
    try {
      this.#start(new WebAssembly.Module(bytes));
      const { entries } = this.#subject;
      for (let left = CALLS_MAX; left > 0 && entries.length > 0; left--) {
        const { name, takes } = chance.pick(entries);
        const args = takes.map((type) => argument(type, chance));
        const entry = this.#exports[name] as (...args: unknown[]) => unknown;
        this.#call(`${name}(${show(args)})`, () => entry(...args));
      }
    } catch (error) {
      if (error === STOP) {
        isStopped = true;
      } else {
        hasTrapped = true;
        this.#events.push(`trap: ${(error as Error).message}`);
      }
    }
    return { ...this.#seen(), isStopped, hasTrapped };
  }

  refuel(): void {
    const counter = this.#counter;
    if (counter === null || this.#fuel === null) throw new Error("fuel was asked for too early");
    const more = this.#fuel.more(this.#stack !== null && this.#stack.value < 0);
    this.#given += more - counter.value;
    counter.value = more;
  }

  // The start function of an original runs within the instantiation.
  #start(module: WebAssembly.Module): void {
    const imports = this.#imports(module);
    const instantiate = () => {
      this.#exports = new WebAssembly.Instance(module, imports).exports;
    };
    const fuel = this.#fuel;
    if (fuel === null) return this.#call("start", instantiate);
    instantiate();
    const exports = this.#exports;
    this.#counter = exports[FUEL_EXPORT] as WebAssembly.Global;
    this.#stack = exports[STACK_EXPORT] as WebAssembly.Global;
    this.#counter.value = fuel.units;
    this.#given = fuel.units;
    this.#stack.value = fuel.stackBytes;
    (exports[REFUEL_EXPORT] as WebAssembly.Table).set(0, this.#kernel.exports["refuel"]);
    this.#call("start", () => (exports[START_EXPORT] as (() => void) | undefined)?.());
  }

  #call(name: string, run: () => unknown): void {
    this.#calls++;
    this.#events.push(name);
    this.#events.push(`= ${show(run())}`);
    if (this.#stack !== null && this.#stack.value !== this.#fuel?.stackBytes) {
      this.#unbalanced ??= name;
    }
  }

  #imports(module: WebAssembly.Module): WebAssembly.Imports {
    const imports: WebAssembly.Imports = {};
    for (const { module: from, name } of WebAssembly.Module.imports(module)) {
      const kernels = from === "extism:host/env" ? this.#kernel.exports[name] : undefined;
      const results = this.#subject.imports.get(`${from}.${name}`) ?? [];
      imports[from] ??= {};
      imports[from][name] = kernels ?? this.#stub(name, results);
    }
    return imports;
  }

  #stub(name: string, results: readonly string[]): (...args: unknown[]) => unknown {
    return (...args) => {
      const count = this.#events.push(`${name}(${show(args)})`);
      return results[0] === "i64" ? BigInt(count) : count;
    };
  }

  #seen(): Omit<Trace, "isStopped" | "hasTrapped"> {
    const state: string[] = [];
    let memory: Buffer = Buffer.alloc(0);
    let count = 0n;
    for (const [name, value] of Object.entries(this.#exports)) {
      // What only the metered module exports is nothing to compare.
      if (name.startsWith("sallyport:")) continue;
      if (value instanceof WebAssembly.Memory) memory = Buffer.from(value.buffer);
      if (name === COUNT_EXPORT) count = (value as { value: bigint }).value;
      else if (value instanceof WebAssembly.Global) state.push(`${name} ${showGlobal(value)}`);
      else if (value instanceof WebAssembly.Table) state.push(`${name} ${showTable(value)}`);
    }
    const counter = this.#counter;
    return {
      events: this.#events,
      memory,
      count,
      state: state.join("; "),
      calls: this.#calls,
      fuelUsed: counter === null ? 0 : this.#given - counter.value,
      unbalanced: this.#unbalanced,
    };
  }
}

function argument(type: string, chance: Chance): number | bigint {
  const number = chance.pick(NUMBERS);
  return type === "i64" ? BigInt(Math.trunc(number)) : number;
}

function show(value: unknown): string {
  if (Array.isArray(value)) return value.map(show).join(", ");
  return Object.is(value, -0) ? "-0" : String(value);
}

function showGlobal(global: WebAssembly.Global): string {
  try {
    return show(global.value);
  } catch {
    return "a vector, which only Wasm can read";
  }
}

// A function of a module is called by its index.
function showTable(table: WebAssembly.Table): string {
  const { length, get } = table as unknown as {
    length: number;
    get(index: number): { name: string } | null;
  };
  return Array.from({ length }, (_, index) => get.call(table, index)?.name ?? "-").join();
}
