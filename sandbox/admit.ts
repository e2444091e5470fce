// What a module may be. It reads every section of the binary once, front to back, without recursion
// and without building anything larger than the module, and refuses by name what the sandbox does
// not admit. It decides nothing about types inside bodies: V8's validator has the last word on the
// original bytes, and only what it accepts is rewritten.

import { jsonText } from "../gateway/base/json-text.ts";
import { SandboxError } from "./errors.ts";
import {
  ASSEMBLYSCRIPT,
  EXTISM_ENV,
  EXTISM_USER,
  showSignature,
  signatureOf,
  WASI,
  type Signature,
} from "./imports.ts";
import { TABLE_ENTRIES_TOP, type SandboxLimits } from "./limits.ts";
import { MANIFEST_SECTION } from "./manifest.ts";
import { denyFeature, readValueType, walkBody, walkConstant } from "./opcodes.ts";
import { Reader } from "./reader.ts";

export type FunctionType = { readonly params: string[]; readonly results: string[] };

/** A range of the module that the prepared bytes replace. */
export type Patch = { readonly start: number; readonly end: number; readonly bytes: number[] };

export type Admitted = {
  /** Names of exported functions with their types. */
  readonly exports: ReadonlyMap<string, FunctionType>;
  /** Names of all other exports with what they are. */
  readonly otherExports: ReadonlyMap<string, string>;
  /** `module.name` of each import, in order. */
  readonly imports: readonly string[];
  /** The contents of the manifest section, or null. */
  readonly manifest: Uint8Array | null;
  readonly types: readonly FunctionType[];
  /** Type indices of all functions, imported ones first. */
  readonly functions: readonly number[];
  /** Types of the mutable globals, null for each of the others, in order. */
  readonly globals: readonly (number | null)[];
  /** Memory and table sections with their maxima clamped, in order. */
  readonly patches: readonly Patch[];
};

export type AdmitOptions = {
  readonly limits: SandboxLimits;
  readonly hostFunctions: ReadonlyMap<string, Signature>;
};

// Bounds nobody needs to change: far above what compilers emit, and there so that no list grows
// with the module alone.
const TYPES_MAX = 10_000;
const IMPORTS_MAX = 512;
const EXPORTS_MAX = 1_024;
const GLOBALS_MAX = 10_000;
const SEGMENTS_MAX = 100_000;
const CUSTOM_SECTIONS_MAX = 1_000;
const SIGNATURE_MAX = 256;
const NAME_BYTES_MAX = 1_024;

/** Exports with this beginning are the gateway's own. */
export const RESERVED_EXPORT_PREFIX = "sallyport:";

const PAGE_BYTES = 65_536;
const TYPE_NAMES = new Map([
  [0x7f, "i32"],
  [0x7e, "i64"],
  [0x7d, "f32"],
  [0x7c, "f64"],
  [0x7b, "v128"],
  [0x70, "funcref"],
  [0x6f, "externref"],
]);

/** Reads `bytes`, which are at most `moduleBytesMax` long; throws a SandboxError on what it refuses. */
export function admitModule(bytes: Uint8Array, options: AdmitOptions): Admitted {
  const reader = new Reader(bytes, 0, bytes.length);
  readHeader(reader);
  const scan = new Scan(bytes, options);
  while (!reader.done) {
    const start = reader.pos;
    const id = reader.u8();
    const section = reader.slice(reader.u32());
    scan.section(id, section, start);
    // Custom sections may hold anything behind their name.
    if (id !== 0 && !section.done) section.fail(`has bytes left over in section ${id}`);
  }
  return scan.result();
}

function readHeader(reader: Reader): void {
  const { bytes } = reader;
  const magic = bytes[0] === 0 && bytes[1] === 0x61 && bytes[2] === 0x73 && bytes[3] === 0x6d;
  if (bytes.length < 8 || !magic) {
    throw new SandboxError(
      "invalid_module",
      `The upload of ${bytes.length} bytes does not begin with the magic number of a Wasm module.`,
    );
  }
  if (bytes[6] === 1) denyFeature("the component model", 4);
  if (bytes[4] !== 1 || bytes[5] !== 0 || bytes[6] !== 0 || bytes[7] !== 0) {
    const version = bytes[4] | (bytes[5] << 8) | (bytes[6] << 16);
    throw new SandboxError(
      "invalid_module",
      `The module says version ${version} of the binary format; version 1 is supported.`,
    );
  }
  reader.skip(8);
}

