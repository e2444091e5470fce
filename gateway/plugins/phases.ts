// The contract between the request's life and a policy, built-in or uploaded. A plugin is made once
// per attachment when a snapshot is built, so that a request only calls it.

import type { Exchange } from "../exchange.ts";
import type { Verdict } from "./verdict.ts";

/** The response's head as plugins may see and edit it before it is sent. */
export type ResponseView = {
  readonly status: number;
  /** Value of the first response header of this lower-case name, or null. */
  header(name: string): string | null;
  /** The values of all its lines, in order. */
  values(name: string): readonly string[];
  /** The lower-case names of all headers, as edited so far; one that was removed may be among them. */
  names(): Iterable<string>;
  /** The same response with the edits of a copied exchange. */
  at(exchange: Exchange): ResponseView;
  /** Replaces all lines of this name. */
  set(name: string, value: string): void;
  /** Makes one line of all, with `value` as the last element of its list. */
  append(name: string, value: string): void;
  /** One more line. */
  add(name: string, value: string): void;
  remove(name: string): void;
};

/** One attached plugin, ready to run. A phase that it does not take part in is null. */
export interface Plugin {
  /** Name as configured: a label of logs and metrics. */
  readonly name: string;
  /** Version of an uploaded plugin, "builtin" otherwise. */
  readonly version: string;
  /** May answer at once (no promise: the hot path stays synchronous) or later. Throws GatewayError. */
  readonly onRequest: ((exchange: Exchange) => Verdict | Promise<Verdict>) | null;
  /**
   * Runs when the response's head is known, before it is sent; also for local responses. May take its
   * time, as `onRequest` may; the response waits then.
   */
  readonly onResponse:
    | ((exchange: Exchange, response: ResponseView) => void | Promise<void>)
    | null;
  /** Releases timers and connections; called when no snapshot holds the plugin any more. */
  close(): void;
}

/** What a built-in may use of its surroundings. */
export type PluginServices = {
  /** Consumer's name by the lower-case hex SHA-256 of an API key. */
  readonly consumersByKeyHash: { get(hash: string): string | undefined };
  /** Milliseconds of the monotonic clock. */
  nowMs(): number;
  /** Milliseconds since the epoch. */
  wallMs(): number;
  /** One line of the gateway's own log. */
  warn(message: string, fields: Record<string, unknown>): void;
};

/** A built-in plugin: `create` gets a configuration that already passed its schema. */
export type Builtin = {
  readonly name: string;
  /** True when each route needs an instance of its own: its state must not be shared. */
  readonly perRoute?: boolean;
  create(config: Readonly<Record<string, unknown>>, services: PluginServices): Plugin;
};
