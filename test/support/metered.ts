// An instance of prepared bytes with its counters in the test's hands, where the pool would hold them.

import { compileKernel, Kernel } from "../../sandbox/kernel.ts";
import { FUEL_EXPORT, REFUEL_EXPORT, STACK_EXPORT } from "../../sandbox/meter.ts";

export type Metered = {
  readonly exports: WebAssembly.Exports;
  readonly fuel: WebAssembly.Global;
  readonly stack: WebAssembly.Global;
  /** Calls an export without parameters. */
  call(name: string): unknown;
};

export type MeteredOptions = {
  readonly imports?: WebAssembly.Imports;
  readonly fuel?: number;
  readonly stackBytes?: number;
  /** What a guest without fuel or stack calls; without it there is plenty of both. */
  refuel?(metered: Metered): void;
};

const PLENTY = 2 ** 30;

/** Instantiates and arms; runs nothing. */
export function openMetered(bytes: Uint8Array, options: MeteredOptions = {}): Metered {
  const instance = new WebAssembly.Instance(new WebAssembly.Module(bytes), options.imports ?? {});
  const { exports } = instance;
  const fuel = exports[FUEL_EXPORT] as WebAssembly.Global;
  const stack = exports[STACK_EXPORT] as WebAssembly.Global;
  const table = exports[REFUEL_EXPORT] as WebAssembly.Table;
  const metered: Metered = {
    ...{ exports, fuel, stack },
    call: (name) => (exports[name] as () => unknown)(),
  };
  const refuel = options.refuel ?? (() => (fuel.value = PLENTY));
  // Only a function of Wasm fits a table.
  const kernel = new Kernel(compileKernel(), 1024, () => void refuel(metered));
  fuel.value = options.fuel ?? PLENTY;
  stack.value = options.stackBytes ?? PLENTY;
  table.set(0, kernel.exports["refuel"]);
  return metered;
}
