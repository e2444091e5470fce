// Metered code against the code it was made from. With unlimited fuel and room random valid modules
// must do what their originals do, to the byte and the imported call; with less they end exactly where
// it is used up and have done nothing else before; what they paid covers what they ran. Modules that
// never end must be stopped. The modules are of our own, of binaryen's generator, and of this tree.

import { execFile } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import wabt from "wabt";
import { HOST_SIGNATURES } from "../../gateway/plugins/abi.ts";
import { admitModule } from "../../sandbox/admit.ts";
import { Reader } from "../../sandbox/reader.ts";
import {
  DEFAULT_SANDBOX_LIMITS,
  prepareModule,
  type Signature,
  type ValueType,
} from "../../sandbox/sandbox.ts";
import { Writer } from "../../sandbox/writer.ts";
import { Chance } from "../support/chance.ts";
import { Finding, type Counts, type Fuzzer } from "./fuzzing.ts";
import { ModuleRunner, STOP, type Subject, type Trace } from "./module-run.ts";
import type { Shape } from "./valid-body.ts";
import { HOST_SHAPES, makeModule } from "./valid-module.ts";

const MODULES_PER_ROUND = 200;
const MODULES_PER_LOOK = 10;
/** Room enough that no module here runs out of it. */
const STACK_BYTES = 2 ** 29;
/** What a leaf that an export names may run without paying. */
const FREE_UNITS = 64;
const ENDLESS_REFUELS = 20;
const ENDLESS_SLICE = 5_000;
const SLICES = [1, 50, 1_000, 100_000];
/** wabt takes longer for a module than all the rest. */
const MODULES_PER_SECOND_READER = 50;

/** What modules of binaryen's generator may import. */
const BINARYEN_SHAPES: Readonly<Record<string, Shape>> = {
  "log-i32": { takes: "i", gives: "" },
  "log-i64": { takes: "I", gives: "" },
  "log-f32": { takes: "f", gives: "" },
  "log-f64": { takes: "F", gives: "" },
  "log-v128": { takes: "V", gives: "" },
  "call-export": { takes: "ii", gives: "" },
  "call-export-catch": { takes: "i", gives: "i" },
  sleep: { takes: "ii", gives: "i" },
};

// No host function takes a vector, but for those of a generator.
const TYPES: Readonly<Record<string, string>> = {
  ...{ i: "i32", I: "i64", f: "f32", F: "f64", V: "v128" },
};

function signature({ takes, gives }: Shape): Signature {
  const types = (letters: string) => Array.from(letters, (letter) => TYPES[letter]) as ValueType[];
  return { params: types(takes), results: types(gives) };
}

const OPTIONS = {
  limits: DEFAULT_SANDBOX_LIMITS,
  requiredExports: [],
  hostFunctions: new Map<string, Signature>([
    ...HOST_SIGNATURES,
    ...Object.entries({ ...HOST_SHAPES, ...BINARYEN_SHAPES }).map(
      ([name, shape]) => [name, signature(shape)] as const,
    ),
  ]),
};

type Tally = {
  inputs: number;
  calls: number;
  traps: number;
  stopped: number;
  endless: number;
  binaryen: number;
  "second reader": number;
};

export function metering(name: string): Fuzzer {
  let judge: Judge | null = null;
  return {
    name,
    async run(chance, deadlineMs): Promise<Counts> {
      judge ??= await Judge.open();
      const counts = newTally();
      while (counts.inputs < MODULES_PER_ROUND) {
        if (counts.inputs % MODULES_PER_LOOK === 0 && performance.now() > deadlineMs) break;
        const seed = chance.seed();
        if (chance.oneIn(8)) judge.endless(seed, counts);
        else judge.made(seed, counts);
      }
      return counts;
    },
  };
}

/** The same judge over modules of binaryen's generator, and those of this tree once. */
export function meteringOthers(name: string): Fuzzer {
  let judge: Judge | null = null;
  return {
    name,
    async run(chance, deadlineMs): Promise<Counts> {
      const counts = newTally();
      if (judge === null) {
        judge = await Judge.open();
        for (const bytes of modulesOfTree()) judge.differential(bytes, chance.seed(), counts);
      }
      while (performance.now() < deadlineMs && counts.inputs < 5) {
        judge.differential(await binaryenModule(chance), chance.seed(), counts);
        counts.binaryen++;
      }
      return counts;
    },
  };
}

