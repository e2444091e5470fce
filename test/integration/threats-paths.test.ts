// Which resource and which host a request is for: every known way to spell a path or a host so that the
// gateway, a policy and an origin mean different ones. The route that matched, what a policy saw and
// what the origin got are one string, or the request is refused and reaches nobody. The normal form
// itself has its rows in test/unit/routing/normalize.test.ts.
//
// Families of the catalogue that do not apply here:
// - paths that only differ in case, and segments with parameters (`/admin;x`): names like any other, as
//   RFC 3986 has them; they are forwarded as they were matched, and an origin that folds them guards
//   them itself.
// - a name of SNI that is not the Host: no policy of a listener depends on the name of SNI.

import assert from "node:assert/strict";
import { posix } from "node:path";
import { test } from "node:test";
import type { TestContext } from "node:test";
import type { RouteConfig } from "../../gateway/config/schema.ts";
import { normalizeHost, normalizeTarget } from "../../gateway/routing/normalize.ts";
import { assertRefused, onRequest, startTarget } from "../support/attack.ts";
import type { Target } from "../support/attack.ts";
import { startEdge } from "../support/edge.ts";
import { exchangeRaw, statusOf } from "../support/raw.ts";

/** Targets beside the path that everybody has to mean; null: nobody may mean any. */
const SPELLINGS: readonly (readonly [target: string, path: string | null])[] = [
  ["/admin/secret", "/admin/secret"],
  // Slashes and dots.
  ["//admin/secret", "/admin/secret"],
  ["/admin//secret", "/admin/secret"],
  ["///admin///secret", "/admin/secret"],
  ["/./admin/secret", "/admin/secret"],
  ["/admin/./secret", "/admin/secret"],
  ["/x/../admin/secret", "/admin/secret"],
  ["/x//..//admin/secret", "/admin/secret"],
  ["/admin/x/../secret", "/admin/secret"],
  ["/admin/../admin/secret", "/admin/secret"],
  ["/admin/secret/x/..", "/admin/secret/"],
  ["/admin/secret/.", "/admin/secret/"],
  ["/admin/..", "/"],
  ["/public/../admin", "/admin"],
  ["/../admin/secret", null],
  ["/x/../../admin/secret", null],
  // Escapes, once.
  ["/%61dmin/secret", "/admin/secret"],
  ["/%61%64%6D%69%6e/%73ecret", "/admin/secret"],
  ["/%2e/admin/secret", "/admin/secret"],
  ["/x/%2e%2e/admin/secret", "/admin/secret"],
  ["/x/%2E./admin/secret", "/admin/secret"],
  ["/x/.%2e/admin/secret", "/admin/secret"],
  ["/%2e%2e/admin/secret", null],
  ["/%2fadmin/secret", null],
  ["/admin%2fsecret", null],
  ["/x/..%2Fadmin/secret", null],
  ["/admin%5csecret", null],
  ["/x/..%5cadmin/secret", null],
  ["/admin%00/secret", null],
  ["/admin/secret%00.png", null],
  ["/admin%0d%0a/secret", null],
  ["/admin%09/secret", null],
  ["/admin%7f/secret", null],
  ["/admin%u002fsecret", null],
  ["/admin/secret%", null],
  ["/admin/%2", null],
  ["/admin/%zz", null],
  // Escapes of escapes stay what they are.
  ["/%2561dmin/secret", "/%2561dmin/secret"],
  ["/x/%252e%252e/admin/secret", "/x/%252e%252e/admin/secret"],
  ["/admin%252fsecret", "/admin%252fsecret"],
  ["/%25%36%31dmin/secret", "/%2561dmin/secret"],
  ["/x/%c0%ae%c0%ae/admin", "/x/%C0%AE%C0%AE/admin"],
  ["/admin%c0%afsecret", "/admin%C0%AFsecret"],
  ["/admin%ef%bc%8fsecret", "/admin%EF%BC%8Fsecret"],
  // Backslashes, parameters, blanks, fragments and bytes that are none of a target.
  ["/admin\\secret", null],
  ["/x/..\\admin/secret", null],
  ["/\\admin/secret", null],
  ["\\admin/secret", null],
  ["/x/..;/admin/secret", null],
  ["/x/..;a=b/admin/secret", null],
  ["/x/%2e%2e;/admin/secret", null],
  ["/x/..%3b/admin/secret", null],
  ["/.;/admin/secret", null],
  ["/admin#/secret", null],
  ["/admin%23/secret", "/admin%23/secret"],
  ["/x/../admin#", null],
  ["/adm\xefn/secret", null],
  ["/\xef\xbc\x8fadmin", null],
  ["/admin;x/secret", "/admin;x/secret"],
  ["/admin.", "/admin."],
  ["/admin%20/secret", "/admin%20/secret"],
  ["/admin%3f/secret", "/admin%3F/secret"],
  ["/ADMIN/secret", "/ADMIN/secret"],
  ["/administrator", "/administrator"],
  ["/admin|secret", "/admin%7Csecret"],
  // Other forms of a target.
  ["http://a/admin/secret", "/admin/secret"],
  ["http://a//x/..//admin/secret", "/admin/secret"],
  ["HTTPS://a/%61dmin/secret", "/admin/secret"],
  ["http://a", "/"],
  ["//a/admin/secret", "/a/admin/secret"],
  ["http:/admin/secret", null],
  ["http:admin/secret", null],
  ["ftp://a/admin/secret", null],
  ["file:///admin/secret", null],
  ["a/admin/secret", null],
  ["*", null],
];

