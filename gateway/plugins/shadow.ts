// The next version of a plugin in the shadow of the one that decides: it sees the same requests in a thread
// of its own, later, and only as many as that thread can take. What it would have decided is compared and
// counted; the request knows nothing of it.

import { setImmediate as nextTurn } from "node:timers/promises";
import { serialize } from "node:v8";
import { Worker } from "node:worker_threads";
import { nowMs, turnMs } from "../base/clock.ts";
import { isKill, KillSwitch } from "./kill-switch.ts";
import type { ShownDifference } from "./redact.ts";
import type { ShadowAnswer, ShadowResult, ShadowSetup } from "./shadow-worker.ts";
import { plainWitnessed } from "./witness.ts";
import type { Witness, Witnessed } from "./witness.ts";

/** Requests on their way through the thread; beyond them requests are passed over, and counted. */
const PENDING_MAX = 512;
/** What these requests may weigh together: bodies, and what hosts answered. */
const PENDING_BYTES_MAX = 8 * 1024 * 1024;
/** Showing one call takes the worker some 10 us: so many a second are 1 % of a CPU. */
const PER_SECOND_MAX = 1_000;
/** How many of them may come at once. */
const BURST_MAX = 50;
/** Of a CPU, on average: what a candidate that loops can take. */
const CPU_SHARE = 0.1;
/** What the thread may use at once. */
const CPU_BURST_MS = 100;
/** What has waited for the thread for longer is passed over: differences are to be news. */
const STALE_MS = 30_000;
/** Enough to wake the thread seldom. */
const BATCH_MAX = 32;
/** What is copied in one turn of the event loop, in 50 us: requests must not wait for more. */
const SLICE = 4;
/** Before it is known what one takes. */
const BATCH_FIRST = 4;
/** How often what has come is shown, unless there is more than one batch of it. */
const BATCH_MS = 50;
/** What the thread's JavaScript may use; the guest has its own memory. */
const HEAP_MB = 64;

export type ShadowOptions = {
  readonly setup: ShadowSetup;
  /** A call of the candidate that took place. */
  onCall(result: ShadowResult): void;
  onDifference(difference: ShownDifference): void;
  /** A request that the thread had no room for. */
  onSkipped(): void;
  /** It had to be stopped so often that it would not serve either; for a while it is shown nothing. */
  onStoppedTooOften(detail: string): void;
  warn(message: string, fields: Readonly<Record<string, unknown>>): void;
};

export class Shadow implements Witness {
  readonly #options: ShadowOptions;
  #thread: Worker | null = null;
  #waiting: Witnessed[] = [];
  /** With the thread, in their order. */
  #shown: readonly Witnessed[] = [];
  // One for all: to set one is no work for a request.
  readonly #timer: NodeJS.Timeout;
  #pending = 0;
  #pendingBytes = 0;
  #tokens = BURST_MAX;
  #cpuMs = CPU_BURST_MS;
  /** What one took, in the last batch; null before the first one. */
  #costMs: number | null = null;
  #refilledMs = 0;
  readonly #killSwitch = new KillSwitch();
  #closed = false;

  constructor(options: ShadowOptions) {
    this.#options = options;
    this.#timer = setInterval(() => this.#flush(), BATCH_MS);
    this.#start();
  }

