// A revision at run time: the routing tree and what each route does, decided once when it is built.
// Immutable: a request keeps the snapshot it began with, so it never sees two revisions, nor two
// versions of a plugin. A plugin's swap is a new snapshot that shares the tree.

import type { BodyView } from "./held-body.ts";
import type { RouteMetrics } from "../telemetry/metrics.ts";
import type { Chain } from "../plugins/chain.ts";
import type { Plugin } from "../plugins/phases.ts";
import type { LocalResponse } from "../plugins/verdict.ts";
import type { Rewrite } from "../routing/rewrite.ts";
import type { RouteTree } from "../routing/tree.ts";
import type { Upstream } from "../upstream/upstream.ts";
import type { BlockList } from "node:net";

/** What a request is hashed by, for consistent hashing. */
export type HashBy = { readonly by: "header" | "cookie" | "ip" | "path"; readonly name: string };

export type RouteAction =
  | {
      readonly kind: "upstream";
      readonly upstream: Upstream;
      readonly hash: HashBy | null;
      readonly attemptsMax: number;
      readonly retryOn: readonly string[];
    }
  | { readonly kind: "redirect"; readonly status: number; readonly to: string }
  | { readonly kind: "respond"; readonly response: LocalResponse }
  | { readonly kind: "echo" };

/** Header edits of a route's configuration; a null value removes. */
export type ConfiguredEdits = readonly (readonly [name: string, value: string | null])[];

/** One route, ready to serve. */
export type RouteRuntime = {
  readonly name: string;
  readonly chain: Chain;
  readonly action: RouteAction;
  readonly rewrite: Rewrite | null;
  readonly requestEdits: ConfiguredEdits | null;
  readonly responseEdits: ConfiguredEdits | null;
  readonly bodyBytesMax: number;
  /** null: no plugin of the route looks at bodies. */
  readonly bodyView: BodyView | null;
  readonly timeoutMs: number;
  /** How long a WebSocket may be silent. */
  readonly websocketIdleMs: number;
  readonly serverTiming: boolean;
  /** The origin is told of verified client certificates. */
  readonly forwardClientCert: boolean;
  readonly metrics: RouteMetrics;
};

export class Snapshot {
  readonly revision: number;
  readonly tree: RouteTree<RouteRuntime>;
  /** The plugins that routes refer to by index. */
  readonly slots: readonly Plugin[];
  readonly upstreams: ReadonlyMap<string, Upstream>;
  readonly trustedProxies: BlockList | null;
  /** Called when the snapshot was replaced and its last request ended. */
  readonly #onRetired: (snapshot: Snapshot) => void;
  #requests = 0;
  #replaced = false;

  constructor(parts: {
    revision: number;
    tree: RouteTree<RouteRuntime>;
    slots: readonly Plugin[];
    upstreams: ReadonlyMap<string, Upstream>;
    trustedProxies: BlockList | null;
    onRetired: (snapshot: Snapshot) => void;
  }) {
    this.revision = parts.revision;
    this.tree = parts.tree;
    this.slots = parts.slots;
    this.upstreams = parts.upstreams;
    this.trustedProxies = parts.trustedProxies;
    this.#onRetired = parts.onRetired;
  }

  /** A request begins with this snapshot. */
  acquire(): void {
    this.#requests++;
  }

  /** A request that began with this snapshot has ended. */
  release(): void {
    this.#requests--;
    if (this.#replaced && this.#requests === 0) this.#onRetired(this);
  }

  /** Another snapshot serves from now on. */
  replace(): void {
    this.#replaced = true;
    if (this.#requests === 0) this.#onRetired(this);
  }
}