const KINDS: readonly (readonly [what: string, match: RouteConfig["match"], holds: RegExp])[] = [
  ["exact", { paths: [{ exact: "/admin/secret" }] }, /^\/admin\/secret$/],
  ["prefix", { paths: [{ prefix: "/admin" }] }, /^\/admin(\/|$)/],
  ["pattern", { paths: [{ pattern: "/admin/{page}" }] }, /^\/admin\/[^/]+$/],
];

/** Sends one request; what a policy saw as its path. */
async function seenPaths(t: TestContext, { edge }: Target, line: string): Promise<string[]> {
  edge.finished.length = 0;
  const { text } = await exchangeRaw(
    t,
    edge.port,
    `${line} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`,
  );
  assert.equal(statusOf(text), 200, line);
  return edge.finished.map((exchange) => exchange.path);
}

for (const [what, match, holds] of KINDS) {
  test(`path bypass: route, policy and origin mean one path (${what})`, async (t) => {
    const seen: string[] = [];
    const watch = onRequest((exchange) => {
      seen.push(`${exchange.routeName} ${exchange.path}`);
      return null;
    });
    const plugins = [{ plugin: "watch" }];
    const target = await startTarget(
      t,
      [
        { name: "protected", match, plugins, upstream: "origin" },
        { name: "public", plugins, upstream: "origin" },
      ],
      { plugins: new Map([["watch", watch]]) },
    );
    for (const [spelled, path] of SPELLINGS) {
      for (const query of ["", "?a=../admin/%2e%2e//b"]) {
        if (path === null) {
          const bytes = `GET ${spelled}${query} HTTP/1.1\r\nHost: a\r\n\r\n`;
          await assertRefused(t, target, { bytes, statuses: [400] });
          assert.deepEqual(seen, []);
          continue;
        }
        assert.deepEqual(await seenPaths(t, target, `GET ${spelled}${query}`), [path]);
        const route = holds.test(path) ? "protected" : "public";
        assert.deepEqual(seen.splice(0), [`${route} ${path}`]);
        const { requests } = target.origin.take();
        assert.deepEqual(
          requests.map((request) => request.target),
          [path + query],
        );
      }
    }
  });
}

test("path bypass: no origin that decodes once finds the protected path on another route", () => {
  for (const [spelled, path] of SPELLINGS) {
    if (path === null || /^\/admin(\/|$)/.test(path)) continue;
    // As a careless origin reads: decoded, backslashes for slashes, dots and slashes resolved.
    const decoded = path.replaceAll(/%([0-9A-F]{2})/g, (_all, hex: string) =>
      String.fromCharCode(Number.parseInt(hex, 16)),
    );
    const read = posix.normalize(decoded.replaceAll("\\", "/"));
    assert.doesNotMatch(read, /^\/admin(\/|$)/, spelled);
  }
});

const REWRITES: readonly (readonly [RouteConfig["rewrite"], (path: string) => string])[] = [
  [{ add_prefix: "/v1/" }, (path) => `/v1${path}`],
  [{ strip_prefix: "/admin" }, (path) => path.replace(/^\/admin(?=\/|$)/, "") || "/"],
  [{ strip_prefix: "/x/", add_prefix: "/y" }, (path) => `/y${path.replace(/^\/x(?=\/)/, "")}`],
  [{ path: "/fixed" }, () => "/fixed"],
];

test("path bypass: what is forwarded after a rewrite is in normal form again", async (t) => {
  for (const [rewrite, rewritten] of REWRITES) {
    const target = await startTarget(t, [{ name: "rewrite", rewrite, upstream: "origin" }]);
    for (const [spelled, path] of SPELLINGS) {
      if (path === null) continue;
      await seenPaths(t, target, `GET ${spelled}?a=%2e`);
      const [{ target: forwarded }] = target.origin.take().requests;
      const [forwardedPath] = forwarded.split("?");
      assert.equal(forwarded, `${rewritten(path)}?a=%2e`);
      assert.equal(normalizeTarget(forwarded)?.path, forwardedPath);
    }
  }
});

test("redirects: a path or query of a client's never names another host or field", async (t) => {
  const edge = await startEdge(t, {
    config: { routes: [{ name: "moved", redirect: { to: "{path}{query}" } }] },
  });
  for (const [target, location] of [
    ["//evil.example/a", "/evil.example/a"],
    ["/.//evil.example", "/evil.example"],
    ["/x/..//evil.example", "/evil.example"],
    ["http://a//evil.example", "/evil.example"],
    ["/a?b=%0d%0aSet-Cookie:%20c=d", "/a?b=%0d%0aSet-Cookie:%20c=d"],
    ["/$&/$1{query}", "/$&/$1%7Bquery%7D"],
  ]) {
    const bytes = `GET ${target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`;
    const { text } = await exchangeRaw(t, edge.port, bytes);
    assert.deepEqual(/\r\nlocation: ([^\r]*)\r\n/.exec(text)?.[1], location);
  }
});

