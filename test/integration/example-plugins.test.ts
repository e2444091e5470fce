// The example plugins. Every golden case runs through the real sandbox, on the bytes that are shipped:
// build/ for AssemblyScript, prebuilt/ for Rust.

import assert from "node:assert/strict";
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { before, describe, test } from "node:test";
import { compileAssemblyScript, withManifest } from "../../plugins-src/build.ts";
import { digestOf } from "../../sandbox/sandbox.ts";
import { decide, loadPlugin, readCases } from "../support/plugin-cases.ts";
import type { Decided, LoadedPlugin } from "../support/plugin-cases.ts";

const SOURCES = join(import.meta.dirname, "../../plugins-src");
const ASSEMBLYSCRIPT = join(SOURCES, "assemblyscript");
const RUST = join(SOURCES, "rust");
const BUILD = join(SOURCES, "build");
const PREBUILT = join(SOURCES, "prebuilt");
const AS_MODULE_BYTES_MAX = 20_000;
const RUST_MODULE_BYTES_MAX = 40_000;

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
        assertHolds(
          { ...loaded.manifest, config_schema: loaded.manifest?.configSchema },
          source as Decided,
        );
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

test("modules are small: the smallest show what an SDK weighs", () => {
  const sizes: [file: string, bytesMax: number][] = [
    [join(BUILD, "hello.wasm"), 4_096],
    [join(PREBUILT, "path-guard.wasm"), 20_000],
    ...pluginsIn(ASSEMBLYSCRIPT).map((name): [string, number] => [
      join(BUILD, `${name}.wasm`),
      AS_MODULE_BYTES_MAX,
    ]),
    ...pluginsIn(RUST).map((name): [string, number] => [
      join(PREBUILT, `${name}.wasm`),
      RUST_MODULE_BYTES_MAX,
    ]),
  ];
  for (const [file, bytesMax] of sizes) {
    const { length } = readFileSync(file);
    assert.ok(length <= bytesMax, `${file} has ${length} bytes`);
  }
});

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
