// What the rewriter writes into modules, shown by running them: results stay, every frame is given
// back, everything that can come again is paid, and nothing a module holds reaches the counters.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Reader } from "../../../sandbox/reader.ts";
import {
  DEFAULT_SANDBOX_LIMITS,
  prepareModule,
  type SandboxLimits,
} from "../../../sandbox/sandbox.ts";
import { Writer } from "../../../sandbox/writer.ts";
import { openMetered, type Metered } from "../../support/metered.ts";
import { watAssembler } from "../../support/wat.ts";

const wat = await watAssembler();

/** The most that one charge takes: two straight stretches and the dearest instruction. */
const CHARGE_MAX = 2 * 16_384 + 4_000;

function meter(module: string | Uint8Array, limits: Partial<SandboxLimits> = {}): Uint8Array {
  const bytes = typeof module === "string" ? wat(`(module ${module})`) : module;
  const options = { limits: { ...DEFAULT_SANDBOX_LIMITS, ...limits }, requiredExports: [] };
  return prepareModule(bytes, { ...options, hostFunctions: new Map() }).bytes;
}

/** A module that exports `run`, of no parameters and no results, with this body. */
function moduleOf(body: Iterable<number>, locals: readonly number[] = [0]): Uint8Array {
  const out = new Writer();
  const section = (id: number, bytes: Iterable<number>) => {
    out.u8(id);
    const at = out.reserveLength();
    for (const byte of bytes) out.u8(byte);
    out.patchLength(at);
  };
  for (const byte of [0, 0x61, 0x73, 0x6d, 1, 0, 0, 0]) out.u8(byte);
  section(1, [1, 0x60, 0, 0]);
  section(3, [1, 0]);
  section(7, [1, 3, ...Buffer.from("run"), 0, 0]);
  out.u8(10);
  const at = out.reserveLength();
  out.u8(1);
  const start = out.reserveLength();
  for (const byte of locals) out.u8(byte);
  for (const byte of body) out.u8(byte);
  out.u8(0x0b);
  out.patchLength(start);
  out.patchLength(at);
  return out.result();
}

function repeated(count: number, ...bytes: number[]): number[] {
  return Array.from({ length: count }, () => bytes).flat();
}

// Each function leaves in another way; `$deep` is what makes its caller pay for a frame.
const EXITS: [name: string, type: string, body: string, result: unknown][] = [
  ["falling off the end", "(result i32)", "(call $deep) i32.const 1", 1],
  ["return", "(result i32)", "(call $deep) (return (i32.const 2))", 2],
  [
    "return over operands",
    "(result i32)",
    "i64.const 9 (call $deep) f32.const 1 i32.const 3 return",
    3,
  ],
  ["br to the function", "(result i32)", "(call $deep) i32.const 4 br 0", 4],
  [
    "br to the function from within blocks",
    "(result i32)",
    "(block (loop (block (call $deep) (br 3 (i32.const 5))))) i32.const 0",
    5,
  ],
  ["br_if", "(result i32)", "(call $deep) i32.const 6 (br_if 0 (i32.const 1)) drop i32.const 0", 6],
  ["br_if not taken", "(result i32)", "(call $deep) i32.const 7 (br_if 0 (i32.const 0))", 7],
  [
    "br_table",
    "(result i32)",
    "(block (result i32) (call $deep) i32.const 8 (br_table 0 1 0 (i32.const 1))) drop i32.const 0",
    8,
  ],
  [
    "br_table's default",
    "(result i32)",
    "(block (result i32) (call $deep) i32.const 9 (br_table 0 0 1 (i32.const -1))) drop i32.const 0",
    9,
  ],
  [
    "an arm of an if",
    "(result i32)",
    "(call $deep) (if (i32.const 1) (then (return (i32.const 10)))) i32.const 0",
    10,
  ],
  [
    "several results",
    "(result i32 i64 f32)",
    "(call $deep) i32.const 1 i64.const 2 f32.const 3",
    [1, 2n, 3],
  ],
  [
    "several results by br",
    "(result i32 i64)",
    "(block (call $deep) i32.const 3 i64.const 4 br 1) i32.const 0 i64.const 0",
    [3, 4n],
  ],
  ["a tail call", "(result i32)", "(call $deep) (return_call $eleven)", 11],
  [
    "an indirect tail call",
    "(result i32)",
    "(return_call_indirect (result i32) (i32.const 0))",
    11,
  ],
  ["a thousand tail calls", "(result i32)", "(return_call $down (i32.const 1000))", 12],
  ["a call that went deep", "(result i32)", "(call $sum (i32.const 100))", 5_050],
  ["an indirect call", "(result i32)", "(call_indirect (result i32) (i32.const 0))", 11],
];

