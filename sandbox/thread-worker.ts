// The thread's side of thread.ts: one guest, called task by task, and what came of each call as plain data.
// It marks how far a call is in memory that both sides see, because that is all the owner can look at
// while a guest runs. What knows the plugin interface starts it: see createThreadServer.

import type { HostFunction, LogLevel } from "./guest.ts";
import { Variables } from "./hostcalls.ts";
import type { Outcome } from "./instance.ts";
import type { SandboxLimits } from "./limits.ts";
import { loadSdk, SdkInstance, type Sdk } from "./sdk-instance.ts";

/** What a thread is made with. */
export type ThreadSetup = {
  readonly module: WebAssembly.Module;
  readonly limits: SandboxLimits;
  readonly config: ReadonlyMap<string, string>;
  readonly logLevel: LogLevel;
};

export type VariableList = readonly (readonly [name: string, value: Uint8Array])[];

export type ThreadTask = {
  /** null: only make sure that an instance is ready. */
  readonly exportName: string | null;
  readonly input: string | null;
  /** What `contextOf` makes a context of. */
  readonly data: unknown;
  readonly variables: VariableList;
  /** When each of MARKS was reached, by the monotonic clock in ns; 0 before. */
  readonly marks: BigInt64Array;
};

export type ThreadReply = {
  readonly outcome: Outcome;
  /** What `dataOf` says of the context after the call. */
  readonly data: unknown;
  readonly logs: readonly (readonly [level: string, line: string])[];
  /** null when the call changed none. */
  readonly variables: VariableList | null;
};

/** How far a task is, as indices of its marks. */
export const MARKS = { started: 0, called: 1, ended: 2 } as const;

export type ThreadServerOptions<C> = {
  readonly hostFunctions: ReadonlyMap<string, HostFunction<C>>;
  contextOf(data: unknown): C;
  dataOf(context: C): unknown;
};

/**
 * What a thread does with each task; the first one starts the guest. A promise, which piscina awaits before
 * it calls the thread ready: the SDK is there by then.
 */
export async function createThreadServer<C>(
  setup: ThreadSetup,
  options: ThreadServerOptions<C>,
): Promise<(task: ThreadTask) => Promise<ThreadReply>> {
  const server = new ThreadServer(setup, options, await loadSdk());
  return (task) => server.run(task);
}

class ThreadServer<C> {
  readonly #setup: ThreadSetup;
  readonly #options: ThreadServerOptions<C>;
  readonly #state: { readonly config: ReadonlyMap<string, string>; variables: Variables };
  readonly #sdk: Sdk;
  #instance: SdkInstance<C> | null = null;
  #logs: [string, string][] = [];

  constructor(setup: ThreadSetup, options: ThreadServerOptions<C>, sdk: Sdk) {
    this.#setup = setup;
    this.#sdk = sdk;
    this.#options = options;
    this.#state = { config: setup.config, variables: new Variables(0) };
  }

  async run(task: ThreadTask): Promise<ThreadReply> {
    const context = this.#options.contextOf(task.data);
    const variables = Variables.of(task.variables, this.#setup.limits.varBytesMax);
    this.#state.variables = variables;
    this.#logs = [];
    const outcome = await this.#call(task, context);
    mark(task, "ended");
    return {
      outcome,
      data: this.#options.dataOf(context),
      logs: this.#logs,
      variables: variables.changed ? variables.list() : null,
    };
  }

  async #call(task: ThreadTask, context: C): Promise<Outcome> {
    const instance = this.#instance ?? (await this.#start(task, context));
    if (!(instance instanceof SdkInstance)) return instance;
    if (task.exportName === null) return { kind: "ok", output: null, returnCode: 0 };
    mark(task, "called");
    const outcome = await instance.call(task.exportName, task.input, context);
    if (!instance.reusable) this.#instance = null;
    return outcome;
  }

  async #start(task: ThreadTask, context: C): Promise<SdkInstance<C> | Outcome> {
    const { module, limits, logLevel } = this.#setup;
    const instance = new SdkInstance<C>({
      module,
      limits,
      hostFunctions: this.#options.hostFunctions,
      state: this.#state,
      log: (level, line) => this.#logs.push([level, line]),
      logLevel,
    });
    mark(task, "started");
    const failure = await instance.start(this.#sdk, context);
    if (failure !== null) return failure;
    this.#instance = instance;
    return instance;
  }
}

function mark({ marks }: ThreadTask, name: keyof typeof MARKS): void {
  Atomics.store(marks, MARKS[name], process.hrtime.bigint());
}
