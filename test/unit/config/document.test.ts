// Texts as values and places. The reader of YAML and the scanner of JSON are each other's oracle for
// places, JSON.parse is that for what is JSON; values of YAML are a table.

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { readDocument } from "../../../gateway/config/document.ts";
import { findJsonTrouble, locateJson, surveyJson } from "../../../gateway/config/json-text.ts";
import { readYaml } from "../../../gateway/config/yaml-text.ts";
import { SEED } from "../../support/random.ts";
import { placesIn } from "./corpus.ts";

// Keys of every kind, values of every type; not the mark of what is not UTF-8, which is refused.
const key = fc.oneof(fc.string({ unit: "grapheme" }), fc.constantFrom("__proto__", "a/b", "~0"));
const json = fc.jsonValue({ stringUnit: "grapheme", maxDepth: 5 });
const document = fc
  .dictionary(key, json)
  .filter((value) => !JSON.stringify(value).includes("\ufffd"));
const indent = fc.constantFrom<number | string>(0, 1, 2, "\t");

test("the places of keys and values are the same by the scanner of JSON and by the reader of YAML", () => {
  fc.assert(
    fc.property(document, indent, (value, space) => {
      const source = JSON.stringify(value, null, space);
      const yaml = readYaml(source);
      // A key of over 1024 characters, or tabs before brackets, are not YAML's.
      if (!("value" in yaml)) return;
      const places = placesIn(JSON.parse(source));
      const found = locateJson(
        source,
        places.map(({ path }) => path),
      );
      for (const { path, value: child } of places) {
        const place = found.get(path);
        assert.ok(place !== undefined);
        assert.equal(yaml.find(path, "value"), place.value, path);
        assert.equal(yaml.find(path, "key"), place.key, path);
        const isScalar = typeof child !== "object" || child === null;
        const start = isScalar ? JSON.stringify(child) : Array.isArray(child) ? "[" : "{";
        assert.ok(source.startsWith(start, place.value), path);
      }
    }),
    { seed: SEED, numRuns: 300 },
  );
});

test("a value is read alike as JSON and as YAML", () => {
  fc.assert(
    fc.property(document, indent, (value, space) => {
      const source = JSON.stringify(value, null, space);
      const read = readDocument(source);
      assert.ok("value" in read, source);
      assert.deepEqual(read.value, JSON.parse(source));
      const yaml = readYaml(source);
      if ("value" in yaml) assert.equal(JSON.stringify(yaml.value), JSON.stringify(read.value));
    }),
    { seed: SEED, numRuns: 300 },
  );
});

test("trouble is found in a text exactly when it is not JSON, and within it", () => {
  const flaw = fc.record({
    at: fc.nat(),
    removed: fc.nat({ max: 2 }),
    added: fc.constantFrom("", "", "{", "}", "[", "]", ",", ":", '"', "\\", "1", "-", "tru", " "),
  });
  let flawed = 0;
  fc.assert(
    fc.property(fc.jsonValue(), indent, flaw, (value, space, { at, removed, added }) => {
      const whole = JSON.stringify(value, null, space);
      const start = at % (whole.length + 1);
      const source = whole.slice(0, start) + added + whole.slice(start + removed);
      const trouble = findJsonTrouble(source);
      assert.equal(trouble === null, isJson(source), source);
      if (trouble === null) return;
      flawed++;
      assert.ok(trouble.offset >= 0 && trouble.offset <= source.length);
    }),
    { seed: SEED, numRuns: 3000 },
  );
  assert.ok(flawed > 500);
});

test("where and why a text is not JSON", () => {
  const table: [source: string, offset: number, expected: string][] = [
    ["", 0, "a value"],
    ["  ", 2, "a value"],
    ['{"a":1,}', 7, "a key in double quotes"],
    ['{"a" 1}', 5, '":"'],
    ['{"a":}', 5, "a value"],
    ['{"a":1 "b":2}', 7, '"," or "}"'],
    ["[1 2]", 3, '"," or "]"'],
    ["[1,]", 3, "a value"],
    ["{a:1}", 1, "a key in double quotes"],
    ['{"a":tru}', 5, "a value"],
    ['{"a":01}', 5, "a value"],
    ['{"a":"x\n"}', 5, "a value"],
    ["[1]]", 3, "the end of the text"],
    ['{"a":[1', 7, "more: it ends early"],
    ["[1}", 2, '"," or "]"'],
  ];
  for (const [source, offset, expected] of table) {
    assert.deepEqual(findJsonTrouble(source), { offset, expected }, source);
  }
});

