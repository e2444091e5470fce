// What the gateway serves now, and the one way to change it: a candidate is prepared in all workers, made
// durable, then committed everywhere, or nowhere. Changes run one at a time. Configuration and plugin
// versions go through here alike, so that no two of them can be half of each other.

import { ControlError } from "../../admin/api/control.ts";
import { SandboxError } from "../../sandbox/sandbox.ts";
import type { Log } from "../base/log.ts";
import { deployKeyHashes, digestText, hashOfKey } from "../config/admin-keys.ts";
import type { Config, ParsedConfig } from "../config/schema.ts";
import type { Resolved } from "../config/diff.ts";
import type { RevisionStore } from "../config/store.ts";
import type { Resolution } from "../config/version-range.ts";
import { BUILTINS } from "../plugins/builtin/registry.ts";
import type { FleetMetrics } from "../telemetry/fleet-metrics.ts";
import type { Served } from "./channel.ts";
import { RefusedError } from "./fleet.ts";
import type { Fleet } from "./fleet.ts";
import type { Listeners, PreparedListeners } from "./listeners.ts";
import type { PluginQuarantine } from "./plugin-quarantine.ts";
import type { PluginRegistry } from "./plugin-registry.ts";
import type { PluginStore } from "./plugin-store.ts";
import { isActive } from "../rollout/rollout.ts";
import type { Rollout } from "../rollout/rollout.ts";
import { fitRollouts, rolloutSpecs } from "./rollout-fit.ts";
import type { RolloutStore } from "./rollout-store.ts";

export type LiveParts = {
  readonly log: Log;
  readonly fleet: Fleet;
  readonly listeners: Listeners;
  readonly plugins: PluginStore;
  readonly quarantine: PluginQuarantine;
  readonly rollouts: RolloutStore;
  /** Of the data directory. */
  readonly firstKey: string;
  readonly revisions: RevisionStore;
  readonly metrics: FleetMetrics;
};

/** What is live; replaced whole. */
export type LiveState = {
  readonly revision: number;
  /** As it was written: secrets are references. */
  readonly config: ParsedConfig;
  /** What its ranges of versions came to. */
  readonly resolution: Resolution;
  /** Ranges are exact versions in it. */
  readonly served: Served;
};

/** A configuration that passed all checks, on its way to be live. */
export type Candidate = {
  readonly config: ParsedConfig;
  readonly resolution: Resolution;
  /** With secrets in the place of references, and exact versions in the place of ranges. */
  readonly resolved: Config;
  /** With the versions that it brings back. */
  readonly registry: PluginRegistry;
  readonly actor: string;
  readonly message: string;
};

/** What is left out stays as it is. */
export type PluginChange = {
  readonly registry?: PluginRegistry;
  readonly rollouts?: readonly Rollout[];
};

export class Live {
  readonly #parts: LiveParts;
  #state: LiveState;
  #draining = false;

  constructor(parts: LiveParts, state: LiveState) {
    this.#parts = parts;
    this.#state = state;
  }

  get state(): LiveState {
    return this.#state;
  }

  get draining(): boolean {
    return this.#draining;
  }

  /** No change is accepted any more. */
  beginDrain(): void {
    this.#draining = true;
  }

  /** Runs a change alone; rejects with 503 once the gateway drains. */
  exclusively<T>(task: () => Promise<T>): Promise<T> {
    if (this.#draining) {
      throw new ControlError(503, "draining", "The gateway is shutting down.");
    }
    return this.#parts.fleet.exclusively(task);
  }

