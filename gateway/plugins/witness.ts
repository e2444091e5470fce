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

/** One call as it was: plain data, fit for structured clone. */
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

/** A call that has begun and is watched. */
export class Sighting {
  readonly #witnesses: readonly Witness[];
  readonly #exchange: Exchange;
  readonly #phase: Witnessed["phase"];
  readonly #atMs = Date.now();
  readonly #shown: Watched;
  readonly #calls: HostCall[] = [];

  /** What the plugin is about to see, before it can change anything of it. */
  constructor(witnesses: readonly Witness[], { exchange, response, grants }: Watched) {
    this.#witnesses = witnesses;
    this.#exchange = exchange;
    this.#phase = response === null ? "on_request" : "on_response";
    const copy = exchange.copy();
    this.#shown = { exchange: copy, response: response?.at(copy) ?? null, grants };
  }

  /** The same grants, watched. */
  grants(grants: Grants): Grants {
    return notingGrants(grants, this.#calls);
  }

  /** Tells what it came to. */
  end(said: Said, version: string): void {
    const shown = this.#shown;
    let context: ContextData | null = null;
    const witnessed: Witnessed = {
      phase: this.#phase,
      atMs: this.#atMs,
      get context() {
        return (context ??= contextData(shown));
      },
      bodyBytes: Math.min(shown.exchange.body?.bytes.length ?? 0, shown.grants.body ?? 0),
      calls: this.#calls,
      said,
    };
    for (const witness of this.#witnesses) witness.take(witnessed, this.#exchange, version);
  }
}

/** A copy: a decision's own data is used again by the next call. */
export function copyDecision(data: DecisionData): DecisionData {
  return {
    ...data,
    headers: [...data.headers],
    requestEdits: [...data.requestEdits],
    responseEdits: [...data.responseEdits],
    values: [...data.values],
  };
}
