// What prepareModule refuses and what it lets through. Each hostile module has its own code and its
// own sentence; a module that is let through is bounded, whatever it asked for.

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import {
  DEFAULT_SANDBOX_LIMITS,
  digestOf,
  prepareModule,
  SandboxError,
  type SandboxErrorCode,
  type SandboxLimits,
  type Signature,
} from "../../../sandbox/sandbox.ts";
import { openMetered } from "../../support/metered.ts";
import { watAssembler } from "../../support/wat.ts";

const wat = await watAssembler();
const hostFunctions = new Map<string, Signature>([
  ["header_get", { params: ["i64"], results: ["i64"] }],
]);

type Bounds = { -readonly [K in keyof SandboxLimits]?: SandboxLimits[K] };

function prepare(bytes: Uint8Array, limits: Bounds = {}) {
  return prepareModule(bytes, {
    limits: { ...DEFAULT_SANDBOX_LIMITS, ...limits },
    hostFunctions,
    requiredExports: ["on_request", "on_response"],
  });
}

/** A module with an entry point and whatever else the test wants. */
function guest(rest: string, body = "i32.const 0"): Uint8Array {
  return wat(`(module ${rest} (func (export "on_request") (result i32) ${body}))`, false);
}

const PREAMBLE = [0, 0x61, 0x73, 0x6d, 1, 0, 0, 0];
const raw = (...rest: number[]) => Uint8Array.from([...PREAMBLE, ...rest]);

function custom(name: string, content: string): Uint8Array {
  const body = [name.length, ...Buffer.from(name), ...Buffer.from(content)];
  const size = [(body.length & 127) | 128, body.length >> 7];
  return Uint8Array.from([...guest(""), 0, ...size, ...body]);
}

/** A module whose only function is this body, locals included. */
function bodyOf(...body: number[]): Uint8Array {
  const type = [1, 5, 1, 0x60, 0, 1, 0x7f];
  const exported = [7, 14, 1, 10, ...Buffer.from("on_request"), 0, 0];
  const code = [10, body.length + 2, 1, body.length, ...body];
  return raw(...type, 3, 2, 1, 0, ...exported, ...code);
}

type Refusal = [string, () => Uint8Array, SandboxErrorCode, RegExp, Bounds?];

