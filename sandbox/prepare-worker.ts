// The thread that prepares modules. What the sandbox refuses is an answer here, not an exception: an
// error's code does not survive the way between threads.

import { SandboxError, prepareModule } from "./sandbox.ts";
import type { PrepareAnswer, PrepareTask } from "./prepare-thread.ts";

/** Called by piscina for each task. */
export default function prepare({ bytes, options }: PrepareTask): PrepareAnswer {
  try {
    return { ok: true, prepared: prepareModule(bytes, options) };
  } catch (error) {
    if (!(error instanceof SandboxError)) throw error;
    return { ok: false, code: error.code, message: error.message };
  }
}