test("the depth of JSON and its repeated keys, whatever is in its strings", () => {
  const table: [source: string, depth: number, repeated: [string, number][]][] = [
    ["1", 0, []],
    ['{"a":{"a":[{"a":1}]}}', 4, []],
    [
      '{"a":1,"a":2,"a":3}',
      1,
      [
        ["a", 7],
        ["a", 13],
      ],
    ],
    ['[{"a":1},{"a":2}]', 2, []],
    ['{"a":"a","b":["a","a"]}', 2, []],
    ['{"a\\u0062":1,"ab":2}', 1, [["ab", 13]]],
    ['{"[{":"}]\\"","]":1}', 1, []],
    ['{"__proto__":1,"__proto__":2}', 1, [["__proto__", 15]]],
    ['{"a":[],"b":{"a":1} ,\n"a" : 1}', 2, [["a", 22]]],
  ];
  for (const [source, depth, repeated] of table) {
    const expected = repeated.map(([key, offset]) => ({ key, offset }));
    assert.deepEqual(surveyJson(source), { depth, repeated: expected }, source);
  }
});

test("what YAML texts stand for", () => {
  const table: [source: string, value: unknown][] = [
    ["a: 1", { a: 1 }],
    ["a: 0x1f\nb: 0o17\nc: 1e3\nd: -0.5\ne: 017", { a: 31, b: 15, c: 1000, d: -0.5, e: 17 }],
    [
      "a: yes\nb: on\nc: True\nd: null\ne: ~\nf:",
      { a: "yes", b: "on", c: true, d: null, e: null, f: null },
    ],
    ["1: a\nnull: b\n~: c\ntrue: d", { 1: "a", null: "b", "~": "c", true: "d" }],
    ["a: 2026-01-01\nb: 1:30\nc: 1_000", { a: "2026-01-01", b: "1:30", c: "1_000" }],
    ["a: |\n  x\n  y\nb: >-\n  x\n  y", { a: "x\ny\n", b: "x y" }],
    ["a: &x [1]\nb: *x", { a: [1], b: [1] }],
    ["a: &x\nb: *x", { a: null, b: null }],
    // An anchor that is given anew stands for the new value from there on, and only from there on.
    ["a: &x 1\nb: *x\nc: &x 2\nd: *x", { a: 1, b: 1, c: 2, d: 2 }],
    ["a: &x 1\nb: &y [*x]\nc: &x 2\nd: *y", { a: 1, b: [1], c: 2, d: [1] }],
    ["a: &x 1\nb: &y [*x]\nc: &x [*y]\nd: *y\ne: *x", { a: 1, b: [1], c: [[1]], d: [1], e: [[1]] }],
    ["a: &x [&x 1, *x]\nb: *x", { a: [1, 1], b: 1 }],
    ["---\na: 1\n...\n", { a: 1 }],
    ["%YAML 1.2\n---\na: 1", { a: 1 }],
    ["\ufeffa: 1", { a: 1 }],
    ["", null],
    ["# nothing", null],
    ["<<: { a: 1 }", { "<<": { a: 1 } }],
  ];
  for (const [source, value] of table) {
    const read = readDocument(source);
    assert.ok("value" in read, source);
    assert.deepEqual(read.value, value, source);
  }
});

test("an alias is never a shared value: what is done to one does nothing to the other", () => {
  const read = readDocument("a: &x { b: [1] }\nc: *x");
  assert.ok("value" in read);
  const { a, c } = read.value as { a: { b: number[] }; c: { b: number[] } };
  assert.notEqual(a, c);
  assert.notEqual(a.b, c.b);
});

test("aliases that cannot be followed are refused, each fault once", () => {
  const table: [source: string, messages: RegExp[]][] = [
    ["a: *x", [/\*x names nothing before it/]],
    ["a: *x\nb: &x 1", [/\*x names nothing before it/]],
    ["a: &x [*x]", [/\*x stands within what it names/]],
    ["a: &x 1\nb: &x [*x]", [/\*x stands within what it names/]],
    ["a: &x { b: &y [*x, *y] }\nc: *y", [/\*x stands within/, /\*y stands within/]],
    ["a: &x { b: 1, b: 2 }\nc: *x\nd: *x", [/"b" is given twice/]],
    ["a: &x !!str 1\nb: *x", [/the tag tag:yaml.org,2002:str is not read/]],
  ];
  for (const [source, messages] of table) {
    const faults = readDocument(source);
    assert.ok(!("value" in faults), source);
    assert.equal(faults.length, messages.length, JSON.stringify(faults));
    messages.forEach((message, i) => assert.match(faults[i].message, message, source));
  }
});

function isJson(source: string): boolean {
  try {
    JSON.parse(source);
    return true;
  } catch {
    return false;
  }
}
