// Builds the example plugins. AssemblyScript ones at every `npm ci`; Rust ones only where a toolchain
// for Wasm is, since their modules are kept in prebuilt/ with digests.
//   node plugins-src/build.ts                  AssemblyScript, into build/
//   node plugins-src/build.ts --rust           Rust, into build/
//   node plugins-src/build.ts --rust --check   and compare with prebuilt/
//   node plugins-src/build.ts --rust --update  and replace what is in prebuilt/

import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { ASC_FLAGS, ASSEMBLYSCRIPT, compileWithAsc } from "./compile-assemblyscript.ts";
import { RUST, RUST_FLAGS, RUST_INSTALL, compileWithRustc, findRustc } from "./compile-rust.ts";
import type { Rustc } from "./compile-rust.ts";
import { withManifestText } from "./manifest-section.ts";

export { findRustc };

const OUT = join(import.meta.dirname, "build");
const PREBUILT = join(import.meta.dirname, "prebuilt");
const SUMS = join(PREBUILT, "SHA256SUMS");
const TOOLCHAIN = join(PREBUILT, "TOOLCHAIN");

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
    console.log(`install it: ${RUST_INSTALL}`);
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

/** Compiles a file of assemblyscript/; the module has no manifest yet. Rejects with every fault. */
export async function compileAssemblyScript(entry: string): Promise<Uint8Array> {
  const job = { folder: ASSEMBLYSCRIPT, entry, name: "plugin", flags: ASC_FLAGS.ship };
  const { wasm } = await compileWithAsc(job);
  return wasm;
}

/** Compiles a file of rust/; the module has no manifest yet. Throws with every fault. */
export function compileRust(rustc: Rustc, entry: string): Uint8Array {
  const job = { rustc, folder: RUST, entry, flags: RUST_FLAGS.ship, withSdk: false };
  return compileWithRustc(job);
}

/** A module with the manifest of a plugin's folder. */
export function withManifest(wasm: Uint8Array, plugin: string): Uint8Array {
  return withManifestText(wasm, readFileSync(join(plugin, "plugin.json"), "utf8"));
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

function write(name: string, wasm: Uint8Array): void {
  writeFileSync(outFile(name), wasm);
  console.log(`${name}.wasm ${wasm.length} bytes`);
}

function outFile(name: string): string {
  return join(OUT, `${name}.wasm`);
}
