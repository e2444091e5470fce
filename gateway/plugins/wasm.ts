// An uploaded plugin as the chain knows plugins: the bridge between a request and the sandbox. A
// failed call is never a silent pass: `fail_mode` says what it means, and it is counted and logged.

import { GatewayError } from "../base/errors.ts";
import type { CallFault, ErrorCode } from "../base/errors.ts";
import type { Exchange } from "../exchange.ts";
import { GuestPool, THREAD_LIMITS } from "../../sandbox/sandbox.ts";
import type {
  GuestLog,
  GuestObserver,
  Manifest,
  Outcome,
  SandboxLimits,
} from "../../sandbox/sandbox.ts";
import { HOST_FUNCTIONS } from "./abi.ts";
import type { CallContext } from "./abi.ts";
import { GRANTED } from "./abi-async.ts";
import { Decision } from "./decision.ts";
import type { Grants } from "./grants.ts";
import { jsonInput } from "./json-input.ts";
import { isKill, KillSwitch } from "./kill-switch.ts";
import type { Plugin, ResponseView } from "./phases.ts";
import { ThreadGuests } from "./thread.ts";
import type { Verdict } from "./verdict.ts";
import { Sighting, copyDecision, watching } from "./witness.ts";
import type { Said, Witness } from "./witness.ts";

export type WasmPluginOptions = {
  readonly name: string;
  readonly version: string;
  /** Compiled from prepared bytes. */
  readonly module: WebAssembly.Module;
  readonly manifest: Manifest | null;
  readonly config: Readonly<Record<string, unknown>>;
  readonly limits: SandboxLimits;
  readonly isolation: "reuse" | "fresh" | "thread";
  /** How many, with `thread`; then the module is compiled from clamped bytes and not metered. */
  readonly threads?: number;
  /** What a failed call means: the request is refused, or goes on. */
  readonly failMode: "closed" | "open";
  /** What it may use beside the request; its caller is closed with the plugin. */
  readonly grants: Grants;
  log(level: string, line: string, fields: Readonly<Record<string, unknown>>): void;
  /** Told of every call: what it came to, what failed, microseconds. */
  onCall(outcome: "continue" | "respond" | "error", fault: CallFault | null, micros: number): void;
  /** Told when the plugin had to be stopped too often; it is then not called for a while. */
  onQuarantined(detail: string): void;
  /** Told of what the plugin sees and says. */
  readonly witnesses?: readonly Witness[];
  /** For tools; not with threads. */
  readonly observer?: GuestObserver;
  nowUs(): number;
};

export type WasmPlugin = {
  readonly plugin: Plugin;
  /** Starts an instance and lets the plugin check its configuration; a sentence when it refuses. */
  check(): string | null | Promise<string | null>;
};

const ERROR_CODES: Readonly<Record<CallFault, ErrorCode>> = {
  deadline: "PLUGIN_DEADLINE",
  stack: "PLUGIN_FAILED",
  trap: "PLUGIN_FAILED",
  guest_error: "PLUGIN_FAILED",
  bad_output: "PLUGIN_BAD_OUTPUT",
  host_denied: "PLUGIN_BAD_OUTPUT",
  host_error: "PLUGIN_FAILED",
  kernel_memory: "PLUGIN_FAILED",
  async_timeout: "PLUGIN_DEADLINE",
  pool_exhausted: "PLUGIN_UNAVAILABLE",
  quarantined: "PLUGIN_QUARANTINED",
};

/** A call that failed. */
export type Failure = { readonly fault: CallFault; readonly detail: string };

/** Makes a plugin of a compiled module; starts nothing until `check` or the first request. */
export function createWasmPlugin(options: WasmPluginOptions): WasmPlugin {
  const bridge = new Bridge(options);
  return { plugin: bridge, check: () => bridge.check() };
}

const SET_ASIDE: Failure = {
  fault: "quarantined",
  detail: "it was stopped too often and is not called for a while",
};

type Called = {
  readonly outcome: Outcome;
  readonly context: CallContext;
  readonly sighting: Sighting | null;
};

type Answered = { readonly exchange: Exchange; readonly response: ResponseView };

class Bridge implements Plugin {
  readonly name: string;
  readonly version: string;
  readonly onRequest: Plugin["onRequest"];
  readonly onResponse: Plugin["onResponse"];
  readonly #options: WasmPluginOptions;
  readonly #pool: GuestPool<CallContext> | ThreadGuests;
  readonly #killSwitch = new KillSwitch();
  /** null: nobody watches. */
  readonly #witnesses: readonly Witness[] | null;
  // Enough for all calls that do not wait: they do not nest.
  readonly #context: CallContext;

