// What a configuration is judged on: the versions there are, and what its ranges are to come to. A plain
// change takes the newest that fits; one that goes back to a revision takes that revision's, and brings
// back what was retired since.

import type { Resolved } from "../config/diff.ts";
import type { KnownPlugin } from "../config/plugin-schema.ts";
import { rangeKey, versionOf } from "../config/version-range.ts";
import type { Resolution } from "../config/version-range.ts";
import type { PluginRegistry } from "./plugin-registry.ts";

export type Grounds = {
  readonly registry: PluginRegistry;
  /** What ranges come to, as long as it is there. */
  readonly kept: Resolution;
};

/** What the checker of configurations knows of plugins. */
export function knownPlugins(
  { registry, kept }: Grounds,
  isSetAside: (name: string, version: string) => boolean = () => false,
): ReadonlyMap<string, KnownPlugin> {
  return new Map(
    registry.entries.map(({ name, current, versions }) => {
      const numbers = versions.map(({ version }) => version);
      const setAside = new Set(numbers.filter((version) => isSetAside(name, version)));
      const schemas = versions.map(({ manifest }) => manifest?.configSchema ?? null);
      const known = new Map(numbers.map((version, i) => [version, schemas[i]]));
      return [name, { current, versions: known, setAside, kept }];
    }),
  );
}

/** The grounds of going back to a revision, and what is brought back by it. */
export function groundsOf(
  { config, resolution }: Resolved,
  registry: PluginRegistry,
): Grounds & { readonly notes: readonly string[] } {
  const notes: string[] = [];
  let restored = registry;
  for (const attachment of (config.routes ?? []).flatMap(({ plugins = [] }) => plugins)) {
    const name = attachment.plugin;
    const isGone = restored.entry(name) === null;
    const wanted = versionOf(attachment, resolution) ?? (isGone ? restored.currentOf(name) : null);
    if (wanted === null || restored.retired(name, wanted) === null) continue;
    restored = restored.withRestored(name, wanted);
    notes.push(`${name}@${wanted} was retired and is back`);
  }
  return { registry: restored, kept: resolution, notes };
}

/** What is said of ranges that could not come to what they were. */
export function movedNotes(kept: Resolution, resolution: Resolution): string[] {
  return Object.entries(kept)
    .filter(([key, version]) => resolution[key] !== undefined && resolution[key] !== version)
    .map(([key, version]) => `${key} was ${version}, which is gone, and is ${resolution[key]} now`);
}

/** The routes of a configuration that run a version, by `name@version`. */
export function usersOf(
  { config, resolution }: Resolved,
  registry: PluginRegistry,
): ReadonlyMap<string, readonly string[]> {
  const users = new Map<string, string[]>();
  for (const route of config.routes ?? []) {
    const keys = (route.plugins ?? []).map((attachment) => {
      const version = versionOf(attachment, resolution);
      return rangeKey(attachment.plugin, version ?? registry.currentOf(attachment.plugin) ?? "");
    });
    for (const key of new Set(keys)) {
      const routes = users.get(key);
      if (routes === undefined) users.set(key, [route.name]);
      else routes.push(route.name);
    }
  }
  return users;
}
