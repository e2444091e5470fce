// Guests in threads of their own: the official SDK runs unmetered code there, and a call that does not
// end in its time is ended with its thread. No other call ends with it: a thread has one call at a time,
// and the others wait here. Nothing that comes back is believed but by the checks below.

import type { Piscina } from "piscina";
import type { LogLevel } from "./guest.ts";
import { LOG_LEVELS } from "./guest.ts";
import { Variables } from "./hostcalls.ts";
import { failed, type Outcome } from "./instance.ts";
import type { SandboxLimits } from "./limits.ts";
import { MARKS } from "./thread-worker.ts";
import type { ThreadReply, ThreadSetup, ThreadTask } from "./thread-worker.ts";

/** Bounds of a pool; times are of the clock. */
export const THREAD_LIMITS = Object.freeze({
  /** Threads of one pool where nothing else is said. */
  threads: 2,
  /** Threads beyond them, so that the call after one that was ended need not wait for a new one. */
  standby: 1,
  /** Calls that wait for a thread. */
  queueMax: 64,
  /** How long one waits until its guest runs: a thread may have to start first. */
  waitMsMax: 5_000,
  /** The initialisation of a guest; its CPU time would be no bound, since a new thread compiles too. */
  initMsMax: 2_000,
  /** From the end of the guest's code until its answer is read. */
  answerMsMax: 1_000,
});

/** What the JavaScript of one thread may use; guests have their own memory. */
const HEAP_MB = 64;
const CODES: ReadonlySet<unknown> = new Set([
  "stack",
  "trap",
  "guest_error",
  "bad_output",
  "host_denied",
  "host_error",
  "kernel_memory",
]);

export type ThreadPoolOptions = {
  /** Compiled from admitted bytes whose memory and table are clamped. */
  readonly module: WebAssembly.Module;
  readonly limits: SandboxLimits;
  /** What config_get answers. */
  readonly config: ReadonlyMap<string, string>;
  /** URL of the threads' program, which serves with `createThreadServer`. */
  readonly program: string;
  readonly threads: number;
  /** Lines below it are dropped; `info` when left out. */
  readonly logLevel?: LogLevel;
};

/** What came of a call: `data` is as the thread said it, to be checked by who knows its form. */
export type ThreadResult = Pick<ThreadReply, "outcome" | "data" | "logs">;

type Call = {
  readonly task: Omit<ThreadTask, "variables" | "marks">;
  readonly resolve: (result: ThreadResult) => void;
  timer: NodeJS.Timeout | undefined;
  marks: BigInt64Array;
  /** Ends the thread it runs in. */
  ending: AbortController;
  readonly cameNs: bigint;
  isSecondTurn: boolean;
  failure: Outcome | null;
};

export class ThreadPool {
  readonly #options: ThreadPoolOptions;
  readonly #exports: ReadonlySet<string>;
  readonly #threads: Promise<Piscina>;
  readonly #queue: Call[] = [];
  #variables: Variables;
  #running = 0;
  #closed = false;

  /** Starts the threads; their guests start with the first calls. */
  constructor(options: ThreadPoolOptions) {
    this.#options = options;
    const exports = WebAssembly.Module.exports(options.module);
    this.#exports = new Set(exports.flatMap(({ kind, name }) => (kind === "function" ? name : [])));
    this.#variables = new Variables(options.limits.varBytesMax);
    this.#threads = startThreads(options);
  }

  hasExport(name: string): boolean {
    return this.#exports.has(name);
  }

  /** Has every thread start its guest and call this export, where it is not null. To be called first. */
  async warm(exportName: string | null, data: unknown): Promise<ThreadResult> {
    const { threads } = this.#options;
    const all = Array.from({ length: threads }, () => this.call(exportName, null, data));
    const results = await Promise.all(all);
    return results.find(({ outcome }) => outcome.kind === "failed") ?? results[0];
  }

