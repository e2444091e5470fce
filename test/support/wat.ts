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
