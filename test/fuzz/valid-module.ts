// Makes random modules that are valid by construction and end by themselves: every turn of a loop and
// every call that could come again first takes one from a counter. With `endless` they do not; with
// `counted` the same module also counts, one by one, the instructions that it runs.

import { Writer } from "../../sandbox/writer.ts";
import type { Chance } from "../support/chance.ts";
import { BodyMaker, type Plan, type Shape } from "./valid-body.ts";
import { VALUE_CODES } from "./instructions.ts";

export type Entry = Shape & { readonly name: string };

export type MadeModule = {
  readonly bytes: Uint8Array;
  /** Exported functions, of numbers only. */
  readonly entries: readonly Entry[];
};

export type ModuleOptions = {
  readonly endless: boolean;
  readonly counted: boolean;
  /** How many functions to make; a few when left out. */
  readonly functions?: number;
};

/** What the modules import, from `extism:host/user`. */
export const HOST_SHAPES: Readonly<Record<string, Shape>> = {
  note: { takes: "i", gives: "" },
  mix: { takes: "IF", gives: "i" },
  turn: { takes: "f", gives: "I" },
};

/** The exported count of a `counted` module. */
export const COUNT_EXPORT = "count";

const NUMBERS = "iIfF";
const ENTRIES_MAX = 100;
/** A section `name` that calls the module "a". */
const NAMES = [4, ...Buffer.from("name"), 0, 2, 1, 0x61];
const TABLE_SLOTS = 8;
const TURNS = [0, 3, 40, 400];
const ROOMS = [2, 4, 8, 16, 60];
/** Long enough for charges in the middle of straight code. */
const LARGE_ROOM = 3_000;

/** The module of these choices; equal ones but for `counted` differ in the counting alone. */
export function makeModule(chance: Chance, options: ModuleOptions): MadeModule {
  const functions = makeShapes(chance, options.functions ?? chance.between(1, 7));
  const imported = Object.keys(HOST_SHAPES).length;
  const plan: Plan = {
    ...options,
    types: [],
    functions,
    imported,
    globals: `iI${chance.oneIn(2) ? "" : types(chance, 6, "iIfFVre")}`,
    slots: Array.from({ length: TABLE_SLOTS }, () => chance.below(functions.length)),
    hasMemory: !chance.oneIn(8),
    hasTable: !chance.oneIn(8),
  };
  for (const shape of functions) typeOf(plan, shape);
  const sections = new Writer(4_096);
  const bodies = new Writer(2_048);
  for (let index = imported; index < functions.length; index++) {
    const room = chance.oneIn(200) ? LARGE_ROOM : chance.pick(ROOMS);
    const body = new BodyMaker(chance, { plan, index, typeOf: (shape) => typeOf(plan, shape) });
    const code = body.make(types(chance, chance.oneIn(30) ? 60 : 8, "iIfFVre"), room);
    bodies.u32(code.length);
    bodies.all(code);
  }
  const start = functions.findIndex(({ takes, gives }, i) => i >= imported && takes + gives === "");
  assemble(sections, { plan, chance, bodies, start: chance.oneIn(3) ? start : -1 });
  const entries = entriesOf(plan).map((index) => ({ ...functions[index], name: `f${index}` }));
  return { bytes: sections.result(), entries };
}

function makeShapes(chance: Chance, count: number): Shape[] {
  const shapes = Object.values(HOST_SHAPES);
  shapes.push({ takes: types(chance, 3, NUMBERS), gives: types(chance, 3, NUMBERS) });
  for (let left = count - 1; left > 0; left--) {
    const wide = chance.oneIn(12) ? 20 : 3;
    const letters = chance.oneIn(2) ? NUMBERS : "iIfFVre";
    shapes.push({ takes: types(chance, wide, letters), gives: types(chance, wide, letters) });
  }
  return shapes;
}

function types(chance: Chance, most: number, letters: string): string {
  let list = "";
  for (let left = chance.below(most + 1); left > 0; left--)
    list += letters[chance.below(letters.length)];
  return list;
}

/** Indices of the functions that are exported. */
function entriesOf({ functions, imported }: Plan): number[] {
  const isNumeric = ({ takes, gives }: Shape) => !/[Vre]/.test(takes + gives);
  const own = [...functions.keys()].slice(imported);
  return own.filter((index) => isNumeric(functions[index])).slice(0, ENTRIES_MAX);
}

function typeOf({ types }: Plan, { takes, gives }: Shape): number {
  const index = types.findIndex((type) => type.takes === takes && type.gives === gives);
  return index === -1 ? types.push({ takes, gives }) - 1 : index;
}

type Parts = {
  readonly plan: Plan;
  readonly chance: Chance;
  readonly bodies: Writer;
  readonly start: number;
};

