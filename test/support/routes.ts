// Routes and requests for tests of routing: short to write, or drawn by chance from a world that is
// so small that conditions overlap all the time. A route's value is its name.

import fc from "fast-check";
import { matchRoute } from "../../gateway/routing/match.ts";
import type { MatchRequest } from "../../gateway/routing/match.ts";
import { RouteTreeBuilder } from "../../gateway/routing/tree.ts";
import type { PathInput, RouteInput, RouteTree } from "../../gateway/routing/tree.ts";

export type TestRoute = RouteInput<string>;

/** A route with these conditions and no others. */
export function makeRoute(name: string, given: Partial<TestRoute> = {}): TestRoute {
  return {
    name,
    value: name,
    priority: 0,
    hosts: [],
    paths: [],
    methods: [],
    headers: [],
    query: [],
    ...given,
  };
}

export const exact = (value: string): PathInput => ({ kind: "exact", value });
export const prefix = (value: string): PathInput => ({ kind: "prefix", value });
export const pattern = (value: string): PathInput => ({ kind: "pattern", value });

export function buildTree(routes: readonly TestRoute[]): RouteTree<string> {
  const builder = new RouteTreeBuilder<string>();
  for (const route of routes) builder.add(route);
  const steps = builder.finish();
  let step = steps.next();
  while (step.done !== true) step = steps.next();
  return step.value;
}

export type TestRequest = {
  readonly method?: string;
  readonly host?: string;
  readonly path?: string;
  readonly query?: string;
  /** By lower-case name. */
  readonly headers?: Readonly<Record<string, string>>;
};

export function makeRequest(given: TestRequest = {}): MatchRequest {
  const headers = new Map(Object.entries(given.headers ?? {}));
  return {
    method: given.method ?? "GET",
    host: given.host ?? "a.example",
    path: given.path ?? "/",
    query: given.query ?? "",
    header: (nameLower) => headers.get(nameLower) ?? null,
    params: null,
  };
}

/** The name of the route that a request takes, with its parameters; null when there is none. */
export function lookUp(
  tree: RouteTree<string>,
  given: TestRequest,
): { name: string; params: Record<string, string> | null } | null {
  const request = makeRequest(given);
  const name = matchRoute(tree, request);
  if (name === null) return null;
  return { name, params: request.params === null ? null : Object.fromEntries(request.params) };
}

const SEGMENTS = ["a", "b", "aa", "a.b"];
const hostPatterns = fc.constantFrom(
  "a.example",
  "b.example",
  "x.a.example",
  "*.example",
  "*.a.example",
  "*.x.a.example",
);
const pathInputs = fc
  .tuple(
    fc.constantFrom<PathInput["kind"]>("exact", "prefix", "pattern", "pattern"),
    fc.array(fc.oneof(fc.constantFrom(...SEGMENTS), fc.constantFrom("{", "{")), { maxLength: 4 }),
    fc.constantFrom("", "", "/", "rest"),
  )
  .map(([kind, drawn, end]): PathInput => {
    const segments = drawn.map((text, index) => {
      if (text !== "{") return text;
      return kind === "pattern" ? `{p${index}}` : "a";
    });
    if (end === "rest" && kind === "pattern") segments.push("{rest...}");
    const value = `/${segments.join("/")}`;
    return { kind, value: end === "/" && value !== "/" ? `${value}/` : value };
  });
const valueInputs = fc.record(
  {
    name: fc.constantFrom("x-a", "x-b"),
    exact: fc.constantFrom("1", "12", ""),
    prefix: fc.constantFrom("1", ""),
    present: fc.boolean(),
  },
  { requiredKeys: ["name"] },
);

const valueLists = fc.oneof(
  { weight: 2, arbitrary: fc.constant([]) },
  { weight: 1, arbitrary: fc.array(valueInputs, { maxLength: 2 }) },
);

/** Sets of routes that get in each other's way; `priorities` lets some of them jump the queue. */
export function routeSets(priorities: readonly number[]): fc.Arbitrary<TestRoute[]> {
  const conditions = fc.record({
    priority: fc.constantFrom(...priorities),
    hosts: fc.uniqueArray(hostPatterns, { maxLength: 2 }),
    paths: fc.array(pathInputs, { maxLength: 2 }),
    methods: fc.constantFrom([], [], ["GET"], ["POST", "PUT"]),
    headers: valueLists,
    query: valueLists,
  });
  return fc
    .array(conditions, { minLength: 1, maxLength: 12 })
    .map((list) => list.map((given, index) => makeRoute(`r${index}`, given)));
}

/** Requests of the same world, in normal form. */
export const requests: fc.Arbitrary<Required<TestRequest>> = fc.record({
  method: fc.constantFrom("GET", "POST", "HEAD"),
  host: fc.constantFrom(
    "a.example",
    "b.example",
    "x.a.example",
    "y.x.a.example",
    "a.b.example",
    "example",
    "other",
    "",
  ),
  path: fc
    .tuple(fc.array(fc.constantFrom(...SEGMENTS, "c"), { maxLength: 5 }), fc.constantFrom("", "/"))
    .map(([segments, end]) => `/${segments.join("/")}${segments.length === 0 ? "" : end}`),
  query: fc
    .array(fc.constantFrom("x-a=1", "x-a=12", "x-a", "x-b=", "x%2Da=1", "x-b=%31", "c", ""), {
      maxLength: 3,
    })
    .map((parts) => parts.join("&")),
  headers: fc.dictionary(fc.constantFrom("x-a", "x-b"), fc.constantFrom("1", "12", "2", "")),
});
