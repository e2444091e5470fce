// Rewrites a module so that its bounds are part of its code: every function and every loop pays fuel,
// and every frame pays for its room on the stack. One flat pass over the bytes; nothing is renumbered,
// because whatever is added comes last: two globals, a table of one entry, types. The input has been
// admitted and found valid; only then can the module not name what is added.
//
// Out of fuel or stack, code calls the one entry of the table, which is the host's: it looks at the
// clock and either gives more fuel or throws. Globals start at 0 and the table is empty, so that an
// instance nobody armed traps at its first charge.

import type { FunctionType } from "./admit.ts";
import { BodyScan, CHARGE, CHARGE_BYTES, LEAVE } from "./body-scan.ts";
import { LEAF_COST_MAX } from "./costs.ts";
import { SandboxError } from "./errors.ts";
import { TABLE_ENTRIES_TOP } from "./limits.ts";
import { Reader } from "./reader.ts";
import { Writer } from "./writer.ts";

/** What the host drives the module by. */
export const FUEL_EXPORT = "sallyport:fuel";
export const STACK_EXPORT = "sallyport:stack";
export const REFUEL_EXPORT = "sallyport:refuel";
/** The module's start function, which the host calls under limits. */
export const START_EXPORT = "sallyport:start";
/** There when memory and mutable globals are all the state that an instance has; see snapshot.ts. */
export const RESTORE_EXPORT = "sallyport:restore";
/** The memory, whether or not the module exports it. */
export const MEMORY_EXPORT = "sallyport:memory";
/** Each mutable global, with its number behind it. */
export const KEPT_EXPORT = "sallyport:kept:";
/** With more of them an instance is made anew. */
const KEPT_MAX = 64;
const KEPT_TYPES: readonly (number | null)[] = [0x7f, 0x7e, 0x7d, 0x7c];

type Exported = [name: string, kind: number, index: number];

export type MeterOptions = {
  readonly types: readonly FunctionType[];
  /** Type indices of all functions, imported ones first. */
  readonly functions: readonly number[];
  readonly importedFunctions: number;
  /** Types of the mutable globals, null for each of the others. */
  readonly globals: readonly (number | null)[];
  /** Gets, for each run of instructions kept, its place in the result, in the input, and its length. */
  readonly onKept?: (to: number, from: number, length: number) => void;
};

const TYPE = 1;
const FUNCTION = 3;
const TABLE = 4;
const MEMORY = 5;
const GLOBAL = 6;
const EXPORT = 7;
const START = 8;
const CODE = 10;
const CUSTOM = 0;
// In the order of a module; the data count comes before the code it is about.
const ORDER = [TYPE, 2, FUNCTION, TABLE, MEMORY, GLOBAL, EXPORT, 9, 12, CODE, 11];

const VALUE_TYPES: Readonly<Record<string, number>> = {
  i32: 0x7f,
  i64: 0x7e,
  f32: 0x7d,
  f64: 0x7c,
  v128: 0x7b,
  funcref: 0x70,
  externref: 0x6f,
};

// What a frame takes beside its values, and a value, in bytes; generous, since compilers differ.
const FRAME_BYTES = 96;
const VALUE_BYTES = 8;
// Optimised code keeps values that the source has no name for: what it computes before a call and needs
// again behind it. It takes several instructions to make one.
const INSTRUCTION_BYTES = 1;
/** A body that calls nothing adds one frame at most; up to this size it goes unpaid. */
const FREE_FRAME_BYTES = 2_048;
const FRAME_CHARGE_MAX = 2 ** 24;
/** Locals that are zeroed for a unit of fuel, at every entry. */
const LOCALS_PER_UNIT = 4;
/** V8's own bound of a function body. */
const BODY_BYTES_TOP = 7_654_321;
// What bulk operations pay by their size: a unit for 16 bytes, 128 units for an entry of a table. Both
// are positive numbers whatever the size is, so that no size can add fuel; an operation beyond what the
// mask keeps traps, because no table is that large.
const PER_BYTE = [0x41, 4, 0x76]; // i32.const 4, i32.shr_u
const PER_ENTRY = [0x41, ...signed(2 * TABLE_ENTRIES_TOP - 1), 0x71, 0x41, 7, 0x74]; // and, i32.const 7, shl

/** Answers the rewritten module. Cost: some 50 ns for each byte of code. */
export function meterModule(bytes: Uint8Array, options: MeterOptions): Uint8Array {
  return new Meter(bytes, options).run();
}

