// An uploaded plugin as the chain knows plugins: the bridge between a request and the sandbox. A
// failed call is never a silent pass: `fail_mode` says what it means, and it is counted and logged.

import { GatewayError } from "../base/errors.ts";
import type { ErrorCode } from "../base/errors.ts";
import type { Exchange } from "../exchange.ts";
import { GuestPool } from "../../sandbox/sandbox.ts";
import type { CallErrorCode, Manifest, Outcome, SandboxLimits } from "../../sandbox/sandbox.ts";
import { HOST_FUNCTIONS } from "./abi.ts";
import type { CallContext } from "./abi.ts";
import { Decision } from "./decision.ts";
import type { Plugin, ResponseView } from "./phases.ts";
import type { Verdict } from "./verdict.ts";

export type WasmPluginOptions = {
  readonly name: string;
  readonly version: string;
  /** Compiled from prepared bytes. */
  readonly module: WebAssembly.Module;
  readonly manifest: Manifest | null;
  readonly config: Readonly<Record<string, unknown>>;
  readonly limits: SandboxLimits;
  readonly isolation: "reuse" | "fresh";
  /** What a failed call means: the request is refused, or goes on. */
  readonly failMode: "closed" | "open";
  log(level: string, line: string, fields: Readonly<Record<string, unknown>>): void;
  /** Told of every call: what it came to, the error's code, microseconds. */
  onCall(outcome: "continue" | "respond" | "error", code: ErrorCode | null, micros: number): void;
  nowUs(): number;
};

export type WasmPlugin = {
  readonly plugin: Plugin;
  /** Starts an instance and lets the plugin check its configuration; a sentence when it refuses. */
  check(): string | null;
};

const ERROR_CODES: Readonly<Record<CallErrorCode, ErrorCode>> = {
  deadline: "PLUGIN_DEADLINE",
  stack: "PLUGIN_FAILED",
  trap: "PLUGIN_FAILED",
  guest_error: "PLUGIN_FAILED",
  bad_output: "PLUGIN_BAD_OUTPUT",
  host_denied: "PLUGIN_BAD_OUTPUT",
  host_error: "PLUGIN_FAILED",
  kernel_memory: "PLUGIN_FAILED",
  pool_exhausted: "PLUGIN_UNAVAILABLE",
};

/** Makes a plugin of a compiled module; starts nothing until `check` or the first request. */
export function createWasmPlugin(options: WasmPluginOptions): WasmPlugin {
  const bridge = new Bridge(options);
  return { plugin: bridge, check: () => bridge.check() };
}

class Bridge implements Plugin {
  readonly name: string;
  readonly version: string;
  readonly onRequest: Plugin["onRequest"];
  readonly onResponse: Plugin["onResponse"];
  readonly #options: WasmPluginOptions;
  readonly #pool: GuestPool<CallContext>;
  // One is enough: calls are synchronous and do not nest.
  readonly #context: CallContext = { exchange: null, response: null, decision: new Decision() };

  constructor(options: WasmPluginOptions) {
    this.#options = options;
    this.name = options.name;
    this.version = options.version;
    this.#pool = new GuestPool<CallContext>({
      module: options.module,
      limits: options.limits,
      hostFunctions: HOST_FUNCTIONS,
      config: configTexts(options.config),
      isolation: options.isolation,
      log: (level, line, { exchange }) =>
        options.log(level, line, {
          plugin: options.name,
          version: options.version,
          request_id: exchange?.requestId,
        }),
    });
    this.onRequest = this.#pool.hasExport("on_request")
      ? (exchange) => this.#request(exchange)
      : null;
    this.onResponse = this.#pool.hasExport("on_response")
      ? (exchange, response) => this.#response(exchange, response)
      : null;
  }

  check(): string | null {
    const context = this.#begin(null, null);
    const failure = this.#pool.warm(context);
    if (failure?.kind === "failed") return `${failure.code}: ${failure.detail}`;
    if (!this.#pool.hasExport("on_config")) return null;
    const outcome = this.#pool.call("on_config", null, context);
    return outcome.kind === "failed" ? `${outcome.code}: ${outcome.detail}` : null;
  }

  close(): void {
    this.#pool.close();
  }

  #request(exchange: Exchange): Verdict {
    const beganUs = this.#options.nowUs();
    const context = this.#begin(exchange, null);
    const outcome = this.#pool.call("on_request", this.#input(exchange), context);
    const failure = this.#failureOf(outcome);
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
    const context = this.#begin(exchange, response);
    const outcome = this.#pool.call("on_response", this.#input(exchange), context);
    const failure = this.#failureOf(outcome);
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

  // What went wrong, as a code and a detail; null when the call and its output are fine.
  #failureOf(outcome: Outcome): { code: ErrorCode; detail: string } | null {
    if (outcome.kind === "failed") {
      const detail = `${outcome.code}: ${outcome.detail}`;
      return { code: ERROR_CODES[outcome.code], detail };
    }
    const { decision, response } = this.#context;
    let why: string | null = null;
    if (outcome.output !== null) {
      const { buffer, byteOffset, length } = outcome.output;
      why = decision.takeJson(Buffer.from(buffer, byteOffset, length).toString("utf8"));
    }
    why ??= response === null ? decision.requestFault() : decision.responseFault();
    return why === null ? null : { code: "PLUGIN_BAD_OUTPUT", detail: why };
  }

  #fail(failure: { code: ErrorCode; detail: string }, exchange: Exchange, beganUs: number): void {
    const { name, version, failMode, log, onCall, nowUs } = this.#options;
    onCall("error", failure.code, nowUs() - beganUs);
    if (failMode === "closed") {
      throw new GatewayError(failure.code, `${name}@${version}: ${failure.detail}`);
    }
    log("warn", `failed open: ${failure.detail}`, {
      plugin: name,
      version,
      request_id: exchange.requestId,
    });
  }

  #input(exchange: Exchange): string | null {
    if (this.#options.manifest?.input !== "json") return null;
    const headers: Record<string, string> = Object.create(null) as Record<string, string>;
    const show = (name: string) => {
      const value = exchange.header(name);
      if (value !== null) headers[name] = value;
    };
    exchange.head.fields.forEach(show);
    // Also what plugins before this one have set.
    for (const name of exchange.requestEdits?.keys() ?? []) show(name);
    return JSON.stringify({
      method: exchange.method,
      path: exchange.path,
      query: exchange.query,
      host: exchange.host,
      scheme: exchange.scheme,
      client_ip: exchange.clientIp,
      request_id: exchange.requestId,
      route: exchange.routeName,
      params: Object.fromEntries(exchange.params ?? []),
      headers,
      consumer: exchange.consumer,
      claims: exchange.claims,
      config: this.#options.config,
    });
  }
}

// What config_get answers: each top-level key as text, and the whole as JSON under `config`.
function configTexts(config: Readonly<Record<string, unknown>>): ReadonlyMap<string, string> {
  const texts = new Map([["config", JSON.stringify(config)]]);
  for (const [key, value] of Object.entries(config)) {
    texts.set(key, typeof value === "string" ? value : JSON.stringify(value));
  }
  return texts;
}
