// A plugin that says which version of it runs, in both phases: `x-version` on the request to the origin
// and on the response to the client. One module is assembled; every version is a copy with other digits.

import { watAssembler } from "./wat.ts";

const MARK = "v00000";
const NAME = "x-version";
/** Functions that nobody calls: they make the module as large as a real policy. */
const PADDING_FUNCTIONS = 360;

/** Makes modules of about 15 KB that differ in their version only. */
export async function versionedPlugins(): Promise<(version: number) => Uint8Array> {
  const wat = await watAssembler();
  const template = Buffer.from(wat(moduleText()));
  const at = template.indexOf(MARK);
  if (at === -1 || template.indexOf(MARK, at + 1) !== -1) throw new Error("the mark is not unique");
  return (version) => {
    const bytes = Buffer.from(template);
    bytes.write(versionText(version), at, "latin1");
    return new Uint8Array(bytes);
  };
}

/** What `x-version` says for a version. */
export function versionText(version: number): string {
  return `v${String(version).padStart(MARK.length - 1, "0")}`;
}

function moduleText(): string {
  const padding = Array.from(
    { length: PADDING_FUNCTIONS },
    (_, i) => `(func (param i32) (result i32)
      (i32.add (i32.mul (local.get 0) (i32.const ${i * 7919 + 104_729}))
        (i32.xor (i32.shl (local.get 0) (i32.const 3)) (i32.const ${i * 104_729 + 7919})))
      (i32.add (i32.const ${i})) (i32.rotl (i32.const 5)) (i32.sub (i32.const ${i * 31 + 9999}))
      (i32.and (i32.const ${0xffffff - i})))`,
  );
  return `(module
    (import "extism:host/env" "alloc" (func $alloc (param i64) (result i64)))
    (import "extism:host/env" "store_u8" (func $store (param i64 i32)))
    (import "extism:host/user" "set_request_header" (func $request (param i64 i64)))
    (import "extism:host/user" "set_response_header" (func $response (param i64 i64)))
    (memory 1)
    (data (i32.const 0) "${NAME}")
    (data (i32.const 16) "${MARK}")
    (func $give (param $from i32) (param $length i32) (result i64) (local $handle i64) (local $i i32)
      (local.set $handle (call $alloc (i64.extend_i32_u (local.get $length))))
      (loop $next
        (call $store (i64.add (local.get $handle) (i64.extend_i32_u (local.get $i)))
          (i32.load8_u (i32.add (local.get $from) (local.get $i))))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br_if $next (i32.lt_u (local.get $i) (local.get $length))))
      (local.get $handle))
    (func (export "on_request") (result i32)
      (call $request (call $give (i32.const 0) (i32.const ${NAME.length}))
        (call $give (i32.const 16) (i32.const ${MARK.length})))
      (i32.const 0))
    (func (export "on_response") (result i32)
      (call $response (call $give (i32.const 0) (i32.const ${NAME.length}))
        (call $give (i32.const 16) (i32.const ${MARK.length})))
      (i32.const 0))
    ${padding.join("\n")})`;
}
