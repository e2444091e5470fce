// The part of the WebAssembly JavaScript interface the sandbox uses. TypeScript ships these types
// with its DOM library only, which a server must not see. Declarations only: no code lives here.

declare namespace WebAssembly {
  type ExternKind = "function" | "global" | "memory" | "table" | "tag";
  type ImportDescriptor = { module: string; name: string; kind: ExternKind };
  type ExportDescriptor = { name: string; kind: ExternKind };
  type Exports = Readonly<Record<string, unknown>>;
  type Imports = Record<string, Record<string, unknown>>;

  class Module {
    constructor(bytes: Uint8Array);
    static imports(module: Module): ImportDescriptor[];
    static exports(module: Module): ExportDescriptor[];
  }

  class Instance {
    constructor(module: Module, imports?: Imports);
    readonly exports: Exports;
  }

  class Memory {
    constructor(descriptor: { initial: number; maximum?: number });
    readonly buffer: ArrayBuffer;
    grow(pages: number): number;
  }

  class Global {
    value: number;
  }

  class Table {
    set(index: number, value: unknown): void;
  }

  /** An import that answers a promise; the guest is suspended until it settles. */
  const Suspending: new (run: (...args: never[]) => unknown) => object;

  class RuntimeError extends Error {}
  class LinkError extends Error {}
  class CompileError extends Error {}

  /** An export that may be suspended. */
  function promising(entry: () => unknown): () => Promise<unknown>;
  function validate(bytes: Uint8Array): boolean;
  function compile(bytes: Uint8Array): Promise<Module>;
}
