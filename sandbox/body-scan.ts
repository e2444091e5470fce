// Reads one function body and says where the rewriter must charge, and how much. One pass, no
// recursion: the control stack is an array. What it reads has been found valid by V8.
//
// A charge covers what can run between it and the next charge on every way: a loop's header pays for
// one turn of its body, the entry for all outside of loops, the dearer arm of an `if` for both. That is
// sound because between two headers control only moves forward. Long stretches are cut by charges of
// their own, so that none is far from the next look at the clock.

import {
  CALL_COST,
  FUEL,
  IMPORT_CALL_COST,
  MEMORY_GROW_COST,
  miscellaneousDelta,
  miscellaneousFuel,
  STACK_DELTA,
  vectorDelta,
  vectorFuel,
} from "./costs.ts";
import { hasImmediate, skipImmediate } from "./opcodes.ts";
import type { Reader } from "./reader.ts";

/** What the rewriter does at a place. */
export const CHARGE = 0;
/** Give the frame back: before `return` and tail calls. */
export const LEAVE = 1;
/** Charge the operand on top of the stack, in bytes, before it is used. */
export const CHARGE_BYTES = 2;
/** The same for a count of table entries. */
export const CHARGE_ENTRIES = 3;

/** The most units between two charges on a straight way. */
const STRETCH_MAX = 16_384;

/** How many values a type takes and gives. */
export type Arity = { readonly params: number; readonly results: number };

export type ModuleShape = {
  readonly types: readonly Arity[];
  /** Type indices of all functions, imported ones first. */
  readonly functions: ArrayLike<number>;
  readonly importedFunctions: number;
};

// The fields of a control frame: what `else` and `end` restore.
const KIND = 0;
const BASE = 1;
const PARAMS = 2;
const RESULTS = 3;
const COST = 4;
const OWNER = 5;
const PRIOR = 6;
const STRETCH = 7;
const THEN = 8;
const FRAME_FIELDS = 9;

const LOOP = 3;
const IF = 4;

/** The findings of the last body that was scanned; one object serves all bodies of a module. */
export class BodyScan {
  /** Number of places; the first is the entry, with its charge. */
  count = 0;
  /** Places that charge: 1 when only the entry does. */
  charges = 0;
  at: Int32Array = new Int32Array(64);
  kind: Uint8Array = new Uint8Array(64);
  cost: Int32Array = new Int32Array(64);
  /** The most operands on the stack at once. */
  heightMax = 0;
  /** Number of instructions. */
  instructions = 0;
  /** True when it calls anything. */
  calls = false;
  /** True when it touches vectors, whose operands take twice the room. */
  vectors = false;
  /** True when any body until now writes to tables, or drops segments: state that nobody can bring back. */
  leavesTraces = false;

  readonly #shape: ModuleShape;
  #frames = new Int32Array(16 * FRAME_FIELDS);
  #depth = 0;
  #height = 0;
  // Units since the current frame's beginning or its last charge; the charge that pays for them, or
  // -1 for the frame outside; what that one pays when a charge came later; units on this way since any
  // charge.
  #cost = 0;
  #owner = 0;
  #prior = 0;
  #stretch = 0;

  constructor(shape: ModuleShape) {
    this.#shape = shape;
  }

  /** True when the body can run on its callers' account. */
  isLeaf(costMax: number): boolean {
    return this.charges === 1 && !this.calls && this.cost[0] <= costMax;
  }

