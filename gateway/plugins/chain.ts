// Runs the plugins of a route in order. The order is the policy: a plugin sees what those before it
// left, and the first that answers ends the chain. Stays synchronous as long as every plugin does.

import type { Exchange } from "../exchange.ts";
import type { Plugin, ResponseView } from "./phases.ts";
import type { Verdict } from "./verdict.ts";

/** Which slots of a snapshot a route's attachments use, in order. */
export type Chain = readonly number[];

/** Runs the request phase; throws what a plugin throws. Sets `exchange.decidedBy` on an answer. */
export function runRequestChain(
  slots: readonly Plugin[],
  chain: Chain,
  exchange: Exchange,
): Verdict | Promise<Verdict> {
  for (let i = 0; i < chain.length; i++) {
    const plugin = slots[chain[i]];
    if (plugin.onRequest === null) continue;
    exchange.decidedBy = plugin;
    const verdict = plugin.onRequest(exchange);
    if (verdict === null) continue;
    if (verdict instanceof Promise) return goOn(slots, { chain, next: i + 1 }, exchange, verdict);
    return verdict;
  }
  exchange.decidedBy = null;
  return null;
}

/** Runs the response phase, in the reverse order: the first to see a request sees its answer last. */
export function runResponseChain(
  slots: readonly Plugin[],
  chain: Chain,
  exchange: Exchange,
  view: () => ResponseView,
): void | Promise<void> {
  for (let i = chain.length - 1; i >= 0; i--) {
    const plugin = slots[chain[i]];
    if (plugin.onResponse === null) continue;
    const pending = plugin.onResponse(exchange, view());
    if (pending === undefined) continue;
    return pending.then(() => runResponseChain(slots, chain.slice(0, i), exchange, view));
  }
}

async function goOn(
  slots: readonly Plugin[],
  at: { chain: Chain; next: number },
  exchange: Exchange,
  pending: Promise<Verdict>,
): Promise<Verdict> {
  const verdict = await pending;
  if (verdict !== null) return verdict;
  return await runRequestChain(slots, at.chain.slice(at.next), exchange);
}