test("a frame is given back however a function is left, and the result is the same", async (t) => {
  const shared = `(table 1 funcref) (elem (i32.const 0) $eleven)
    (func $deep (call $nothing)) (func $nothing)
    (func $eleven (result i32) (call $deep) (i32.const 11))
    (func $down (param i32) (result i32)
      (if (local.get 0) (then (return_call $down (i32.sub (local.get 0) (i32.const 1)))))
      (i32.const 12))
    (func $sum (param i32) (result i32)
      (if (i32.eqz (local.get 0)) (then (return (i32.const 0))))
      (i32.add (local.get 0) (call $sum (i32.sub (local.get 0) (i32.const 1)))))`;
  for (const [name, type, body, result] of EXITS) {
    await t.test(name, () => {
      const bytes = meter(`${shared} (func (export "run") ${type} ${body})`);
      const metered = openMetered(bytes, { stackBytes: 100_000 });
      for (let i = 0; i < 3; i++) {
        assert.deepEqual(metered.call("run"), result);
        assert.equal(metered.stack.value, 100_000);
      }
    });
  }
});

test("a frame is paid for while it is there, with its locals, operands and instructions", () => {
  const depths = [
    "(func $f (call $f))",
    `(func $f ${"(local i32)".repeat(1_000)} (call $f))`,
    `(func $f ${"(local v128)".repeat(1_000)} (call $f))`,
    `(func $f ${"i64.const 1 ".repeat(1_000)} (call $f) ${"drop ".repeat(1_000)})`,
    `(func $f (param ${"i64 ".repeat(200)}) ${"i64.const 1 ".repeat(200)} (call $f))`,
  ].map((f) => {
    const call = f.includes("param") ? "i64.const 1 ".repeat(200) : "";
    let entered = 0;
    const refuel = ({ fuel, stack }: Metered) => {
      entered++;
      fuel.value = 0;
      if (stack.value < 0) throw new Error("deep enough");
    };
    const bytes = meter(`${f} (func (export "run") ${call} call $f)`);
    const { call: run } = openMetered(bytes, { fuel: 0, stackBytes: 262_144, refuel });
    assert.throws(() => run("run"), /deep enough/);
    return entered;
  });
  // 256 KiB by 98 bytes, by 8 KiB, by 16 KiB, by 10 KiB, by 3.5 KiB.
  for (const [i, [least, most]] of [
    [2_000, 2_800],
    [28, 34],
    [14, 18],
    [24, 30],
    [70, 90],
  ].entries()) {
    assert.ok(depths[i] >= least && depths[i] <= most, `${i}: ${depths.join()}`);
  }
});

test("every turn of a loop and every entry of a function is paid", () => {
  const bytes = meter(
    `(func (export "turns") (param i32) (loop
       (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1))))))
     (func (export "calls") (param i32) (loop (call $entered)
       (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1))))))
     (func $entered ${"(drop (i64.div_s (i64.const 4) (i64.const 2)))".repeat(50)})`,
  );
  const { exports, fuel } = openMetered(bytes);
  const used = (name: string, turns: number) => {
    const before = fuel.value;
    (exports[name] as (turns: number) => void)(turns);
    return before - fuel.value;
  };
  for (const [name, least] of [
    ["turns", 4],
    ["calls", 600],
  ] as const) {
    const one = used(name, 1);
    const turn = used(name, 2) - one;
    assert.ok(turn >= least, `${name}: ${turn} a turn`);
    assert.equal(used(name, 1_001), one + 1_000 * turn);
  }
});

test("a small leaf stays as it is, and its callers pay for it", () => {
  const leaf = "(i32.add (i32.mul (local.get 0) (i32.const 3)) (i32.const 1))";
  const bytes = meter(
    `(func $leaf (export "leaf") (param i32) (result i32) ${leaf})
     (func (export "run") (result i32) (call $leaf (i32.const 2)))`,
  );
  const { exports, fuel, call } = openMetered(bytes, { fuel: 1_000 });
  assert.equal((exports["leaf"] as (n: number) => number)(5), 16);
  assert.equal(fuel.value, 1_000);
  assert.equal(call("run"), 7);
  assert.ok(fuel.value <= 1_000 - 64, `${fuel.value} left`);
});

test("thousands of locals, which every entry zeroes, are paid", () => {
  const bytes = meter(
    `(func $wide ${"(local v128)".repeat(4_096)}) (func (export "run") (call $wide))`,
  );
  const { fuel, call } = openMetered(bytes, { fuel: 10_000 });
  call("run");
  assert.ok(fuel.value <= 10_000 - 1_000, `${fuel.value} left`);
});

