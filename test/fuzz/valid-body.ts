// Makes the body of one function of valid-module.ts: values by recursion over types, statements that
// leave the stack as it was, and jumps wherever a value or a statement may stand, with code behind
// them that can never run.

import type { Chance } from "../support/chance.ts";
import { CodeWriter } from "./code-writer.ts";
import { INSTRUCTIONS, VALUE_CODES, type Instruction } from "./instructions.ts";

/** Parameters and results as letters. */
export type Shape = { readonly takes: string; readonly gives: string };

export type Plan = {
  readonly endless: boolean;
  readonly counted: boolean;
  readonly types: Shape[];
  /** All functions, imported ones first. */
  readonly functions: readonly Shape[];
  readonly imported: number;
  /** The first is how many turns are left, the second counts instructions. */
  readonly globals: string;
  /** Functions in the table at first. */
  readonly slots: readonly number[];
  readonly hasMemory: boolean;
  readonly hasTable: boolean;
};

export type BodyOptions = {
  readonly plan: Plan;
  readonly index: number;
  typeOf(shape: Shape): number;
};

const DEPTH_MAX = 6;
/** Calls of later functions that take no turn. */
const FREE_CALLS_MAX = 2;
const SCRATCH = "fFV";
const BULK_SIZES = [0, 1, 5, 32, 33, 4_000, 70_000, 0x0c00_0000, -1];

const BY_RESULT = new Map<string, Instruction[]>();
for (const instruction of INSTRUCTIONS) {
  const list = BY_RESULT.get(instruction.gives) ?? [];
  BY_RESULT.set(instruction.gives, list);
  list.push(instruction);
}

type Label = { readonly types: string; readonly isLoop: boolean };

export class BodyMaker {
  readonly #chance: Chance;
  readonly #plan: Plan;
  readonly #options: BodyOptions;
  readonly #code: CodeWriter;
  readonly #shape: Shape;
  readonly #labels: Label[] = [];
  #locals = "";
  #scratch = 0;
  #room = 0;
  #freeCalls = FREE_CALLS_MAX;

  constructor(chance: Chance, options: BodyOptions) {
    this.#chance = chance;
    this.#plan = options.plan;
    this.#code = new CodeWriter(chance, options.plan);
    this.#options = options;
    this.#shape = options.plan.functions[options.index];
  }

  /** The body with its locals, of about `room` values and statements. */
  make(locals: string, room: number): Uint8Array {
    const code = this.#code;
    const all = locals + SCRATCH;
    this.#locals = this.#shape.takes + locals;
    this.#scratch = this.#locals.length;
    this.#room = room;
    code.u32(all.length);
    for (const type of all) {
      code.u32(1);
      code.u8(VALUE_CODES[type]);
    }
    this.#labels.push({ types: this.#shape.gives, isLoop: false });
    while (this.#room > 0 && !this.#chance.oneIn(20)) this.#statement(DEPTH_MAX);
    this.#values(this.#shape.gives, DEPTH_MAX);
    code.u8(0x0b);
    return code.result();
  }

  #values(types: string, depth: number): void {
    for (const type of types) this.#value(type, depth);
  }

  #value(type: string, depth: number): void {
    const chance = this.#chance;
    if (depth <= 0 || this.#room-- <= 0) return this.#simple(type);
    switch (chance.below(14)) {
      case 0:
        return this.#keepFirst(type, (gives) => this.#block(gives, depth - 1));
      case 1:
        return this.#callFor(type, depth - 1);
      case 2:
        return this.#select(type, depth - 1);
      case 3:
        return this.#tee(type, depth - 1);
      case 4:
        if (!chance.oneIn(4)) return this.#simple(type);
        this.#jump(depth - 1);
        return this.#dead(type);
      case 5:
        return type === "i" ? this.#size(depth - 1) : this.#simple(type);
      case 6:
        return this.#simple(type);
      default:
        return this.#computed(type, depth - 1);
    }
  }

