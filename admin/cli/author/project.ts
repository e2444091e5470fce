// A plugin's folder: where its source, manifest, cases and module are. Knows nothing of compilers.

import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { CliError } from "../output.ts";

/** What a plugin may be called, as the manifest's check has it. */
export const PLUGIN_NAME = /^[a-z](?:[a-z0-9-]{0,62}[a-z0-9])?$/;

/** Source files by language. */
export const SOURCES = { as: "index.ts", rust: "plugin.rs" } as const;
export type Language = keyof typeof SOURCES;

export type Project = {
  /** As the user gave it. */
  readonly folder: string;
  readonly name: string;
  /** null: a module that something else builds, with cases beside it. */
  readonly language: Language | null;
  /** Text of plugin.json. */
  readonly manifest: string;
  /** The module: NAME.wasm in the folder. */
  readonly file: string;
};

/** Reads a plugin's folder; says what is missing. */
export async function readProject(folder: string): Promise<Project> {
  const manifestFile = join(folder, "plugin.json");
  const manifest = await readFile(manifestFile, "utf8").catch(() => null);
  if (manifest === null) {
    const hint = "give a plugin's folder, or make one: sallyport plugin new NAME --lang as";
    throw new CliError(`${resolve(folder)} has no plugin.json; ${hint}`);
  }
  const name = nameIn(manifest, manifestFile);
  const found = Object.entries(SOURCES).find(([, source]) => existsSync(join(folder, source)));
  const language = (found?.[0] ?? null) as Language | null;
  return { folder, name, language, manifest, file: join(folder, `${name}.wasm`) };
}

function nameIn(manifest: string, file: string): string {
  let parsed: unknown;
  try {
    parsed = JSON.parse(manifest);
  } catch (error) {
    throw new CliError(`${file} is not JSON: ${error instanceof Error ? error.message : ""}`);
  }
  const name = (parsed as { name?: unknown } | null)?.name;
  if (typeof name === "string" && PLUGIN_NAME.test(name)) return name;
  const found = JSON.stringify(name) ?? "none";
  throw new CliError(`${file} has the name ${found}; a name is a-z, 0-9 and inner hyphens`);
}
