// Bearer tokens: compact JWS, verified on first sight and remembered, so that a token seen before costs
// one table look-up and two comparisons of time. No token, two tokens, a bad token or no keys: the
// request does not pass. Identity headers of the client's own are removed before anything else happens.

import { GatewayError } from "../../base/errors.ts";
import { FRAMING_HEADERS } from "../../base/header-names.ts";
import type { Exchange } from "../../exchange.ts";
import { equalsLower, isFieldValue, isToken } from "../../wire/chars.ts";
import type { Builtin, Plugin, PluginServices } from "../phases.ts";
import { problem } from "../problem.ts";
import type { Verdict } from "../verdict.ts";
import { SEVERAL, findCookie, findHeader, hideCookie, ownText } from "./credentials.ts";
import type { Found } from "./credentials.ts";
import { JwksKeys, StaticKeys } from "./jwks.ts";
import type { KeyChoice, KeySource } from "./jwks.ts";
import { claimOf, readClaims, refuseClaims } from "./jwt-claims.ts";
import type { ClaimRules, Claims, Refusal } from "./jwt-claims.ts";
import { HeaderReader, TOKEN_CHARS_MAX, isCompactJws } from "./jwt-compact.ts";
import { loadKeys } from "./jwt-keys.ts";
import type { KeyConfig } from "./jwt-keys.ts";
import { TokenCache, VerifiedToken } from "./token-cache.ts";

const CLOCK_SKEW_S_DEFAULT = 30;
const CACHE_MAX_DEFAULT = 10_000;
const JWKS_REFRESH_MS_DEFAULT = 300_000;
const CLAIM_CHARS_MAX = 4096;
const CONSUMER_CHARS_MAX = 256;

type JwtConfig = {
  readonly jwks_uri?: string;
  readonly keys?: readonly KeyConfig[];
  readonly issuer?: string;
  readonly audience?: string | readonly string[];
  readonly algorithms?: readonly string[];
  readonly clock_skew_s?: number;
  readonly header?: string;
  readonly cookie?: string;
  readonly required_claims?: readonly string[];
  readonly consumer_claim?: string;
  readonly cache_max?: number;
  readonly jwks_refresh_ms?: number;
  readonly forward_token?: boolean;
  /** Claim -> request header. */
  readonly claims_to_headers?: Readonly<Record<string, string>>;
};

/** The `jwt` plugin: sets claims and consumer of the exchange, or answers 401. */
export const jwt: Builtin = { name: "jwt", create };

function create(config: Readonly<Record<string, unknown>>, services: PluginServices): Plugin {
  const check = new TokenCheck(config as JwtConfig, services);
  return {
    name: "jwt",
    version: "builtin",
    onRequest: (exchange) => check.onRequest(exchange),
    onResponse: null,
    close: () => check.close(),
  };
}

class TokenCheck {
  readonly #config: JwtConfig;
  readonly #services: PluginServices;
  readonly #source: KeySource;
  readonly #cache: TokenCache;
  readonly #headers = new HeaderReader();
  readonly #rules: ClaimRules;
  readonly #header: string;
  readonly #isBearer: boolean;
  readonly #cookie: string | null;
  readonly #skewS: number;
  readonly #forwardToken: boolean;
  readonly #claimHeaders: readonly (readonly [claim: string, header: string])[];

