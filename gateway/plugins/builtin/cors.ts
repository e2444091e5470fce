// Cross-origin resource sharing (Fetch standard, 3.2): answers preflights here and marks every
// response, local errors included, so that a browser's script may read it. The gateway's list is
// the only one: what the origin says about CORS is replaced. Attach it before authentication,
// since a preflight carries no credentials.

import type { Exchange } from "../../exchange.ts";
import { eachListElement, isToken } from "../../wire/chars.ts";
import { GatewayError } from "../../base/errors.ts";
import type { Builtin, Plugin, ResponseView } from "../phases.ts";
import type { Verdict } from "../verdict.ts";
import { SEVERAL, findHeader } from "./credentials.ts";

const METHODS_DEFAULT = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];
const MAX_AGE_S_DEFAULT = 600;
const REQUESTED_HEADERS_CHARS_MAX = 2048;
const PREFLIGHT_VARY = "Origin, Access-Control-Request-Method, Access-Control-Request-Headers";
const ANSWERS = [
  "access-control-allow-origin",
  "access-control-allow-credentials",
  "access-control-allow-methods",
  "access-control-allow-headers",
  "access-control-expose-headers",
  "access-control-max-age",
] as const;

type CorsConfig = {
  readonly origins: readonly string[];
  readonly methods?: readonly string[];
  readonly headers?: readonly string[];
  readonly expose_headers?: readonly string[];
  readonly credentials?: boolean;
  readonly max_age_s?: number;
};

/** The `cors` plugin. */
export const cors: Builtin = { name: "cors", create };

function create(config: Readonly<Record<string, unknown>>): Plugin {
  const policy = new CorsPolicy(config as CorsConfig);
  return {
    name: "cors",
    version: "builtin",
    onRequest: (exchange) => policy.answerPreflight(exchange),
    onResponse: (exchange, response) => policy.mark(exchange, response),
    close() {},
  };
}

class CorsPolicy {
  readonly #origins: ReadonlySet<string>;
  readonly #isAny: boolean;
  readonly #methods: string;
  /** Null: whatever header names the preflight asks for are allowed. */
  readonly #headers: string | null;
  readonly #expose: string | null;
  readonly #hasCredentials: boolean;
  readonly #maxAge: string;

  constructor(config: CorsConfig) {
    this.#origins = new Set(config.origins);
    this.#isAny = this.#origins.has("*");
    this.#methods = (config.methods ?? METHODS_DEFAULT).join(", ");
    const headers = config.headers ?? ["*"];
    this.#headers = headers.includes("*") ? null : headers.join(", ");
    this.#expose = config.expose_headers?.length ? config.expose_headers.join(", ") : null;
    this.#hasCredentials = config.credentials ?? false;
    this.#maxAge = String(config.max_age_s ?? MAX_AGE_S_DEFAULT);
    // Every site could then act with the user's cookies; browsers refuse the literal pair anyway.
    if (this.#isAny && this.#hasCredentials) {
      throw new GatewayError("PLUGIN_UNAVAILABLE", 'cors: credentials need origins other than "*"');
    }
  }

  answerPreflight(exchange: Exchange): Verdict {
    if (exchange.method !== "OPTIONS") return null;
    const head = exchange.head;
    if (head.get("origin") === null || head.get("access-control-request-method") === null) {
      return null;
    }
    const allowed = this.#allowOrigin(exchange);
    const headers: [string, string][] = [["vary", PREFLIGHT_VARY]];
    if (allowed !== null) {
      headers.push(["access-control-allow-origin", allowed]);
      if (this.#hasCredentials) headers.push(["access-control-allow-credentials", "true"]);
      headers.push(["access-control-allow-methods", this.#methods]);
      const names = this.#headers ?? requestedHeaders(exchange);
      if (names !== null) headers.push(["access-control-allow-headers", names]);
      headers.push(["access-control-max-age", this.#maxAge]);
    }
    return {
      kind: "respond",
      response: { status: 204, headers, body: "" },
      reason: allowed === null ? "cors: origin not allowed" : "cors: preflight",
    };
  }

  mark(exchange: Exchange, response: ResponseView): void {
    // Also without an Origin: a cache must not keep the answer to that for one with an Origin.
    if (!this.#isAny) addVary(response);
    const isPreflight =
      exchange.method === "OPTIONS" && exchange.head.get("access-control-request-method") !== null;
    for (const name of ANSWERS) {
      // A preflight's own answer was made here and is kept; on any other response these come
      // from the origin.
      if (isPreflight && name !== ANSWERS[0] && name !== ANSWERS[1]) continue;
      // Asked first: an edit makes the writer look at every field of the head.
      if (response.header(name) !== null) response.remove(name);
    }
    const allowed = this.#allowOrigin(exchange);
    if (allowed === null) return;
    response.set("access-control-allow-origin", allowed);
    if (this.#hasCredentials) response.set("access-control-allow-credentials", "true");
    if (this.#expose !== null && !isPreflight) {
      response.set("access-control-expose-headers", this.#expose);
    }
  }

  /** What Access-Control-Allow-Origin says; null when the origin is absent or not allowed. */
  #allowOrigin(exchange: Exchange): string | null {
    const origin = findHeader(exchange, "origin");
    if (origin === null || origin === SEVERAL) return null;
    // "*" covers the opaque origin too, but "null" among listed ones must be meant: any sandboxed
    // frame has it.
    if (this.#isAny) return "*";
    return this.#origins.has(origin) ? origin : null;
  }
}

// The names asked for, written anew so that only tokens are echoed; null for none or nonsense.
function requestedHeaders(exchange: Exchange): string | null {
  const asked = exchange.head.get("access-control-request-headers");
  if (asked === null || asked.length > REQUESTED_HEADERS_CHARS_MAX) return null;
  const names: string[] = [];
  let isSane = true;
  eachListElement(asked, (name) => {
    if (isToken(name)) names.push(name);
    else isSane = false;
  });
  return isSane && names.length > 0 ? names.join(", ") : null;
}

function addVary(response: ResponseView): void {
  const vary = response.header("vary");
  if (vary === null) {
    response.set("vary", "Origin");
    return;
  }
  let isNamed = false;
  eachListElement(vary, (name) => {
    if (name === "*" || name.toLowerCase() === "origin") isNamed = true;
  });
  if (!isNamed) response.append("vary", "Origin");
}