  #statement(depth: number): void {
    const chance = this.#chance;
    if (depth <= 0 || this.#room-- <= 0) return;
    switch (chance.below(13)) {
      case 0:
      case 1: {
        const type = chance.pick(["i", "I", "f", "F", "V", "r"]);
        this.#value(type, depth - 1);
        return this.#consume(type);
      }
      case 2: {
        const gives = chance.pick(["", "", "i", "IF"]);
        this.#block(gives, depth - 1);
        return this.#consume(gives);
      }
      case 3: {
        const index = chance.below(this.#plan.functions.length);
        this.#call(index, depth - 1);
        return this.#consume(this.#plan.functions[index].gives);
      }
      case 4:
        return this.#branchIf(depth - 1);
      case 5:
        if (chance.oneIn(3)) this.#jump(depth - 1);
        return;
      case 6:
        return this.#bulk(depth - 1);
      case 7:
        return this.#tableWork(depth - 1);
      case 8:
        return void this.#code.u8(0x01);
      default:
        return this.#computed("", depth - 1);
    }
  }

  // An instruction by its table, its operands before it.
  #computed(gives: string, depth: number): void {
    const list = BY_RESULT.get(gives);
    if (list === undefined) return this.#simple(gives);
    const instruction = this.#chance.pick(list);
    if (instruction.align >= 0 && !this.#plan.hasMemory) {
      return gives === "" ? undefined : this.#simple(gives);
    }
    for (const [index, type] of [...instruction.takes].entries()) {
      this.#value(type, depth);
      if (index === 0 && instruction.align >= 0 && !this.#chance.oneIn(40)) {
        this.#code.constant(0xfff0);
        this.#code.op(0x71);
      }
    }
    this.#code.instruction(instruction);
    if (instruction.nan !== "") this.#withoutNaN(instruction);
  }

