// Rewriting a path and filling in a redirect: by whole segments, nothing where the prefix is not
// there, and never out of the normal form that policies have seen.

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { normalizeTarget } from "../../../gateway/routing/normalize.ts";
import { redirectTarget, rewritePath } from "../../../gateway/routing/rewrite.ts";
import type { Rewrite } from "../../../gateway/routing/rewrite.ts";
import { SEED } from "../../support/random.ts";
import { requests } from "../../support/routes.ts";

const NONE: Rewrite = { path: "", stripPrefix: "", addPrefix: "" };

test("paths are rewritten by whole segments", () => {
  const rows: readonly (readonly [path: string, rewrite: Partial<Rewrite>, wanted: string])[] = [
    ["/a/b", {}, "/a/b"],
    ["/a/b", { path: "/c" }, "/c"],
    ["/a/b", { stripPrefix: "/a" }, "/b"],
    ["/a/b", { stripPrefix: "/a/" }, "/b"],
    ["/a", { stripPrefix: "/a" }, "/"],
    ["/a/", { stripPrefix: "/a" }, "/"],
    ["/a/", { stripPrefix: "/a/" }, "/"],
    ["/ab", { stripPrefix: "/a" }, "/ab"],
    ["/b/a", { stripPrefix: "/a" }, "/b/a"],
    ["/A/b", { stripPrefix: "/a" }, "/A/b"],
    ["/a/b", { stripPrefix: "/" }, "/a/b"],
    ["/a/a/b", { stripPrefix: "/a" }, "/a/b"],
    ["/", { addPrefix: "/v" }, "/v/"],
    ["/a", { addPrefix: "/v" }, "/v/a"],
    ["/a", { addPrefix: "/v/" }, "/v/a"],
    ["/a", { addPrefix: "/" }, "/a"],
    ["/a/b", { stripPrefix: "/a", addPrefix: "/v" }, "/v/b"],
    ["/a", { stripPrefix: "/a", addPrefix: "/v" }, "/v/"],
    ["/x", { stripPrefix: "/a", addPrefix: "/v" }, "/v/x"],
    ["/%2B", { stripPrefix: "/%2" }, "/%2B"],
  ];
  for (const [path, rewrite, wanted] of rows) {
    assert.equal(
      rewritePath(path, { ...NONE, ...rewrite }),
      wanted,
      JSON.stringify([path, rewrite]),
    );
  }
});

test("a rewritten path is still in normal form", () => {
  const parts = fc.constantFrom("", "/", "/a", "/a/", "/a/b", "/%7C", "/a.b/");
  const rewrites = fc.record({
    path: fc.constantFrom("", "/c"),
    stripPrefix: parts,
    addPrefix: parts,
  });
  const paths = fc.oneof(
    requests.map(({ path }) => path),
    fc.constantFrom("/%7C/a", "/a.b", "/a/.b/..c"),
  );
  fc.assert(
    fc.property(paths, rewrites, (path, rewrite) => {
      const rewritten = rewritePath(path, rewrite);
      assert.equal(normalizeTarget(rewritten)?.path, rewritten);
    }),
    { seed: SEED, numRuns: 2_000 },
  );
});

test("a redirect fills in path and query, and nothing else", () => {
  const rows: readonly (readonly [to: string, path: string, query: string, wanted: string])[] = [
    ["/new", "/a", "b", "/new"],
    ["https://b{path}{query}", "/a", "", "https://b/a"],
    ["https://b{path}{query}", "/a", "c=d", "https://b/a?c=d"],
    ["{path}{path}", "/a", "", "/a/a"],
    ["/{PATH}/{host}/{", "/a", "", "/{PATH}/{host}/{"],
    // What is filled in is not looked at again, nor is it a replacement pattern.
    ["{path}{query}", "/%7Bquery%7D", "{path}", "/%7Bquery%7D?{path}"],
    ["{path}", "/$&$1$`", "", "/$&$1$`"],
  ];
  for (const [to, path, query, wanted] of rows)
    assert.equal(redirectTarget(to, path, query), wanted);
});
