// The smallest useful plugin: greets in a response header, and tells the upstream who greeted. Larger
// ones are classes with a typed configuration; header-guard shows how.

import { Config, Decision } from "../sdk/index";

export function on_request(): i32 {
  return Decision.pass()
    .setResponseHeader("x-hello", Config.getOr("greeting", "hello from a plugin"))
    .setRequestHeader("x-greeted-by", "hello")
    .carryOut();
}
