// Builds the example plugins. AssemblyScript ones with asc in this process, at every `npm ci`; Rust
// ones only where a toolchain for Wasm is, since their modules are kept in prebuilt/ with digests.
//   node plugins-src/build.ts                  AssemblyScript, into build/
//   node plugins-src/build.ts --rust           Rust, into build/
//   node plugins-src/build.ts --rust --check   and compare with prebuilt/SHA256SUMS
//   node plugins-src/build.ts --rust --update  and replace what is in prebuilt/

import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import asc from "assemblyscript/asc";

const HERE = import.meta.dirname;
const OUT = join(HERE, "build");
const PREBUILT = join(HERE, "prebuilt");
const SUMS = join(PREBUILT, "SHA256SUMS");
const TOOLCHAIN = join(PREBUILT, "TOOLCHAIN");
const MANIFEST_SECTION = "sallyport";

const { values: flags } = parseArgs({
  options: {
    rust: { type: "boolean", default: false },
    check: { type: "boolean", default: false },
    update: { type: "boolean", default: false },
  },
});
mkdirSync(OUT, { recursive: true });
if (flags.rust) buildRust();
else await buildAssemblyScript();

async function buildAssemblyScript(): Promise<void> {
  const folder = join(HERE, "assemblyscript");
  for (const name of pluginsIn(folder)) {
    const args = [`${name}/index.ts`, "--outFile", "plugin.wasm", "-O3z", "--runtime", "stub"];
    let wasm: Uint8Array | null = null;
    const { error, stderr } = await asc.main([...args, "--noColors"], {
      readFile: (file) => readIfThere(join(folder, file)),
      writeFile: (_file, content) => {
        if (content instanceof Uint8Array) wasm = content;
      },
      listFiles: () => [],
    });
    if (error !== null || wasm === null) {
      throw new Error(`${name} does not build: ${error?.message}\n${stderr.toString()}`);
    }
    write(name, withManifest(wasm, join(folder, name)));
  }
}

function buildRust(): void {
  const folder = join(HERE, "rust");
  const rustc = findRustc();
  if (rustc === null) {
    console.log("skipped: no rustc with the target wasm32-unknown-unknown");
    console.log("install it: apt-get install rustc libstd-rust-dev-wasm32 lld");
    return;
  }
  for (const name of pluginsIn(folder)) {
    const wasm = compileRust(rustc.path, folder, name);
    write(name, withManifest(wasm, join(folder, name)));
    if (flags.update) writeFileSync(join(PREBUILT, `${name}.wasm`), readFileSync(outFile(name)));
  }
  if (flags.update) {
    writeFileSync(SUMS, sums(folder));
    writeFileSync(TOOLCHAIN, `${rustc.version}\n`);
  } else if (flags.check) {
    checkSums(sums(folder), rustc.version);
  }
}

function compileRust(rustc: string, folder: string, name: string): Uint8Array {
  const out = join(OUT, `${name}.raw.wasm`);
  const common = ["--target", "wasm32-unknown-unknown", "--edition", "2021", "-C", "opt-level=z"];
  const lean = [
    "-C",
    "panic=abort",
    "-C",
    "lto=fat",
    "-C",
    "strip=symbols",
    "-C",
    "codegen-units=1",
  ];
  // The same module wherever it is built.
  const reproducible = ["--remap-path-prefix", `${folder}=.`];
  const linker = ["-C", "linker=wasm-ld", "-C", "link-arg=--initial-memory=1114112"];
  const stack = ["-C", "link-arg=-zstack-size=65536"];
  execFileSync(
    rustc,
    [
      ...common,
      ...lean,
      ...reproducible,
      ...linker,
      ...stack,
      "--crate-type",
      "cdylib",
      "--crate-name",
      name.replaceAll("-", "_"),
      "-o",
      out,
      join(folder, name, "plugin.rs"),
    ],
    { stdio: "inherit" },
  );
  return readFileSync(out);
}

// Debian's rustc before any other: the one that prebuilt/ was made with.
function findRustc(): { path: string; version: string } | null {
  for (const path of ["/usr/bin/rustc", "rustc"]) {
    try {
      const sysroot = execFileSync(path, ["--print", "sysroot"], { encoding: "utf8" }).trim();
      if (!existsSync(join(sysroot, "lib/rustlib/wasm32-unknown-unknown/lib"))) continue;
      return { path, version: execFileSync(path, ["--version"], { encoding: "utf8" }).trim() };
    } catch {
      // Not there: try the next.
    }
  }
  return null;
}

function checkSums(built: string, version: string): void {
  const wanted = readFileSync(TOOLCHAIN, "utf8").trim();
  if (version !== wanted) {
    console.log(`not compared: prebuilt/ was made with ${wanted}, this is ${version}`);
    return;
  }
  if (built !== readFileSync(SUMS, "utf8")) {
    throw new Error(`prebuilt/SHA256SUMS differs from what was built:\n${built}`);
  }
  console.log("the rebuilt modules are those of prebuilt/");
}

function sums(folder: string): string {
  const lines = pluginsIn(folder).map((name) => {
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

// The manifest rides in the module, so that the bare .wasm is enough to upload.
function withManifest(wasm: Uint8Array, plugin: string): Uint8Array {
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