function exceeds(what: string, found: number, allowed: number): never {
  throw new SandboxError(
    "limit_exceeded",
    `The module has ${what} of ${found}; ${allowed} is allowed.`,
  );
}

/** The state of one pass; every list is bounded before it is filled. */
class Scan {
  readonly #bytes: Uint8Array;
  readonly #limits: SandboxLimits;
  readonly #hostFunctions: ReadonlyMap<string, Signature>;
  readonly #types: FunctionType[] = [];
  // Type indices of all functions, imported ones first.
  readonly #functions: number[] = [];
  readonly #globals: (number | null)[] = [];
  readonly #imports: string[] = [];
  readonly #exports = new Map<string, FunctionType>();
  readonly #otherExports = new Map<string, string>();
  readonly #patches: Patch[] = [];
  #manifest: Uint8Array | null = null;
  #customSections = 0;
  #memoryBytes = 0;
  #tableEntries = 0;

  constructor(bytes: Uint8Array, options: AdmitOptions) {
    this.#bytes = bytes;
    this.#limits = options.limits;
    this.#hostFunctions = options.hostFunctions;
  }

  result(): Admitted {
    return {
      exports: this.#exports,
      otherExports: this.#otherExports,
      imports: this.#imports,
      manifest: this.#manifest,
      types: this.#types,
      functions: this.#functions,
      globals: this.#globals,
      patches: this.#patches,
    };
  }

  section(id: number, reader: Reader, start: number): void {
    switch (id) {
      case 0:
        return this.#custom(reader);
      case 1:
        return this.#typeSection(reader);
      case 2:
        return this.#importSection(reader);
      case 3:
        return this.#functionSection(reader);
      case 4:
        return this.#tableSection(reader, start);
      case 5:
        return this.#memorySection(reader, start);
      case 6:
        return this.#globalSection(reader);
      case 7:
        return this.#exportSection(reader);
      case 8: // The start function; its index is V8's to check.
      case 12: // The number of data segments.
        return void reader.u32();
      case 9:
        return this.#elementSection(reader);
      case 10:
        return this.#codeSection(reader);
      case 11:
        return this.#dataSection(reader);
      case 13:
        return denyFeature("exception handling (a tag section)", start);
      default:
        return denyFeature(`the unknown section ${id}`, start);
    }
  }

  #custom(reader: Reader): void {
    this.#customSections += 1;
    if (this.#customSections > CUSTOM_SECTIONS_MAX) {
      exceeds("a number of custom sections", this.#customSections, CUSTOM_SECTIONS_MAX);
    }
    if (reader.name(NAME_BYTES_MAX, "a section name") !== MANIFEST_SECTION) return;
    if (this.#manifest !== null) {
      throw new SandboxError("bad_manifest", "The module has more than one manifest section.");
    }
    this.#manifest = this.#bytes.subarray(reader.pos, reader.end);
  }

