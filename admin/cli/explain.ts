// Which route a request takes and why, which plugins run in order, and what is forwarded: offline, from
// a configuration alone, over the same tree and the same normal form as the data path.

import type { AttachedPlugin } from "../api/control.ts";
import type { AdminClient } from "../client.ts";
import type { ParsedConfig, RouteConfig } from "../../gateway/config/schema.ts";
import { toRouteInput } from "../../gateway/config/route-input.ts";
import { rewritePath } from "../../gateway/routing/rewrite.ts";
import { explainMatch } from "../../gateway/routing/explain.ts";
import type { ExplainStep } from "../../gateway/routing/explain.ts";
import { matchRoute } from "../../gateway/routing/match.ts";
import { normalizeHost, normalizeTarget } from "../../gateway/routing/normalize.ts";
import { RouteTreeBuilder } from "../../gateway/routing/tree.ts";

export type ExplainRequest = {
  readonly method: string;
  /** Absolute URL, or a path. */
  readonly url: string;
  readonly headers: readonly (readonly [name: string, value: string])[];
};

export type Explanation = {
  readonly request: { readonly method: string; readonly host: string; readonly path: string };
  /** null: the gateway answers by itself, `reason` says what. */
  readonly route: string | null;
  readonly status: number | null;
  readonly reason: string;
  readonly steps: readonly ExplainStep[];
  readonly plugins: readonly string[];
  readonly action: string | null;
  readonly forwardedPath: string | null;
};

/** Explains what the gateway would do; the configuration was checked. */
export function explainRequest(config: ParsedConfig, request: ExplainRequest): Explanation {
  const { host, target } = splitUrl(request);
  const normalHost = host === "" ? "" : normalizeHost(host);
  const normal = normalizeTarget(target);
  const shown = { method: request.method, host: normalHost ?? host, path: normal?.path ?? target };
  if (normalHost === null || normal === null) {
    const what = normal === null ? "the target" : "the host";
    return refused(shown, 400, `${what} is refused: it is malformed or ambiguous`);
  }
  const builder = new RouteTreeBuilder<RouteConfig>();
  for (const route of config.routes ?? []) builder.add(toRouteInput(route, route));
  const steps = builder.finish();
  let step = steps.next();
  while (step.done !== true) step = steps.next();
  const tree = step.value;
  const headers = new Map(request.headers.map(([name, value]) => [name.toLowerCase(), value]));
  const asked = {
    method: request.method,
    host: normalHost,
    path: normal.path,
    query: normal.query,
    header: (name: string) => headers.get(name) ?? null,
    params: null,
  };
  const seen = explainMatch(tree, asked);
  const route = matchRoute(tree, asked);
  if (route === null) {
    const status = seen.reason.includes("the method") ? 405 : 404;
    return { ...refused(shown, status, seen.reason), steps: seen.steps };
  }
  return {
    request: shown,
    route: route.name,
    status: null,
    reason: seen.reason,
    steps: seen.steps,
    plugins: (route.plugins ?? []).map(({ plugin, version }) =>
      version === undefined ? plugin : `${plugin}@${version}`,
    ),
    action: actionOf(route),
    forwardedPath: forwardedPath(route, normal.path),
  };
}

/** The same of what a running gateway serves: with the versions that ranges came to. */
export async function explainLive(
  client: AdminClient,
  request: ExplainRequest,
): Promise<Explanation> {
  const { body: config } = await client.call<ParsedConfig>("GET", "/admin/config");
  const explanation = explainRequest(config, request);
  const { route } = explanation;
  if (route === null) return explanation;
  const path = `/admin/routes/${encodeURIComponent(route)}/plugins`;
  const { body: attached } = await client.call<readonly AttachedPlugin[]>("GET", path);
  return { ...explanation, plugins: attached.map(attachedText) };
}

function attachedText({ plugin, version, resolved }: AttachedPlugin): string {
  const written = version === null ? plugin : `${plugin}@${version}`;
  return resolved === null || resolved === version ? written : `${written} (${resolved})`;
}

/** The explanation for people. */
export function explanationText(explanation: Explanation): string {
  const {
    request,
    route,
    status,
    reason,
    steps,
    plugins,
    action,
    forwardedPath: path,
  } = explanation;
  const lines = [`${request.method} ${request.host}${request.path}`];
  for (const step of steps) {
    const mark = step.outcome === "matched" ? "+" : "-";
    lines.push(`  ${mark} ${step.route}: ${step.reason}`);
  }
  if (route === null) return [...lines, `answered with ${status}: ${reason}`].join("\n");
  lines.push(`route    ${route}`, `because  ${reason}`);
  lines.push(
    `plugins  ${plugins.length === 0 ? "none" : plugins.join(" -> ")}`,
    `action   ${action}`,
  );
  if (path !== null && path !== request.path) lines.push(`path     ${path}`);
  return lines.join("\n");
}

function refused(request: Explanation["request"], status: number, reason: string): Explanation {
  return {
    request,
    route: null,
    status,
    reason,
    steps: [],
    plugins: [],
    action: null,
    forwardedPath: null,
  };
}

function splitUrl({ url, headers }: ExplainRequest): { host: string; target: string } {
  const match = /^https?:\/\/([^/?#]*)(.*)$/i.exec(url);
  const field = headers.find(([name]) => name.toLowerCase() === "host")?.[1] ?? "";
  if (match === null) return { host: field, target: url };
  const rest = match[2];
  return { host: match[1], target: rest.startsWith("/") ? rest : `/${rest}` };
}

function actionOf(route: RouteConfig): string {
  if (route.upstream !== undefined) return `upstream ${route.upstream}`;
  if (route.redirect !== undefined) {
    return `redirect ${route.redirect.status ?? 302} to ${route.redirect.to}`;
  }
  if (route.respond !== undefined) return `respond ${route.respond.status ?? 200}`;
  return "echo";
}

function forwardedPath(route: RouteConfig, path: string): string | null {
  if (route.upstream === undefined && route.echo !== true) return null;
  const { rewrite } = route;
  if (rewrite === undefined) return path;
  return rewritePath(path, {
    path: rewrite.path ?? "",
    stripPrefix: rewrite.strip_prefix ?? "",
    addPrefix: rewrite.add_prefix ?? "",
  });
}