class Meter {
  readonly #bytes: Uint8Array;
  readonly #options: MeterOptions;
  readonly #sections = new Map<number, Reader>();
  #names: Reader | null = null;
  readonly #scan: BodyScan;
  readonly #code: Writer;
  readonly #hints = new Writer(4096);
  readonly #bodyHints: number[] = [];
  #hintedBodies = 0;
  readonly #resultTypes = new Map<string, number>();
  readonly #newTypes: FunctionType[] = [{ params: [], results: [] }];
  readonly #fuel: number;
  readonly #stack: number;
  readonly #table: number;
  readonly #refuel: Uint8Array;
  // Where the body under way begins in the code section's writer.
  #bodyStart = 0;
  #kept: number[] = [];

  constructor(bytes: Uint8Array, options: MeterOptions) {
    this.#bytes = bytes;
    this.#options = options;
    this.#readSections();
    const { types } = options;
    this.#scan = new BodyScan({
      types: types.map(({ params, results }) => ({
        params: params.length,
        results: results.length,
      })),
      functions: options.functions,
      importedFunctions: options.importedFunctions,
    });
    const code = this.#sections.get(CODE);
    this.#code = new Writer(code === undefined ? 16 : (code.end - code.pos) * 2);
    this.#fuel = this.#countOf(GLOBAL);
    this.#stack = this.#fuel + 1;
    this.#table = this.#countOf(TABLE);
    this.#refuel = refuelCode(types.length, this.#table);
  }

  run(): Uint8Array {
    this.#bodies();
    const out = new Writer(this.#bytes.length + this.#code.length);
    out.copy(this.#bytes, 0, 8);
    for (const id of ORDER) this.#section(out, id);
    if (this.#names !== null) {
      out.u8(CUSTOM);
      out.u32(this.#names.end - this.#names.pos);
      out.copy(this.#bytes, this.#names.pos, this.#names.end);
    }
    return out.result();
  }

  // Names of functions stay true and make traps readable; whatever speaks of offsets does not.
  #readSections(): void {
    const reader = new Reader(this.#bytes, 8, this.#bytes.length);
    while (!reader.done) {
      const id = reader.u8();
      const section = reader.slice(reader.u32());
      if (id !== CUSTOM) {
        this.#sections.set(id, section);
        continue;
      }
      const start = section.pos;
      if (section.name(1_024, "a section name") !== "name") continue;
      section.pos = start;
      this.#names = section;
    }
  }

  #countOf(id: number): number {
    const section = this.#sections.get(id);
    return section === undefined ? 0 : new Reader(this.#bytes, section.pos, section.end).u32();
  }

  #section(out: Writer, id: number): void {
    switch (id) {
      case TYPE:
        return this.#extended(out, id, this.#newTypes.length, (types) => {
          for (const { params, results } of this.#newTypes) {
            types.u8(0x60);
            for (const list of [params, results]) {
              types.u32(list.length);
              for (const type of list) types.u8(VALUE_TYPES[type]);
            }
          }
        });
      case TABLE:
        // One entry, and never another.
        return this.#extended(out, id, 1, (table) => [0x70, 1, 1, 1].forEach((b) => table.u8(b)));
      case GLOBAL:
        return this.#extended(out, id, 2, (globals) => {
          for (let i = 0; i < 2; i++) [0x7f, 1, 0x41, 0, 0x0b].forEach((b) => globals.u8(b));
        });
      case EXPORT: {
        const exports = this.#exports();
        return this.#extended(out, id, exports.length, (section) => {
          for (const [name, kind, index] of exports) {
            section.name(name);
            section.u8(kind);
            section.u32(index);
          }
        });
      }
      case CODE:
        return this.#codeSection(out);
      default: {
        const section = this.#sections.get(id);
        if (section === undefined) return;
        out.u8(id);
        out.u32(section.end - section.pos);
        out.copy(this.#bytes, section.pos, section.end);
      }
    }
  }

  #exports(): Exported[] {
    const exports: Exported[] = [
      [FUEL_EXPORT, 3, this.#fuel],
      [STACK_EXPORT, 3, this.#stack],
      [REFUEL_EXPORT, 1, this.#table],
    ];
    const start = this.#sections.get(START);
    if (start !== undefined) exports.push([START_EXPORT, 0, start.u32()]);
    return [...exports, ...this.#stateExports()];
  }

  #stateExports(): Exported[] {
    const { globals } = this.#options;
    const kept = globals.flatMap((type, index) => (type === null ? [] : index));
    const isPlain = kept.every((index) => KEPT_TYPES.includes(globals[index]));
    if (this.#scan.leavesTraces || !isPlain || kept.length > KEPT_MAX) return [];
    return [
      [RESTORE_EXPORT, 3, this.#fuel],
      ...(this.#countOf(MEMORY) === 0 ? [] : [[MEMORY_EXPORT, 2, 0] satisfies Exported]),
      ...kept.map((index): Exported => [`${KEPT_EXPORT}${index}`, 3, index]),
    ];
  }

  // Writes a section with `added` entries more than it had.
  #extended(out: Writer, id: number, added: number, write: (section: Writer) => void): void {
    const section = this.#sections.get(id);
    out.u8(id);
    const at = out.reserveLength();
    if (section === undefined) {
      out.u32(added);
    } else {
      out.u32(section.u32() + added);
      out.copy(this.#bytes, section.pos, section.end);
    }
    write(out);
    out.patchLength(at);
  }

  #codeSection(out: Writer): void {
    const section = this.#sections.get(CODE);
    if (section === undefined) return;
    if (this.#hintedBodies > 0) {
      out.u8(CUSTOM);
      const at = out.reserveLength();
      out.name("metadata.code.branch_hint");
      out.u32(this.#hintedBodies);
      out.all(this.#hints.view());
      out.patchLength(at);
    }
    out.u8(CODE);
    const at = out.reserveLength();
    out.u32(this.#options.functions.length - this.#options.importedFunctions);
    const shift = out.length;
    out.all(this.#code.view());
    out.patchLength(at);
    const { onKept } = this.#options;
    if (onKept === undefined) return;
    for (let i = 0; i < this.#kept.length; i += 3) {
      onKept(this.#kept[i] + shift, this.#kept[i + 1], this.#kept[i + 2]);
    }
  }

  #bodies(): void {
    const section = this.#sections.get(CODE);
    if (section === undefined) return;
    const count = section.u32();
    for (let i = 0; i < count; i++) {
      const body = section.slice(section.u32());
      this.#body(body, this.#options.importedFunctions + i);
    }
  }

  #body(body: Reader, index: number): void {
    const { types, functions } = this.#options;
    const { params, results } = types[functions[index]];
    const scan = this.#scan;
    const code = this.#code;
    const start = body.pos;
    const groups = body.u32();
    const groupsStart = body.pos;
    const { locals, vectors } = readLocals(body, groups);
    const first = body.pos;
    scan.scan(body);
    scan.cost[0] += Math.ceil(locals / LOCALS_PER_UNIT);
    if (scan.isLeaf(LEAF_COST_MAX)) {
      code.u32(body.end - start);
      this.#keep(start, body.end);
      return;
    }
    const values = params.length + locals + scan.heightMax;
    const wide = vectors || scan.vectors || params.includes("v128");
    const held = values * VALUE_BYTES + scan.instructions * INSTRUCTION_BYTES;
    const frame = Math.min(FRAME_BYTES + held * (wide ? 2 : 1), FRAME_CHARGE_MAX);
    const framed = scan.calls || frame > FREE_FRAME_BYTES;
    const temporary = params.length + locals;
    const length = code.reserveLength();
    this.#bodyStart = code.length;
    code.u32(groups + 1);
    code.copy(this.#bytes, groupsStart, first);
    code.u32(framed ? 2 : 1);
    code.u8(0x7f);
    this.#instructions({ first, end: body.end, temporary, frame: framed ? frame : 0, results });
    code.patchLength(length);
    mustCompile(code.length - this.#bodyStart);
    this.#closeHints(index);
  }

  #instructions(body: Body): void {
    const { temporary, frame, results } = body;
    const scan = this.#scan;
    const code = this.#code;
    if (frame === 0) this.#charge(scan.cost[0], temporary);
    else this.#enter(scan.cost[0], frame, temporary);
    // Branches to the function's own label now leave this block, and pass the code behind it.
    if (frame !== 0) this.#block(results);
    let from = body.first;
    for (let i = 1; i < scan.count; i++) {
      const kind = scan.kind[i];
      if (kind === LEAVE && frame === 0) continue;
      this.#keep(from, scan.at[i]);
      from = scan.at[i];
      if (kind === CHARGE) this.#charge(scan.cost[i], temporary);
      else if (kind === LEAVE) this.#leave(frame);
      else this.#chargeOperand(kind === CHARGE_BYTES ? PER_BYTE : PER_ENTRY, temporary);
    }
    this.#keep(from, body.end);
    if (frame === 0) return;
    this.#leave(frame);
    code.u8(0x0b);
  }

  #keep(from: number, to: number): void {
    if (this.#options.onKept !== undefined) this.#kept.push(this.#code.length, from, to - from);
    this.#code.copy(this.#bytes, from, to);
  }

  // fuel -= cost; if (fuel < 0) refuel();
  #charge(cost: number, temporary: number): void {
    this.#take(this.#fuel, cost, temporary);
    this.#local(0x20, temporary);
    this.#refuelWhenNegative();
  }

  // fuel -= cost; stack -= frame; if ((fuel | stack) < 0) refuel();
  #enter(cost: number, frame: number, temporary: number): void {
    this.#take(this.#fuel, cost, temporary);
    this.#take(this.#stack, frame, temporary + 1);
    this.#local(0x20, temporary);
    this.#local(0x20, temporary + 1);
    this.#code.u8(0x72);
    this.#refuelWhenNegative();
  }

  // stack += frame
  #leave(frame: number): void {
    const code = this.#code;
    this.#global(0x23, this.#stack);
    code.u8(0x41);
    code.s32(frame);
    code.u8(0x6a);
    this.#global(0x24, this.#stack);
  }

  // fuel -= price(operand); if (fuel < 0) refuel(); the operand stays on the stack.
  #chargeOperand(price: readonly number[], temporary: number): void {
    const code = this.#code;
    this.#local(0x21, temporary);
    this.#global(0x23, this.#fuel);
    this.#local(0x20, temporary);
    for (const byte of price) code.u8(byte);
    code.u8(0x6b);
    this.#global(0x24, this.#fuel);
    this.#global(0x23, this.#fuel);
    this.#refuelWhenNegative();
    this.#local(0x20, temporary);
  }

  #take(global: number, amount: number, temporary: number): void {
    const code = this.#code;
    this.#global(0x23, global);
    code.u8(0x41);
    code.s32(amount);
    code.u8(0x6b);
    this.#local(0x22, temporary);
    this.#global(0x24, global);
  }

  #refuelWhenNegative(): void {
    const code = this.#code;
    this.#bodyHints.push(code.length - this.#bodyStart + 3);
    code.all(this.#refuel);
  }

  #global(opcode: number, index: number): void {
    this.#code.u8(opcode);
    this.#code.u32(index);
  }

  #local(opcode: number, index: number): void {
    this.#code.u8(opcode);
    this.#code.u32(index);
  }

  #block(results: readonly string[]): void {
    const code = this.#code;
    code.u8(0x02);
    if (results.length === 0) code.u8(0x40);
    else if (results.length === 1) code.u8(VALUE_TYPES[results[0]]);
    else code.s32(this.#resultType(results));
  }

  #resultType(results: readonly string[]): number {
    const key = results.join();
    let index = this.#resultTypes.get(key);
    if (index === undefined) {
      index = this.#options.types.length + this.#newTypes.length;
      this.#newTypes.push({ params: [], results: [...results] });
      this.#resultTypes.set(key, index);
    }
    return index;
  }

  // Says to the compiler that the branches just written are rarely taken.
  #closeHints(index: number): void {
    const hints = this.#hints;
    hints.u32(index);
    hints.u32(this.#bodyHints.length);
    for (const offset of this.#bodyHints) {
      hints.u32(offset);
      hints.u8(1);
      hints.u8(0);
    }
    this.#bodyHints.length = 0;
    this.#hintedBodies += 1;
  }
}

