// Fills the places of a plan's chains with plugins: built-in ones, uploaded ones, and where a rollout is
// under way both of its versions. A plugin that did not change goes on with its state; one that nobody
// holds any more is closed.

import { readFile } from "node:fs/promises";
import { nowMs, wallMs } from "../base/clock.ts";
import { GatewayError } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import { SharedParts } from "../base/shared-parts.ts";
import type { AttachmentConfig, RouteConfig } from "../config/schema.ts";
import { slotKey } from "../http/plan.ts";
import type { SlotSpec } from "../http/plan.ts";
import { Arm, VersionSplit } from "../http/version-split.ts";
import type { RouteSplit } from "../http/version-split.ts";
import type { EvaluatorSetup } from "../plugins/evaluate.ts";
import { bodyBytesOf } from "../plugins/grants.ts";
import type { Grants, KeyValues } from "../plugins/grants.ts";
import { createHttpCaller } from "../plugins/http-call.ts";
import type { Plugin, PluginServices } from "../plugins/phases.ts";
import { Shadow } from "../plugins/shadow.ts";
import { createWasmPlugin } from "../plugins/wasm.ts";
import type { WasmPlugin } from "../plugins/wasm.ts";
import type { Witness } from "../plugins/witness.ts";
import type { Recorders } from "../plugins/recorder.ts";
import type { ArmCounter } from "../rollout/counts.ts";
import type { Metrics } from "../telemetry/metrics.ts";
import { DEFAULT_SANDBOX_LIMITS, compileModule, digestOf } from "../../sandbox/sandbox.ts";
import type { SandboxLimits } from "../../sandbox/sandbox.ts";
import type { ModuleFile, PluginBinding, RolloutSpec } from "./channel.ts";
import type { RolloutCounters } from "./rollout-counters.ts";

export type SlotServices = {
  readonly metrics: Metrics;
  readonly log: Log;
  readonly counters: RolloutCounters;
  readonly recorders: Recorders;
  readonly consumersByKeyHash: PluginServices["consumersByKeyHash"];
  /** The values that a plugin keeps. */
  keyValues(plugin: string): KeyValues;
  /** A version had to be stopped too often in this worker. */
  onQuarantined(binding: PluginBinding, detail: string): void;
};

/** What slots are filled from. */
export type SlotSource = {
  readonly routes: readonly RouteConfig[];
  readonly plugins: readonly PluginBinding[];
  readonly rollouts: readonly RolloutSpec[];
  readonly overrideKeys: readonly string[];
  /** Nothing serves yet: what is not needed to serve must not keep it from that. */
  readonly isFirst: boolean;
};

/** How one plugin is made of a slot's attachment and a version. */
type Making = {
  readonly spec: SlotSpec;
  readonly binding: PluginBinding;
  /** Beside the attachment and the version: what tells this one from others. */
  readonly role: string;
  readonly failMode: "closed" | "open";
  /** Of the rollout whose version it is. */
  readonly counter: ArmCounter | null;
  readonly recorder: Witness | null;
  /** The next version, which is shown what this one sees and says. */
  readonly shadow?: Shadow | null;
};

type Filling = SlotSource & {
  readonly bindings: Bindings;
  /** Keys of the slots whose calls some route records. */
  readonly recorded: ReadonlySet<string>;
};

/** One place of a rollout. */
type Splitting = Pick<Making, "spec" | "recorder"> & {
  /** Names that a shadow's differences leave out, beside those that sound like secrets. */
  readonly redact: readonly string[];
  readonly isFirst: boolean;
};

type Held = (() => void)[];

export class PluginSlots {
  readonly #services: SlotServices;
  readonly #plugins = new SharedParts<Plugin>();
  readonly #shadows = new SharedParts<Shadow>();
  readonly #modules = new Map<string, Promise<WebAssembly.Module>>();

  constructor(services: SlotServices) {
    this.#services = services;
  }

