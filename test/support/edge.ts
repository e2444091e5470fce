// The data path in this process, over real sockets and without a cluster: a listener on a port of
// its own, routes given as configuration. What it counted and logged can be looked at.

import type { AddressInfo } from "node:net";
import type { TestContext } from "node:test";
import { beginTurn, nowMs } from "../../gateway/base/clock.ts";
import { IdSource } from "../../gateway/base/ids.ts";
import { createLog } from "../../gateway/base/log.ts";
import { TimerWheel } from "../../gateway/base/timer-wheel.ts";
import type { Config } from "../../gateway/config/schema.ts";
import type { Exchange } from "../../gateway/exchange.ts";
import { connectionTimeouts, ListenerHost } from "../../gateway/http/listener-host.ts";
import type { ListenerOptions, TlsOptions } from "../../gateway/http/listener-host.ts";
import { buildPlan } from "../../gateway/http/plan.ts";
import { Snapshot } from "../../gateway/http/snapshot.ts";
import { BUILTINS } from "../../gateway/plugins/builtin/registry.ts";
import type { Plugin } from "../../gateway/plugins/phases.ts";
import { LISTENER_ROW, Metrics } from "../../gateway/telemetry/metrics.ts";
import { ReadBuffers } from "../../gateway/base/read-buffers.ts";
import { Upstream } from "../../gateway/upstream/upstream.ts";

export type EdgeOptions = {
  /** Of the listener. */
  readonly name?: string;
  readonly config: Config;
  /** Plugins by name, beside the built-in ones. */
  readonly plugins?: ReadonlyMap<string, Plugin>;
  readonly tls?: TlsOptions;
  readonly http2?: boolean;
  readonly timeouts?: Parameters<typeof connectionTimeouts>[0];
  readonly connectionsMax?: number;
  readonly connectionsPerAddressMax?: number;
  readonly proxyProtocol?: readonly string[];
};

export type Edge = {
  readonly port: number;
  readonly metrics: Metrics;
  readonly host: ListenerHost;
  /** What the listener was made with. */
  readonly listener: ListenerOptions;
  /** Finished requests, in order. */
  readonly finished: Exchange[];
  readonly logLines: string[];
};

/** TLS as a listener has it by default. */
export function tlsOptions(
  certificates: TlsOptions["certificates"],
  rest: Partial<TlsOptions> = {},
): TlsOptions {
  return {
    certificates,
    clientCa: null,
    minVersion: "TLSv1.2",
    clientAuth: "none",
    ticketKeys: new Uint8Array(48).fill(7),
    ...rest,
  };
}

/** How many handshakes ended well and badly, as its listener counted them. */
export function handshakes(edge: Edge): { ok: number; failed: number } {
  const { rows } = edge.metrics.snapshot().listeners;
  return { ok: rows[LISTENER_ROW.handshakesOk], failed: rows[LISTENER_ROW.handshakesFailed] };
}

/** Starts a gateway for one test; it is gone when the test ends. */
export async function startEdge(t: TestContext, options: EdgeOptions): Promise<Edge> {
  const wheel = new TimerWheel(beginTurn);
  const metrics = new Metrics("test");
  const logLines: string[] = [];
  const log = createLog((line) => logLines.push(line));
  const buffers = new ReadBuffers();
  const upstreams: Upstream[] = [];
  const steps = buildPlan(options.config, options.config.routes ?? [], {
    builtins: BUILTINS,
    upstream: (config) => {
      const counters = metrics.upstream(config.name);
      const services = {
        wheel,
        buffers,
        counters,
        tls: { ca: null, cert: null, key: null },
        warn: () => {},
      };
      const upstream = new Upstream(config, services);
      upstreams.push(upstream);
      return upstream;
    },
    metrics: (name) => metrics.route(name),
  });
  let step = steps.next();
  while (step.done !== true) step = steps.next();
  const plan = step.value;
  const slots = plan.slots.map(({ attachment, builtin }) => {
    const own = options.plugins?.get(attachment.plugin);
    if (own !== undefined) return own;
    if (builtin === null) throw new Error(`no plugin ${attachment.plugin}`);
    const services = {
      consumersByKeyHash: new Map<string, string>(),
      nowMs,
      wallMs: () => Date.now(),
      warn: () => {},
    };
    return builtin.create(attachment.config ?? {}, services);
  });
  const snapshot = new Snapshot({ revision: 1, ...plan, slots, onRetired: () => {} });
  const finished: Exchange[] = [];
  const core = {
    ids: new IdSource(),
    snapshot,
    log,
    wheel,
    onFinished: (exchange: Exchange) => void finished.push(exchange),
  };
  const listener: ListenerOptions = {
    name: options.name ?? "test",
    timeouts: connectionTimeouts(options.timeouts ?? {}),
    connectionsMax: options.connectionsMax ?? 1000,
    connectionsPerAddressMax: options.connectionsPerAddressMax ?? null,
    proxyProtocol: options.proxyProtocol ?? null,
    tls: options.tls ?? null,
    http2: options.http2 ?? false,
  };
  const counters = metrics.listener(listener.name);
  const host = new ListenerHost(listener, { core, wheel, buffers, counters });
  await host.listen({ port: 0, host: "127.0.0.1" });
  t.after(() => {
    host.destroy();
    for (const upstream of upstreams) upstream.close();
    for (const slot of slots) slot.close();
    wheel.close();
  });
  const { port } = host.address() as AddressInfo;
  return { port, metrics, host, listener, finished, logLines };
}
