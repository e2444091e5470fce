// Secrets by reference: `$env:NAME` and `$file:PATH` in the fields that the schema marks as secret, and
// anywhere in the configuration of an uploaded plugin, of which only the plugin knows what is secret.
// Revisions, diffs and answers keep the reference; only what goes to the workers is resolved.

import { BUILTIN_SCHEMAS } from "./builtin-schemas.ts";
import { readNamedFile } from "./context.ts";
import type { CheckContext } from "./context.ts";
import type { Fault } from "./fault.ts";
import { FaultList, HIDDEN, pointer, withoutPlace } from "./fault-list.ts";
import type { PlacedFault } from "./fault-list.ts";
import type { SchemaNode } from "./schema-faults.ts";
import { ConfigSchema } from "./schema.ts";
import type { Config } from "./schema.ts";
import type { Sound } from "./sound.ts";

const SECRET_BYTES_MAX = 65_536;
const HASH = /^sha256:[0-9a-f]{64}$/;

/** What stands for a literal secret wherever a configuration is shown. */
export const MASK = HIDDEN;

/** Where references lead. */
export type SecretSource = Pick<CheckContext, "env" | "readFile" | "baseDir">;
type Source = SecretSource;

/** The configuration with every reference replaced by its secret, and the ones that cannot be read. */
export function resolveSecrets(
  config: Config,
  source: Source,
): { readonly config: Config; readonly faults: readonly Fault[] } {
  const faults = new FaultList();
  const resolved = mapSecrets(
    config,
    (text, path) => resolveOne(text, path, source, faults) ?? text,
  );
  return { config: resolved, faults: faults.faults.map(withoutPlace) };
}

/**
 * Adds what is wrong with the secrets: references that cannot be read, two credentials with the
 * same hash, keys that are too short. What a secret is, is never part of a fault.
 */
export function checkSecrets(config: Sound<Config>, source: Source, faults: FaultList): void {
  const owners = new Map<string, string>();
  config.consumers?.forEach((consumer, i) => {
    consumer?.credentials?.forEach((credential, j) => {
      if (credential?.hash === undefined) return;
      const path = `/consumers/${i}/credentials/${j}/hash`;
      const hash = resolveOne(credential.hash, path, source, faults);
      if (hash === null) return;
      const other = owners.get(hash);
      if (other !== undefined) faults.duplicate(path, "this hash", other);
      else owners.set(hash, path);
    });
  });
  config.routes?.forEach((route, i) => {
    route?.plugins?.forEach((attachment, j) => {
      if (attachment?.plugin !== undefined && !BUILTIN_SCHEMAS.has(attachment.plugin)) {
        const path = `/routes/${i}/plugins/${j}/config`;
        mapReferences(attachment.config, path, (text, at) => {
          return resolveOne(text, at, source, faults) ?? text;
        });
      }
      if (attachment?.plugin !== "jwt" || !Array.isArray(attachment.config?.keys)) return;
      const path = `/routes/${i}/plugins/${j}/config/keys`;
      attachment.config.keys.forEach((key, k) => {
        checkKeySecret(key, `${path}/${k}`, { source, faults });
      });
    });
  });
}

/** The configuration as it may be shown: references as they are, literal secrets masked. */
export function maskSecrets(config: Config): Config {
  return mapSecrets(config, (text, path) => (isReference(text) || isHash(path) ? text : MASK));
}

// A hash of a key cannot be turned back, and must survive reading and writing again.
function isHash(path: string): boolean {
  return path.startsWith("/consumers/") || path.startsWith("/admin/keys/");
}

/** True for `$env:` and `$file:` references. */
export function isReference(text: string): boolean {
  return text.startsWith("$env:") || text.startsWith("$file:");
}

// An HMAC key must be as long as the hash (RFC 7518, 3.2). Without an algorithm it serves HS256.
function checkKeySecret(
  key: unknown,
  path: string,
  { source, faults }: { source: Source; faults: FaultList },
): void {
  type Parts = { secret?: unknown; alg?: unknown; jwk?: { k?: unknown } | null };
  const { secret: text, alg, jwk } = (key ?? {}) as Parts;
  if (typeof jwk?.k === "string") resolveOne(jwk.k, `${path}/jwk/k`, source, faults);
  // An empty one does not fit the schema: that is said already.
  if (typeof text !== "string" || text === "") return;
  const secret = resolveOne(text, `${path}/secret`, source, faults);
  const bits = typeof alg === "string" && /^HS\d+$/.test(alg) ? Number(alg.slice(2)) : 256;
  if (secret === null || Buffer.byteLength(secret) * 8 >= bits) return;
  const message = `the secret is shorter than the ${bits / 8} bytes that HS${bits} needs`;
  const allowed = `at least ${bits / 8} bytes`;
  faults.add({
    code: "out_of_range",
    message,
    path: `${path}/secret`,
    found: MASK,
    allowed,
    at: "value",
  });
}

