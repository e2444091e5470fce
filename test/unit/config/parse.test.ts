// The door to a configuration, from outside: a text and a value are judged alike, nothing that is
// written is silently ignored, names that objects have are names like any other, and hostile input
// costs bounded time and is answered with faults, never with an exception.

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { stringify } from "yaml";
import { readDocument } from "../../../gateway/config/document.ts";
import type { Fault } from "../../../gateway/config/fault.ts";
import { pointer, pointerSteps } from "../../../gateway/config/fault-list.ts";
import { checkConfigText, checkConfigValue } from "../../../gateway/config/parse.ts";
import type { Checked } from "../../../gateway/config/parse.ts";
import { SEED, untilTime } from "../../support/random.ts";
import {
  corpus,
  define,
  fullConfig,
  isFree,
  isRecord,
  placesIn,
  replaceAt,
  valueAt,
} from "./corpus.ts";
import { makeCertificates, makeContext } from "./made-context.ts";

const context = makeContext(await makeCertificates());

const OBJECT_WORDS = [
  "__proto__",
  "constructor",
  "toString",
  "hasOwnProperty",
  "valueOf",
  "length",
];

test("a text and its value have the same faults, but for the places", () => {
  let compared = 0;
  for (const [file, text] of corpus()) {
    const document = readDocument(text);
    // JSON has no word for .nan.
    if (!("value" in document) || file === "types-numbers.yaml") continue;
    compared++;
    assert.deepEqual(
      unplaced(checkConfigValue(document.value, context)),
      unplaced(checkConfigText(text, context)),
      file,
    );
  }
  assert.ok(compared > 60);
});

test("what passes is what was written, nothing added and nothing left out", () => {
  const config = fullConfig();
  for (const text of [JSON.stringify(config), JSON.stringify(config, null, 3), stringify(config)]) {
    const checked = checkConfigText(text, context);
    assert.ok(checked.ok);
    assert.deepEqual(checked.config, config);
  }
  const checked = checkConfigValue(config, context);
  assert.ok(checked.ok);
  assert.deepEqual(checked.config, config);
  assert.notEqual(checked.config, config, "a value that passes is a copy");
});

test("an unknown key anywhere is one fault, in JSON, YAML and as a value", () => {
  const maps = placesIn(fullConfig()).filter(({ path, value }) => isClosedMap(path, value));
  assert.ok(maps.length > 50);
  const words = new Set(placesIn(fullConfig()).flatMap(({ path }) => pointerSteps(path)));
  const key = fc
    .oneof(fc.string({ minLength: 1, maxLength: 20 }), fc.constantFrom(...OBJECT_WORDS, "a/b", "~"))
    // A known key may be missing where it is put; controls and lone surrogates are no text.
    .filter((one) => !words.has(one) && one.isWellFormed() && !/[\p{Cc}\ufffd\ufeff]/u.test(one));
  const extra = fc.constantFrom<unknown>(null, 1, "x", [], {}, { routes: [] });
  fc.assert(
    fc.property(fc.constantFrom(...maps), key, extra, ({ path }, name, value) => {
      const config = fullConfig();
      define(valueAt(config, path) as object, name, value);
      const expected = [`unknown_key ${pointer(path, name)}`];
      assert.deepEqual(codes(checkConfigValue(config, context)), expected);
      const json = JSON.stringify(config, null, 1);
      for (const text of [json, stringify(config)]) {
        const checked = checkConfigText(text, context);
        assert.deepEqual(codes(checked), expected);
        if (text === json) assert.ok(restOf(text, checked).startsWith(JSON.stringify(name)));
      }
    }),
    { seed: SEED, numRuns: 150 },
  );
});

test("a value of the wrong type anywhere is a fault there", () => {
  // Text where a list of audiences may stand is right.
  const places = placesIn(fullConfig()).filter(
    ({ path }) => path !== "" && !isFree(path) && !path.includes("audience"),
  );
  for (const { path, value } of places) {
    const isContainer = typeof value === "object" && value !== null;
    for (const wrong of isContainer ? ["text", 5, null] : [{}, [], null]) {
      const config = fullConfig();
      replaceAt(config, path, wrong);
      const checked = checkConfigValue(config, context);
      assert.ok(!checked.ok, path);
      assert.ok(
        checked.faults.some((fault) => fault.path === path),
        `${path} is ${JSON.stringify(wrong)}, found ${codes(checked).join(", ")}`,
      );
    }
  }
});

