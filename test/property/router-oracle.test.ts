// The tree of routes against two judges: a list that is searched from end to end, for everything
// that a route can ask, and find-my-way, for the paths that both can express. Time-boxed:
// FUZZ_SECONDS for all searches together, SEED repeats a run.

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import findMyWay from "find-my-way";
import { matchRoute } from "../../gateway/routing/match.ts";
import type { MatchRequest } from "../../gateway/routing/match.ts";
import type { PathInput } from "../../gateway/routing/tree.ts";
import { modelMatch, pathExpression } from "../support/route-model.ts";
import {
  buildTree,
  exact,
  lookUp,
  makeRequest,
  makeRoute,
  pattern,
  requests,
  routeSets,
} from "../support/routes.ts";
import { Tally, searchMs, untilTime } from "../support/random.ts";

const SECONDS_DEFAULT = 3;
const REQUESTS_PER_TREE = { minLength: 1, maxLength: 24 };
/** What a search must have met for its silence to mean something. */
const MATCHES_MIN = 200;

for (const [what, priorities] of [
  ["without priorities", [0]],
  ["with priorities", [0, 0, 1, -1]],
] as const) {
  test(`the tree takes the route that the list takes, ${what}`, (t) => {
    const tally = new Tally();
    const search = fc.property(
      routeSets(priorities),
      fc.array(requests, REQUESTS_PER_TREE),
      (routes, list) => {
        const tree = buildTree(routes);
        assert.equal(tree.routeCount, routes.length);
        for (const given of list) {
          const request = makeRequest(given);
          const wanted = modelMatch(routes, request);
          assert.equal(matchRoute(tree, request), wanted);
          tally.add(wanted === null ? "without a route" : "with a route");
          checkParams(routes.find(({ name }) => name === wanted)?.paths ?? [], request);
        }
      },
    );
    fc.assert(search, untilTime(searchMs(1 / 3, SECONDS_DEFAULT)));
    tally.report(t);
    assert.ok(tally.of("with a route") >= MATCHES_MIN);
    assert.ok(tally.of("without a route") >= MATCHES_MIN);
  });
}

/** Parameters are those of one of the route's fitting paths; the list has judged which wins. */
function checkParams(paths: readonly PathInput[], request: MatchRequest): void {
  const params = request.params === null ? {} : Object.fromEntries(request.params);
  const possible = paths.flatMap((path) => {
    const found = pathExpression(path).exec(request.path);
    return found === null ? [] : [{ ...found.groups }];
  });
  if (possible.length === 0) possible.push({});
  assert.ok(
    possible.some((groups) => JSON.stringify(groups) === JSON.stringify(params)),
    `${JSON.stringify(params)} of ${request.path}`,
  );
}

/** Paths that both express, written our way. */
const sharedPaths = fc.uniqueArray(
  fc
    .tuple(
      fc.array(fc.constantFrom("a", "b", "aa", "{"), { maxLength: 4 }),
      fc.constantFrom(false, false, true),
    )
    .map(([drawn, hasRest]) => {
      const segments = drawn.map((text, index) => (text === "{" ? `{p${index}}` : text));
      return `/${(hasRest ? [...segments, "{rest...}"] : segments).join("/")}`;
    }),
  { minLength: 1, maxLength: 10 },
);
const sharedTargets = fc
  .tuple(fc.array(fc.constantFrom("a", "b", "aa", "c", "a.b-c"), { maxLength: 5 }), fc.boolean())
  .map(([segments, slash]) => `/${segments.join("/")}${slash && segments.length > 0 ? "/" : ""}`);

type Find = (target: string) => Record<string, string | undefined> | null;

/** Finds one path by find-my-way; an empty parameter, which only it takes, is no match. */
function finderOf(path: string): Find {
  const router = findMyWay({ maxParamLength: 1000 });
  const theirs = path.replaceAll(/\{(\w+)\}/g, ":$1").replace("{rest...}", "*");
  router.on("GET", theirs, () => {});
  return (target) => {
    const found = router.find("GET", target);
    if (found === null) return null;
    const { "*": rest, ...named } = found.params;
    if (Object.values(named).includes("")) return null;
    return rest === undefined ? named : { ...named, rest };
  };
}

// Which of several fitting patterns wins is each router's own rule, so find-my-way has one router
// for each path: it says which paths fit, and with which parameters.
test("the tree finds a path where find-my-way does, with the same parameters", (t) => {
  const tally = new Tally();
  const search = fc.property(
    sharedPaths,
    fc.array(sharedTargets, REQUESTS_PER_TREE),
    (paths, targets) => {
      const toInput = (path: string) => (path.includes("{") ? pattern(path) : exact(path));
      const tree = buildTree(paths.map((path) => makeRoute(path, { paths: [toInput(path)] })));
      const finders = new Map(paths.map((path) => [path, finderOf(path)]));
      for (const target of targets) {
        const fitting = new Map<string, Record<string, string | undefined>>();
        for (const [path, find] of finders) {
          const params = find(target);
          if (params !== null) fitting.set(path, params);
        }
        const ours = lookUp(tree, { path: target });
        tally.add(`fitted by ${Math.min(fitting.size, 2)}${fitting.size > 1 ? " or more" : ""}`);
        if (ours === null) {
          assert.equal(fitting.size, 0, target);
          continue;
        }
        assert.ok(fitting.has(ours.name), `${ours.name} for ${target}`);
        assert.deepEqual(ours.params ?? {}, { ...fitting.get(ours.name) }, target);
        if (fitting.has(target)) assert.equal(ours.name, target, "a literal path wins");
      }
    },
  );
  fc.assert(search, untilTime(searchMs(1 / 3, SECONDS_DEFAULT)));
  tally.report(t);
  assert.ok(tally.of("fitted by 1") >= MATCHES_MIN);
  assert.ok(tally.of("fitted by 2 or more") >= MATCHES_MIN);
});
