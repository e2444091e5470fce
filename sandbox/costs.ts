// What instructions cost and what they do to the operand stack, as tables over opcodes. A unit of fuel
// is about a nanosecond of simple code; prices need to be fair only within an order of magnitude,
// because fuel decides how often the clock is read and nothing else.

/** A call of a function of the module. It covers what a small leaf may do without paying itself. */
export const CALL_COST = 68;
/** The dearest body that runs on its callers' account. */
export const LEAF_COST_MAX = 64;
/** A call of the kernel or the host. */
export const IMPORT_CALL_COST = 100;

const DEFAULT_COST = 1;
const MEMORY_COST = 2;
const SLOW_COST = 10;
const VECTOR_COST = 2;
const GROW_COST = 4_000;
const BULK_COST = 20;

/** Fuel by opcode; 0 for what is not an instruction that runs. */
export const FUEL: Uint8Array = fuelTable();
/** Pushes less pops by opcode, where they do not depend on an immediate. */
export const STACK_DELTA: Int8Array = deltaTable();

const VECTOR_DELTA: Int8Array = vectorDeltaTable();

/** Fuel of an instruction behind the prefix 0xfc, without what its operand adds. */
export function miscellaneousFuel(opcode: number): number {
  if (opcode < 8) return 3;
  if (opcode === 15) return GROW_COST;
  return opcode === 9 || opcode === 13 || opcode === 16 ? DEFAULT_COST : BULK_COST;
}

/** Pushes less pops of an instruction behind the prefix 0xfc. */
export function miscellaneousDelta(opcode: number): number {
  if (opcode < 8 || opcode === 9 || opcode === 13) return 0;
  if (opcode === 16) return 1;
  return opcode === 15 ? -1 : -3;
}

/** Fuel of an instruction behind the prefix 0xfd. */
export function vectorFuel(opcode: number): number {
  // Division and square root of lanes.
  const slow = opcode === 227 || opcode === 231 || opcode === 239 || opcode === 243;
  return slow ? SLOW_COST : VECTOR_COST;
}

/** Pushes less pops of an instruction behind the prefix 0xfd. */
export function vectorDelta(opcode: number): number {
  return opcode < VECTOR_DELTA.length ? VECTOR_DELTA[opcode] : 0;
}

/** Fuel of memory.grow. */
export const MEMORY_GROW_COST = GROW_COST;

function fuelTable(): Uint8Array {
  const fuel = new Uint8Array(256).fill(DEFAULT_COST);
  for (const free of [0x01, 0x02, 0x03, 0x05, 0x0b]) fuel[free] = 0;
  fuel[0x0e] = 3; // br_table
  fuel.fill(4, 0x25, 0x27); // table.get, table.set
  fuel.fill(MEMORY_COST, 0x28, 0x3f);
  // Division and remainder of integers, square root and division of floats.
  for (const first of [0x6d, 0x7f]) fuel.fill(SLOW_COST, first, first + 4);
  for (const slow of [0x91, 0x95, 0x9f, 0xa3]) fuel[slow] = SLOW_COST;
  fuel.fill(3, 0xa8, 0xbc); // conversions
  return fuel;
}

function deltaTable(): Int8Array {
  const delta = new Int8Array(256);
  const range = (value: number, from: number, to: number) => delta.fill(value, from, to + 1);
  const set = (value: number, ...opcodes: number[]) => {
    for (const opcode of opcodes) delta[opcode] = value;
  };
  set(-1, 0x0d, 0x1a, 0x21, 0x24); // br_if, drop, local.set, global.set
  set(-2, 0x1b, 0x1c, 0x26); // select, table.set
  set(1, 0x20, 0x23, 0x3f, 0x41, 0x42, 0x43, 0x44, 0xd0, 0xd2);
  range(-2, 0x36, 0x3e); // stores
  // Comparisons and arithmetic with two operands.
  range(-1, 0x46, 0x4f);
  range(-1, 0x51, 0x66);
  range(-1, 0x6a, 0x78);
  range(-1, 0x7c, 0x8a);
  range(-1, 0x92, 0x98);
  range(-1, 0xa0, 0xa6);
  return delta;
}

function vectorDeltaTable(): Int8Array {
  const delta = new Int8Array(256);
  const range = (value: number, from: number, to: number) => delta.fill(value, from, to + 1);
  const set = (value: number, ...opcodes: number[]) => {
    for (const opcode of opcodes) delta[opcode] = value;
  };
  set(-2, 11, 82); // v128.store, bitselect
  set(1, 12); // v128.const
  set(-1, 13, 14, 23, 26, 28, 30, 32, 34); // shuffle, swizzle, replace_lane
  range(-1, 35, 76); // comparisons
  range(-1, 78, 81); // and, andnot, or, xor
  range(-1, 84, 87); // load_lane
  range(-2, 88, 91); // store_lane
  range(-1, 94, 255); // most of the rest has two operands; those with one:
  set(0, 94, 95, 96, 97, 98, 99, 100, 103, 104, 105, 106, 116, 117, 122, 148);
  range(0, 124, 129);
  set(0, 131, 132, 160, 161, 163, 164, 192, 193, 195, 196, 224, 225, 227, 236, 237, 239);
  for (const extend of [135, 167, 199]) range(0, extend, extend + 3);
  range(0, 248, 255);
  return delta;
}