  #typeSection(reader: Reader): void {
    const count = this.#count(reader, "a number of types", TYPES_MAX);
    for (let i = 0; i < count; i++) {
      const form = reader.u8();
      if (form !== 0x60) {
        if (form >= 0x4c && form <= 0x5f) denyFeature("GC types", reader.pos - 1);
        denyFeature(`the unknown type form 0x${form.toString(16)}`, reader.pos - 1);
      }
      this.#types.push({ params: this.#typeList(reader), results: this.#typeList(reader) });
    }
  }

  #typeList(reader: Reader): string[] {
    const count = this.#count(reader, "a list of parameters or results", SIGNATURE_MAX);
    const names: string[] = [];
    for (let i = 0; i < count; i++) names.push(TYPE_NAMES.get(readValueType(reader))!);
    return names;
  }

  #importSection(reader: Reader): void {
    const count = this.#count(reader, "a number of imports", IMPORTS_MAX);
    for (let i = 0; i < count; i++) {
      const module = reader.name(NAME_BYTES_MAX, "an import's module name");
      const name = reader.name(NAME_BYTES_MAX, "an import's name");
      const kind = reader.u8();
      if (kind !== 0) refuseImportKind(module, name, kind);
      const index = reader.u32();
      const type = this.#types[index] ?? reader.fail(`imports a function of no type ${index}`);
      this.#checkImport(module, name, type);
      this.#functions.push(index);
      this.#imports.push(`${module}.${name}`);
    }
  }

  #checkImport(module: string, name: string, type: FunctionType): void {
    const allowed = signatureOf(module, name, this.#hostFunctions);
    if (allowed === null) refuseImport(module, name);
    const wanted = showSignature(allowed.params, allowed.results);
    const found = showSignature(type.params, type.results);
    if (wanted === found) return;
    throw new SandboxError(
      "import_denied",
      `The module imports ${show(module)} ${show(name)} as ${found}; it is ${wanted}.`,
    );
  }

  #functionSection(reader: Reader): void {
    const count = this.#count(reader, "a number of functions", this.#limits.functionsMax);
    for (let i = 0; i < count; i++) {
      const index = reader.u32();
      if (index >= this.#types.length) reader.fail(`defines a function of no type ${index}`);
      this.#functions.push(index);
    }
  }

  #tableSection(reader: Reader, start: number): void {
    const count = reader.u32();
    if (count > 1) exceeds("a number of tables", count, 1);
    if (count === 0) return;
    const allowed = Math.min(this.#limits.tableEntriesMax, TABLE_ENTRIES_TOP);
    const type = reader.u8();
    if (type === 0x40) denyFeature("tables with an initialiser", reader.pos - 1);
    if (type !== 0x70 && type !== 0x6f) denyFeature("typed tables (GC)", reader.pos - 1);
    const { min, max } = readLimits(reader, "table");
    if (min > allowed) exceeds("a table with an initial size", min, allowed);
    this.#tableEntries = min;
    const clamped = Math.min(max ?? allowed, allowed);
    this.#patch(4, reader, start, [1, type, 1, ...leb(min), ...leb(clamped)]);
  }

  #memorySection(reader: Reader, start: number): void {
    const count = reader.u32();
    if (count > 1) denyFeature("multiple memories", start);
    if (count === 0) return;
    const allowed = this.#limits.memoryPagesMax;
    const { min, max } = readLimits(reader, "memory");
    if (min > allowed) exceeds("a memory with an initial size in pages", min, allowed);
    this.#memoryBytes = min * PAGE_BYTES;
    const clamped = Math.min(max ?? allowed, allowed);
    this.#patch(5, reader, start, [1, 1, ...leb(min), ...leb(clamped)]);
  }

  #globalSection(reader: Reader): void {
    const count = this.#count(reader, "a number of globals", GLOBALS_MAX);
    for (let i = 0; i < count; i++) {
      const type = readValueType(reader);
      const flags = reader.u8();
      if ((flags & 2) !== 0) denyFeature("threads (a shared global)", reader.pos - 1);
      this.#globals.push(flags === 1 ? type : null);
      walkConstant(reader);
    }
  }

  #exportSection(reader: Reader): void {
    const count = this.#count(reader, "a number of exports", EXPORTS_MAX);
    for (let i = 0; i < count; i++) {
      const name = reader.name(NAME_BYTES_MAX, "an export's name");
      const kind = reader.u8();
      const index = reader.u32();
      if (name.startsWith(RESERVED_EXPORT_PREFIX)) {
        throw new SandboxError(
          "reserved_export",
          `The module exports ${show(name)}; names that begin with ${RESERVED_EXPORT_PREFIX} are reserved.`,
        );
      }
      if (kind !== 0) {
        this.#otherExports.set(name, kindName(kind));
        continue;
      }
      const type = this.#types[this.#functions[index]];
      if (type === undefined) reader.fail(`exports a function ${index} that it does not have`);
      this.#exports.set(name, type);
    }
  }

  #elementSection(reader: Reader): void {
    const count = this.#count(reader, "a number of element segments", SEGMENTS_MAX);
    for (let i = 0; i < count; i++) {
      const flags = reader.u32();
      if (flags > 7) reader.fail(`has an element segment of unknown kind ${flags}`);
      const active = (flags & 1) === 0;
      // Bit 1 is an explicit table for active segments, "declared" for the others.
      if (active && (flags & 2) !== 0) reader.u32();
      const offset = active ? walkConstant(reader) : null;
      const expressions = (flags & 4) !== 0;
      if ((flags & 3) !== 0) {
        if (expressions) readValueType(reader);
        else reader.u8();
      }
      const length = reader.u32();
      for (let left = length; left > 0; left--) {
        if (expressions) walkConstant(reader);
        else reader.u32();
      }
      if (offset !== null) mustFit("segment of functions", offset, length, this.#tableEntries);
    }
  }

  #dataSection(reader: Reader): void {
    const count = this.#count(reader, "a number of data segments", SEGMENTS_MAX);
    for (let i = 0; i < count; i++) {
      const flags = reader.u32();
      if (flags > 2) reader.fail(`has a data segment of unknown kind ${flags}`);
      if (flags === 2 && reader.u32() !== 0) denyFeature("multiple memories", reader.pos - 1);
      const offset = flags === 1 ? null : walkConstant(reader);
      const length = reader.u32();
      reader.skip(length);
      if (offset !== null) mustFit("data segment", offset, length, this.#memoryBytes);
    }
  }

  #codeSection(reader: Reader): void {
    const limits = this.#limits;
    const bytes = reader.end - reader.pos;
    if (bytes > limits.codeBytesMax) {
      exceeds("a code section with a size in bytes", bytes, limits.codeBytesMax);
    }
    const count = this.#count(reader, "a number of functions", limits.functionsMax);
    for (let i = 0; i < count; i++) {
      const length = reader.u32();
      if (length > limits.functionBytesMax) {
        exceeds("a function with a size in bytes", length, limits.functionBytesMax);
      }
      const body = reader.slice(length);
      this.#locals(body);
      walkBody(body);
    }
  }

  #locals(body: Reader): void {
    let total = 0;
    for (let groups = body.u32(); groups > 0; groups--) {
      total += body.u32();
      if (total > this.#limits.localsMax) {
        exceeds("a function with a number of locals", total, this.#limits.localsMax);
      }
      readValueType(body);
    }
  }

  #count(reader: Reader, what: string, allowed: number): number {
    const count = reader.u32();
    if (count > allowed) exceeds(what, count, allowed);
    return count;
  }

  #patch(id: number, reader: Reader, start: number, content: number[]): void {
    this.#patches.push({ start, end: reader.end, bytes: [id, content.length, ...content] });
  }
}