test("an instance that nobody armed traps at its first charge", () => {
  const bodies = ["(call $f)", "(loop (br 0))", "(drop (memory.grow (i32.const 0)))"];
  for (const body of bodies) {
    const bytes = meter(`(memory 1) (func $f) (func (export "run") ${body})`);
    const { exports } = new WebAssembly.Instance(new WebAssembly.Module(bytes));
    assert.throws(() => (exports["run"] as () => void)(), WebAssembly.RuntimeError, body);
  }
});

test("no size of a bulk operation adds fuel or goes unpaid", () => {
  const operations = {
    "memory.fill": "(memory.fill (i32.const 0) (i32.const 0) (local.get 0))",
    "memory.copy": "(memory.copy (i32.const 0) (i32.const 0) (local.get 0))",
    "memory.init": "(memory.init $d (i32.const 0) (i32.const 0) (local.get 0))",
    "table.fill": "(table.fill (i32.const 0) (ref.null func) (local.get 0))",
    "table.copy": "(table.copy (i32.const 0) (i32.const 0) (local.get 0))",
    "table.init": "(table.init $e (i32.const 0) (i32.const 0) (local.get 0))",
    "table.grow": "(drop (table.grow (ref.null func) (local.get 0)))",
  };
  const sizes = [
    0, 1, 15, 16, 100, 65_536, 0x0c00_0000, 0x1000_0000, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff,
  ];
  for (const [name, operation] of Object.entries(operations)) {
    const bytes = meter(
      `(memory 1) (table 10 10 funcref) (data $d "abc") (elem $e func $f) (func $f)
       (func (export "run") (param i32) ${operation})`,
    );
    for (const size of sizes) {
      let taken = 0;
      const refuel = ({ fuel }: Metered) => {
        taken -= fuel.value;
        fuel.value = 0;
      };
      const { exports } = openMetered(bytes, { fuel: 0, refuel });
      let ran = true;
      try {
        (exports["run"] as (size: number) => void)(size);
      } catch (error) {
        assert.ok(error instanceof WebAssembly.RuntimeError, String(error));
        ran = false;
      }
      const least = 20 + (ran && name !== "table.grow" ? Math.floor(size / 16) : 0);
      assert.ok(taken >= least, `${name} of ${size}: ${taken}`);
    }
  }
});

test("the largest table there may be is not filled for nothing", () => {
  const bytes = meter(
    `(table 0x100000 funcref)
     (func (export "run") (table.fill (i32.const 0) (ref.null func) (i32.const 0x100000)))`,
    { tableEntriesMax: 2 ** 30 },
  );
  const { fuel, call } = openMetered(bytes);
  call("run");
  assert.ok(fuel.value <= 2 ** 30 - 2 ** 20, `${fuel.value} left`);
  assert.throws(() => meter(`(table 0x100001 funcref)`, { tableEntriesMax: 2 ** 30 }), {
    code: "limit_exceeded",
  });
});

// Straight code of up to a megabyte. All but the first run through; `br_if` leaves early.
const NOTHING = [0x41, 0, 0x1a];
const STRETCHES: [name: string, body: () => number[], leastUnits: number][] = [
  ["straight code", () => repeated(340_000, ...NOTHING), 680_000],
  [
    "100,000 nested blocks",
    () => [...repeated(100_000, 0x02, 0x40), ...repeated(100_000, ...NOTHING, 0x0b)],
    200_000,
  ],
  [
    "100,000 blocks that begin with code",
    () => [...repeated(100_000, 0x02, 0x40, ...NOTHING), ...repeated(100_000, 0x0b)],
    200_000,
  ],
  [
    "branches out of blocks over a charge",
    () =>
      repeated(40, 0x02, 0x40, ...repeated(8_000, ...NOTHING), 0x41, 1, 0x0d, 0, ...NOTHING, 0x0b),
    640_000,
  ],
  [
    "branches just behind a charge",
    () =>
      repeated(
        40,
        0x02,
        0x40,
        ...repeated(8_195, ...NOTHING),
        0x41,
        1,
        0x0d,
        0,
        ...repeated(50, ...NOTHING),
        0x0b,
      ),
    600_000,
  ],
  [
    "arms that are taken and arms that are not",
    () =>
      repeated(
        20,
        ...[0x41, 1, 0x04, 0x40, ...repeated(8_000, ...NOTHING), 0x05, ...NOTHING, 0x0b],
        ...[0x41, 0, 0x04, 0x40, ...NOTHING, 0x05, ...repeated(8_000, ...NOTHING), 0x0b],
      ),
    600_000,
  ],
  [
    "blocks in blocks, behind a charge",
    () =>
      repeated(
        40,
        ...[0x02, 0x40, ...repeated(8_400, ...NOTHING)],
        ...[0x02, 0x40, ...NOTHING, 0x0b, ...NOTHING, 0x0b],
      ),
    672_000,
  ],
  ["loops that run once", () => repeated(100_000, 0x03, 0x40, ...NOTHING, 0x0b), 200_000],
];

