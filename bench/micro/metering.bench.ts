// What metering costs: the rewriting of a megabyte of code, the compiling of what it made, and the run
// time of small kernels, metered against unmetered. Run: node bench/micro/metering.bench.ts
//
// Kernels are warmed until V8 has optimised them; original and metered take turns, and the fastest
// round of each is compared, since a shared machine only ever adds.

import { setFlagsFromString } from "node:v8";
import wabt from "wabt";
import { admitModule } from "../../sandbox/admit.ts";
import { Budget } from "../../sandbox/budget.ts";
import { compileKernel, Kernel } from "../../sandbox/kernel.ts";
import { meterModule } from "../../sandbox/meter.ts";
import { DEFAULT_SANDBOX_LIMITS, type Signature } from "../../sandbox/sandbox.ts";
import { HOST_SHAPES, makeModule } from "../../test/fuzz/valid-module.ts";
import { Chance } from "../../test/support/chance.ts";

const ROUNDS = 9;
const ROUND_MS = 25;
const WARM_MS = 300;
const CODE_BYTES = 1024 * 1024;
const FOREVER_MS = 1e9;
const SEED = 1;

const KERNELS: Readonly<Record<string, string>> = {
  "fib, recursive": `(func $run (export "run") (param i32) (result i32)
    (if (result i32) (i32.lt_s (local.get 0) (i32.const 2)) (then (local.get 0)) (else
      (i32.add (call $run (i32.sub (local.get 0) (i32.const 1)))
               (call $run (i32.sub (local.get 0) (i32.const 2)))))))`,
  "rounds of a hash": `(memory 1) (func (export "run") (param i32) (result i32)
    (local $i i32) (local $a i32) (local $b i32) (local $c i32)
    (local.set $b (i32.const 0x6a09e667)) (local.set $c (i32.const 0xbb67ae85))
    (loop $l
      (local.set $a (i32.add (i32.add
        (i32.xor (i32.xor (i32.rotr (local.get $b) (i32.const 6)) (i32.rotr (local.get $b) (i32.const 11)))
                 (i32.rotr (local.get $b) (i32.const 25)))
        (i32.xor (i32.and (local.get $b) (local.get $c)) (i32.and (i32.xor (local.get $b) (i32.const -1)) (local.get $a))))
        (i32.load (i32.shl (i32.and (local.get $i) (i32.const 63)) (i32.const 2)))))
      (local.set $c (local.get $b)) (local.set $b (i32.add (local.get $a) (local.get $c)))
      (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.mul (local.get 0) (i32.const 500)))))
    (local.get $a))`,
  mandelbrot: `(func (export "run") (param i32) (result i32)
    (local $n i32) (local $p i32) (local $x f64) (local $y f64) (local $t f64) (local $sum i32)
    (loop $points
      (local.set $x (f64.const 0)) (local.set $y (f64.const 0)) (local.set $n (i32.const 0))
      (loop $l
        (local.set $t (f64.add (f64.sub (f64.mul (local.get $x) (local.get $x)) (f64.mul (local.get $y) (local.get $y))) (f64.const -0.7)))
        (local.set $y (f64.add (f64.mul (f64.mul (f64.const 2) (local.get $x)) (local.get $y)) (f64.const 0.27)))
        (local.set $x (local.get $t))
        (br_if $l (i32.and
          (f64.lt (f64.add (f64.mul (local.get $x) (local.get $x)) (f64.mul (local.get $y) (local.get $y))) (f64.const 4))
          (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 200)))))
      (local.set $sum (i32.add (local.get $sum) (local.get $n)))
      (br_if $points (i32.lt_u (local.tee $p (i32.add (local.get $p) (i32.const 1))) (local.get 0))))
    (local.get $sum))`,
  "hash of a string": `(memory 1) (func (export "run") (param i32) (result i32)
    (local $i i32) (local $h i32)
    (loop $l
      (local.set $h (i32.mul (i32.xor (local.get $h) (i32.load8_u (i32.and (local.get $i) (i32.const 0xfff)))) (i32.const 16777619)))
      (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.mul (local.get 0) (i32.const 500)))))
    (local.get $h))`,
  "copy of memory, by bytes": `(memory 1) (func (export "run") (param i32) (result i32) (local $i i32)
    (loop $l
      (i32.store8 offset=32768 (local.get $i) (i32.load8_u (local.get $i)))
      (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.mul (local.get 0) (i32.const 500)))))
    (local.get $i))`,
  "small functions in a loop": `(func $mix (param i32 i32) (result i32)
      (i32.xor (i32.mul (local.get 0) (i32.const 31)) (local.get 1)))
    (func (export "run") (param i32) (result i32) (local $i i32) (local $h i32)
    (loop $l
      (local.set $h (call $mix (local.get $h) (local.get $i)))
      (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.mul (local.get 0) (i32.const 500)))))
    (local.get $h))`,
};
const ARGUMENT = 22;

