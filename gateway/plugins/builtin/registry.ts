// The built-in plugins by name. An uploaded plugin may not take one of these names.

import type { Builtin } from "../phases.ts";
import { cors } from "./cors.ts";
import { jwt } from "./jwt.ts";
import { keyAuth } from "./key-auth.ts";
import { rateLimit } from "./rate-limit.ts";

/** Every built-in plugin by the name used in the configuration. */
export const BUILTINS: ReadonlyMap<string, Builtin> = new Map(
  [cors, jwt, keyAuth, rateLimit].map((builtin) => [builtin.name, builtin]),
);
