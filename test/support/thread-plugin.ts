// A plugin attached with `isolation: thread`, in this process, and what comes of requests through it; and
// the same module metered, to compare with.

import type { TestContext } from "node:test";
import { exchangeOf, responseView, tellDecision } from "../../admin/cli/author/cases.ts";
import type { Decided, PluginCase } from "../../admin/cli/author/cases.ts";
import { isGatewayError } from "../../gateway/base/errors.ts";
import { HOST_SIGNATURES } from "../../gateway/plugins/abi.ts";
import { NO_GRANTS } from "../../gateway/plugins/grants.ts";
import type { Plugin } from "../../gateway/plugins/phases.ts";
import { createWasmPlugin } from "../../gateway/plugins/wasm.ts";
import { DEFAULT_SANDBOX_LIMITS, compileModule, prepareModule } from "../../sandbox/sandbox.ts";
import type { SandboxLimits } from "../../sandbox/sandbox.ts";

export type Attaching = {
  readonly isolation?: "reuse" | "thread";
  readonly threads?: number;
  readonly limits?: Partial<SandboxLimits>;
  readonly config?: Readonly<Record<string, unknown>>;
};

export type AttachedPlugin = {
  readonly plugin: Plugin;
  /** Why it refused to start, or null. */
  readonly fault: string | null;
  /** Runs a request, and its response where one is given, through it. */
  decide(asked: PluginCase): Promise<Decided>;
};

/** Admits and attaches a module; closed with the test. The time of a call is generous, not the default. */
export async function attach(
  t: TestContext,
  bytes: Uint8Array,
  { isolation = "thread", threads, limits, config = {} }: Attaching = {},
): Promise<AttachedPlugin> {
  const prepared = prepareModule(bytes, {
    limits: DEFAULT_SANDBOX_LIMITS,
    hostFunctions: HOST_SIGNATURES,
    requiredExports: ["on_request", "on_response"],
  });
  let logs: string[] = [];
  let nowUs = 0;
  const { plugin, check } = createWasmPlugin({
    name: "plugin",
    version: "0.0.0",
    module: await compileModule(isolation === "thread" ? prepared.clamped : prepared.bytes),
    manifest: prepared.manifest,
    config,
    limits: { ...DEFAULT_SANDBOX_LIMITS, cpuMsMax: 1_000, ...limits },
    isolation,
    ...(threads === undefined ? {} : { threads }),
    grants: NO_GRANTS,
    failMode: "closed",
    log: (_level, line) => void logs.push(line),
    onCall: () => {},
    onQuarantined: () => {},
    // Calls lie so far apart that none is too many.
    nowUs: () => (nowUs += 60_000_000),
  });
  t.after(() => plugin.close());
  const fault = await check();
  return {
    plugin,
    fault,
    decide: async (asked) => {
      if (fault !== null) return { action: "error", message: fault };
      logs = [];
      const decided = await run(plugin, asked);
      return { ...decided, logs };
    },
  };
}

async function run(plugin: Plugin, asked: PluginCase): Promise<Decided> {
  const exchange = exchangeOf(asked.request);
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
