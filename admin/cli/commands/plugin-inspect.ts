// sallyport plugin inspect: what a module is, what it asks for, and whether it would be admitted.

import { AbiText } from "../author/abi-text.ts";
import { admit } from "../author/admit.ts";
import { readModule } from "../author/module-file.ts";
import { readWasm } from "../author/wasm-file.ts";
import type { Border, Range, WasmFile } from "../author/wasm-file.ts";
import { CliError, EXIT, table } from "../output.ts";
import type { Output } from "../output.ts";
import { compilePluginSchema } from "../../../gateway/config/plugin-schema.ts";
import { SandboxError, digestOf } from "../../../sandbox/sandbox.ts";
import type { Manifest } from "../../../sandbox/sandbox.ts";

type Refusal = { readonly code: string; readonly message: string; readonly meaning: string };
type Purposeful = Border & { readonly purpose: string };
type ConfigKey = { readonly key: string; readonly required: boolean; readonly allowed: string };

// Exports that kits and compilers make, which abi.md tells in prose.
const KNOWN_EXPORTS: Readonly<Record<string, string>> = {
  memory: "the guest's memory, which the host reads logs of aborts from",
  _start: "run when an instance starts, unless the module uses WASI",
  _initialize: "run when an instance starts",
  __wasm_call_ctors: "run when an instance starts",
  hs_init: "Haskell's runtime, run when an instance starts",
};
const MODULES: Readonly<Record<string, string>> = {
  wasi_snapshot_preview1: "WASI: no files, arguments or environment; a clock that stands still",
  env: "AssemblyScript's abort: ends the call with its message and place",
};

/** Prints the facts; 1 when the module would be refused. */
export async function inspectCommand(file: string, output: Output): Promise<number> {
  const bytes = await readModule(file);
  const { manifest, refusal } = await judge(bytes);
  const wasm = readOrRefuse(file, bytes, refusal);
  const abi = new AbiText();
  const facts = {
    file,
    name: manifest?.name ?? null,
    version: manifest?.version ?? null,
    digest: digestOf(bytes),
    size_bytes: bytes.length,
    admitted: refusal === null,
    refusal: refusal === null ? null : { ...refusal, meaning: abi.codeMeaning(refusal.code) },
    exports: wasm.exports.map((each) => ({ ...each, purpose: exportPurpose(each, abi) })),
    imports: wasm.imports.map((each) => ({ ...each, purpose: importPurpose(each, abi) })),
    manifest,
    config: configOf(manifest),
    memory: wasm.memory,
    table: wasm.table,
    custom_sections: wasm.sections
      .filter(({ id }) => id === 0)
      .map(({ name, from, end }) => ({ name, size_bytes: end - from })),
  };
  output.result(facts, () => inspectText(facts));
  return refusal === null ? EXIT.ok : EXIT.no;
}

/** What the manifest's schema says of each key of the configuration; null without a schema. */
function configOf(manifest: Manifest | null): readonly ConfigKey[] | null {
  const schema = manifest?.configSchema ?? null;
  if (schema === null) return null;
  const compiled = compilePluginSchema(schema);
  if (compiled.kind !== "map") return [];
  return [...compiled.words].map(([key, allowed]) => {
    return { key, required: compiled.required.includes(key), allowed };
  });
}

async function judge(bytes: Uint8Array) {
  try {
    return { manifest: (await admit(bytes)).manifest, refusal: null };
  } catch (error) {
    if (!(error instanceof SandboxError)) throw error;
    return { manifest: null, refusal: { code: error.code, message: error.message } };
  }
}

function readOrRefuse(
  file: string,
  bytes: Uint8Array,
  refusal: { code: string; message: string } | null,
): WasmFile {
  try {
    return readWasm(bytes);
  } catch {
    const why = refusal === null ? "" : `: ${refusal.code}: ${refusal.message}`;
    throw new CliError(`${file} would be refused${why}`, EXIT.no);
  }
}

function exportPurpose({ name, kind }: Border, abi: AbiText): string {
  const known = Object.hasOwn(KNOWN_EXPORTS, name) ? KNOWN_EXPORTS[name] : "";
  return (
    (kind === "function" ? abi.exportPurpose(name) : "") || known || "not called by the gateway"
  );
}

function importPurpose({ name }: Border, abi: AbiText): string {
  const dot = name.lastIndexOf(".");
  const known = MODULES[name.slice(0, dot)];
  return known ?? (abi.functionPurpose(name.slice(dot + 1)) || "not provided");
}

function inspectText(facts: {
  readonly file: string;
  readonly name: string | null;
  readonly version: string | null;
  readonly digest: string;
  readonly size_bytes: number;
  readonly refusal: Refusal | null;
  readonly exports: readonly Purposeful[];
  readonly imports: readonly Purposeful[];
  readonly manifest: unknown;
  readonly config: readonly ConfigKey[] | null;
  readonly memory: Range | null;
  readonly table: Range | null;
  readonly custom_sections: readonly { readonly name: string; readonly size_bytes: number }[];
}): string {
  const { file, name, version, digest, refusal, manifest } = facts;
  const customs = facts.custom_sections.map((each) => `${each.name} (${each.size_bytes} bytes)`);
  const verdict =
    refusal === null
      ? "yes"
      : `no, ${refusal.code}: ${refusal.message}\n          ${refusal.meaning}`;
  return [
    `${file}: ${name === null ? "no name" : `${name}@${version}`}, ${facts.size_bytes} bytes`,
    `digest    ${digest}`,
    `admitted  ${verdict}`,
    `manifest  ${manifest === null ? "none" : JSON.stringify(manifest)}`,
    `config    ${configText(facts.config)}`,
    `memory    ${rangeText(facts.memory, "pages of 64 KiB")}`,
    `table     ${rangeText(facts.table, "entries")}`,
    `sections  ${customs.join(", ") || "none"}`,
    `exports\n${borderText(facts.exports)}`,
    `imports\n${borderText(facts.imports)}`,
  ].join("\n");
}

function configText(config: readonly ConfigKey[] | null): string {
  if (config === null) return "anything: the manifest has no config_schema";
  if (config.length === 0) return "no keys";
  const rows = config.map(({ key, required, allowed }) => {
    return [`  ${key}`, required ? "needed" : "optional", allowed];
  });
  return `\n${table(rows)}`;
}

function rangeText(range: Range | null, unit: string): string {
  if (range === null) return "none";
  return `${range.min} to ${range.max ?? "the limit"} ${unit}`;
}

function borderText(borders: readonly Purposeful[]): string {
  if (borders.length === 0) return "  none";
  const rows = borders.map(({ name, kind, type, purpose }) => [`  ${name}`, type || kind, purpose]);
  return table(rows);
}
