// Where a body is charged, how much, and how much room its operands take. The tables over opcodes are
// compared with one written from the specification (test/fuzz/instructions.ts).

import assert from "node:assert/strict";
import { test } from "node:test";
import {
  BodyScan,
  CHARGE,
  CHARGE_BYTES,
  CHARGE_ENTRIES,
  LEAVE,
} from "../../../sandbox/body-scan.ts";
import {
  FUEL,
  miscellaneousDelta,
  miscellaneousFuel,
  STACK_DELTA,
  vectorDelta,
  vectorFuel,
} from "../../../sandbox/costs.ts";
import { Reader } from "../../../sandbox/reader.ts";
import { INSTRUCTIONS, type Instruction } from "../../fuzz/instructions.ts";
import { watAssembler } from "../../support/wat.ts";

const wat = await watAssembler();

const SHAPE = {
  types: [
    { params: 0, results: 1 },
    { params: 1, results: 0 },
    { params: 2, results: 3 },
    { params: 0, results: 3 },
  ],
  functions: [0, 1, 2],
  importedFunctions: 0,
};
const HEAD = `(type (func (result i32))) (type (func (param i32)))
  (type (func (param i32 i32) (result i32 i32 i32))) (type (func (result i32 i32 i32)))
  (memory 1) (table 1 funcref) (elem declare func 0)`;

/** Scans the body, which is given as text and is the first function's. */
function scan(body: string): BodyScan {
  const bytes = wat(
    `(module ${HEAD} (func (type 0) (local i32) ${body}) (func (type 1)) (func (type 2) unreachable))`,
  );
  const found = new BodyScan(SHAPE);
  const reader = new Reader(bytes, 8, bytes.length);
  for (;;) {
    const id = reader.u8();
    const section = reader.slice(reader.u32());
    if (id !== 10) continue;
    section.u32();
    const code = section.slice(section.u32());
    // One group of locals.
    code.skip(3);
    found.scan(code);
    return found;
  }
}

test("what each instruction does to the operand stack is what the specification says", () => {
  const deltaOf = ({ prefix, opcode }: Instruction) => {
    if (prefix === 0) return STACK_DELTA[opcode];
    return prefix === 0xfc ? miscellaneousDelta(opcode) : vectorDelta(opcode);
  };
  const wrong = INSTRUCTIONS.filter(
    (instruction) => deltaOf(instruction) !== instruction.gives.length - instruction.takes.length,
  );
  assert.deepEqual(wrong, []);
  assert.equal(INSTRUCTIONS.length, 128 + 23 + 8 + 234, "all of them");
});

test("each instruction that does something costs something", () => {
  const free = INSTRUCTIONS.filter(({ prefix, opcode }) => {
    if (prefix === 0) return FUEL[opcode] < 1;
    return (prefix === 0xfc ? miscellaneousFuel(opcode) : vectorFuel(opcode)) < 1;
  });
  assert.deepEqual(free, []);
});

const HEIGHTS: [name: string, body: string, most: number][] = [
  ["operands of one instruction", "i32.const 1 i32.const 2 i32.add", 2],
  [
    "operands that wait below a block",
    "i32.const 1 (block (result i32) i32.const 2 i32.const 3 i32.add) i32.add",
    3,
  ],
  ["the operands of a call", "i32.const 1 i32.const 2 (call 2) drop drop", 3],
  [
    "the results of a block",
    "(block (result i32 i32 i32) (call 2 (i32.const 1) (i32.const 2))) drop drop",
    3,
  ],
  [
    "both arms",
    "(if (result i32) (i32.const 1) (then i32.const 1 i32.const 2 drop) (else i32.const 3))",
    2,
  ],
  ["a loop's parameters", "i32.const 1 (loop (param i32) drop) i32.const 1", 1],
  ["behind a branch", "(block (result i32) i32.const 1 (br 0) i32.add) i32.const 2 i32.add", 2],
  [
    "behind unreachable code in a block",
    "i32.const 1 (block unreachable i32.add drop) i32.const 2 i32.add",
    2,
  ],
  [
    "a store and a fill",
    "(i32.store (i32.const 1) (i32.const 2)) (memory.fill (i32.const 0) (i32.const 0) (i32.const 0)) i32.const 1",
    3,
  ],
  [
    "table instructions",
    "(table.fill (i32.const 0) (ref.null func) (i32.const 0)) (table.grow (ref.func 0) (i32.const 0))",
    3,
  ],
  ["a select", "(select (i32.const 1) (i32.const 2) (i32.const 3))", 3],
];

