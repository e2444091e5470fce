// Which functions of a plugin its cases reached: exact, since every function of an unoptimised build
// sets a global of its own when it is entered. Functions of the SDK and the language are not counted.

import { compileModule } from "../../../sandbox/sandbox.ts";
import { decide } from "./cases.ts";
import type { GoldenCase } from "./cases.ts";
import type { Built } from "./build-plugin.ts";
import { Observer } from "./observe.ts";
import { SourceMap, isLibrary } from "./source-map.ts";
import { Cursor, readWasm } from "./wasm-file.ts";
import type { Section, WasmFile } from "./wasm-file.ts";

export type Coverage = {
  readonly reached: number;
  readonly functions: number;
  /** Names of those that were not, with their places where known. */
  readonly missed: readonly string[];
};

const PREFIX = "reached:";

/** Runs the cases once more, on a build with `plain` purpose. */
export async function measureCoverage(
  plain: Built,
  cases: readonly (readonly [file: string, golden: GoldenCase])[],
): Promise<Coverage> {
  const file = readWasm(plain.prepared);
  const own = ownFunctions(plain);
  const module = await compileModule(withCounters(plain.prepared, file, [...own.keys()]));
  using observer = new Observer();
  const loaded = { module, manifest: plain.manifest, observer };
  for (const [, golden] of cases) await decide(loaded, golden);
  const counts = observer.globals(PREFIX);
  const missed = [...own].filter(([index]) => (counts.get(`${PREFIX}${index}`) ?? 0) === 0);
  return {
    reached: own.size - missed.length,
    functions: own.size,
    missed: missed.map(([, name]) => name),
  };
}

// By index, the functions that are the plugin's, with their places where known. asc names a function by
// its file, and what it makes itself has no place; rustc names it by its crate, but what is exported
// has its bare name.
function ownFunctions({ bytes, sourceMap }: Built): ReadonlyMap<number, string> {
  const { names, importedFunctions, bodies, exports } = readWasm(bytes);
  const map = sourceMap === null ? null : new SourceMap(sourceMap);
  const exported = new Set(exports.map(({ name }) => name));
  const own = new Map<number, string>();
  for (const [i, body] of bodies.entries()) {
    const name = names.get(importedFunctions + i) ?? "";
    const place = map?.firstIn(body) ?? null;
    if (place !== null && !isLibrary(name) && !name.startsWith("start:")) {
      own.set(importedFunctions + i, `${name} (${place.file}:${place.line})`);
    }
    const isExport = exported.has(name) && name.startsWith("on_");
    if (map === null && (isExport || /^_?<?plugin::/.test(name))) {
      own.set(importedFunctions + i, name);
    }
  }
  return own;
}

/** The module with an exported global for each function, set to 1 at its entry. */
function withCounters(bytes: Uint8Array, file: WasmFile, own: readonly number[]): Uint8Array {
  const globalOf = new Map(own.map((index, i) => [index, file.globals + i]));
  const newGlobals = own.map(() => Buffer.from([0x7f, 1, 0x41, 0, 0x0b]));
  const newExports = [...globalOf].map(([index, global]) => {
    const name = Buffer.from(`${PREFIX}${index}`);
    return Buffer.concat([leb(name.length), name, Buffer.from([3]), leb(global)]);
  });
  const parts: Uint8Array[] = [bytes.subarray(0, 8)];
  const hasGlobals = file.sections.some(({ id }) => id === 6);
  for (const section of file.sections) {
    if (section.id === 7 && !hasGlobals) parts.push(wrap(6, [leb(own.length), ...newGlobals]));
    if (section.id === 6) parts.push(appended(bytes, section, newGlobals));
    else if (section.id === 7) parts.push(appended(bytes, section, newExports));
    else if (section.id === 10) parts.push(countingCode(bytes, file, globalOf));
    // Hints to the compiler speak of offsets within functions, which change.
    else if (!section.name.startsWith("metadata.code.")) {
      parts.push(bytes.subarray(section.start, section.end));
    }
  }
  return new Uint8Array(Buffer.concat(parts));
}

function appended(bytes: Uint8Array, section: Section, entries: readonly Buffer[]): Buffer {
  const cursor = new Cursor(bytes, section.from, section.end);
  const count = cursor.u32() + entries.length;
  return wrap(section.id, [leb(count), bytes.subarray(cursor.pos, section.end), ...entries]);
}

function countingCode(
  bytes: Uint8Array,
  { bodies, importedFunctions }: WasmFile,
  globalOf: ReadonlyMap<number, number>,
): Buffer {
  const parts: Uint8Array[] = [leb(bodies.length)];
  for (const [i, { from, end }] of bodies.entries()) {
    const global = globalOf.get(importedFunctions + i);
    const at = global === undefined ? from : endOfLocals(bytes, from, end);
    // i32.const 1, global.set
    const mark = global === undefined ? [] : [0x41, 1, 0x24, ...leb(global)];
    parts.push(leb(end - from + mark.length));
    parts.push(bytes.subarray(from, at), Uint8Array.from(mark), bytes.subarray(at, end));
  }
  return wrap(10, parts);
}

function endOfLocals(bytes: Uint8Array, from: number, end: number): number {
  const cursor = new Cursor(bytes, from, end);
  for (let groups = cursor.u32(); groups > 0; groups--) {
    cursor.u32();
    cursor.u8();
  }
  return cursor.pos;
}

function wrap(id: number, parts: readonly Uint8Array[]): Buffer {
  const content = Buffer.concat(parts);
  return Buffer.concat([Buffer.from([id]), leb(content.length), content]);
}

function leb(value: number): Buffer {
  const bytes: number[] = [];
  for (let left = value; ; left >>>= 7) {
    if (left < 128) return Buffer.from([...bytes, left]);
    bytes.push((left & 127) | 128);
  }
}
