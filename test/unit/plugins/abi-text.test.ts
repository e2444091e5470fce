// Holds plugins-src/abi.md to the code, in both directions: what the code has is in the text, and what
// the text says is in the code. The tables are read by their headings, the examples are run. The
// declarations in both SDKs are held to the same list.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { ERRORS } from "../../../gateway/base/errors.ts";
import { HOST_FUNCTIONS, REQUIRED_EXPORTS } from "../../../gateway/plugins/abi.ts";
import { DECISION_LIMITS, Decision } from "../../../gateway/plugins/decision.ts";
import { HOST_IMPORTS, KERNEL_IMPORTS, showSignature } from "../../../sandbox/imports.ts";
import type { Signature } from "../../../sandbox/imports.ts";
import { MANIFEST_SECTION, parseManifest } from "../../../sandbox/manifest.ts";
import { DEFAULT_SANDBOX_LIMITS } from "../../../sandbox/sandbox.ts";
import type { CallErrorCode, SandboxErrorCode } from "../../../sandbox/sandbox.ts";
import { makeExchange } from "../../support/made-exchange.ts";
import { decide, loadPlugin } from "../../support/plugin-cases.ts";
import type { GoldenCase, PluginCase } from "../../support/plugin-cases.ts";
import { watAssembler } from "../../support/wat.ts";

const SOURCES = join(import.meta.dirname, "../../../plugins-src");
const TEXT = readFileSync(join(SOURCES, "abi.md"), "utf8");

// The compiler sees to it that no code is missing here, or too many.
const UPLOAD_CODES: Readonly<Record<SandboxErrorCode, true>> = {
  too_large: true,
  invalid_module: true,
  feature_denied: true,
  import_denied: true,
  import_kind: true,
  limit_exceeded: true,
  reserved_export: true,
  missing_export: true,
  init_failed: true,
  bad_manifest: true,
  bad_config_schema: true,
  hash_mismatch: true,
  module_missing: true,
};

const CALL_CODES: Readonly<Record<CallErrorCode, true>> = {
  deadline: true,
  async_timeout: true,
  stack: true,
  trap: true,
  guest_error: true,
  bad_output: true,
  host_denied: true,
  host_error: true,
  kernel_memory: true,
  pool_exhausted: true,
};

test("the functions of extism:host/user are those of HOST_FUNCTIONS, with their types", () => {
  assert.deepEqual(functionsIn("`extism:host/user`"), signaturesOf(HOST_FUNCTIONS));
});

test("the functions of extism:host/env are those that can be imported, with their types", () => {
  const all = new Map([...KERNEL_IMPORTS, ...HOST_IMPORTS]);
  assert.deepEqual(functionsIn("`extism:host/env`"), signaturesOf(all));
});

test("the exports are those that the gateway calls", () => {
  const names = rowsOf("Exports").map(([name]) => name);
  assert.deepEqual(names.sort(), ["on_config", ...REQUIRED_EXPORTS].sort());
});

test("the bounds of a decision are DECISION_LIMITS", () => {
  assert.deepEqual(numbersIn("`extism:host/user`"), DECISION_LIMITS);
});

test("the limits are DEFAULT_SANDBOX_LIMITS", () => {
  assert.deepEqual(numbersIn("Limits"), DEFAULT_SANDBOX_LIMITS);
});

test("every code of a refused upload is told", () => {
  const codes = rowsOf("Uploads").map(([code]) => code);
  assert.deepEqual(codes.sort(), Object.keys(UPLOAD_CODES).sort());
});

test("every code of a failed call is told, with the error that a client gets", () => {
  const rows = rowsOf("Calls");
  assert.deepEqual(rows.map(([code]) => code).sort(), Object.keys(CALL_CODES).sort());
  for (const [, answer] of rows) {
    const [, code, status] = /^`(\w+)` (\d+)$/.exec(answer) ?? assert.fail(answer);
    assert.ok(Object.hasOwn(ERRORS, code), code);
    assert.equal(Number(status), ERRORS[code as keyof typeof ERRORS].status);
  }
});

test("the keys of a manifest are those that the gateway takes", () => {
  assert.ok(sectionOf("Manifest").includes(`the custom section \`${MANIFEST_SECTION}\``));
  const keys = rowsOf("Manifest").map(([key]) => key);
  assert.throws(
    () => parseManifest(Buffer.from('{"no_such_key": 1}')),
    ({ message }: Error) => message.endsWith(`allowed are ${keys.join(", ")}.`),
  );
});

