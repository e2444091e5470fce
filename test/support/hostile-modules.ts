// Modules that mean harm, as text: what each does for ever, or too much of, and the code it must end
// with. Rows of a table; the test that runs them is test/unit/sandbox/hostile.test.ts.

import type { CallErrorCode } from "../../sandbox/sandbox.ts";

export type Hostile = {
  readonly name: string;
  readonly text: string;
  /** Any of them may be met first. */
  readonly codes: readonly CallErrorCode[];
};

type Row = readonly [name: string, body: string, rest?: string, imports?: string];

const ENV: Readonly<Record<string, string>> = {
  alloc: "(param i64) (result i64)",
  free: "(param i64)",
  length: "(param i64) (result i64)",
  load_u8: "(param i64) (result i32)",
  store_u64: "(param i64 i64)",
  input_load_u64: "(param i64) (result i64)",
  output_set: "(param i64 i64)",
  error_set: "(param i64)",
  error_get: "(result i64)",
  config_get: "(param i64) (result i64)",
  var_get: "(param i64) (result i64)",
  var_set: "(param i64 i64)",
  log_info: "(param i64)",
  get_log_level: "(result i32)",
  http_request: "(param i64 i64) (result i64)",
};
const WASI: Readonly<Record<string, string>> = {
  clock_time_get: "(param i32 i64 i32) (result i32)",
  random_get: "(param i32 i32) (result i32)",
  fd_write: "(param i32 i32 i32 i32) (result i32)",
  proc_exit: "(param i32)",
};

/** `(import ...)` for each name, as `$name`. */
function importing(...names: string[]): string {
  const lines = names.map((name) => {
    const module = name in ENV ? "extism:host/env" : "wasi_snapshot_preview1";
    return `(import "${module}" "${name}" (func $${name} ${ENV[name] ?? WASI[name]}))`;
  });
  return lines.join(" ");
}

/** Rows whose body is the entry's; each ends with one of `codes`. */
function rows(codes: readonly CallErrorCode[], ...list: Row[]): Hostile[] {
  return list.map(([name, body, rest = "", imports = ""]) => ({
    ...{ name, codes },
    text: `(module ${imports} ${rest} (func $entry (export "on_request") (result i32) ${body}))`,
  }));
}

const forever = (body: string) => `(loop $l ${body} (br $l)) unreachable`;
const times = (count: number, text: string) => `${text} `.repeat(count);

const LOOPS = rows(
  ["deadline"],
  ["br", "(loop (br 0)) unreachable"],
  ["br_if", "(loop (br_if 0 (i32.const 1))) unreachable"],
  ["br_table", "(loop (br_table 0 0 (i32.const 7))) unreachable"],
  ["br_table's default", "(loop (block (br_table 0 1 (i32.const 7)))) unreachable"],
  ["br out of blocks", "(loop $l (block (block (block (br $l))))) unreachable"],
  ["br from an arm", "(loop $l (if (i32.const 0) (then) (else (br $l)))) unreachable"],
  [
    "two loops that enter each other",
    "(loop $a (loop $b (br_if $b (i32.const 0)) (br $a))) unreachable",
  ],
  ["a loop with parameters", "i32.const 0 (loop (param i32) i32.const 1 i32.add br 0) unreachable"],
  ["a tail call of itself", "(return_call $entry)"],
  ["tail calls of each other", "(return_call $f)", "(func $f (result i32) (return_call $entry))"],
  [
    "indirect tail calls",
    "(return_call_indirect (result i32) (i32.const 0))",
    "(table 1 funcref) (elem (i32.const 0) $entry)",
  ],
  ["calls of a leaf", forever("(call $leaf)"), "(func $leaf (drop (i32.const 1)))"],
  [
    "calls of a leaf with many locals",
    forever("(call $leaf)"),
    `(func $leaf ${times(4_096, "(local v128)")})`,
  ],
  [
    "indirect calls of a leaf",
    forever("(call_indirect (i32.const 0))"),
    "(table 1 funcref) (elem (i32.const 0) $leaf) (func $leaf)",
  ],
  ["a tree of calls", "(call $f) unreachable", doubling(40)],
);

/** Functions of which each calls the next twice: 2^depth calls without a loop. */
function doubling(depth: number): string {
  const list = [`(func $f (call $f1) (call $f1))`];
  for (let i = 1; i < depth; i++) list.push(`(func $f${i} (call $f${i + 1}) (call $f${i + 1}))`);
  return [...list, `(func $f${depth} (drop (i32.const 1)))`].join(" ");
}

