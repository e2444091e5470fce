// The one normal form of paths and hosts: every known way to write a path so that two servers read
// it differently is either brought to one spelling or refused. The properties hold for any text: a
// normal form is a fixed point, nothing is decoded twice, and the quick way agrees with the careful
// one.

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import {
  NormalTarget,
  normalizeHost,
  normalizeTarget,
} from "../../../gateway/routing/normalize.ts";
import { SEED } from "../../support/random.ts";

/** The normal path, or null when the target is refused. */
function pathOf(target: string): string | null {
  return normalizeTarget(target)?.path ?? null;
}

type Row = readonly [target: string, path: string | null];

const CLEAN: readonly Row[] = [
  ["/", "/"],
  ["/a/b", "/a/b"],
  ["/a/b/", "/a/b/"],
  ["/a.b/.c/d..e/...", "/a.b/.c/d..e/..."],
  ["/A/b", "/A/b"],
  ["/!$&'()*+,;=:@-._~", "/!$&'()*+,;=:@-._~"],
  ["/a;x=1/b", "/a;x=1/b"],
];

const MENDED: readonly Row[] = [
  // Slashes.
  ["//", "/"],
  ["//a", "/a"],
  ["/a//b///c", "/a/b/c"],
  ["/a//", "/a/"],
  // Dot segments.
  ["/.", "/"],
  ["/./a", "/a"],
  ["/a/.", "/a/"],
  ["/a/./b", "/a/b"],
  ["/a/..", "/"],
  ["/a/../b", "/b"],
  ["/a/b/..", "/a/"],
  ["/a/b/../", "/a/"],
  ["/a/b/../../c", "/c"],
  ["/a//../b", "/b"],
  ["/a/.//../b", "/b"],
  ["/admin/../public", "/public"],
  // Encoded dots are dots (RFC 3986, 6.2.2.2).
  ["/%2e", "/"],
  ["/a/%2e%2e/b", "/b"],
  ["/a/%2E%2e/b", "/b"],
  ["/a/.%2e/b", "/b"],
  ["/a/%2e./b", "/b"],
  ["/a/%2e/b", "/a/b"],
  // Unreserved characters are decoded, once.
  ["/%61dmin", "/admin"],
  ["/%41%5A%7a%30%39%2D%2E%5F%7E", "/AZz09-._~"],
  ["/%2561dmin", "/%2561dmin"],
  ["/%252e%252e/a", "/%252e%252e/a"],
  ["/%25%32%65", "/%252e"],
  ["/%252f", "/%252f"],
  ["/%25", "/%25"],
  // Reserved ones stay, in upper case.
  ["/%3a%40%3A", "/%3A%40%3A"],
  ["/%3f%23", "/%3F%23"],
  ["/%20%2b", "/%20%2B"],
  ["/%e2%82%ac", "/%E2%82%AC"],
  // Overlong and broken UTF-8 is no dot and no slash to anybody who decodes once.
  ["/%c0%ae%c0%ae/a", "/%C0%AE%C0%AE/a"],
  ["/%c0%af", "/%C0%AF"],
  ["/%ff", "/%FF"],
  // What some clients send raw has one form, the escaped one.
  ['/"<>[]^`{|}', "/%22%3C%3E%5B%5D%5E%60%7B%7C%7D"],
  ["/a|b", "/a%7Cb"],
  ["/%7C", "/%7C"],
];

