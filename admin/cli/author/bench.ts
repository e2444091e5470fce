// How fast a plugin decides: each case over and over on a warm instance, the request made outside of
// the time that counts. One core, nothing of HTTP: what a gateway adds to a request by the plugin.

import { performance } from "node:perf_hooks";
import { isGatewayError } from "../../../gateway/base/errors.ts";
import { attachPlugin, exchangeOf, responseView } from "./cases.ts";
import type { GoldenCase, LoadedPlugin } from "./cases.ts";

export type Timing = {
  readonly file: string;
  readonly p50_us: number;
  readonly p99_us: number;
  readonly calls_per_s: number;
};

const WARM_MS = 150;
const MEASURED_MS = 400;

/** Measures one case; a plugin that refuses the configuration or fails is measured too, failing. */
export async function benchCase(
  loaded: LoadedPlugin,
  file: string,
  golden: GoldenCase,
): Promise<Timing> {
  const attached = attachPlugin(loaded, { config: golden.config ?? {} });
  await attached.check();
  const callOnce = async (): Promise<number> => {
    const exchange = exchangeOf(golden.request);
    const view = golden.response === undefined ? null : responseView(golden.response, exchange);
    const beganMs = performance.now();
    try {
      const asked = attached.plugin.onRequest?.(exchange) ?? null;
      // Only those who answer later are waited for, as in a gateway.
      const verdict = asked instanceof Promise ? await asked : asked;
      const seen =
        verdict === null && view !== null && attached.plugin.onResponse?.(exchange, view);
      if (seen instanceof Promise) await seen;
    } catch (error) {
      if (!isGatewayError(error)) throw error;
    }
    return performance.now() - beganMs;
  };
  const warmUntilMs = performance.now() + WARM_MS;
  while (performance.now() < warmUntilMs) await callOnce();
  const tookMs: number[] = [];
  const untilMs = performance.now() + MEASURED_MS;
  while (performance.now() < untilMs) tookMs.push(await callOnce());
  attached.plugin.close();
  const sumMs = tookMs.reduce((sum, each) => sum + each, 0);
  const sorted = tookMs.sort((a, b) => a - b);
  const us = (share: number) => Math.round(sorted[Math.floor(sorted.length * share)] * 10_000) / 10;
  return {
    file,
    p50_us: us(0.5),
    p99_us: us(0.99),
    calls_per_s: Math.round((tookMs.length / sumMs) * 1000),
  };
}
