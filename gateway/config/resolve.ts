// A configuration as workers get it: secrets in the place of references, and absolute paths, since
// relative ones start at the configuration's folder and a worker does not know it.

import { resolve } from "node:path";
import type { CheckContext } from "./context.ts";
import type { Fault } from "./fault.ts";
import type { Config } from "./schema.ts";
import { resolveSecrets } from "./secrets.ts";

/** The resolved configuration, and the secrets that cannot be read. */
export function resolveConfig(
  config: Config,
  source: Pick<CheckContext, "env" | "readFile" | "baseDir">,
): { readonly config: Config; readonly faults: readonly Fault[] } {
  const { config: resolved, faults } = resolveSecrets(config, source);
  const absolute = (path: string) => resolve(source.baseDir, path);
  const log = resolved.access_log;
  return {
    faults,
    config: {
      ...resolved,
      ...(log === undefined || log.path === "-"
        ? {}
        : { access_log: { path: absolute(log.path) } }),
      ...(resolved.upstreams === undefined
        ? {}
        : { upstreams: resolved.upstreams.map((upstream) => withPaths(upstream, absolute)) }),
    },
  };
}

type UpstreamConfig = NonNullable<Config["upstreams"]>[number];

function withPaths(upstream: UpstreamConfig, absolute: (path: string) => string): UpstreamConfig {
  const { tls } = upstream;
  if (tls === undefined) return upstream;
  const paths: Record<string, string> = {};
  for (const key of ["ca_file", "cert_file", "key_file"] as const) {
    const path = tls[key];
    if (path !== undefined) paths[key] = absolute(path);
  }
  return { ...upstream, tls: { ...tls, ...paths } };
}
