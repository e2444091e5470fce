// The tree as a whole: a lookup gives the same answer however many hosts and routes lie beside it,
// building yields between slices and refuses what is too large, and what it refuses it names.

import assert from "node:assert/strict";
import { test } from "node:test";
import { PlaceIndex, hashText } from "../../../gateway/routing/place-index.ts";
import { sortSliced } from "../../../gateway/routing/sort-sliced.ts";
import {
  PLACES_MAX,
  RouteTreeBuilder,
  SHAPES_PER_HOST_MAX,
  countPlaces,
} from "../../../gateway/routing/tree.ts";
import { SEED, seededRandom } from "../../support/random.ts";
import { buildTree, exact, lookUp, makeRoute, pattern, prefix } from "../../support/routes.ts";
import type { TestRequest, TestRoute } from "../../support/routes.ts";

/** Routes of one host, told from those of others by their names. */
function routesOf(host: string): TestRoute[] {
  const at = (name: string, given: Partial<TestRoute>) =>
    makeRoute(`${host} ${name}`, { hosts: [host], ...given });
  return [
    at("root", { paths: [pattern("/{rest...}")] }),
    at("exact", { paths: [exact("/a/b")] }),
    at("prefix", { paths: [prefix("/a")] }),
    at("pattern", { paths: [pattern("/u/{id}")] }),
    at("post", { paths: [prefix("/a")], methods: ["POST"] }),
  ];
}

const PROBES: readonly (readonly [host: string, others: TestRequest, name: string | null])[] = [
  ["probe.example", { path: "/a/b" }, "probe.example exact"],
  ["probe.example", { path: "/a/c" }, "probe.example prefix"],
  ["probe.example", { path: "/a/c", method: "POST" }, "probe.example post"],
  ["probe.example", { path: "/u/1" }, "probe.example pattern"],
  ["probe.example", { path: "/u/" }, "probe.example root"],
  ["x.wild.example", { path: "/a/b" }, "*.wild.example exact"],
  ["y.x.wild.example", { path: "/" }, "*.wild.example root"],
  ["wild.example", { path: "/" }, "any"],
  ["probe.example.org", { path: "/" }, "any"],
  ["prob.example", { path: "/" }, "any"],
  ["", { path: "/" }, "any"],
];

for (const count of [1, 100, 101, 10_000]) {
  test(`a lookup gives the same answer beside ${count} other hosts`, () => {
    const others = Array.from({ length: count }, (_, i) => [`h${i}.example`, `*.w${i}.example`]);
    const tree = buildTree([
      ...others.flat().map((host) => makeRoute(host, { hosts: [host] })),
      ...["probe.example", "*.wild.example"].flatMap(routesOf),
      makeRoute("any"),
    ]);
    for (const [host, request, name] of PROBES) {
      assert.equal(lookUp(tree, { host, ...request })?.name, name, host);
    }
    // Each of the others is found, and none of them for another.
    const step = Math.max(1, Math.floor(count / 200));
    for (let i = 0; i < count; i += step) {
      assert.equal(lookUp(tree, { host: `h${i}.example` })?.name, `h${i}.example`);
      assert.equal(lookUp(tree, { host: `a.b.w${i}.example` })?.name, `*.w${i}.example`);
      assert.equal(lookUp(tree, { host: `w${i}.example` })?.name, "any");
    }
    assert.equal(lookUp(tree, { host: `h${count}.example` })?.name, "any");
  });
}

test("one host with ten thousand paths of every kind finds each of them", () => {
  const routes: TestRoute[] = [];
  for (let i = 0; i < 3_333; i++) {
    routes.push(
      makeRoute(`e${i}`, { paths: [exact(`/e/${i}`)] }),
      makeRoute(`p${i}`, { paths: [prefix(`/p/${i}`)] }),
      makeRoute(`t${i}`, { paths: [pattern(`/t/{x}/${i}`)] }),
    );
  }
  const tree = buildTree(routes);
  for (let i = 0; i < 3_333; i += 7) {
    assert.equal(lookUp(tree, { path: `/e/${i}` })?.name, `e${i}`);
    assert.equal(lookUp(tree, { path: `/p/${i}/x` })?.name, `p${i}`);
    assert.deepEqual(lookUp(tree, { path: `/t/v/${i}` }), { name: `t${i}`, params: { x: "v" } });
  }
  for (const path of ["/e/3333", "/p/33333", "/t/v/x", "/t//1"]) {
    assert.equal(lookUp(tree, { path }), null);
  }
});

test("building yields between slices of work, and at the end gives the tree", () => {
  const builder = new RouteTreeBuilder<string>();
  for (let i = 0; i < 5_000; i++) builder.add(makeRoute(`${i}`, { hosts: [`h${i}`] }));
  const steps = builder.finish();
  let slices = 0;
  for (let step = steps.next(); step.done !== true; step = steps.next()) slices++;
  assert.ok(slices >= 5_000 / 200, `${slices} slices`);
});

