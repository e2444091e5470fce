// The author's commands one by one, without a gateway: exit codes, JSON, errors that say what, why and
// how to mend, and what is told of a plugin that fails. AssemblyScript, since it is always there.

import assert from "node:assert/strict";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { runCommand, temporaryFolder } from "../support/gateway.ts";
import { watAssembler } from "../support/wat.ts";

const wat = await watAssembler();

/** A folder, and `sallyport plugin` in it. */
function workplace(t: TestContext) {
  const folder = temporaryFolder(t);
  const write = (file: string, content: string | Uint8Array) =>
    writeFileSync(join(folder, file), content);
  const run = async (...args: string[]) =>
    await runCommand(t, ["plugin", ...args], { cwd: folder });
  return { folder, write, run };
}

/** A plugin with these sources and cases, by file name. */
function makePlugin(folder: string, source: string, cases: Readonly<Record<string, object>>): void {
  mkdirSync(join(folder, "cases"));
  writeFileSync(join(folder, "index.ts"), source);
  const manifest = { name: "made", version: "1.0.0", abi: 1, input: "lazy" };
  writeFileSync(join(folder, "plugin.json"), JSON.stringify(manifest));
  for (const [file, golden] of Object.entries(cases)) {
    writeFileSync(join(folder, "cases", file), JSON.stringify(golden));
  }
}

const PASS = { request: {}, expect: { action: "continue" } };

