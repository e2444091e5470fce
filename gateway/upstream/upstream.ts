// One upstream at run time, in one worker: its endpoints (a target, or each address of a target's
// name), the balancer over them and their connections. It outlives configuration changes that do not
// touch it, so that a change elsewhere costs no connection.

import net from "node:net";
import type { TimerWheel } from "../base/timer-wheel.ts";
import { nowMs } from "../base/clock.ts";
import type { UpstreamConfig } from "../config/schema.ts";
import { createBalancer } from "./balance.ts";
import type { Balancer } from "./balance.ts";
import { createResolver } from "./dns.ts";
import type { ChannelPool } from "./channel.ts";
import { OriginPool } from "./pool-h1.ts";
import type { OriginPoolOptions, OriginTls } from "./pool-h1.ts";
import { H2OriginPool } from "./pool-h2.ts";
import type { ReadBuffers } from "../base/read-buffers.ts";
import { RetryBudget } from "./retry.ts";

/** What an upstream counts; the telemetry implements it. */
export interface UpstreamCounters {
  connected(ok: boolean): void;
  /** A request is under way, until `ended`. */
  began(): void;
  ended(): void;
  /** `status` 0: no response came. */
  answered(status: number, latencyMs: number, reused: boolean): void;
  retried(): void;
  cut(): void;
  timedOut(): void;
}

/** One address that requests can go to. */
export class Endpoint {
  readonly address: string;
  readonly pool: ChannelPool;
  /** The balancer that picked it, which hears of its requests even after a change of addresses. */
  balancer: Balancer | null = null;
  index = -1;

  constructor(address: string, pool: ChannelPool) {
    this.address = address;
    this.pool = pool;
  }
}

export type UpstreamServices = {
  readonly wheel: TimerWheel;
  readonly buffers: ReadBuffers;
  readonly counters: UpstreamCounters;
  /** Texts of the files that `tls` names. */
  readonly tls: Pick<OriginTls, "ca" | "cert" | "key">;
  warn(message: string, fields: Record<string, unknown>): void;
};

type TargetState = {
  readonly host: string;
  readonly port: number;
  readonly weight: number;
  addresses: readonly string[];
};

export class Upstream {
  readonly name: string;
  readonly config: UpstreamConfig;
  readonly budget: RetryBudget;
  readonly counters: UpstreamCounters;
  readonly #services: UpstreamServices;
  readonly #targets: TargetState[];
  readonly #resolvers: { close(): void }[] = [];
  #endpoints = new Map<string, Endpoint>();
  #order: Endpoint[] = [];
  #balancer: Balancer | null = null;

  constructor(config: UpstreamConfig, services: UpstreamServices) {
    this.name = config.name;
    this.config = config;
    this.counters = services.counters;
    this.#services = services;
    this.budget = new RetryBudget(
      {
        ratio: config.retry_budget?.ratio ?? 0.2,
        perSecondMin: config.retry_budget?.per_second_min ?? 3,
      },
      nowMs,
    );
    this.#targets = config.targets.map((target) => {
      const { host, port } = splitAddress(target.address);
      return { host, port, weight: target.weight ?? 1, addresses: net.isIP(host) ? [host] : [] };
    });
    for (const target of this.#targets) if (!net.isIP(target.host)) this.#resolve(target);
    this.#rebuild();
  }

  /** An endpoint for a request, or null when there is none. `failed` is avoided if another exists. */
  pick(hashKey: string, failed: Endpoint | null): Endpoint | null {
    if (this.#balancer === null) return null;
    const exclude = failed !== null && failed.balancer === this.#balancer ? failed.index : -1;
    const index = this.#balancer.pick(hashKey, exclude);
    return index === -1 ? null : this.#order[index];
  }

  close(): void {
    for (const resolver of this.#resolvers) resolver.close();
    for (const endpoint of this.#endpoints.values()) endpoint.pool.close();
    this.#endpoints.clear();
    this.#order = [];
    this.#balancer = null;
  }

  #resolve(target: TargetState): void {
    this.#resolvers.push(
      createResolver({
        host: target.host,
        refreshMs: this.config.dns_refresh_ms ?? 10_000,
        onChange: (addresses) => {
          target.addresses = addresses;
          this.#rebuild();
        },
        onError: (error) =>
          this.#services.warn("a target's name could not be resolved", {
            upstream: this.name,
            host: target.host,
            error,
          }),
      }),
    );
  }

  #rebuild(): void {
    const endpoints = new Map<string, Endpoint>();
    const order: Endpoint[] = [];
    const weights: { address: string; weight: number }[] = [];
    for (const target of this.#targets) {
      for (const host of target.addresses) {
        const address = host.includes(":") ? `[${host}]:${target.port}` : `${host}:${target.port}`;
        // Two names for one address share its connections, but each keeps its weight.
        const pool =
          endpoints.get(address)?.pool ??
          this.#endpoints.get(address)?.pool ??
          this.#openPool(host, target);
        const endpoint = new Endpoint(address, pool);
        endpoints.set(address, endpoint);
        order.push(endpoint);
        weights.push({ address, weight: target.weight });
      }
    }
    for (const [address, endpoint] of this.#endpoints) {
      if (!endpoints.has(address)) endpoint.pool.close();
    }
    this.#endpoints = endpoints;
    this.#order = order;
    const algorithm = this.config.algorithm ?? "round-robin";
    this.#balancer =
      order.length === 0 ? null : createBalancer({ algorithm, targets: weights, nowMs });
    order.forEach((endpoint, index) => {
      endpoint.balancer = this.#balancer;
      endpoint.index = index;
    });
  }

  #openPool(host: string, target: TargetState): ChannelPool {
    const { pool, timeouts, tls } = this.config;
    const secure: OriginTls | null =
      tls === undefined
        ? null
        : {
            serverName: tls.server_name ?? target.host,
            verify: tls.verify ?? true,
            ...this.#services.tls,
          };
    const options: OriginPoolOptions = {
      host,
      port: target.port,
      tls: secure,
      proxyProtocol: this.config.proxy_protocol ?? null,
      socketsMax: pool?.sockets_max ?? 1024,
      waitersMax: pool?.waiters_max ?? 1024,
      waitMs: pool?.wait_ms ?? 1000,
      connectMs: timeouts?.connect_ms ?? 1000,
      timeouts: {
        firstByteMs: timeouts?.first_byte_ms ?? 15_000,
        idleMs: timeouts?.idle_ms ?? 60_000,
      },
      wheel: this.#services.wheel,
      buffers: this.#services.buffers,
      onConnect: (ok) => this.counters.connected(ok),
    };
    return this.config.protocol === "http2" ? new H2OriginPool(options) : new OriginPool(options);
  }
}

/** Splits a checked `host:port` or `[v6]:port`; the brackets go. */
export function splitAddress(address: string): { host: string; port: number } {
  const colon = address.lastIndexOf(":");
  const host = address.slice(0, colon).replace(/^\[|\]$/g, "");
  return { host, port: Number(address.slice(colon + 1)) };
}