test("hosts times paths are bounded when a route is added", () => {
  const many = (count: number) => Array.from({ length: count }, (_, i) => exact(`/${i}`));
  const half = makeRoute("half", {
    paths: many(PLACES_MAX / 2_000),
    hosts: Array(1_000).fill("a"),
  });
  assert.equal(countPlaces(half), PLACES_MAX / 2);
  assert.equal(countPlaces(makeRoute("least")), 1);
  const builder = new RouteTreeBuilder<string>();
  builder.add(half);
  builder.add(half);
  assert.throws(() => builder.add(makeRoute("one more")), RangeError);
});

test("different shapes at one host are bounded, and the host is named", () => {
  // Which of eleven segments are literal: each choice is a shape.
  const shape = (bits: number) => {
    const segments = Array.from({ length: 11 }, (_, i) => ((bits >> i) & 1 ? "a" : `{p${i}}`));
    return makeRoute(`${bits}`, {
      hosts: ["h.example"],
      paths: [pattern(`/${segments.join("/")}`)],
    });
  };
  const routes = Array.from({ length: SHAPES_PER_HOST_MAX + 1 }, (_, bits) => shape(bits));
  const tree = buildTree(routes.slice(0, SHAPES_PER_HOST_MAX));
  assert.equal(lookUp(tree, { host: "h.example", path: "/a".repeat(11) })?.name, "1023");
  assert.throws(() => buildTree(routes), /host h\.example has paths of more than 1024 different/);
});

test("texts that the checks would have refused stop the build", () => {
  assert.throws(() => buildTree([makeRoute("r", { paths: [exact("/a//b")] })]), /path \/a\/\/b/);
  assert.throws(() => buildTree([makeRoute("r", { paths: [pattern("/{")] })]), /path pattern/);
  assert.throws(() => buildTree([makeRoute("r", { hosts: ["A"] })]), /host A: must be written "a"/);
});

test("texts with equal hashes are told apart", () => {
  // Found by search: short labels whose FNV-1a hashes collide.
  const byHash = new Map<number, string>();
  const random = seededRandom(SEED);
  const pairs: [string, string][] = [];
  while (pairs.length < 3) {
    const text = `h${Math.floor(random() * 36 ** 8).toString(36)}`;
    const hash = hashText(text);
    const other = byHash.get(hash);
    if (other !== undefined && other !== text) pairs.push([other, text]);
    byHash.set(hash, text);
  }
  for (const [one, two] of pairs) {
    assert.equal(hashText(one), hashText(two));
    // Wildcards are hashed from their end.
    const backwards = (text: string) => [...text].reverse().join("");
    const routesFor = (text: string) => [
      makeRoute(`exact ${text}`, { paths: [exact(`/e/${text}`)] }),
      makeRoute(`prefix ${text}`, { paths: [prefix(`/p/${text}`)] }),
      makeRoute(`pattern ${text}`, { paths: [pattern(`/t/${text}/{x}`)] }),
      makeRoute(`wildcard ${text}`, { hosts: [`*.${backwards(text)}`] }),
    ];
    const requestsFor = (text: string) => [
      { path: `/e/${text}` },
      { path: `/p/${text}/a` },
      { path: `/t/${text}/a` },
      { host: `x.${backwards(text)}` },
    ];
    const alone = buildTree(routesFor(one));
    const both = buildTree([...routesFor(one), ...routesFor(two)]);
    for (const [index, request] of requestsFor(two).entries()) {
      assert.equal(lookUp(alone, request), null);
      assert.equal(lookUp(both, request)?.name, routesFor(two)[index].name);
      assert.equal(lookUp(both, requestsFor(one)[index])?.name, routesFor(one)[index].name);
    }
  }
});

test("a place index holds what it was made for, at most half full", () => {
  const index = new PlaceIndex<number>(100);
  for (let i = 0; i < 100; i++) index.insert(7, i);
  assert.equal(index.mask + 1, 256);
  assert.deepEqual(
    index.entries.filter((entry) => entry !== null),
    Array.from({ length: 100 }, (_, i) => i),
  );
});

test("the sliced sort is stable, leaves its input alone and yields by work", () => {
  const random = seededRandom(SEED);
  for (const length of [0, 1, 2, 3, 64, 65, 1_000]) {
    const items = Array.from({ length }, (_, index) => ({ key: Math.floor(random() * 10), index }));
    const before = [...items];
    const steps = sortSliced(items, (a, b) => a.key - b.key, 100);
    let slices = 0;
    let step = steps.next();
    for (; step.done !== true; step = steps.next()) slices++;
    assert.deepEqual(
      step.value,
      items.toSorted((a, b) => a.key - b.key),
    );
    assert.deepEqual(items, before);
    assert.ok(slices <= (length * Math.ceil(Math.log2(length + 1))) / 100);
    assert.ok(length < 1_000 || slices >= 90);
  }
});
