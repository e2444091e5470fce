// Configurations of plugins against the schemas of their manifests: faults with their places, secrets
// that are judged and never told, and for random schemas and values the verdict of another reader of
// JSON Schema, typebox.

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { Check } from "typebox/schema";
import { checkConfigText } from "../../../gateway/config/parse.ts";
import { FaultList } from "../../../gateway/config/fault-list.ts";
import {
  checkFollowers,
  checkPluginConfig,
  compilePluginSchema,
} from "../../../gateway/config/plugin-schema.ts";
import type { PluginSchema } from "../../../gateway/config/plugin-schema.ts";
import type { Config } from "../../../gateway/config/schema.ts";
import { checkConfigSchema } from "../../../sandbox/config-schema.ts";
import { makeContext } from "./made-context.ts";

const SCHEMA = checkConfigSchema({
  type: "object",
  properties: {
    role: { enum: ["buyer", "seller"] },
    status: { type: "integer", minimum: 400, maximum: 499 },
    names: { type: "array", items: { type: "string", pattern: "^[a-z]{1,8}$" }, maxItems: 2 },
    note: { type: ["string", "null"], maxLength: 3 },
    key: { type: "string", writeOnly: true, minLength: 32 },
    limits: { type: "object", additionalProperties: { type: "number" } },
    anything: {},
  },
  required: ["role"],
  additionalProperties: false,
});

function faultsOf(config: unknown, schema: PluginSchema = SCHEMA) {
  const faults = new FaultList();
  const source = makeContext();
  checkPluginConfig(compilePluginSchema(schema), config, { path: "/config", source, faults });
  return faults.faults;
}

const ROWS: readonly (readonly [config: object, ...faults: string[]])[] = [
  [{ role: "buyer" }],
  [{ role: "buyer", status: 400, names: ["a"], note: null, limits: { a: 1 }, anything: [{}] }],
  [{ role: "buyer", note: "abc" }],
  [{}, "missing_key /config"],
  [{ role: "byer" }, "out_of_range /config/role"],
  [{ role: "buyer", status: 200 }, "out_of_range /config/status"],
  [{ role: "buyer", status: "400" }, "wrong_type /config/status"],
  [{ role: "buyer", names: ["a", "B"] }, "out_of_range /config/names/1"],
  [{ role: "buyer", names: ["a", "b", "c"] }, "out_of_range /config/names"],
  [{ role: "buyer", note: 7 }, "wrong_type /config/note"],
  [{ role: "buyer", note: "abcd" }, "out_of_range /config/note"],
  [{ role: "buyer", limits: { "a/b": "1" } }, "wrong_type /config/limits/a~1b"],
  [{ role: "buyer", rol: "seller" }, "unknown_key /config/rol"],
  [
    { role: "x", status: 1, key: "" },
    "out_of_range /config/key",
    "out_of_range /config/role",
    "out_of_range /config/status",
  ],
];

for (const [config, ...expected] of ROWS) {
  test(`${JSON.stringify(config)} has ${expected.join(", ") || "no fault"}`, () => {
    assert.deepEqual(
      faultsOf(config)
        .map(({ code, path }) => `${code} ${path}`)
        .sort(),
      expected,
    );
  });
}

test("a reference is judged by what it stands for, and that is never told", () => {
  assert.deepEqual(faultsOf({ role: "buyer", key: "$env:LONG_SECRET" }), []);
  assert.deepEqual(faultsOf({ role: "buyer", key: "$file:secrets/long" }), []);
  // It has a fault of its own, of the secrets.
  assert.deepEqual(faultsOf({ role: "buyer", key: "$env:NOT_SET" }), []);
  for (const [key, path] of [
    ["key", "/config/key"],
    ["role", "/config/role"],
    ["status", "/config/status"],
  ]) {
    const faults = faultsOf({ role: "buyer", [key]: "$env:SHORT_SECRET" });
    assert.equal(faults.length, 1);
    assert.equal(faults[0].path, path);
    assert.match(faults[0].message, /^what \$env:SHORT_SECRET stands for is not /);
    assert.doesNotMatch(JSON.stringify(faults), /do-not-show/);
  }
});

test("a literal secret is not told either", () => {
  assert.doesNotMatch(JSON.stringify(faultsOf({ role: "buyer", key: "literal" })), /literal/);
});

const CONFIG = `routes:
  - name: shop
    echo: true
    plugins:
      - plugin: geo-block
        VERSION
        config:
          role: buyer
          status: 200
`;

function checkWith(version: string, versions: Map<string, PluginSchema | null>) {
  const plugins = new Map([["geo-block", { current: "1.2.0", versions }]]);
  const text = CONFIG.replace("VERSION", version);
  const checked = checkConfigText(text, { ...makeContext(), plugins });
  return checked.ok ? [] : checked.faults.map(({ path, line }) => `${path} ${line}`);
}

