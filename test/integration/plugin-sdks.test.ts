// The SDKs, held to one another by a plugin that exists in both languages and uses all of them
// (plugins-src/*/sdk/probe), and to Node: its JSON, its hashes, the gateway's normal form of paths. The
// Rust SDK's own tests, which need no gateway, run here too.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash, createHmac } from "node:crypto";
import { existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import fc from "fast-check";
import { normalizeTarget } from "../../gateway/routing/normalize.ts";
import { compileAssemblyScript, compileRust, findRustc } from "../../plugins-src/build.ts";
import { decide, decideAll, loadPlugin } from "../support/plugin-cases.ts";
import type { Decided, LoadedPlugin, PluginCase } from "../support/plugin-cases.ts";
import { SEED } from "../support/random.ts";
import { PROBES, asking } from "../support/sdk-probes.ts";

const RUST = join(import.meta.dirname, "../../plugins-src/rust");
const NO_RUST = "no rustc for Wasm: apt-get install -y rustc libstd-rust-dev-wasm32 lld";
const DEPTH_MAX = 16;

/** Of these, texts are made that are nearly JSON. */
const JSON_PIECES =
  String.raw`[ ] { } , : " "a" \" \n \u00e9 \ud83d \ude00 é 😀 1 0 - . e + null true fals`
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
[1,]
[1 2]
["a
["\"
[["a"]]
{}
{"a"}
{"a":}
{"a":1,}
{"a":1 "b":2}
{a:1}
{1:1}
{"a":1,"a":2}
{"a\u0062":1,"ab":2}
{"":0,"__proto__":{"x":[]}}
"\ud83d\ude00"
"\ud83d\ud83d"
"\ud83d"
"\ude00"
"\ud83dx"
"\ud83d\n"
"\ud83d\ude0"
"\u12"
"\u12g4"
"\u002Fa"
"\x"
"\b\f\n\r\t\/\\\""
nul
nulll
true1
-
-0
00
01
1.
.5
1e
1e+
1E-2
1e400
-1e-400
123456789012345678901234567890
0.1
0.30000000000000004
9007199254740993
1.7976931348623157e308
5e-324
[1e5,2E+3]`.split("\n");

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
        "ä😀z€".repeat(length).slice(0, length).toWellFormed(),
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

    test("reads JSON exactly as JSON.parse does", { skip }, async () => {
      const texts = [...JSON_EDGES, ...fc.sample(jsonTexts(), { seed: SEED, numRuns: 1_000 })];
      const asked = texts.map((text) => asking("/json", text));
      const bodies = await bodiesOf(await load(), asked);
      for (const [i, body] of bodies.entries()) assertReads(body, texts[i]);
    });

    test("reads as deep as it says, and not deeper", { skip }, async () => {
      const nested = (depth: number) => "[".repeat(depth) + "1" + "]".repeat(depth);
      const [fits, tooDeep] = await decideAll(await load(), [
        asking("/json", nested(DEPTH_MAX)),
        asking("/json", nested(DEPTH_MAX + 1)),
      ]);
      assert.match(String(fits["body"]), / n3ff0000000000000\n$/);
      assert.equal(tooDeep["body"], "-");
    });

    test("hashes as Node does, at every length around a block's", { skip }, async () => {
      const lengths = [1, 54, 55, 56, 57, 63, 64, 65, 111, 112, 119, 120, 127, 128, 129, 1_000];
      const texts = lengths.map((length) => "0123456789äbc".repeat(100).slice(0, length));
      const bodies = async (path: string, more: (text: string) => Record<string, string>) =>
        await bodiesOf(
          await load(),
          texts.map((text) => asking(path, text, more(text))),
        );
      assert.deepEqual(
        await bodies("/sha256", () => ({})),
        texts.map((text) => createHash("sha256").update(text).digest("hex")),
      );
      // The text as its own key: keys below, at and above the length of a block.
      assert.deepEqual(
        await bodies("/hmac", (text) => ({ key: text })),
        texts.map((text) => createHmac("sha256", text).update(text).digest("hex")),
      );
    });
  });
}

test(
  "the Rust SDK knows the normal form of a path",
  { skip: rustc === null && NO_RUST },
  async () => {
    const loaded = await loadPlugin(compileRust(rustc ?? assert.fail(NO_RUST), "sdk/probe.rs"));
    const pieces = [
      "/",
      "//",
      ".",
      "..",
      ";",
      "%3B",
      "%41",
      "%20",
      "%2f",
      "%2F",
      "%25",
      "%c3",
      "%C3",
    ];
    const piece = fc.constantFrom(
      ...pieces,
      "a",
      "Z9-._~",
      "!$&'()*+,;=:@",
      "?",
      "#",
      '"',
      "é",
      "%",
      "\\",
    );
    const paths = fc.array(piece, { maxLength: 6 }).map((parts) => parts.join(""));
    const made = fc.sample(paths, { seed: SEED, numRuns: 2_000 });
    const asked = made.flatMap((path) => [path, `/${path}`]);
    const bodies = await bodiesOf(
      loaded,
      asked.map((path) => asking("/normal", path)),
    );
    for (const [i, body] of bodies.entries()) {
      const normal = normalizeTarget(asked[i]);
      const isNormal = normal?.path === asked[i] && normal.query === "";
      assert.equal(body, String(isNormal), asked[i]);
    }
  },
);

describe("tests of the Rust SDK and of plugins written with it, on this machine", () => {
  for (const source of ["sdk/tests.rs", ...pluginsWithTests()]) {
    test(`${source} passes`, { skip: rustc === null && NO_RUST }, (t) => {
      const folder = mkdtempSync(join(tmpdir(), "sallyport-rust-"));
      t.after(() => rmSync(folder, { recursive: true }));
      const out = join(folder, "tests");
      const args = ["--test", "--edition=2021", "-Dwarnings", "-o", out, source];
      execFileSync(rustc?.path ?? assert.fail(NO_RUST), args, { cwd: RUST, stdio: "inherit" });
      const said = execFileSync(out, ["--test-threads=2"], { encoding: "utf8", timeout: 60_000 });
      assert.match(said, /test result: ok\. [1-9]\d* passed; 0 failed; 0 ignored/);
    });
  }
});

/**
 * What the probe answers to each. On a busy machine one call of some thousand may reach its deadline,
 * which says nothing of what it was asked: it is asked again.
 */
async function bodiesOf(loaded: LoadedPlugin, asked: readonly PluginCase[]): Promise<string[]> {
  const answers = await decideAll(loaded, asked);
  for (const [i, one] of asked.entries()) {
    for (let times = 0; times < 5 && answers[i]["code"] === "PLUGIN_DEADLINE"; times++) {
      answers[i] = await decide(loaded, one);
    }
  }
  return answers.map(({ body, message }) => String(body ?? message));
}

function pluginsWithTests(): string[] {
  const folders = readdirSync(RUST).filter((name) => existsSync(join(RUST, name, "tests.rs")));
  return folders.filter((name) => name !== "sdk").map((name) => `${name}/plugin.rs`);
}

function jsonTexts(): fc.Arbitrary<string> {
  const pieces = fc.constantFrom(...JSON_PIECES);
  const jumble = fc.array(pieces, { maxLength: 8 }).map((parts) => parts.join(""));
  const whole = fc
    .jsonValue({ maxDepth: 5, stringUnit: "binary" })
    .map((value) => JSON.stringify(value));
  const mutated = fc
    .tuple(whole, pieces, fc.nat(30), fc.nat(1))
    .map(([text, piece, at, dropped]) => {
      const from = Math.max(text.length - at, 0);
      return (text.slice(0, from) + piece + text.slice(from + dropped)).toWellFormed();
    });
  return fc.oneof(
    jumble,
    jumble.map((text) => `["${text}"]`),
    whole,
    mutated,
  );
}

/** Checks what the probe said of a text. */
function assertReads(said: string, text: string): void {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return assert.equal(said, "-", text);
  }
  // Half of a surrogate pair is no character, so no text of Rust can hold it.
  if (!JSON.stringify(value).isWellFormed() || /\\ud[89a-f]/i.test(JSON.stringify(value))) {
    return assert.equal(said, "-", text);
  }
  const wanted = linesOf(value, "");
  assert.equal(said.length, wanted.join("").length, `${text}\n${said}\n${wanted.join("")}`);
  for (const line of wanted) assert.ok(holds(said, line), `${text}\n${line}\n${said}`);
}

function linesOf(value: unknown, path: string): string[] {
  const line = (what: string) => `${path} ${what}\n`;
  if (typeof value === "string") return [line(`t${value}`)];
  if (typeof value === "number") return [line(`n${bitsOf(value)}`)];
  if (typeof value !== "object" || value === null) return [line(String(value))];
  const inner = Object.entries(value).flatMap(([key, item]) => linesOf(item, `${path}/${key}`));
  return [line(Array.isArray(value) ? "[" : "{"), ...inner];
}

// Numbers with more than 15 digits, or very large and small ones, may differ in the last places.
function holds(said: string, line: string): boolean {
  if (said.includes(line)) return true;
  const [, path, bits] = /^([^]*) n([0-9a-f]{16})\n$/.exec(line) ?? assert.fail(line);
  for (let ulps = 1n; ulps <= 64n; ulps++) {
    for (const other of [BigInt(`0x${bits}`) + ulps, BigInt(`0x${bits}`) - ulps]) {
      if (said.includes(`${path} n${BigInt.asUintN(64, other).toString(16).padStart(16, "0")}\n`)) {
        return true;
      }
    }
  }
  return false;
}

function bitsOf(value: number): string {
  const bytes = Buffer.alloc(8);
  bytes.writeDoubleBE(value);
  return bytes.toString("hex");
}

/** Checks the keys that `wanted` has. */
function assertHolds(found: Decided, wanted: Decided): void {
  const { faults, ...rest } = wanted;
  const named = Object.keys(rest).map((key) => [key, found[key]]);
  assert.deepEqual(Object.fromEntries(named), rest);
  if (faults === undefined) return;
  const said = /^guest_error: ([^]*)$/.exec(String(found["message"]))?.[1] ?? "";
  assert.deepEqual(said.split("; ").sort(), faults);
}
