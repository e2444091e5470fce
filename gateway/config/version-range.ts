// Ranges of versions in attachments, as npm writes them, and the exact versions they came to. A range is
// resolved when its configuration is committed and stays so while that revision is live: what is uploaded
// later changes nothing by itself.

import { maxSatisfying, valid, validRange } from "semver";
import type { KnownPlugin } from "./plugin-schema.ts";
import type { Fault } from "./fault.ts";
import type { AttachmentConfig, Config } from "./schema.ts";

/** What ranges came to, by `plugin@range`; kept beside the configuration that has them. */
export type Resolution = Readonly<Record<string, string>>;

export const VERSION_WORDS = "a version like 1.2.0 or a range like ^1.2, ~1.2.3, >=1.2 <2 or 1.x";

/** True for one version, false for a range or for neither. */
export function isExact(text: string): boolean {
  return valid(text) === text;
}

/** True for a version or a range of versions. */
export function isVersionOrRange(text: string): boolean {
  return text.trim() === text && text !== "" && validRange(text) !== null;
}

export function rangeKey(plugin: string, range: string): string {
  return `${plugin}@${range}`;
}

/** The version that an attachment names; null when it follows the current one. */
export function versionOf(
  { plugin, version }: Pick<AttachmentConfig, "plugin" | "version">,
  resolution: Resolution,
): string | null {
  return version === undefined ? null : (resolution[rangeKey(plugin, version)] ?? version);
}

/** The version that `wanted` comes to; null when there is none. Prereleases only where it names one. */
export function resolveVersion(name: string, wanted: string, known: KnownPlugin): string | null {
  const { versions, kept, setAside } = known;
  if (isExact(wanted)) return versions.has(wanted) ? wanted : null;
  const before = kept?.[rangeKey(name, wanted)];
  if (before !== undefined && versions.has(before)) return before;
  const able = [...versions.keys()].filter((version) => setAside?.has(version) !== true);
  return maxSatisfying(able, wanted);
}

/** What the ranges of a configuration come to, and a fault for each version that there is not. */
export function resolveRanges(
  { routes = [] }: Config,
  plugins: ReadonlyMap<string, KnownPlugin>,
): { readonly resolution: Resolution; readonly faults: readonly Fault[] } {
  const resolved = new Map<string, string | null>();
  const faults: Fault[] = [];
  for (const [i, { plugins: attachments = [] }] of routes.entries()) {
    for (const [j, { plugin, version }] of attachments.entries()) {
      const known = plugins.get(plugin);
      if (version === undefined || known === undefined) continue;
      const key = rangeKey(plugin, version);
      let found = resolved.get(key);
      if (found === undefined) {
        found = resolveVersion(plugin, version, known);
        resolved.set(key, found);
      }
      const path = `/routes/${i}/plugins/${j}/version`;
      if (found === null) faults.push(unresolved({ plugin, version, known, path }));
    }
  }
  const ranges = [...resolved].filter(
    ([key, version]) => version !== null && !isSame(key, version),
  );
  return { resolution: Object.fromEntries(ranges) as Resolution, faults };
}

function isSame(key: string, version: string): boolean {
  return key.slice(key.indexOf("@") + 1) === version;
}

const SHOWN_VERSIONS_MAX = 20;

/** The fault of an attachment whose version there is not, with those that there are. */
export function unresolved(at: {
  readonly plugin: string;
  readonly version: string;
  readonly known: KnownPlugin;
  readonly path: string;
}): Fault {
  const { plugin, version, known, path } = at;
  const names = [...known.versions.keys()];
  const listed = names.slice(0, SHOWN_VERSIONS_MAX).join(", ");
  const rest = names.length - SHOWN_VERSIONS_MAX;
  const found = JSON.stringify(version);
  return {
    code: "unknown_reference",
    message: isExact(version)
      ? `there is no version of ${plugin} ${found}`
      : `no version of ${plugin} satisfies ${found}`,
    path,
    found: version,
    allowed: rest > 0 ? `${listed} and ${rest} more` : listed,
  };
}

/** A copy in which attachments name the versions that their ranges came to. */
export function pinRanges<C extends Config>(config: C, resolution: Resolution): C {
  if (Object.keys(resolution).length === 0) return config;
  const pin = (attachment: AttachmentConfig): AttachmentConfig => {
    const version = versionOf(attachment, resolution);
    return version === null || version === attachment.version
      ? attachment
      : { ...attachment, version };
  };
  const routes = config.routes?.map((route) =>
    route.plugins === undefined ? route : { ...route, plugins: route.plugins.map(pin) },
  );
  return { ...config, routes };
}
