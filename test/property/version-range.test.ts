// What ranges of versions come to, against a model of a few lines over semver: random stores with some
// versions set aside, random configurations, and what they came to before. What a range came to is kept
// while it is there, and a configuration with it pinned has no ranges left.

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { rcompare, satisfies } from "semver";
import type { KnownPlugin } from "../../gateway/config/plugin-schema.ts";
import type { Config } from "../../gateway/config/schema.ts";
import {
  isExact,
  isVersionOrRange,
  pinRanges,
  rangeKey,
  resolveRanges,
} from "../../gateway/config/version-range.ts";
import { SEED } from "../support/random.ts";

const digit = fc.integer({ min: 0, max: 3 });
const prerelease = fc.constantFrom("", "", "", "-rc.1", "-rc.10", "-beta");
const version = fc
  .tuple(digit, digit, digit, prerelease)
  .map(([major, minor, patch, suffix]) => `${major}.${minor}.${patch}${suffix}`);
const simple = fc.oneof(
  version,
  version.map((each) => `^${each}`),
  version.map((each) => `~${each}`),
  fc.tuple(fc.constantFrom(">", ">=", "<", "<=", "="), version).map((parts) => parts.join("")),
  digit.map((major) => `${major}.x`),
  fc.tuple(digit, digit).map(([major, minor]) => `^${major}.${minor}`),
  fc.tuple(version, version).map(([from, to]) => `${from} - ${to}`),
  fc.constantFrom("*", "x"),
);
const joined = fc
  .array(simple, { minLength: 1, maxLength: 3 })
  .chain((parts) => fc.constantFrom(parts.join(" "), parts.join(" || ")))
  .filter((text) => text.length <= 128 && isVersionOrRange(text));

const attachment = fc.record(
  { plugin: fc.constantFrom("a", "b", "jwt"), version: joined },
  { requiredKeys: ["plugin"] },
);
const config = fc
  .array(fc.array(attachment, { maxLength: 3 }), { maxLength: 4 })
  .map((routes): Config => ({
    routes: routes.map((plugins, i) => ({ name: `r${i}`, plugins, echo: true })),
  }));
const plugin = fc.record({
  versions: fc.uniqueArray(version, { maxLength: 12 }),
  setAside: fc.uniqueArray(version, { maxLength: 3 }),
});
const world = fc.record({ a: plugin, b: plugin, config, before: version });

type Model = { readonly versions: readonly string[]; readonly setAside: readonly string[] };

// Ten lines of it: the highest, kept as it was if it is there.
function model(range: string, { versions, setAside }: Model, kept: string | null): string | null {
  if (isExact(range)) return versions.includes(range) ? range : null;
  if (kept !== null && versions.includes(kept)) return kept;
  const able = versions.filter((each) => satisfies(each, range) && !setAside.includes(each));
  return able.sort(rcompare)[0] ?? null;
}

function knownOf({ versions, setAside }: Model, kept: Record<string, string>): KnownPlugin {
  return {
    current: versions[0] ?? "",
    versions: new Map(versions.map((each) => [each, null])),
    setAside: new Set(setAside),
    kept,
  };
}

test("ranges come to what a model of a few lines says, again and after what they were", () => {
  fc.assert(
    fc.property(world, ({ a, b, config: asked, before }) => {
      const models: Record<string, Model> = { a, b };
      const attachments = (asked.routes ?? []).flatMap(({ plugins = [] }) => plugins);
      const ranged = attachments.filter(({ version: text }) => text !== undefined);
      // Every second range came to something before.
      const kept = Object.fromEntries(
        ranged
          .filter((_, i) => i % 2 === 0)
          .map((each) => [rangeKey(each.plugin, each.version ?? ""), before]),
      );
      const known = new Map([
        ["a", knownOf(a, kept)],
        ["b", knownOf(b, kept)],
      ]);
      const { resolution, faults } = resolveRanges(asked, known);
      let missing = 0;
      for (const { plugin: name, version: text = "" } of ranged) {
        if (!(name in models)) continue;
        const key = rangeKey(name, text);
        const expected = model(text, models[name], kept[key] ?? null);
        if (expected === null) missing++;
        const found = resolution[key] ?? (isExact(text) && expected !== null ? text : null);
        assert.equal(found, expected, key);
      }
      assert.equal(faults.length, missing);
      // Kept whole it comes to itself, whatever is there besides.
      const again = new Map(
        [...known].map(([name, each]) => [name, { ...each, kept: resolution }]),
      );
      assert.deepEqual(resolveRanges(asked, again).resolution, resolution);
      const pinned = pinRanges(asked, resolution);
      assert.deepEqual(resolveRanges(pinned, known).resolution, {});
      assert.deepEqual(pinRanges(asked, {}), asked);
    }),
    { seed: SEED, numRuns: 2_000 },
  );
});

test("what is neither a version nor a range is told from both", () => {
  const good = ["1.2.0", "1.2.0-rc.1", "^1.2", "~1", ">=1.2 <2", "1.x", "*", "1 - 2", "^1 || ^3"];
  const bad = ["", " ", " ^1", "^1 ", "^^1", "latest", "1.2.0.0", ">=a", "git://x", "^1 &&  2"];
  for (const text of good) assert.ok(isVersionOrRange(text), text);
  for (const text of bad) assert.ok(!isVersionOrRange(text), text);
  assert.deepEqual(good.filter(isExact), ["1.2.0", "1.2.0-rc.1"]);
});