test("every name that the text denies to plugins is denied", () => {
  const list = /Not to be written by plugins, in\s+either direction: ([^.]+)\./.exec(TEXT)?.[1];
  const names = [...(list ?? "").matchAll(/`([^`]+)`/g)].map(([, name]) => name);
  assert.ok(names.length > 10);
  for (const name of names) {
    const why = `${name} belongs to the gateway`;
    assert.equal(new Decision().editRequest(name, null), why);
    assert.equal(new Decision().editResponse(name, "x"), why);
    assert.equal(new Decision().addToResponse(name, "x"), why);
    assert.equal(new Decision().addHeader(name, "x"), why);
  }
});

test("the example of an input is what a plugin is given", async () => {
  const wat = await watAssembler();
  // Says its input as an error, which reaches the log whole.
  const bytes = wat(`(module
    (import "extism:host/env" "input_offset" (func $input (result i64)))
    (import "extism:host/env" "error_set" (func $fail (param i64)))
    (func (export "on_request") (call $fail (call $input))))`);
  const manifest = parseManifest(
    Buffer.from('{"name":"says","version":"1.0.0","abi":1,"input":"json"}'),
  );
  const { module } = await loadPlugin(Uint8Array.from(bytes));
  const loaded = { module, manifest };
  const example = exampleOf("input");
  const { path, query, route, params, consumer, claims, config } = example;
  const request = { path, query, route, params, consumer, claims, headers: { "x-tier": "gold" } };
  const { message } = await decide(loaded, { request, config } as PluginCase);
  const said = /^says@1\.0\.0: guest_error: (\{.*\})$/.exec(String(message))?.[1];
  assert.deepEqual(JSON.parse(said ?? assert.fail(String(message))), example);
});

test("the example of an output is a decision, and every key of it counts", () => {
  const example = exampleOf("output");
  const exchange = makeExchange();
  const decision = new Decision();
  decision.begin();
  assert.equal(decision.takeJson(JSON.stringify(example)), null);
  assert.deepEqual(decision.applyToRequest(exchange), {
    kind: "respond",
    response: {
      status: example["status"],
      headers: Object.entries(example["headers"] as object),
      body: example["body"],
    },
    reason: example["reason"],
  });
  const { requestEdits, responseEdits, values } = exchange;
  assert.deepEqual(Object.fromEntries(requestEdits ?? []), {
    "x-role": "none",
    authorization: null,
  });
  assert.deepEqual(Object.fromEntries(responseEdits ?? []), {
    "cache-control": "no-store",
    server: null,
  });
  assert.deepEqual(responseEdits?.added, [
    ["set-cookie", "a=1"],
    ["set-cookie", "b=2"],
    ["vary", "x-role"],
  ]);
  assert.deepEqual(Object.fromEntries(values ?? []), example["values"]);
});

test("the example of a case holds", async () => {
  const { expect, ...asked } = exampleOf("case") as unknown as GoldenCase;
  const loaded = await loadPlugin(readFileSync(join(SOURCES, "prebuilt/path-guard.wasm")));
  assert.partialDeepStrictEqual(await decide(loaded, asked), expect);
});

for (const { language, file, declaration, result } of [
  {
    language: "AssemblyScript",
    file: "assemblyscript/sdk/host.ts",
    declaration: /"extism:host\/user", "(\w+)"\) export declare function \w+\((.*?)\): (\w+);/g,
    result: (text: string) => text,
  },
  {
    language: "Rust",
    file: "rust/sdk/host.rs",
    declaration: /pub fn (\w+)\((.*?)\)(?: -> (\w+))?;/g,
    result: (text: string | undefined) => text ?? "void",
  },
]) {
  test(`the SDK for ${language} declares every function of extism:host/user, and no other`, () => {
    const source = readFileSync(join(SOURCES, file), "utf8");
    // Rust names the module once, before all functions of it.
    const user = source.slice(source.indexOf("extism:host/user") - 1);
    const declared = [...user.matchAll(declaration)].map(([, name, params, returned]) => {
      const types = [...params.matchAll(/: (\w+)/g)].map(([, type]) => typeOf(type));
      const returns = result(returned);
      return [name, showSignature(types, returns === "void" ? [] : [typeOf(returns)])];
    });
    assert.deepEqual(Object.fromEntries(declared), signaturesOf(HOST_FUNCTIONS));
  });
}

// `u64` is `i64`: Wasm's integers have no sign.
function typeOf(name: string): string {
  return name.replace("u", "i");
}

function signaturesOf(functions: ReadonlyMap<string, Signature>): Record<string, string> {
  const all = [...functions].map(([name, { params, results }]) => [
    name,
    showSignature(params, results),
  ]);
  return Object.fromEntries(all) as Record<string, string>;
}

/** The functions of a section's tables, as `name(param: type) -> type` tells them. */
function functionsIn(heading: string): Record<string, string> {
  const found: Record<string, string> = {};
  for (const [first] of rowsOf(heading)) {
    const parts = /^(\w+)\((.*)\)(?: -> (\w+))?$/.exec(first);
    if (parts === null) continue;
    const [, name, params, result] = parts;
    const types = [...params.matchAll(/: (\w+)/g)].map(([, type]) => type);
    assert.equal(Object.hasOwn(found, name), false, `${name} is told twice`);
    found[name] = showSignature(types, result === undefined ? [] : [result]);
  }
  return found;
}

/** The numbers in the second column of a section's tables, by what stands in the first. */
function numbersIn(heading: string): Record<string, number> {
  const rows = rowsOf(heading).filter(([, second]) => /^\d+$/.test(second));
  return Object.fromEntries(rows.map(([name, value]) => [name, Number(value)]));
}

/** Rows of a section's tables whose first cell is code: the code, then the other cells. */
function rowsOf(heading: string): string[][] {
  const lines = sectionOf(heading).split("\n");
  const rows = lines.filter((line) => line.startsWith("| `"));
  return rows.map((line) => {
    const [, ...cells] = line.split("|").map((cell) => cell.trim());
    cells[0] = cells[0].slice(1, -1);
    return cells;
  });
}

/** The text under a heading, up to the next one. */
function sectionOf(heading: string): string {
  const parts = TEXT.split(/^#+ (.*)$/m);
  const at = parts.indexOf(heading);
  assert.ok(at !== -1, `abi.md has no section ${heading}`);
  return parts[at + 1];
}

function exampleOf(what: string): Readonly<Record<string, unknown>> {
  const found = new RegExp(`\`\`\`json ${what}\n(.*?)\`\`\``, "s").exec(TEXT)?.[1];
  return JSON.parse(found ?? assert.fail(`no example of an ${what}`)) as Record<string, unknown>;
}
