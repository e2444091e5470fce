// The suggestion behind "did you mean": every one-letter typo of every key of the schema leads back
// to the key; what resembles nothing leads nowhere.

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { BUILTIN_SCHEMAS } from "../../../gateway/config/builtin-schemas.ts";
import { editDistance, nearest } from "../../../gateway/config/nearest.ts";
import type { SchemaNode } from "../../../gateway/config/schema-faults.ts";
import { ConfigSchema } from "../../../gateway/config/schema.ts";
import { SEED } from "../../support/random.ts";

const LETTERS = [..."abcdefghijklmnopqrstuvwxyz_-1"];

test("every one-letter typo of every key of the schema suggests that key", (t) => {
  let tried = 0;
  for (const keys of [ConfigSchema, ...BUILTIN_SCHEMAS.values()].flatMap(keySets)) {
    for (const key of keys) {
      for (const typo of oneLetterTypos(key)) {
        if (keys.includes(typo)) continue;
        tried++;
        assert.equal(nearest(typo, keys), key, `${typo} among ${keys.join(", ")}`);
      }
    }
  }
  t.diagnostic(`${tried} typos`);
  assert.ok(tried > 10_000);
});

test("what is suggested and what is not", () => {
  const table: [word: string, known: string[], suggestion: string | undefined][] = [
    ["adress", ["address", "access"], "address"],
    ["ADDRESS", ["address"], "address"],
    ["ewam", ["ewma", "round-robin"], "ewma"],
    ["pi", ["ip", "path"], "ip"],
    ["x", ["on", "to"], undefined],
    ["x", ["a", "b"], undefined],
    ["ab", ["cd"], undefined],
    ["abcdef", ["uvwxyz"], undefined],
    ["", ["a"], undefined],
    ["route", [], undefined],
    // Two edits are near for a long word, three are not.
    ["conections_maxx", ["connections_max"], "connections_max"],
    ["conection_maxx", ["connections_max"], undefined],
    // First letters are seldom mistyped.
    ["cat", ["bat", "car"], "car"],
    ["cat", ["bat", "hat"], "bat"],
    ["constructo", ["constructor", "__proto__"], "constructor"],
  ];
  for (const [word, known, suggestion] of table) {
    assert.equal(nearest(word, known), suggestion, `${word} of ${known.join(", ")}`);
  }
});

test("long words and long lists cost bounded time", () => {
  const long = "a".repeat(100_000);
  assert.equal(nearest(long, [`${long}b`]), undefined);
  assert.equal(nearest("abc", [`${long}b`, "abd"]), "abd");
  let asked = 0;
  const endless = {
    *[Symbol.iterator]() {
      for (;;) {
        asked++;
        yield "zzzz";
      }
    },
  };
  assert.equal(nearest("abcd", endless), undefined);
  assert.ok(asked <= 20_001);
});

test("the distance is that of a plain model: insert, delete, replace, swap neighbours", () => {
  const word = fc.string({ unit: fc.constantFrom("a", "b", "c"), maxLength: 6 });
  fc.assert(
    fc.property(word, word, (a, b) => {
      assert.equal(editDistance(a, b), modelDistance(a, b));
      assert.equal(editDistance(a, b), editDistance(b, a));
      assert.equal(editDistance(a, b) === 0, a === b);
    }),
    { seed: SEED, numRuns: 500 },
  );
});

function modelDistance(a: string, b: string): number {
  if (a === "" || b === "") return a.length + b.length;
  const isSame = a[0] === b[0];
  const choices = [
    modelDistance(a.slice(1), b) + 1,
    modelDistance(a, b.slice(1)) + 1,
    modelDistance(a.slice(1), b.slice(1)) + (isSame ? 0 : 1),
  ];
  if (a.length > 1 && b.length > 1 && a[0] === b[1] && a[1] === b[0]) {
    choices.push(modelDistance(a.slice(2), b.slice(2)) + 1);
  }
  return Math.min(...choices);
}

function oneLetterTypos(word: string): Set<string> {
  const typos = new Set<string>();
  for (let i = 0; i <= word.length; i++) {
    const [head, tail] = [word.slice(0, i), word.slice(i)];
    for (const letter of LETTERS)
      typos.add(head + letter + tail).add(head + letter + tail.slice(1));
    if (tail !== "") typos.add(head + tail.slice(1));
    if (tail.length > 1) typos.add(head + tail[1] + tail[0] + tail.slice(2));
  }
  typos.delete(word);
  return typos;
}

// The keys of each map that a schema describes and that takes no others.
function keySets(schema: unknown): string[][] {
  const node = schema as SchemaNode;
  const children = [...Object.values(node.properties ?? {}), ...(node.anyOf ?? [])];
  if (node.items !== undefined) children.push(node.items);
  const own = node.patternProperties === undefined ? Object.keys(node.properties ?? {}) : [];
  return [...(own.length === 0 ? [] : [own]), ...children.flatMap(keySets)];
}