  /** The plugins of these places, in order; how to let go of them is added to `held`. */
  async fill(specs: readonly SlotSpec[], source: SlotSource, held: Held): Promise<Plugin[]> {
    const bindings = new Bindings(source.plugins);
    const recorded = recordedSlots(source.routes);
    const slots: Plugin[] = [];
    for (const spec of specs) {
      slots.push(
        spec.builtin !== null
          ? this.#hold(spec.key, held, () => this.#createBuiltin(spec))
          : await this.#fillUploaded(spec, { ...source, bindings, recorded }, held),
      );
    }
    return slots;
  }

  /** Compiled modules are only kept while a transaction or a plugin may ask for them again. */
  forgetModules(): void {
    if (this.#plugins.size === 0) this.#modules.clear();
  }

  async #fillUploaded(spec: SlotSpec, source: Filling, held: Held): Promise<Plugin> {
    const { attachment } = spec;
    const { bindings, rollouts, overrideKeys, recorded } = source;
    const failMode = attachment.fail_mode ?? "closed";
    const recorder = recorded.has(spec.key)
      ? this.#services.recorders.witness(attachment.plugin)
      : null;
    const binding = bindings.of(attachment, attachment.version);
    const base =
      binding === null
        ? unavailable(attachment.plugin, failMode)
        : await this.#make({ spec, binding, role: "", failMode, counter: null, recorder }, held);
    const routes = new Map<string, RouteSplit>();
    for (const rollout of rollouts) {
      if (rollout.plugin !== attachment.plugin || !uses(source.routes, rollout, spec)) continue;
      const redact = rollout.mode === "shadow" ? redactedBy(source.routes, rollout) : [];
      const split = await this.#split(
        { spec, recorder, redact, isFirst: source.isFirst },
        rollout,
        bindings,
        held,
      );
      if (split !== null) routes.set(rollout.route, split);
    }
    if (routes.size === 0) return base;
    const keys = overrideKeys.map((hash) => Buffer.from(hash, "hex"));
    return new VersionSplit({ base, routes, overrideKeys: keys });
  }

  // Both versions of a rollout at one place; null when one of them is not there, so that the route gets
  // what its attachment says.
  async #split(
    { spec, recorder, redact, isFirst }: Splitting,
    rollout: RolloutSpec,
    bindings: Bindings,
    held: Held,
  ): Promise<RouteSplit | null> {
    const { attachment } = spec;
    const stable = bindings.of(attachment, rollout.stable);
    const candidate = bindings.of(attachment, rollout.candidate);
    if (stable === null || candidate === null) return null;
    const { weight, salt, sticky, id } = rollout;
    const counter = this.#services.counters.of(id);
    const isShadow = rollout.mode === "shadow";
    const shadow = isShadow ? await this.#holdShadow({ spec, redact, id }, candidate, held) : null;
    const failMode = attachment.fail_mode ?? "closed";
    const stablePlugin = await this.#make(
      {
        spec,
        binding: stable,
        // It shows what it sees to a shadow, which is another one with other names.
        role: `${id} stable ${redact.join()}`,
        failMode,
        counter: counter.stable,
        recorder,
        shadow,
      },
      held,
    );
    const candidatePlugin = await this.#makeCandidate(
      {
        spec,
        binding: candidate,
        role: `${id} candidate`,
        // It says so when it fails: the stable version then answers, whatever the attachment says.
        failMode: "closed",
        // In a shadow only those calls count that the shadow makes.
        counter: isShadow ? null : counter.candidate,
        recorder,
      },
      isFirst,
      held,
    );
    return {
      stable: new Arm(stablePlugin, counter.stable),
      candidate: new Arm(candidatePlugin, counter.candidate),
      weight,
      salt,
      sticky,
    };
  }

  // A candidate that does not start is refused when its rollout begins. Later it must not keep a worker from
  // starting: it then counts as one that fails.
  async #makeCandidate(making: Making, isFirst: boolean, held: Held): Promise<Plugin> {
    try {
      return await this.#make(making, held);
    } catch (error) {
      if (!isFirst) throw error;
      const { binding, counter } = making;
      const reason = error instanceof Error ? error.message : String(error);
      this.#services.log.error("a candidate does not start, the stable version answers", {
        reason,
      });
      return failing(binding, () => counter?.called("host_error", 0));
    }
  }

  async #holdShadow(
    { spec, redact, id }: Pick<Splitting, "spec" | "redact"> & { readonly id: string },
    binding: PluginBinding,
    held: Held,
  ): Promise<Shadow> {
    const { key: slot, attachment } = spec;
    const { log, counters } = this.#services;
    const module = await this.#module(binding, binding);
    const key = `${slot} ${id} ${redact.join()}`;
    const shadow = this.#shadows.hold(key, () => {
      const counter = counters.of(id);
      return new Shadow({
        setup: { module, redact, ...evaluatorSetup(attachment, binding) },
        onCall: (result) => counter.shadowed(result),
        onDifference: (difference) => counter.differed(difference),
        onSkipped: () => counter.skipped(),
        onStoppedTooOften: (detail) => this.#services.onQuarantined(binding, detail),
        warn: (message, fields) => log.warn(message, { plugin: binding.name, ...fields }),
      });
    });
    held.push(() => this.#shadows.release(key));
    return shadow;
  }

  #createBuiltin(spec: SlotSpec): Plugin {
    const services: PluginServices = {
      consumersByKeyHash: this.#services.consumersByKeyHash,
      nowMs,
      wallMs,
      warn: (message, fields) => this.#services.log.warn(message, fields),
    };
    if (spec.builtin === null) throw new Error("not a built-in");
    return spec.builtin.create(spec.attachment.config ?? {}, services);
  }

  async #make(making: Making, held: Held): Promise<Plugin> {
    const { spec, binding, role, recorder } = making;
    const { attachment } = spec;
    const kind = recorder === null ? role : `${role} recorded`;
    const key = `${binding.name}@${binding.version} ${binding.digest} ${spec.key} ${kind}`;
    const isNew = !this.#plugins.has(key);
    const isolation = attachment.isolation ?? "reuse";
    const file = isolation === "thread" ? binding.clamped : binding;
    const module = isNew ? await this.#module(binding, file) : null;
    let checked: ReturnType<WasmPlugin["check"]> = null;
    const plugin = this.#hold(key, held, () => {
      if (module === null) throw new Error("the plugin was closed while it was prepared");
      const created = this.#create(making, module);
      checked = created.check();
      return created.plugin;
    });
    const fault = await checked;
    if (fault !== null) {
      // Not to be found again as one that has been checked.
      held.pop()?.();
      throw new Error(`plugin ${binding.name}@${binding.version} refuses to start: ${fault}`);
    }
    return plugin;
  }

  #create(making: Making, module: WebAssembly.Module): WasmPlugin {
    const { spec, binding, failMode, counter, recorder, shadow = null } = making;
    const { attachment } = spec;
    const { metrics, log } = this.#services;
    const counters = metrics.plugin(binding.name, binding.version);
    return createWasmPlugin({
      name: binding.name,
      version: binding.version,
      module,
      manifest: binding.manifest,
      config: attachment.config ?? {},
      limits: limitsOf(attachment, binding),
      isolation: attachment.isolation ?? "reuse",
      threads: attachment.limits?.threads,
      failMode,
      grants: this.#grantsOf(attachment),
      log: (level, line, fields) => log.info(line, { plugin_level: level, ...fields }),
      onCall: (outcome, fault, micros) => {
        counters.observe(outcome, fault, micros);
        counter?.called(fault, micros);
      },
      onQuarantined: (detail) => this.#services.onQuarantined(binding, detail),
      nowUs: () => performance.now() * 1000,
      witnesses: [shadow, recorder].filter((witness) => witness !== null),
    });
  }

  #grantsOf({ plugin, grants }: AttachmentConfig): Grants {
    return {
      kv: grants?.kv === true ? this.#services.keyValues(plugin) : null,
      http:
        grants?.http === undefined ? null : createHttpCaller({ private: false, ...grants.http }),
      body: grants?.body === undefined ? null : bodyBytesOf(grants.body),
    };
  }

  #hold(key: string, held: Held, make: () => Plugin): Plugin {
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
}

