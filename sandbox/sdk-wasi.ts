// What the official SDK finds where it imports `wasi`: a class with the interface of node:wasi's, which
// serves the sandbox's own functions. No file, clock or environment of the process is behind it.

import type { Guest } from "./guest.ts";
import { WASI_IMPORTS } from "./imports.ts";
import { bindWasi } from "./wasi.ts";

type Functions = Record<string, (...args: never[]) => unknown>;
type Started = { readonly exports: { readonly _initialize?: () => void } };

/** Where the SDK's options carry a guest to its WASI: the only one of them that reaches it. */
export const WASI_GUEST: unique symbol = Symbol("guest");

export class WASI {
  readonly wasiImport: Functions;

  constructor({ preopens }: { preopens: { readonly [WASI_GUEST]: Guest<never> } }) {
    const guest = preopens[WASI_GUEST];
    this.wasiImport = Object.fromEntries(
      [...WASI_IMPORTS.keys()].map((name) => [name, bindWasi(name, guest)]),
    );
  }

  /** The guest is a reactor. */
  initialize({ exports }: Started): void {
    exports._initialize?.();
  }

  /** The guest is a command: its main function would run and exit, so it does not. */
  start(): void {}
}
