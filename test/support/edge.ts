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
import type { CertificatePem } from "../../gateway/http/certificates.ts";
import { buildPlan } from "../../gateway/http/plan.ts";
import { Snapshot } from "../../gateway/http/snapshot.ts";
import { BUILTINS } from "../../gateway/plugins/builtin/registry.ts";
import type { Plugin } from "../../gateway/plugins/phases.ts";
import { Metrics } from "../../gateway/telemetry/metrics.ts";
import { ReadBuffers } from "../../gateway/base/read-buffers.ts";
import { Upstream } from "../../gateway/upstream/upstream.ts";

export type EdgeOptions = {
  readonly config: Config;
  /** Plugins by name, beside the built-in ones. */
  readonly plugins?: ReadonlyMap<string, Plugin>;
  readonly certificates?: readonly CertificatePem[];
  readonly http2?: boolean;
  readonly timeouts?: { head_ms?: number; body_idle_ms?: number; idle_ms?: number };
  readonly connectionsMax?: number;
};

export type Edge = {
  readonly port: number;
  readonly metrics: Metrics;
  readonly host: ListenerHost;
  /** Finished requests, in order. */
  readonly finished: Exchange[];
  readonly logLines: string[];
};

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
  const host = new ListenerHost(
    {
      name: "test",
      timeouts: connectionTimeouts(options.timeouts ?? {}),
      connectionsMax: options.connectionsMax ?? 1000,
      certificates: options.certificates ?? [],
      http2: options.http2 ?? false,
    },
    { core, wheel, buffers, counters: metrics.listener("test") },
  );
  await host.listen({ port: 0, host: "127.0.0.1" });
  t.after(() => {
    host.destroy();
    for (const upstream of upstreams) upstream.close();
    for (const slot of slots) slot.close();
    wheel.close();
  });
  const { port } = host.address() as AddressInfo;
  return { port, metrics, host, finished, logLines };
}