  /** Scans the instructions from the reader's position up to its end. */
  scan(reader: Reader): void {
    this.count = 0;
    this.charges = 0;
    this.heightMax = 0;
    this.instructions = 0;
    this.calls = false;
    this.vectors = false;
    this.#depth = 0;
    this.#height = 0;
    this.#prior = 0;
    this.#cost = 0;
    this.#stretch = 0;
    this.#owner = this.#place(CHARGE, reader.pos);
    const { bytes, end } = reader;
    while (reader.pos < end) {
      const pos = reader.pos;
      const opcode = bytes[pos];
      reader.pos = pos + 1;
      this.#instruction(reader, opcode, pos);
      this.instructions += 1;
      if (this.#height > this.heightMax) this.heightMax = this.#height;
    }
    this.cost[this.#owner] = this.#cost;
  }

  #instruction(reader: Reader, opcode: number, pos: number): void {
    if (opcode >= 0x20 && opcode < 0xfc) {
      if (opcode === 0x26) this.leavesTraces = true;
      this.#spend(opcode === 0x40 ? MEMORY_GROW_COST : FUEL[opcode], pos);
      this.#height += STACK_DELTA[opcode];
      if (hasImmediate(opcode)) skipImmediate(reader, opcode);
      return;
    }
    switch (opcode) {
      case 0x02:
      case 0x03:
      case 0x04:
        return this.#enter(reader, opcode, pos);
      case 0x05:
        return this.#else();
      case 0x0b:
        return this.#end();
      case 0x10:
      case 0x12:
        return this.#call(reader, opcode, pos);
      case 0x11:
      case 0x13:
        return this.#callIndirect(reader, opcode, pos);
      case 0xfc:
        return this.#miscellaneous(reader, pos);
      case 0xfd:
        return this.#vector(reader, pos);
      default:
        this.#spend(FUEL[opcode], pos);
        if (opcode === 0x0f) this.#place(LEAVE, pos);
        this.#height += STACK_DELTA[opcode];
        if (hasImmediate(opcode)) skipImmediate(reader, opcode);
        // unreachable, br, br_table, return: what follows cannot be reached from here.
        if (opcode === 0x00 || opcode === 0x0c || opcode === 0x0e || opcode === 0x0f) this.#drop();
    }
  }

  #call(reader: Reader, opcode: number, pos: number): void {
    const index = reader.u32();
    const { types, functions, importedFunctions } = this.#shape;
    const { params, results } = types[functions[index]];
    this.#spend(index < importedFunctions ? IMPORT_CALL_COST : CALL_COST, pos);
    this.#afterCall(opcode === 0x12, pos, results - params);
  }