/** Hosts as they are sent, beside the name that routes are looked up by; null: refused. */
const HOSTS: readonly (readonly [host: string, name: string | null])[] = [
  ["inner.example", "inner.example"],
  ["INNER.Example", "inner.example"],
  ["inner.example.", "inner.example"],
  ["inner.example:80", "inner.example"],
  ["Inner.Example.:8080", "inner.example"],
  ["\tinner.example ", "inner.example"],
  ["other.example", "other.example"],
  ["x.inner.example", "x.inner.example"],
  ["a.wild.example", "a.wild.example"],
  ["wild.example", "wild.example"],
  ["innerXexample", "innerxexample"],
  ["[::1]", "[::1]"],
  ["[::1]:80", "[::1]"],
  ["127.0.0.1", "127.0.0.1"],
  ["inner.example..", null],
  [".inner.example", null],
  ["inner..example", null],
  ["user@inner.example", null],
  ["user:secret@inner.example", null],
  ["inner.example:", null],
  ["inner.example:0", null],
  ["inner.example:080", null],
  ["inner.example:65536", null],
  ["inner.example:80x", null],
  ["inner.example:80:80", null],
  ["inner.example/", null],
  ["inner.example?", null],
  ["inner.example#", null],
  ["inner.example\\", null],
  ["inner.example, other.example", null],
  ["other.example inner.example", null],
  ["inner%2eexample", null],
  ["inner\xa0.example", null],
  ["\xefnner.example", null],
  ["http://inner.example", null],
  ["[::1%25eth0]", null],
  ["[::1", null],
  ["::1", null],
  ["", null],
];

const INNER: RouteConfig = {
  name: "inner",
  match: { hosts: ["inner.example"] },
  upstream: "origin",
};
const WILD: RouteConfig = {
  name: "wild",
  match: { hosts: ["*.wild.example"] },
  upstream: "origin",
};

/** The route that has to match a name. */
function routeOf(name: string): string {
  if (name === "inner.example") return "inner";
  return name.endsWith(".wild.example") ? "wild" : "all";
}

for (const count of [1, 100, 101, 10_000]) {
  test(`hosts: route, policy and origin mean one name, among ${count}`, async (t) => {
    const many = Array.from({ length: count - 1 }, (_, i): RouteConfig => {
      return { name: `many-${i}`, match: { hosts: [`h${i}.example`] }, upstream: "origin" };
    });
    const target = await startTarget(t, [...many, INNER, WILD]);
    for (const [host, name] of HOSTS) {
      const fields = "X-Forwarded-Host: inner.example\r\nX-Host: inner.example\r\n";
      const head = `GET / HTTP/1.1\r\nHost:${host}\r\n${fields}Forwarded: host=inner.example\r\n`;
      if (name === null) {
        await assertRefused(t, target, { bytes: `${head}\r\n`, statuses: [400] });
        continue;
      }
      target.edge.finished.length = 0;
      const { text } = await exchangeRaw(t, target.edge.port, `${head}Connection: close\r\n\r\n`);
      assert.equal(statusOf(text), 200, host);
      const [exchange] = target.edge.finished;
      assert.deepEqual([exchange.routeName, exchange.host], [routeOf(name), name]);
      const [{ fields: sent }] = target.origin.take().requests;
      assert.deepEqual([sent[0], normalizeHost(sent[1])], ["host", name]);
    }
  });
}

test("hosts: that of an absolute target is the only one, whatever Host says", async (t) => {
  const target = await startTarget(t, [INNER, WILD]);
  const absolute: readonly (readonly [authority: string, name: string | null])[] = [
    ...HOSTS.filter(([host]) => !/[\t /?#]/.test(host)),
    // What begins a path or a query ends the authority.
    ["inner.example/", "inner.example"],
    ["inner.example?", "inner.example"],
  ];
  for (const [authority, name] of absolute) {
    const head = `GET http://${authority} HTTP/1.1\r\nHost: outer.example\r\n`;
    if (name === null) {
      await assertRefused(t, target, { bytes: `${head}\r\n`, statuses: [400] });
      continue;
    }
    target.edge.finished.length = 0;
    const { text } = await exchangeRaw(t, target.edge.port, `${head}Connection: close\r\n\r\n`);
    assert.equal(statusOf(text), 200, authority);
    const [exchange] = target.edge.finished;
    assert.deepEqual([exchange.routeName, exchange.host], [routeOf(name), name]);
    const { texts } = target.origin.take();
    assert.doesNotMatch(texts.join(""), /outer/);
    assert.equal(normalizeHost(/\r\nhost: ([^\r]*)\r\n/.exec(texts[0])?.[1] ?? ""), name);
  }
});