test("what new is given wrong is refused with the way out, and nothing is made", async (t) => {
  const { folder, write, run } = workplace(t);
  mkdirSync(join(folder, "full"));
  write("full/file", "mine");
  write("file", "mine");
  for (const [args, code, said] of [
    [["new", "Tier"], 2, /"Tier" cannot be a plugin's name: .* a letter first/],
    [["new", "tier", "--lang", "go"], 2, /as or rust is needed/],
    [["new", "full"], 2, /full is there and not empty; name another folder/],
    [["new", "tier", "file"], 2, /file is no folder/],
    [["new"], 2, /missing required argument 'name'/],
  ] as const) {
    const done = await run(...args);
    assert.equal(done.code, code, args.join(" "));
    assert.match(done.stderr, said);
  }
  const made = await run("new", "tier", "--json");
  const facts = JSON.parse(made.stdout) as { files: string[] };
  assert.ok(facts.files.length <= 6);
  const config = JSON.parse(readFileSync(join(folder, "tier/tsconfig.json"), "utf8")) as {
    extends: string;
    compilerOptions: { paths: { sallyport: [string] } };
  };
  for (const path of [config.extends, config.compilerOptions.paths.sallyport[0]]) {
    assert.ok(readFileSync(join(folder, "tier", path), "utf8").length > 0);
  }
});

test("sources that do not compile, and modules that are not admitted, are told with exit code 1", async (t) => {
  const { folder, write, run } = workplace(t);
  makePlugin(
    folder,
    'import { Log } from "sallyport";\n\nexport function f(): i32 {\n\treturn "no";\n}\n',
    {},
  );
  const built = await run("build");
  assert.equal(built.code, 1);
  const frame = '  4 | \treturn "no";\n      \t       ^';
  assert.equal(
    built.stdout,
    `index.ts:4:9: error[TS2322]: Type '~lib/string/String' is not assignable to type 'i32'.\n${frame}\n1 error\n`,
  );
  const { stdout } = await run("build", "--json");
  const { faults } = JSON.parse(stdout) as { faults: Record<string, unknown>[] };
  assert.deepEqual([faults[0]["file"], faults[0]["line"], faults[0]["column"]], ["index.ts", 4, 9]);
  write("index.ts", "export function other(): i32 {\n  return 0;\n}\n");
  const refused = await run("build");
  assert.equal(refused.code, 1);
  assert.match(refused.stdout, /the gateway would refuse it: missing_export: .*on_request/);
  write("plugin.json", "{");
  const broken = await run("build");
  assert.equal(broken.code, 2);
  assert.match(broken.stderr, /plugin\.json is not JSON/);
  const nothing = await run("build", "cases");
  assert.equal(nothing.code, 2);
  assert.match(nothing.stderr, /cases has no plugin\.json; .*plugin new NAME/);
});

test("no cases, a misspelt key and a case that expects nothing are no success", async (t) => {
  const { folder, write, run } = workplace(t);
  makePlugin(folder, "export function on_request(): i32 {\n  return 0;\n}\n", {});
  for (const [text, said] of [
    [null, /has no cases: put one into cases\/first\.json/],
    [
      '{"reqest": {}, "expect": {"action": "continue"}}',
      /first\.json has the key reqest; known are/,
    ],
    ['{"request": {"paht": "/"}, "expect": {"action": "continue"}}', /request has the key paht/],
    ['{"request": {}}', /first\.json expects nothing/],
    ["{", /first\.json cannot be read/],
  ] as const) {
    if (text !== null) write("cases/first.json", text);
    const { code, stderr } = await run("test");
    assert.equal(code, 2, stderr);
    assert.match(stderr, said);
  }
  write("cases/first.json", JSON.stringify(PASS));
  assert.equal((await run("test")).code, 0);
});

// Each function can be entered by a path of its own.
const FAILING = `import { Request } from "sallyport";

let spun: i32 = 0;

function tooFar(list: i32[]): i32 {
  return list[list.length + 3];
}

function deeper(n: i32): i32 {
  return n == 0 ? 0 : deeper(n + 1) + 1;
}

function never(): i32 {
  return 7;
}

export function on_request(): i32 {
  const path = Request.path();
  if (path == "/far") return tooFar([1, 2]);
  if (path == "/load") return load<i32>(1 << 30);
  if (path == "/throw") throw new Error("on purpose");
  if (path == "/deep") return deeper(1);
  if (path == "/loop") while (true) spun++;
  if (path == "/seven") return never();
  return 0;
}
`;

type Result = {
  readonly file: string;
  readonly passed: boolean;
  readonly differences: readonly object[];
  readonly failure: {
    readonly code: string;
    readonly frames: readonly { function: string }[];
  } | null;
  readonly replay: string;
};

test("of a plugin that fails is told what, where, how much and how to see it again", async (t) => {
  const cases = ["far", "load", "throw", "deep", "loop"];
  const folder = temporaryFolder(t);
  const all = Object.fromEntries(
    cases.map((name) => [`${name}.json`, { ...PASS, request: { path: `/${name}` } }]),
  );
  makePlugin(folder, FAILING, { ...all, "pass.json": PASS });
  const args = ["plugin", "test", "--coverage", "--bench", "--json"];
  const tested = await runCommand(t, args, { cwd: folder });
  const report = JSON.parse(tested.stdout) as {
    readonly passed: number;
    readonly failed: number;
    readonly cases: readonly Result[];
    readonly coverage: object;
    readonly timings: readonly Readonly<Record<string, number>>[];
  };
  const results = report.cases;

  await t.test("the command fails, by its own cases only", () => {
    assert.equal(tested.code, 1, tested.stderr);
    assert.deepEqual([report.passed, report.failed], [1, cases.length]);
    assert.deepEqual(results.find(({ passed }) => passed)?.file, "pass.json");
  });

  for (const [name, code, inner] of [
    ["far", "trap", /index\/(?:tooFar|on_request)/],
    ["load", "trap", /index\/on_request/],
    ["throw", "trap", /index\/on_request/],
    ["deep", "stack", /index\/deeper/],
    ["loop", "deadline", /index\/on_request/],
  ] as const) {
    await t.test(`/${name}: ${code}, with the function it happened in`, () => {
      const result = results.find(({ file }) => file === `${name}.json`);
      assert.equal(result?.failure?.code, code, JSON.stringify(result));
      assert.match(result.failure.frames[0].function, inner);
      assert.deepEqual(result.differences, [
        { at: "action", expected: "continue", found: "error" },
      ]);
    });
  }

  await t.test("the source line is told where AssemblyScript aborts", async (t) => {
    const { stdout } = await runCommand(t, ["plugin", "test"], { cwd: folder });
    assert.match(stdout, /trap: on purpose at index\.ts:21:\d+/);
    assert.match(stdout, /the guest trapped: a panic, an abort/);
    assert.match(stdout, /memory \d+ of 64 pages/);
  });

  await t.test("it fails again when the printed command is run", async (t) => {
    for (const { replay, failure } of results.filter(({ passed }) => !passed)) {
      const [command, ...args] = replay.split(" ");
      assert.equal(command, "sallyport");
      const { code, stderr } = await runCommand(t, args, { cwd: folder });
      assert.equal(code, 1, stderr);
      assert.match(stderr, new RegExp(`^${failure?.code}: `, "m"));
      assert.match(stderr, /took \d+ us, fuel \d+, memory \d+ of 64 pages/);
    }
  });

  await t.test("the functions are counted that its cases reached, the others are named", () => {
    assert.deepEqual(report.coverage, {
      reached: 3,
      functions: 4,
      missed: ["index/never (index.ts:14)"],
    });
  });

  await t.test("it is measured all the same", () => {
    const { timings } = report;
    assert.equal(timings.length, cases.length + 1);
    for (const { p50_us: p50, p99_us: p99, calls_per_s: rate } of timings) {
      assert.ok(p50 > 0 && p99 >= p50 && rate > 0);
    }
  });
});

test("a module of another toolchain is tested as it is", async (t) => {
  const { folder, write, run } = workplace(t);
  makePlugin(folder, "", { "pass.json": PASS });
  writeFileSync(join(folder, "index.ts"), "");
  const bytes = wat('(module (func (export "on_request") (result i32) (i32.const 0)))');
  const other = join(folder, "other");
  mkdirSync(other);
  mkdirSync(join(other, "cases"));
  write("other/plugin.json", '{"name": "made"}');
  write("other/cases/pass.json", JSON.stringify(PASS));
  const missing = await run("test", "other");
  assert.match(
    missing.stderr,
    /other has neither a source \(index\.ts or plugin\.rs\) nor made\.wasm/,
  );
  write("other/made.wasm", bytes);
  assert.equal((await run("test", "other")).code, 0);
  const covered = await run("test", "other", "--coverage");
  assert.match(covered.stderr, /--coverage builds the source anew, and other has none/);
});

test("call runs any export of any Extism module and says what came of it", async (t) => {
  const { write, run } = workplace(t);
  write(
    "any.wasm",
    wat(`(module
      (import "extism:host/env" "input_offset" (func $at (result i64)))
      (import "extism:host/env" "input_length" (func $length (result i64)))
      (import "extism:host/env" "output_set" (func $output (param i64 i64)))
      (import "extism:host/env" "error_set" (func $error (param i64)))
      (memory (export "memory") 2)
      (func (export "echo") (result i32) (call $output (call $at) (call $length)) (i32.const 0))
      (func (export "fail") (result i32) (call $error (call $at)) (i32.const 1))
      (func (export "grow") (result i32) (drop (memory.grow (i32.const 3))) (i32.const 0))
      (func (export "spin") (loop (br 0)))
      (func (export "add") (param i32) (result i32) (local.get 0)))`),
  );
  write("input", Buffer.from([0xff, 0x00, 0x80]));
  const echo = await run("call", "any.wasm", "echo", "--input", "ä text");
  assert.deepEqual([echo.code, echo.stdout], [0, "ä text\n"]);
  assert.match(echo.stderr, /^took \d+ us, fuel \d+, memory 2 of 64 pages$/m);
  const bytes = await run("call", "any.wasm", "echo", "--input", "@input", "--json");
  const { output_base64: base64 } = JSON.parse(bytes.stdout) as { output_base64: string };
  assert.deepEqual([...Buffer.from(base64, "base64")], [0xff, 0x00, 0x80]);
  assert.match((await run("call", "any.wasm", "grow")).stderr, /memory 5 of 64 pages/);
  for (const [args, code, said] of [
    [["fail", "--input", "my reason"], 1, /^guest_error: my reason$/m],
    [["spin"], 1, /^deadline: [^]*the time was used up/m],
    [["ecko"], 2, /exports no function ecko, but echo, .*; did you mean echo\?/],
    [["add"], 2, /add is \(i32\) -> i32; Extism calls functions without parameters/],
    [["echo", "--config", "[]"], 2, /--config is a JSON object such as/],
    [["echo", "--input", "@none"], 2, /--input @none cannot be read: ENOENT/],
    [["echo", "--case", "none"], 2, /none cannot be read/],
  ] as const) {
    const done = await run("call", "any.wasm", ...args);
    assert.equal(done.code, code, done.stderr);
    assert.match(done.stderr, said);
  }
});

test("inspect says what a module is and asks for, also when it would be refused, and why", async (t) => {
  const { write, run } = workplace(t);
  write(
    "bad.wasm",
    wat(`(module
      (import "env" "clock" (func (result i64)))
      (import "extism:host/user" "request_path" (func (result i64)))
      (memory (export "memory") 1 9)
      (table 3 funcref)
      (func (export "on_request") (result i32) (i32.const 0)))`),
  );
  const { code, stdout } = await run("inspect", "bad.wasm");
  assert.equal(code, 1);
  assert.match(stdout, /^admitted {2}no, import_denied: .*clock.*\n +it imports a function that/m);
  assert.match(stdout, /^memory {4}1 to 9 pages of 64 KiB\ntable {5}3 to the limit entries$/m);
  assert.match(
    stdout,
    /^ {2}extism:host\/user\.request_path +\(\) -> i64 +the path in its normal form/m,
  );
  assert.match(stdout, /^ {2}on_request +\(\) -> i32 +for each request of the route/m);
  const json = await run("inspect", "bad.wasm", "--json");
  const facts = JSON.parse(json.stdout) as Record<string, unknown>;
  assert.deepEqual([facts["admitted"], facts["memory"]], [false, { min: 1, max: 9 }]);
  write("none.wasm", "no module");
  const none = await run("inspect", "none.wasm");
  assert.equal(none.code, 1);
  assert.match(none.stderr, /none\.wasm would be refused: invalid_module/);
  assert.equal((await run("inspect", "missing.wasm")).code, 2);
});

test("the help of every command fits on a screen, with an example", async (t) => {
  for (const word of ["new", "build", "test", "inspect", "call", "dev"]) {
    const { code, stdout } = await runCommand(t, ["plugin", word, "--help"]);
    assert.equal(code, 0);
    assert.ok(stdout.trimEnd().split("\n").length <= 25, `${word} --help is too long`);
    assert.match(stdout, new RegExp(`^Example: sallyport plugin ${word} `, "m"));
    assert.match(stdout, /--json/);
  }
});
