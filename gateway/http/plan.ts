// From a configuration to what its routes do, apart from the code of their plugins: the plan. Built
// in slices, so that requests go on meanwhile. Plugins are named by slot; a snapshot fills the slots,
// and a plugin's next version only fills them anew.

import type { BlockList } from "node:net";
import type { AttachmentConfig, Config, RouteConfig, UpstreamConfig } from "../config/schema.ts";
import { toRouteInput } from "../config/route-input.ts";
import { bodyBytesOf } from "../plugins/grants.ts";
import type { Builtin } from "../plugins/phases.ts";
import type { Rewrite } from "../routing/rewrite.ts";
import { RouteTreeBuilder } from "../routing/tree.ts";
import type { RouteTree } from "../routing/tree.ts";
import type { RouteMetrics } from "../telemetry/metrics.ts";
import { buildTrustedProxies } from "./client-address.ts";
import type { BodyView } from "./held-body.ts";
import type { ConfiguredEdits, HashBy, RouteAction, RouteRuntime } from "./snapshot.ts";
import type { Upstream } from "../upstream/upstream.ts";

const ROUTES_PER_SLICE = 100;

/** One use of a plugin; attachments that are alike share it. */
export type SlotSpec = {
  /** Equal for equal uses, in every revision. */
  readonly key: string;
  readonly attachment: AttachmentConfig;
  readonly builtin: Builtin | null;
};

export type Plan = {
  readonly tree: RouteTree<RouteRuntime>;
  readonly slots: readonly SlotSpec[];
  readonly upstreams: ReadonlyMap<string, Upstream>;
  readonly trustedProxies: BlockList | null;
};

export type PlanServices = {
  readonly builtins: ReadonlyMap<string, Builtin>;
  /** The running upstream of this configuration, a new one where there is none. */
  upstream(config: UpstreamConfig): Upstream;
  metrics(routeName: string): RouteMetrics;
};

/** Builds a plan; each step is short. The configuration was checked: a fault here is a bug. */
export function* buildPlan(
  base: Config,
  routes: readonly RouteConfig[],
  services: PlanServices,
): Generator<void, Plan> {
  const upstreams = new Map<string, Upstream>();
  const configs = new Map((base.upstreams ?? []).map((config) => [config.name, config]));
  for (const config of configs.values()) upstreams.set(config.name, services.upstream(config));
  yield;
  const slots = new SlotTable(services.builtins);
  const builder = new RouteTreeBuilder<RouteRuntime>();
  const bodyBytesMax = base.limits?.body_bytes_max ?? 2 ** 30;
  for (let i = 0; i < routes.length; i++) {
    const route = routes[i];
    const runtime: RouteRuntime = {
      name: route.name,
      chain: (route.plugins ?? []).map((attachment) => slots.indexOf(attachment, route.name)),
      action: buildAction(route, upstreams),
      rewrite: buildRewrite(route),
      requestEdits: buildEdits(route.request_headers),
      responseEdits: buildEdits(route.response_headers),
      bodyBytesMax: route.body_bytes_max ?? bodyBytesMax,
      bodyView: buildBodyView(route),
      timeoutMs: route.timeout_ms ?? 30_000,
      websocketIdleMs: route.websocket?.idle_ms ?? 600_000,
      serverTiming: route.server_timing ?? false,
      forwardClientCert: route.forward_client_cert ?? false,
      metrics: services.metrics(route.name),
    };
    builder.add(toRouteInput(route, runtime));
    if (i % ROUTES_PER_SLICE === ROUTES_PER_SLICE - 1) yield;
  }
  const tree = yield* builder.finish();
  const trustedProxies = buildTrustedProxies(base.trusted_proxies ?? []);
  return { tree, slots: slots.specs, upstreams, trustedProxies };
}

/** Equal for attachments that share a slot. */
export function slotKey(attachment: AttachmentConfig, owner = ""): string {
  return JSON.stringify([owner, attachment]);
}

class SlotTable {
  readonly specs: SlotSpec[] = [];
  readonly #builtins: ReadonlyMap<string, Builtin>;
  readonly #indexes = new Map<string, number>();

  constructor(builtins: ReadonlyMap<string, Builtin>) {
    this.#builtins = builtins;
  }

  indexOf(attachment: AttachmentConfig, routeName: string): number {
    const builtin = this.#builtins.get(attachment.plugin) ?? null;
    const owner = builtin?.perRoute === true ? routeName : "";
    const key = slotKey(attachment, owner);
    let index = this.#indexes.get(key);
    if (index === undefined) {
      index = this.specs.length;
      this.specs.push({ key, attachment, builtin });
      this.#indexes.set(key, index);
    }
    return index;
  }
}

function buildAction(route: RouteConfig, upstreams: ReadonlyMap<string, Upstream>): RouteAction {
  if (route.upstream !== undefined) {
    const upstream = upstreams.get(route.upstream);
    if (upstream === undefined) throw new Error(`no upstream ${route.upstream}`);
    return {
      kind: "upstream",
      upstream,
      hash: buildHash(upstream.config),
      attemptsMax: 1 + (route.retries?.attempts ?? (route.retries === undefined ? 0 : 1)),
      retryOn: route.retries?.on ?? ["connect-failure", "reset-before-headers"],
    };
  }
  if (route.redirect !== undefined) {
    return { kind: "redirect", status: route.redirect.status ?? 302, to: route.redirect.to };
  }
  if (route.respond !== undefined) {
    const { status, headers, body } = route.respond;
    const response = {
      status: status ?? 200,
      headers: Object.entries(headers ?? {}),
      body: Buffer.from(body ?? ""),
    };
    return { kind: "respond", response };
  }
  return { kind: "echo" };
}

function buildHash(upstream: UpstreamConfig): HashBy | null {
  if (upstream.algorithm !== "consistent-hash" || upstream.hash === undefined) return null;
  const { by, name } = upstream.hash;
  return { by, name: by === "header" ? (name ?? "").toLowerCase() : (name ?? "") };
}

// What all plugins of a route together may see of a body; who must see all of it sets the bound.
function buildBodyView(route: RouteConfig): BodyView | null {
  const grants = (route.plugins ?? []).flatMap(({ grants }) => grants?.body ?? []);
  if (grants.length === 0) return null;
  const whole = grants.filter(({ mode }) => mode === "full");
  if (whole.length > 0) return { bytesMax: Math.min(...whole.map(bodyBytesOf)), whole: true };
  return { bytesMax: Math.max(...grants.map(bodyBytesOf)), whole: false };
}

function buildRewrite(route: RouteConfig): Rewrite | null {
  const { rewrite } = route;
  if (rewrite === undefined) return null;
  return {
    path: rewrite.path ?? "",
    stripPrefix: rewrite.strip_prefix ?? "",
    addPrefix: rewrite.add_prefix ?? "",
  };
}

function buildEdits(edits: RouteConfig["request_headers"]): ConfiguredEdits | null {
  if (edits === undefined) return null;
  const list: [string, string | null][] = (edits.remove ?? []).map((name) => [
    name.toLowerCase(),
    null,
  ]);
  for (const [name, value] of Object.entries(edits.set ?? {})) {
    list.push([name.toLowerCase(), value]);
  }
  return list.length === 0 ? null : list;
}
