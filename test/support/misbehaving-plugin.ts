// A plugin that does what the first letter of the path says, in Wasm text: every way in which a call can
// fail, and a few in which it must not.

import { watAssembler } from "./wat.ts";

/** What each letter does. */
export const MISDEEDS = {
  loop: "/l",
  trap: "/t",
  memory: "/g",
  blocks: "/k",
  returns: "/r",
  error: "/e",
  errorTakenBack: "/f",
  output: "/o",
  outputPart: "/p",
  calls: "/h",
  stack: "/s",
  variable: "/v",
  bigBlock: "/b",
  wide: "/w",
  fine: "/x",
} as const;

/** The module; `loopsAtStart` never ends its initialisation. */
export async function misbehavingPlugin({ loopsAtStart = false } = {}): Promise<Uint8Array> {
  const wat = await watAssembler();
  return wat(`(module
    (import "extism:host/env" "alloc" (func $alloc (param i64) (result i64)))
    (import "extism:host/env" "length" (func $length (param i64) (result i64)))
    (import "extism:host/env" "load_u8" (func $load (param i64) (result i32)))
    (import "extism:host/env" "load_u64" (func $load64 (param i64) (result i64)))
    (import "extism:host/env" "store_u8" (func $store (param i64 i32)))
    (import "extism:host/env" "output_set" (func $output (param i64 i64)))
    (import "extism:host/env" "error_set" (func $error (param i64)))
    (import "extism:host/env" "var_get" (func $var_get (param i64) (result i64)))
    (import "extism:host/env" "var_set" (func $var_set (param i64 i64)))
    (import "extism:host/user" "request_path" (func $path (result i64)))
    (import "extism:host/user" "request_method" (func $method (result i64)))
    (import "extism:host/user" "set_response_header" (func $header (param i64 i64)))
    (memory (export "memory") 1)
    (func $deep (result i32) (i32.add (call $deep) (i32.const 1)))
    (func (export "_initialize") ${loopsAtStart ? "(loop $on (br $on))" : ""})
    (func (export "on_response") (call $header (call $method) (call $path)))
    (func (export "on_request") (result i32)
      (local $name i64) (local $letter i32) (local $block i64)
      (local.set $name (call $path))
      (local.set $letter (call $load (i64.add (local.get $name) (i64.const 1))))
      ${on("l", "(loop $on (br $on))")}
      ${on("t", "unreachable")}
      ${on(
        "g",
        `(loop $on (br_if $on (i32.ne (memory.grow (i32.const 8)) (i32.const -1))))
         (if (i32.gt_u (memory.size) (i32.const 64)) (then (return (i32.const 64))))
         (memory.fill (i32.const 0) (i32.const 7) (i32.mul (memory.size) (i32.const 65536)))`,
      )}
      ${on(
        "k",
        `(loop $on (br_if $on (i64.ne (call $alloc (i64.const 65536)) (i64.const 0))))
         unreachable`,
      )}
      ${on("b", "(if (i64.eqz (call $alloc (i64.const 0x10000000000))) (then unreachable))")}
      ${on("r", "(return (i32.const 7))")}
      ${on("e", "(call $error (local.get $name))")}
      ${on("f", "(call $error (local.get $name)) (call $error (i64.const 0))")}
      ${on("o", "(call $output (local.get $name) (call $length (local.get $name)))")}
      ${on(
        "p",
        `(local.set $block (call $alloc (i64.const 8)))
         (call $store (i64.add (local.get $block) (i64.const 2)) (i32.const 123))
         (call $store (i64.add (local.get $block) (i64.const 3)) (i32.const 125))
         (call $output (i64.add (local.get $block) (i64.const 2)) (i64.const 2))`,
      )}
      ${on("h", "(loop $on (drop (call $method)) (br $on))")}
      ${on("s", "(return (call $deep))")}
      ${on("w", "(drop (call $load64 (i64.add (local.get $name) (i64.const 0x100000))))")}
      ${on(
        "v",
        `(if (i64.ne (call $var_get (call $path)) (i64.const 0)) (then (return (i32.const 9))))
         (call $var_set (local.get $name) (call $path))`,
      )}
      (i32.const 0)))`);
}

function on(letter: string, code: string): string {
  return `(if (i32.eq (local.get $letter) (i32.const ${letter.charCodeAt(0)})) (then ${code}))`;
}