test("an attachment is checked by its own version, or by the current one, with the line", () => {
  const versions = new Map([
    ["1.0.0", null],
    ["1.2.0", SCHEMA],
  ]);
  const fault = "/routes/0/plugins/0/config/status 9";
  assert.deepEqual(checkWith("fail_mode: open", versions), [fault]);
  assert.deepEqual(checkWith("version: 1.2.0", versions), [fault]);
  assert.deepEqual(checkWith("version: 1.0.0", versions), []);
  assert.deepEqual(checkWith("version: 9.9.9", versions), ["/routes/0/plugins/0/version 6"]);
});

test("of a version that becomes current only who follows it is checked", () => {
  const attached = (fields: object) => ({ plugin: "p", config: { role: "none" }, ...fields });
  const plugins = [
    attached({ version: "1.0.0" }),
    attached({ plugin: "q" }),
    attached({}),
    { plugin: "p" },
  ];
  const config = { routes: [{ name: "r", echo: true, plugins }] } as Config;
  const found = checkFollowers(config, { plugin: "p", schema: SCHEMA }, makeContext());
  assert.deepEqual(
    found.map(({ path }) => path),
    ["/routes/0/plugins/2/config/role", "/routes/0/plugins/3/config"],
  );
  assert.deepEqual(checkFollowers(config, { plugin: "p", schema: null }, makeContext()), []);
});

// Of numbers those that a configuration may hold: it has a rule for others, whatever a schema says.
const KEYS = ["a", "b", "c/d", "constructor"];
const scalar: fc.Arbitrary<unknown> = fc.oneof(
  fc.constantFrom(null, true, false, 0, 1, -1, 1.5, 7, "", "a", "ab", "abc", "B", "7"),
);
const value = fc.letrec((tie) => ({
  any: fc.oneof(
    { depthSize: "small", withCrossShrink: true },
    scalar,
    fc.array(tie("any"), { maxLength: 3 }),
    fc.dictionary(fc.constantFrom(...KEYS), tie("any"), { maxKeys: 3 }),
  ),
})).any;

const bounds = (low: string, high: string, max: number) =>
  fc.tuple(fc.option(fc.nat(max)), fc.option(fc.nat(max))).map(([a, b]) => ({
    ...(a === null ? {} : { [low]: b === null ? a : Math.min(a, b) }),
    ...(b === null ? {} : { [high]: a === null ? b : Math.max(a, b) }),
  }));
const schema = fc.letrec<{ map: object; any: object }>((tie) => ({
  map: fc
    .tuple(
      fc.dictionary(fc.constantFrom(...KEYS), tie("any"), { maxKeys: 3, noNullPrototype: true }),
      fc.boolean(),
      fc.option(fc.oneof(fc.boolean(), tie("any"))),
    )
    .map(([properties, needed, others]) => ({
      ...{
        type: "object",
        properties,
        required: needed ? Object.keys(properties).slice(0, 1) : [],
      },
      ...(others === null ? {} : { additionalProperties: others }),
    })),
  any: fc.oneof(
    { depthSize: "small", withCrossShrink: true },
    fc.constant({}),
    fc.constantFrom("boolean", "null").map((type) => ({ type })),
    bounds("minLength", "maxLength", 3).map((rest) => ({ type: "string", ...rest })),
    fc.constant({ type: "string", pattern: "^[a-z]{1,2}$" }),
    fc
      .tuple(fc.constantFrom("integer", "number"), bounds("minimum", "maximum", 8))
      .map(([type, rest]) => ({ type, ...rest })),
    fc.constantFrom<object>(
      { type: ["string", "null"], maxLength: 1 },
      { type: ["integer", "boolean"], maximum: 3 },
      { type: ["number", "string"], minimum: 1, minLength: 2 },
    ),
    fc.array(scalar, { minLength: 1, maxLength: 3 }).map((choices) => ({ enum: choices })),
    scalar.map((only) => ({ const: only })),
    fc
      .tuple(tie("any"), bounds("minItems", "maxItems", 3))
      .map(([items, rest]) => ({ type: "array", items, ...rest })),
    tie("map"),
  ),
})).map;

test("any schema and value are judged as typebox judges them", () => {
  let fitting = 0;
  fc.assert(
    fc.property(schema, value, (random, config) => {
      const checked = checkConfigSchema(random);
      const fits = Check(random, config);
      if (fits) fitting += 1;
      assert.equal(faultsOf(config, checked).length === 0, fits);
    }),
    { numRuns: 5_000 },
  );
  assert.ok(fitting > 200, `only ${fitting} fitted`);
});