type Run = (argument: number) => number;

const TYPES: Readonly<Record<string, Signature["params"][number]>> = {
  ...{ i: "i32", I: "i64", f: "f32", F: "f64" },
};
const HOST = new Map<string, Signature>(
  Object.entries(HOST_SHAPES).map(([name, { takes, gives }]) => {
    const types = (letters: string) => Array.from(letters, (letter) => TYPES[letter]);
    return [name, { params: types(takes), results: types(gives) }];
  }),
);

function admit(bytes: Uint8Array): ReturnType<typeof admitModule> {
  const limits = { ...DEFAULT_SANDBOX_LIMITS, codeBytesMax: 2 * CODE_BYTES };
  return admitModule(bytes, { limits, hostFunctions: HOST });
}

function meter(bytes: Uint8Array): Uint8Array {
  const { types, functions, globals, imports } = admit(bytes);
  return meterModule(bytes, { types, functions, globals, importedFunctions: imports.length });
}

function fastest(rounds: number, ...runs: (() => void)[]): number[] {
  const best = runs.map(() => Infinity);
  for (let round = 0; round < rounds; round++) {
    for (const [index, run] of runs.entries()) {
      const startedMs = performance.now();
      run();
      best[index] = Math.min(best[index], performance.now() - startedMs);
    }
  }
  return best;
}

function benchLarge(): void {
  const make = (functions: number) =>
    makeModule(new Chance(SEED), { endless: false, counted: false, functions }).bytes;
  // Modules of chance have the size they have; the second is near a megabyte.
  const few = 100;
  const bytes = make(Math.round((few * CODE_BYTES) / make(few).length));
  const metered = meter(bytes);
  const [admitMs, meterMs] = fastest(
    ROUNDS,
    () => admit(bytes),
    () => meter(bytes),
  );
  let count = 0;
  // V8 knows bytes that it has compiled: a custom section makes them new.
  const compile = (code: Uint8Array) => () =>
    void new WebAssembly.Module(Buffer.concat([code, Buffer.from([0, 2, 0, count++])]));
  const [plainMs, meteredMs] = fastest(3, compile(bytes), compile(metered));
  console.log(`module of ${bytes.length} bytes, metered ${metered.length}`);
  console.log(
    `  admitted in ${admitMs.toFixed(1)} ms, rewritten in ${(meterMs - admitMs).toFixed(1)} ms`,
  );
  console.log(`  compiled in ${plainMs.toFixed(1)} ms, metered in ${meteredMs.toFixed(1)} ms`);
}

function open(bytes: Uint8Array, budget: Budget | null): Run {
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(bytes));
  const run = exports["run"] as Run;
  if (budget === null) return run;
  const kernel = new Kernel(compileKernel(), 1024, () => budget.refuel());
  budget.attach(exports, kernel.exports["refuel"]);
  return (argument) => {
    budget.begin(FOREVER_MS);
    return run(argument);
  };
}

// Calls within one round, so that a round is long enough to time.
function callsOf(run: Run): number {
  let calls = 0;
  const endMs = performance.now() + WARM_MS;
  while (performance.now() < endMs) {
    run(ARGUMENT);
    calls++;
  }
  return Math.max(1, Math.round((calls * ROUND_MS) / WARM_MS));
}

async function benchKernels(): Promise<void> {
  const { parseWat } = await wabt();
  for (const [name, text] of Object.entries(KERNELS)) {
    const bytes = new Uint8Array(parseWat("bench.wat", `(module ${text})`).toBinary({}).buffer);
    const plain = open(bytes, null);
    const metered = open(meter(bytes), new Budget(DEFAULT_SANDBOX_LIMITS));
    if (plain(ARGUMENT) !== metered(ARGUMENT)) throw new Error(`${name} differs`);
    callsOf(metered);
    const calls = callsOf(plain);
    const repeat = (run: Run) => () => {
      for (let left = calls; left > 0; left--) run(ARGUMENT);
    };
    const [plainMs, meteredMs] = fastest(ROUNDS, repeat(plain), repeat(metered));
    const us = (ms: number) => ((ms * 1_000) / calls).toFixed(1).padStart(8);
    const overhead = ((meteredMs / plainMs - 1) * 100).toFixed(0).padStart(5);
    console.log(`${name.padEnd(26)} ${us(plainMs)} us ${us(meteredMs)} us  ${overhead} %`);
  }
}

await benchKernels();
// As in workers; earlier it would hold up the assembler.
setFlagsFromString("--no-wasm-lazy-compilation");
benchLarge();
