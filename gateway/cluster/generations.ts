// A worker's generations: the one that serves, and the one that is being prepared. Preparing builds
// everything a snapshot needs (routes in slices, modules compiled off the main thread) and changes
// nothing; committing is one reference swap; aborting lets go of what was built.

import { readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { setImmediate as nextTurn } from "node:timers/promises";
import { nowMs, wallMs } from "../base/clock.ts";
import { GatewayError } from "../base/errors.ts";
import { LIMITS } from "../base/limits.ts";
import type { Log } from "../base/log.ts";
import { SharedParts } from "../base/shared-parts.ts";
import type { TimerWheel } from "../base/timer-wheel.ts";
import type { AttachmentConfig, Config, RouteConfig, UpstreamConfig } from "../config/schema.ts";
import { buildPlan } from "../http/plan.ts";
import type { Plan, SlotSpec } from "../http/plan.ts";
import { Snapshot } from "../http/snapshot.ts";
import { BUILTINS } from "../plugins/builtin/registry.ts";
import type { Plugin, PluginServices } from "../plugins/phases.ts";
import { bodyBytesOf } from "../plugins/grants.ts";
import type { Grants, KeyValues } from "../plugins/grants.ts";
import { createHttpCaller } from "../plugins/http-call.ts";
import { createWasmPlugin } from "../plugins/wasm.ts";
import type { WasmPlugin } from "../plugins/wasm.ts";
import { DEFAULT_SANDBOX_LIMITS, compileModule, digestOf } from "../../sandbox/sandbox.ts";
import type { SandboxLimits } from "../../sandbox/sandbox.ts";
import type { Metrics } from "../telemetry/metrics.ts";
import { ReadBuffers } from "../base/read-buffers.ts";
import { Upstream } from "../upstream/upstream.ts";
import type { ModuleFile, PluginBinding } from "./channel.ts";

/** What a generation is made from. */
export type GenerationSource = {
  readonly generation: number;
  readonly revision: number;
  readonly base: Config;
  /** null: the routes of the serving generation, whose plan is then kept. */
  readonly routes: readonly RouteConfig[] | null;
  readonly plugins: readonly PluginBinding[];
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
  readonly #plugins = new SharedParts<Plugin>();
  readonly #modules = new Map<string, Promise<WebAssembly.Module>>();
  #live: Generation | null = null;

  constructor(services: GenerationServices) {
    this.#services = services;
  }

  get live(): Generation | null {
    return this.#live;
  }

  /** Builds a generation; rejects with a sentence for the operator and leaves nothing behind. */
  async prepare(source: GenerationSource): Promise<Generation> {
    const held: (() => void)[] = [];
    const letGo = () => {
      for (const release of held) release();
      this.#forgetModules();
    };
    try {
      const live = this.#live;
      const routes = source.routes ?? live?.routes ?? [];
      const plan =
        source.routes === null && live !== null
          ? this.#keepPlan(live.plan, held)
          : await this.#buildPlan(source.base, routes, held);
      const slots = await this.#fillSlots(plan.slots, source.plugins, held);
      const snapshot = new Snapshot({
        revision: source.revision,
        tree: plan.tree,
        slots,
        upstreams: plan.upstreams,
        trustedProxies: plan.trustedProxies,
        onRetired: letGo,
      });
      const { generation, revision, base } = source;
      const consumers = consumersByHash(base);
      return { generation, revision, base, routes, plan, snapshot, consumers };
    } catch (error) {
      letGo();
      throw error;
    }
  }

  /** Serves a prepared generation from now on. */
  commit(next: Generation): void {
    const before = this.#live;
    this.#live = next;
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

  async #fillSlots(
    specs: readonly SlotSpec[],
    bindings: readonly PluginBinding[],
    held: (() => void)[],
  ): Promise<Plugin[]> {
    const byName = new Map<string, PluginBinding>();
    for (const binding of bindings) {
      const { name, version, memoryPages } = binding;
      byName.set(bindingKey(name, version, memoryPages), binding);
      if (binding.current) byName.set(bindingKey(name, undefined, memoryPages), binding);
    }
    const slots: Plugin[] = [];
    for (const spec of specs) {
      const { plugin, version } = spec.attachment;
      const binding = byName.get(bindingKey(plugin, version, memoryPagesOf(spec.attachment)));
      slots.push(
        spec.builtin !== null
          ? this.#holdPlugin(spec.key, held, () => this.#createBuiltin(spec))
          : await this.#fillWasm(spec, binding ?? null, held),
      );
    }
    return slots;
  }

  #createBuiltin(spec: SlotSpec): Plugin {
    const services: PluginServices = {
      consumersByKeyHash: { get: (hash) => this.#live?.consumers.get(hash) },
      nowMs,
      wallMs,
      warn: (message, fields) => this.#services.log.warn(message, fields),
    };
    if (spec.builtin === null) throw new Error("not a built-in");
    return spec.builtin.create(spec.attachment.config ?? {}, services);
  }

  async #fillWasm(
    spec: SlotSpec,
    binding: PluginBinding | null,
    held: (() => void)[],
  ): Promise<Plugin> {
    const { attachment } = spec;
    const failMode = attachment.fail_mode ?? "closed";
    if (binding === null) return unavailable(attachment.plugin, failMode);
    const key = `${binding.name}@${binding.version} ${binding.digest} ${spec.key}`;
    const isNew = !this.#plugins.has(key);
    const isolation = attachment.isolation ?? "reuse";
    const file = isolation === "thread" ? binding.clamped : binding;
    const module = isNew ? await this.#module(binding, file) : null;
    let checked: ReturnType<WasmPlugin["check"]> = null;
    const plugin = this.#holdPlugin(key, held, () => {
      if (module === null) throw new Error("the plugin was closed while it was prepared");
      const { metrics, log } = this.#services;
      const counters = metrics.plugin(binding.name, binding.version);
      const created = createWasmPlugin({
        name: binding.name,
        version: binding.version,
        module,
        manifest: binding.manifest,
        config: attachment.config ?? {},
        limits: limitsOf(attachment, binding),
        isolation,
        threads: attachment.limits?.threads,
        failMode,
        grants: this.#grantsOf(attachment),
        log: (level, line, fields) => log.info(line, { plugin_level: level, ...fields }),
        onCall: (outcome, fault, micros) => counters.observe(outcome, fault, micros),
        onQuarantined: (detail) => this.#services.onQuarantined(binding, detail),
        nowUs: () => performance.now() * 1000,
      });
      checked = created.check();
      return created.plugin;
    });
    const fault = await checked;
    if (fault !== null) {
      throw new Error(`plugin ${binding.name}@${binding.version} refuses to start: ${fault}`);
    }
    return plugin;
  }

  #grantsOf({ plugin, grants }: AttachmentConfig): Grants {
    return {
      kv: grants?.kv === true ? this.#services.keyValues(plugin) : null,
      http:
        grants?.http === undefined ? null : createHttpCaller({ private: false, ...grants.http }),
      body: grants?.body === undefined ? null : bodyBytesOf(grants.body),
    };
  }

  #holdPlugin(key: string, held: (() => void)[], make: () => Plugin): Plugin {
    const plugin = this.#plugins.hold(key, make);
    held.push(() => this.#plugins.release(key));
    return plugin;
  }

  #module(binding: PluginBinding, from: ModuleFile | null): Promise<WebAssembly.Module> {
    const which = `the module of ${binding.name}@${binding.version}`;
    if (from === null) throw new Error(`${which} was not made for threads`);
    let compiled = this.#modules.get(from.fileDigest);
    if (compiled === undefined) {
      compiled = readFile(from.file).then((bytes) => {
        if (digestOf(bytes) !== from.fileDigest) throw new Error(`${which} was changed on disk`);
        return compileModule(bytes);
      });
      this.#modules.set(from.fileDigest, compiled);
    }
    return compiled;
  }

  // Compiled modules are only kept while a transaction or a plugin may ask for them again.
  #forgetModules(): void {
    if (this.#plugins.size === 0) this.#modules.clear();
  }
}

