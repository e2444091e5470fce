// The Extism kernel: that the committed bytes are the committed source, that it answers what the
// official kernel answers, and that no sequence of operations breaks its allocator.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import fc from "fast-check";
import { KERNEL_BASE64 } from "../../../sandbox/kernel-bytes.ts";
import { compileKernel, Kernel, KERNEL_BYTES_TOP } from "../../../sandbox/kernel.ts";
import { assembleKernel, kernelBytesFile } from "../../support/assemble-kernel.ts";

type Calls = {
  alloc(length: bigint): bigint;
  free(handle: bigint): void;
  length(handle: bigint): bigint;
  length_unsafe(handle: bigint): bigint;
  load_u8(pointer: bigint): number;
  load_u64(pointer: bigint): bigint;
  store_u8(pointer: bigint, value: number): void;
  store_u64(pointer: bigint, value: bigint): void;
  input_length(): bigint;
  input_offset(): bigint;
  input_load_u8(offset: bigint): number;
  input_load_u64(offset: bigint): bigint;
  output_set(pointer: bigint, length: bigint): void;
  error_set(handle: bigint): void;
  error_get(): bigint;
};

const module = compileKernel();

function openKernel(bytesMax = 1024 * 1024): { kernel: Kernel; calls: Calls } {
  const kernel = new Kernel(module, bytesMax, () => {});
  return { kernel, calls: kernel.exports as unknown as Calls };
}

test("the committed bytes are what the committed source assembles to", async () => {
  const bytes = await assembleKernel();
  assert.equal(KERNEL_BASE64, Buffer.from(bytes).toString("base64"));
  const file = readFileSync(new URL("../../../sandbox/kernel-bytes.ts", import.meta.url), "utf8");
  assert.equal(file, kernelBytesFile(bytes));
});

const U64_TOP = (1n << 64n) - 1n;

// What a guest asks -> what it is told, after `begin("abcdefghij")` in a kernel of 1 MiB.
const SEMANTICS: [string, (c: Calls, k: Kernel) => unknown, unknown][] = [
  ["alloc of nothing is no block", (c) => c.alloc(0n), 0n],
  ["alloc of more than the memory fails", (c) => c.alloc(1024n * 1024n + 1n), 0n],
  ["alloc of 2^32 fails", (c) => c.alloc(1n << 32n), 0n],
  ["alloc of 2^32 + 8 fails", (c) => c.alloc((1n << 32n) + 8n), 0n],
  ["alloc of 2^63 fails", (c) => c.alloc(1n << 63n), 0n],
  ["alloc of 2^64 - 1 fails", (c) => c.alloc(U64_TOP), 0n],
  ["a block has the length asked for", (c) => c.length(c.alloc(13n)), 13n],
  ["the quick length is the same", (c) => c.length_unsafe(c.alloc(13n)), 13n],
  ["no handle has no length", (c) => c.length(0n), 0n],
  ["a pointer into a block has no length", (c) => c.length(c.alloc(64n) + 16n), 0n],
  ["an odd pointer has no length", (c) => c.length(c.alloc(64n) + 1n), 0n],
  ["a length far away is 0", (c) => c.length(U64_TOP), 0n],
  ["a length 2^32 above a block is 0", (c) => c.length(c.alloc(8n) + (1n << 32n)), 0n],
  [
    "a freed block has no length",
    (c) => {
      const block = c.alloc(8n);
      c.free(block);
      return c.length(block);
    },
    0n,
  ],
  ["the input's length", (c) => c.input_length(), 10n],
  ["the input is a block", (c) => c.length(c.input_offset()), 10n],
  ["the first byte of the input", (c) => c.input_load_u8(0n), 0x61],
  ["the last byte of the input", (c) => c.input_load_u8(9n), 0x6a],
  ["a byte past the input is 0", (c) => c.input_load_u8(10n), 0],
  ["a byte far past the input is 0", (c) => c.input_load_u8(U64_TOP), 0],
  ["the last whole word of the input", (c) => c.input_load_u64(2n), 0x6a69686766656463n],
  ["a word that crosses the end is 0", (c) => c.input_load_u64(3n), 0n],
  ["a word far past the input is 0", (c) => c.input_load_u64(U64_TOP - 3n), 0n],
  ["the input is readable as memory", (c) => c.load_u8(c.input_offset() + 1n), 0x62],
  ["address 0 reads as 0", (c) => c.load_u8(0n), 0],
  ["the bookkeeping reads as 0", (c) => c.load_u64(0n) + c.load_u64(64n) + c.load_u64(1024n), 0n],
  ["past everything reads as 0", (c) => c.load_u8(1n << 40n), 0],
  ["a word at the top of the address space reads as 0", (c) => c.load_u64(U64_TOP - 6n), 0n],
  [
    "what is stored is read back",
    (c) => {
      const block = c.alloc(9n);
      c.store_u64(block, 0x1122334455667788n);
      c.store_u8(block + 8n, 0x1ff);
      return [c.load_u64(block + 1n), c.load_u8(block + 8n)];
    },
    [0xff11223344556677n, 0xff],
  ],
  [
    "a store into the bookkeeping is dropped",
    (c) => {
      const block = c.alloc(8n);
      for (let at = 0n; at < 2048n; at += 8n) c.store_u64(at, U64_TOP);
      for (let at = 0n; at < 2048n; at++) c.store_u8(at, 255);
      return [c.length(block), c.input_length(), c.alloc(8n) > block];
    },
    [8n, 10n, true],
  ],
  [
    "freeing the input takes its length away",
    (c) => {
      c.free(c.input_offset());
      return [c.input_length(), c.input_load_u8(0n)];
    },
    [0n, 0],
  ],
  [
    "freeing twice, freeing nothing and freeing nonsense do nothing",
    (c) => {
      const block = c.alloc(8n);
      for (const handle of [block, block, 0n, 7n, block + 1n, U64_TOP]) c.free(handle);
      return c.length(c.alloc(8n));
    },
    8n,
  ],
  ["no output at first", (c, k) => [c.error_get(), k.outputLength], [0n, 0]],
  [
    "the output is the range set last",
    (c, k) => {
      c.output_set(c.input_offset(), 10n);
      c.output_set(c.input_offset() + 2n, 3n);
      return Buffer.from(k.output()).toString();
    },
    "cde",
  ],
  [
    "an output out of reach is ignored",
    (c, k) => {
      c.output_set(c.input_offset(), 2n);
      c.output_set(c.input_offset(), 1n << 20n);
      c.output_set(c.input_offset(), U64_TOP);
      c.output_set(8n, 4n);
      c.output_set(U64_TOP, 4n);
      return Buffer.from(k.output()).toString();
    },
    "ab",
  ],
  [
    "an empty output clears the one before",
    (c, k) => {
      c.output_set(c.input_offset(), 2n);
      c.output_set(0n, 0n);
      return k.outputLength;
    },
    0,
  ],
  [
    "an error is read back and taken back",
    (c, k) => {
      c.error_set(c.input_offset());
      const seen = [k.hasError, k.error(100), k.error(4)];
      c.error_set(0n);
      return [...seen, k.hasError];
    },
    [true, "abcdefghij", "abcd", false],
  ],
  [
    "an error out of reach is ignored",
    (c, k) => {
      c.error_set(5n);
      c.error_set(U64_TOP);
      return [k.hasError, c.error_get()];
    },
    [false, 0n],
  ],
];

