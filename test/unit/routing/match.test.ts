// Which route a request takes: the order of precedence pair by pair (Gateway API, HTTPRouteRule
// "matches"), in both orders of declaration; what a prefix, a pattern and a wildcard take and what
// they do not; and that a place whose conditions fail gives way to the next one.

import assert from "node:assert/strict";
import { test } from "node:test";
import { matchRoute } from "../../../gateway/routing/match.ts";
import {
  buildTree,
  exact,
  lookUp,
  makeRequest,
  makeRoute,
  pattern,
  prefix,
} from "../../support/routes.ts";
import type { TestRequest, TestRoute } from "../../support/routes.ts";

/** The name of the route that these routes give the request to. */
function winner(routes: readonly TestRoute[], request: TestRequest): string | null {
  return lookUp(buildTree(routes), request)?.name ?? null;
}

type Given = Partial<TestRoute>;
type Row = readonly [what: string, better: Given, worse: Given, request?: TestRequest];

const AB: TestRequest = { path: "/a/b" };
const ORDER: readonly Row[] = [
  ["an exact host before a wildcard", { hosts: ["a.example"] }, { hosts: ["*.example"] }],
  ["an exact host before any", { hosts: ["a.example"] }, {}],
  ["a wildcard before any", { hosts: ["*.example"] }, {}],
  [
    "a longer wildcard before a shorter one",
    { hosts: ["*.a.example"] },
    { hosts: ["*.example"] },
    { host: "x.a.example" },
  ],
  [
    "a host before a path",
    { hosts: ["a.example"], paths: [prefix("/")] },
    { hosts: ["*.example"], paths: [exact("/a/b")] },
    AB,
  ],
  ["an exact path before a prefix", { paths: [exact("/a/b")] }, { paths: [prefix("/a/b")] }, AB],
  [
    "an exact path before a pattern",
    { paths: [exact("/a/b")] },
    { paths: [pattern("/{x}/b")] },
    AB,
  ],
  [
    "an exact path before a pattern of literals",
    { paths: [exact("/a/b")] },
    { paths: [pattern("/a/b")] },
    AB,
  ],
  [
    "a longer prefix before a shorter one",
    { paths: [prefix("/a/b")] },
    { paths: [prefix("/a")] },
    AB,
  ],
  ["any prefix before none", { paths: [prefix("/a")] }, {}, AB],
  ["a prefix before a pattern", { paths: [prefix("/a")] }, { paths: [pattern("/a/{x}")] }, AB],
  ["more literal segments", { paths: [pattern("/a/{x}")] }, { paths: [pattern("/{x}/{y}")] }, AB],
  [
    "more literal segments before the literal that comes first",
    { paths: [pattern("/{x}/b/c")] },
    { paths: [pattern("/a/{x}/{y}")] },
    { path: "/a/b/c" },
  ],
  ["no rest before a rest", { paths: [pattern("/a/{x}")] }, { paths: [pattern("/a/{x...}")] }, AB],
  ["more segments", { paths: [pattern("/{x}/{y...}")] }, { paths: [pattern("/{y...}")] }, AB],
  [
    "the literal that comes first",
    { paths: [pattern("/a/{x}")] },
    { paths: [pattern("/{x}/b")] },
    AB,
  ],
  [
    "a path before a method",
    { paths: [exact("/a/b")] },
    { paths: [prefix("/a/b")], methods: ["GET"] },
    AB,
  ],
  ["a method before none", { methods: ["GET"] }, {}],
  [
    "a method before headers",
    { methods: ["GET"] },
    { headers: [{ name: "x" }, { name: "y" }] },
    { headers: { x: "", y: "" } },
  ],
  [
    "more header tests",
    { headers: [{ name: "x" }, { name: "y" }] },
    { headers: [{ name: "x", exact: "" }], query: [{ name: "q" }, { name: "r" }] },
    { headers: { x: "", y: "" }, query: "q&r" },
  ],
  [
    "more query tests",
    { query: [{ name: "q" }, { name: "r" }] },
    { query: [{ name: "q", exact: "1" }] },
    { query: "q=1&r" },
  ],
  ["priority over the host", { priority: 1 }, { hosts: ["a.example"] }],
  ["priority over the path", { priority: 1 }, { paths: [exact("/a/b")], methods: ["GET"] }, AB],
  ["the higher of two priorities", { priority: 2 }, { priority: 1, hosts: ["a.example"] }],
  [
    "no priority before a negative one",
    {},
    { priority: -1, hosts: ["a.example"], methods: ["GET"] },
  ],
  [
    "precedence within one priority",
    { priority: 3, paths: [exact("/a/b")] },
    { priority: 3, paths: [prefix("/a")] },
    AB,
  ],
];