// Bindings by what attachments ask for.
class Bindings {
  readonly #byKey = new Map<string, PluginBinding>();

  constructor(bindings: readonly PluginBinding[]) {
    for (const binding of bindings) {
      const { name, version, memoryPages } = binding;
      this.#byKey.set(bindingKey(name, version, memoryPages), binding);
      if (binding.current) this.#byKey.set(bindingKey(name, undefined, memoryPages), binding);
    }
  }

  of(attachment: AttachmentConfig, version: string | undefined): PluginBinding | null {
    const pages = memoryPagesOf(attachment);
    return this.#byKey.get(bindingKey(attachment.plugin, version, pages)) ?? null;
  }
}

function bindingKey(name: string, version: string | undefined, memoryPages: number): string {
  return `${name}@${version ?? "current"}/${memoryPages}`;
}

function recordedSlots(routes: readonly RouteConfig[]): ReadonlySet<string> {
  const recording = routes.filter(({ record }) => record !== undefined);
  return new Set(
    recording.flatMap(({ plugins }) => (plugins ?? []).map((attachment) => slotKey(attachment))),
  );
}

function uses(routes: readonly RouteConfig[], { route: name }: RolloutSpec, spec: SlotSpec) {
  const route = routes.find((each) => each.name === name);
  return route?.plugins?.some((attachment) => slotKey(attachment) === spec.key) === true;
}

