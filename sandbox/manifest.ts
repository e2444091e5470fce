// The plugin's own description, a JSON document in the custom section `sallyport`. It is written by
// the plugin's author and read by us: nothing in it is believed but by this check, and it can only
// narrow what the operator grants, never widen it.

import { jsonText } from "../gateway/base/json-text.ts";
import { checkConfigSchema, type ConfigSchema } from "./config-schema.ts";
import { SandboxError } from "./errors.ts";
import { Reader } from "./reader.ts";

/** Limits a plugin may lower for itself. */
export type ManifestLimits = { readonly cpu_ms?: number; readonly memory_pages?: number };

export type Manifest = {
  readonly name: string;
  /** A semantic version. */
  readonly version: string;
  /** The version of the plugin interface it is written against. */
  readonly abi: number;
  /** How it reads the request: by host functions, or whole as JSON input. */
  readonly input: "lazy" | "json";
  /** Names of what it asks to be granted, such as `body`. */
  readonly needs: readonly string[];
  readonly limits: ManifestLimits;
  /** What its configuration must be; null when it does not say. */
  readonly configSchema: ConfigSchema | null;
  readonly description: string;
};

/** The name of the custom section. */
export const MANIFEST_SECTION = "sallyport";

const BYTES_MAX = 64 * 1024;
const NEEDS_MAX = 32;
const NAME = /^[a-z](?:[a-z0-9-]{0,62}[a-z0-9])?$/;
const NEED = /^[a-z][a-z0-9_.:-]{0,63}$/;
const VERSION =
  /^(?:0|[1-9]\d{0,8})(?:\.(?:0|[1-9]\d{0,8})){2}(?:-[0-9A-Za-z.-]{1,64})?(?:\+[0-9A-Za-z.-]{1,64})?$/;
const KEYS = ["name", "version", "abi", "input", "needs", "limits", "config_schema", "description"];

/** Parses the section's bytes; throws `bad_manifest` with a sentence that names the field. */
export function parseManifest(bytes: Uint8Array): Manifest {
  if (bytes.length > BYTES_MAX) {
    refuse(`is ${bytes.length} bytes long; ${BYTES_MAX} are allowed`);
  }
  const fields = object(decode(bytes), "is");
  onlyKeys(fields, KEYS, "key");
  const name = fields["name"];
  if (typeof name !== "string" || !NAME.test(name)) {
    refuse(`has the name ${show(name)}; 1 to 64 of a-z, 0-9 and inner hyphens are allowed`);
  }
  const version = fields["version"];
  if (typeof version !== "string" || !VERSION.test(version)) {
    refuse(`has the version ${show(version)}; a semantic version such as 1.2.0 is needed`);
  }
  const abi = fields["abi"];
  if (abi !== 1) refuse(`has the abi ${show(abi)}; 1 is supported`);
  const input = fields["input"];
  if (input !== "lazy" && input !== "json") {
    refuse(`has the input ${show(input)}; "lazy" or "json" is allowed`);
  }
  const description = fields["description"] ?? "";
  if (typeof description !== "string" || description.length > 1_024) {
    refuse("has a description that is not a text of at most 1024 characters");
  }
  const needs = parseNeeds(fields["needs"]);
  const limits = parseLimits(fields["limits"]);
  const schema = fields["config_schema"];
  const configSchema = schema === undefined ? null : checkConfigSchema(schema);
  return { name, version, abi, input, needs, limits, configSchema, description };
}

/** The manifest in a module that was admitted, found without reading the rest; throws a SandboxError. */
export function readManifest(module: Uint8Array): Manifest | null {
  const reader = new Reader(module, 0, module.length);
  reader.skip(8);
  while (!reader.done) {
    const id = reader.u8();
    const section = reader.slice(reader.u32());
    if (id !== 0 || section.name(BYTES_MAX, "a section name") !== MANIFEST_SECTION) continue;
    return parseManifest(module.subarray(section.pos, section.end));
  }
  return null;
}

function decode(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (cause) {
    throw new SandboxError("bad_manifest", "The module's manifest is not JSON in UTF-8.", cause);
  }
}

function parseNeeds(value: unknown): readonly string[] {
  if (value === undefined) return [];
  if (!Array.isArray(value) || value.length > NEEDS_MAX) {
    refuse(`has needs that are not a list of at most ${NEEDS_MAX} names`);
  }
  const needs: string[] = [];
  for (const need of value as unknown[]) {
    if (typeof need !== "string" || !NEED.test(need)) refuse(`needs ${show(need)}, not a name`);
    if (needs.includes(need)) refuse(`needs ${show(need)} twice`);
    needs.push(need);
  }
  return needs;
}

function parseLimits(value: unknown): ManifestLimits {
  if (value === undefined) return {};
  const fields = object(value, "has limits that are");
  onlyKeys(fields, ["cpu_ms", "memory_pages"], "limit");
  const limits: { cpu_ms?: number; memory_pages?: number } = {};
  const cpuMs = fields["cpu_ms"];
  if (cpuMs !== undefined) {
    if (typeof cpuMs !== "number" || !(cpuMs > 0 && cpuMs <= 60_000)) {
      refuse(`has the limit cpu_ms ${show(cpuMs)}; more than 0 and at most 60000 is allowed`);
    }
    limits.cpu_ms = cpuMs;
  }
  const pages = fields["memory_pages"];
  if (pages !== undefined) {
    if (typeof pages !== "number" || !Number.isInteger(pages) || pages < 1 || pages > 65_536) {
      refuse(`has the limit memory_pages ${show(pages)}; 1 to 65536 is allowed`);
    }
    limits.memory_pages = pages;
  }
  return limits;
}

function object(value: unknown, what: string): Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    refuse(`${what} not a JSON object`);
  }
  return value as Record<string, unknown>;
}

function onlyKeys(fields: Record<string, unknown>, allowed: string[], what: string): void {
  for (const key of Object.keys(fields)) {
    if (!allowed.includes(key)) {
      refuse(`has the unknown ${what} ${show(key)}; allowed are ${allowed.join(", ")}`);
    }
  }
}

function show(value: unknown): string {
  if (value === undefined) return "(missing)";
  if (typeof value === "object" && value !== null) {
    return Array.isArray(value) ? "(a list)" : "(an object)";
  }
  const text = jsonText(value);
  return text.length > 80 ? `${text.slice(0, 77)}...` : text;
}

function refuse(what: string): never {
  throw new SandboxError("bad_manifest", `The module's manifest ${what}.`);
}
