// What routing means, as a list that is searched from end to end: every route is tried by itself,
// by comparing texts and regular expressions, and the fitting ones are sorted. Slow, and easy to
// believe.

import type { ValueInput } from "../../gateway/routing/conditions.ts";
import type { MatchRequest } from "../../gateway/routing/match.ts";
import type { PathInput } from "../../gateway/routing/tree.ts";
import type { TestRoute } from "./routes.ts";

/** The name of the first fitting route in order of precedence, or null. */
export function modelMatch(routes: readonly TestRoute[], request: MatchRequest): string | null {
  const fitting: { name: string; rank: readonly (number | string)[] }[] = [];
  for (const [order, route] of routes.entries()) {
    if (!meetsConditions(route, request)) continue;
    for (const host of route.hosts.length === 0 ? [""] : route.hosts) {
      for (const path of route.paths.length === 0 ? [ANY_PATH] : route.paths) {
        if (!hostFits(host, request.host) || !pathExpression(path).test(request.path)) continue;
        const rank = [...placeRank(route.priority, host, path), ...conditionsRank(route), order];
        fitting.push({ name: route.name, rank });
      }
    }
  }
  fitting.sort((a, b) => compare(a.rank, b.rank));
  return fitting[0]?.name ?? null;
}

const ANY_PATH: PathInput = { kind: "prefix", value: "/" };

function hostFits(pattern: string, host: string): boolean {
  if (pattern === "") return true;
  if (!pattern.startsWith("*.")) return host === pattern;
  return host.length >= pattern.length && host.endsWith(pattern.slice(1));
}

/** The path's condition as a regular expression, its parameters as named groups. */
export function pathExpression({ kind, value }: PathInput): RegExp {
  const text = kind === "prefix" ? value.replace(/\/$/, "") : value;
  const source = text.replaceAll(/\{(\w+)(\.\.\.)?\}|[.*+?^$()[\]|\\]/g, (whole, name, rest) => {
    if (name === undefined) return `\\${whole}`;
    return rest === undefined ? `(?<${name}>[^/]+)` : `(?<${name}>.*)`;
  });
  return new RegExp(kind === "prefix" ? `^${source}(?:/|$)` : `^${source}$`);
}

function meetsConditions(route: TestRoute, request: MatchRequest): boolean {
  const parameters = new Map<string, string>();
  for (const part of request.query.split("&").filter((text) => text !== "")) {
    const [, name, value] = /^([^=]*)=?(.*)$/.exec(part) ?? [];
    const decoded = decodeURIComponent(name);
    if (!parameters.has(decoded)) parameters.set(decoded, decodeURIComponent(value));
  }
  return (
    (route.methods.length === 0 || route.methods.includes(request.method)) &&
    route.headers.every((test) => holds(test, request.header(test.name))) &&
    route.query.every((test) => holds(test, parameters.get(test.name) ?? null))
  );
}

function holds({ exact, prefix, present }: ValueInput, value: string | null): boolean {
  if (present === false) return value === null && exact === undefined && prefix === undefined;
  return (
    value !== null &&
    (exact === undefined || value === exact) &&
    (prefix === undefined || value.startsWith(prefix))
  );
}

/** Smaller is better: priority; exact host, wildcard, any; exact, longest prefix, pattern, all. */
function placeRank(priority: number, host: string, path: PathInput): (number | string)[] {
  const hostRank = host === "" ? 0 : host.startsWith("*") ? -host.length : -1000;
  const segments = path.value
    .replace(/\/$/, path.kind === "prefix" ? "" : "/")
    .split("/")
    .slice(1);
  const isRest = segments.at(-1)?.endsWith("...}") ?? false;
  const named = isRest ? segments.slice(0, -1) : segments;
  const marks = named.map((segment) => (segment.startsWith("{") ? "p" : "l")).join("");
  const literals = marks.replaceAll("p", "").length;
  if (path.kind === "exact") return [-priority, hostRank, 0, 0, 0, 0, ""];
  if (path.kind === "prefix" && segments.length === 0) return [-priority, hostRank, 3, 0, 0, 0, ""];
  if (path.kind === "prefix") return [-priority, hostRank, 1, -segments.length, 0, 0, ""];
  return [-priority, hostRank, 2, -literals, isRest ? 1 : 0, -named.length, marks];
}

function conditionsRank({ methods, headers, query }: TestRoute): number[] {
  return [methods.length > 0 ? 0 : 1, -headers.length, -query.length];
}

function compare(a: readonly (number | string)[], b: readonly (number | string)[]): number {
  const at = a.findIndex((part, index) => part !== b[index]);
  return at === -1 ? 0 : a[at] < b[at] ? -1 : 1;
}
