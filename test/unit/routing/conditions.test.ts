// What a route asks besides host and path: methods, headers and query parameters, row by row, with
// the spellings of a query that could hide a parameter from one reader and show it to another.

import assert from "node:assert/strict";
import { test } from "node:test";
import {
  buildHeaderTest,
  buildQueryTest,
  firstMissed,
  firstMissedValue,
  meetsAll,
} from "../../../gateway/routing/conditions.ts";
import type { Conditions, ValueInput } from "../../../gateway/routing/conditions.ts";
import { makeRequest } from "../../support/routes.ts";

const NONE: Conditions = { methods: null, headers: null, query: null };

function meetsQuery(input: ValueInput, query: string): boolean {
  const conditions = { ...NONE, query: [buildQueryTest(input)] };
  const request = makeRequest({ query });
  assert.equal(firstMissed(conditions, request) === null, meetsAll(conditions, request));
  return meetsAll(conditions, request);
}

const X_EXACT = { name: "x", exact: "1" };
const QUERIES: readonly (readonly [input: ValueInput, holds: string[], fails: string[]])[] = [
  [
    X_EXACT,
    ["x=1", "a&x=1", "x=1&x=2", "x=%31", "%78=1", "&&x=1&", "x=1&=", "y=x&x=1"],
    ["", "x", "x=", "x=11", "x=2&x=1", "X=1", "xx=1", "x=1%", "x=1=", "y=x=1", "x=%2531", "=1"],
  ],
  [{ name: "x" }, ["x", "x=", "x=2", "%78", "a&x"], ["", "y", "xx", "=x", "a=x", "x%3D"]],
  [{ name: "x", present: true }, ["x=1"], ["y=1"]],
  [{ name: "x", present: false }, ["", "y", "xx=1", "=x", "a=x"], ["x", "x=1", "%78=1", "y&x"]],
  [{ name: "x", prefix: "ab" }, ["x=ab", "x=abc", "x=%61bc", "x=ab&"], ["x=a", "x=", "x", "x=ba"]],
  [{ name: "x", prefix: "" }, ["x", "x=1"], ["y"]],
  [{ name: "x", exact: "" }, ["x", "x=", "x&y", "x=&y"], ["x=1", "y", ""]],
  // A plus is a plus, a space is %20: two readings of one byte would be two routes.
  [{ name: "x", exact: "a+b" }, ["x=a+b", "x=a%2Bb", "x=a%2bb"], ["x=a%20b", "x=a b"]],
  [{ name: "x", exact: "a b" }, ["x=a%20b"], ["x=a+b"]],
  // Separators inside a value are escaped, or they separate.
  [{ name: "x", exact: "a&b=c" }, ["x=a%26b=c", "x=a%26b%3Dc"], ["x=a&b=c"]],
  [{ name: "x", exact: "a=b" }, ["x=a=b", "x=a%3db"], ["x=a"]],
  [{ name: "a=b", exact: "c" }, ["a%3Db=c"], ["a=b=c"]],
  [{ name: "a=b" }, ["a%3Db", "a%3db=c"], ["a=b", "a"]],
  [{ name: "a&b", exact: "c" }, ["a%26b=c"], ["a&b=c"]],
  [{ name: "x", exact: "%" }, ["x=%25"], ["x=%2525"]],
  [{ name: "\u00e9", exact: "\u20ac" }, ["%C3%A9=%E2%82%AC", "%c3%a9=%e2%82%ac"], ["%E9=%80"]],
  [{ name: "__proto__", exact: "1" }, ["__proto__=1"], ["", "constructor=1"]],
];

for (const [input, holds, fails] of QUERIES) {
  test(`a query parameter is tested: ${JSON.stringify(input)}`, () => {
    for (const query of holds) assert.equal(meetsQuery(input, query), true, query);
    for (const query of fails) assert.equal(meetsQuery(input, query), false, query);
  });
}

test("a broken escape is read as it stands, and never past the end", () => {
  assert.equal(meetsQuery({ name: "x", exact: "%" }, "x=%"), true);
  assert.equal(meetsQuery({ name: "x", exact: "%3" }, "x=%3"), true);
  assert.equal(meetsQuery({ name: "x", exact: "%zz" }, "x=%zz"), true);
  assert.equal(meetsQuery({ name: "x", exact: "1" }, "x=%3"), false);
});

test("a header is tested by its lower-case name, its value to the letter", () => {
  const meets = (input: ValueInput, headers: Record<string, string>) => {
    const conditions = { ...NONE, headers: [buildHeaderTest(input)] };
    return meetsAll(conditions, makeRequest({ headers }));
  };
  assert.equal(meets({ name: "X-A", exact: "b" }, { "x-a": "b" }), true);
  assert.equal(meets({ name: "x-a", exact: "b" }, { "x-a": "B" }), false);
  assert.equal(meets({ name: "x-a", exact: "b" }, { "x-a": "bb" }), false);
  assert.equal(meets({ name: "x-a", exact: "" }, { "x-a": "" }), true);
  assert.equal(meets({ name: "x-a", exact: "" }, {}), false);
  assert.equal(meets({ name: "x-a", prefix: "b" }, { "x-a": "bc" }), true);
  assert.equal(meets({ name: "x-a", prefix: "b" }, { "x-a": "cb" }), false);
  assert.equal(meets({ name: "x-a", prefix: "" }, {}), false);
  assert.equal(meets({ name: "x-a", exact: "bc", prefix: "b" }, { "x-a": "bc" }), true);
  assert.equal(meets({ name: "x-a", exact: "c", prefix: "b" }, { "x-a": "c" }), false);
  assert.equal(meets({ name: "x-a" }, { "x-a": "" }), true);
  assert.equal(meets({ name: "x-a" }, { "x-b": "" }), false);
  assert.equal(meets({ name: "x-a", present: false }, { "x-b": "" }), true);
  assert.equal(meets({ name: "x-a", present: false }, { "x-a": "" }), false);
});

test("methods are compared to the letter", () => {
  const conditions = { ...NONE, methods: ["GET", "POST"] };
  for (const method of ["GET", "POST"]) {
    assert.equal(meetsAll(conditions, makeRequest({ method })), true);
  }
  for (const method of ["HEAD", "get", "GETT", ""]) {
    assert.equal(meetsAll(conditions, makeRequest({ method })), false);
  }
});

test("what is missed first is told: method, then header, then query, each by its place", () => {
  const conditions: Conditions = {
    methods: ["GET"],
    headers: [{ name: "x-a" }, { name: "x-b" }].map(buildHeaderTest),
    query: [{ name: "a" }, { name: "b" }].map(buildQueryTest),
  };
  const all = { method: "GET", headers: { "x-a": "", "x-b": "" }, query: "a&b" };
  const missed = (change: object) => firstMissed(conditions, makeRequest({ ...all, ...change }));
  assert.equal(missed({}), null);
  assert.deepEqual(missed({ method: "PUT", headers: {} }), { part: "method" });
  assert.deepEqual(missed({ headers: { "x-a": "" }, query: "" }), { part: "header", index: 1 });
  assert.deepEqual(missed({ headers: {} }), { part: "header", index: 0 });
  assert.deepEqual(missed({ query: "a" }), { part: "query", index: 1 });
  const wrongMethod = makeRequest({ ...all, method: "PUT" });
  assert.equal(firstMissedValue(conditions, wrongMethod), null);
});
