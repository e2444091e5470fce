// What the gateway serves now, and the one way to change it: a candidate is prepared in all workers, made
// durable, then committed everywhere, or nowhere. Changes run one at a time. Configuration and plugin
// versions go through here alike, so that no two of them can be half of each other.

import { ControlError } from "../../admin/api/control.ts";
import { SandboxError } from "../../sandbox/sandbox.ts";
import type { Log } from "../base/log.ts";
import type { Config, ParsedConfig } from "../config/schema.ts";
import type { RevisionStore } from "../config/store.ts";
import { BUILTINS } from "../plugins/builtin/registry.ts";
import type { FleetMetrics } from "../telemetry/fleet-metrics.ts";
import type { PluginBinding } from "./channel.ts";
import { RefusedError } from "./fleet.ts";
import type { Fleet, Served } from "./fleet.ts";
import type { Listeners, PreparedListeners } from "./listeners.ts";
import type { PluginQuarantine } from "./plugin-quarantine.ts";
import type { PluginRegistry } from "./plugin-registry.ts";
import type { PluginStore } from "./plugin-store.ts";

export type LiveParts = {
  readonly log: Log;
  readonly fleet: Fleet;
  readonly listeners: Listeners;
  readonly plugins: PluginStore;
  readonly quarantine: PluginQuarantine;
  readonly revisions: RevisionStore;
  readonly metrics: FleetMetrics;
};

/** What is live; replaced whole. */
export type LiveState = {
  readonly revision: number;
  /** As it was written: secrets are references. */
  readonly config: ParsedConfig;
  readonly served: Served;
};

/** A configuration that passed all checks, on its way to be live. */
export type Candidate = {
  readonly config: ParsedConfig;
  /** With secrets in the place of references. */
  readonly resolved: Config;
  readonly actor: string;
  readonly message: string;
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
   * `exclusively`. Resolves to what listens now.
   */
  async changeConfig({ config, resolved, ...facts }: Candidate): Promise<PreparedListeners> {
    const { fleet, listeners, plugins, revisions } = this.#parts;
    const prepared = await refusing(() => listeners.prepare(resolved));
    let served: Served | null = null;
    try {
      const { routes, ...base } = resolved;
      const candidate: Served = {
        generation: this.#state.served.generation + 1,
        revision: this.#state.revision + 1,
        base,
        routes: routes ?? [],
        plugins: await this.#bindings(resolved, plugins.registry),
      };
      await refusing(() =>
        fleet.change(candidate, async () => {
          const info = await revisions.append({ config, ...facts });
          served = { ...candidate, revision: info.revision };
        }),
      );
    } catch (error) {
      prepared.abort();
      throw error;
    }
    if (served === null) throw new Error("a change was committed without its revision");
    const { revision } = served as Served;
    this.#state = { revision, config, served };
    await fleet.listen(prepared.fleet);
    prepared.commit();
    this.#retainMetrics();
    return prepared;
  }

  /**
   * Serves what a registry and the quarantine say now: the routes stay, only slots are filled anew. Only
   * within `exclusively`.
   */
  async changePlugins(registry: PluginRegistry): Promise<void> {
    const { fleet, plugins } = this.#parts;
    const { served } = this.#state;
    const resolved = { ...served.base, routes: [...served.routes] };
    const bindings = await this.#bindings(resolved, registry);
    const next: Served = { ...served, generation: served.generation + 1, plugins: bindings };
    if (JSON.stringify(bindings) === JSON.stringify(served.plugins)) {
      await plugins.save(registry);
      return;
    }
    await refusing(() => fleet.change(next, () => plugins.save(registry)));
    this.#state = { ...this.#state, served: next };
    this.#retainMetrics();
  }

  #bindings(config: Config, registry: PluginRegistry): Promise<PluginBinding[]> {
    const { log, plugins, quarantine } = this.#parts;
    return plugins.bindings(config, quarantine.serving(registry), (text) => log.warn(text));
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
