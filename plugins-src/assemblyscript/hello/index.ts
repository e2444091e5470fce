// The smallest useful plugin: greets in a response header, and tells the upstream who greeted.

import { Config, Request, Response } from "../sdk/index";

export function on_request(): i32 {
  Response.setHeader("x-hello", Config.getOr("greeting", "hello from a plugin"));
  Request.setHeader("x-greeted-by", "hello");
  return 0;
}
