// Differences of two configurations: none exactly when they are equal, and enough of them to make
// one into the other. The lines are applied by a model of their own; only where a new item of a list
// of named things stands is not part of them.

import assert from "node:assert/strict";
import { test } from "node:test";
import { isDeepStrictEqual } from "node:util";
import fc from "fast-check";
import { diffConfigs, diffResolved, formatDiff } from "../../../gateway/config/diff.ts";
import type { Resolved } from "../../../gateway/config/diff.ts";
import type { DiffLine } from "../../../gateway/config/fault.ts";
import { pointerSteps } from "../../../gateway/config/fault-list.ts";
import type { Config } from "../../../gateway/config/schema.ts";
import { SEED } from "../../support/random.ts";
import { fullConfig, placesIn, replaceAt } from "./corpus.ts";

type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
type JsonMap = { [key: string]: Json };
type Change = (value: Json | undefined) => Json | undefined;

const ORDER = " (order)";
const WORDS = ["a", "b", "a/b", "~1", "0", "1", "constructor", "__proto__", "toString"];

const word = fc.constantFrom(...WORDS);
const scalar = fc.constantFrom<Json>(null, true, false, 0, -0, 1, "", "x", "0");
// Anything that JSON can say, and often what the differ looks at more closely: lists of named things
// and lists of plugins.
const { value: anyJson } = fc.letrec<{ value: Json; flat: Json }>((tie) => ({
  flat: fc.oneof({ depthSize: "small" }, scalar, fc.array(tie("flat"), { maxLength: 3 })),
  value: fc.oneof(
    { depthSize: "small", withCrossShrink: true },
    tie("flat"),
    fc.uniqueArray(fc.record({ name: word, v: tie("value") }), {
      maxLength: 4,
      selector: ({ name }) => name,
    }),
    fc.array(fc.record({ plugin: word, config: tie("value") }), { maxLength: 4 }),
    fc.dictionary(word, tie("value"), { maxKeys: 4 }),
  ),
}));
const config = fc.dictionary(fc.constantFrom("listeners", "upstreams", "x"), anyJson);
// Two that have nothing to do with each other, or that differ in one place at most.
const pair = fc.oneof(
  fc.tuple(config, config),
  fc.tuple(config, fc.nat(), scalar).map(([a, at, value]): [JsonMap, JsonMap] => {
    const places = placesIn(a).filter(({ path }) => path !== "" && !path.endsWith("/name"));
    const b = copy(a);
    if (places.length > 0) replaceAt(b, places[at % places.length].path, value);
    return [a, b];
  }),
);

test("there is no difference exactly when two configurations are equal", () => {
  fc.assert(
    fc.property(pair, ([a, b]) => {
      assert.deepEqual(diff(a, copy(a)), []);
      assert.equal(diff(a, b).length === 0, isEqual(a, b));
      assert.equal(diff(b, a).length === 0, isEqual(a, b));
    }),
    { seed: SEED, numRuns: 2000 },
  );
});

test("applying the lines to one configuration makes the other", () => {
  let applied = 0;
  fc.assert(
    fc.property(pair, ([a, b]) => {
      const lines = diff(a, b);
      applied += lines.length;
      const made = withNewLast(copy(apply(a, lines) as JsonMap), a);
      assert.deepEqual(made, withNewLast(copy(b), a), JSON.stringify(lines));
    }),
    { seed: SEED, numRuns: 2000 },
  );
  assert.ok(applied > 1000);
});