test("the room of the operands is what they take at most", async (t) => {
  for (const [name, body, most] of HEIGHTS) {
    await t.test(name, () => assert.equal(scan(body).heightMax, most));
  }
});

// Kinds of the places, in order, and what the charges among them cost.
const PLACES: [name: string, body: string, kinds: number[], costs: number[]][] = [
  ["straight code", "i32.const 1 drop i32.const 2", [CHARGE], [3]],
  ["blocks", "(block (block nop i32.const 1 drop)) i32.const 2", [CHARGE], [3]],
  [
    "the dearer arm",
    "(if (i32.const 1) (then nop) (else i32.const 1 drop i32.const 1 drop)) i32.const 2",
    [CHARGE],
    [1 + 1 + 4 + 1],
  ],
  [
    "an if without an else",
    "(if (i32.const 1) (then i32.const 1 drop)) i32.const 2",
    [CHARGE],
    [1 + 1 + 2 + 1],
  ],
  ["a loop", "(loop i32.const 1 drop) i32.const 2", [CHARGE, CHARGE], [1, 2]],
  [
    "a loop in a loop",
    "(loop i32.const 1 drop (loop i32.const 1 drop br 0) i32.const 1 drop) i32.const 2",
    [CHARGE, CHARGE, CHARGE],
    [1, 4, 3],
  ],
  [
    "a loop in an arm",
    "(if (i32.const 1) (then (loop (br 0))) (else i32.const 1 drop)) i32.const 2",
    [CHARGE, CHARGE],
    [1 + 1 + 2 + 1, 1],
  ],
  ["return", "i32.const 1 return", [CHARGE, LEAVE], [2, 0]],
  ["a tail call", "return_call 0", [CHARGE, LEAVE], [68, 0]],
  ["a call", "call 0", [CHARGE], [68]],
  [
    "bulk operations",
    `(memory.fill (i32.const 0) (i32.const 0) (i32.const 0))
     (table.fill (i32.const 0) (ref.null func) (i32.const 0)) i32.const 1`,
    [CHARGE, CHARGE_BYTES, CHARGE_ENTRIES],
    [20 + 3 + 20 + 3 + 1, 0, 0],
  ],
  [
    "growing memory, five times in straight code",
    `${"(drop (memory.grow (i32.const 0)))".repeat(5)} i32.const 1`,
    [CHARGE, CHARGE],
    [4 * 4_002 + 1, 4_000 + 1 + 1],
  ],
];

test("a charge stands at the entry, at each loop and in long code, and covers what may follow", async (t) => {
  for (const [name, body, kinds, costs] of PLACES) {
    await t.test(name, () => {
      const { count, kind, cost } = scan(body);
      assert.deepEqual([...kind.subarray(0, count)], kinds);
      assert.deepEqual([...cost.subarray(0, count)], costs);
    });
  }
});

test("a leaf is what calls nothing, turns nowhere, moves nothing and is small", () => {
  const isLeaf = (body: string) => scan(body).isLeaf(64);
  assert.equal(isLeaf("i32.const 1"), true);
  assert.equal(isLeaf(`${"i32.const 1 drop ".repeat(31)} i32.const 1`), true);
  assert.equal(isLeaf(`${"i32.const 1 drop ".repeat(32)} i32.const 1`), false);
  assert.equal(isLeaf("(loop) i32.const 1"), false);
  assert.equal(isLeaf("call 0"), false);
  assert.equal(isLeaf("(call_indirect (type 0) (i32.const 0))"), false);
  assert.equal(isLeaf("return_call 0"), false);
  assert.equal(isLeaf("(memory.grow (i32.const 0))"), false);
  assert.equal(
    isLeaf("(memory.fill (i32.const 0) (i32.const 0) (i32.const 0)) i32.const 1"),
    false,
  );
});
