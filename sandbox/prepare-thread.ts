// Prepares modules in a thread of its own, so that a large upload does not hold up whoever asked. One
// thread, started with the first module and ended when it has been idle for a while.

import { Piscina } from "piscina";
import type { SandboxErrorCode } from "./errors.ts";
import { SandboxError } from "./errors.ts";
import type { PrepareOptions, Prepared } from "./sandbox.ts";

const IDLE_MS = 60_000;

export type PrepareTask = { readonly bytes: Uint8Array; readonly options: PrepareOptions };

export type PrepareAnswer =
  | { readonly ok: true; readonly prepared: Prepared }
  | { readonly ok: false; readonly code: SandboxErrorCode; readonly message: string };

export type Preparer = {
  /** As `prepareModule`; rejects with a SandboxError. The bytes are copied. */
  prepare(bytes: Uint8Array, options: PrepareOptions): Promise<Prepared>;
  close(): Promise<void>;
};

/** Starts no thread yet. */
export function createPreparer(): Preparer {
  const pool = new Piscina({
    filename: new URL("./prepare-worker.ts", import.meta.url).href,
    minThreads: 0,
    maxThreads: 1,
    idleTimeout: IDLE_MS,
  });
  return {
    prepare: async (bytes, options) => {
      const task: PrepareTask = { bytes: Uint8Array.from(bytes), options };
      const answer = (await pool.run(task)) as PrepareAnswer;
      if (!answer.ok) throw new SandboxError(answer.code, answer.message);
      return answer.prepared;
    },
    close: () => pool.destroy(),
  };
}
