// Random and mutated WebAssembly at the sandbox's door. It must be refused by a SandboxError and by
// nothing else, in a bounded time; and what is admitted keeps its bounds, imports functions alone,
// and compiles and links. Nothing of a module runs here: prepared, it has no start section.

import { existsSync, readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { HOST_SIGNATURES } from "../../gateway/plugins/abi.ts";
import { walkConstant } from "../../sandbox/opcodes.ts";
import { Reader } from "../../sandbox/reader.ts";
import { DEFAULT_SANDBOX_LIMITS, SandboxError, prepareModule } from "../../sandbox/sandbox.ts";
import type { Prepared } from "../../sandbox/sandbox.ts";
import type { Chance } from "../support/chance.ts";
import { watAssembler } from "../support/wat.ts";
import { Finding } from "./fuzzing.ts";
import type { Counts, Fuzzer } from "./fuzzing.ts";

const INPUTS_PER_ROUND = 1_000;
const INPUTS_PER_LOOK = 20;
/** A module of a few kilobytes takes well below a millisecond; a machine may be busy. */
const PREPARE_MS_MAX = 2_000;
const MESSAGE_CHARS_MAX = 800;
const OPTIONS = {
  limits: { ...DEFAULT_SANDBOX_LIMITS, moduleBytesMax: 64 * 1024, memoryPagesMax: 4 },
  hostFunctions: HOST_SIGNATURES,
  requiredExports: [],
};
/** So that what has grown is refused for what it exports. */
const ROOMY = { ...OPTIONS.limits, moduleBytesMax: 2 ** 24, codeBytesMax: 2 ** 24 };

/** Every kind of section, segment and family of instructions that is admitted, and a few that are not. */
const RICH = `(module
  (type $unary (func (param i64) (result i64)))
  (import "extism:host/env" "alloc" (func $alloc (type $unary)))
  (import "extism:host/user" "request_path" (func $path (result i64)))
  (import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32)))
  (table 4 8 funcref)
  (memory (export "memory") 1 2)
  (global $g (mut i32) (i32.const 7))
  (global i64 (i64.const -1))
  (global f64 (f64.const 1.5))
  (global funcref (ref.null func))
  (elem (i32.const 0) func $one $two)
  (elem func $one)
  (elem declare func $two)
  (data (i32.const 16) "abc")
  (data "passive")
  (data (i32.add (i32.const 64) (i32.const 8)) "sum")
  (func $one (result i32) (i32.const 1))
  (func $two (result i32) (local i64 f32 v128)
    (block $out (loop $again
      (br_table $out $again $out (i32.and (global.get $g) (i32.const 1)))))
    (memory.init 1 (i32.const 0) (i32.const 0) (i32.const 3))
    (memory.copy (i32.const 8) (i32.const 0) (i32.const 3))
    (memory.fill (i32.const 32) (i32.const 0) (i32.const 3))
    (data.drop 1) (elem.drop 1)
    (drop (table.grow (ref.func $two) (i32.const 1)))
    (drop (memory.grow (i32.const 1)))
    (drop (i64.load offset=8 align=8 (i32.const 0)))
    (drop (i8x16.shuffle 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 (local.get 2) (local.get 2)))
    (drop (i32.trunc_sat_f32_s (local.get 1)))
    (drop (i32.extend8_s (i32.const 300)))
    (return_call_indirect (result i32) (i32.const 0)))
  (func (export "on_request") (result i32) (if (result i32) (call $one)
    (then (drop (call $path)) (i32.const 0)) (else (unreachable))))
  (func (export "pair") (result i32 i64) (i32.const 1) (call $alloc (i64.const 8)))
  (func $begin (global.set $g (i32.const 9)))
  (start $begin))`;

const MANIFEST =
  '{"name":"a","version":"1.0.0","abi":1,"input":"json","limits":{"cpu_ms":3,"memory_pages":2},' +
  '"needs":["body"],"config_schema":{"type":"object"},"description":"d"}';

/** Numbers, opcodes and types that something hangs on. */
const NASTY: readonly (readonly number[])[] = [
  ...[0x00, 0x01, 0x02, 0x04, 0x0b, 0x40, 0x60, 0x5f, 0x70, 0x6f, 0x7f, 0x7b, 0x80, 0xff].map(
    (byte) => [byte],
  ),
  ...[0x06, 0x0e, 0x11, 0x1c, 0x1f, 0x3f, 0x41, 0x44, 0xd0, 0xd2, 0xfb, 0xfc, 0xfd, 0xfe].map(
    (byte) => [byte],
  ),
  [0xff, 0xff, 0xff, 0xff, 0x0f],
  [0xff, 0xff, 0xff, 0xff, 0x7f],
  [0x80, 0x80, 0x80, 0x80, 0x00],
  [0x80, 0x80, 0x80, 0x80, 0x80, 0x01],
  [0x80, 0x80, 0x04],
  [0xfc, 0x08, 0x00, 0x00],
  [0x03, 0x40, 0x0c, 0x00, 0x0b],
];
const HEADER = Uint8Array.from([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0]);
const CODE_SECTION = 10;
const DATA_SECTION = 11;

type Section = { readonly id: number; readonly payload: Buffer };

export function modules(name: string): Fuzzer {
  let seeds: readonly (readonly Section[])[] | null = null;
  return {
    name,
    async run(chance, deadlineMs): Promise<Counts> {
      seeds ??= await readSeeds();
      const counts = { inputs: 0, refused: 0, admitted: 0, started: 0, trapped: 0 };
      while (counts.inputs < INPUTS_PER_ROUND) {
        if (counts.inputs % INPUTS_PER_LOOK === 0 && performance.now() > deadlineMs) break;
        counts.inputs++;
        const bytes = makeModule(seeds, chance);
        const prepared = prepare(bytes);
        if (prepared === null) {
          counts.refused++;
          continue;
        }
        counts.admitted++;
        if (judgeAdmitted(prepared, bytes)) counts.started++;
        else counts.trapped++;
      }
      return counts;
    },
  };
}

function prepare(bytes: Uint8Array): Prepared | null {
  const startedMs = performance.now();
  let prepared: Prepared | null = null;
  try {
    prepared = prepareModule(bytes, OPTIONS);
  } catch (error) {
    if (!(error instanceof SandboxError)) throw found(`prepare threw ${String(error)}`, bytes);
    if (error.message.length > MESSAGE_CHARS_MAX || /[\0-\x1f]/.test(error.message)) {
      throw found(`not a sentence: ${JSON.stringify(error.message)}`, bytes);
    }
  }
  const tookMs = performance.now() - startedMs;
  if (tookMs > PREPARE_MS_MAX) throw found(`prepare took ${Math.round(tookMs)} ms`, bytes);
  return prepared;
}

/** True when an instance came to be, false when its initialisation trapped. */
function judgeAdmitted(prepared: Prepared, original: Uint8Array): boolean {
  try {
    mustBePreparedOnce(prepared, original);
    const module = new WebAssembly.Module(prepared.bytes);
    const imports: WebAssembly.Imports = {};
    for (const { module: from, name, kind } of WebAssembly.Module.imports(module)) {
      if (kind !== "function") throw new Error(`imports the ${kind} ${from}.${name}`);
      if (!prepared.imports.includes(`${from}.${name}`)) throw new Error(`hides ${from}.${name}`);
      imports[from] ??= {};
      imports[from][name] = () => 0;
    }
    const { exports } = new WebAssembly.Instance(module, imports);
    for (const name of prepared.exports) {
      if (typeof exports[name] !== "function") throw new Error(`has no function ${name}`);
    }
    for (const value of Object.values(exports)) {
      if (value instanceof WebAssembly.Memory) mustNotGrow(value);
    }
    return true;
  } catch (error) {
    if (error instanceof WebAssembly.RuntimeError && !isForeseeable(error, prepared.bytes)) {
      return false;
    }
    throw found(`admitted, and then: ${String(error)}`, original);
  }
}

// Preparing is repeatable, and what it made cannot pass for an upload.
function mustBePreparedOnce({ bytes }: Prepared, original: Uint8Array): void {
  const again = prepareModule(original, OPTIONS);
  if (!Buffer.from(again.bytes).equals(bytes)) throw new Error("prepared twice differs");
  try {
    prepareModule(bytes, { ...OPTIONS, limits: ROOMY });
  } catch (error) {
    if (error instanceof SandboxError && error.code === "reserved_export") return;
    if (error instanceof SandboxError && error.message.includes("tables of 2")) return;
    throw error;
  }
  throw new Error("prepared bytes were admitted again");
}

// A segment whose place is computed may lie outside; one at a constant must have been refused.
function isForeseeable({ message }: Error, bytes: Uint8Array): boolean {
  const index = /data segment (\d+)/.exec(message)?.[1];
  const section = sectionsOf(bytes).find(({ id }) => id === DATA_SECTION);
  if (index === undefined || section === undefined) return false;
  const reader = new Reader(section.payload, 0, section.payload.length);
  let isConstant = false;
  reader.u32();
  for (let left = Number(index) + 1; left > 0; left--) {
    const flags = reader.u32();
    if (flags === 2) reader.u32();
    isConstant = flags !== 1 && walkConstant(reader) !== null;
    reader.skip(reader.u32());
  }
  return isConstant;
}

function mustNotGrow(memory: WebAssembly.Memory): void {
  const pages = memory.buffer.byteLength / 65_536;
  try {
    memory.grow(OPTIONS.limits.memoryPagesMax - pages + 1);
  } catch {
    return;
  }
  throw new Error("its memory grows beyond what is allowed");
}

function found(what: string, bytes: Uint8Array): Finding {
  return new Finding(what, Buffer.from(bytes).toString("hex"));
}

// Modules.

async function readSeeds(): Promise<readonly (readonly Section[])[]> {
  const assemble = await watAssembler();
  const seeds = [assemble(RICH, false)];
  const plugins = join(import.meta.dirname, "../../plugins-src");
  for (const folder of ["prebuilt", "build"].map((folder) => join(plugins, folder))) {
    for (const file of existsSync(folder) ? readdirSync(folder).sort() : []) {
      if (file.endsWith(".wasm")) seeds.push(readFileSync(join(folder, file)));
    }
  }
  // What is refused as it stands would only test the first look.
  for (const seed of seeds) prepareModule(seed, OPTIONS);
  return seeds.map(sectionsOf);
}

function makeModule(seeds: readonly (readonly Section[])[], chance: Chance): Uint8Array {
  if (chance.oneIn(50)) return randomBytes(chance, chance.below(200));
  const sections = chance.oneIn(20) ? [] : [...chance.pick(seeds)];
  for (let left = chance.between(0, 3); left > 0; left--) changeSections(sections, seeds, chance);
  const bytes = assembleSections(sections);
  return chance.oneIn(4) ? changeBytes(bytes, chance) : bytes;
}

function changeSections(
  sections: Section[],
  seeds: readonly (readonly Section[])[],
  chance: Chance,
): void {
  const at = chance.below(sections.length + 1);
  switch (chance.below(7)) {
    case 0:
      sections.splice(at, 1);
      return;
    case 1:
      sections.splice(at, 0, chance.pick(chance.pick(seeds)));
      return;
    case 2:
      sections.splice(at, 0, { id: chance.below(16), payload: randomBytes(chance, 40) });
      return;
    case 3:
      sections.splice(at, 0, { id: 0, payload: manifest(chance) });
      return;
    default:
      if (at === sections.length) return;
      sections[at] = changeSection(sections[at], chance);
  }
}

// Lengths are put right again, so that what lies deeper is read.
function changeSection({ id, payload }: Section, chance: Chance): Section {
  const bodies = id === CODE_SECTION && !chance.oneIn(3) ? bodiesOf(payload) : [];
  if (bodies.length === 0) return { id, payload: changeBytes(payload, chance) };
  const index = chance.below(bodies.length);
  bodies[index] = changeBytes(bodies[index], chance);
  const parts = bodies.flatMap((body) => [leb(body.length), body]);
  return { id, payload: Buffer.concat([leb(bodies.length), ...parts]) };
}

/** The functions' bodies, as many as there are. */
function bodiesOf(payload: Buffer): Buffer[] {
  const bodies: Buffer[] = [];
  let [count, at] = readLeb(payload, 0);
  for (; count > 0 && at < payload.length; count--) {
    const [length, start] = readLeb(payload, at);
    at = start + length;
    bodies.push(payload.subarray(start, at));
  }
  return bodies;
}

function changeBytes(bytes: Uint8Array, chance: Chance): Buffer {
  let changed = Buffer.from(bytes);
  for (let left = chance.between(1, chance.pick([1, 1, 3, 8])); left > 0; left--) {
    const at = chance.below(changed.length + 1);
    const put = chance.oneIn(2) ? randomBytes(chance, 1) : Buffer.from(chance.pick(NASTY));
    const kept = chance.pick([at, at + 1, at + put.length, at + chance.below(8)]);
    const end = chance.oneIn(40) ? changed.length : kept;
    changed = Buffer.concat([changed.subarray(0, at), put, changed.subarray(end)]);
  }
  return changed;
}

function manifest(chance: Chance): Buffer {
  const json = chance.oneIn(2) ? Buffer.from(MANIFEST) : changeBytes(Buffer.from(MANIFEST), chance);
  return Buffer.concat([Buffer.from("\x09sallyport"), json]);
}

function randomBytes(chance: Chance, length: number): Buffer {
  return Buffer.from(Array.from({ length }, () => chance.below(256)));
}

function sectionsOf(bytes: Uint8Array): Section[] {
  const sections: Section[] = [];
  for (let at = HEADER.length; at < bytes.length;) {
    const [length, start] = readLeb(bytes, at + 1);
    sections.push({ id: bytes[at], payload: Buffer.from(bytes.subarray(start, start + length)) });
    at = start + length;
  }
  return sections;
}

function assembleSections(sections: readonly Section[]): Buffer {
  const parts = sections.flatMap(({ id, payload }) => [
    Buffer.from([id]),
    leb(payload.length),
    payload,
  ]);
  return Buffer.concat([HEADER, ...parts]);
}

function readLeb(bytes: Uint8Array, from: number): [value: number, next: number] {
  let value = 0;
  let at = from;
  for (let scale = 1; ; scale *= 128) {
    const byte = at < bytes.length ? bytes[at] : 0;
    at++;
    value += (byte & 127) * scale;
    if (byte < 128) return [value, at];
  }
}

function leb(value: number): Buffer {
  const bytes: number[] = [];
  for (let rest = value; ; rest = Math.floor(rest / 128)) {
    bytes.push(rest >= 128 ? (rest & 127) | 128 : rest);
    if (rest < 128) return Buffer.from(bytes);
  }
}
