// Assembles Wasm text for tests. Every proposal wabt knows is on, so that a test can write what the
// sandbox must refuse.

import wabt from "wabt";

/** A function from text to the bytes of a module; `check: false` lets invalid modules through. */
export async function watAssembler(): Promise<(text: string, check?: boolean) => Uint8Array> {
  const { parseWat } = await wabt();
  const features = {
    exceptions: true,
    mutable_globals: true,
    sat_float_to_int: true,
    sign_extension: true,
    simd: true,
    threads: true,
    function_references: true,
    multi_value: true,
    tail_call: true,
    bulk_memory: true,
    reference_types: true,
    gc: true,
    memory64: true,
    extended_const: true,
    relaxed_simd: true,
    multi_memory: true,
  };
  return (text, check = true) => {
    const module = parseWat("test.wat", text, features);
    try {
      if (check) module.validate();
      return new Uint8Array(module.toBinary({}).buffer);
    } finally {
      module.destroy();
    }
  };
}

/** Imports that `TEXT` needs. */
export const TEXT_IMPORTS = `
  (import "extism:host/env" "alloc" (func $alloc (param i64) (result i64)))
  (import "extism:host/env" "store_u8" (func $store (param i64 i32)))`;

/** A function `$text`: a handle to a copy of so many bytes of the guest's memory. */
export const TEXT = `
  (func $text (param $at i32) (param $length i32) (result i64) (local $handle i64) (local $i i32)
    (local.set $handle (call $alloc (i64.extend_i32_u (local.get $length))))
    (loop $next
      (call $store (i64.add (local.get $handle) (i64.extend_i32_u (local.get $i)))
        (i32.load8_u (i32.add (local.get $at) (local.get $i))))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $i) (local.get $length))))
    (local.get $handle))`;
