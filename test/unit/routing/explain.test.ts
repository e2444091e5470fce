// What is said about a lookup: it names the route that the lookup takes, for any request; steps
// come in the order of precedence with the reason of each refusal; and what is allowed is what
// would have fit.

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { explainMatch, whyNoMatch } from "../../../gateway/routing/explain.ts";
import { matchRoute } from "../../../gateway/routing/match.ts";
import { SEED } from "../../support/random.ts";
import { modelMatch } from "../../support/route-model.ts";
import {
  buildTree,
  exact,
  makeRequest,
  makeRoute,
  pattern,
  prefix,
  requests,
  routeSets,
} from "../../support/routes.ts";

const worlds = fc.tuple(
  routeSets([0, 0, 1, -1]),
  fc.array(requests, { minLength: 1, maxLength: 8 }),
);
const RUNS = { seed: SEED, numRuns: 1_000 };

test("the explanation names the route that the lookup takes", () => {
  fc.assert(
    fc.property(worlds, ([routes, list]) => {
      const tree = buildTree(routes);
      for (const given of list) {
        const taken = matchRoute(tree, makeRequest(given));
        const { winner, steps, reason } = explainMatch(tree, makeRequest(given));
        assert.equal(winner, taken);
        assert.notEqual(reason, "");
        const matched = steps.filter(({ outcome }) => outcome === "matched");
        assert.equal(matched.at(-1)?.route ?? null, taken, "the last match is the best");
      }
    }),
    RUNS,
  );
});

test("a method is allowed exactly when the same request with it would find a route", () => {
  fc.assert(
    fc.property(worlds, ([routes, list]) => {
      const tree = buildTree(routes);
      for (const given of list) {
        if (matchRoute(tree, makeRequest(given)) !== null) continue;
        const why = whyNoMatch(tree, makeRequest(given));
        const allow = why.kind === "none" ? [] : why.allow;
        const wanted = ["GET", "HEAD", "POST", "PUT"].filter(
          (method) => modelMatch(routes, makeRequest({ ...given, method })) !== null,
        );
        assert.deepEqual(allow, wanted);
      }
    }),
    RUNS,
  );
});

const TREE = buildTree([
  makeRoute("any"),
  makeRoute("wild", { hosts: ["*.example"], paths: [pattern("/u/{id}")], methods: ["PUT"] }),
  makeRoute("head", { hosts: ["a.example"], paths: [exact("/u/1")], headers: [{ name: "x-a" }] }),
  makeRoute("query", { hosts: ["a.example"], paths: [prefix("/u")], query: [{ name: "q" }] }),
]);

test("steps tell host, path and reason in order of precedence", () => {
  const { steps, winner, reason } = explainMatch(TREE, makeRequest({ path: "/u/1" }));
  assert.deepEqual(steps, [
    {
      route: "head",
      host: 'exact host "a.example"',
      path: 'exact path "/u/1"',
      outcome: "rejected",
      reason: 'header "x-a" does not match',
    },
    {
      route: "query",
      host: 'exact host "a.example"',
      path: 'prefix "/u"',
      outcome: "rejected",
      reason: 'query parameter "q" does not match',
    },
    {
      route: "wild",
      host: 'wildcard host "*.example"',
      path: 'pattern "/u/{id}"',
      outcome: "rejected",
      reason: "method GET is not PUT",
    },
    {
      route: "any",
      host: "any host",
      path: "any path",
      outcome: "matched",
      reason: "any host, any path",
    },
  ]);
  assert.equal(winner, "any");
  assert.equal(reason, "any host, any path");
});

test("a winner's reason tells every condition that it met", () => {
  const tree = buildTree([
    makeRoute("r", {
      priority: 7,
      methods: ["GET", "PUT"],
      headers: [{ name: "x-a" }],
      query: [{ name: "q" }, { name: "r" }],
    }),
  ]);
  const request = makeRequest({ query: "q&r", headers: { "x-a": "" } });
  assert.equal(
    explainMatch(tree, request).reason,
    "any host, any path, method GET, PUT, 1 header condition(s), 2 query condition(s), priority 7",
  );
});

test("no route: the wrong method is told from nothing that fits", () => {
  const tree = buildTree([
    makeRoute("put", { paths: [exact("/a")], methods: ["PUT", "DELETE"] }),
    makeRoute("post", { paths: [exact("/a")], methods: ["POST", "PUT"] }),
    makeRoute("other", { paths: [exact("/a")], methods: ["PATCH"], headers: [{ name: "x" }] }),
  ]);
  const wrong = makeRequest({ path: "/a" });
  assert.deepEqual(whyNoMatch(tree, wrong), {
    kind: "wrong-method",
    allow: ["DELETE", "POST", "PUT"],
  });
  assert.match(explainMatch(tree, wrong).reason, /the method GET does not: DELETE, POST, PUT/);
  const none = makeRequest({ path: "/b", host: 'a"b' });
  assert.deepEqual(whyNoMatch(tree, none), { kind: "none" });
  assert.equal(explainMatch(tree, none).reason, 'no route fits host "a\\"b" and path /b');
});

test("steps are bounded, the winner is found behind the bound", () => {
  const rejected = Array.from({ length: 250 }, (_, i) =>
    makeRoute(`r${i}`, { headers: [{ name: "x-a" }] }),
  );
  const { steps, winner } = explainMatch(
    buildTree([...rejected, makeRoute("last")]),
    makeRequest(),
  );
  assert.equal(steps.length, 200);
  assert.equal(winner, "last");
});
