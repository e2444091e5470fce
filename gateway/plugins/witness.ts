// Who watches a plugin's calls: what it saw, and what it said. A shadow shows both to the next version; a
// recorder keeps them. Nothing of this exists for a plugin that nobody watches.

import type { CallFault } from "../base/errors.ts";
import type { Exchange } from "../exchange.ts";
import type { DecisionData } from "./decision.ts";
import type { Grants } from "./grants.ts";
import { notingGrants } from "./host-calls.ts";
import type { HostCall } from "./host-calls.ts";
import type { ResponseView } from "./phases.ts";
import { contextData } from "./thread-context.ts";
import type { ContextData } from "./thread-context.ts";

/** What a call came to. */
export type Said =
  | { readonly kind: "decided"; readonly decision: DecisionData }
  | { readonly kind: "failed"; readonly fault: CallFault; readonly detail: string };

/** One call as it was; of `plainWitnessed`, fit for structured clone. */
export type Witnessed = {
  readonly phase: "on_request" | "on_response";
  /** Milliseconds since the epoch. */
  readonly atMs: number;
  /** Made when it is first looked at: the request is not to wait for it. */
  readonly context: ContextData;
  /** What of the request's body it may show at most. */
  readonly bodyBytes: number;
  /** Answers of host functions, as far as they were asked. */
  readonly calls: readonly HostCall[];
  readonly said: Said;
};

/** Told of the calls that it wants to know of. */
export interface Witness {
  /** Before a call. */
  wants(exchange: Exchange): boolean;
  /** After it. `version` is that of the plugin that said it. */
  take(witnessed: Witnessed, exchange: Exchange, version: string): void;
}

/** All who want to know of a call; null when nobody does. */
export function watching(
  witnesses: readonly Witness[],
  exchange: Exchange,
): readonly Witness[] | null {
  // Each is asked: one that has no room must not be told because another one has.
  const wanting = witnesses.filter((witness) => witness.wants(exchange));
  return wanting.length === 0 ? null : wanting;
}

/** What a call is about. */
export type Watched = {
  readonly exchange: Exchange;
  readonly response: ResponseView | null;
  readonly grants: Grants;
};

/** A call that has begun and is watched; from its end on what witnesses are told. */
export class Sighting implements Witnessed {
  readonly phase: Witnessed["phase"];
  readonly atMs = Date.now();
  readonly calls: HostCall[] = [];
  readonly #witnesses: readonly Witness[];
  readonly #exchange: Exchange;
  readonly #shown: Watched;
  #said: Said | null = null;
  #context: ContextData | null = null;

  /** What the plugin is about to see, before it can change anything of it. */
  constructor(witnesses: readonly Witness[], { exchange, response, grants }: Watched) {
    this.#witnesses = witnesses;
    this.#exchange = exchange;
    this.phase = response === null ? "on_request" : "on_response";
    const copy = exchange.copy();
    this.#shown = { exchange: copy, response: response?.at(copy) ?? null, grants };
  }

  /** The same grants, watched. */
  grants(grants: Grants): Grants {
    return notingGrants(grants, this.calls);
  }

  /** Tells what it came to. */
  end(said: Said, version: string): void {
    this.#said = said;
    for (const witness of this.#witnesses) witness.take(this, this.#exchange, version);
  }

  get context(): ContextData {
    return (this.#context ??= contextData(this.#shown));
  }

  get bodyBytes(): number {
    return Math.min(this.#shown.exchange.body?.bytes.length ?? 0, this.#shown.grants.body ?? 0);
  }

  get said(): Said {
    if (this.#said === null) throw new Error("the call has not ended");
    return this.#said;
  }
}

/** As plain data, all of it its own. */
export function plainWitnessed(witnessed: Witnessed): Witnessed {
  const { phase, atMs, context, bodyBytes, calls, said } = witnessed;
  return { phase, atMs, context, bodyBytes, calls, said };
}

const NONE: readonly never[] = Object.freeze([]);

/** A copy: a decision's own data is used again by the next call. */
export function copyDecision(data: DecisionData): DecisionData {
  return {
    status: data.status,
    body: data.body,
    reason: data.reason,
    path: data.path,
    headers: copied(data.headers),
    requestEdits: copied(data.requestEdits),
    responseEdits: copied(data.responseEdits),
    values: copied(data.values),
  };
}

function copied<T>(list: readonly T[]): readonly T[] {
  return list.length === 0 ? NONE : list.slice();
}
