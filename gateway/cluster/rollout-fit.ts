// Whether rollouts still fit the configuration they run beside, and what workers need of those that do.
// A configuration says what it wants; a rollout that it contradicts is over.

import type { RouteConfig } from "../config/schema.ts";
import type { Resolved } from "../config/diff.ts";
import { rangeKey } from "../config/version-range.ts";
import type { Resolution } from "../config/version-range.ts";
import { end, isActive, weightOf } from "../rollout/rollout.ts";
import type { Act, Rollout } from "../rollout/rollout.ts";
import type { RolloutSpec } from "./channel.ts";
import type { PluginRegistry } from "./plugin-registry.ts";

/** The `version` of a route's attachments of a plugin; null: they follow the current one. */
export type Attached =
  | { readonly kind: "one"; readonly version: string | null }
  | { readonly kind: "none" | "several" };

/** What a route attaches of a plugin. */
export function attachedVersion(route: RouteConfig | undefined, plugin: string): Attached {
  const versions = new Set(
    (route?.plugins ?? [])
      .filter((attachment) => attachment.plugin === plugin)
      .map(({ version }) => version ?? null),
  );
  if (versions.size > 1) return { kind: "several" };
  const [version] = versions;
  return version === undefined ? { kind: "none" } : { kind: "one", version };
}

/** The rollouts beside this configuration: those that it contradicts have ended; the same list if none. */
export function fitRollouts(
  rollouts: readonly Rollout[],
  { config, resolution }: Resolved,
  registry: PluginRegistry,
  at: Omit<Act, "reason">,
): readonly Rollout[] {
  const next = rollouts.map((rollout) => {
    if (!isActive(rollout)) return rollout;
    const route = config.routes?.find(({ name }) => name === rollout.route);
    const attached = attachedVersion(route, rollout.plugin);
    const { plugin, candidate } = rollout;
    if (attached.kind !== "one") {
      const reason = `the route does not attach ${plugin} any more`;
      return end(rollout, "aborted", { ...at, reason });
    }
    const wanted = attached.version;
    // What a range came to, where it came to something else than the rollout began with.
    const moved = wanted === null ? undefined : resolution[rangeKey(plugin, wanted)];
    const isMoved = moved !== undefined && moved !== rollout.stable;
    if (wanted === rollout.attached && !isMoved) {
      const gone = [rollout.stable, candidate].find((each) => !registry.version(plugin, each));
      if (gone === undefined) return rollout;
      return end(rollout, "aborted", { ...at, reason: `there is no ${plugin}@${gone} any more` });
    }
    const reason = `the configuration says version ${wanted ?? "current"}${moved === undefined ? "" : ` (${moved})`}`;
    const state = (moved ?? wanted) === candidate ? "promoted" : "aborted";
    return end(rollout, state, { ...at, reason });
  });
  return next.some((rollout, i) => rollout !== rollouts[i]) ? next : rollouts;
}

/**
 * What ranges come to as long as rollouts are under way on their routes: a change of something else must
 * neither end a rollout nor bring its candidate to everybody.
 */
export function heldRanges(rollouts: readonly Rollout[]): Resolution {
  const held = rollouts
    .filter((rollout) => isActive(rollout) && rollout.attached !== null)
    .map(({ plugin, attached, stable }) => [rangeKey(plugin, attached ?? ""), stable]);
  return Object.fromEntries(held) as Resolution;
}

/** What workers need of the rollouts under way. */
export function rolloutSpecs(
  rollouts: readonly Rollout[],
  registry: PluginRegistry,
): readonly RolloutSpec[] {
  return rollouts.filter(isActive).map((rollout) => {
    const { id, route, plugin, stable, candidate, mode, sticky } = rollout;
    const digest = registry.version(plugin, candidate)?.digest ?? "";
    return {
      id,
      route,
      plugin,
      stable,
      candidate,
      mode,
      weight: mode === "shadow" ? 0 : weightOf(rollout),
      sticky,
      // The same wherever the same version is rolled out, and another one for the next.
      salt: `${route}/${plugin}@${digest}/`,
    };
  });
}