function readLimits(reader: Reader, what: string): { min: number; max: number | null } {
  const flags = reader.u8();
  const pos = reader.pos - 1;
  if ((flags & 2) !== 0) denyFeature(`threads (a shared ${what})`, pos);
  if ((flags & 4) !== 0) denyFeature(`a 64-bit ${what}`, pos);
  if ((flags & 8) !== 0) denyFeature("custom page sizes", pos);
  if (flags > 1) reader.fail(`has a ${what} with unknown flags ${flags}`);
  const min = reader.u32();
  return { min, max: flags === 1 ? reader.u32() : null };
}

function mustFit(what: string, offset: number, length: number, size: number): void {
  const from = offset >>> 0;
  if (from + length <= size) return;
  throw new SandboxError(
    "init_failed",
    `The module has a ${what} of ${length} at ${from}, outside the initial size of ${size}: no instance could start.`,
  );
}

function refuseImport(module: string, name: string): never {
  const known = [EXTISM_ENV, EXTISM_USER, WASI, ASSEMBLYSCRIPT].includes(module);
  const reason = known
    ? `${show(module)} has no such function, or it is not granted`
    : `only ${EXTISM_ENV}, ${EXTISM_USER}, ${WASI} and ${ASSEMBLYSCRIPT} can be imported from`;
  throw new SandboxError(
    "import_denied",
    `The module imports ${show(module)} ${show(name)}; ${reason}.`,
  );
}

function refuseImportKind(module: string, name: string, kind: number): never {
  throw new SandboxError(
    "import_kind",
    `The module imports the ${kindName(kind)} ${show(module)} ${show(name)}; ` +
      "only functions can be imported.",
  );
}

function kindName(kind: number): string {
  return ["function", "table", "memory", "global", "tag"][kind] ?? `unknown kind ${kind}`;
}

/** A client's name in a sentence: quoted, escaped, cut. */
function show(name: string): string {
  return jsonText(name.length > 80 ? `${name.slice(0, 77)}...` : name);
}

function leb(value: number): number[] {
  const bytes: number[] = [];
  let rest = value;
  while (rest >= 128) {
    bytes.push((rest & 127) | 128);
    rest = Math.floor(rest / 128);
  }
  bytes.push(rest);
  return bytes;
}
