// Writes instructions with their immediates; in a module that counts, each counts itself first.

import { Writer } from "../../sandbox/writer.ts";
import type { Chance } from "../support/chance.ts";
import { VALUE_CODES, type Instruction } from "./instructions.ts";

const INTEGERS = [0, 1, -1, 2, 7, 31, 64, 0x7fff_ffff, -0x8000_0000, 0xffff];
/** The global of a counting module, an i64. */
const COUNT_GLOBAL = 1;

export type CodeOptions = {
  readonly counted: boolean;
  readonly functions: { readonly length: number };
};

export class CodeWriter extends Writer {
  readonly #chance: Chance;
  readonly #counted: boolean;
  readonly #functions: number;

  constructor(chance: Chance, { counted, functions }: CodeOptions) {
    super(512);
    this.#chance = chance;
    this.#counted = counted;
    this.#functions = functions.length;
  }

  op(opcode: number, index?: number): void {
    this.count();
    this.u8(opcode);
    if (index !== undefined) this.u32(index);
  }

  long(prefix: number, opcode: number, index?: number): void {
    this.count();
    this.u8(prefix);
    this.u32(opcode);
    if (index !== undefined) this.u32(index);
  }

  constant(value: number): void {
    this.op(0x41);
    this.s32(value);
  }

  /** An instruction of the table with immediates that are valid, if not wise. */
  instruction({ prefix, opcode, align, lanes }: Instruction): void {
    if (prefix === 0) this.op(opcode);
    else this.long(prefix, opcode);
    if (align >= 0) {
      this.u32(this.#chance.below(align + 1));
      this.u32(this.#chance.oneIn(200) ? 0xffff_fff0 : this.#chance.below(64));
    }
    if (lanes > 0) this.u8(this.#chance.below(lanes));
  }

  /** A constant; never a NaN. */
  literal(type: string): void {
    const chance = this.#chance;
    const integer = chance.oneIn(3) ? chance.pick(INTEGERS) : chance.below(256);
    switch (type) {
      case "i":
        return this.constant(integer);
      case "I":
        this.op(0x42);
        return this.s32(integer);
      case "r":
        if (chance.oneIn(2)) return this.op(0xd2, chance.below(this.#functions));
        return this.op(0xd0, VALUE_CODES["r"]);
      case "e":
        return this.op(0xd0, VALUE_CODES["e"]);
      default: {
        if (type === "V") this.long(0xfd, 12);
        else this.op(type === "f" ? 0x43 : 0x44);
        const bytes = { f: 4, F: 8, V: 16 }[type] ?? 0;
        // With six bits in the last byte the exponent is none of a NaN.
        for (let i = 1; i <= bytes; i++) this.u8(chance.below(i % 4 === 0 ? 64 : 256));
      }
    }
  }

  /** count += 1, where the module counts. */
  count(): void {
    if (!this.#counted) return;
    for (const byte of [0x23, COUNT_GLOBAL, 0x42, 1, 0x7c, 0x24, COUNT_GLOBAL]) this.u8(byte);
  }
}