type Body = {
  /** The first instruction and the end of the last. */
  readonly first: number;
  readonly end: number;
  /** The first local that the rewriter may use. */
  readonly temporary: number;
  /** Bytes of stack to pay; 0 for none. */
  readonly frame: number;
  readonly results: readonly string[];
};

function mustCompile(bytes: number): void {
  if (bytes <= BODY_BYTES_TOP) return;
  throw new SandboxError(
    "limit_exceeded",
    `The module has a function of ${bytes} bytes with its bounds written in; ${BODY_BYTES_TOP} are allowed.`,
  );
}

function readLocals(body: Reader, groups: number): { locals: number; vectors: boolean } {
  let locals = 0;
  let vectors = false;
  for (let left = groups; left > 0; left--) {
    locals += body.u32();
    if (body.u8() === VALUE_TYPES["v128"]) vectors = true;
  }
  return { locals, vectors };
}

// if (top of the stack < 0) call the table's entry, of this type; the branch is the fourth byte.
function refuelCode(type: number, table: number): Uint8Array {
  const writer = new Writer(32);
  for (const byte of [0x41, 0, 0x48, 0x04, 0x40, 0x41, 0, 0x11]) writer.u8(byte);
  writer.u32(type);
  writer.u32(table);
  writer.u8(0x0b);
  return writer.result();
}

function signed(value: number): number[] {
  const writer = new Writer(8);
  writer.s32(value);
  return [...writer.result()];
}
