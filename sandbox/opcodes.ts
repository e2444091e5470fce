// One flat walk over instructions: it knows the length of each and refuses the families that the
// sandbox does not admit, by name. It never recurses, and it leaves typing to V8's validator.

import { SandboxError } from "./errors.ts";
import type { Reader } from "./reader.ts";

// What follows an opcode.
const NONE = 0;
const BLOCK_TYPE = 1;
const INDEX = 2;
const TWO_INDICES = 3;
const BR_TABLE = 4;
const SELECT_TYPES = 5;
const MEMARG = 6;
const MEMORY_INDEX = 7;
const S32 = 8;
const S64 = 9;
const FOUR_BYTES = 10;
const EIGHT_BYTES = 11;
const HEAP_TYPE = 12;
const PREFIX_FC = 13;
const PREFIX_FD = 14;
const EXCEPTIONS = 15;
const GC = 16;
const TYPED_FUNCTIONS = 17;
const THREADS = 18;
const UNKNOWN = 19;

const END = 0x0b;

const SHAPES = opcodeShapes();

/** Says that the module uses something the sandbox does not admit. */
export function denyFeature(feature: string, pos: number): never {
  throw new SandboxError(
    "feature_denied",
    `The module uses ${feature} (byte ${pos}); allowed are Wasm 2.0 and tail calls.`,
  );
}

/** Reads a value type and refuses what is not a number, v128, funcref or externref. */
export function readValueType(reader: Reader): number {
  const type = reader.u8();
  if (!isValueType(type)) denyType(type, reader.pos - 1);
  return type;
}

/** Walks the instructions of one body, up to the reader's end. */
export function walkBody(reader: Reader): void {
  const { bytes, end } = reader;
  let last = NONE;
  while (reader.pos < end) {
    last = bytes[reader.pos++];
    if (SHAPES[last] !== NONE) skipImmediate(reader, last);
  }
  if (last !== END) reader.fail("has a function body without an end");
}

/**
 * Walks a constant expression. Answers its value when it is one i32.const, else null (the value of
 * a global or of an addition is known only when the module is instantiated).
 */
export function walkConstant(reader: Reader): number | null {
  let value: number | null = null;
  for (let count = 0; ; count++) {
    const opcode = reader.u8();
    if (opcode === END) return count === 1 ? value : null;
    if (opcode === 0x41) value = reader.s32();
    else {
      value = null;
      if (SHAPES[opcode] !== NONE) skipImmediate(reader, opcode);
    }
  }
}

function isValueType(type: number): boolean {
  return (type >= 0x7b && type <= 0x7f) || type === 0x70 || type === 0x6f;
}

function denyType(type: number, pos: number): never {
  if (type === 0x69 || type === 0x74) denyFeature("exception references", pos);
  if (type === 0x63 || type === 0x64) denyFeature("typed references (GC)", pos);
  if (type >= 0x6a && type <= 0x73) denyFeature("GC reference types", pos);
  denyFeature(`the unknown type 0x${type.toString(16)}`, pos);
}

/** True when something follows the opcode itself. */
export function hasImmediate(opcode: number): boolean {
  return SHAPES[opcode] !== NONE;
}

/** Steps over what follows an opcode that was just read. */
export function skipImmediate(reader: Reader, opcode: number): void {
  const pos = reader.pos - 1;
  switch (SHAPES[opcode]) {
    case BLOCK_TYPE:
      return skipBlockType(reader);
    case INDEX:
      return void reader.u32();
    case TWO_INDICES:
      reader.u32();
      return void reader.u32();
    case BR_TABLE: {
      // Each label takes a byte at least, so the reader's end bounds the loop.
      for (let left = reader.u32() + 1; left > 0; left--) reader.u32();
      return;
    }
    case SELECT_TYPES: {
      for (let left = reader.u32(); left > 0; left--) readValueType(reader);
      return;
    }
    case MEMARG:
      return skipMemarg(reader);
    case MEMORY_INDEX:
      return skipMemoryIndex(reader);
    case S32:
      return reader.skipLeb(5);
    case S64:
      return reader.skipLeb(10);
    case FOUR_BYTES:
      return reader.skip(4);
    case EIGHT_BYTES:
      return reader.skip(8);
    case HEAP_TYPE:
      return skipHeapType(reader);
    case PREFIX_FC:
      return skipMiscellaneous(reader);
    case PREFIX_FD:
      return skipVector(reader);
    case EXCEPTIONS:
      return denyFeature("exception handling", pos);
    case GC:
      return denyFeature("GC instructions", pos);
    case TYPED_FUNCTIONS:
      return denyFeature("typed function references", pos);
    case THREADS:
      return denyFeature("threads and atomics", pos);
    default:
      return denyFeature(`the unknown instruction 0x${opcode.toString(16)}`, pos);
  }
}