test("one change is one line that says where, by name", () => {
  const table: [what: string, change: (config: Config) => void, lines: string[]][] = [
    ["nothing", () => {}, []],
    ["a number", (c) => (c.drain_ms = 5), ["~ /drain_ms: 30000 -> 5"]],
    ["a key", (c) => delete c.drain_ms, ["- /drain_ms: 30000"]],
    [
      "a new route in front",
      (c) => c.routes?.unshift({ name: "new", echo: true }),
      ['+ /routes/new: {"name":"new","echo":true}'],
    ],
    [
      "a route that went",
      (c) => c.routes?.splice(1, 1),
      [
        '- /routes/away: {"name":"away","redirect":{"to":"https://example.org{path}?{query}",' +
          '"status":308},"match":{"hosts":["old.example.org"]}}',
      ],
    ],
    [
      "two routes that changed places",
      (c) => c.routes?.splice(1, 2, ...(c.routes?.slice(1, 3).reverse() ?? [])),
      ['~ /routes (order): ["away","gone"] -> ["gone","away"]'],
    ],
    [
      "a setting of a plugin",
      (c) => Object.assign(c.routes?.[0].plugins?.[2].config ?? {}, { limit: 5 }),
      ["~ /routes/orders/plugins/2/config/limit: 100 -> 5"],
    ],
    [
      "one more plugin",
      (c) => c.routes?.[3].plugins?.push({ plugin: "cors" }),
      [
        '~ /routes/mirror/plugins: [{"plugin":"jwt","config":{"keys":[{"kid":"one","alg":"HS256",' +
          '"secret":"$env:LONG_SECRET"},{"kid":"two","alg":"HS512","secret":"$file:secrets/long"}]}}]' +
          ' -> [{"plugin":"jwt","config":{"keys":[{"kid":"one","alg":"HS256",' +
          '"secret":"$env:LONG_SECRET"},{"kid":"two","alg":"HS512","secret":"$file:secrets/long"}]}},' +
          '{"plugin":"cors"}]',
      ],
    ],
    [
      "the weight of a target",
      (c) => Object.assign(c.upstreams?.[0].targets[0] ?? {}, { weight: 3 }),
      ["~ /upstreams/orders/targets/0/weight: 2 -> 3"],
    ],
  ];
  for (const [what, change, lines] of table) {
    const [before, after] = [fullConfig() as Config, fullConfig() as Config];
    change(after);
    const text = lines.map((line) => `${line}\n`).join("");
    assert.equal(formatDiff(diffConfigs(before, after), { color: false }), text, what);
  }
});

test("two tests of one header are told apart by their place, not by their name", () => {
  const withTests = (...values: string[]): Config => {
    const headers = values.map((exact) => ({ name: "X-A", exact }));
    return { routes: [{ name: "a", echo: true, match: { headers } }] };
  };
  const lines = diffConfigs(withTests("1", "2"), withTests("1", "3"));
  const path = "/routes/a/match/headers/1/exact";
  assert.deepEqual(lines, [{ op: "change", path, from: "2", to: "3" }]);
});

test("the order of keys is no difference", () => {
  const config = fullConfig();
  const turned = Object.fromEntries(Object.entries(config).reverse());
  assert.deepEqual(diffConfigs(config as Config, turned as Config), []);
});

