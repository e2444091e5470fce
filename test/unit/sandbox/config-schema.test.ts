// Which schemas a manifest may have: a table of what is taken and what is refused, each with the place
// and the reason; and no pattern that is taken makes a check slow.

import assert from "node:assert/strict";
import { test } from "node:test";
import { checkConfigSchema } from "../../../sandbox/config-schema.ts";

const withKey = (schema: unknown) => ({ type: "object", properties: { key: schema } });
const pattern = (text: unknown) => withKey({ type: "string", pattern: text });

/** `{"type":"object","properties":{"a":...}}`, so deep. */
function nested(depth: number): object {
  let schema: object = { type: "object" };
  for (let i = 1; i < depth; i++) schema = { type: "object", properties: { a: schema } };
  return schema;
}

const TAKEN: readonly (readonly [what: string, schema: unknown])[] = [
  ["nothing but the type", { type: "object" }],
  ["titles and descriptions", { type: "object", title: "t", description: "d", default: {} }],
  ["a map of texts", { type: "object", additionalProperties: { type: "string" } }],
  ["a closed map", { type: "object", properties: {}, required: [], additionalProperties: false }],
  ["what may be anything", withKey({})],
  ["a list of anything", withKey({ type: "array" })],
  ["a list with bounds", withKey({ type: "array", items: {}, minItems: 0, maxItems: 0 })],
  ["several types", withKey({ type: ["string", "null"], maxLength: 3 })],
  ["a choice", withKey({ enum: ["a", 1, true, null] })],
  ["a choice with its type", withKey({ type: "integer", enum: [1, 2] })],
  ["one value", withKey({ const: null })],
  ["a secret", withKey({ type: "string", writeOnly: true, minLength: 32 })],
  ["numbers with bounds", withKey({ type: "number", minimum: -0.5, maximum: 1e300 })],
  ["the deepest", nested(16)],
  ["a name of other objects", { type: "object", properties: { constructor: {}, toString: {} } }],
  ["a pattern of nothing", pattern("^$")],
  ["a pattern of a token", pattern("^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}$")],
  ["a pattern of a digest", pattern("^sha256:[0-9A-Fa-f]{64}$")],
  ["a pattern with an open end", pattern("^\\d{4}-\\d\\d.*$")],
  ["a pattern with escapes", pattern("^\\/a\\.b\\[\\]\\$[\\]\\w^-]?$")],
];