  constructor(options: WasmPluginOptions) {
    this.#options = options;
    this.name = options.name;
    this.version = options.version;
    const { witnesses = [] } = options;
    this.#witnesses = witnesses.length === 0 ? null : witnesses;
    this.#context = this.#newContext(null);
    this.#pool = makeGuests(options);
    this.onRequest = !this.#pool.hasExport("on_request")
      ? null
      : this.#pool.suspends
        ? (exchange) => this.#requestLater(exchange)
        : (exchange) => this.#request(exchange);
    this.onResponse = !this.#pool.hasExport("on_response")
      ? null
      : this.#pool.suspends
        ? (exchange, response) => this.#responseLater(exchange, response)
        : (exchange, response) => this.#response(exchange, response);
  }

  check(): string | null | Promise<string | null> {
    const missing = this.#missingGrant();
    if (missing !== null) return missing;
    const context = this.#begin(null, null);
    if (this.#pool instanceof ThreadGuests) return this.#pool.check(context);
    const failure = this.#pool.warm(context);
    if (failure?.kind === "failed") return `${failure.code}: ${failure.detail}`;
    if (!this.#pool.hasExport("on_config")) return null;
    const outcome = this.#pool.call("on_config", null, context);
    return outcome.kind === "failed" ? `${outcome.code}: ${outcome.detail}` : null;
  }

  close(): void {
    this.#pool.close();
    this.#options.grants.http?.close();
  }

  #request(exchange: Exchange): Verdict {
    const beganUs = this.#options.nowUs();
    if (this.#isSetAside(beganUs)) {
      this.#fail(SET_ASIDE, exchange, beganUs);
      return null;
    }
    const sighting = this.#look(exchange, null);
    const context = this.#begin(exchange, null);
    const outcome = this.#pool.call("on_request", this.#input(exchange), context);
    return this.#verdict({ outcome, context, sighting }, exchange, beganUs);
  }

  // The same for a guest that may have to wait: its call has a context of its own.
  async #requestLater(exchange: Exchange): Promise<Verdict> {
    const beganUs = this.#options.nowUs();
    if (this.#isSetAside(beganUs)) {
      this.#fail(SET_ASIDE, exchange, beganUs);
      return null;
    }
    const sighting = this.#look(exchange, null);
    const context = this.#newContext(exchange, sighting);
    const outcome = await this.#pool.callLater("on_request", this.#input(exchange), context);
    return this.#verdict({ outcome, context, sighting }, exchange, beganUs);
  }

