// A configured route as the routing tree takes it: the one mapping, shared by the data path and by
// `explain`, so that the two cannot disagree.

import type { PathInput, RouteInput } from "../routing/tree.ts";
import type { RouteConfig, RouteMatchConfig } from "./schema.ts";

/** The route for a RouteTreeBuilder, carrying `value`. */
export function toRouteInput<T>(route: RouteConfig, value: T): RouteInput<T> {
  const match = route.match ?? {};
  return {
    name: route.name,
    priority: route.priority ?? 0,
    hosts: match.hosts ?? [],
    paths: (match.paths ?? []).map(toPathInput),
    methods: match.methods ?? [],
    headers: match.headers ?? [],
    query: match.query ?? [],
    value,
  };
}

function toPathInput(path: NonNullable<RouteMatchConfig["paths"]>[number]): PathInput {
  if ("exact" in path) return { kind: "exact", value: path.exact };
  if ("prefix" in path) return { kind: "prefix", value: path.prefix };
  return { kind: "pattern", value: path.pattern };
}