for (const [name, ask, expected] of SEMANTICS) {
  test(`kernel: ${name}`, () => {
    const { kernel, calls } = openKernel();
    assert.equal(kernel.begin("abcdefghij"), true);
    const answer = ask(calls, kernel);
    assert.deepEqual(unsigned(answer), expected);
  });
}

// JavaScript sees an i64 as signed.
function unsigned(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(unsigned);
  return typeof value === "bigint" ? BigInt.asUintN(64, value) : value;
}

test("the whole memory can be had in one block, and not a byte more", () => {
  for (const bytes of [16, 4_096, 70_000 - (70_000 % 16), 1024 * 1024, KERNEL_BYTES_TOP]) {
    const { kernel, calls } = openKernel(bytes);
    const block = calls.alloc(BigInt(bytes));
    assert.equal(calls.length(block), BigInt(bytes));
    calls.store_u8(block + BigInt(bytes) - 1n, 7);
    assert.equal(calls.load_u8(block + BigInt(bytes) - 1n), 7);
    assert.equal(calls.alloc(1n), 0n);
    assert.equal(kernel.failedAllocs, 1);
    kernel.begin(null);
    assert.equal(calls.alloc(BigInt(bytes) + 1n), 0n);
  }
});

test("an input that does not fit is refused, and the kernel stays usable", () => {
  const { kernel, calls } = openKernel(4_096);
  assert.equal(kernel.begin("x".repeat(4_097)), false);
  assert.equal(kernel.begin(new Uint8Array(4_097)), false);
  assert.equal(kernel.begin("x".repeat(4_096)), true);
  assert.equal(calls.input_length(), 4_096n);
});