// Null after adding the fault.
function resolveOne(text: string, path: string, source: Source, faults: FaultList): string | null {
  const found = lookUp(text, source);
  if ("reason" in found) {
    faults.add(unreadable(path, text, found.reason));
    return null;
  }
  if (isReference(text) && path.startsWith("/consumers/") && !HASH.test(found.text)) {
    faults.add(unreadable(path, text, "it does not hold sha256:<64 hex digits>"));
    return null;
  }
  return found.text;
}

function lookUp(
  text: string,
  source: Source,
): { readonly text: string } | { readonly reason: string } {
  if (text.startsWith("$env:")) {
    const name = text.slice(5);
    const secret = Object.hasOwn(source.env, name) ? source.env[name] : undefined;
    if (secret !== undefined && secret !== "") return { text: secret };
    return { reason: "the environment variable is not set" };
  }
  if (!text.startsWith("$file:")) return { text };
  const read = readNamedFile(text.slice(6), source);
  if ("reason" in read) return { reason: `the file cannot be read: ${read.reason}` };
  // Editors end a file with a line end that is no part of the secret.
  const secret = read.text.replace(/\r?\n$/, "");
  if (secret === "" || Buffer.byteLength(secret) > SECRET_BYTES_MAX) {
    return { reason: `the file is empty or larger than ${SECRET_BYTES_MAX} bytes` };
  }
  return { text: secret };
}

function unreadable(path: string, reference: string, reason: string): PlacedFault {
  return {
    code: "secret_unreadable",
    message: `the secret cannot be read: ${reason}`,
    path,
    found: isReference(reference) ? reference : MASK,
    allowed: "$env:NAME of a set variable or $file:PATH of a readable file",
    at: "value",
  };
}

type Change = (text: string, path: string) => string;

// Only what changes is copied.
function mapSecrets(config: Config, change: Change): Config {
  const mapped = mapNode(ConfigSchema as SchemaNode, config, "", change) as Config;
  const routes = mapped.routes?.map((route, i) => {
    if (!route.plugins?.some((attachment) => attachment.config !== undefined)) return route;
    const plugins = route.plugins.map((attachment, j) => {
      if (attachment.config === undefined) return attachment;
      const schema = BUILTIN_SCHEMAS.get(attachment.plugin);
      const path = `/routes/${i}/plugins/${j}/config`;
      const changed =
        schema === undefined
          ? mapReferences(attachment.config, path, change)
          : mapNode(schema as SchemaNode, attachment.config, path, change);
      return { ...attachment, config: changed as Record<string, unknown> };
    });
    return { ...route, plugins };
  });
  return routes === undefined ? mapped : { ...mapped, routes };
}

// Like mapNode, where no schema says which texts are secrets: references are, others cannot be told.
function mapReferences(value: unknown, path: string, change: Change): unknown {
  if (typeof value === "string") return isReference(value) ? change(value, path) : value;
  if (Array.isArray(value)) {
    return value.map((item, i) => mapReferences(item, pointer(path, i), change));
  }
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value).map(([key, child]) => [
    key,
    mapReferences(child, pointer(path, key), change),
  ]);
  return Object.fromEntries(entries) as Record<string, unknown>;
}

/**
 * The value with what its references stand for, and by its place each reference; those that cannot be
 * read stay as they are.
 */
export function resolveReferences(
  value: unknown,
  path: string,
  source: SecretSource,
): {
  readonly value: unknown;
  readonly references: ReadonlyMap<string, { readonly text: string; readonly isReadable: boolean }>;
} {
  const references = new Map<string, { text: string; isReadable: boolean }>();
  const resolved = mapReferences(value, path, (text, at) => {
    const found = lookUp(text, source);
    references.set(at, { text, isReadable: "text" in found });
    return "text" in found ? found.text : text;
  });
  return { value: resolved, references };
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