  constructor(config: JwtConfig, services: PluginServices) {
    this.#config = config;
    this.#services = services;
    this.#header = (config.header ?? "authorization").toLowerCase();
    this.#isBearer = this.#header === "authorization";
    this.#cookie = config.cookie ?? null;
    this.#skewS = config.clock_skew_s ?? CLOCK_SKEW_S_DEFAULT;
    this.#forwardToken = config.forward_token ?? true;
    this.#claimHeaders = Object.entries(config.claims_to_headers ?? {}).map(
      ([claim, header]) => [claim, header.toLowerCase()] as const,
    );
    for (const [, header] of this.#claimHeaders) {
      if (!isToken(header) || FRAMING_HEADERS.has(header) || header === this.#header) {
        throw unusable(`claims_to_headers: ${header} cannot be set`);
      }
    }
    this.#rules = {
      issuer: config.issuer,
      audience: config.audience,
      required: config.required_claims ?? [],
      skewS: this.#skewS,
    };
    this.#cache = new TokenCache(config.cache_max ?? CACHE_MAX_DEFAULT);
    this.#source = openSource(config, services);
  }

  onRequest(exchange: Exchange): Verdict | Promise<Verdict> {
    // Whatever comes of the token: what these headers say is only ever said by the gateway.
    for (const [, header] of this.#claimHeaders) exchange.editRequestHeader(header, null);
    const token = this.#findToken(exchange);
    if (token === SEVERAL) return this.#refuse(exchange, "The request carries several tokens.");
    if (token === null) return this.#refuse(exchange, null);
    if (token.length > TOKEN_CHARS_MAX) return this.#refuse(exchange, "The token is too long.");
    // The form is not checked on a hit: the table holds nothing but texts that passed that check.
    const known = this.#cache.get(token);
    if (known !== undefined && this.#holds(known, exchange.startedMs)) {
      const wallMs = this.#services.wallMs();
      if (wallMs < known.expiresMs && wallMs >= known.notBeforeMs) {
        return this.#accept(exchange, known);
      }
    }
    return this.#verifyAndDecide(exchange, token);
  }

  close(): void {
    this.#source.close();
    this.#cache.clear();
  }

  #holds(known: VerifiedToken, nowMs: number): boolean {
    if (nowMs >= this.#source.refreshAtMs && !this.#source.ready(nowMs)) return false;
    return known.generation === this.#source.generation;
  }

  #findToken(exchange: Exchange): Found {
    const value = findHeader(exchange, this.#header);
    const inHeader = this.#isBearer && typeof value === "string" ? bearerToken(value) : value;
    if (this.#cookie === null) return inHeader;
    const inCookie = findCookie(exchange, this.#cookie);
    if (inHeader !== null && inCookie !== null) return SEVERAL;
    return inHeader ?? inCookie;
  }

  // At once when the keys are there, which they are but for the first token and for new key ids.
  #verifyAndDecide(exchange: Exchange, token: string): Verdict | Promise<Verdict> {
    if (!isCompactJws(token)) return this.#refuse(exchange, "The token is not a compact JWS.");
    const header = this.#headers.read(token);
    if (header === null) return this.#refuse(exchange, "The header of the token is not supported.");
    const choice = this.#source.find(header.alg, header.kid);
    if (choice instanceof Promise) {
      return choice.then((found) => this.#decide(exchange, token, found));
    }
    return this.#decide(exchange, token, choice);
  }

  #decide(exchange: Exchange, token: string, choice: KeyChoice): Verdict {
    const outcome = this.#verify(token, choice);
    if (typeof outcome === "string") {
      this.#cache.delete(token);
      return this.#refuse(exchange, outcome);
    }
    this.#cache.put(ownText(token), outcome);
    return this.#accept(exchange, outcome);
  }

  #verify(token: string, { keys, generation }: KeyChoice): VerifiedToken | Refusal {
    const end = token.lastIndexOf(".");
    const signed = Buffer.from(token.slice(0, end), "latin1");
    const signature = Buffer.from(token.slice(end + 1), "base64url");
    if (keys.length === 0) return "No key fits the token.";
    if (!keys.some((key) => key.verifies(signed, signature))) {
      return "The signature of the token is not valid.";
    }
    const claims = readClaims(token.slice(token.indexOf(".") + 1, end));
    const refusal = refuseClaims(claims, this.#rules, this.#services.wallMs());
    return refusal ?? this.#buildEntry(claims as Claims, generation);
  }

  #buildEntry(claims: Claims, generation: number): VerifiedToken | Refusal {
    const claimName = this.#config.consumer_claim;
    const consumer = claimName === undefined ? null : consumerOf(claims, claimName);
    if (claimName !== undefined && consumer === null) {
      return "The token does not name its consumer.";
    }
    const headers: [string, string][] = [];
    for (const [claim, header] of this.#claimHeaders) {
      const value = headerValueOf(claims, claim);
      if (value !== null) headers.push([header, value]);
    }
    const { exp, nbf } = claims;
    return new VerifiedToken({
      claims: Object.freeze(claims),
      consumer,
      headers,
      expiresMs: typeof exp === "number" ? (exp + this.#skewS) * 1000 : Infinity,
      notBeforeMs: typeof nbf === "number" ? (nbf - this.#skewS) * 1000 : -Infinity,
      generation,
    });
  }

  #accept(exchange: Exchange, entry: VerifiedToken): null {
    exchange.claims = entry.claims;
    if (entry.consumer !== null) exchange.consumer = entry.consumer;
    for (const [name, value] of entry.headers) exchange.editRequestHeader(name, value);
    if (!this.#forwardToken) {
      exchange.editRequestHeader(this.#header, null);
      if (this.#cookie !== null) hideCookie(exchange, this.#cookie);
    }
    return null;
  }

  /** With null there was no token, and the challenge says no more than that (RFC 6750, 3.1). */
  #refuse(exchange: Exchange, refusal: Refusal | null): Verdict {
    const challenge =
      refusal === null
        ? 'Bearer realm="gateway"'
        : `Bearer error="invalid_token", error_description="${refusal}"`;
    const headers = [["www-authenticate", challenge]] as const;
    return {
      kind: "respond",
      response: problem("UNAUTHORIZED", exchange.requestId, headers, refusal ?? undefined),
      reason: `jwt: ${refusal ?? "no token"}`,
    };
  }
}

function openSource(config: JwtConfig, services: PluginServices): KeySource {
  const { jwks_uri: uri, keys, algorithms } = config;
  if ((uri === undefined) === (keys === undefined)) {
    throw unusable("give exactly one of jwks_uri and keys");
  }
  try {
    if (uri === undefined) return new StaticKeys(loadKeys(keys ?? [], algorithms));
    const refreshMs = config.jwks_refresh_ms ?? JWKS_REFRESH_MS_DEFAULT;
    return new JwksKeys({ uri, refreshMs, algorithms, services });
  } catch (cause) {
    throw unusable((cause as Error).message, cause);
  }
}

function unusable(detail: string, cause?: unknown): GatewayError {
  return new GatewayError("PLUGIN_UNAVAILABLE", `jwt: ${detail}`, cause);
}

/** The token after `Bearer`, in any case, and one or more spaces; null for another scheme. */
function bearerToken(value: string): string | null {
  if (!equalsLower(value, 0, Math.min(6, value.length), "bearer")) return null;
  let start = 6;
  while (value.charCodeAt(start) === 32) start++;
  return start === 6 || start === value.length ? null : value.slice(start);
}

function consumerOf(claims: Claims, name: string): string | null {
  const value = claimOf(claims, name);
  const text = typeof value === "number" ? String(value) : value;
  if (typeof text !== "string" || text.length === 0 || text.length > CONSUMER_CHARS_MAX)
    return null;
  return text;
}

/**
 * A claim as a header value: text, number, boolean, or a list of them joined by commas; as UTF-8.
 * Null for everything else, and for what may not be sent: the header is then absent.
 */
function headerValueOf(claims: Claims, name: string): string | null {
  const value = claimOf(claims, name);
  const parts = Array.isArray(value) ? value : [value];
  const texts: string[] = [];
  for (const part of parts) {
    if (typeof part !== "string" && typeof part !== "number" && typeof part !== "boolean") {
      return null;
    }
    // An element with a comma would read as two.
    if (Array.isArray(value) && String(part).includes(",")) return null;
    texts.push(String(part));
  }
  const bytes = Buffer.from(texts.join(","), "utf8").latin1Slice();
  return bytes.length <= CLAIM_CHARS_MAX && isFieldValue(bytes) ? bytes : null;
}
