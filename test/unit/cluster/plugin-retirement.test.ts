// A version that serves because the current one is set aside is in use, whatever the registry says.

import assert from "node:assert/strict";
import { test } from "node:test";
import { PluginQuarantine } from "../../../gateway/cluster/plugin-quarantine.ts";
import { PluginRegistry } from "../../../gateway/cluster/plugin-registry.ts";
import { PluginRetirement } from "../../../gateway/cluster/plugin-retirement.ts";
import type { RetirementParts } from "../../../gateway/cluster/plugin-retirement.ts";
import { createLog } from "../../../gateway/base/log.ts";

function registryOf(...versions: readonly string[]): PluginRegistry {
  return versions.reduce(
    (before, version) =>
      before
        .withVersion("authz", {
          ...{ version, digest: version, sizeBytes: 0, exports: [], manifest: null },
          ...{ createdAt: "", signature: null },
        })
        .withCurrent("authz", version),
    new PluginRegistry(),
  );
}

test("a version that serves in the place of one that is set aside cannot be retired", async () => {
  const quarantine = new PluginQuarantine({ log: createLog(() => {}), rebind: async () => {} });
  const plugins = { registry: registryOf("1.0.0", "2.0.0") };
  const config = { routes: [{ name: "r", plugins: [{ plugin: "authz" }], echo: true }] };
  const live = {
    state: { config, resolution: {} },
    exclusively: async (task: () => Promise<void>) => await task(),
    changePlugins: async (change: { registry: PluginRegistry }) => {
      Object.assign(plugins, change);
    },
  };
  const parts = { live, plugins, quarantine, rollouts: { rollouts: [] } };
  const retirement = new PluginRetirement(parts as unknown as RetirementParts);
  quarantine.add("authz", "2.0.0", "trap");
  await assert.rejects(retirement.retire("authz", "1.0.0"), {
    code: "plugin_referenced",
    message: "authz@1.0.0 is used by route r (detach it).",
  });
  quarantine.lift("authz", "2.0.0");
  await retirement.retire("authz", "1.0.0");
  assert.equal(plugins.registry.version("authz", "1.0.0"), null);
});