test("no stretch of code is long without a charge, whatever way it is run", async (t) => {
  for (const [name, body, least] of STRETCHES) {
    await t.test(name, () => {
      let total = 0;
      let dearest = 0;
      const refuel = ({ fuel }: Metered) => {
        total -= fuel.value;
        dearest = Math.max(dearest, -fuel.value);
        fuel.value = 0;
      };
      openMetered(meter(moduleOf(body())), { fuel: 0, refuel }).call("run");
      assert.ok(total >= least, `${total} units in all`);
      assert.ok(dearest <= CHARGE_MAX, `${dearest} units at once`);
    });
  }
});

test("a function that V8 would not take with its bounds written in is refused as too large", () => {
  const bytes = moduleOf(repeated(348_000, 0x03, 0x40, 0x0b));
  assert.throws(() => meter(bytes), {
    code: "limit_exceeded",
    message: /function of \d+ bytes with its bounds written in; 7654321/,
  });
});

/** The contents of all sections with this id, and their name if they are custom. */
function sections(bytes: Uint8Array, wanted: number): { name: string; reader: Reader }[] {
  const found = [];
  const reader = new Reader(bytes, 8, bytes.length);
  while (!reader.done) {
    const id = reader.u8();
    const section = reader.slice(reader.u32());
    if (id !== wanted) continue;
    found.push({ name: id === 0 ? section.name(100, "a name") : "", reader: section });
  }
  return found;
}

test("each branch that takes fuel is hinted as unlikely, at the place where it stands", () => {
  const bytes = meter(
    `(func $f (local i32 i64) (local v128) (loop (call $g) (br_if 0 (i32.const 0))))
     (func $g (call $h)) (func $h) (func $i (loop (br 0)))`,
  );
  const [{ name, reader: hints }] = sections(bytes, 0);
  assert.equal(name, "metadata.code.branch_hint");
  const [{ reader: code }] = sections(bytes, 10);
  const bodies = Array.from({ length: code.u32() }, () => code.slice(code.u32()));
  const hinted = [];
  for (let left = hints.u32(); left > 0; left--) {
    const index = hints.u32();
    const offsets = Array.from({ length: hints.u32() }, () => {
      const offset = hints.u32();
      assert.deepEqual([hints.u8(), hints.u8()], [1, 0], "one byte, unlikely");
      return offset;
    });
    hinted.push([index, offsets.length]);
    const { bytes: all, pos } = bodies[index];
    for (const offset of offsets) assert.equal(all[pos + offset], 0x04, "an if");
  }
  assert.deepEqual(hinted, [
    [0, 2],
    [1, 1],
    [3, 2],
  ]);
  assert.ok(hints.done);
});

test("the names of functions are kept, and other custom sections are not", () => {
  const custom = (name: string) => [0, name.length + 2, name.length, ...Buffer.from(name), 0];
  const plain = wat(
    `(module (func (export "run") (call $wicked)) (func $wicked (loop unreachable)))`,
  );
  const names = [0, 14, 4, ...Buffer.from("name"), 1, 7, 1, 1, 4, ...Buffer.from("evil")];
  const bytes = [...plain, ...custom("producers"), ...names, ...custom(".debug_info")];
  const metered = meter(Uint8Array.from(bytes));
  assert.deepEqual(
    sections(metered, 0).map(({ name }) => name),
    ["metadata.code.branch_hint", "name"],
  );
  assert.throws(
    () => openMetered(metered).call("run"),
    (error: Error) => {
      return /at .*evil/.test(error.stack ?? "");
    },
  );
});

test("the start function becomes an export that the host calls", () => {
  const bytes = meter(
    `(global $g (export "g") (mut i32) (i32.const 0))
     (func $begin (global.set $g (i32.const 7))) (start $begin)`,
  );
  const { exports, call } = openMetered(bytes);
  const global = exports["g"] as WebAssembly.Global;
  assert.equal(global.value, 0, "instantiating runs nothing");
  call("sallyport:start");
  assert.equal(global.value, 7);
});

test("prepared bytes cannot be prepared again: their exports are reserved", () => {
  assert.throws(() => meter(meter("(func)")), { code: "reserved_export" });
});

test("a module with no sections at all has its counters", () => {
  const { exports } = openMetered(meter(""));
  assert.deepEqual(Object.keys(exports), [
    "sallyport:fuel",
    "sallyport:stack",
    "sallyport:refuel",
    "sallyport:restore",
  ]);
});
