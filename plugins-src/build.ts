// Builds the example plugins. AssemblyScript ones with asc in this process, at every `npm ci`; Rust
// ones only where a toolchain for Wasm is, since their modules are kept in prebuilt/ with digests.
//   node plugins-src/build.ts                  AssemblyScript, into build/
//   node plugins-src/build.ts --rust           Rust, into build/
//   node plugins-src/build.ts --rust --check   and compare with prebuilt/
//   node plugins-src/build.ts --rust --update  and replace what is in prebuilt/

import { execFileSync } from "node:child_process";
import type { ExecFileSyncOptions } from "node:child_process";
import { createHash } from "node:crypto";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import asc from "assemblyscript/asc";

const ASSEMBLYSCRIPT = join(import.meta.dirname, "assemblyscript");
const RUST = join(import.meta.dirname, "rust");
const OUT = join(import.meta.dirname, "build");
const PREBUILT = join(import.meta.dirname, "prebuilt");
const SUMS = join(PREBUILT, "SHA256SUMS");
const TOOLCHAIN = join(PREBUILT, "TOOLCHAIN");
const MANIFEST_SECTION = "sallyport";

// Small code, and nothing in it that differs from one machine to the next. Debian 12's rustc 1.63
// knows all of these. The shadow stack is 64 KiB instead of 1 MiB: a guest has 64 pages in all.
const RUST_FLAGS: readonly string[] = [
  "--target=wasm32-unknown-unknown",
  "--crate-type=cdylib",
  "--edition=2021",
  "-Copt-level=z",
  "-Clto=fat",
  "-Ccodegen-units=1",
  "-Cpanic=abort",
  "-Cstrip=symbols",
  "-Clink-arg=-zstack-size=65536",
];

export type Rustc = { readonly path: string; readonly version: string };

if (import.meta.main) await main();

async function main(): Promise<void> {
  const { values: flags } = parseArgs({
    options: {
      rust: { type: "boolean", default: false },
      check: { type: "boolean", default: false },
      update: { type: "boolean", default: false },
    },
  });
  if (!flags.rust && (flags.check || flags.update)) {
    throw new Error("--check and --update go with --rust: AssemblyScript is always built");
  }
  mkdirSync(OUT, { recursive: true });
  if (!flags.rust) return await buildAssemblyScript();
  const rustc = findRustc();
  if (rustc === null) {
    console.log("skipped: no rustc that can make modules of wasm32-unknown-unknown");
    console.log("install it: apt-get install -y rustc libstd-rust-dev-wasm32 lld");
    return;
  }
  for (const name of pluginsIn(RUST)) {
    write(name, withManifest(compileRust(rustc, `${name}/plugin.rs`), join(RUST, name)));
  }
  if (flags.update) updatePrebuilt(rustc);
  else if (flags.check) checkPrebuilt(rustc);
}

async function buildAssemblyScript(): Promise<void> {
  for (const name of pluginsIn(ASSEMBLYSCRIPT)) {
    const wasm = await compileAssemblyScript(`${name}/index.ts`);
    write(name, withManifest(wasm, join(ASSEMBLYSCRIPT, name)));
  }
}

/** Compiles a file of assemblyscript/; the module has no manifest yet. Rejects with asc's output. */
export async function compileAssemblyScript(entry: string): Promise<Uint8Array> {
  const args = [entry, "--outFile", "plugin.wasm", "-O3z", "--runtime", "stub", "--noColors"];
  let wasm: Uint8Array | null = null;
  const { error, stderr } = await asc.main(args, {
    readFile: (file) => readIfThere(join(ASSEMBLYSCRIPT, file)),
    writeFile: (_file, content) => {
      if (content instanceof Uint8Array) wasm = content;
    },
    listFiles: () => [],
  });
  if (error !== null || wasm === null) {
    throw new Error(`${entry} does not build: ${error?.message}\n${stderr.toString()}`);
  }
  return wasm;
}