test("__proto__ is refused in every map, and no prototype is changed by trying", () => {
  for (const { path, value } of placesIn(fullConfig())) {
    if (typeof value !== "object" || value === null || Array.isArray(value)) continue;
    const config = fullConfig();
    define(valueAt(config, path) as object, "__proto__", { polluted: true });
    const expected = [`unknown_key ${path}/__proto__`];
    for (const text of [JSON.stringify(config), stringify(config)]) {
      assert.deepEqual(codes(checkConfigText(text, context)), expected);
    }
    assert.deepEqual(codes(checkConfigValue(config, context)), expected);
  }
  assert.equal(({} as { polluted?: unknown }).polluted, undefined);
});

test("words that every object has are names and keys like any other", () => {
  const name = "constructor";
  const plugins: unknown[] = [
    { plugin: "geo-block", config: { constructor: 1, toString: [{ hasOwnProperty: null }] } },
    {
      plugin: "jwt",
      config: {
        jwks_uri: "https://id.example.org/keys",
        claims_to_headers: { constructor: "X-A", toString: "X-B" },
      },
    },
  ];
  const config = {
    listeners: [{ name, address: "127.0.0.1:8080" }],
    upstreams: [{ name, targets: [{ address: "constructor:80" }] }],
    consumers: [{ name, credentials: [] }],
    routes: [
      {
        name,
        upstream: name,
        match: {
          headers: [{ name: "toString", exact: "__proto__" }],
          query: [{ name: "valueOf" }],
        },
        request_headers: { set: { constructor: "1", toString: "2", valueOf: "3" } },
        plugins,
      },
    ],
  };
  const checked = checkConfigText(JSON.stringify(config), context);
  assert.ok(checked.ok, JSON.stringify(checked));
  assert.deepEqual(checked.config, config);
  for (const word of OBJECT_WORDS) {
    const route = { name: "a", upstream: word.toLowerCase().replaceAll("_", "x") };
    assert.deepEqual(codes(checkConfigValue({ routes: [route] }, context)), [
      "unknown_reference /routes/0/upstream",
    ]);
    const plugins = [{ plugin: word.toLowerCase().replaceAll("_", "x") }];
    assert.deepEqual(
      codes(checkConfigValue({ routes: [{ name: "a", echo: true, plugins }] }, context)),
      ["unknown_reference /routes/0/plugins/0/plugin"],
    );
  }
});

test("a value that is no JSON is a fault and not an exception", () => {
  const circular: Record<string, unknown> = {};
  circular.routes = circular;
  let deep: unknown = {};
  for (let i = 0; i < 20_000; i++) deep = { a: deep };
  const throwing = {
    get routes(): never {
      throw new Error("on purpose");
    },
  };
  const deepConfig = {
    routes: [{ name: "a", echo: true, plugins: [{ plugin: "geo-block", config: deep }] }],
  };
  for (const value of [
    undefined,
    null,
    1n,
    circular,
    deep,
    deepConfig,
    throwing,
    () => 1,
    Symbol("a"),
  ]) {
    const checked = checkConfigValue(value, context);
    assert.ok(!checked.ok && checked.faults.length > 0);
  }
});

test("texts beyond the bounds of size are refused before they are parsed", () => {
  const table: [what: string, text: string, code: string][] = [
    ["over 64 MiB", " ".repeat(64 * 1024 * 1024 + 1), "too_large"],
    ["over 64 MiB in bytes only", "é".repeat(32 * 1024 * 1024 + 1), "too_large"],
    ["YAML over 16 MiB", `a: ${"b".repeat(16 * 1024 * 1024)}`, "too_large"],
    ["broken JSON of 2 MiB", `{"a":"${"b".repeat(2 * 1024 * 1024)}",}`, "syntax"],
  ];
  for (const [what, text, code] of table) {
    const startedMs = performance.now();
    const checked = checkConfigText(text, context);
    assert.ok(!checked.ok, what);
    assert.deepEqual(
      checked.faults.map((fault) => fault.code),
      [code],
      what,
    );
    assert.ok(performance.now() - startedMs < 5000, `${what} took long`);
  }
});