test("freed blocks serve again when nothing fresh is left", () => {
  const { calls } = openKernel(4_096);
  const blocks: bigint[] = [];
  for (let block = calls.alloc(64n); block !== 0n; block = calls.alloc(64n)) blocks.push(block);
  assert.equal(blocks.length, 64);
  calls.free(blocks[10]);
  calls.free(blocks[20]);
  assert.equal(calls.alloc(200n), 0n);
  assert.equal(calls.alloc(30n), blocks[20]);
  assert.equal(calls.alloc(64n), blocks[10]);
  assert.equal(calls.alloc(1n), 0n);
});

test("no byte of one call is visible to the next", () => {
  const { kernel, calls } = openKernel(65_536);
  kernel.begin("canary-in-the-input".repeat(50));
  const block = calls.alloc(30_000n);
  for (let at = 0n; at < 30_000n; at += 8n) calls.store_u64(block + at, 0x7972616e6163n);
  // Stores just past the last block must not outlive the call either.
  for (let at = 0n; at < 64n; at++) calls.store_u8(block + 30_000n + at, 0x63);
  calls.output_set(block, 100n);
  calls.error_set(block);
  kernel.begin(null);
  assert.deepEqual([kernel.outputLength, kernel.hasError, calls.input_length()], [0, false, 0n]);
  assert.equal(calls.length(block), 0n);
  const all = calls.alloc(65_536n);
  assert.notEqual(all, 0n);
  for (let at = -64n; at < 65_536n; at += 8n) assert.equal(calls.load_u64(all + at), 0n);
});

test("text goes through unchanged, whatever it is made of", () => {
  const { kernel } = openKernel();
  const texts = [
    "a",
    "authorization",
    "x".repeat(16),
    "x".repeat(17),
    "x".repeat(5_000),
    "é",
    "ab",
  ];
  texts.push(
    "sixteen chars äö",
    "\u{1f600}",
    "日本語".repeat(100),
    "\ufeffbom",
    "nul\0nul",
    "\x7f",
  );
  for (const text of [...texts, ...texts]) {
    kernel.begin(null);
    const handle = kernel.writeString(text);
    assert.equal(kernel.lengthOf(handle), Buffer.byteLength(text));
    assert.equal(kernel.readString(handle), text);
    assert.equal(Buffer.from(kernel.readBytes(handle)).toString(), text);
  }
  assert.equal(kernel.writeString(""), 0n);
  assert.equal(kernel.readString(0n), "");
  assert.equal(kernel.readString(kernel.writeString("a\ud800b")), "a\ufffdb");
});

test("any text read twice is the same, also where cache slots collide", () => {
  const { kernel } = openKernel();
  fc.assert(
    fc.property(
      fc.array(fc.string({ maxLength: 24, unit: "grapheme" }), { maxLength: 40 }),
      (texts) => {
        kernel.begin(null);
        const handles = texts.map((text) => kernel.writeString(text));
        for (let round = 0; round < 2; round++) {
          handles.forEach((handle, i) => assert.equal(kernel.readString(handle), texts[i]));
        }
      },
    ),
    { numRuns: 200 },
  );
});

test("any sequence of operations keeps live blocks apart, whole and known", () => {
  const operation = fc.record({
    kind: fc.constantFrom("alloc", "alloc", "alloc", "free", "wild-free", "wild-store"),
    size: fc.oneof(fc.nat(40), fc.nat(300), fc.nat(5_000)),
    pick: fc.nat(),
  });
  fc.assert(
    fc.property(fc.array(operation, { minLength: 1, maxLength: 150 }), (operations) => {
      const { calls } = openKernel(16_384);
      const live = new Map<bigint, { size: number; mark: number }>();
      operations.forEach(({ kind, size, pick }, step) => {
        const handles = [...live.keys()];
        const chosen = handles[pick % Math.max(handles.length, 1)];
        if (kind === "alloc") {
          const block = calls.alloc(BigInt(size));
          if (block === 0n) return;
          assert.ok(!live.has(block) && size > 0);
          const mark = step & 255;
          live.set(block, { size, mark });
          for (let i = 0; i < size; i++) calls.store_u8(block + BigInt(i), mark);
        } else if (kind === "free" && chosen !== undefined) {
          calls.free(chosen);
          live.delete(chosen);
        } else if (kind === "wild-free") {
          if (!live.has(BigInt(pick))) calls.free(BigInt(pick));
        } else if (kind === "wild-store") {
          // Below the data: bookkeeping, which no store may reach.
          calls.store_u64(BigInt(pick % 4_000), -1n);
        }
        for (const [block, { size: length, mark: byte }] of live) {
          assert.equal(calls.length(block), BigInt(length));
          assert.equal(calls.load_u8(block), byte);
          assert.equal(calls.load_u8(block + BigInt(length) - 1n), byte);
        }
      });
    }),
    { numRuns: 150 },
  );
});
