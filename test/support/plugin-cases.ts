// Golden cases of plugins (plugins-src/abi.md, "Cases"): what an upload does to a module, one request
// through it, and the decision in the form in which the admin API's test tells it.

import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { isGatewayError } from "../../gateway/base/errors.ts";
import type { Exchange } from "../../gateway/exchange.ts";
import { LocalView } from "../../gateway/http/response-view.ts";
import { HOST_SIGNATURES, REQUIRED_EXPORTS } from "../../gateway/plugins/abi.ts";
import type { Plugin } from "../../gateway/plugins/phases.ts";
import { createWasmPlugin } from "../../gateway/plugins/wasm.ts";
import { DEFAULT_SANDBOX_LIMITS, compileModule, prepareModule } from "../../sandbox/sandbox.ts";
import type { Manifest } from "../../sandbox/sandbox.ts";
import { makeExchange } from "./made-exchange.ts";

export type PluginCase = {
  readonly request: {
    readonly method?: string;
    readonly path?: string;
    readonly query?: string;
    readonly headers?: Readonly<Record<string, string>>;
    readonly client_ip?: string;
    readonly consumer?: string;
    readonly claims?: Readonly<Record<string, unknown>>;
    readonly route?: string;
    readonly params?: Readonly<Record<string, string>>;
    /** What plugins before this one left. */
    readonly values?: Readonly<Record<string, string>>;
  };
  readonly config?: Readonly<Record<string, unknown>>;
  /** What the upstream answers: given, on_response is called too. */
  readonly response?: {
    readonly status: number;
    readonly headers?: Readonly<Record<string, string>>;
  };
};

export type GoldenCase = PluginCase & { readonly expect: Decided };
export type Decided = Readonly<Record<string, unknown>>;
export type LoadedPlugin = {
  readonly module: WebAssembly.Module;
  readonly manifest: Manifest | null;
};

const CASE_KEYS = ["request", "config", "response", "expect"];
const REQUEST_KEYS = [
  "method",
  "path",
  "query",
  "headers",
  "client_ip",
  "consumer",
  "claims",
  "route",
  "params",
  "values",
];

/** The cases of a plugin's folder by file name; fails for a misspelt key, which would test nothing. */
export function readCases(plugin: string): [file: string, golden: GoldenCase][] {
  const folder = join(plugin, "cases");
  const files = existsSync(folder) ? readdirSync(folder).sort() : [];
  return files.map((file) => {
    const golden = JSON.parse(readFileSync(join(folder, file), "utf8")) as GoldenCase;
    const strange = [
      ...Object.keys(golden).filter((key) => !CASE_KEYS.includes(key)),
      ...Object.keys(golden.request).filter((key) => !REQUEST_KEYS.includes(key)),
    ];
    assert.deepEqual(strange, [], `${join(folder, file)} has keys that no case has`);
    return [file, golden];
  });
}

/** Admits a module as an upload would, with the limits that attachments have by default. */
export async function loadPlugin(bytes: Uint8Array): Promise<LoadedPlugin> {
  const prepared = prepareModule(bytes, {
    limits: DEFAULT_SANDBOX_LIMITS,
    hostFunctions: HOST_SIGNATURES,
    requiredExports: REQUIRED_EXPORTS,
  });
  return { module: await compileModule(prepared.bytes), manifest: prepared.manifest };
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
  const { plugin, check } = createWasmPlugin({
    name: loaded.manifest?.name ?? "plugin",
    version: loaded.manifest?.version ?? "0.0.0",
    module: loaded.module,
    manifest: loaded.manifest,
    config: cases[0].config ?? {},
    limits: DEFAULT_SANDBOX_LIMITS,
    isolation: "reuse",
    failMode: "closed",
    log: (_level, line) => void logs.push(line),
    onCall: () => {},
    nowUs: () => 0,
  });
  try {
    const fault = check();
    if (fault !== null) return [{ action: "error", code: "PLUGIN_UNAVAILABLE", message: fault }];
    const decisions: Decided[] = [];
    for (const asked of cases) {
      logs = [];
      const decided = await run(plugin, exchangeOf(asked), asked);
      decisions.push({ ...decided, logs });
    }
    return decisions;
  } finally {
    plugin.close();
  }
}

async function run(plugin: Plugin, exchange: Exchange, asked: PluginCase): Promise<Decided> {
  try {
    const verdict = (await plugin.onRequest?.(exchange)) ?? null;
    const { response } = asked;
    if (verdict === null && response !== undefined) {
      const headers = Object.entries(response.headers ?? {});
      const local = { status: response.status, headers, body: "" };
      plugin.onResponse?.(exchange, new LocalView(local, exchange));
    }
    const edits = {
      path: exchange.path,
      request_headers: Object.fromEntries(exchange.requestEdits ?? []),
      response_headers: Object.fromEntries(exchange.responseEdits ?? []),
      values: Object.fromEntries(exchange.values ?? []),
    };
    if (verdict === null) return { action: "continue", ...edits };
    return { action: "respond", ...verdict.response, reason: verdict.reason, ...edits };
  } catch (error) {
    if (!isGatewayError(error)) throw error;
    return { action: "error", code: error.code, message: error.message };
  }
}

function exchangeOf({ request }: PluginCase): Exchange {
  const { method, path, query, client_ip: clientIp } = request;
  const headers = Object.entries(request.headers ?? {});
  const exchange = makeExchange({ method, path, query, headers, clientIp });
  exchange.consumer = request.consumer ?? null;
  exchange.claims = request.claims ?? null;
  exchange.routeName = request.route ?? "";
  exchange.params = new Map(Object.entries(request.params ?? {}));
  exchange.values = new Map(Object.entries(request.values ?? {}));
  return exchange;
}