test("colour is only added when it is asked for", () => {
  const lines: DiffLine[] = [
    { op: "add", path: "/a", to: 1 },
    { op: "remove", path: "/b", from: 1 },
    { op: "change", path: "/c", from: 1, to: "\x1b[31m" },
  ];
  const plain = formatDiff(lines, { color: false });
  assert.equal(plain, '+ /a: 1\n- /b: 1\n~ /c: 1 -> "\\u001b[31m"\n');
  assert.match(formatDiff(lines, { color: true }), /^\x1b\[32m\+ \/a: 1\x1b\[39m\n/);
});

// The differ knows maps and lists, not what they are for.
function diff(a: JsonMap, b: JsonMap): DiffLine[] {
  return diffConfigs(a as unknown as Config, b as unknown as Config);
}

function copy(value: JsonMap): JsonMap {
  return JSON.parse(JSON.stringify(value)) as JsonMap;
}

function isEqual(a: JsonMap, b: JsonMap): boolean {
  return isDeepStrictEqual(copy(a), copy(b));
}

function apply(a: JsonMap, lines: readonly DiffLine[]): Json | undefined {
  return lines.reduce<Json | undefined>((value, { op, path, to }) => {
    if (!path.endsWith(ORDER)) {
      return applyAt(value, pointerSteps(path), () => (op === "remove" ? undefined : (to as Json)));
    }
    const steps = pointerSteps(path.slice(0, -ORDER.length));
    return applyAt(value, steps, (list) => reorder(list as JsonMap[], to as string[]));
  }, copy(a));
}

function applyAt(
  value: Json | undefined,
  steps: readonly string[],
  change: Change,
): ReturnType<Change> {
  const [step, ...rest] = steps;
  if (step === undefined) return change(value);
  if (Array.isArray(value)) {
    const isByName = value.every((item) => nameOf(item) !== undefined);
    const found = value.findIndex((item) => nameOf(item) === step);
    const index = !isByName ? Number(step) : found === -1 ? value.length : found;
    const changed = applyAt(value[index], rest, change);
    return value.toSpliced(index, 1, ...(changed === undefined ? [] : [changed]));
  }
  const entries = new Map(Object.entries(value as JsonMap));
  const changed = applyAt(entries.get(step), rest, change);
  if (changed === undefined) entries.delete(step);
  else entries.set(step, changed);
  return Object.fromEntries(entries);
}

// The named items take each other's places.
function reorder(list: readonly JsonMap[], names: readonly string[]): JsonMap[] {
  const queue = names.flatMap((name) => list.filter((item) => item["name"] === name));
  return list.map((item) => (names.includes(String(item["name"])) ? queue.shift() : item) ?? item);
}

function nameOf(item: Json): string | undefined {
  const isMap = typeof item === "object" && item !== null && !Array.isArray(item);
  return isMap && Object.hasOwn(item, "name") ? String(item["name"]) : undefined;
}

// New items of lists of named things are put last: where they stand is not in the lines.
function withNewLast(value: Json | undefined, before: Json | undefined): Json | undefined {
  if (Array.isArray(value)) {
    const list = Array.isArray(before) ? before : [];
    const isByName = [...value, ...list].every((item) => nameOf(item) !== undefined);
    if (!isByName) return value.map((item, i) => withNewLast(item, list[i]) as Json);
    const old = (item: Json) => list.find((one) => nameOf(one) === nameOf(item));
    const items = value.map((item) => withNewLast(item, old(item)) as Json);
    return [...items.filter((item) => old(item)), ...items.filter((item) => !old(item))];
  }
  if (typeof value !== "object" || value === null) return value;
  const own = (key: string) => {
    const isMap = typeof before === "object" && before !== null && Object.hasOwn(before, key);
    return isMap ? (before as JsonMap)[key] : undefined;
  };
  return Object.fromEntries(
    Object.entries(value).map(([key, child]) => [key, withNewLast(child, own(key)) as Json]),
  );
}

test("a range that stayed and came to another version is a line; one that is new is none", () => {
  const routed = (...versions: (string | undefined)[]): Config => ({
    routes: versions.map((version, i) => ({
      name: `r/${i}`,
      plugins: [{ plugin: "other" }, { plugin: "authz", version }],
    })),
  });
  const shown = (before: Resolved, after: Resolved) =>
    formatDiff(diffResolved(before, after), { color: false });
  const old = { config: routed("^1.2", "^1.2", "1.2.0"), resolution: { "authz@^1.2": "1.2.9" } };
  const moved = { ...old, resolution: { "authz@^1.2": "1.2.10" } };
  assert.equal(shown(old, old), "");
  assert.equal(
    shown(old, moved),
    "~ /routes/r~10/plugins/1/version: ^1.2 (1.2.9 -> 1.2.10)\n" +
      "~ /routes/r~11/plugins/1/version: ^1.2 (1.2.9 -> 1.2.10)\n",
  );
  const next = { config: routed("~1.2", "^1.2", "^1.2"), resolution: { "authz@^1.2": "1.2.10" } };
  assert.equal(
    shown(old, next),
    '~ /routes/r~10/plugins/1/version: "^1.2" -> "~1.2"\n' +
      '~ /routes/r~12/plugins/1/version: "1.2.0" -> "^1.2"\n' +
      "~ /routes/r~11/plugins/1/version: ^1.2 (1.2.9 -> 1.2.10)\n",
  );
  // One that nothing satisfied at a start, and something does now.
  assert.match(shown({ ...old, resolution: {} }, old), /: \^1\.2 \(none -> 1\.2\.9\)\n/);
});
