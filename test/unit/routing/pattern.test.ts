// What a route may be configured with: every fault of a path, a pattern and a host has a sentence,
// what could never match is a fault, and what passes is taken apart as its text says.

import assert from "node:assert/strict";
import { test } from "node:test";
import {
  SEGMENTS_MAX,
  checkHostPattern,
  checkPath,
  checkPattern,
  parsePattern,
} from "../../../gateway/routing/pattern.ts";

test("a pattern is taken apart into literals, parameters and a rest", () => {
  assert.deepEqual(parsePattern("/users/{id}/files/{rest...}"), {
    segments: ["users", null, "files"],
    names: ["id", "rest"],
    hasRest: true,
  });
  assert.deepEqual(parsePattern("/{a}"), { segments: [null], names: ["a"], hasRest: false });
  assert.deepEqual(parsePattern("/{r...}"), { segments: [], names: ["r"], hasRest: true });
  assert.deepEqual(parsePattern("/a/"), { segments: ["a", ""], names: [], hasRest: false });
  assert.deepEqual(parsePattern("/"), { segments: [""], names: [], hasRest: false });
  assert.deepEqual(parsePattern("/{a}/"), { segments: [null, ""], names: ["a"], hasRest: false });
  assert.deepEqual(parsePattern("/%2520/x%7C"), {
    segments: ["%2520", "x%7C"],
    names: [],
    hasRest: false,
  });
});

const PATTERN_FAULTS: readonly (readonly [text: string, fault: RegExp])[] = [
  ["", /must begin with "\/"/],
  ["a", /must begin with "\/"/],
  ["{a}", /must begin with "\/"/],
  ["/a{b}", /fills a whole segment/],
  ["/{a}b", /fills a whole segment/],
  ["/{a}-{b}", /name is a letter/],
  ["/{a", /fills a whole segment/],
  ["/a}", /fills a whole segment/],
  ["/{", /fills a whole segment/],
  ["/{}", /name is a letter/],
  ["/{...}", /name is a letter/],
  ["/{1a}", /name is a letter/],
  ["/{-}", /name is a letter/],
  ["/{a b}", /name is a letter/],
  ["/{a..}", /name is a letter/],
  ["/{a....}", /name is a letter/],
  ["/{{a}}", /name is a letter/],
  ["/{a\n}", /name is a letter/],
  [`/{${"a".repeat(65)}}`, /name is a letter/],
  ["/{a}/{a}", /names the parameter "a" twice/],
  ["/{a}/{a...}", /names the parameter "a" twice/],
  ["/{a...}/b", /must be the last segment/],
  ["/{a...}/", /must be the last segment/],
  ["//a", /normal form; write "\/a"/],
  ["/a//{b}", /normal form; write/],
  ["/{a}/../b", /normal form; write/],
  ["/./{a}", /normal form; write/],
  ["/%61/{a}", /normal form; write/],
  ["/a b", /not a path that a request may have/],
  ["/%2f", /not a path that a request may have/],
  ["/../{a}", /not a path that a request may have/],
  ["/a?b", /matched by "query"/],
  ["/\xe9", /not a path/],
];

for (const [text, fault] of PATTERN_FAULTS) {
  test(`a pattern's fault is told: ${JSON.stringify(text.slice(0, 30))}`, () => {
    assert.match(checkPattern(text) ?? "", fault);
    assert.equal(parsePattern(text), checkPattern(text));
  });
}

test("patterns and paths hold at most as many segments as the bound says", () => {
  const deep = (count: number) => "/a".repeat(count);
  assert.equal(checkPattern(deep(SEGMENTS_MAX)), null);
  assert.match(checkPattern(deep(SEGMENTS_MAX + 1)) ?? "", /more than 128 segments/);
  assert.equal(checkPath(deep(SEGMENTS_MAX)), null);
  assert.match(checkPath(deep(SEGMENTS_MAX + 1)) ?? "", /more than 128 segments/);
  assert.equal(checkPattern(`/{${"a".repeat(64)}}`), null);
});

test("an exact or prefix path is one that a request may have", () => {
  for (const path of ["/", "/a", "/a/", "/a.b/c", "/a;b=c", "/%20", "/!$&'()*+,;=:@-._~"]) {
    assert.equal(checkPath(path), null, path);
  }
  const faults: readonly (readonly [string, RegExp])[] = [
    ["", /must begin/],
    ["a", /must begin/],
    ["*", /must begin/],
    ["/a//b", /write "\/a\/b"/],
    ["/a/./b", /write "\/a\/b"/],
    ["/a/../b", /write "\/b"/],
    ["/%7e", /write "\/~"/],
    ["/%2e", /write "\/"/],
    ["/%c3", /write "\/%C3"/],
    ["/a|b", /write "\/a%7Cb"/],
    ["/{a}", /write "\/%7Ba%7D"/],
    ["/..", /not a path/],
    ["/a/..;", /not a path/],
    ["/%5c", /not a path/],
    ["/%", /not a path/],
    ["/a#b", /not a path/],
    ["/a?", /matched by "query"/],
  ];
  for (const [path, fault] of faults) assert.match(checkPath(path) ?? "", fault, path);
});

test("a host is a name, an address, or a wildcard over a name", () => {
  for (const host of [
    "a",
    "a.example",
    "127.0.0.1",
    "[::1]",
    "*.example",
    "*.a-b.example",
    "*.x1",
  ]) {
    assert.equal(checkHostPattern(host), null, host);
  }
  const faults: readonly (readonly [string, RegExp])[] = [
    ["", /not a host name/],
    ["*", /leave hosts out/],
    ["*.", /not a host name/],
    ["a*", /may only stand for the first labels/],
    ["*a.example", /may only stand for the first labels/],
    ["a.*.example", /may only stand for the first labels/],
    ["*.*.example", /may only stand for the first labels/],
    ["A.example", /must be written "a.example"/],
    ["*.Example", /must be written "\*.example"/],
    ["a.example.", /must be written "a.example"/],
    ["a.example:80", /must be written "a.example"/],
    ["[::A]", /must be written "\[::a\]"/],
    ["a..b", /not a host name/],
    ["a/b", /not a host name/],
    ["user@a", /not a host name/],
    ["http://a", /not a host name/],
    ["*.1.2.3.4", /not an address/],
    ["*.[::1]", /not an address/],
  ];
  for (const [host, fault] of faults) assert.match(checkHostPattern(host) ?? "", fault, host);
});