function skipBlockType(reader: Reader): void {
  const byte = reader.u8();
  // One byte with the sign bit set is a type; anything else is the index of one.
  if ((byte & 0xc0) === 0x40) {
    if (byte !== 0x40 && !isValueType(byte)) denyType(byte, reader.pos - 1);
    return;
  }
  if (byte >= 128) reader.skipLeb(4);
}

function skipHeapType(reader: Reader): void {
  const type = reader.u8();
  if (type !== 0x70 && type !== 0x6f) denyType(type, reader.pos - 1);
}

function skipMemarg(reader: Reader): void {
  // Bit 6 of the alignment announces a memory index.
  if (reader.u32() >= 64) denyFeature("multiple memories", reader.pos - 1);
  // Up to ten bytes parse; what needs more than 32 bits is left to the validator.
  reader.skipLeb(10);
}

function skipMemoryIndex(reader: Reader): void {
  if (reader.u8() !== 0) denyFeature("multiple memories", reader.pos - 1);
}

function skipMiscellaneous(reader: Reader): void {
  const pos = reader.pos - 1;
  const opcode = reader.u32();
  if (opcode < 8) return;
  switch (opcode) {
    case 8: // memory.init
      reader.u32();
      return skipMemoryIndex(reader);
    case 10: // memory.copy
      skipMemoryIndex(reader);
      return skipMemoryIndex(reader);
    case 11: // memory.fill
      return skipMemoryIndex(reader);
    case 12: // table.init
    case 14: // table.copy
      reader.u32();
      return void reader.u32();
    case 9: // data.drop
    case 13: // elem.drop
    case 15: // table.grow
    case 16: // table.size
    case 17: // table.fill
      return void reader.u32();
    default:
      return denyFeature(`the unknown instruction 0xfc ${opcode}`, pos);
  }
}

function skipVector(reader: Reader): void {
  const pos = reader.pos - 1;
  const opcode = reader.u32();
  if (opcode >= 0x100) denyFeature("relaxed SIMD", pos);
  if (opcode <= 11 || opcode === 92 || opcode === 93) return skipMemarg(reader);
  if (opcode === 12 || opcode === 13) return reader.skip(16);
  if (opcode >= 21 && opcode <= 34) return reader.skip(1);
  if (opcode >= 84 && opcode <= 91) {
    skipMemarg(reader);
    return reader.skip(1);
  }
}

function opcodeShapes(): Uint8Array {
  const shapes = new Uint8Array(256).fill(UNKNOWN);
  const set = (shape: number, ...opcodes: number[]) => {
    for (const opcode of opcodes) shapes[opcode] = shape;
  };
  const range = (shape: number, from: number, to: number) => shapes.fill(shape, from, to + 1);
  set(NONE, 0x00, 0x01, 0x05, END, 0x0f, 0x1a, 0x1b, 0xd1);
  range(NONE, 0x45, 0xc4); // Comparisons, arithmetic, conversions, sign extension.
  set(BLOCK_TYPE, 0x02, 0x03, 0x04);
  set(EXCEPTIONS, 0x06, 0x07, 0x08, 0x09, 0x0a, 0x18, 0x19, 0x1f);
  set(INDEX, 0x0c, 0x0d, 0x10, 0x12, 0xd2);
  range(INDEX, 0x20, 0x26);
  set(BR_TABLE, 0x0e);
  set(TWO_INDICES, 0x11, 0x13);
  set(TYPED_FUNCTIONS, 0x14, 0x15, 0xd4, 0xd5, 0xd6);
  set(SELECT_TYPES, 0x1c);
  range(MEMARG, 0x28, 0x3e);
  set(MEMORY_INDEX, 0x3f, 0x40);
  set(S32, 0x41);
  set(S64, 0x42);
  set(FOUR_BYTES, 0x43);
  set(EIGHT_BYTES, 0x44);
  set(HEAP_TYPE, 0xd0);
  set(GC, 0xd3, 0xfb);
  set(PREFIX_FC, 0xfc);
  set(PREFIX_FD, 0xfd);
  set(THREADS, 0xfe);
  return shapes;
}