  // The bits of a NaN depend on registers: none may be seen.
  #withoutNaN({ gives, nan }: Instruction): void {
    const code = this.#code;
    const local = this.#scratch + SCRATCH.indexOf(gives);
    const get = () => this.#code.op(0x20, local);
    this.#code.op(0x22, local);
    if (gives === "V") {
      get();
      get();
      this.#code.long(0xfd, nan === "f" ? 65 : 71);
      return this.#code.long(0xfd, 78);
    }
    this.#code.op(gives === "f" ? 0x43 : 0x44);
    for (let left = gives === "f" ? 4 : 8; left > 0; left--) code.u8(0);
    get();
    get();
    this.#code.op(gives === "f" ? 0x5b : 0x61);
    this.#code.op(0x1b);
  }

  #simple(type: string): void {
    const chance = this.#chance;
    const locals = chance.oneIn(3) ? [] : places(this.#locals, type);
    if (locals.length > 0) return this.#code.op(0x20, chance.pick(locals));
    const globals = chance.oneIn(3) ? places(this.#plan.globals, type).filter((i) => i > 1) : [];
    if (globals.length > 0) return this.#code.op(0x23, chance.pick(globals));
    this.#code.literal(type);
  }

  #select(type: string, depth: number): void {
    this.#value(type, depth);
    this.#value(type, depth);
    this.#value("i", depth);
    if (!"re".includes(type) && this.#chance.oneIn(2)) return this.#code.op(0x1b);
    this.#code.op(0x1c, 1);
    this.#code.u8(VALUE_CODES[type]);
  }

  #tee(type: string, depth: number): void {
    this.#value(type, depth);
    const locals = places(this.#locals, type);
    if (locals.length > 0) this.#code.op(0x22, this.#chance.pick(locals));
  }

  #size(depth: number): void {
    const { hasMemory, hasTable } = this.#plan;
    const chance = this.#chance;
    if (hasMemory && chance.oneIn(2)) {
      if (!chance.oneIn(3)) return this.#code.op(0x3f, 0);
      this.#code.constant(chance.below(2));
      return this.#code.op(0x40, 0);
    }
    if (!hasTable) return this.#simple("i");
    if (!chance.oneIn(2)) return this.#code.long(0xfc, 16, 0);
    this.#value("r", depth);
    this.#code.constant(chance.pick([0, 1, 2, -1]));
    this.#code.long(0xfc, 15, 0);
  }

  #bulk(depth: number): void {
    if (!this.#plan.hasMemory) return;
    const chance = this.#chance;
    const opcode = chance.pick([8, 8, 10, 10, 11, 11, 9]);
    if (opcode === 9) return chance.oneIn(4) ? this.#code.long(0xfc, 9, 1) : undefined;
    for (const mask of [0xfff, opcode === 11 ? -1 : opcode === 8 ? 15 : 0xfff]) {
      this.#value("i", depth);
      this.#code.constant(mask);
      this.#code.op(0x71);
    }
    this.#code.constant(chance.oneIn(12) ? chance.pick(BULK_SIZES) : chance.below(16));
    this.#code.long(0xfc, opcode);
    for (const byte of { 8: [1, 0], 10: [0, 0], 11: [0] }[opcode] ?? []) this.#code.u8(byte);
  }

  #tableWork(depth: number): void {
    if (!this.#plan.hasTable) return;
    const chance = this.#chance;
    const size = () =>
      this.#code.constant(chance.oneIn(12) ? chance.pick(BULK_SIZES) : chance.below(4));
    this.#code.constant(chance.below(9));
    switch (chance.below(5)) {
      case 0:
        this.#code.op(0x25, 0);
        return this.#code.op(0x1a);
      case 1:
        this.#value("r", depth);
        return this.#code.op(0x26, 0);
      case 2:
        this.#value("r", depth);
        size();
        return this.#code.long(0xfc, 17, 0);
      case 3:
        this.#code.constant(chance.below(5));
        size();
        this.#code.long(0xfc, 14, 0);
        return void this.#code.u8(0);
      default:
        this.#code.constant(chance.below(2));
        size();
        this.#code.long(0xfc, 12, 1);
        return void this.#code.u8(0);
    }
  }

  // Blocks and branches.

  #block(gives: string, depth: number): void {
    const code = this.#code;
    const chance = this.#chance;
    const takes = chance.pick(["", "", "i", "If", "VFi", gives]);
    const kind = chance.pick([2, 3, 4]);
    this.#values(takes, depth);
    if (kind === 4) {
      this.#value("i", depth);
      this.#code.count();
    }
    code.u8(kind);
    this.#blockType({ takes, gives });
    this.#labels.push({ types: kind === 3 ? takes : gives, isLoop: kind === 3 });
    this.#arm({ takes, gives }, depth);
    if (kind === 4 && (takes !== gives || chance.oneIn(2))) {
      code.u8(0x05);
      this.#arm({ takes, gives }, depth);
    }
    this.#labels.pop();
    code.u8(0x0b);
  }

  #arm({ takes, gives }: Shape, depth: number): void {
    const chance = this.#chance;
    const first = chance.oneIn(2);
    if (first) this.#consume(takes);
    for (let left = chance.below(4); left > 0; left--) this.#statement(depth);
    if (!first) this.#consume(takes);
    if (this.#labels.at(-1)?.isLoop === true) this.#turn(takes);
    this.#values(gives, depth);
  }

  // Back to the head of the innermost loop.
  #turn(takes: string): void {
    this.#values(takes, 1);
    this.#guard();
    this.#code.op(0x0d, 0);
    this.#consume(takes);
  }

  #blockType({ takes, gives }: Shape): void {
    if (takes !== "" || gives.length > 1)
      return this.#code.s32(this.#options.typeOf({ takes, gives }));
    this.#code.u8(gives === "" ? 0x40 : VALUE_CODES[gives]);
  }

  #branchIf(depth: number): void {
    const index = this.#chance.below(this.#labels.length);
    const { types, isLoop } = this.#labels[index];
    this.#values(types, depth);
    if (isLoop) this.#guard();
    else this.#value("i", depth);
    this.#code.op(0x0d, this.#labels.length - 1 - index);
    this.#consume(types);
  }

  // Something after which nothing runs.
  #jump(depth: number): void {
    const chance = this.#chance;
    switch (chance.below(8)) {
      case 0:
        return this.#code.op(0x00);
      case 1:
        return this.#tailCall(depth);
      case 2:
      case 3:
        this.#values(this.#shape.gives, depth);
        return this.#code.op(0x0f);
      default: {
        const index = chance.below(this.#labels.length);
        if (!this.#labels[index].isLoop) return this.#branch(index, depth);
        this.#guarded(() => this.#branch(index, depth));
        return this.#code.op(0x00);
      }
    }
  }

  #branch(index: number, depth: number): void {
    const chance = this.#chance;
    const labels = this.#labels;
    const { types, isLoop } = labels[index];
    const out = (target: number) => labels.length - 1 - target;
    this.#values(types, depth);
    if (chance.oneIn(2)) return this.#code.op(0x0c, out(index));
    const others = [...labels.keys()].filter(
      (other) => labels[other].types === types && (isLoop || !labels[other].isLoop),
    );
    this.#value("i", depth);
    if (chance.oneIn(2)) {
      this.#code.constant(3);
      this.#code.op(0x71);
    }
    const targets = Array.from({ length: chance.below(5) }, () => chance.pick(others));
    this.#code.op(0x0e, targets.length);
    for (const target of targets) this.#code.u32(out(target));
    this.#code.u32(out(index));
  }

  // After a jump the stack holds whatever is asked of it.
  #dead(type: string): void {
    for (let left = this.#chance.below(3); left > 0; left--) {
      const instruction = this.#chance.pick(INSTRUCTIONS);
      if (instruction.align >= 0) continue;
      this.#code.instruction(instruction);
      this.#code.op(0x1a);
    }
    if (this.#chance.oneIn(2)) this.#simple(type);
  }

  // Calls.

  #callFor(type: string, depth: number): void {
    const { functions } = this.#plan;
    const fitting = [...functions.keys()].filter((index) => functions[index].gives[0] === type);
    if (fitting.length === 0) return this.#simple(type);
    const index = this.#chance.pick(fitting);
    this.#call(index, depth);
    this.#consume(functions[index].gives.slice(1));
  }

  #call(index: number, depth: number): void {
    const { functions, imported } = this.#plan;
    const { takes, gives } = functions[index];
    const isForward = index < imported || index > this.#options.index;
    if (isForward && this.#freeCalls-- > 0) {
      this.#values(takes, depth);
      return this.#code.op(0x10, index);
    }
    this.#guard();
    this.#code.count();
    this.#code.u8(0x04);
    this.#blockType({ takes: "", gives });
    this.#labels.push({ types: gives, isLoop: false });
    this.#values(takes, depth);
    if (!this.#plan.hasTable || this.#chance.oneIn(2)) this.#code.op(0x10, index);
    else this.#indirect(0x11, index, depth);
    if (gives !== "") {
      this.#code.u8(0x05);
      this.#values(gives, 0);
    }
    this.#labels.pop();
    this.#code.u8(0x0b);
  }

  #indirect(opcode: number, index: number, depth: number): void {
    const { slots, functions } = this.#plan;
    const slot = slots.findIndex((other) => functions[other] === functions[index]);
    if (slot !== -1 && !this.#chance.oneIn(8)) {
      this.#code.constant(slot);
    } else {
      this.#value("i", depth);
      this.#code.constant(15);
      this.#code.op(0x71);
    }
    this.#code.op(opcode, this.#options.typeOf(functions[index]));
    this.#code.u8(0);
  }

  #tailCall(depth: number): void {
    const { functions, hasTable } = this.#plan;
    const { gives } = this.#shape;
    const fitting = [...functions.keys()].filter((index) => functions[index].gives === gives);
    const index = this.#chance.pick(fitting);
    this.#guarded(() => {
      this.#values(functions[index].takes, depth);
      if (!hasTable || this.#chance.oneIn(2)) this.#code.op(0x12, index);
      else this.#indirect(0x13, index, depth);
    });
    this.#code.op(0x00);
  }

  #guarded(write: () => void): void {
    this.#guard();
    this.#code.count();
    this.#code.u8(0x04);
    this.#code.u8(0x40);
    this.#labels.push({ types: "", isLoop: false });
    write();
    this.#labels.pop();
    this.#code.u8(0x0b);
  }

  // Pushes whether there is a turn left, and takes it.
  #guard(): void {
    if (this.#plan.endless) return this.#code.constant(1);
    this.#code.op(0x23, 0);
    this.#code.constant(1);
    this.#code.op(0x6b);
    this.#code.op(0x24, 0);
    this.#code.op(0x23, 0);
    this.#code.constant(0);
    this.#code.op(0x4a);
  }

  // Several values, of which the first is kept.
  #keepFirst(type: string, write: (gives: string) => void): void {
    const gives = type + this.#chance.pick(["", "", "", "i", "FV"]);
    write(gives);
    this.#consume(gives.slice(1));
  }

  // Takes values off the stack, into locals, globals or nowhere.
  #consume(types: string): void {
    const chance = this.#chance;
    for (let i = types.length - 1; i >= 0; i--) {
      const locals = chance.oneIn(3) ? [] : places(this.#locals, types[i]);
      const globals = places(this.#plan.globals, types[i]).filter((index) => index > 1);
      if (locals.length > 0) this.#code.op(0x21, chance.pick(locals));
      else if (globals.length > 0) this.#code.op(0x24, chance.pick(globals));
      else this.#code.op(0x1a);
    }
  }
}

function places(types: string, type: string): number[] {
  const found: number[] = [];
  for (let i = 0; i < types.length; i++) if (types[i] === type) found.push(i);
  return found;
}
