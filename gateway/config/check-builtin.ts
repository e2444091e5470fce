// The rules of the built-in plugins' configurations that their schemas cannot say. What makes such a
// plugin fail to start is refused here, while the old configuration still serves.

import { createPublicKey } from "node:crypto";
import type { JsonWebKeyInput } from "node:crypto";
import type { Static } from "typebox";
import { FRAMING_HEADERS } from "../base/header-names.ts";
import type {
  CorsConfigSchema,
  JwtConfigSchema,
  RateLimitConfigSchema,
} from "./builtin-schemas.ts";
import { HIDDEN, pointer } from "./fault-list.ts";
import type { FaultList, PlacedFault } from "./fault-list.ts";
import { isGiven } from "./sound.ts";
import type { Sound } from "./sound.ts";

type JwtConfig = Sound<Static<typeof JwtConfigSchema>>;
type JwtKey = NonNullable<NonNullable<JwtConfig["keys"]>[number]>;
type RateLimitConfig = Sound<Static<typeof RateLimitConfigSchema>>;
type CorsConfig = Sound<Static<typeof CorsConfigSchema>>;
type World = { readonly path: string; readonly faults: FaultList };

/** Adds the faults of a configuration of which every part that is left fits the schema. */
export function checkBuiltinRules(plugin: string, config: unknown, world: World): void {
  if (plugin === "jwt") checkJwt(config as JwtConfig, world);
  else if (plugin === "rate-limit") checkRateLimit(config as RateLimitConfig, world);
  else if (plugin === "cors") checkCors(config as CorsConfig, world);
}

function checkJwt(config: JwtConfig, { path, faults }: World): void {
  const sources = ["jwks_uri", "keys"] as const;
  const given = sources.filter((key) => isGiven(config, key));
  // One that is only meant, by a key that is misspelt, is no second one: the misspelling is said.
  const known = sources.filter((key) => config[key] !== undefined);
  if (given.length === 0 || known.length > 1) faults.notOneOf(path, sources, given);
  if (config.jwks_uri !== undefined && !isHttpUrl(config.jwks_uri)) {
    faults.outOfRange(`${path}/jwks_uri`, config.jwks_uri, "an http(s) URL without credentials");
  }
  if (isGiven(config, "jwks_refresh_ms") && given[0] === "keys" && given.length === 1) {
    faults.conflict(`${path}/jwks_refresh_ms`, "jwks_refresh_ms does nothing without jwks_uri");
  }
  const tokenHeader = (config.header ?? "authorization").toLowerCase();
  for (const [claim, header] of Object.entries(config.claims_to_headers ?? {})) {
    const lower = header?.toLowerCase() ?? "";
    if (!FRAMING_HEADERS.has(lower) && lower !== tokenHeader) continue;
    const place = pointer(`${path}/claims_to_headers`, claim);
    faults.conflict(place, `a claim cannot be written to the header ${header}`);
  }
  config.keys?.forEach((key, i) => {
    if (key !== undefined) checkKey(key, { path: `${path}/keys/${i}`, faults }, config.algorithms);
  });
}

function checkKey(key: JwtKey, { path, faults }: World, permitted: JwtConfig["algorithms"]): void {
  const sources = ["secret", "public_key", "jwk"] as const;
  const given = sources.filter((name) => isGiven(key, name));
  const known = sources.filter((name) => key[name] !== undefined);
  if (given.length === 0 || known.length > 1) faults.notOneOf(path, sources, given);
  if (key.alg !== undefined && permitted !== undefined && !permitted.includes(key.alg)) {
    faults.conflict(`${path}/alg`, `${key.alg} is not among the algorithms that are permitted`);
  }
  const isSymmetric = key.alg?.startsWith("HS");
  if (isGiven(key, "secret") && isSymmetric === false) {
    faults.conflict(`${path}/secret`, `${key.alg} needs a public key, not a secret`);
  }
  if (isGiven(key, "public_key") && isSymmetric === true) {
    faults.conflict(`${path}/public_key`, `${key.alg} needs a secret, not a public key`);
  }
  const { jwk, public_key: pem } = key;
  if (pem !== undefined && (pem.includes("PRIVATE KEY") || !isPublicKey(pem))) {
    const allowed = 'PEM text that begins with "-----BEGIN PUBLIC KEY-----"';
    faults.add(notPublic(`${path}/public_key`, allowed));
  }
  if (jwk === undefined || jwk.kty === "oct") return;
  if (jwk.d === undefined && isPublicKey({ key: jwk as JsonWebKeyInput["key"], format: "jwk" }))
    return;
  faults.add(notPublic(`${path}/jwk`, "a public JWK"));
}

// What was pasted here may be a private key: it is not repeated.
function notPublic(path: string, allowed: string): PlacedFault {
  const message = "not a public key";
  return { code: "out_of_range", message, path, found: HIDDEN, allowed, at: "value" };
}

function checkRateLimit(config: RateLimitConfig, { path, faults }: World): void {
  const isByHeader = config.by === "header";
  if (isByHeader && !isGiven(config, "header")) {
    faults.missing(path, "header", "limiting by header needs the header's name");
  }
  const isByOther = config.by !== undefined || !isGiven(config, "by");
  if (!isByHeader && isByOther && isGiven(config, "header")) {
    faults.conflict(`${path}/header`, "header does nothing without by: header");
  }
}

function checkCors(config: CorsConfig, { path, faults }: World): void {
  const { origins = [] } = config;
  if (origins.includes("*") && config.credentials === true) {
    const why = "any origin with credentials would let every site act as the user";
    faults.conflict(`${path}/credentials`, why);
  }
  origins.forEach((origin, i) => {
    if (origin === undefined || origin === "*" || origin === "null" || isOrigin(origin)) return;
    faults.outOfRange(`${path}/origins/${i}`, origin, "* or an origin like https://example.com");
  });
}

function isPublicKey(key: Parameters<typeof createPublicKey>[0]): boolean {
  try {
    createPublicKey(key);
    return true;
  } catch {
    return false;
  }
}

function isHttpUrl(text: string): boolean {
  const url = URL.parse(text);
  return url !== null && /^https?:$/.test(url.protocol) && url.username + url.password === "";
}

function isOrigin(text: string): boolean {
  return URL.parse(text)?.origin === text;
}