function assemble(out: Writer, parts: Parts): void {
  const { plan, chance, start } = parts;
  for (const byte of [0, 0x61, 0x73, 0x6d, 1, 0, 0, 0]) out.u8(byte);
  section(out, 1, (to) => {
    to.u32(plan.types.length);
    for (const { takes, gives } of plan.types) {
      to.u8(0x60);
      for (const list of [takes, gives]) {
        to.u32(list.length);
        for (const type of list) to.u8(VALUE_CODES[type]);
      }
    }
  });
  section(out, 2, (to) => {
    to.u32(plan.imported);
    for (const [name, shape] of Object.entries(HOST_SHAPES)) {
      to.name("extism:host/user");
      to.name(name);
      to.u8(0);
      to.u32(typeOf(plan, shape));
    }
  });
  section(out, 3, (to) => {
    to.u32(plan.functions.length - plan.imported);
    for (const shape of plan.functions.slice(plan.imported)) to.u32(typeOf(plan, shape));
  });
  if (plan.hasTable)
    section(out, 4, (to) => [1, 0x70, 1, TABLE_SLOTS, 12].forEach((b) => to.u8(b)));
  if (plan.hasMemory) section(out, 5, (to) => [1, 1, 1, 3].forEach((b) => to.u8(b)));
  section(out, 6, (to) => globals(to, plan, chance));
  section(out, 7, (to) => exported(to, plan));
  if (start !== -1) section(out, 8, (to) => to.u32(start));
  section(out, 9, (to) => elements(to, plan));
  if (plan.hasMemory) section(out, 12, (to) => to.u32(2));
  section(out, 10, (to) => {
    to.u32(plan.functions.length - plan.imported);
    to.all(parts.bodies.view());
  });
  if (plan.hasMemory) section(out, 11, (to) => data(to, chance));
  if (chance.oneIn(10)) section(out, 0, (to) => NAMES.forEach((byte) => to.u8(byte)));
}

function section(out: Writer, id: number, write: (to: Writer) => void): void {
  out.u8(id);
  const at = out.reserveLength();
  write(out);
  out.patchLength(at);
}

function globals(to: Writer, { globals }: Plan, chance: Chance): void {
  to.u32(globals.length);
  for (const [index, type] of [...globals].entries()) {
    to.u8(VALUE_CODES[type]);
    to.u8(1);
    if (index === 0) {
      to.u8(0x41);
      to.s32(chance.pick(TURNS));
    } else {
      zero(to, type);
    }
    to.u8(0x0b);
  }
}

function zero(to: Writer, type: string): void {
  const sizes: Record<string, number> = { i: 1, I: 1, f: 4, F: 8, V: 16 };
  if (type === "r" || type === "e") {
    to.u8(0xd0);
    to.u8(VALUE_CODES[type]);
    return;
  }
  if (type === "V") to.u8(0xfd);
  to.u8({ i: 0x41, I: 0x42, f: 0x43, F: 0x44, V: 12 }[type] ?? 0);
  for (let left = sizes[type]; left > 0; left--) to.u8(0);
}

function exported(to: Writer, plan: Plan): void {
  const list: [name: string, kind: number, index: number][] = [[COUNT_EXPORT, 3, 1]];
  for (const index of entriesOf(plan)) list.push([`f${index}`, 0, index]);
  if (plan.hasTable) list.push(["table", 1, 0]);
  if (plan.hasMemory) list.push(["memory", 2, 0]);
  for (const [index, type] of [...plan.globals].entries()) {
    if (index !== 1 && NUMBERS.includes(type)) list.push([`g${index}`, 3, index]);
  }
  to.u32(list.length);
  for (const [name, kind, index] of list) {
    to.name(name);
    to.u8(kind);
    to.u32(index);
  }
}

// An active segment, a passive one, and the declaration of every function.
function elements(to: Writer, plan: Plan): void {
  to.u32(plan.hasTable ? 3 : 1);
  if (plan.hasTable) {
    [0, 0x41, 0, 0x0b].forEach((byte) => to.u8(byte));
    indices(to, plan.slots);
    [1, 0].forEach((byte) => to.u8(byte));
    indices(to, plan.slots.slice(0, 4));
  }
  [3, 0].forEach((byte) => to.u8(byte));
  indices(to, [...plan.functions.keys()]);
}

function indices(to: Writer, list: readonly number[]): void {
  to.u32(list.length);
  for (const index of list) to.u32(index);
}

function data(to: Writer, chance: Chance): void {
  to.u32(2);
  [0, 0x41, 8, 0x0b].forEach((byte) => to.u8(byte));
  for (const mode of [-1, 1]) {
    if (mode === 1) to.u8(1);
    to.u32(32);
    for (let left = 32; left > 0; left--) to.u8(chance.below(256));
  }
}
