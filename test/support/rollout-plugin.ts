// A plugin in versions that a rollout can tell apart. Each marks what it sees: `x-asked` in the request
// phase, for the origin and the client, `x-version` in the response phase. What it does to a request the
// caller chooses by two digits in `x-chance`: evenly drawn ones make a version that fails for a share.

import { TEXT, TEXT_IMPORTS, watAssembler } from "./wat.ts";

const wat = await watAssembler();

export type RolloutPluginOptions = {
  /** What the headers say. */
  readonly mark: string;
  readonly phases?: "both" | "on_request" | "on_response";
  /** Requests with an `x-chance` below are trapped when the plugin is asked. */
  readonly traps?: number;
  /** The same when it sees the response. */
  readonly trapsResponse?: number;
  /** Those below loop until they are stopped. */
  readonly loops?: number;
  /** Those below fail with this text. */
  readonly fails?: { readonly below: number; readonly text: string };
  /** Those from 100 less this on are answered with 403. */
  readonly denies?: number;
  /** Rounds of an empty loop in each call of the request phase. */
  readonly rounds?: number;
  /** A value of kv that is counted up, told as `x-hits`: `a` for 1, and on; needs the grant. */
  readonly counts?: string;
  /** A request header, handed to the origin as `x-read`. */
  readonly reads?: string;
};

/** Assembles one version. */
export function rolloutPlugin(options: RolloutPluginOptions): Uint8Array {
  const { phases = "both" } = options;
  const texts = new Texts();
  const functions = [
    phases === "on_response" ? "" : onRequest(options, texts),
    phases === "on_request" ? "" : onResponse(options, texts),
  ];
  return wat(`(module
    ${TEXT_IMPORTS}
    (import "extism:host/env" "load_u8" (func $load (param i64) (result i32)))
    (import "extism:host/env" "length" (func $length (param i64) (result i64)))
    (import "extism:host/env" "error_set" (func $error (param i64)))
    (import "extism:host/user" "request_header" (func $header (param i64) (result i64)))
    (import "extism:host/user" "set_request_header" (func $set_request (param i64 i64)))
    (import "extism:host/user" "set_response_header" (func $set_response (param i64 i64)))
    (import "extism:host/user" "respond" (func $respond (param i32 i64)))
    (import "extism:host/user" "reason" (func $reason (param i64)))
    ${options.counts === undefined ? "" : KV_IMPORT}
    (memory 1)
    (data (i32.const 0) "${texts.all}")
    ${TEXT}
    ${NUMBER}
    ${functions.join("\n")})`);
}

const KV_IMPORT = `(import "extism:host/user" "kv_incr"
  (func $incr (param i64 i64 i64) (result i64)))`;

/** A function `$number`: two digits; 50 for what has none, so that nothing happens to it. */
const NUMBER = `
  (func $digit (param $at i64) (result i32) (i32.sub (call $load (local.get $at)) (i32.const 48)))
  (func $number (param $text i64) (result i32)
    (if (i64.ne (call $length (local.get $text)) (i64.const 2)) (then (return (i32.const 50))))
    (i32.add (i32.mul (i32.const 10) (call $digit (local.get $text)))
      (call $digit (i64.add (local.get $text) (i64.const 1)))))`;

function onRequest(options: RolloutPluginOptions, texts: Texts): string {
  const { denies = 0, fails, rounds = 0 } = options;
  const mark = texts.add(options.mark);
  const asked = texts.add("x-asked");
  return `(func (export "on_request") (result i32)
    (local $i i32) (local $chance i32) (local $letter i64)
    (local.set $chance (call $number (call $header ${texts.add("x-chance")})))
    (local.set $i (i32.const ${rounds + 1}))
    (loop $on (br_if $on (local.tee $i (i32.sub (local.get $i) (i32.const 1)))))
    (call $set_response ${asked} ${mark})
    (call $set_request ${asked} ${mark})
    ${reading(options, texts)}
    ${counting(options, texts)}
    ${below(options.traps, "unreachable")}
    ${below(options.loops, "(loop $on (br $on))")}
    ${below(fails?.below, `(call $error ${texts.add(fails?.text ?? "")})`)}
    (if (i32.ge_s (local.get $chance) (i32.const ${100 - denies})) (then
      (call $respond (i32.const 403) ${texts.add("denied")})
      (call $reason ${texts.add("no luck")})))
    (i32.const 0))`;
}

function onResponse(options: RolloutPluginOptions, texts: Texts): string {
  return `(func (export "on_response") (result i32) (local $chance i32)
    (local.set $chance (call $number (call $header ${texts.add("x-chance")})))
    (call $set_response ${texts.add("x-version")} ${texts.add(options.mark)})
    ${below(options.trapsResponse, "unreachable")}
    (i32.const 0))`;
}

function reading({ reads }: RolloutPluginOptions, texts: Texts): string {
  if (reads === undefined) return "";
  return `(call $set_request ${texts.add("x-read")} (call $header ${texts.add(reads)}))`;
}

function counting({ counts }: RolloutPluginOptions, texts: Texts): string {
  if (counts === undefined) return "";
  return `(local.set $letter ${texts.add("?")})
    (call $store (local.get $letter) (i32.add (i32.const 96)
      (i32.wrap_i64 (call $incr ${texts.add(counts)} (i64.const 1) (i64.const 0)))))
    (call $set_response ${texts.add("x-hits")} (local.get $letter))`;
}

function below(share: number | undefined, code: string): string {
  if (share === undefined) return "";
  return `(if (i32.lt_s (local.get $chance) (i32.const ${share})) (then ${code}))`;
}

/** Texts in the guest's memory, and the calls that make handles of them. */
class Texts {
  all = "";

  add(text: string): string {
    const at = this.all.length;
    this.all += text;
    return `(call $text (i32.const ${at}) (i32.const ${text.length}))`;
  }
}
