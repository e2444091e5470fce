// The thread of sample.ts: makes an exchange from a sample request, lets the plugin decide, and tells
// what it decided.

import { parentPort, workerData } from "node:worker_threads";
import { Exchange } from "../exchange.ts";
import { isGatewayError } from "../base/errors.ts";
import { nowMs } from "../base/clock.ts";
import { NO_GRANTS } from "../plugins/grants.ts";
import { createWasmPlugin } from "../plugins/wasm.ts";
import { DEFAULT_SANDBOX_LIMITS } from "../../sandbox/sandbox.ts";
import { parseRequestHead } from "../wire/request-head.ts";
import type { SampleResult, SampleTask } from "./sample.ts";

const { plugin, sample } = workerData as SampleTask;
parentPort?.postMessage(await decide());

async function decide(): Promise<SampleResult> {
  const exchange = makeExchange();
  if (exchange === null) return { action: "error", code: "BAD_REQUEST", message: "a bad sample" };
  const logs: string[] = [];
  const created = createWasmPlugin({
    name: plugin.name,
    version: plugin.version,
    module: await WebAssembly.compile(plugin.bytes as Uint8Array<ArrayBuffer>),
    manifest: plugin.manifest,
    config: sample.config ?? {},
    limits: DEFAULT_SANDBOX_LIMITS,
    isolation: "fresh",
    failMode: "closed",
    log: (_level, line) => void logs.push(line),
    onCall: () => {},
    grants: NO_GRANTS,
    onQuarantined: () => {},
    nowUs: () => performance.now() * 1000,
  });
  const fault = created.check();
  if (fault !== null) return { action: "error", code: "PLUGIN_UNAVAILABLE", message: fault };
  const beganMs = nowMs();
  try {
    const verdict = (await created.plugin.onRequest?.(exchange)) ?? null;
    const tookUs = Math.round((nowMs() - beganMs) * 1000);
    const edits = {
      path: exchange.path,
      request_headers: Object.fromEntries(exchange.requestEdits ?? []),
      response_headers: Object.fromEntries(exchange.responseEdits ?? []),
      added_response_headers: exchange.responseEdits?.added ?? [],
      values: Object.fromEntries(exchange.values ?? []),
      took_us: tookUs,
      logs,
    };
    if (verdict === null) return { action: "continue", ...edits };
    const { status, headers, body } = verdict.response;
    const text = typeof body === "string" ? body : Buffer.from(body).toString("utf8");
    return { action: "respond", status, headers, body: text, reason: verdict.reason, ...edits };
  } catch (error) {
    const code = isGatewayError(error) ? error.code : "INTERNAL";
    return { action: "error", code, message: error instanceof Error ? error.message : "", logs };
  }
}

function makeExchange(): Exchange | null {
  const host = sample.host ?? "localhost";
  const path = sample.path ?? "/";
  let text = `${sample.method ?? "GET"} ${path} HTTP/1.1\r\nhost: ${host}\r\n`;
  for (const [name, value] of Object.entries(sample.headers ?? {})) text += `${name}: ${value}\r\n`;
  const head = parseRequestHead(`${text}\r\n`);
  if (typeof head === "string") return null;
  const exchange = new Exchange({
    head,
    host,
    path,
    query: sample.query ?? "",
    scheme: "https",
    tls: null,
    authority: host,
    clientIp: sample.clientIp ?? "192.0.2.1",
    forwardedFor: sample.clientIp ?? "192.0.2.1",
    requestId: "sample",
    traceparent: `00-${"1".repeat(32)}-${"1".repeat(16)}-00`,
    startedMs: nowMs(),
  });
  exchange.consumer = sample.consumer ?? null;
  exchange.claims = sample.claims ?? null;
  return exchange;
}
