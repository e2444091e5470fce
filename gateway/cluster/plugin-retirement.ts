// Versions that are taken out of use. A retired one keeps its name and its bytes, so that the name never
// means others and there is a way back; only a purge forgets it.

import { ControlError } from "../../admin/api/control.ts";
import { versionOf } from "../config/version-range.ts";
import type { RevisionStore } from "../config/store.ts";
import { isActive } from "../rollout/rollout.ts";
import { usersOf } from "./config-grounds.ts";
import type { KvStore } from "./kv-store.ts";
import type { Live } from "./live.ts";
import type { PluginQuarantine } from "./plugin-quarantine.ts";
import type { PluginRegistry } from "./plugin-registry.ts";
import type { PluginStore } from "./plugin-store.ts";
import type { RolloutStore } from "./rollout-store.ts";

const SHOWN_MAX = 10;

export type RetirementParts = {
  readonly live: Live;
  readonly plugins: PluginStore;
  readonly quarantine: Pick<PluginQuarantine, "serving">;
  readonly rollouts: RolloutStore;
  readonly revisions: RevisionStore;
  readonly values: KvStore;
};

export class PluginRetirement {
  readonly #parts: RetirementParts;

  constructor(parts: RetirementParts) {
    this.#parts = parts;
  }

  /** Takes a version out of use; one that is so already stays as it is. */
  async retire(name: string, version: string): Promise<void> {
    const { live, plugins, values } = this.#parts;
    await live.exclusively(async () => {
      const { registry } = plugins;
      if (registry.retired(name, version) !== null) return;
      if (registry.version(name, version) === null) throw unknownVersion(name, version);
      this.#refuseReferenced(name, version);
      const next = registry.withRetired(name, version, new Date().toISOString());
      await live.changePlugins({ registry: next });
      if (next.entry(name) === null) values.forget(name);
    });
  }

  /** Forgets a retired version, and its bytes unless another version has the same. */
  async purge(name: string, version: string): Promise<void> {
    const { live, plugins, revisions } = this.#parts;
    await live.exclusively(async () => {
      const { registry } = plugins;
      const found = registry.retired(name, version);
      if (found === null) {
        if (registry.version(name, version) === null) throw unknownVersion(name, version);
        const how = `retire it first: sallyport plugin rm ${name}@${version}`;
        throw new ControlError(409, "not_retired", `${name}@${version} is in use; ${how}.`);
      }
      const naming = await revisions.numbersOf(({ config, resolution }) =>
        (config.routes ?? []).some((route) =>
          route.plugins?.some(
            (each) => each.plugin === name && versionOf(each, resolution) === version,
          ),
        ),
      );
      if (naming.length > 0) {
        throw new ControlError(
          409,
          "plugin_referenced",
          `${name}@${version} is named by ${listed("revision", naming.map(String))}, which could not be gone back to.`,
          { revisions: naming },
        );
      }
      await plugins.save(registry.withoutRetired(name, version));
      await plugins.removeModule(found.digest);
    });
  }

  #refuseReferenced(name: string, version: string): void {
    const { live, plugins, quarantine, rollouts } = this.#parts;
    // Where the current one is set aside, the one before it serves.
    const serving = quarantine.serving(plugins.registry);
    const routes = usersOf(live.state, serving).get(`${name}@${version}`) ?? [];
    const judging = rollouts.rollouts
      .filter((each) => isActive(each) && each.plugin === name)
      .filter((each) => each.stable === version || each.candidate === version)
      .map(({ route }) => route);
    const entry = plugins.registry.entry(name);
    const isCurrent = entry?.current === version && entry.versions.length > 1;
    const reasons = [
      ...(routes.length > 0 ? [`used by ${listed("route", routes)} (detach it)`] : []),
      ...(judging.length > 0
        ? [`part of the rollout on ${listed("route", judging)} (promote or abort it)`]
        : []),
      ...(isCurrent ? [`the current version of ${name} (make another one current)`] : []),
    ];
    if (reasons.length === 0) return;
    throw new ControlError(
      409,
      "plugin_referenced",
      `${name}@${version} is ${reasons.join(", and ")}.`,
      { routes, rollouts: judging, current: isCurrent },
    );
  }
}

function listed(what: string, names: readonly string[]): string {
  const rest = names.length - SHOWN_MAX;
  const shown = names.slice(0, SHOWN_MAX).join(", ");
  return `${what}${names.length === 1 ? "" : "s"} ${shown}${rest > 0 ? ` and ${rest} more` : ""}`;
}

function unknownVersion(name: string, version: string): ControlError {
  return new ControlError(404, "unknown_plugin", `There is no plugin ${name}@${version}.`);
}

/** Throws what is to be said of a version that may not be put to use. */
export function refuseUnknown(registry: PluginRegistry, name: string, version: string): never {
  if (registry.retired(name, version) === null) throw unknownVersion(name, version);
  throw new ControlError(
    409,
    "version_retired",
    `${name}@${version} is retired; push the same module again, or go back to it: sallyport plugin rollback ${name} ${version}.`,
  );
}