test("deep and repetitive texts cost bounded time and are faults of syntax", () => {
  const bomb = Array.from({ length: 30 }, (_, i) => {
    return `a${i}: &a${i} [${
      i === 0
        ? "x, x"
        : Array(9)
            .fill(`*a${i - 1}`)
            .join(", ")
    }]`;
  });
  const table: [what: string, text: string][] = [
    ["brackets", "[".repeat(20_000)],
    ["brackets that close", `a: ${"[".repeat(20_000)}${"]".repeat(20_000)}`],
    ["braces", `${"{a: ".repeat(20_000)}`],
    ["lists in lists", "- ".repeat(20_000)],
    ["keys in keys", `${"? ".repeat(20_000)}a`],
    ["JSON", `{"a":${"[".repeat(50_000)}${"]".repeat(50_000)}}`],
    ["an alias bomb", bomb.join("\n")],
    ["an alias bomb of maps", bomb.join("\n").replaceAll(/\[(.*)\]/g, "{a: [$1]}")],
    ["a long text repeated", `a: &a ${"x".repeat(1e6)}\nb: [${"*a, ".repeat(50_000)}]`],
    ["quotes", '"'.repeat(20_001)],
    ["tags", `a: ${"!".repeat(20_000)}`],
    ["anchors", `a: ${"&a ".repeat(5_000)}`],
    ["carriage returns", `a: ${"\r".repeat(20_000)}b: c: d`],
  ];
  for (const [what, text] of table) {
    const startedMs = performance.now();
    const checked = checkConfigText(text, context);
    assert.ok(!checked.ok, what);
    assert.ok(checked.faults.length <= 101, what);
    for (const fault of checked.faults) assert.equal(fault.code, "syntax", what);
    if (what.includes("close")) assert.match(checked.faults[0].message, /deeper than 64 levels/);
    const tookMs = performance.now() - startedMs;
    assert.ok(tookMs < 5000, `${what} took ${tookMs} ms`);
  }
});

test("a flawed copy of a valid text passes or has faults with places in it, never an exception", (t) => {
  const sources = corpus()
    .filter(([file, text]) => file.startsWith("valid") || text.length < 3000)
    .map(([, text]) => text);
  const snippet = fc.oneof(
    fc.constantFrom(..."{}[]:,-#&*!|>'\"%@`?\t\n\\ ", "\n  ", ": ", "- ", "<<: *a", "&a ", "---\n"),
    fc.string({ maxLength: 3, unit: "binary" }),
  );
  const flaw = fc.record({ at: fc.nat(), removed: fc.nat({ max: 5 }), added: snippet });
  let flawed = 0;
  fc.assert(
    fc.property(
      fc.constantFrom(...sources),
      fc.array(flaw, { minLength: 1, maxLength: 3 }),
      (source, flaws) => {
        const text = flaws.reduce((before, { at, removed, added }) => {
          const start = at % (before.length + 1);
          return before.slice(0, start) + added + before.slice(start + removed);
        }, source);
        const checked = checkConfigText(text, context);
        if (checked.ok) return;
        flawed++;
        assert.ok(checked.faults.length > 0);
        const lines = text.split("\n");
        for (const { line = 0, column = 0 } of checked.faults) {
          assert.ok(line >= 1 && line <= lines.length, `line ${line} of ${lines.length}`);
          assert.ok(column >= 1 && column <= lines[line - 1].length + 1, `column ${column}`);
        }
      },
    ),
    untilTime(2000),
  );
  t.diagnostic(`seed ${SEED}: ${flawed} flawed texts`);
  assert.ok(flawed > 100);
});

function isClosedMap(path: string, value: unknown): boolean {
  const isMap = typeof value === "object" && value !== null && !Array.isArray(value);
  return isMap && !isFree(path) && !isRecord(path);
}

function faultsOf(checked: Checked): readonly Fault[] {
  return checked.ok ? [] : checked.faults;
}

function codes(checked: Checked): string[] {
  return faultsOf(checked).map(({ code, path }) => `${code} ${path}`);
}

function unplaced(checked: Checked): string[] {
  const unplace = (fault: Fault) => ({ ...fault, line: undefined, column: undefined });
  return faultsOf(checked)
    .map((fault) => JSON.stringify(unplace(fault)))
    .sort();
}

// The line from the first fault's place on.
function restOf(text: string, checked: Checked): string {
  const [{ line = 0, column = 0 }] = faultsOf(checked);
  return text.split("\n")[line - 1].slice(column - 1);
}