for (const [what, better, worse, request = {}] of ORDER) {
  test(`wins in either order of declaration: ${what}`, () => {
    const routes = [makeRoute("better", better), makeRoute("worse", worse)];
    assert.equal(winner(routes, request), "better");
    assert.equal(winner(routes.toReversed(), request), "better");
    // Each of them fits by itself: otherwise nothing was decided.
    assert.equal(winner([routes[0]], request), "better");
    assert.equal(winner([routes[1]], request), "worse");
  });
}

test("of routes that are alike the first declared wins", () => {
  for (const given of [
    {},
    { methods: ["GET"] },
    { paths: [pattern("/{x...}")] },
    { priority: 5 },
  ]) {
    const routes = ["first", "second", "third"].map((name) => makeRoute(name, given));
    assert.equal(winner(routes, {}), "first");
    assert.equal(winner(routes.toReversed(), {}), "third");
  }
  // Parameter names do not tell two patterns apart.
  const named = [pattern("/{x}"), pattern("/{y}")].map((path, i) =>
    makeRoute(`${i}`, { paths: [path] }),
  );
  assert.deepEqual(lookUp(buildTree(named), { path: "/v" }), { name: "0", params: { x: "v" } });
});

test("a place whose conditions fail gives way to the next one, down to any host", () => {
  const header = (exactly: string) => [{ name: "x", exact: exactly }];
  const tree = buildTree([
    makeRoute("any", {}),
    makeRoute("wildcard", { hosts: ["*.example"], headers: header("3") }),
    makeRoute("prefix", { hosts: ["a.example"], headers: header("2") }),
    makeRoute("exact", { hosts: ["a.example"], paths: [exact("/a")], headers: header("1") }),
  ]);
  const request = (x: string) => ({ path: "/a", headers: { x } });
  assert.equal(lookUp(tree, request("1"))?.name, "exact");
  assert.equal(lookUp(tree, request("2"))?.name, "prefix");
  assert.equal(lookUp(tree, request("3"))?.name, "wildcard");
  assert.equal(lookUp(tree, request("4"))?.name, "any");
});

test("a prefix takes whole segments", () => {
  for (const written of ["/a/b", "/a/b/"]) {
    const tree = buildTree([makeRoute("p", { paths: [prefix(written)] })]);
    for (const path of ["/a/b", "/a/b/", "/a/b/c", "/a/b/c/d/e/f/g"]) {
      assert.equal(lookUp(tree, { path })?.name, "p", path);
    }
    for (const path of ["/", "/a", "/a/", "/a/bc", "/a/b.", "/a/b;x", "/b/a/b", "/A/b", "/a/B"]) {
      assert.equal(lookUp(tree, { path }), null, path);
    }
  }
  const all = buildTree([makeRoute("p", { paths: [prefix("/")] })]);
  for (const path of ["/", "/a", "/a/b/"]) assert.equal(lookUp(all, { path })?.name, "p");
});

test("an exact path is that path, its slash at the end included", () => {
  const tree = buildTree(
    ["/", "/a", "/b/"].map((path) => makeRoute(path, { paths: [exact(path)] })),
  );
  for (const path of ["/", "/a", "/b/"]) assert.equal(lookUp(tree, { path })?.name, path);
  for (const path of ["/a/", "/b", "/aa", "/a/a", "/A"]) assert.equal(lookUp(tree, { path }), null);
});