  #callIndirect(reader: Reader, opcode: number, pos: number): void {
    const { params, results } = this.#shape.types[reader.u32()];
    reader.u32();
    this.#spend(IMPORT_CALL_COST, pos);
    this.#afterCall(opcode === 0x13, pos, results - params - 1);
  }

  #afterCall(tail: boolean, pos: number, delta: number): void {
    this.calls = true;
    if (tail) {
      this.#place(LEAVE, pos);
      return this.#drop();
    }
    this.#height += delta;
  }

  #miscellaneous(reader: Reader, pos: number): void {
    const opcode = reader.u32();
    this.#spend(miscellaneousFuel(opcode), pos);
    if (opcode === 8 || opcode === 10 || opcode === 11) this.#place(CHARGE_BYTES, pos);
    if (opcode === 12 || opcode === 14 || opcode === 15 || opcode === 17) {
      this.#place(CHARGE_ENTRIES, pos);
      this.leavesTraces = true;
    }
    // data.drop, elem.drop
    if (opcode === 9 || opcode === 13) this.leavesTraces = true;
    this.#height += miscellaneousDelta(opcode);
    reader.pos = pos + 1;
    skipImmediate(reader, 0xfc);
  }

  #vector(reader: Reader, pos: number): void {
    const opcode = reader.u32();
    this.vectors = true;
    this.#spend(vectorFuel(opcode), pos);
    this.#height += vectorDelta(opcode);
    reader.pos = pos + 1;
    skipImmediate(reader, 0xfd);
  }

  #spend(units: number, pos: number): void {
    if (this.#stretch + units > STRETCH_MAX && this.#stretch > 0) this.#cut(pos);
    this.#cost += units;
    this.#stretch += units;
  }

  // Begins a new charge in the middle of a frame.
  #cut(pos: number): void {
    this.#settle();
    this.#owner = this.#place(CHARGE, pos);
    this.#stretch = 0;
  }

  // Puts what was spent on the account of its owner.
  #settle(): void {
    if (this.#owner === -1) this.#prior = this.#cost;
    else this.cost[this.#owner] = this.#cost;
    this.#cost = 0;
  }

  #enter(reader: Reader, kind: number, pos: number): void {
    const start = reader.pos;
    let params = 0;
    let results = 0;
    const byte = reader.u8();
    if ((byte & 0xc0) === 0x40) {
      results = byte === 0x40 ? 0 : 1;
    } else {
      reader.pos = start;
      // A block type is a signed number of 33 bits; a type's index is positive and small.
      const type = this.#shape.types[reader.u32()];
      ({ params, results } = type);
    }
    if (kind === IF) {
      this.#spend(FUEL[kind], pos);
      this.#height -= 1;
    }
    this.#push(kind, params, results);
    this.#cost = 0;
    this.#prior = 0;
    this.#owner = -1;
    if (kind !== LOOP) return;
    this.#owner = this.#place(CHARGE, reader.pos);
    this.#stretch = 0;
  }

  #push(kind: number, params: number, results: number): void {
    const at = this.#depth * FRAME_FIELDS;
    if (at === this.#frames.length) {
      const frames = new Int32Array(at * 2);
      frames.set(this.#frames);
      this.#frames = frames;
    }
    const frames = this.#frames;
    this.#depth += 1;
    frames[at + KIND] = kind;
    frames[at + BASE] = Math.max(this.#height - params, this.#base());
    frames[at + PARAMS] = params;
    frames[at + RESULTS] = results;
    frames[at + COST] = this.#cost;
    frames[at + OWNER] = this.#owner;
    frames[at + PRIOR] = this.#prior;
    frames[at + STRETCH] = this.#stretch;
    frames[at + THEN] = 0;
  }

  #else(): void {
    const at = (this.#depth - 1) * FRAME_FIELDS;
    const frames = this.#frames;
    frames[at + THEN] = this.#contribution();
    this.#height = frames[at + BASE] + frames[at + PARAMS];
    this.#cost = 0;
    this.#prior = 0;
    this.#owner = -1;
    this.#stretch = frames[at + STRETCH];
  }

  #end(): void {
    // The body's own end: the frame of the function is none of ours.
    if (this.#depth === 0) return;
    const contribution = this.#contribution();
    this.#depth -= 1;
    const at = this.#depth * FRAME_FIELDS;
    const frames = this.#frames;
    const dearer = Math.max(contribution, frames[at + THEN]);
    this.#height = frames[at + BASE] + frames[at + RESULTS];
    this.#cost = frames[at + COST] + dearer;
    this.#owner = frames[at + OWNER];
    this.#prior = frames[at + PRIOR];
    this.#stretch = Math.max(frames[at + STRETCH] + dearer, this.#stretch);
  }

  // What the frame that ends leaves to the account of the frame outside.
  #contribution(): number {
    this.#settle();
    return this.#prior;
  }

  // The height below which the code of the current frame does not reach.
  #base(): number {
    return this.#depth === 0 ? 0 : this.#frames[(this.#depth - 1) * FRAME_FIELDS + BASE];
  }

  #drop(): void {
    this.#height = this.#base();
  }

  #place(kind: number, pos: number): number {
    if (this.count === this.at.length) this.#growPlaces();
    const index = this.count++;
    if (kind !== LEAVE) this.charges += 1;
    this.at[index] = pos;
    this.kind[index] = kind;
    this.cost[index] = 0;
    return index;
  }

  #growPlaces(): void {
    const length = this.at.length * 2;
    const at = new Int32Array(length);
    const kind = new Uint8Array(length);
    const cost = new Int32Array(length);
    at.set(this.at);
    kind.set(this.kind);
    cost.set(this.cost);
    this.at = at;
    this.kind = kind;
    this.cost = cost;
  }
}
