// A Wasm file as an author looks at it: sections, types, names, where each function's code is. It
// admits nothing, and of a broken file it tells as much as can be read.

export type Section = {
  /** Its number in the binary format; 0 is a custom section. */
  readonly id: number;
  /** Of custom sections. */
  readonly name: string;
  readonly start: number;
  /** Where its content begins, behind id, size and name. */
  readonly from: number;
  readonly end: number;
};

export type Border = { readonly name: string; readonly kind: string; readonly type: string };

export type WasmFile = {
  readonly sections: readonly Section[];
  /** `module.name` with what it is. */
  readonly imports: readonly Border[];
  readonly exports: readonly Border[];
  /** How many functions come from outside: their indices are the first. */
  readonly importedFunctions: number;
  /** Where the code of each own function lies, locals included. */
  readonly bodies: readonly { readonly from: number; readonly end: number }[];
  /** Function names by index. */
  readonly names: ReadonlyMap<number, string>;
  readonly memory: Range | null;
  readonly table: Range | null;
  readonly globals: number;
};

export type Range = { readonly min: number; readonly max: number | null };

const KINDS = ["function", "table", "memory", "global", "tag"];
const TYPES = new Map([
  [0x7f, "i32"],
  [0x7e, "i64"],
  [0x7d, "f32"],
  [0x7c, "f64"],
  [0x7b, "v128"],
  [0x70, "funcref"],
  [0x6f, "externref"],
]);

/** Reads a file; throws a RangeError where it is not a module. */
export function readWasm(bytes: Uint8Array): WasmFile {
  if (Buffer.from(bytes.subarray(0, 8)).toString("hex") !== "0061736d01000000") {
    throw new RangeError("it does not begin as a Wasm module does");
  }
  const sections = readSections(bytes);
  const cursorAt = (id: number, name = "") => {
    const found = sections.find((each) => each.id === id && each.name === name);
    return found === undefined ? null : new Cursor(bytes, found.from, found.end);
  };
  const types = each(cursorAt(1), readType);
  const imports = each(cursorAt(2), (cursor) => readImport(cursor, types));
  const functions = imports.filter(({ kind }) => kind === "function").map(({ type }) => type);
  const importedFunctions = functions.length;
  functions.push(...each(cursorAt(3), (cursor) => types[cursor.u32()] ?? "?"));
  return {
    sections,
    imports,
    importedFunctions,
    exports: each(cursorAt(7), (cursor) => {
      const name = cursor.text();
      const kind = KINDS[cursor.u8()] ?? "?";
      const index = cursor.u32();
      return { name, kind, type: kind === "function" ? (functions[index] ?? "?") : "" };
    }),
    bodies: each(cursorAt(10), (cursor) => {
      const size = cursor.u32();
      const from = cursor.pos;
      cursor.pos += size;
      return { from, end: cursor.pos };
    }),
    names: readNames(cursorAt(0, "name")),
    memory: each(cursorAt(5), readRange)[0] ?? null,
    table: each(cursorAt(4), (cursor) => (cursor.u8(), readRange(cursor)))[0] ?? null,
    globals: cursorAt(6)?.u32() ?? 0,
  };
}

/** Reads numbers and texts of the binary format; throws a RangeError past its end. */
export class Cursor {
  readonly #bytes: Uint8Array;
  readonly #end: number;
  pos: number;

  constructor(bytes: Uint8Array, pos: number, end: number) {
    this.#bytes = bytes;
    this.pos = pos;
    this.#end = end;
  }

  get done(): boolean {
    return this.pos >= this.#end;
  }

  u8(): number {
    if (this.done) throw new RangeError(`it ends in the middle, at byte ${this.pos}`);
    return this.#bytes[this.pos++];
  }

  u32(): number {
    let value = 0;
    for (let factor = 1; ; factor *= 128) {
      const byte = this.u8();
      value += (byte & 127) * factor;
      if (byte < 128) return value;
    }
  }

  text(): string {
    const length = this.u32();
    if (length > this.#end - this.pos) throw new RangeError(`it ends in a name at ${this.pos}`);
    this.pos += length;
    return Buffer.from(this.#bytes.subarray(this.pos - length, this.pos)).toString("utf8");
  }
}

function readSections(bytes: Uint8Array): Section[] {
  const cursor = new Cursor(bytes, 8, bytes.length);
  const sections: Section[] = [];
  while (!cursor.done) {
    const start = cursor.pos;
    const id = cursor.u8();
    const size = cursor.u32();
    const end = cursor.pos + size;
    if (end > bytes.length) throw new RangeError(`it ends in section ${id}, at byte ${start}`);
    const name = id === 0 ? cursor.text() : "";
    sections.push({ id, name, start, from: cursor.pos, end });
    cursor.pos = end;
  }
  return sections;
}

function each<T>(cursor: Cursor | null, read: (cursor: Cursor) => T): T[] {
  const found: T[] = [];
  for (let left = cursor?.u32() ?? 0; left > 0; left--) found.push(read(cursor!));
  return found;
}

function readType(cursor: Cursor): string {
  cursor.u8();
  const list = () => each(cursor, (at) => TYPES.get(at.u8()) ?? "?").join(", ");
  const params = list();
  const results = list();
  return `(${params}) -> ${results === "" ? "()" : results}`;
}

function readImport(cursor: Cursor, types: readonly string[]): Border {
  const name = `${cursor.text()}.${cursor.text()}`;
  const kind = KINDS[cursor.u8()] ?? "?";
  if (kind === "function") return { name, kind, type: types[cursor.u32()] ?? "?" };
  if (kind === "table") cursor.u8();
  if (kind === "global" || kind === "tag") cursor.pos += 2;
  else readRange(cursor);
  return { name, kind, type: "" };
}

function readRange(cursor: Cursor): Range {
  const flags = cursor.u8();
  const min = cursor.u32();
  return { min, max: (flags & 1) === 1 ? cursor.u32() : null };
}

// Subsection 1 of the name section: function indices with names.
function readNames(cursor: Cursor | null): Map<number, string> {
  const names = new Map<number, string>();
  while (cursor !== null && !cursor.done) {
    const id = cursor.u8();
    const size = cursor.u32();
    if (id !== 1) {
      cursor.pos += size;
      continue;
    }
    for (let left = cursor.u32(); left > 0; left--) {
      names.set(cursor.u32(), readableName(cursor.text()));
    }
  }
  return names;
}

/** A Rust symbol as `crate::module::function`; other names as they are. */
export function readableName(name: string): string {
  const mangled = /^_ZN(.+)17h[0-9a-f]{16}E$/.exec(name)?.[1];
  if (mangled === undefined) return name;
  const parts: string[] = [];
  for (let at = 0; at < mangled.length;) {
    const digits = /^\d+/.exec(mangled.slice(at))?.[0];
    if (digits === undefined) return name;
    at += digits.length;
    parts.push(mangled.slice(at, at + Number(digits)));
    at += Number(digits);
  }
  const escapes: Record<string, string> = { LT: "<", GT: ">", RF: "&", C: ",", BP: "*" };
  return parts
    .join("::")
    .replaceAll(/\$u([0-9a-f]+)\$/g, (_, hex: string) => String.fromCodePoint(parseInt(hex, 16)))
    .replaceAll(/\$(\w+)\$/g, (all, code: string) => escapes[code] ?? all)
    .replaceAll("..", "::");
}