const WORK = rows(
  ["deadline"],
  ["memory.grow by none", forever("(drop (memory.grow (i32.const 0)))"), "(memory 1)"],
  ["memory.grow by one", forever("(drop (memory.grow (i32.const 1)))"), "(memory 1)"],
  [
    "memory.fill",
    forever("(memory.fill (i32.const 0) (i32.const 1) (i32.const 0x400000))"),
    "(memory 64)",
  ],
  [
    "memory.copy",
    forever("(memory.copy (i32.const 1) (i32.const 0) (i32.const 0x3fffff))"),
    "(memory 64)",
  ],
  [
    "memory.init",
    forever("(memory.init 0 (i32.const 0) (i32.const 0) (i32.const 60000))"),
    `(memory 1) (data "${"x".repeat(60_000)}")`,
  ],
  [
    "table.grow by none",
    forever("(drop (table.grow (ref.null func) (i32.const 0)))"),
    "(table 1 funcref)",
  ],
  [
    "table.grow by one",
    forever("(drop (table.grow (ref.null func) (i32.const 1)))"),
    "(table 1 funcref)",
  ],
  [
    "table.fill",
    forever("(table.fill (i32.const 0) (ref.func $entry) (i32.const 10000))"),
    "(table 10000 funcref) (elem declare func $entry)",
  ],
  [
    "table.copy",
    forever("(table.copy (i32.const 1) (i32.const 0) (i32.const 9999))"),
    "(table 10000 funcref)",
  ],
  [
    "table.init",
    forever("(table.init $e (i32.const 0) (i32.const 0) (i32.const 2000))"),
    `(table 10000 funcref) (elem $e func ${times(2_000, "$entry")})`,
  ],
  [
    "division",
    `(local i64) ${forever(times(300, "(local.set 0 (i64.div_u (i64.const -1) (i64.or (local.get 0) (i64.const 3))))"))}`,
  ],
  [
    "square roots",
    `(local f64) ${forever(times(300, "(local.set 0 (f64.sqrt (f64.add (local.get 0) (f64.const 1.7))))"))}`,
  ],
  [
    "square roots of vectors",
    `(local v128) ${forever(times(300, "(local.set 0 (f64x2.div (f64x2.sqrt (local.get 0)) (v128.const f64x2 1.1 1.3)))"))}`,
  ],
  [
    "numbers too small for the hardware",
    `(local f64) (local.set 0 (f64.const 1e-310)) ${forever(times(300, "(local.set 0 (f64.mul (local.get 0) (f64.const 0.999)))"))}`,
  ],
  [
    "loads that miss every cache",
    `(local i32) ${forever(times(300, "(local.set 0 (i32.and (i32.add (i32.add (local.get 0) (i32.const 1234567)) (i32.load (local.get 0))) (i32.const 0x3ffffc)))"))}`,
    "(memory 64)",
  ],
  ["straight code", forever(times(5_000, "(drop (f64.div (f64.const 1) (f64.const 3)))"))],
);

const RECURSION = rows(
  ["stack"],
  ["direct", "(call $entry)"],
  ["mutual", "(call $f)", "(func $f (result i32) (i32.add (call $entry) (i32.const 1)))"],
  [
    "indirect",
    "(call_indirect (result i32) (i32.const 0))",
    "(table 1 funcref) (elem (i32.const 0) $entry)",
  ],
  ["with 4,096 locals", `${times(4_096, "(local i64)")} (call $entry)`],
  ["with 4,096 vectors", `${times(4_096, "(local v128)")} (call $entry)`],
  [
    "with 5,000 operands",
    `${times(5_000, "i64.const 1")} (drop (call $entry)) ${times(5_000, "drop")} i32.const 0`,
  ],
  [
    "with 256 parameters",
    `(call $f ${times(256, "(i64.const 1)")}) unreachable`,
    `(func $f (param ${times(256, "i64")}) (call $f ${times(256, "(i64.const 1)")}))`,
  ],
  [
    "with 256 results",
    `(call $f) unreachable`,
    `(func $f (result ${times(256, "i64")}) (call $f))`,
  ],
  [
    "with values that only the compiler keeps",
    `(call $f (i32.const 1)) unreachable`,
    `(memory 1) (func $f (param i32) ${hidden()} (call $f (i32.add (local.get 0) (i32.const 1))) ${hidden()})`,
  ],
);

// Computed before a call and again behind it: an optimising compiler keeps them all over it.
function hidden(): string {
  const value = (i: number) =>
    `(i32.mul (i32.xor (local.get 0) (i32.const ${i * 7_919 + 1})) (i32.const ${2 * i + 3}))`;
  return Array.from({ length: 300 }, (_, i) => `(i32.store (i32.const ${i * 4}) ${value(i)})`).join(
    " ",
  );
}

const MEMORY = `(memory (export "memory") 2)`;
const BIG = "(local.set 0 (call $alloc (i64.const 1000000)))";