  wants(): boolean {
    if (this.#closed) return false;
    this.#refill(turnMs());
    if (this.#tokens >= 1 && this.#hasRoom() && !this.#killSwitch.isOpen(turnMs())) {
      this.#tokens--;
      return true;
    }
    this.#options.onSkipped();
    return false;
  }

  take(witnessed: Witnessed): void {
    // More may have begun than there is room for: what waits for its host ends when it likes.
    if (this.#closed) return;
    if (!this.#hasRoom()) {
      this.#options.onSkipped();
      return;
    }
    this.#pending++;
    this.#pendingBytes += weightOf(witnessed);
    this.#waiting.push(witnessed);
  }

  close(): void {
    this.#closed = true;
    clearInterval(this.#timer);
    void this.#thread?.terminate();
  }

  #start(): void {
    const onError = (error: unknown) => {
      if (!this.#closed) this.#options.warn("a shadow's thread ended", { error: String(error) });
    };
    try {
      const thread = new Worker(new URL("./shadow-worker.ts", import.meta.url), {
        workerData: this.#options.setup,
        resourceLimits: { maxOldGenerationSizeMb: HEAP_MB },
      });
      this.#thread = thread;
      thread.on("message", (answer: ShadowAnswer) => this.#onAnswer(answer));
      thread.on("error", onError);
      thread.on("exit", () => this.#onExit());
    } catch (error) {
      // A machine without room for one more thread, which is no reason to end.
      onError(error);
    }
  }

  #hasRoom(): boolean {
    return this.#pending < PENDING_MAX && this.#pendingBytes < PENDING_BYTES_MAX;
  }

  #refill(atMs: number): void {
    const elapsedMs = atMs - this.#refilledMs;
    if (elapsedMs <= 0) return;
    this.#refilledMs += elapsedMs;
    this.#tokens = Math.min(BURST_MAX, this.#tokens + (elapsedMs * PER_SECOND_MAX) / 1_000);
    this.#cpuMs = Math.min(CPU_BURST_MS, this.#cpuMs + elapsedMs * CPU_SHARE);
  }

  // One batch at a time: only its answer tells how large the next one may be.
  #flush(): void {
    if (this.#closed || this.#shown.length > 0 || this.#waiting.length === 0) return;
    this.#refill(nowMs());
    if (this.#cpuMs <= 0) return;
    this.#skipStale();
    const affordable = this.#costMs === null ? BATCH_FIRST : this.#cpuMs / this.#costMs;
    const count = Math.max(1, Math.min(Math.floor(affordable), BATCH_MAX));
    const batch = this.#waiting.splice(0, count);
    if (batch.length > 0) void this.#show(batch);
  }

  #skipStale(): void {
    const sinceMs = Date.now() - STALE_MS;
    const fresh = this.#waiting.findIndex(({ atMs }) => atMs >= sinceMs);
    const stale = this.#waiting.splice(0, fresh === -1 ? this.#waiting.length : fresh);
    this.#leave(stale);
    for (const _ of stale) this.#options.onSkipped();
  }

  #leave(witnessed: readonly Witnessed[]): void {
    this.#pending -= witnessed.length;
    for (const each of witnessed) this.#pendingBytes -= weightOf(each);
  }

  async #show(batch: readonly Witnessed[]): Promise<void> {
    this.#shown = batch;
    try {
      const slices = await sliced(batch);
      // The thread may have ended meanwhile, and the batch with it.
      if (this.#closed || this.#shown !== batch) return;
      if (this.#thread === null) this.#start();
      if (this.#thread === null) this.#onExit();
      else this.#thread.postMessage(slices);
    } catch (error) {
      this.#options.warn("a shadow could not be shown its requests", { error: String(error) });
      this.#skipShown();
    }
  }

  #onAnswer({ results, cpuMs }: ShadowAnswer): void {
    if (this.#closed) return;
    this.#cpuMs -= cpuMs;
    this.#costMs = cpuMs / this.#shown.length;
    for (const result of results) this.#take(result);
    this.#end();
  }

  // The next batch starts another one; what that takes is charged here.
  #onExit(): void {
    this.#thread = null;
    if (this.#closed) return;
    this.#cpuMs -= CPU_BURST_MS;
    this.#skipShown();
  }

  #skipShown(): void {
    for (const _ of this.#shown) this.#options.onSkipped();
    this.#end();
  }

  #end(): void {
    this.#leave(this.#shown);
    this.#shown = [];
    if (this.#waiting.length >= BATCH_MAX) this.#flush();
  }

  #take(result: ShadowResult): void {
    if (result.outcome !== "none") this.#options.onCall(result);
    if (result.difference !== null) this.#options.onDifference(result.difference);
    const { fault } = result;
    if (fault !== null && isKill(fault) && this.#killSwitch.onKill(nowMs())) {
      this.#options.onStoppedTooOften(`${fault} in the shadow`);
    }
  }
}

/** Serialized, a slice in each turn. */
async function sliced(batch: readonly Witnessed[]): Promise<Uint8Array[]> {
  const slices: Uint8Array[] = [];
  for (let at = 0; at < batch.length; at += SLICE) {
    if (at > 0) await nextTurn();
    slices.push(serialize(batch.slice(at, at + SLICE).map(plainWitnessed)));
  }
  return slices;
}

// Of what may be large: the rest is bounded by the limits of heads and decisions.
function weightOf({ bodyBytes, calls }: Witnessed): number {
  if (calls.length === 0) return bodyBytes;
  const answers = calls.map(({ answer }) =>
    typeof answer === "object" ? (answer?.body.length ?? 0) : String(answer).length,
  );
  return answers.reduce((sum, length) => sum + length, bodyBytes);
}