const REFUSED: readonly (readonly [what: string, target: string])[] = [
  ["nothing", ""],
  ["no slash first", "a"],
  ["an asterisk", "*"],
  ["a query only", "?a"],
  ["an absolute form", "http://a/"],
  ["a dot above the root", "/.."],
  ["dots above the root", "/../a"],
  ["dots above the root, later", "/a/../../b"],
  ["dots above the root behind slashes", "//../a"],
  ["encoded dots above the root", "/%2e%2e/a"],
  ["an encoded slash", "/a%2fb"],
  ["an encoded slash in capitals", "/a%2Fb"],
  ["dots and an encoded slash", "/a/..%2fb"],
  ["a backslash", "/a\\b"],
  ["dots and a backslash", "/a/..\\b"],
  ["an encoded backslash", "/a%5cb"],
  ["an encoded backslash in capitals", "/a%5Cb"],
  ["dots with a parameter", "/a/..;/b"],
  ["dots with a parameter and a value", "/a/..;x=1/b"],
  ["a dot with a parameter", "/a/.;/b"],
  ["dots with an encoded semicolon", "/a/..%3b/b"],
  ["encoded dots with a parameter", "/a/%2e%2e;/b"],
  ["half encoded dots with an encoded semicolon", "/a/.%2E%3Bx/b"],
  ["dots with a parameter at the end", "/a/..;"],
  ["an encoded NUL", "/a%00b"],
  ["an encoded CR", "/a%0db"],
  ["an encoded LF", "/a%0Ab"],
  ["an encoded tab", "/%09"],
  ["an encoded DEL", "/%7f"],
  ["an escape without digits", "/%"],
  ["an escape of one digit", "/%2"],
  ["an escape of one digit before a slash", "/%2/a"],
  ["an escape that is none", "/%zz"],
  ["an escape of Microsoft's", "/%u002e"],
  ["an escape with a sign", "/%+2"],
  ["an escape with a space", "/% 2"],
  ["a fragment", "/a#b"],
  ["a space", "/a b"],
  ["a raw NUL", "/a\0b"],
  ["a raw CR LF", "/a\r\nb"],
  ["DEL", "/\x7f"],
  ["a byte beyond ASCII", "/\xe9"],
  ["a full-width dot", "/\uff0e\uff0e/a"],
  ["a character that truncates to a slash", "/a\u012fb"],
];

for (const [target, path] of [...CLEAN, ...MENDED]) {
  test(`the normal form of ${target} is ${path}`, () => {
    assert.equal(pathOf(target), path);
    // Behind a clean segment, before a query and with another one reused, it is the same.
    const into = new NormalTarget();
    into.path = "/left/over";
    into.query = "left=over";
    assert.equal(normalizeTarget(`${target}?a=%2e%2e/../b`, into), into);
    assert.deepEqual([into.path, into.query], [path, "a=%2e%2e/../b"]);
    assert.equal(pathOf(`/x${target}`), `/x${path}`);
  });
}

for (const [what, target] of REFUSED) {
  test(`refused as a target: ${what}`, () => {
    assert.equal(pathOf(target), null);
    if (target.startsWith("/")) {
      assert.equal(pathOf(`${target}?query`), null, "before a query");
      assert.equal(pathOf(`/./x/..${target}`), null, "where the careful way was taken already");
    }
  });
}

test("the query is checked and left as it came", () => {
  for (const query of [
    "",
    "a",
    "a=b&c=%2F%2e",
    "?",
    "??",
    "/../..",
    "a=%00%0d%0a",
    "%FF",
    "\\|^`",
  ]) {
    for (const path of ["/", "/a/../"]) {
      assert.equal(normalizeTarget(`${path}?${query}`)?.query, query);
    }
  }
  for (const query of ["a b", "#", "a#b", "\0", "\r\n", "\x7f", "\xe9", "%", "%2", "%zz", "%2 "]) {
    for (const path of ["/", "/a/../"]) {
      assert.equal(normalizeTarget(`${path}?${query}`), null, JSON.stringify(query));
    }
  }
});

/** Targets made of the pieces that matter, so that chance soon puts sharp ones side by side. */
const targets = fc
  .array(
    fc.oneof(
      fc.constantFrom(
        ...'/.;%?&=~:@!|\\"# ',
        ..."..:/../:/./://:%2e:%2E:%2f:%5c:%25:%3b:%3B:%61:%7e:%7C:%c3:%A9:%00:2e:2f:..;".split(
          ":",
        ),
      ),
      fc.constantFrom("a", "b", "A", "0", "ad", "min"),
    ),
    { maxLength: 12 },
  )
  .map((pieces) => `/${pieces.join("")}`);

