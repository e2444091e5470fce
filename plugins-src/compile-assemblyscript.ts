// AssemblyScript to Wasm, with asc in this process. `import {...} from "sallyport"` finds the SDK of
// this folder, so that a plugin needs no copy of it and no node_modules.

import { existsSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import asc from "assemblyscript/asc";
import { CompileError } from "./compile-fault.ts";
import type { CompileFault } from "./compile-fault.ts";

export const ASSEMBLYSCRIPT = join(import.meta.dirname, "assemblyscript");

const COMMON: readonly string[] = ["--runtime", "stub", "--noColors"];

/** `ship` is small; `author` is the same code, with names and lines; `plain` keeps every function. */
export const ASC_FLAGS = {
  ship: [...COMMON, "-O3z"],
  author: [...COMMON, "-O3z", "--debug", "--sourceMap"],
  plain: [...COMMON, "--debug", "--sourceMap"],
} as const;

export type AscJob = {
  /** Where sources are; the compiler names them by their paths from here. */
  readonly folder: string;
  readonly entry: string;
  /** What the module and its source map call themselves: `NAME.wasm`. */
  readonly name: string;
  readonly flags: readonly string[];
};

export type Compiled = {
  /** Without a manifest. */
  readonly wasm: Uint8Array;
  /** JSON; null when none was asked for. */
  readonly sourceMap: string | null;
};

// How asc asks for the files of a package.
const SDK_PATH = /^node_modules\/sallyport\/(.+)$/;

/** Compiles a module; rejects with a CompileError that has every fault. */
export async function compileWithAsc({ folder, entry, name, flags }: AscJob): Promise<Compiled> {
  const files = new Map<string, string | Uint8Array>();
  const faults: CompileFault[] = [];
  const { error, stderr } = await asc.main([entry, "--outFile", `${name}.wasm`, ...flags], {
    readFile: (file) => readIfThere(placeOf(file, folder)),
    writeFile: (file, content) => void files.set(file, content),
    listFiles: () => [],
    reportDiagnostic: (diagnostic) => {
      if (diagnostic.category === ERROR) faults.push(faultOf(diagnostic, folder));
    },
  });
  const wasm = files.get(`${name}.wasm`);
  if (error !== null || !(wasm instanceof Uint8Array)) {
    if (faults.length > 0) throw new CompileError(faults);
    throw new Error(`${entry} does not build: ${error?.message}\n${stderr.toString()}`);
  }
  const map = files.get(`${name}.wasm.map`);
  return { wasm, sourceMap: typeof map === "string" ? map : null };
}

/** The file behind the path that asc or its source map names. */
export function placeOf(file: string, folder: string): string {
  const inSdk = SDK_PATH.exec(file) ?? /^~lib\/sallyport\/(.+)$/.exec(file);
  return inSdk === null ? join(folder, file) : join(ASSEMBLYSCRIPT, "sdk", inSdk[1]);
}

type Diagnostic = {
  readonly code: number;
  readonly category: number;
  readonly message: string;
  readonly range: {
    readonly start: number;
    readonly source: { readonly normalizedPath: string };
  } | null;
};

// asc's DiagnosticCategory.
const ERROR = 3;

function faultOf({ code, message, range }: Diagnostic, folder: string): CompileFault {
  const name = code < 1000 ? `AS${code}` : `TS${code}`;
  const file = range?.source.normalizedPath ?? "plugin";
  const text = range === null ? null : readIfThere(placeOf(file, folder));
  if (range === null || text === null) {
    return { file, line: 0, column: 0, code: name, message, source: "" };
  }
  const from = text.lastIndexOf("\n", range.start - 1) + 1;
  const line = text.slice(0, from).split("\n").length;
  const [source] = text.slice(from).split(/\r?\n/, 1);
  return { file, line, column: range.start - from + 1, code: name, message, source };
}

function readIfThere(path: string): string | null {
  return existsSync(path) && statSync(path).isFile() ? readFileSync(path, "utf8") : null;
}