  /**
   * Binds, prepares everywhere, writes the revision, commits everywhere; or changes nothing. Only within
   * `exclusively`. Resolves to what listens now. Rollouts that the configuration contradicts end with it,
   * unless `rollouts` says what becomes of them.
   */
  async changeConfig(
    { config, resolved, resolution, registry, ...facts }: Candidate,
    rollouts: readonly Rollout[] = this.#fitting({ config, resolution }, registry, facts.actor),
  ): Promise<PreparedListeners> {
    const { fleet, listeners, plugins, revisions, rollouts: store } = this.#parts;
    const prepared = await refusing(() => listeners.prepare(resolved));
    const before = store.rollouts;
    let served: Served | null = null;
    try {
      const { routes, ...base } = resolved;
      const candidate: Served = {
        generation: this.#state.served.generation + 1,
        revision: this.#state.revision + 1,
        base,
        routes: routes ?? [],
        ...(await this.#servedPlugins(resolved, registry, rollouts)),
      };
      await refusing(() =>
        fleet.change(candidate, async () => {
          // Before what refers to it: brought back for nothing is no harm.
          if (registry !== plugins.registry) await plugins.save(registry);
          const info = await revisions.append({ config, resolution, ...facts });
          served = { ...candidate, revision: info.revision };
          if (rollouts !== store.rollouts) await this.#keepRollouts(rollouts);
        }),
      );
    } catch (error) {
      prepared.abort();
      throw error;
    }
    if (served === null) throw new Error("a change was committed without its revision");
    const { revision } = served as Served;
    this.#state = { revision, config, resolution, served };
    this.#tellEnded(before, rollouts);
    await fleet.listen(prepared.fleet);
    prepared.commit();
    this.#retainMetrics();
    return prepared;
  }

  /**
   * Serves what a registry, the rollouts and the quarantine say now: the routes stay, only slots are filled
   * anew. Only within `exclusively`.
   */
  async changePlugins(change: PluginChange = {}): Promise<void> {
    const { fleet, plugins, rollouts: store } = this.#parts;
    const { registry = plugins.registry, rollouts = store.rollouts } = change;
    const { served } = this.#state;
    const resolved = { ...served.base, routes: [...served.routes] };
    const parts = await this.#servedPlugins(resolved, registry, rollouts);
    const persist = async () => {
      if (registry !== plugins.registry) await plugins.save(registry);
      if (rollouts !== store.rollouts) await store.save(rollouts);
    };
    const next: Served = { ...served, ...parts, generation: served.generation + 1 };
    if (JSON.stringify(parts) === JSON.stringify(pluginsOf(served))) {
      await persist();
      return;
    }
    await refusing(() => fleet.change(next, persist));
    this.#state = { ...this.#state, served: next };
    this.#retainMetrics();
  }

  // Beside a revision that is durable already: a crash, or a disk that is full, between the two takes
  // nothing of it back, and is healed at the next start (fitRollouts).
  async #keepRollouts(rollouts: readonly Rollout[]): Promise<void> {
    const { log, rollouts: store } = this.#parts;
    await store.save(rollouts).catch((error: unknown) => {
      store.rollouts = rollouts;
      log.error("rollouts could not be written; the revision beside them was", { error });
    });
  }

  #tellEnded(before: readonly Rollout[], after: readonly Rollout[]): void {
    for (const rollout of after.filter((each) => !before.includes(each) && !isActive(each))) {
      const { route, plugin, state, events } = rollout;
      const facts = { route, plugin, state, reason: events.at(-1)?.reason };
      this.#parts.log.warn("a rollout was ended by a change of the configuration", facts);
    }
  }

  #fitting(next: Resolved, registry: PluginRegistry, actor: string): readonly Rollout[] {
    const act = { at: new Date().toISOString(), actor };
    return fitRollouts(this.#parts.rollouts.rollouts, next, registry, act);
  }

  #servedPlugins(
    config: Config,
    registry: PluginRegistry,
    rollouts: readonly Rollout[],
  ): Promise<ServedPlugins> {
    const { log, quarantine } = this.#parts;
    const serving = quarantine.serving(registry);
    return servedPlugins(config, { registry: serving, rollouts }, this.#parts, (text) =>
      log.warn(text),
    );
  }

  #retainMetrics(): void {
    const { config, served } = this.#state;
    this.#parts.metrics.retain({
      routes: new Set(["", ...(config.routes ?? []).map(({ name }) => name)]),
      upstreams: new Set((config.upstreams ?? []).map(({ name }) => name)),
      plugins: new Set([
        ...served.plugins.map(({ name, version }) => `${name}@${version}`),
        ...[...BUILTINS.keys()].map((name) => `${name}@builtin`),
      ]),
    });
  }
}

type ServedPlugins = Pick<Served, "plugins" | "rollouts" | "overrideKeys">;

/** What workers serve of plugins, given a configuration. */
export async function servedPlugins(
  config: Config,
  { registry, rollouts }: { registry: PluginRegistry; rollouts: readonly Rollout[] },
  { plugins, firstKey }: Pick<LiveParts, "plugins" | "firstKey">,
  warn: (message: string) => void,
): Promise<ServedPlugins> {
  const specs = rolloutSpecs(rollouts, registry);
  return {
    plugins: await plugins.bindings(config, { registry, rollouts: specs }, warn),
    rollouts: specs,
    overrideKeys: [digestText(hashOfKey(firstKey)), ...deployKeyHashes(config)],
  };
}

function pluginsOf({ plugins, rollouts, overrideKeys }: Served): ServedPlugins {
  return { plugins, rollouts, overrideKeys };
}

/** Turns the refusals of the parts into answers of the API. */
export async function refusing<T>(task: () => Promise<T>): Promise<T> {
  try {
    return await task();
  } catch (error) {
    if (error instanceof SandboxError) {
      throw new ControlError(422, error.code, error.message, { step: "admit" });
    }
    if (error instanceof RefusedError) {
      throw new ControlError(422, "refused_by_worker", error.message, { step: "prepare" });
    }
    throw error;
  }
}
