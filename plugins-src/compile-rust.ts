// Rust to Wasm, with a rustc that has the target: Debian's before any other. `use sallyport::...`
// finds the SDK of this folder, compiled beside the plugin and given with --extern.

import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CompileError } from "./compile-fault.ts";
import type { CompileFault } from "./compile-fault.ts";

export const RUST = join(import.meta.dirname, "rust");
export const RUST_INSTALL = "apt-get install -y rustc libstd-rust-dev-wasm32 lld";

// Small code, and nothing in it that differs from one machine to the next. Debian 12's rustc 1.63
// knows all of these. The shadow stack is 64 KiB instead of 1 MiB: a guest has 64 pages in all.
const COMMON: readonly string[] = [
  "--target=wasm32-unknown-unknown",
  "--edition=2021",
  "-Ccodegen-units=1",
  "-Cpanic=abort",
];
const SMALL: readonly string[] = ["-Copt-level=z", "-Clto=fat"];
const STACK = "-Clink-arg=-zstack-size=65536";

/** `ship` is small; `author` is the same code, with names; `plain` keeps every function. */
export const RUST_FLAGS = {
  ship: [...SMALL, "-Cstrip=symbols"],
  author: [...SMALL, "-Cstrip=debuginfo"],
  plain: ["-Copt-level=0", "-Cstrip=debuginfo"],
} as const;

export type Rustc = { readonly path: string; readonly version: string };

export type RustJob = {
  readonly rustc: Rustc;
  /** The compiler runs here: paths from here on get into the module, where panics name their place. */
  readonly folder: string;
  readonly entry: string;
  readonly flags: readonly string[];
  /** With `sallyport` as a crate; a plugin that includes the SDK as a module does without. */
  readonly withSdk: boolean;
};

/** Debian's rustc before any other: the one that prebuilt/ was made with. Null when none will do. */
export function findRustc(): Rustc | null {
  for (const path of ["/usr/bin/rustc", "rustc"]) {
    try {
      const version = execFileSync(path, ["--version"], { encoding: "utf8", stdio: "pipe" }).trim();
      inScratch((folder) => {
        // Only a compilation tells that the target's library and a linker are there too.
        const out = join(folder, "plugin.wasm");
        const args = [...COMMON, STACK, "--crate-type=cdylib"];
        execFileSync(path, [...args, "--crate-name=plugin", "-o", out, "-"], {
          input: "",
          stdio: "pipe",
        });
      });
      return { path, version };
    } catch {
      // Not this one: try the next.
    }
  }
  return null;
}

/** Compiles a module without a manifest; throws a CompileError that has every fault. */
export function compileWithRustc(job: RustJob): Uint8Array {
  return inScratch((scratch) => {
    const out = join(scratch, "plugin.wasm");
    const args = [STACK, "--crate-type=cdylib", "--crate-name=plugin"];
    if (job.withSdk) args.push("--extern", `sallyport=${compileSdk(job, scratch)}`);
    run(job, [...args, "-o", out, job.entry]);
    return readFileSync(out);
  });
}

function compileSdk(job: RustJob, scratch: string): string {
  const out = join(scratch, "libsallyport.rlib");
  const args = ["--crate-type=rlib", "--crate-name=sallyport", "-o", out, "sdk/lib.rs"];
  const flags = job.flags.filter((flag) => !flag.startsWith("-Clto"));
  run({ ...job, folder: RUST, flags }, args);
  return out;
}

function run({ rustc, folder, flags }: RustJob, args: readonly string[]): void {
  const all = [...COMMON, ...flags, "--error-format=json", ...args];
  const { status, stderr, error } = spawnSync(rustc.path, all, { cwd: folder, encoding: "utf8" });
  if (error !== undefined) throw error;
  if (status !== 0) throw new CompileError(faultsIn(stderr));
}

type Diagnostic = {
  readonly message: string;
  readonly level: string;
  readonly code: { readonly code: string } | null;
  readonly spans: readonly {
    readonly file_name: string;
    readonly line_start: number;
    readonly column_start: number;
    readonly is_primary: boolean;
    readonly text: readonly { readonly text: string }[];
  }[];
};

// rustc writes one JSON object a line, and ends with a sentence that counts the errors.
function faultsIn(stderr: string): CompileFault[] {
  const faults: CompileFault[] = [];
  for (const line of stderr.split("\n")) {
    if (!line.startsWith("{")) continue;
    const { message, level, code, spans } = JSON.parse(line) as Diagnostic;
    const span = spans.find((each) => each.is_primary);
    if (level !== "error" || (span === undefined && message.startsWith("aborting due to")))
      continue;
    faults.push({
      file: span?.file_name ?? "plugin",
      line: span?.line_start ?? 0,
      column: span?.column_start ?? 0,
      code: code?.code ?? "",
      message,
      source: span?.text[0]?.text ?? "",
    });
  }
  if (faults.length > 0) return faults;
  return [{ file: "rustc", line: 0, column: 0, code: "", message: stderr.trim(), source: "" }];
}

function inScratch<T>(act: (folder: string) => T): T {
  const folder = mkdtempSync(join(tmpdir(), "sallyport-rust-"));
  try {
    return act(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}
