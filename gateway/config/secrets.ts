// Secrets by reference: `$env:NAME` and `$file:PATH` in the fields that the schema marks as secret.
// Revisions, diffs and answers keep the reference; only what goes to the workers is resolved.

import { resolve } from "node:path";
import { BUILTIN_SCHEMAS } from "./builtin-schemas.ts";
import type { CheckContext } from "./check.ts";
import type { Fault } from "./fault.ts";
import { pointer } from "./schema-faults.ts";
import type { SchemaNode } from "./schema-faults.ts";
import { ConfigSchema } from "./schema.ts";
import type { Config } from "./schema.ts";

const SECRET_BYTES_MAX = 65_536;
const HASH = /^sha256:[0-9a-f]{64}$/;

/** What stands for a literal secret wherever a configuration is shown. */
export const MASK = "(secret)";

type Source = Pick<CheckContext, "env" | "readFile" | "baseDir">;

/** The configuration with every reference replaced by its secret, and the ones that cannot be read. */
export function resolveSecrets(
  config: Config,
  source: Source,
): { readonly config: Config; readonly faults: readonly Fault[] } {
  const faults: Fault[] = [];
  const resolved = mapSecrets(config, (text, path) => {
    const found = lookUp(text, source);
    if (found.ok) {
      if (path.startsWith("/consumers/") && !HASH.test(found.secret)) {
        faults.push(unreadable(path, text, "it does not hold sha256:<64 hex digits>"));
      }
      return found.secret;
    }
    faults.push(unreadable(path, text, found.reason));
    return text;
  });
  return { config: resolved, faults };
}

/** The configuration as it may be shown: references as they are, literal secrets masked. */
export function maskSecrets(config: Config): Config {
  return mapSecrets(config, (text, path) =>
    // A hash of a credential cannot be turned back, and must survive reading and writing again.
    isReference(text) || path.startsWith("/consumers/") ? text : MASK,
  );
}

/** True for `$env:` and `$file:` references. */
export function isReference(text: string): boolean {
  return text.startsWith("$env:") || text.startsWith("$file:");
}

function lookUp(
  text: string,
  { env, readFile, baseDir }: Source,
): { ok: true; secret: string } | { ok: false; reason: string } {
  if (text.startsWith("$env:")) {
    const secret = env[text.slice(5)];
    if (secret !== undefined && secret !== "") return { ok: true, secret };
    return { ok: false, reason: "the environment variable is not set" };
  }
  if (!text.startsWith("$file:")) return { ok: true, secret: text };
  try {
    const secret = readFile(resolve(baseDir, text.slice(6))).replace(/\r?\n$/, "");
    if (secret === "" || Buffer.byteLength(secret) > SECRET_BYTES_MAX) {
      return { ok: false, reason: `the file is empty or larger than ${SECRET_BYTES_MAX} bytes` };
    }
    return { ok: true, secret };
  } catch (error) {
    const reason = error instanceof Error && "code" in error ? String(error.code) : "unreadable";
    return { ok: false, reason: `the file cannot be read: ${reason}` };
  }
}

function unreadable(path: string, reference: string, reason: string): Fault {
  return {
    code: "secret_unreadable",
    message: `the secret cannot be read: ${reason}`,
    path,
    found: isReference(reference) ? reference : MASK,
    allowed: "$env:NAME of a set variable or $file:PATH of a readable file",
  };
}

type Change = (text: string, path: string) => string;

// Only what changes is copied.
function mapSecrets(config: Config, change: Change): Config {
  const mapped = mapNode(ConfigSchema as SchemaNode, config, "", change) as Config;
  const routes = mapped.routes?.map((route, i) => {
    if (!route.plugins?.some(({ plugin }) => BUILTIN_SCHEMAS.has(plugin))) return route;
    const plugins = route.plugins.map((attachment, j) => {
      const schema = BUILTIN_SCHEMAS.get(attachment.plugin);
      if (schema === undefined || attachment.config === undefined) return attachment;
      const path = `/routes/${i}/plugins/${j}/config`;
      const changed = mapNode(schema as SchemaNode, attachment.config, path, change);
      return { ...attachment, config: changed as Record<string, unknown> };
    });
    return { ...route, plugins };
  });
  return routes === undefined ? mapped : { ...mapped, routes };
}

function mapNode(schema: SchemaNode, value: unknown, path: string, change: Change): unknown {
  if (typeof value === "string") return schema.secret === true ? change(value, path) : value;
  if (!holdsSecret(schema)) return value;
  if (Array.isArray(value)) {
    const { items } = schema;
    if (items === undefined) return value;
    return value.map((item, i) => mapNode(items, item, pointer(path, i), change));
  }
  if (typeof value !== "object" || value === null) return value;
  const mapped: Record<string, unknown> = {};
  for (const [key, child] of Object.entries(value)) {
    const property = schema.properties?.[key];
    mapped[key] =
      property === undefined ? child : mapNode(property, child, pointer(path, key), change);
  }
  return mapped;
}

function holdsSecret(schema: SchemaNode): boolean {
  if (schema.secret === true) return true;
  if (schema.items !== undefined) return holdsSecret(schema.items);
  return Object.values(schema.properties ?? {}).some(holdsSecret);
}