/** Compiles a file of rust/; the module has no manifest yet. rustc says itself what is wrong. */
export function compileRust(rustc: Rustc, entry: string): Uint8Array {
  // A path from rust/ on: it gets into the module, where panics name their place.
  return runRustc(rustc.path, entry, { cwd: RUST, stdio: "inherit" });
}

/** Debian's rustc before any other: the one that prebuilt/ was made with. Null when none will do. */
export function findRustc(): Rustc | null {
  for (const path of ["/usr/bin/rustc", "rustc"]) {
    try {
      const version = execFileSync(path, ["--version"], { encoding: "utf8", stdio: "pipe" }).trim();
      // Only a compilation tells that the target's library and a linker are there too.
      runRustc(path, "-", { input: "", stdio: "pipe" });
      return { path, version };
    } catch {
      // Not this one: try the next.
    }
  }
  return null;
}

function runRustc(path: string, entry: string, options: ExecFileSyncOptions): Uint8Array {
  const folder = mkdtempSync(join(tmpdir(), "sallyport-rust-"));
  try {
    const out = join(folder, "plugin.wasm");
    execFileSync(path, [...RUST_FLAGS, "--crate-name=plugin", "-o", out, entry], options);
    return readFileSync(out);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function updatePrebuilt(rustc: Rustc): void {
  mkdirSync(PREBUILT, { recursive: true });
  for (const name of pluginsIn(RUST)) {
    writeFileSync(join(PREBUILT, `${name}.wasm`), readFileSync(outFile(name)));
  }
  writeFileSync(SUMS, sums());
  writeFileSync(TOOLCHAIN, `${rustc.version}\n`);
}

function checkPrebuilt(rustc: Rustc): void {
  const wanted = readFileSync(TOOLCHAIN, "utf8").trim();
  if (rustc.version !== wanted) {
    console.log(`not compared: prebuilt/ was made with ${wanted}, this is ${rustc.version}`);
    return;
  }
  for (const name of pluginsIn(RUST)) {
    const kept = join(PREBUILT, `${name}.wasm`);
    if (!existsSync(kept) || !readFileSync(kept).equals(readFileSync(outFile(name)))) {
      throw new Error(`prebuilt/${name}.wasm is not what was built: --rust --update replaces it`);
    }
  }
  if (readFileSync(SUMS, "utf8") !== sums()) {
    throw new Error("prebuilt/SHA256SUMS has other digests: --rust --update replaces it");
  }
  console.log("the rebuilt modules are those of prebuilt/");
}

function sums(): string {
  const lines = pluginsIn(RUST).map((name) => {
    const digest = createHash("sha256")
      .update(readFileSync(outFile(name)))
      .digest("hex");
    return `${digest}  ${name}.wasm\n`;
  });
  return lines.join("");
}

function pluginsIn(folder: string): string[] {
  return readdirSync(folder)
    .filter((name) => existsSync(join(folder, name, "plugin.json")))
    .sort();
}

/** The manifest rides in the module, so that the bare .wasm is enough to upload. */
export function withManifest(wasm: Uint8Array, plugin: string): Uint8Array {
  const manifest = JSON.stringify(JSON.parse(readFileSync(join(plugin, "plugin.json"), "utf8")));
  const name = Buffer.from(MANIFEST_SECTION);
  const content = Buffer.concat([leb(name.length), name, Buffer.from(manifest)]);
  return Buffer.concat([wasm, Buffer.from([0]), leb(content.length), content]);
}

function leb(value: number): Buffer {
  const bytes: number[] = [];
  for (let left = value; ;) {
    const low = left & 0x7f;
    left >>>= 7;
    bytes.push(left === 0 ? low : low | 0x80);
    if (left === 0) return Buffer.from(bytes);
  }
}

function write(name: string, wasm: Uint8Array): void {
  writeFileSync(outFile(name), wasm);
  console.log(`${name}.wasm ${wasm.length} bytes`);
}

function outFile(name: string): string {
  return join(OUT, `${name}.wasm`);
}

function readIfThere(path: string): string | null {
  return existsSync(path) ? readFileSync(path, "utf8") : null;
}
