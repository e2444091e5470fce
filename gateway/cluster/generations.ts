// A worker's generations: the one that serves, and the one that is being prepared. Preparing builds
// everything a snapshot needs (routes in slices, modules compiled off the main thread) and changes
// nothing; committing is one reference swap; aborting lets go of what was built.

import { readFileSync } from "node:fs";
import { setImmediate as nextTurn } from "node:timers/promises";
import { nowMs } from "../base/clock.ts";
import { LIMITS } from "../base/limits.ts";
import type { Log } from "../base/log.ts";
import { SharedParts } from "../base/shared-parts.ts";
import type { TimerWheel } from "../base/timer-wheel.ts";
import type { Config, RouteConfig, UpstreamConfig } from "../config/schema.ts";
import { buildPlan } from "../http/plan.ts";
import type { Plan } from "../http/plan.ts";
import { Snapshot } from "../http/snapshot.ts";
import { BUILTINS } from "../plugins/builtin/registry.ts";
import type { KeyValues } from "../plugins/grants.ts";
import { Recorders } from "../plugins/recorder.ts";
import type { RecorderOptions } from "../plugins/recorder.ts";
import { redactionOf } from "../plugins/redact.ts";
import type { Metrics } from "../telemetry/metrics.ts";
import { ReadBuffers } from "../base/read-buffers.ts";
import { Upstream } from "../upstream/upstream.ts";
import type { PluginBinding, RolloutSpec } from "./channel.ts";
import { PluginSlots } from "./plugin-slots.ts";
import { RolloutCounters } from "./rollout-counters.ts";

/** What a generation is made from. */
export type GenerationSource = {
  readonly generation: number;
  readonly revision: number;
  readonly base: Config;
  /** null: the routes of the serving generation, whose plan is then kept. */
  readonly routes: readonly RouteConfig[] | null;
  readonly plugins: readonly PluginBinding[];
  readonly rollouts: readonly RolloutSpec[];
  readonly overrideKeys: readonly string[];
};

/** A prepared or serving generation. */
export type Generation = {
  readonly generation: number;
  readonly revision: number;
  readonly base: Config;
  readonly routes: readonly RouteConfig[];
  readonly plan: Plan;
  readonly snapshot: Snapshot;
  readonly consumers: ReadonlyMap<string, string>;
  readonly rollouts: readonly RolloutSpec[];
};

export type GenerationServices = {
  readonly wheel: TimerWheel;
  readonly metrics: Metrics;
  readonly log: Log;
  /** The values that a plugin keeps. */
  keyValues(plugin: string): KeyValues;
  /** A version had to be stopped too often in this worker. */
  onQuarantined(binding: PluginBinding, detail: string): void;
};

export class Generations {
  readonly #services: GenerationServices;
  /** What all sockets of this worker read into. */
  readonly buffers = new ReadBuffers();
  readonly #upstreams = new SharedParts<Upstream>();
  readonly #slots: PluginSlots;
  /** Of the rollouts that are under way. */
  readonly counters = new RolloutCounters();
  /** Of the routes that record. */
  readonly recorders = new Recorders();
  #live: Generation | null = null;

  constructor(services: GenerationServices) {
    this.#services = services;
    this.#slots = new PluginSlots({
      ...services,
      counters: this.counters,
      recorders: this.recorders,
      consumersByKeyHash: { get: (hash) => this.#live?.consumers.get(hash) },
    });
  }

  get live(): Generation | null {
    return this.#live;
  }

  /** Builds a generation; rejects with a sentence for the operator and leaves nothing behind. */
  async prepare(source: GenerationSource): Promise<Generation> {
    const held: (() => void)[] = [];
    const letGo = () => {
      for (const release of held) release();
      this.#slots.forgetModules();
    };
    try {
      const live = this.#live;
      const routes = source.routes ?? live?.routes ?? [];
      const plan =
        source.routes === null && live !== null
          ? this.#keepPlan(live.plan, held)
          : await this.#buildPlan(source.base, routes, held);
      const slots = await this.#slots.fill(
        plan.slots,
        { ...source, routes, isFirst: live === null },
        held,
      );
      const snapshot = new Snapshot({
        revision: source.revision,
        tree: plan.tree,
        slots,
        upstreams: plan.upstreams,
        trustedProxies: plan.trustedProxies,
        onRetired: letGo,
      });
      const { generation, revision, base, rollouts } = source;
      const consumers = consumersByHash(base);
      return { generation, revision, base, routes, plan, snapshot, consumers, rollouts };
    } catch (error) {
      letGo();
      throw error;
    }
  }

  /** Serves a prepared generation from now on. */
  commit(next: Generation): void {
    const before = this.#live;
    this.#live = next;
    this.counters.retain(new Set(next.rollouts.map(({ id }) => id)));
    this.recorders.use(recordingRoutes(next.routes));
    before?.snapshot.replace();
  }

  /** Lets go of a prepared generation that will not serve. */
  abort(staged: Generation): void {
    staged.snapshot.replace();
  }

  #keepPlan(plan: Plan, held: (() => void)[]): Plan {
    for (const upstream of plan.upstreams.values()) this.#holdUpstream(upstream.config, held);
    return plan;
  }

  async #buildPlan(
    base: Config,
    routes: readonly RouteConfig[],
    held: (() => void)[],
  ): Promise<Plan> {
    const steps = buildPlan(base, routes, {
      builtins: BUILTINS,
      upstream: (config) => this.#holdUpstream(config, held),
      metrics: (name) => this.#services.metrics.route(name),
    });
    for (;;) {
      const sliceEndsMs = nowMs() + LIMITS.buildSliceMs;
      do {
        const step = steps.next();
        if (step.done === true) return step.value;
      } while (nowMs() < sliceEndsMs);
      // Requests first.
      await nextTurn();
    }
  }

  #holdUpstream(config: UpstreamConfig, held: (() => void)[]): Upstream {
    const { wheel, metrics, log } = this.#services;
    const key = JSON.stringify(config);
    const upstream = this.#upstreams.hold(key, () => {
      const textOf = (file: string | undefined) =>
        file === undefined ? null : readFileSync(file, "utf8");
      const { ca_file: ca, cert_file: cert, key_file: key } = config.tls ?? {};
      return new Upstream(config, {
        wheel,
        buffers: this.buffers,
        counters: metrics.upstream(config.name),
        tls: { ca: textOf(ca), cert: textOf(cert), key: textOf(key) },
        warn: (message, fields) => log.warn(message, fields),
      });
    });
    held.push(() => this.#upstreams.release(key));
    return upstream;
  }
}

function consumersByHash(base: Config): ReadonlyMap<string, string> {
  const consumers = new Map<string, string>();
  for (const consumer of base.consumers ?? []) {
    for (const { hash } of consumer.credentials) {
      consumers.set(hash.replace(/^sha256:/, ""), consumer.name);
    }
  }
  return consumers;
}

function recordingRoutes(routes: readonly RouteConfig[]): ReadonlyMap<string, RecorderOptions> {
  const recording = new Map<string, RecorderOptions>();
  for (const { name, record } of routes) {
    if (record === undefined) continue;
    const { requests: recordsMax = 1_000, body = false, redact = [] } = record;
    recording.set(name, { recordsMax, body, redaction: redactionOf(redact) });
  }
  return recording;
}
