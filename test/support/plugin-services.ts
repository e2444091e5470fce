// What a built-in plugin uses of its surroundings, with both clocks in the test's hand.

import type { PluginServices } from "../../gateway/plugins/phases.ts";
import type { LocalResponse, Verdict } from "../../gateway/plugins/verdict.ts";
import assert from "node:assert/strict";

export type TestServices = PluginServices & {
  ms: number;
  wall: number;
  readonly warnings: string[];
};

/** Services whose clocks stand still until the test moves them. */
export function makeServices(consumers: readonly (readonly [string, string])[] = []): TestServices {
  const services: TestServices = {
    consumersByKeyHash: new Map(consumers),
    ms: 1_000_000,
    wall: 1_800_000_000_000,
    warnings: [],
    nowMs: () => services.ms,
    wallMs: () => services.wall,
    warn: (message) => services.warnings.push(message),
  };
  return services;
}

/** The response of a verdict that ends the chain; fails for one that continues. */
export function responseOf(verdict: Verdict): LocalResponse {
  assert.ok(verdict !== null, "the plugin let the request pass");
  return verdict.response;
}

/** A header of a local response, or null. */
export function headerOf(response: LocalResponse, name: string): string | null {
  return response.headers.find(([own]) => own === name)?.[1] ?? null;
}