const REFUSALS: Refusal[] = [
  ["nothing at all", () => new Uint8Array(), "invalid_module", /upload of 0 bytes .* magic/],
  ["text", () => Buffer.from("<html></html>"), "invalid_module", /upload of 13 bytes .* magic/],
  [
    "a later version",
    () => Uint8Array.from([0, 97, 115, 109, 2, 0, 0, 0]),
    "invalid_module",
    /version 2/,
  ],
  [
    "a component",
    () => Uint8Array.from([0, 97, 115, 109, 13, 0, 1, 0]),
    "feature_denied",
    /the component model/,
  ],
  ["a section cut short", () => raw(1, 200, 1, 0), "invalid_module", /ends early/],
  [
    "a length of 6 bytes",
    () => raw(1, 255, 255, 255, 255, 255, 1),
    "invalid_module",
    /more than 32 bits/,
  ],
  [
    "bytes after a section",
    () => raw(1, 5, 1, 0x60, 0, 0, 9),
    "invalid_module",
    /left over in section 1/,
  ],
  ["an unknown section", () => raw(40, 0), "feature_denied", /unknown section 40/],
  ["sections out of order", () => raw(3, 1, 0, 1, 1, 0), "invalid_module", /not valid: /],
  ["a name that is not UTF-8", () => raw(0, 3, 2, 0xff, 0xfe), "invalid_module", /not UTF-8/],
  [
    "a type error",
    () => guest("", "i64.const 0"),
    "invalid_module",
    /not valid: .*on_request|not valid: .*type/,
  ],
  [
    "a store to a global that is not there",
    () => bodyOf(0, 0x41, 0, 0x24, 3, 0x41, 0, 0x0b),
    "invalid_module",
    /not valid: .*lobal/,
  ],
  [
    "a file too large",
    () => guest(""),
    "too_large",
    /is \d+ bytes long; 20 are allowed/,
    { moduleBytesMax: 20 },
  ],
  ["a GC struct", () => guest("(type (struct (field i32)))"), "feature_denied", /GC types/],
  [
    "a GC instruction",
    () => bodyOf(0, 0x41, 1, 0xfb, 0x1c, 0x1a, 0x41, 0, 0x0b),
    "feature_denied",
    /GC instructions/,
  ],
  [
    "typed references",
    () => raw(1, 6, 1, 0x60, 1, 0x64, 0x70, 0),
    "feature_denied",
    /typed references/,
  ],
  ["exception types", () => guest("(tag)"), "feature_denied", /tag section/],
  [
    "a try block",
    () => bodyOf(0, 0x1f, 0x40, 0, 0x0b, 0x41, 0, 0x0b),
    "feature_denied",
    /uses exception handling \(/,
  ],
  [
    "exception references",
    () => raw(1, 5, 1, 0x60, 1, 0x69, 0),
    "feature_denied",
    /exception references/,
  ],
  [
    "shared memory",
    () => guest("(memory 1 1 shared)"),
    "feature_denied",
    /threads \(a shared memory/,
  ],
  [
    "an atomic instruction",
    () => guest("(memory 1)", "(i32.atomic.load (i32.const 0))"),
    "feature_denied",
    /threads and atomics/,
  ],
  ["64-bit memory", () => guest("(memory i64 1)"), "feature_denied", /a 64-bit memory/],
  ["two memories", () => guest("(memory 1) (memory 1)"), "feature_denied", /multiple memories/],
  [
    "a memory index on a load",
    () => bodyOf(0, 0x41, 0, 0x28, 0x42, 0, 0, 0x0b),
    "feature_denied",
    /multiple memories/,
  ],
  [
    "relaxed SIMD",
    () =>
      guest(
        "",
        `(i32x4.extract_lane 0 (i8x16.relaxed_swizzle
           (v128.const i32x4 0 0 0 0) (v128.const i32x4 0 0 0 0)))`,
      ),
    "feature_denied",
    /relaxed SIMD/,
  ],
  [
    "a call by typed reference",
    () => bodyOf(0, 0x14, 0, 0x0b),
    "feature_denied",
    /typed function references/,
  ],
  ["an unknown instruction", () => bodyOf(0, 0xf0, 0x0b), "feature_denied", /instruction 0xf0/],
  ["an unknown long instruction", () => bodyOf(0, 0xfc, 19, 0x0b), "feature_denied", /0xfc 19/],
  [
    "an imported memory",
    () => guest(`(import "env" "memory" (memory 1))`),
    "import_kind",
    /imports the memory "env" "memory"/,
  ],
  [
    "an imported table",
    () => guest(`(import "env" "t" (table 1 funcref))`),
    "import_kind",
    /imports the table/,
  ],
  [
    "an imported global",
    () => guest(`(import "env" "g" (global i32))`),
    "import_kind",
    /imports the global/,
  ],
  [
    "an import from elsewhere",
    () => guest(`(import "node:fs" "readFileSync" (func))`),
    "import_denied",
    /"node:fs" "readFileSync"; only extism:host\/env/,
  ],
  [
    "a kernel function that guests may not have",
    () => guest(`(import "extism:host/env" "begin" (func (param i32) (result i32)))`),
    "import_denied",
    /"begin"; "extism:host\/env" has no such function/,
  ],
  [
    "a host function that is not granted",
    () => guest(`(import "extism:host/user" "kv_get" (func (param i64) (result i64)))`),
    "import_denied",
    /"kv_get"; "extism:host\/user" has no such function/,
  ],
  [
    "a property of objects as a name",
    () => guest(`(import "extism:host/user" "__proto__" (func))`),
    "import_denied",
    /"__proto__"/,
  ],
  [
    "an import of another type",
    () => guest(`(import "extism:host/env" "alloc" (func (param i32) (result i32)))`),
    "import_denied",
    /as \(i32\) -> i32; it is \(i64\) -> i64/,
  ],
  [
    "a large initial memory",
    () => guest("(memory 65)"),
    "limit_exceeded",
    /pages of 65; 64 is allowed/,
  ],
  [
    "a large initial table",
    () => guest("(table 10001 funcref)"),
    "limit_exceeded",
    /table .* of 10001/,
  ],
  [
    "two tables",
    () => guest("(table 1 funcref) (table 1 funcref)"),
    "limit_exceeded",
    /tables of 2/,
  ],
  [
    "40,000 locals",
    () => bodyOf(1, 0xc0, 0xb8, 2, 0x7f, 0x41, 0, 0x0b),
    "limit_exceeded",
    /locals of 40000; 4096/,
  ],
  [
    "locals whose sum wraps 32 bits",
    () => bodyOf(2, 0xff, 0xff, 0xff, 0xff, 15, 0x7f, 2, 0x7f, 0x41, 0, 0x0b),
    "limit_exceeded",
    /locals of 4294967295/,
  ],
  [
    "a large function",
    () => guest("", `${"nop ".repeat(300)} i32.const 0`),
    "limit_exceeded",
    /function with a size in bytes of 304/,
    { functionBytesMax: 200 },
  ],
  [
    "a large code section",
    () => guest("", `${"nop ".repeat(300)} i32.const 0`),
    "limit_exceeded",
    /code section/,
    { codeBytesMax: 200 },
  ],
  [
    "many functions",
    () => guest("(func)".repeat(20)),
    "limit_exceeded",
    /number of functions of 21; 20/,
    { functionsMax: 20 },
  ],
  [
    "many exports",
    () => guest(Array.from({ length: 1_024 }, (_, i) => `(func (export "f${i}"))`).join(" ")),
    "limit_exceeded",
    /number of exports of 1025/,
  ],
  [
    "a long export name",
    () => guest(`(func (export "${"x".repeat(1_025)}"))`),
    "limit_exceeded",
    /export's name of 1025 bytes/,
  ],
  [
    "a reserved export",
    () => guest(`(func (export "sallyport:fuel"))`),
    "reserved_export",
    /"sallyport:fuel"/,
  ],
  [
    "no entry point",
    () => wat(`(module (func (export "main")))`),
    "missing_export",
    /no function on_request or/,
  ],
  [
    "an entry point that is no function",
    () => wat(`(module (memory (export "on_request") 1))`),
    "missing_export",
    /on_request as a memory/,
  ],
  [
    "an entry point of the wrong type",
    () => wat(`(module (func (export "on_request") (param i32)))`),
    "missing_export",
    /as \(i32\) -> \(\); \(\) -> i32/,
  ],
  [
    "data outside the memory",
    () => guest(`(memory 1) (data (i32.const 65530) "0123456789")`),
    "init_failed",
    /a data segment of 10 at 65530/,
  ],
  [
    "data at a negative offset",
    () => guest(`(memory 1) (data (i32.const -4) "0123")`),
    "init_failed",
    /at 4294967292/,
  ],
  [
    "functions outside the table",
    () => guest(`(table 1 funcref) (func $f) (elem (i32.const 1) $f)`),
    "init_failed",
    /a segment of functions of 1 at 1/,
  ],
  ["a manifest that is not JSON", () => custom("sallyport", "{"), "bad_manifest", /not JSON/],
];

test("every hostile module is refused with its own code and reason", async (t) => {
  const sentences = new Map<string, string>();
  for (const [name, make, code, reason, limits] of REFUSALS) {
    await t.test(name, () => {
      const bytes = make();
      try {
        prepare(bytes, limits);
      } catch (error) {
        assert.ok(error instanceof SandboxError, String(error));
        assert.equal(error.code, code, error.message);
        assert.match(error.message, reason);
        assert.match(error.message, /^The .*\.$/s, "a sentence");
        const other = sentences.get(error.message);
        assert.ok(other === undefined, `${name} and ${other} say the same: ${error.message}`);
        sentences.set(error.message, name);
        return;
      }
      assert.fail("was let through");
    });
  }
});

test("each limit admits a module that is exactly at it", () => {
  const atLimit: [Uint8Array, Bounds][] = [
    [guest("(memory 64)"), {}],
    [guest("(table 10000 funcref)"), {}],
    [bodyOf(1, 0x80, 0x20, 0x7f, 0x41, 0, 0x0b), {}],
    [guest("(func)".repeat(19)), { functionsMax: 20 }],
    [guest("", `${"nop ".repeat(300)} i32.const 0`), { functionBytesMax: 304 }],
    [guest(""), { moduleBytesMax: guest("").length }],
  ];
  for (const [bytes, limits] of atLimit)
    assert.equal(prepare(bytes, limits).exports.length > 0, true);
});

test("what SIMD, bulk memory, tail calls and several results need is admitted", () => {
  const bytes = guest(
    `(memory 1) (table 4 funcref) (data $d "abc") (elem $e func $two)
     (global $g (mut i32) (i32.add (i32.const 1) (i32.const 2)))
     (type $pair (func (result i32 i64)))
     (func $two (result i32 i64) (i32.const 1) (i64.const 2))
     (func $tail (result i32) (return_call $last))
     (func $last (result i32)
       (memory.init $d (i32.const 0) (i32.const 0) (i32.const 3)) (data.drop $d)
       (memory.copy (i32.const 8) (i32.const 0) (i32.const 3))
       (memory.fill (i32.const 8) (i32.const 0) (i32.const 3))
       (table.init $e (i32.const 0) (i32.const 0) (i32.const 1)) (elem.drop $e)
       (drop (table.grow (ref.null func) (i32.const 1)))
       (drop (ref.is_null (table.get (i32.const 0))))
       (drop (i32.trunc_sat_f64_s (f64.const 1.5)))
       (drop (i32.extend8_s (i32.const 200)))
       (v128.store (i32.const 16) (i8x16.shuffle 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15
         (v128.load (i32.const 0)) (v128.const i64x2 1 2)))
       (v128.store8_lane 3 (i32.const 0) (v128.load (i32.const 0)))
       (block (br_table 0 0 0 (i32.const 1)))
       (block (result i32 i64) (call_indirect (type $pair) (i32.const 0))) (drop) (drop)
       (select (result i32) (i32.const 1) (i32.const 2) (i32.const 3)))`,
    "(call $tail)",
  );
  const { exports } = openMetered(prepare(bytes).bytes);
  const added = ["sallyport:fuel", "sallyport:stack", "sallyport:refuel"];
  assert.deepEqual(Object.keys(exports), ["on_request", ...added]);
});

test("growth of memory and table stops at the limits, whatever the module declares", () => {
  for (const [memory, table] of [
    ["1", "1"],
    ["1 65536", "1 4000000"],
  ]) {
    const bytes = guest(
      `(memory (export "memory") ${memory}) (table ${table} funcref)
       (func (export "memory_grow") (result i32) (memory.grow (i32.const 63)))
       (func (export "memory_one") (result i32) (memory.grow (i32.const 1)))
       (func (export "table_grow") (result i32) (table.grow (ref.null func) (i32.const 9999)))
       (func (export "table_one") (result i32) (table.grow (ref.null func) (i32.const 1)))`,
    );
    const prepared = prepare(bytes);
    assert.equal(prepared.digest, digestOf(bytes));
    const { call } = openMetered(prepared.bytes);
    assert.deepEqual(
      ["memory_grow", "memory_one", "table_grow", "table_one"].map(call),
      [1, -1, 1, -1],
    );
  }
});

test("a smaller maximum of the module's own is kept", () => {
  const bytes = guest(
    `(memory 1 2) (func (export "grow") (result i32) (memory.grow (i32.const 2)))`,
  );
  assert.equal(openMetered(prepare(bytes).bytes).call("grow"), -1);
});

test("exports, imports and the manifest are reported", () => {
  const prepared = prepare(
    Uint8Array.from([
      ...guest(
        `(import "extism:host/env" "alloc" (func (param i64) (result i64)))
         (import "extism:host/user" "header_get" (func (param i64) (result i64)))
         (import "env" "abort" (func (param i32 i32 i32 i32)))
         (import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32)))
         (memory (export "memory") 1)`,
      ),
    ]),
  );
  assert.deepEqual(prepared.exports, ["on_request"]);
  assert.deepEqual(prepared.imports, [
    "extism:host/env.alloc",
    "extism:host/user.header_get",
    "env.abort",
    "wasi_snapshot_preview1.fd_write",
  ]);
  assert.equal(prepared.manifest, null);
  const manifest = { name: "authz", version: "1.2.0", abi: 1, input: "lazy", needs: ["body"] };
  assert.deepEqual(prepare(custom("sallyport", JSON.stringify(manifest))).manifest, {
    ...manifest,
    limits: {},
    configSchema: null,
    description: "",
  });
});

test("no random module and no flipped bit does worse than a SandboxError", () => {
  const base = guest(
    `(import "extism:host/env" "alloc" (func (param i64) (result i64)))
     (memory 1) (table 2 funcref) (global i32 (i32.const 1)) (data (i32.const 0) "hello")
     (func $f (local i32 i64) (loop (br_if 0 (i32.const 0)))) (elem (i32.const 0) $f) (export "f" (func $f))`,
  );
  const survives = (bytes: Uint8Array) => {
    try {
      prepare(bytes);
    } catch (error) {
      assert.ok(error instanceof SandboxError, String((error as Error).stack));
    }
  };
  const flips = fc.array(fc.tuple(fc.nat(base.length - 9), fc.nat(255)), { maxLength: 6 });
  fc.assert(
    fc.property(flips, (changes) => {
      const bytes = Uint8Array.from(base);
      for (const [at, value] of changes) bytes[at + 8] = value;
      survives(bytes);
    }),
    { numRuns: 3_000 },
  );
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 60 }), (tail) => survives(raw(...tail))),
    {
      numRuns: 2_000,
    },
  );
});