  /** Calls an export that the module has, in the next free thread; never rejects. */
  call(exportName: string | null, input: string | null, data: unknown): Promise<ThreadResult> {
    const { promise, resolve } = Promise.withResolvers<ThreadResult>();
    const call: Call = {
      task: { exportName, input, data },
      resolve,
      timer: undefined,
      marks: newMarks(),
      ending: new AbortController(),
      cameNs: process.hrtime.bigint(),
      isSecondTurn: false,
      failure: null,
    };
    if (this.#closed) {
      settle(call, failed("pool_exhausted", "the pool is closed"));
    } else if (this.#running < this.#options.threads) {
      void this.#run(call);
    } else if (this.#queue.length >= THREAD_LIMITS.queueMax) {
      const full = `${this.#running} threads are busy and ${this.#queue.length} calls wait`;
      settle(call, failed("pool_exhausted", full));
    } else {
      this.#queue.push(call);
      call.timer = setTimeout(() => this.#giveUp(call), THREAD_LIMITS.waitMsMax);
    }
    return promise;
  }

  /** Ends the threads, and with them the calls in them. Idempotent. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const call of this.#queue.splice(0)) {
      settle(call, failed("pool_exhausted", "the pool is closed"));
    }
    await (await this.#threads).destroy();
  }

  #giveUp(call: Call): void {
    this.#queue.splice(this.#queue.indexOf(call), 1);
    settle(call, failed("pool_exhausted", `no thread was free for ${THREAD_LIMITS.waitMsMax} ms`));
  }

  async #run(call: Call): Promise<void> {
    clearTimeout(call.timer);
    this.#running += 1;
    try {
      const threads = await this.#threads;
      this.#watchIn(call, this.#options.limits.cpuMsMax);
      const { marks, ending } = call;
      const task: ThreadTask = { ...call.task, variables: this.#variables.list(), marks };
      const reply = this.#parse(await threads.run(task, { signal: ending.signal }));
      clearTimeout(call.timer);
      call.resolve(reply);
    } catch (error) {
      clearTimeout(call.timer);
      if (this.#mayRunAgain(call)) this.#requeue(call);
      else settle(call, call.failure ?? failed("host_error", `its thread ended: ${String(error)}`));
    }
    this.#running -= 1;
    const next = this.#queue.shift();
    if (next !== undefined) void this.#run(next);
  }

  // A thread that ended by itself before it had begun with the call: nothing has happened yet.
  #mayRunAgain({ marks, isSecondTurn, failure }: Call): boolean {
    const isUntouched = marks[MARKS.started] === 0n && marks[MARKS.called] === 0n;
    return isUntouched && !isSecondTurn && failure === null && !this.#closed;
  }

  #requeue(call: Call): void {
    call.isSecondTurn = true;
    this.#queue.unshift(call);
  }

  #watchIn(call: Call, delayMs: number): void {
    call.timer = setTimeout(() => this.#watch(call), delayMs);
  }

  // Which bound holds depends on how far the thread has come, and each runs from its own mark.
  #watch(call: Call): void {
    const { cpuMsMax } = this.#options.limits;
    const at = (mark: number) => Atomics.load(call.marks, mark);
    const [ended, called, started] = [at(MARKS.ended), at(MARKS.called), at(MARKS.started)];
    if (ended !== 0n) {
      const { answerMsMax } = THREAD_LIMITS;
      this.#endAfter(call, ended, answerMsMax, () => failed("host_error", "its answer got lost"));
    } else if (called !== 0n) {
      const why = `the guest ran for ${cpuMsMax} ms of the clock, and its thread was ended`;
      this.#endAfter(call, called, cpuMsMax, () => failed("deadline", why));
    } else if (started !== 0n) {
      const { initMsMax } = THREAD_LIMITS;
      const why = `initialisation: not done after ${initMsMax} ms of the clock`;
      this.#endAfter(call, started, initMsMax, () => failed("deadline", why));
    } else {
      const { waitMsMax } = THREAD_LIMITS;
      const why = `no thread has begun with it within ${waitMsMax} ms`;
      this.#endAfter(call, call.cameNs, waitMsMax, () => failed("pool_exhausted", why));
    }
  }

  #endAfter(call: Call, sinceNs: bigint, allowedMs: number, failure: () => Outcome): void {
    const leftMs = allowedMs - Number(process.hrtime.bigint() - sinceNs) / 1e6;
    if (leftMs > 0) {
      this.#watchIn(call, Math.ceil(leftMs));
      return;
    }
    call.failure = failure();
    call.ending.abort();
  }

  // What a thread says, cut to what a guest may say; throws on anything else.
  #parse(value: unknown): ThreadResult {
    const { limits } = this.#options;
    const { outcome, data, logs, variables } = value as ThreadReply;
    if (variables !== null) this.#variables = Variables.of(variables, limits.varBytesMax);
    const lines = logs.slice(0, limits.logLinesMax + 1).map(([level, line]) => {
      const known = LOG_LEVELS.find((word) => word === level) ?? "info";
      return [known, String(line).slice(0, limits.logLineBytesMax)] as const;
    });
    return { outcome: parseOutcome(outcome, limits), data, logs: lines };
  }
}

function parseOutcome(outcome: Outcome, { outputBytesMax }: SandboxLimits): Outcome {
  if (outcome.kind === "failed" && CODES.has(outcome.code)) {
    return failed(outcome.code, String(outcome.detail));
  }
  if (outcome.kind !== "ok") throw new Error("no outcome");
  const { output } = outcome;
  const isOutput = output instanceof Uint8Array && output.length <= outputBytesMax;
  if (output !== null && !isOutput) throw new Error("no output");
  return { kind: "ok", output, returnCode: 0 };
}

async function startThreads(options: ThreadPoolOptions): Promise<Piscina> {
  const { module, limits, config, program, threads, logLevel = "info" } = options;
  const workerData: ThreadSetup = { module, limits, config, logLevel };
  // Loaded here, so that a gateway that uses no threads does without.
  const { Piscina } = await import("piscina");
  const started = new Piscina({
    filename: program,
    workerData,
    minThreads: threads + THREAD_LIMITS.standby,
    maxThreads: threads + THREAD_LIMITS.standby,
    concurrentTasksPerWorker: 1,
    recordTiming: false,
    resourceLimits: { maxOldGenerationSizeMb: HEAP_MB },
  });
  // A thread that ends without a call: the next call starts another.
  started.on("error", () => {});
  return started;
}

function newMarks(): BigInt64Array {
  const count = Object.keys(MARKS).length;
  return new BigInt64Array(new SharedArrayBuffer(count * BigInt64Array.BYTES_PER_ELEMENT));
}

function settle(call: Call, outcome: Outcome): void {
  clearTimeout(call.timer);
  call.resolve({ outcome, data: null, logs: [] });
}
