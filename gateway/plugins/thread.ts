// The guests of an attachment with `isolation: thread`, with the interface of a GuestPool that suspends:
// a call's context goes to the thread as data, and what was decided there is gathered once more here, by
// the same checks.

import { ThreadPool } from "../../sandbox/sandbox.ts";
import type { GuestLog, Outcome, ThreadPoolOptions, ThreadResult } from "../../sandbox/sandbox.ts";
import { HOST_FUNCTIONS } from "./abi.ts";
import type { CallContext } from "./abi.ts";
import { contextData } from "./thread-context.ts";

const USER = "extism:host/user";

export type ThreadGuestsOptions = Omit<ThreadPoolOptions, "program"> & {
  readonly log: GuestLog<CallContext>;
};

export class ThreadGuests {
  /** Every call waits for its thread. */
  readonly suspends = true;
  readonly #pool: ThreadPool;
  readonly #module: WebAssembly.Module;
  readonly #log: GuestLog<CallContext>;

  /** Starts the threads. */
  constructor(options: ThreadGuestsOptions) {
    const program = new URL("./thread-worker.ts", import.meta.url).href;
    this.#pool = new ThreadPool({ ...options, program });
    this.#module = options.module;
    this.#log = options.log;
  }

  hasExport(name: string): boolean {
    return this.#pool.hasExport(name);
  }

  /** True when the module imports this function of the interface. */
  uses(name: string): boolean {
    const imports = WebAssembly.Module.imports(this.#module);
    return imports.some((entry) => entry.module === USER && entry.name === name);
  }

  /** Has every thread start its guest and check the configuration; a sentence when one refuses. */
  async check(context: CallContext): Promise<string | null> {
    for (const [name, { suspends }] of HOST_FUNCTIONS) {
      if (suspends !== true || !this.uses(name)) continue;
      return `it calls ${name}, which isolation: thread does not serve; use reuse or fresh`;
    }
    const exportName = this.hasExport("on_config") ? "on_config" : null;
    const { outcome } = this.#tell(
      await this.#pool.warm(exportName, contextData(context)),
      context,
    );
    return outcome.kind === "failed" ? `${outcome.code}: ${outcome.detail}` : null;
  }

  call(): never {
    throw new Error("a thread answers later");
  }

  warm(): never {
    throw new Error("threads are warmed by their check");
  }

  async callLater(name: string, input: string | null, context: CallContext): Promise<Outcome> {
    const result = await this.#pool.call(name, input, contextData(context));
    const { outcome, data } = this.#tell(result, context);
    if (outcome.kind === "failed") return outcome;
    const why = context.decision.takeData(data);
    return why === null ? outcome : { kind: "failed", code: "bad_output", detail: why };
  }

  close(): void {
    // Nothing waits for the threads' ends.
    void this.#pool.close();
  }

  #tell(result: ThreadResult, context: CallContext): ThreadResult {
    for (const [level, line] of result.logs) this.#log(level, line, context);
    return result;
  }
}