  #verdict(called: Called, exchange: Exchange, beganUs: number): Verdict {
    const { outcome, context, sighting } = called;
    const failure = failureOf(outcome, context);
    sighting?.end(saidOf(failure, context), this.version);
    if (failure !== null) {
      this.#fail(failure, exchange, beganUs);
      return null;
    }
    const { decision } = context;
    const said = decision.responds ? "respond" : "continue";
    this.#options.onCall(said, null, this.#options.nowUs() - beganUs);
    return decision.applyToRequest(exchange);
  }

  #response(exchange: Exchange, response: ResponseView): void {
    const beganUs = this.#options.nowUs();
    if (this.#isSetAside(beganUs)) {
      this.#fail(SET_ASIDE, exchange, beganUs);
      return;
    }
    const sighting = this.#look(exchange, response);
    const context = this.#begin(exchange, response);
    const outcome = this.#pool.call("on_response", this.#input(exchange), context);
    this.#edit({ outcome, context, sighting }, { exchange, response }, beganUs);
  }

  async #responseLater(exchange: Exchange, response: ResponseView): Promise<void> {
    const beganUs = this.#options.nowUs();
    if (this.#isSetAside(beganUs)) {
      this.#fail(SET_ASIDE, exchange, beganUs);
      return;
    }
    const sighting = this.#look(exchange, response);
    const context = this.#newContext(exchange, sighting);
    context.response = response;
    const outcome = await this.#pool.callLater("on_response", this.#input(exchange), context);
    this.#edit({ outcome, context, sighting }, { exchange, response }, beganUs);
  }

  #edit(called: Called, { exchange, response }: Answered, beganUs: number): void {
    const { outcome, context, sighting } = called;
    const failure = failureOf(outcome, context);
    sighting?.end(saidOf(failure, context), this.version);
    if (failure !== null) {
      this.#fail(failure, exchange, beganUs);
      return;
    }
    this.#options.onCall("continue", null, this.#options.nowUs() - beganUs);
    context.decision.applyToResponse(exchange, response);
  }

  #begin(exchange: Exchange | null, response: ResponseView | null): CallContext {
    const context = this.#context;
    context.exchange = exchange;
    context.response = response;
    context.decision.begin();
    return context;
  }

  #isSetAside(nowUs: number): boolean {
    return this.#killSwitch.isOpen(nowUs / 1_000);
  }

  #newContext(exchange: Exchange | null, sighting: Sighting | null = null): CallContext {
    const decision = new Decision();
    decision.begin();
    const { grants } = this.#options;
    return { exchange, response: null, decision, grants: sighting?.grants(grants) ?? grants };
  }

  #look(exchange: Exchange, response: ResponseView | null): Sighting | null {
    if (this.#witnesses === null) return null;
    const wanting = watching(this.#witnesses, exchange);
    const { grants } = this.#options;
    return wanting === null ? null : new Sighting(wanting, { exchange, response, grants });
  }

  // What it needs and its attachment does not give; a plugin that lacks something must not start.
  #missingGrant(): string | null {
    const { grants, manifest } = this.#options;
    const unknown = manifest?.needs.find((need) => !Object.hasOwn(GRANTED, need));
    if (unknown !== undefined) return `it needs ${unknown}, which this gateway does not have`;
    for (const [grant, names] of Object.entries(GRANTED)) {
      const has = grants[grant as keyof Grants] !== null;
      const uses = names.find((name) => this.#pool.uses(name));
      const needs = manifest?.needs.includes(grant) === true;
      if (has || (uses === undefined && !needs)) continue;
      const why = uses === undefined ? "its manifest says so" : `it calls ${uses}`;
      return `it needs ${grant} (${why}); its attachment must say grants: { ${grant}: ... }`;
    }
    return null;
  }

  #fail({ fault, detail }: Failure, exchange: Exchange, beganUs: number): void {
    const { name, version, failMode, log, onCall, onQuarantined, nowUs } = this.#options;
    const endedUs = nowUs();
    onCall("error", fault, endedUs - beganUs);
    const said = `${fault}: ${detail}`;
    if (isKill(fault) && this.#killSwitch.onKill(endedUs / 1_000)) onQuarantined(said);
    if (failMode === "closed") {
      throw new GatewayError(ERROR_CODES[fault], `${name}@${version}: ${said}`);
    }
    log("warn", `failed open: ${said}`, {
      plugin: name,
      version,
      request_id: exchange.requestId,
    });
  }

  #input(exchange: Exchange): string | null {
    const { manifest, grants, config } = this.#options;
    if (manifest?.input !== "json") return null;
    return jsonInput(exchange, {
      headers: exchange.headers(),
      bodyBytesMax: grants.body,
      config,
    });
  }
}

function saidOf(failure: Failure | null, { decision }: CallContext): Said {
  if (failure !== null) return { kind: "failed", ...failure };
  return { kind: "decided", decision: copyDecision(decision.data()) };
}

/** What went wrong; null when the call and its output are fine. */
export function failureOf(outcome: Outcome, { decision, response }: CallContext): Failure | null {
  if (outcome.kind === "failed") return { fault: outcome.code, detail: outcome.detail };
  let why: string | null = null;
  if (outcome.output !== null) {
    const { buffer, byteOffset, length } = outcome.output;
    why = decision.takeJson(Buffer.from(buffer, byteOffset, length).toString("utf8"));
  }
  why ??= response === null ? decision.requestFault() : decision.responseFault();
  return why === null ? null : { fault: "bad_output", detail: why };
}

function makeGuests(options: WasmPluginOptions): GuestPool<CallContext> | ThreadGuests {
  const { module, limits, isolation, threads, name: plugin, version } = options;
  const config = configTexts(options.config);
  const log: GuestLog<CallContext> = (level, line, { exchange }) =>
    options.log(level, line, { plugin, version, request_id: exchange?.requestId });
  return isolation === "thread"
    ? new ThreadGuests({ module, limits, config, threads: threads ?? THREAD_LIMITS.threads, log })
    : new GuestPool({
        ...{ module, limits, hostFunctions: HOST_FUNCTIONS, config, isolation, log },
        ...(options.observer === undefined ? {} : { observer: options.observer }),
      });
}

// What config_get answers: each top-level key as text, and the whole as JSON under `config`.
export function configTexts(
  config: Readonly<Record<string, unknown>>,
): ReadonlyMap<string, string> {
  const texts = new Map<string, string>();
  for (const [key, value] of Object.entries(config)) {
    texts.set(key, typeof value === "string" ? value : JSON.stringify(value));
  }
  // Last: a key of that name must not hide the whole.
  return texts.set("config", JSON.stringify(config));
}