// What the route's recordings leave out, what is told of its shadow leaves out as well.
function redactedBy(routes: readonly RouteConfig[], { route: name }: RolloutSpec) {
  return routes.find((each) => each.name === name)?.record?.redact ?? [];
}

/** Pages of guest memory that an attachment grants. */
export function memoryPagesOf(attachment: AttachmentConfig): number {
  return attachment.limits?.memory_pages ?? DEFAULT_SANDBOX_LIMITS.memoryPagesMax;
}

/** How an attachment runs a version beside the traffic, but for the module. */
export function evaluatorSetup(
  attachment: AttachmentConfig,
  version: Pick<PluginBinding, "manifest" | "memoryPages">,
): Omit<EvaluatorSetup, "module"> {
  const { grants, config = {}, isolation } = attachment;
  return {
    manifest: version.manifest,
    config,
    limits: limitsOf(attachment, version),
    isolation: isolation === "fresh" ? "fresh" : "reuse",
    granted: {
      kv: grants?.kv === true,
      http: grants?.http !== undefined,
      body: grants?.body === undefined ? null : bodyBytesOf(grants.body),
    },
  };
}

/** What a call of an attachment may use: what it grants, or less when its plugin needs less. */
function limitsOf(
  attachment: AttachmentConfig,
  binding: Pick<PluginBinding, "manifest" | "memoryPages">,
): SandboxLimits {
  const granted = attachment.limits?.cpu_ms ?? DEFAULT_SANDBOX_LIMITS.cpuMsMax;
  return {
    ...DEFAULT_SANDBOX_LIMITS,
    asyncMsMax: attachment.limits?.async_ms ?? DEFAULT_SANDBOX_LIMITS.asyncMsMax,
    cpuMsMax: Math.min(granted, binding.manifest?.limits.cpu_ms ?? granted),
    memoryPagesMax: binding.memoryPages,
  };
}

function failing({ name, version }: PluginBinding, onCall: () => void): Plugin {
  return {
    name,
    version,
    onRequest: () => {
      onCall();
      throw new GatewayError("PLUGIN_UNAVAILABLE", `${name}@${version} does not start`);
    },
    onResponse: null,
    close: () => {},
  };
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