const REFUSED: readonly (readonly [what: string, schema: unknown, why: RegExp])[] = [
  ["no object", [], /config_schema must be an object/],
  ["no type", {}, /must have the type "object"/],
  ["another type", { type: "array" }, /must have the type "object"/],
  ["true for anything", withKey(true), /at \/properties\/key must be an object/],
  ["an unknown type", withKey({ type: "text" }), /has the type "text"; allowed are object/],
  ["maps among types", withKey({ type: ["object", "null"] }), /has object in a list of types/],
  ["no type of many", withKey({ type: [] }), /empty or has one twice/],
  ["a type twice", withKey({ type: ["null", "null"] }), /empty or has one twice/],
  ["a reference", withKey({ $ref: "https://example.com/s" }), /keyword "\$ref"; known are type/],
  ["a reference inside", withKey({ $ref: "#" }), /keyword "\$ref"/],
  ["a choice of schemas", withKey({ anyOf: [{}] }), /keyword "anyOf"/],
  ["patterns of keys", { type: "object", patternProperties: {} }, /keyword "patternProperties"/],
  ["a format", withKey({ type: "string", format: "uri" }), /keyword "format"/],
  ["a misspelt keyword", withKey({ type: "string", maxlength: 3 }), /keyword "maxlength"/],
  ["a keyword without its type", withKey({ minLength: 3 }), /without the type string/],
  ["a keyword of another type", withKey({ type: "string", minimum: 3 }), /integer or number/],
  ["a negative count", withKey({ type: "string", minLength: -1 }), /minLength -1; a count/],
  ["half a count", withKey({ type: "array", maxItems: 0.5 }), /maxItems 0.5; a count/],
  ["a text as a bound", withKey({ type: "integer", minimum: "1" }), /minimum "1"; a number/],
  ["bounds that cross", withKey({ type: "integer", minimum: 2, maximum: 1 }), /nothing would fit/],
  ["an empty choice", withKey({ enum: [] }), /enum without a value/],
  ["a map in a choice", withKey({ enum: [{}] }), /has \{\} in enum/],
  ["a choice of another type", withKey({ type: "string", enum: [1] }), /has 1 in enum.*no string/],
  ["a choice and a value", withKey({ enum: [1], const: 1 }), /both enum and const/],
  ["a choice and a bound", withKey({ type: "integer", enum: [1], minimum: 1 }), /beside enum/],
  ["an unknown name", { type: "object", required: ["a"] }, /\/required has "a", which is none/],
  [
    "a name twice",
    { type: "object", properties: { a: {} }, required: ["a", "a"] },
    /has a name twice/,
  ],
  ["a bad name", JSON.parse('{"type":"object","properties":{"__proto__":{}}}'), /__proto__/],
  ["a title that is no text", { type: "object", title: 1 }, /title not a text/],
  ["a secret that is no word", withKey({ type: "string", writeOnly: 1 }), /writeOnly/],
  ["a level too deep", nested(17), /deeper than 16 levels/],
  [
    "too many parts",
    {
      type: "object",
      properties: Object.fromEntries(Array.from({ length: 2_000 }, (_, i) => [i, {}])),
    },
    /more than 2000 parts/,
  ],
  ["a pattern that is no text", pattern(1), /not a text of at most 256/],
  ["a long pattern", pattern(`^${"a".repeat(255)}$`), /not a text of at most 256/],
  ["a pattern without anchors", pattern("a"), /does not begin with \^/],
  ["a pattern with a group", pattern("^(a+)+$"), /more than characters, classes and repeats/],
  ["a pattern with a choice", pattern("^a|b$"), /more than characters, classes and repeats/],
  ["a pattern that looks ahead", pattern("^(?=a)a$"), /more than characters/],
  ["a pattern that looks back", pattern("^a\\1$"), /more than characters/],
  ["a pattern of two repeats", pattern("^a{1,3}b?$"), /more than one repeat varies/],
  ["a repeat that goes on", pattern("^a*b$"), /repeats without end before its end/],
  ["a repeat of many", pattern("^a{0,1024}b$"), /repeats too often/],
  ["a repeat of a repeat", pattern("^a{2}{2}$"), /more than characters/],
  ["a lazy repeat", pattern("^a+?$"), /more than characters|without end/],
  ["a class that is open", pattern("^[a$"), /more than characters/],
  ["a class upside down", pattern("^[z-a]$"), /no regular expression/],
  ["counts upside down", pattern("^a{3,1}$"), /no regular expression/],
  ["an escaped end", pattern("^a\\$"), /more than characters|no regular expression/],
];

for (const [what, schema] of TAKEN) {
  test(`a schema is taken: ${what}`, () => assert.equal(checkConfigSchema(schema), schema));
}

for (const [what, schema, message] of REFUSED) {
  test(`a schema is refused: ${what}`, () => {
    assert.throws(() => checkConfigSchema(schema), { code: "bad_config_schema", message });
  });
}

test("no pattern that is taken tries again at length", () => {
  const hard = ["^a{512}a{511}.*$", "^a{0,500}a{500}b$", "^[a-z]{1,1000}.$", "^a{1000}[^b]*$"];
  const text = "a".repeat(1_000_000);
  for (const each of hard) {
    checkConfigSchema(pattern(each));
    const beganMs = performance.now();
    new RegExp(each).test(text);
    const tookMs = performance.now() - beganMs;
    // Some 4 ms for a megabyte; what is refused above takes minutes.
    assert.ok(tookMs < 500, `${each} took ${tookMs} ms`);
  }
});
