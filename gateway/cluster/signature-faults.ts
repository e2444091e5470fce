// What of a configuration a change of trusted keys would leave without its plugins. The checker of
// configurations cannot know: it sees neither the registry nor the modules.

import type { RolloutSpec } from "./channel.ts";
import type { Fault } from "../config/fault.ts";
import type { Config } from "../config/schema.ts";
import type { PluginRegistry } from "./plugin-registry.ts";
import type { PluginStore } from "./plugin-store.ts";
import { usesOf } from "./plugin-store.ts";

type Used = {
  readonly plugins: PluginStore;
  readonly registry: PluginRegistry;
  readonly rollouts: readonly RolloutSpec[];
};

/**
 * A fault for each version that the next configuration would use and that no key it trusts signed; both
 * name versions, not ranges. What the live one leaves out already is none: it must not stand in the way
 * of other changes.
 */
export async function signatureFaults(live: Config, next: Config, used: Used): Promise<Fault[]> {
  const already = await refusals(live, used);
  const found = await refusals(next, used);
  return [...found]
    .filter(([key]) => !already.has(key))
    .map(([key, why]) => ({
      code: "conflict",
      message:
        `${key} would not run: ${why} Push the same module again with a signature of a trusted key ` +
        "before this change, or detach it.",
      path: pathOf(next, key),
    }));
}

// Why versions would not run, by `name@version`.
async function refusals(
  config: Config,
  { plugins, registry, rollouts }: Used,
): Promise<ReadonlyMap<string, string>> {
  const refused = new Map<string, string>();
  if (plugins.signatures.trusted(config) === null) return refused;
  for (const { name, version } of usesOf(config, registry, rollouts).values()) {
    // Without its module it does not run either way, and says so itself.
    const verdict = await plugins.judge(config, { ...version, name }).catch(() => null);
    if (verdict?.ok === false) refused.set(`${name}@${version.version}`, verdict.message);
  }
  return refused;
}

// Of the first attachment that may be meant.
function pathOf({ routes = [] }: Config, key: string): string {
  for (const [i, route] of routes.entries()) {
    const j = (route.plugins ?? []).findIndex(({ plugin }) => key.startsWith(`${plugin}@`));
    if (j !== -1) return `/routes/${i}/plugins/${j}`;
  }
  return "/trusted_plugin_keys";
}
