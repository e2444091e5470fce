// The example plugins and the SDKs they are written with. Every golden case runs through the real
// sandbox, on the bytes that are shipped: build/ for AssemblyScript, prebuilt/ for Rust. The SDKs are
// held to one another by a plugin that exists in both languages and uses all of them.

import assert from "node:assert/strict";
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { before, describe, test } from "node:test";
import fc from "fast-check";
import { normalizeTarget } from "../../gateway/routing/normalize.ts";
import {
  compileAssemblyScript,
  compileRust,
  findRustc,
  withManifest,
} from "../../plugins-src/build.ts";
import { printable } from "../../sandbox/errors.ts";
import { digestOf } from "../../sandbox/sandbox.ts";
import { decide, decideAll, loadPlugin, readCases } from "../support/plugin-cases.ts";
import type { Decided, LoadedPlugin } from "../support/plugin-cases.ts";
import { SEED } from "../support/random.ts";
import { PROBES } from "../support/sdk-probes.ts";

const SOURCES = join(import.meta.dirname, "../../plugins-src");
const ASSEMBLYSCRIPT = join(SOURCES, "assemblyscript");
const RUST = join(SOURCES, "rust");
const BUILD = join(SOURCES, "build");
const PREBUILT = join(SOURCES, "prebuilt");
const RUST_MODULE_BYTES_MAX = 20_000;
const NO_RUST = "no rustc for Wasm: apt-get install -y rustc libstd-rust-dev-wasm32 lld";

/** Of these, texts are made that are nearly lists of strings. */
const JSON_PIECES = String.raw`[ ] , " "/a" /a ; \ \n \u00e9 \ud83d \ude00 é 😀 1 null`
  .split(" ")
  .concat(" ", "\t", "\n", "\u0001");

/** What a search by chance would rarely find, a line each. */
const JSON_EDGES = String.raw`
[
[]
 [ ]
[],
[]]
[,]
["/a",]
["/a" "/b"]
["/a"
["/a
["\"
["/a",1]
[["/a"]]
{"0":"/a"}
["\ud83d\ude00"]
["\ud83d\ud83d"]
["\ud83d"]
["\ude00"]
["\ud83dx"]
["\ud83d\n"]
["\u12"]
["\u12g4"]
["\u002Fa"]
["\x"]
["\b\f\n\r\t\/\\\""]`.split("\n");

for (const { sources, modules } of [
  { sources: ASSEMBLYSCRIPT, modules: BUILD },
  { sources: RUST, modules: PREBUILT },
]) {
  for (const name of pluginsIn(sources)) {
    describe(`the plugin ${name}`, () => {
      const cases = readCases(join(sources, name));
      let loaded: LoadedPlugin;
      before(async () => {
        loaded = await loadPlugin(readFileSync(join(modules, `${name}.wasm`)));
      });

      test("is admitted, with the manifest of its source", () => {
        const source = JSON.parse(readFileSync(join(sources, name, "plugin.json"), "utf8"));
        assert.equal((source as Decided)["name"], name);
        assertHolds({ ...loaded.manifest }, source as Decided);
      });

      test("has cases", () => assert.ok(cases.length > 0));

      for (const [file, { expect, ...asked }] of cases) {
        test(`decides as ${file} says`, async () => {
          assertHolds(await decide(loaded, asked), expect);
        });
      }
    });
  }
}

test("build/ holds what the AssemblyScript sources say", async () => {
  for (const name of pluginsIn(ASSEMBLYSCRIPT)) {
    const wasm = await compileAssemblyScript(`${name}/index.ts`);
    const built = readFileSync(join(BUILD, `${name}.wasm`));
    const isSame = built.equals(withManifest(wasm, join(ASSEMBLYSCRIPT, name)));
    assert.ok(isSame, `build/${name}.wasm is not of its source: run node plugins-src/build.ts`);
  }
});

test("prebuilt/ holds one module for each Rust plugin, with its digest in SHA256SUMS", () => {
  const files = pluginsIn(RUST).map((name) => `${name}.wasm`);
  const kept = readdirSync(PREBUILT).filter((file) => file.endsWith(".wasm"));
  assert.deepEqual(kept.sort(), files);
  const lines = files.map((file) => {
    const digest = digestOf(readFileSync(join(PREBUILT, file)));
    return `${digest.slice("sha256:".length)}  ${file}\n`;
  });
  assert.equal(readFileSync(join(PREBUILT, "SHA256SUMS"), "utf8"), lines.join(""));
});