function newTally(): Tally {
  return {
    ...{ inputs: 0, calls: 0, traps: 0, stopped: 0, endless: 0 },
    ...{ binaryen: 0, "second reader": 0 },
  };
}

class Judge {
  readonly #runner = new ModuleRunner();
  readonly #validate: (bytes: Uint8Array) => void;

  private constructor(validate: (bytes: Uint8Array) => void) {
    this.#validate = validate;
  }

  static async open(): Promise<Judge> {
    const { readWasm } = await wabt();
    const features = {
      ...{ simd: true, bulk_memory: true, reference_types: true, multi_value: true },
      ...{ tail_call: true, sat_float_to_int: true, sign_extension: true, mutable_globals: true },
    };
    return new Judge((bytes) => {
      const module = readWasm(bytes, features);
      try {
        module.validate();
      } finally {
        module.destroy();
      }
    });
  }

  /** A module of our own generator. */
  made(seed: number, counts: Tally): void {
    const { bytes } = makeModule(new Chance(seed), { endless: false, counted: false });
    const paid = this.differential(bytes, seed, counts);
    const counted = makeModule(new Chance(seed), { endless: false, counted: true }).bytes;
    const subject = subjectOf(counted);
    const { count, calls } = this.#runner.run(counted, subject, new Chance(seed), null);
    if (count <= BigInt(paid.fuelUsed + FREE_UNITS * calls)) return;
    throw found(`it ran ${count} instructions for ${paid.fuelUsed} units of fuel`, bytes);
  }

  /** Original and metered side by side; answers the metered run. */
  differential(bytes: Uint8Array, seed: number, counts: Tally): Trace {
    counts.inputs++;
    const { metered, subject } = this.#prepare(bytes, seed, counts);
    const original = this.#runner.run(bytes, subject, new Chance(seed), null);
    const slice = SLICES[seed % SLICES.length];
    const fuel = { units: slice, stackBytes: STACK_BYTES, more: () => slice };
    const paid = this.#runner.run(metered, subject, new Chance(seed), fuel);
    if (paid.unbalanced !== null) throw found(`${paid.unbalanced} kept some of the stack`, bytes);
    mustBeSame(original, paid, bytes);
    counts.calls += original.calls;
    if (original.hasTrapped) counts.traps++;
    const chance = new Chance(seed + 1);
    const units = chance.below(Math.min(paid.fuelUsed * 2 + 2, 2 ** 31));
    const stackBytes = chance.oneIn(4) ? chance.below(4_000) : STACK_BYTES;
    const less = { units, stackBytes, more: stop };
    const cut = this.#runner.run(metered, subject, new Chance(seed), less);
    mustBeBeginning(cut, paid, bytes);
    if (stackBytes === STACK_BYTES && cut.isStopped !== units < paid.fuelUsed) {
      throw found(`of ${paid.fuelUsed} units it had ${units}: ${cut.events.at(-1)}`, bytes);
    }
    if (cut.isStopped) counts.stopped++;
    return paid;
  }

  /** A module whose loops and calls do not end by themselves. */
  endless(seed: number, counts: Tally): void {
    counts.inputs++;
    const { bytes } = makeModule(new Chance(seed), { endless: true, counted: false });
    const { metered, subject } = this.#prepare(bytes, seed, counts);
    let left = ENDLESS_REFUELS;
    const more = (isStack: boolean) => (left-- === 0 || isStack ? stop() : ENDLESS_SLICE);
    const stackBytes = DEFAULT_SANDBOX_LIMITS.stackBytesMax;
    const fuel = { units: ENDLESS_SLICE, stackBytes, more };
    if (this.#runner.run(metered, subject, new Chance(seed), fuel).isStopped) counts.endless++;
  }

  #prepare(
    bytes: Uint8Array,
    seed: number,
    counts: Tally,
  ): { metered: Uint8Array; subject: Subject } {
    try {
      const subject = subjectOf(bytes);
      const metered = prepareModule(bytes, OPTIONS).bytes;
      if (seed % MODULES_PER_SECOND_READER === 0) {
        counts["second reader"]++;
        this.#validate(metered);
      }
      return { metered, subject };
    } catch (error) {
      throw found(`a valid module was refused, or made invalid: ${String(error)}`, bytes);
    }
  }
}