const HOST = [
  ...rows(
    ["deadline"],
    ["alloc", forever("(drop (call $alloc (i64.const 16)))"), "", importing("alloc")],
    [
      "alloc and free",
      forever("(call $free (call $alloc (i64.const 999)))"),
      "",
      importing("alloc", "free"),
    ],
    ["length", forever("(drop (call $length (i64.const 5000)))"), "", importing("length")],
    ["load_u8", forever("(drop (call $load_u8 (i64.const -1)))"), "", importing("load_u8")],
    [
      "input_load_u64",
      forever("(drop (call $input_load_u64 (i64.const 0)))"),
      "",
      importing("input_load_u64"),
    ],
    [
      "output_set",
      forever("(call $output_set (i64.const 0) (i64.const -1))"),
      "",
      importing("output_set"),
    ],
    [
      "error_set",
      forever("(call $error_set (call $error_get))"),
      "",
      importing("error_set", "error_get"),
    ],
    ["get_log_level", forever("(drop (call $get_log_level))"), "", importing("get_log_level")],
  ),
  ...rows(
    ["host_denied", "deadline"],
    [
      "variables by names of a megabyte",
      `(local i64 i64) ${BIG} (local.set 1 (local.get 0))
       (loop (call $store_u64 (local.get 1) (i64.const -1)) (local.set 1 (i64.add (local.get 1) (i64.const 8)))
         (br_if 0 (i64.lt_u (local.get 1) (i64.add (local.get 0) (i64.const 999992)))))
       ${forever(`(drop (call $var_get (local.get 0))) ${BIG}`)}`,
      "",
      importing("alloc", "store_u64", "var_get"),
    ],
    ["config_get", forever("(drop (call $config_get (i64.const 0)))"), "", importing("config_get")],
    [
      "var_set",
      forever("(call $var_set (call $alloc (i64.const 9)) (call $alloc (i64.const 60000)))"),
      "",
      importing("alloc", "var_set"),
    ],
    [
      "log_info",
      forever("(call $log_info (call $alloc (i64.const 4000)))"),
      "",
      importing("alloc", "log_info"),
    ],
    [
      "clock_time_get",
      forever("(drop (call $clock_time_get (i32.const 0) (i64.const 0) (i32.const 0)))"),
      MEMORY,
      importing("clock_time_get"),
    ],
    [
      "random_get",
      forever("(drop (call $random_get (i32.const 0) (i32.const 65536)))"),
      MEMORY,
      importing("random_get"),
    ],
    [
      "fd_write",
      forever("(drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1024) (i32.const 0)))"),
      MEMORY,
      importing("fd_write"),
    ],
    [
      "http_request",
      "(drop (call $http_request (i64.const 0) (i64.const 0))) unreachable",
      "",
      importing("http_request"),
    ],
    [
      "header_get",
      forever("(drop (call $header_get (i64.const 0)))"),
      "",
      `(import "extism:host/user" "header_get" (func $header_get (param i64) (result i64)))`,
    ],
  ),
];

const ENDS = [
  ...rows(
    ["kernel_memory"],
    [
      "an alloc bomb",
      `(loop (br_if 0 (i64.ne (call $alloc (i64.const 65536)) (i64.const 0)))) unreachable`,
      "",
      importing("alloc"),
    ],
    [
      "an alloc of everything",
      "(if (i64.eqz (call $alloc (i64.const -1))) (then unreachable)) i32.const 0",
      "",
      importing("alloc"),
    ],
  ),
  ...rows(
    ["bad_output"],
    [
      "an output bomb",
      "(call $output_set (call $alloc (i64.const 65537)) (i64.const 65537)) i32.const 0",
      "",
      importing("alloc", "output_set"),
    ],
  ),
  ...rows(
    ["guest_error"],
    [
      "an error",
      "(call $error_set (call $alloc (i64.const 9))) i32.const 0",
      "",
      importing("alloc", "error_set"),
    ],
    [
      "an error of a freed block",
      "(local i64) (local.set 0 (call $alloc (i64.const 9))) (call $error_set (local.get 0)) (call $free (local.get 0)) i32.const 0",
      "",
      importing("alloc", "free", "error_set"),
    ],
    [
      "an error of a megabyte",
      "(call $error_set (call $alloc (i64.const 1000000))) i32.const 0",
      "",
      importing("alloc", "error_set"),
    ],
    ["a return code", "i32.const -1"],
  ),
  ...rows(
    ["trap"],
    ["unreachable", "unreachable"],
    ["a load out of bounds", "(i32.load (i32.const -1))", "(memory 1)"],
    [
      "a fill out of bounds",
      "(memory.fill (i32.const 0) (i32.const 0) (i32.const 0x0c000000)) i32.const 0",
      "(memory 1)",
    ],
    ["a division by zero", "(i32.div_u (i32.const 1) (i32.const 0))"],
    ["a call of nothing", "(call_indirect (result i32) (i32.const 0))", "(table 1 funcref)"],
    [
      "a call of another type",
      "(call_indirect (result i32) (i32.const 0))",
      "(table 1 funcref) (elem (i32.const 0) $f) (func $f)",
    ],
    ["proc_exit", "(call $proc_exit (i32.const 0)) i32.const 0", MEMORY, importing("proc_exit")],
  ),
];

/** What `on_request` does in each is named by its group and its name. */
export const HOSTILE: Readonly<Record<string, readonly Hostile[]>> = {
  "endless code": LOOPS,
  "endless work": WORK,
  recursion: RECURSION,
  "host calls": HOST,
  "ends of its own": ENDS,
};
