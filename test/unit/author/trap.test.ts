// From where a guest ended to its source: the source map, names of functions, and offsets of code that
// the sandbox has rewritten, on modules that are assembled here.

import assert from "node:assert/strict";
import { test } from "node:test";
import { SourceMap } from "../../../admin/cli/author/source-map.ts";
import { framesText, originalOffset, traceStack } from "../../../admin/cli/author/trap.ts";
import { readWasm, readableName } from "../../../admin/cli/author/wasm-file.ts";
import { watAssembler } from "../../support/wat.ts";

const wat = await watAssembler();

// Offsets 10, 14 (of no source), 20 and 30; the third is in the library.
const MAP = JSON.stringify({
  version: 3,
  sources: ["index.ts", "~lib/array.ts"],
  sourcesContent: ["one\ntwo\n  three", null],
  mappings: "UAAA,I,MCqBQ,UDpBE",
});

test("a source map tells the place of an offset, and of the function's own code before it", () => {
  const map = new SourceMap(MAP);
  assert.deepEqual(map.at(10, 5), { file: "index.ts", line: 1, column: 1, source: "one" });
  assert.deepEqual(map.at(12, 5), map.at(10, 5));
  assert.equal(map.at(9, 5), null, "before the first");
  assert.deepEqual(map.at(20, 5), { file: "~lib/array.ts", line: 22, column: 9, source: "" });
  assert.deepEqual(map.ownBefore(20, 5), map.at(10, 5));
  assert.equal(map.ownBefore(20, 15), null, "that is another function's");
  const last = map.at(99, 5);
  assert.deepEqual([last?.file, last?.line], ["index.ts", 2]);
  assert.deepEqual(map.firstIn({ from: 15, end: 40 }), map.at(20, 5));
  assert.equal(map.firstIn({ from: 31, end: 40 }), null);
});

test("Rust's symbols are told as paths, other names as they are", () => {
  for (const [name, shown] of [
    ["_ZN6plugin4boom17h0123456789abcdefE", "plugin::boom"],
    [
      "_ZN50_$LT$plugin..Tier$u20$as$u20$sallyport..Policy$GT$10on_request17h0123456789abcdefE",
      "_<plugin::Tier as sallyport::Policy>::on_request",
    ],
    ["index/on_request", "index/on_request"],
    ["_ZN6plugin", "_ZN6plugin"],
    ["", ""],
  ]) {
    assert.equal(readableName(name), shown);
  }
});

test("a stack names the guest's functions and lines, the innermost first, without the kernel's", () => {
  const bytes = wat(`(module
    (import "env" "abort" (func (param i32 i32 i32 i32)))
    (memory 1)
    (func $inner unreachable)
    (func $outer (export "on_request") (call 1)))`);
  const { bodies } = readWasm(bytes);
  const [inner, outer] = bodies;
  const at = (offset: number) => `0x${offset.toString(16)}`;
  const stack = [
    "RuntimeError: unreachable",
    "    at kernel (wasm://wasm/aaaa:wasm-function[3]:0x10)",
    `    at inner (wasm://wasm/bbbb:wasm-function[1]:${at(inner.from + 1 + 100)})`,
    `    at wasm://wasm/bbbb:wasm-function[2]:${at(outer.from + 1 + 100)}`,
    "    at Instance.call (file:///instance.ts:1:1)",
  ].join("\n");
  // All of the code moved by 100 bytes; memory's maximum, written before it, made that 97.
  const kept = bodies.map(({ from, end }) => ({
    to: from + 100,
    from: from + 3,
    length: end - from,
  }));
  const map = { version: 3, sources: ["index.ts"], sourcesContent: ["boom();"] };
  const mappings = `${vlq(inner.from + 1)}AAA`;
  const traced = { bytes, prepared: bytes, kept, sourceMap: JSON.stringify({ ...map, mappings }) };
  const frames = traceStack(stack, traced);
  assert.deepEqual(
    frames.map(({ function: name, place }) => [name, place?.line]),
    [
      ["function 1", 1],
      ["function 2", undefined],
    ],
  );
  assert.deepEqual(framesText(frames), [
    "  at function 1 (index.ts:1:1)",
    "  at function 2",
    "  1 | boom();",
    "      ^",
  ]);
});

test("code of the sandbox's own belongs to what follows it; without a word of it, nothing is known", () => {
  const bytes = wat('(module (func (export "f") nop nop nop))');
  const [{ from, end }] = readWasm(bytes).bodies;
  const kept = [
    { to: 200, from, length: 2 },
    { to: 210, from: from + 2, length: end - from - 2 },
  ];
  assert.equal(originalOffset(201, { bytes, kept }), from + 1);
  assert.equal(originalOffset(205, { bytes, kept }), from + 2);
  assert.equal(originalOffset(211, { bytes, kept }), from + 3);
  assert.equal(originalOffset(500, { bytes, kept }), null);
  assert.equal(originalOffset(201, { bytes, kept: [] }), null);
});

test("a file that is no module, or ends early, is a RangeError and no endless loop", () => {
  const whole = wat('(module (memory 1) (func (export "f")))');
  assert.deepEqual(readWasm(whole).memory, { min: 1, max: null });
  for (let length = 0; length < whole.length; length++) {
    try {
      readWasm(whole.subarray(0, length));
    } catch (error) {
      assert.ok(error instanceof RangeError, String(error));
    }
  }
  assert.throws(() => readWasm(Buffer.from("no module")), RangeError);
});

// A number of a source map.
function vlq(value: number): string {
  const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  let text = "";
  for (let left = value * 2; ;) {
    const low = left & 31;
    left >>>= 5;
    text += digits[left === 0 ? low : low | 32];
    if (left === 0) return text;
  }
}