function bindingKey(name: string, version: string | undefined, memoryPages: number): string {
  return `${name}@${version ?? "current"}/${memoryPages}`;
}

/** Pages of guest memory that an attachment grants. */
export function memoryPagesOf(attachment: AttachmentConfig): number {
  return attachment.limits?.memory_pages ?? DEFAULT_SANDBOX_LIMITS.memoryPagesMax;
}

/** What a call of an attachment may use: what it grants, or less when its plugin needs less. */
function limitsOf(attachment: AttachmentConfig, binding: PluginBinding): SandboxLimits {
  const granted = attachment.limits?.cpu_ms ?? DEFAULT_SANDBOX_LIMITS.cpuMsMax;
  return {
    ...DEFAULT_SANDBOX_LIMITS,
    asyncMsMax: attachment.limits?.async_ms ?? DEFAULT_SANDBOX_LIMITS.asyncMsMax,
    cpuMsMax: Math.min(granted, binding.manifest?.limits.cpu_ms ?? granted),
    memoryPagesMax: binding.memoryPages,
  };
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

// A policy that could not be loaded is never skipped unless its attachment says so.
function unavailable(name: string, failMode: "closed" | "open"): Plugin {
  return {
    name,
    version: "none",
    onRequest:
      failMode === "open"
        ? null
        : () => {
            throw new GatewayError("PLUGIN_UNAVAILABLE", `${name} is not loaded`);
          },
    onResponse: null,
    close: () => {},
  };
}
