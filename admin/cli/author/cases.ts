// Golden cases of plugins (plugins-src/abi.md, "Cases"): one request through an attached plugin, and
// the decision in the form in which the admin API's test tells it.

import { existsSync, readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { isGatewayError } from "../../../gateway/base/errors.ts";
import { FaultList } from "../../../gateway/config/fault-list.ts";
import { checkPluginConfig, compilePluginSchema } from "../../../gateway/config/plugin-schema.ts";
import { Exchange } from "../../../gateway/exchange.ts";
import { LocalView } from "../../../gateway/http/response-view.ts";
import { bodyBytesOf } from "../../../gateway/plugins/grants.ts";
import type { KeyValues } from "../../../gateway/plugins/grants.ts";
import type { Plugin } from "../../../gateway/plugins/phases.ts";
import type { Verdict } from "../../../gateway/plugins/verdict.ts";
import { createWasmPlugin } from "../../../gateway/plugins/wasm.ts";
import type { WasmPlugin } from "../../../gateway/plugins/wasm.ts";
import { RequestHead, parseRequestHead } from "../../../gateway/wire/request-head.ts";
import type { GuestObserver, Manifest } from "../../../sandbox/sandbox.ts";
import { CliError } from "../output.ts";
import { LIMITS } from "./admit.ts";

/** As pairs where a name comes again. */
type Headers = Readonly<Record<string, string>> | readonly (readonly [string, string])[];

export type CaseRequest = {
  readonly method?: string;
  readonly path?: string;
  readonly query?: string;
  readonly scheme?: "http" | "https";
  readonly headers?: Headers;
  readonly client_ip?: string;
  readonly consumer?: string;
  readonly claims?: Readonly<Record<string, unknown>>;
  readonly route?: string;
  readonly params?: Readonly<Record<string, string>>;
  /** What plugins before this one left. */
  readonly values?: Readonly<Record<string, string>>;
  /** All of the body, for plugins that look at bodies. */
  readonly body?: string;
};

export type PluginCase = {
  readonly request: CaseRequest;
  readonly config?: Readonly<Record<string, unknown>>;
  /** What the upstream answers: given, on_response is called too. */
  readonly response?: {
    readonly status: number;
    readonly headers?: Headers;
  };
  /** The time of the call; the real one when left out. */
  readonly now?: string;
};

export type Decided = Readonly<Record<string, unknown>>;
export type GoldenCase = PluginCase & { readonly expect: Decided };
export type LoadedPlugin = {
  readonly module: WebAssembly.Module;
  readonly manifest: Manifest | null;
  readonly observer?: GuestObserver;
};

const HOST = "api.example.com";
/** As attachments have it by default. */
const BODY_BYTES_MAX = bodyBytesOf({});
const CASE_KEYS = ["request", "config", "response", "now", "expect"];
const REQUEST_KEYS = [
  ...["method", "path", "query", "scheme", "headers", "client_ip"],
  ...["consumer", "claims", "route", "params", "values", "body"],
];

/** The cases of a plugin's folder by file name, in order. */
export function readCases(plugin: string): [file: string, golden: GoldenCase][] {
  const folder = join(plugin, "cases");
  const files = existsSync(folder) ? readdirSync(folder).sort() : [];
  return files
    .filter((file) => file.endsWith(".json"))
    .map((file) => [file, readCase(join(folder, file))]);
}

/** Reads one case; refuses a misspelt key, which would test nothing. */
export function readCase(file: string): GoldenCase {
  let parsed: unknown;
  try {
    parsed = JSON.parse(readFileSync(file, "utf8"));
  } catch (error) {
    throw new CliError(`${file} cannot be read: ${error instanceof Error ? error.message : ""}`);
  }
  if (!isRecord(parsed)) throw new CliError(`${file} is no case: a JSON object is needed`);
  mustKnow(parsed, CASE_KEYS, file);
  const { request = {}, expect } = parsed;
  if (!isRecord(request)) throw new CliError(`${file}: request is an object`);
  mustKnow(request, REQUEST_KEYS, `${file}: request`);
  if (!isRecord(expect) || Object.keys(expect).length === 0) {
    throw new CliError(`${file} expects nothing: give "expect": {"action": "continue"}`);
  }
  return { ...parsed, request, expect } as GoldenCase;
}

/** Attaches the plugin with the case's configuration and runs the case's request through it. */
export async function decide(loaded: LoadedPlugin, asked: PluginCase): Promise<Decided> {
  const [decided] = await decideAll(loaded, [asked]);
  return decided;
}

/** Runs the requests of several cases through one attachment, made with the first's configuration. */
export async function decideAll(
  loaded: LoadedPlugin,
  cases: readonly PluginCase[],
): Promise<Decided[]> {
  let logs: string[] = [];
  const log = (line: string) => void logs.push(line);
  const { plugin, check } = attachPlugin(loaded, { config: cases[0].config ?? {}, log });
  try {
    const refusal = refused(await check(), configFaults(loaded, cases[0].config ?? {}));
    if (refusal !== null) return [refusal];
    const decisions: Decided[] = [];
    for (const asked of cases) {
      logs = [];
      const decided = await runAt(asked.now, () => run(plugin, exchangeOf(asked.request), asked));
      decisions.push({ ...decided, logs });
    }
    return decisions;
  } finally {
    plugin.close();
  }
}

// What the gateway would say of the configuration: the plugin's own sentence is told too where the
// schema already refuses it, so that both can be tested.
function refused(sentence: string | null, faults: readonly string[]): Decided | null {
  if (sentence === null && faults.length === 0) return null;
  const told = faults.length === 0 ? {} : { config_faults: faults };
  const code = sentence === null ? "invalid_config" : "PLUGIN_UNAVAILABLE";
  return { action: "error", code, message: sentence ?? faults.join("; "), ...told };
}

// By the schema of the manifest; a reference to a secret may stand for anything here.
function configFaults(
  { manifest }: LoadedPlugin,
  config: Readonly<Record<string, unknown>>,
): readonly string[] {
  const schema = manifest?.configSchema ?? null;
  if (schema === null) return [];
  const readFile = () => {
    throw new Error("a case reads no files");
  };
  const faults = new FaultList();
  const source = { env: {}, baseDir: ".", readFile };
  checkPluginConfig(compilePluginSchema(schema), config, { path: "", source, faults });
  return faults.faults.map(({ path, message }) => (path === "" ? message : `${path}: ${message}`));
}

/** The plugin as a route has it, with the limits that attachments have by default. */
export function attachPlugin(
  { module, manifest, observer }: LoadedPlugin,
  {
    config,
    log = () => {},
  }: { config: Readonly<Record<string, unknown>>; log?: (line: string) => void },
): WasmPlugin {
  return createWasmPlugin({
    name: manifest?.name ?? "plugin",
    version: manifest?.version ?? "0.0.0",
    module,
    manifest,
    config,
    limits: LIMITS,
    isolation: "reuse",
    failMode: "closed",
    log: (_level, line) => log(line),
    grants: { kv: memoryValues(), http: null, body: BODY_BYTES_MAX },
    onCall: () => {},
    onQuarantined: () => {},
    nowUs: () => 0,
    ...(observer === undefined ? {} : { observer }),
  });
}

// Every grant but calls of other hosts: a case depends on nothing outside of it.
function memoryValues(): KeyValues {
  const values = new Map<string, string>();
  return {
    get: async (key) => values.get(key) ?? null,
    set: async (key, value) => void values.set(key, value),
    increment: async (key, by) => {
      const sum = Number(values.get(key) ?? 0) + by;
      values.set(key, String(sum));
      return sum;
    },
  };
}

// The sandbox shows its guests the time of day, which a case may need to hold still.
async function runAt<T>(now: string | undefined, act: () => Promise<T>): Promise<T> {
  if (now === undefined) return await act();
  const ms = Date.parse(now);
  if (Number.isNaN(ms))
    throw new CliError(`now is a time such as 2026-11-24T12:00:00Z, not ${now}`);
  const realNow = Date.now;
  Date.now = () => ms;
  try {
    return await act();
  } finally {
    Date.now = realNow;
  }
}

async function run(plugin: Plugin, exchange: Exchange, asked: PluginCase): Promise<Decided> {
  try {
    const verdict = (await plugin.onRequest?.(exchange)) ?? null;
    if (verdict === null && asked.response !== undefined) {
      await plugin.onResponse?.(exchange, responseView(asked.response, exchange));
    }
    return tellDecision(verdict, exchange);
  } catch (error) {
    if (!isGatewayError(error)) throw error;
    return { action: "error", code: error.code, message: error.message };
  }
}

/** What a plugin decided, as the admin API tells it. */
export function tellDecision(verdict: Verdict, exchange: Exchange): Decided {
  const edits = {
    path: exchange.path,
    request_headers: Object.fromEntries(exchange.requestEdits ?? []),
    response_headers: Object.fromEntries(exchange.responseEdits ?? []),
    added_response_headers: exchange.responseEdits?.added ?? [],
    values: Object.fromEntries(exchange.values ?? []),
  };
  if (verdict === null) return { action: "continue", ...edits };
  return { action: "respond", ...verdict.response, reason: verdict.reason, ...edits };
}

/** The response of a case as `on_response` sees it. */
export function responseView(
  { status, headers = {} }: NonNullable<PluginCase["response"]>,
  exchange: Exchange,
): LocalView {
  return new LocalView({ status, headers: pairsOf(headers), body: "" }, exchange);
}

/** A request as if a connection had parsed it: the real parser runs. */
export function exchangeOf(request: CaseRequest): Exchange {
  const {
    method = "GET",
    path = "/orders",
    query = "",
    client_ip: clientIp = "192.0.2.1",
  } = request;
  const lines = pairsOf(request.headers ?? {}).map(([name, value]) => `${name}: ${value}\r\n`);
  const target = query === "" ? path : `${path}?${query}`;
  const head = parseRequestHead(
    `${method} ${target} HTTP/1.1\r\nHost: ${HOST}\r\n${lines.join("")}\r\n`,
  );
  if (!(head instanceof RequestHead)) {
    throw new CliError(`no client could send ${method} ${target}: ${JSON.stringify(head)}`);
  }
  const exchange = new Exchange({
    head,
    host: HOST,
    path,
    query,
    scheme: request.scheme ?? "https",
    tls: null,
    authority: HOST,
    clientIp,
    forwardedFor: clientIp,
    requestId: "0123456789abcdef0123456789abcdef",
    traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00",
    startedMs: 0,
  });
  exchange.consumer = request.consumer ?? null;
  exchange.claims = request.claims ?? null;
  exchange.routeName = request.route ?? "";
  exchange.params = new Map(Object.entries(request.params ?? {}));
  exchange.values = new Map(Object.entries(request.values ?? {}));
  exchange.body = { bytes: Buffer.from(request.body ?? ""), whole: true };
  return exchange;
}

function pairsOf(headers: Headers): (readonly [name: string, value: string])[] {
  return Array.isArray(headers) ? headers : Object.entries(headers);
}

function mustKnow(value: object, known: readonly string[], where: string): void {
  const strange = Object.keys(value).find((key) => !known.includes(key));
  if (strange === undefined) return;
  throw new CliError(`${where} has the key ${strange}; known are ${known.join(", ")}`);
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
