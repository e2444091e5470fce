// Between which two versions a rollout, or a replay, of a plugin on a route is.

import { ControlError } from "../../admin/api/control.ts";
import type { RolloutPlace } from "../../admin/api/control.ts";
import { rangeKey } from "../config/version-range.ts";
import type { Rollout } from "../rollout/rollout.ts";
import type { Live } from "./live.ts";
import type { PluginQuarantine } from "./plugin-quarantine.ts";
import { refuseUnknown } from "./plugin-retirement.ts";
import type { PluginStore } from "./plugin-store.ts";
import { attachedVersion } from "./rollout-fit.ts";

export type VersionParts = {
  readonly live: Live;
  readonly plugins: PluginStore;
  readonly quarantine: PluginQuarantine;
};

/** The version that serves there and the candidate; throws a ControlError where there are not two. */
export function versionsAt(
  { live, plugins, quarantine }: VersionParts,
  { route: routeName, plugin }: RolloutPlace,
  candidate: string,
): Pick<Rollout, "stable" | "candidate" | "attached"> {
  const route = live.state.config.routes?.find(({ name }) => name === routeName);
  if (route === undefined) {
    throw new ControlError(404, "unknown_route", `There is no route ${routeName}.`);
  }
  const attached = attachedVersion(route, plugin);
  if (attached.kind !== "one") {
    const why =
      attached.kind === "none" ? `does not attach ${plugin}` : "attaches several versions";
    throw new ControlError(422, "not_attached", `Route ${routeName} ${why}; one is needed.`);
  }
  const serving = quarantine.serving(plugins.registry).entry(plugin);
  if (plugins.registry.retired(plugin, candidate) !== null) {
    refuseUnknown(plugins.registry, plugin, candidate);
  }
  if (serving === null || plugins.registry.version(plugin, candidate) === null) {
    throw new ControlError(
      404,
      "unknown_plugin",
      `There is no plugin ${plugin}@${candidate}; store it first: sallyport plugin push --hold.`,
    );
  }
  const { version } = attached;
  const stable =
    version === null
      ? serving.current
      : (live.state.resolution[rangeKey(plugin, version)] ?? version);
  if (stable === candidate) {
    throw new ControlError(422, "same_version", `${candidate} serves on ${routeName} already.`);
  }
  return { stable, candidate, attached: version };
}