test("a module in Rust is small", () => {
  for (const name of pluginsIn(RUST)) {
    const { length } = readFileSync(join(PREBUILT, `${name}.wasm`));
    assert.ok(length <= RUST_MODULE_BYTES_MAX, `${name}.wasm has ${length} bytes`);
  }
});

test("the Rust SDK reads a list of strings exactly as JSON.parse does", async () => {
  const loaded = await loadPlugin(readFileSync(join(PREBUILT, "path-guard.wasm")));
  const pieces = fc.constantFrom(...JSON_PIECES);
  const jumble = fc.array(pieces, { maxLength: 8 }).map((parts) => parts.join(""));
  const list = fc
    .array(fc.string({ unit: "binary", maxLength: 6 }))
    .map((all) => JSON.stringify(all));
  const texts = fc.oneof(
    jumble,
    jumble.map((text) => `["${text}"]`),
    list,
    fc.tuple(list, pieces, fc.nat(30), fc.nat(1)).map(([text, piece, at, dropped]) => {
      const from = Math.max(text.length - at, 0);
      return (text.slice(0, from) + piece + text.slice(from + dropped)).toWellFormed();
    }),
    fc.jsonValue().map((value) => JSON.stringify(value)),
  );
  await fc.assert(
    fc.asyncProperty(texts, async (text) => {
      // A text in a configuration reaches the guest as it is.
      const decided = await decide(loaded, { request: {}, config: { deny: text } });
      const said = String(decided["message"] ?? "");
      const wanted = refusalOf(text);
      assert.ok(wanted === "" ? said === "" : said.includes(wanted), `${said} <> ${wanted}`);
    }),
    {
      seed: SEED,
      numRuns: 500,
      interruptAfterTimeLimit: 4_000,
      examples: JSON_EDGES.map((text): [string] => [text]),
    },
  );
});

const rustc = findRustc();

for (const { language, skip, compile } of [
  {
    language: "AssemblyScript",
    skip: false,
    compile: () => compileAssemblyScript("sdk/probe.ts"),
  },
  {
    language: "Rust",
    skip: rustc === null && NO_RUST,
    compile: async () => compileRust(rustc ?? assert.fail(NO_RUST), "sdk/probe.rs"),
  },
]) {
  describe(`the SDK for ${language}`, () => {
    let loading: Promise<LoadedPlugin> | null = null;
    const load = () => (loading ??= compile().then(loadPlugin));

    for (const [sentence, asked, wanted] of PROBES) {
      test(sentence, { skip }, async () => assertHolds(await decide(await load(), asked), wanted));
    }

    test("carries texts of every length through one instance", { skip }, async () => {
      const texts = Array.from({ length: 40 }, (_, length) =>
        "ä😀z".repeat(length).slice(0, length).toWellFormed(),
      );
      texts.push("x".repeat(8_000), "");
      const requests = texts.map((text) => ({
        request: { path: "/tell", query: new URLSearchParams({ text }).toString() },
      }));
      const answers = await decideAll(await load(), requests);
      const carried = answers.map(({ body }) => /^query_param=(.*)$/m.exec(String(body))?.[1]);
      assert.deepEqual(
        carried,
        texts.map((text) => text || "-"),
      );
    });
  });
}

/** What path-guard refuses a configuration with, in part; empty when it takes it. */
function refusalOf(deny: string): string {
  const prefixes = stringsOf(deny);
  if (prefixes === null) return "must be a list";
  if (prefixes.length === 0) return "at least one";
  for (const prefix of prefixes) {
    const isPrefix = prefix.startsWith("/") && !prefix.includes(";");
    if (!isPrefix) return `holds ${printable(prefix, 100).slice(0, 100)}`;
    if (normalizeTarget(prefix)?.path !== prefix) return "normal form";
  }
  return "";
}

function stringsOf(text: string): string[] | null {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return null;
  }
  if (!Array.isArray(value)) return null;
  const strings = value.filter((each) => typeof each === "string");
  // A lone surrogate is no character, so no string of Rust can hold it.
  const isList = strings.length === value.length && strings.every((each) => each.isWellFormed());
  return isList ? strings : null;
}

/** Checks the keys that `wanted` has. */
function assertHolds(found: Decided, wanted: Decided): void {
  const named = Object.keys(wanted).map((key) => [key, found[key]]);
  assert.deepEqual(Object.fromEntries(named), wanted);
}

function pluginsIn(folder: string): string[] {
  return readdirSync(folder)
    .filter((name) => existsSync(join(folder, name, "plugin.json")))
    .sort();
}