test("a normal form is its own normal form", () => {
  fc.assert(
    fc.property(targets, (target) => {
      const first = normalizeTarget(target);
      if (first === null) return;
      const again = normalizeTarget(first.path + (first.query === "" ? "" : `?${first.query}`));
      assert.deepEqual(again, first);
    }),
    { seed: SEED, numRuns: 5_000 },
  );
});

test("a normal path holds no dot segment, no empty segment and no escaped unreserved byte", () => {
  fc.assert(
    fc.property(targets, (target) => {
      const path = pathOf(target);
      if (path === null) return;
      assert.doesNotMatch(path, /\/\/|\/\.\.?(\/|;|%3B|$)|[\\#? "]/);
      for (const [escape, digits] of path.matchAll(/%(..)/g)) {
        assert.match(escape, /^%[2-9A-F][0-9A-F]$/);
        assert.doesNotMatch(String.fromCharCode(Number.parseInt(digits, 16)), /[\w.~/\\\x7f-]/);
      }
      assert.match(path, /^\//);
    }),
    { seed: SEED, numRuns: 5_000 },
  );
});

test("every other spelling of a path gives that path", () => {
  const escapeOf = (c: string) => `%${c.charCodeAt(0).toString(16)}`;
  const respelling: fc.Arbitrary<(path: string) => string> = fc.constantFrom(
    (path) => path.replaceAll("/", "//"),
    (path) => path.replaceAll("/", "/./"),
    (path) => path.replaceAll("/", "/x/../"),
    (path) => path.replaceAll("/", "/%2E/"),
    (path) => path.replaceAll("/", "/x/.%2e/"),
    // What is an escape already is left alone: escaping its percent sign makes another path.
    (path) => path.replaceAll(/%..|[a-z]/g, (c) => (c.length === 1 ? escapeOf(c) : c)),
    (path) => path.replaceAll("%7C", "|"),
    (path) => path.replaceAll("%7C", "%7c"),
  );
  const paths: fc.Arbitrary<string> = fc.constantFrom(
    "/admin",
    "/admin/users/",
    "/admin;x/%7C/a.b",
    "/a/%252e/d",
  );
  fc.assert(
    fc.property(paths, fc.array(respelling, { maxLength: 4 }), (path, respellings) => {
      const spelled = respellings.reduce((text, respell) => respell(text), path);
      assert.equal(pathOf(spelled), path, spelled);
    }),
    { seed: SEED },
  );
});

test("nothing is decoded twice: an escaped percent sign stays escaped, whatever follows", () => {
  const escaped = fc.array(fc.constantFrom("2e", "2f", "61", "25", "5c", "00", "x"), {
    minLength: 1,
    maxLength: 6,
  });
  fc.assert(
    fc.property(escaped, (pieces) => {
      const path = `/a/${pieces.map((piece) => `%25${piece}`).join("/")}`;
      assert.equal(pathOf(path), path);
    }),
    { seed: SEED },
  );
});

test("the quick way agrees with the careful one", () => {
  fc.assert(
    fc.property(targets, (target) => {
      // A dot segment in front that vanishes sends the same target down the careful way.
      const quick = normalizeTarget(target);
      const careful = normalizeTarget(`/.${target}`);
      assert.deepEqual(careful, quick);
    }),
    { seed: SEED, numRuns: 5_000 },
  );
});

test("it agrees with the platform's URL where both give an answer", () => {
  fc.assert(
    fc.property(targets, (target) => {
      const path = pathOf(target);
      if (path === null) return;
      const url = new URL(`http://a${target.replaceAll(/\/{2,}/g, "/")}`);
      // URL decodes dot segments only, so its result is brought to our form before comparing.
      assert.equal(pathOf(url.pathname), path);
    }),
    { seed: SEED, numRuns: 5_000 },
  );
});

const HOSTS: readonly (readonly [host: string, normal: string | null])[] = [
  ["a", "a"],
  ["Example.ORG", "example.org"],
  ["example.org.", "example.org"],
  ["example.org.:80", "example.org"],
  ["example.org:1", "example.org"],
  ["example.org:65535", "example.org"],
  ["a_b.example", "a_b.example"],
  ["xn--bcher-kva.example", "xn--bcher-kva.example"],
  ["127.0.0.1:8080", "127.0.0.1"],
  ["-a.b-", "-a.b-"],
  ["[::1]", "[::1]"],
  ["[::1]:443", "[::1]"],
  ["[2001:DB8::A]", "[2001:db8::a]"],
  ["[1:2:3:4:5:6:7:8]", "[1:2:3:4:5:6:7:8]"],
  ["[::]", "[::]"],
  ["[1::]", "[1::]"],
  ["[1:2:3:4:5:6:7::]", "[1:2:3:4:5:6:7::]"],
  ["a".repeat(63), "a".repeat(63)],
  ["a".repeat(64), null],
  [`${"a.".repeat(126)}a`, `${"a.".repeat(126)}a`],
  [`${"a.".repeat(126)}a.`, `${"a.".repeat(126)}a`],
  [`${"a.".repeat(126)}ab`, null],
  ["", null],
  [".", null],
  [".a", null],
  ["a..b", null],
  ["a..", null],
  [":80", null],
  [".:80", null],
  ["a:", null],
  ["a:0", null],
  ["a:080", null],
  ["a:65536", null],
  ["a:123456", null],
  ["a:80:80", null],
  ["a:8a", null],
  ["a:-1", null],
  ["a:+80", null],
  ["user@a", null],
  ["user:1@a", null],
  ["a/b", null],
  ["a\\b", null],
  ["a?b", null],
  ["a#b", null],
  ["a b", null],
  ["a, b", null],
  ["a%62", null],
  ["*.a", null],
  ["a\0", null],
  ["\xe9", null],
  ["\u212a", null],
  ["http://a", null],
  ["[", null],
  ["[]", null],
  ["[:]", null],
  ["[:::]", null],
  ["[1:2:3:4:5:6:7]", null],
  ["[1:2:3:4:5:6:7:8:9]", null],
  ["[1::2::3]", null],
  ["[:1:2:3:4:5:6:7]", null],
  ["[1:2:3:4:5:6:7:]", null],
  ["[1:2:3:4:5:6:7:8::]", null],
  ["[::12345]", null],
  ["[::g]", null],
  ["[fe80::1%25eth0]", null],
  ["[::1", null],
  ["[::1]a", null],
  ["[::1]:", null],
  ["[::1]:0", null],
  ["[::1]::80", null],
  ["[1:2:3:4:5:6:7]::", null],
  ["[::1]:80]", null],
  ["::1", null],
];

for (const [host, normal] of HOSTS) {
  const verdict = normal === null ? "refused" : "taken";
  test(`the host ${JSON.stringify(host.slice(0, 40))} is ${verdict}`, () => {
    assert.equal(normalizeHost(host), normal);
    if (normal !== null) assert.equal(normalizeHost(normal), normal);
  });
}

test("a normal host is its own normal form, and says what its spelling with a port says", () => {
  const hosts = fc
    .array(fc.constantFrom(..."aZ0-_.:[]@/%\\ ", "example", "::", "80"), { maxLength: 8 })
    .map((pieces) => pieces.join(""));
  fc.assert(
    fc.property(hosts, (host) => {
      const normal = normalizeHost(host);
      if (normal === null) return;
      assert.equal(normalizeHost(normal), normal);
      assert.equal(normalizeHost(`${normal}:8080`), normal);
      assert.equal(normalizeHost(normal.toUpperCase()), normal);
      assert.match(normal, /^([a-z0-9_-]+(\.[a-z0-9_-]+)*|\[[0-9a-f:]+\])$/);
    }),
    { seed: SEED, numRuns: 5_000 },
  );
});
