// sallyport config diff: a file beside the live configuration, with what its ranges of versions would come to
// now. It asks for nothing that the role `read` may not have.

import { diffResolved, formatDiff } from "../../../gateway/config/diff.ts";
import type { Config } from "../../../gateway/config/schema.ts";
import { resolveRanges } from "../../../gateway/config/version-range.ts";
import type { Resolution } from "../../../gateway/config/version-range.ts";
import type { AdminClient } from "../../client.ts";
import { EXIT } from "../output.ts";
import type { Output } from "../output.ts";
import { checkLoaded } from "./config.ts";
import type { LoadedFile } from "./config.ts";
import type { Plugin } from "./plugin.ts";
import { isOver } from "./rollout-text.ts";
import type { ShownRollout } from "./rollout-text.ts";

export async function diffCommand(
  loaded: LoadedFile,
  client: AdminClient,
  output: Output,
): Promise<number> {
  const config = checkLoaded(loaded, output);
  if (config === null) return EXIT.trouble;
  const live = await client.call<Config>("GET", "/admin/config");
  const revision = live.etag?.replaceAll('"', "") ?? "";
  const { body: served } = await client.call<{ versions: Resolution }>(
    "GET",
    `/admin/revisions/${revision}`,
  );
  const lines = diffResolved(
    { config: live.body, resolution: served.versions },
    { config, resolution: await resolvedNow(config, served.versions, client) },
  );
  output.result(lines, () => formatDiff(lines, output) || "no difference");
  return lines.length === 0 ? EXIT.ok : EXIT.no;
}

// As the gateway would: a rollout under way holds the ranges of its route.
async function resolvedNow(
  config: Config,
  served: Resolution,
  client: AdminClient,
): Promise<Resolution> {
  const { body: plugins } = await client.call<readonly Plugin[]>("GET", "/admin/plugins");
  const { body: rollouts } = await client.call<readonly ShownRollout[]>("GET", "/admin/rollouts");
  const held = new Set(rollouts.filter((each) => !isOver(each)).map(({ plugin }) => plugin));
  const known = plugins.map(({ name, current, versions }) => {
    const setAside = versions.filter(({ set_aside: aside }) => aside !== null);
    return [
      name,
      {
        current: current ?? "",
        versions: new Map(versions.map(({ version }) => [version, null])),
        setAside: new Set(setAside.map(({ version }) => version)),
        ...(held.has(name) ? { kept: served } : {}),
      },
    ] as const;
  });
  return resolveRanges(config, new Map(known)).resolution;
}
