// From a plugin's folder to its module: compiled, with the manifest in it, and admitted as an upload
// would be. What is built here is what is tested and pushed.

import { readFile, writeFile } from "node:fs/promises";
import { performance } from "node:perf_hooks";
import { ASC_FLAGS, compileWithAsc } from "../../../plugins-src/compile-assemblyscript.ts";
import {
  RUST_FLAGS,
  RUST_INSTALL,
  compileWithRustc,
  findRustc,
} from "../../../plugins-src/compile-rust.ts";
import type { Rustc } from "../../../plugins-src/compile-rust.ts";
import { withManifestText } from "../../../plugins-src/manifest-section.ts";
import { CliError } from "../output.ts";
import { admit } from "./admit.ts";
import type { Admitted } from "./admit.ts";
import { SOURCES } from "./project.ts";
import type { Project } from "./project.ts";

/** `author`: what ships, with names. `plain`: not optimised, so that every function is there. */
export type Purpose = "author" | "plain";

export type Built = Admitted & {
  readonly project: Project;
  /** JSON, for AssemblyScript only. */
  readonly sourceMap: string | null;
  readonly tookMs: number;
};

/** Compiles and admits. Rejects with a CompileError, or a SandboxError that says why not. */
export async function buildPlugin(project: Project, purpose: Purpose = "author"): Promise<Built> {
  const beganMs = performance.now();
  const { wasm, sourceMap } = await compile(project, purpose);
  const bytes = project.language === null ? wasm : withManifestText(wasm, project.manifest);
  const tookMs = Math.round(performance.now() - beganMs);
  return { ...(await admit(bytes)), project, sourceMap, tookMs };
}

/** Leaves NAME.wasm and its source map in the folder. */
export async function writeModule({ project, bytes, sourceMap }: Built): Promise<void> {
  await writeFile(project.file, bytes);
  if (sourceMap !== null) await writeFile(`${project.file}.map`, sourceMap);
}

async function compile(
  { folder, name, language, file }: Project,
  purpose: Purpose,
): Promise<{ wasm: Uint8Array; sourceMap: string | null }> {
  switch (language) {
    case "as": {
      const job = { folder, entry: SOURCES.as, name, flags: ASC_FLAGS[purpose] };
      const { wasm, sourceMap } = await compileWithAsc(job);
      return { wasm, sourceMap: sourceMap === null ? null : withOwnSources(sourceMap) };
    }
    case "rust": {
      const flags = RUST_FLAGS[purpose];
      const job = { rustc: needRustc(), folder, entry: SOURCES.rust, flags, withSdk: true };
      return { wasm: compileWithRustc(job), sourceMap: null };
    }
    case null: {
      const wasm = await readFile(file).catch(() => null);
      if (wasm !== null) return { wasm, sourceMap: null };
      const sources = Object.values(SOURCES).join(" or ");
      throw new CliError(`${folder} has neither a source (${sources}) nor ${name}.wasm`);
    }
  }
}

function needRustc(): Rustc {
  const rustc = findRustc();
  if (rustc !== null) return rustc;
  throw new CliError(`no rustc here makes modules for Wasm; install it: ${RUST_INSTALL}`);
}

// asc puts the whole standard library's text into every map.
function withOwnSources(sourceMap: string): string {
  const map = JSON.parse(sourceMap) as { sources: string[]; sourcesContent: (string | null)[] };
  map.sourcesContent = map.sourcesContent.map((text, i) =>
    map.sources[i].startsWith("~lib/") && !map.sources[i].startsWith("~lib/sallyport/")
      ? null
      : text,
  );
  return JSON.stringify(map);
}