test("a parameter takes one segment that is not empty, a rest takes what there is", () => {
  const rows: readonly (readonly [string, string, Record<string, string> | null])[] = [
    ["/u/{id}", "/u/7", { id: "7" }],
    ["/u/{id}", "/u/%2Fa.b;c=d", { id: "%2Fa.b;c=d" }],
    ["/u/{id}", "/u/", null],
    ["/u/{id}", "/u", null],
    ["/u/{id}", "/u/7/", null],
    ["/u/{id}", "/u/7/8", null],
    ["/u/{id}/", "/u/7/", { id: "7" }],
    ["/u/{id}/", "/u/7", null],
    ["/{a}/x/{b}", "/1/x/2", { a: "1", b: "2" }],
    ["/{a}/x/{b}", "/1/y/2", null],
    ["/f/{rest...}", "/f/", { rest: "" }],
    ["/f/{rest...}", "/f/a", { rest: "a" }],
    ["/f/{rest...}", "/f/a/b/", { rest: "a/b/" }],
    ["/f/{rest...}", "/f", null],
    ["/f/{rest...}", "/fa", null],
    ["/{rest...}", "/", { rest: "" }],
    ["/{a}/{rest...}", "/1/2/3", { a: "1", rest: "2/3" }],
    ["/{a}/{rest...}", "/1/", { a: "1", rest: "" }],
    ["/{a}/{rest...}", "/1", null],
    ["/{a}/{rest...}", "/", null],
    ["/{__proto__}", "/1", { ["__proto__"]: "1" }],
  ];
  for (const [path, target, params] of rows) {
    const found = lookUp(buildTree([makeRoute("r", { paths: [pattern(path)] })]), { path: target });
    assert.equal(found?.name ?? null, params === null ? null : "r", `${path} for ${target}`);
    assert.equal(
      JSON.stringify(found?.params ?? null),
      JSON.stringify(params),
      `${path}, ${target}`,
    );
  }
});

test("parameters of an earlier lookup do not stay", () => {
  const tree = buildTree([
    makeRoute("p", { paths: [pattern("/p/{x}")] }),
    makeRoute("q", { paths: [exact("/q")] }),
  ]);
  assert.deepEqual(lookUp(tree, { path: "/p/1" }), { name: "p", params: { x: "1" } });
  assert.deepEqual(lookUp(tree, { path: "/q" }), { name: "q", params: null });
  assert.deepEqual(lookUp(tree, { path: "/p/2" }), { name: "p", params: { x: "2" } });
  // Those of a request that is looked up again do not either.
  const request = { ...makeRequest({ path: "/none" }), params: new Map([["x", "1"]]) };
  assert.equal(matchRoute(tree, request), null);
  assert.equal(request.params, null);
});

test("a wildcard takes one or more labels before its name", () => {
  const tree = buildTree([makeRoute("w", { hosts: ["*.b.example"] })]);
  for (const host of ["a.b.example", "x.a.b.example", "-.b.example"]) {
    assert.equal(lookUp(tree, { host })?.name, "w", host);
  }
  for (const host of [
    "b.example",
    ".b.example",
    "ab.example",
    "a.b.example.org",
    "example",
    "",
    "[::1]",
  ]) {
    assert.equal(lookUp(tree, { host }), null, host);
  }
  const deepest = `${"a.".repeat(125)}b`;
  const deep = buildTree([makeRoute("w", { hosts: [`*.${deepest}`] })]);
  assert.equal(lookUp(deep, { host: `x.${deepest}` })?.name, "w");
  assert.equal(lookUp(deep, { host: deepest }), null);
});

test("a request without a host takes routes for any host only", () => {
  const routes = [makeRoute("named", { hosts: ["a.example", "*.example"] })];
  assert.equal(winner(routes, { host: "" }), null);
  assert.equal(winner([...routes, makeRoute("any")], { host: "" }), "any");
});

test("a target that is no path finds nothing", () => {
  const tree = buildTree([makeRoute("any")]);
  for (const path of ["", "*", "a", "a/b"]) assert.equal(lookUp(tree, { path }), null);
});

test("an empty tree finds nothing", () => {
  assert.equal(lookUp(buildTree([]), { path: "/" }), null);
});

test("a route is found at each of its hosts and paths", () => {
  const tree = buildTree([
    makeRoute("r", {
      hosts: ["a", "b", "*.c"],
      paths: [exact("/x"), prefix("/y"), pattern("/z/{n}")],
    }),
  ]);
  for (const host of ["a", "b", "x.c"]) {
    for (const path of ["/x", "/y/1", "/z/1"]) {
      assert.equal(lookUp(tree, { host, path })?.name, "r");
    }
    assert.equal(lookUp(tree, { host, path: "/x/1" }), null);
  }
  assert.equal(lookUp(tree, { host: "c", path: "/x" }), null);
});