function stop(): never {
  throw STOP;
}

function subjectOf(bytes: Uint8Array): Subject {
  const { exports, imports, types, functions } = admitModule(bytes, OPTIONS);
  const isNumber = (type: string) => /^[if]\d\d$/.test(type);
  return {
    entries: [...exports]
      .filter(([, { params, results }]) => [...params, ...results].every(isNumber))
      .map(([name, { params }]) => ({ name, takes: params })),
    imports: new Map(imports.map((name, index) => [name, types[functions[index]].results])),
  };
}

function mustBeSame(original: Trace, metered: Trace, bytes: Uint8Array): void {
  mustBeBeginning(metered, original, bytes);
  if (metered.events.length !== original.events.length) {
    throw found(`metered, it did not ${original.events[metered.events.length]}`, bytes);
  }
  // An original whose start function traps leaves nothing to look at.
  if (original.hasTrapped && original.calls === 1) return;
  if (!metered.memory.equals(original.memory)) throw found("the memory differs", bytes);
  if (metered.state === original.state) return;
  throw found(`${metered.state} and not ${original.state}`, bytes);
}

/** What a run did must be what a whole run does at first. */
function mustBeBeginning(run: Trace, whole: Trace, bytes: Uint8Array): void {
  for (const [index, event] of run.events.entries()) {
    if (event === whole.events[index]) continue;
    throw found(`it did ${event} and not ${whole.events[index]}`, bytes);
  }
}

function found(what: string, bytes: Uint8Array): Finding {
  return new Finding(what, Buffer.from(bytes).toString("hex"));
}

// Modules of others.

function modulesOfTree(): Uint8Array[] {
  const plugins = join(import.meta.dirname, "../../plugins-src");
  return ["prebuilt", "build"].flatMap((folder) => {
    const path = join(plugins, folder);
    const files = existsSync(path) ? readdirSync(path).sort() : [];
    const modules = files.filter((file) => file.endsWith(".wasm"));
    return modules.map((file) => readFileSync(join(path, file)));
  });
}

const WASM_OPT = join(import.meta.dirname, "../../node_modules/binaryen/bin/wasm-opt");
const FEATURES = [
  ...["simd", "bulk-memory", "multivalue", "tail-call", "sign-ext", "mutable-globals"],
  "nontrapping-float-to-int",
].map((feature) => `--enable-${feature}`);

/** A module of `wasm-opt -ttf`, without bits of NaN. */
async function binaryenModule(chance: Chance): Promise<Uint8Array> {
  const folder = mkdtempSync(join(tmpdir(), "metering-"));
  try {
    const source = join(folder, "seed");
    const target = join(folder, "module.wasm");
    const length = chance.between(100, 20_000);
    writeFileSync(
      source,
      Uint8Array.from({ length }, () => chance.below(256)),
    );
    const args = ["-mvp", "-ttf", source, ...FEATURES, "--denan", "-o", target];
    await promisify(execFile)(process.execPath, [WASM_OPT, ...args]);
    return withOurImports(readFileSync(target));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const THEIR_MODULE = Buffer.from("fuzzing-support");
const OUR_MODULE = Buffer.from("extism:host/user");

// What their modules import of their host comes from ours, whose name is longer by one.
function withOurImports(bytes: Buffer): Uint8Array {
  const out = new Writer(bytes.length);
  out.copy(bytes, 0, 8);
  const reader = new Reader(bytes, 8, bytes.length);
  while (!reader.done) {
    const id = reader.u8();
    const section = reader.slice(reader.u32());
    out.u8(id);
    const at = out.reserveLength();
    if (id === 2) {
      let from = section.pos;
      for (;;) {
        const next = bytes.indexOf(THEIR_MODULE, from);
        if (next === -1 || next >= section.end) break;
        out.copy(bytes, from, next - 1);
        out.u32(OUR_MODULE.length);
        out.all(OUR_MODULE);
        from = next + THEIR_MODULE.length;
      }
      section.pos = from;
    }
    out.copy(bytes, section.pos, section.end);
    out.patchLength(at);
  }
  return out.result();
}
