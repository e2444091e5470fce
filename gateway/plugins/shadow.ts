// The next version of a plugin in the shadow of the one that decides: it sees the same requests in a thread
// of its own, later, and only as many as that thread can take. What it would have decided is compared and
// counted; the request knows nothing of it.

import type { Piscina } from "piscina";
import { turnMs } from "../base/clock.ts";
import type { ShownDifference } from "./redact.ts";
import type { ShadowResult, ShadowSetup } from "./shadow-worker.ts";
import type { Witness, Witnessed } from "./witness.ts";

/** Requests on their way through the thread; beyond them requests are passed over, and counted. */
const PENDING_MAX = 512;
/** What these requests may weigh together: bodies, and what hosts answered. */
const PENDING_BYTES_MAX = 8 * 1024 * 1024;
/** Showing one call takes the worker some 10 us: so many a second are 1 % of a CPU. */
const PER_SECOND_MAX = 1_000;
/** How many of them may come at once. */
const BURST_MAX = 50;
/** Few enough to be copied in one go, which takes 0.1 ms, and enough to wake the thread seldom. */
const BATCH_MAX = 32;
/** How long the first of a batch waits for more. */
const BATCH_MS = 100;
/** What the thread's JavaScript may use; the guest has its own memory. */
const HEAP_MB = 64;

export type ShadowOptions = {
  readonly setup: ShadowSetup;
  /** A call of the candidate that took place. */
  onCall(result: ShadowResult): void;
  onDifference(difference: ShownDifference): void;
  /** A request that the thread had no room for. */
  onSkipped(): void;
  warn(message: string, fields: Readonly<Record<string, unknown>>): void;
};

export class Shadow implements Witness {
  readonly #options: ShadowOptions;
  readonly #thread: Promise<Piscina>;
  #batch: Witnessed[] = [];
  #timer: NodeJS.Timeout | null = null;
  #pending = 0;
  #pendingBytes = 0;
  #tokens = BURST_MAX;
  #refilledMs = 0;
  #closed = false;

  /** Starts the thread. */
  constructor(options: ShadowOptions) {
    this.#options = options;
    this.#thread = startThread(options.setup);
    // A machine without room for one more thread: told with the first batch, and no reason to end.
    this.#thread.catch(() => {});
  }

  wants(): boolean {
    if (this.#closed) return false;
    this.#refill();
    if (this.#tokens >= 1 && this.#hasRoom()) {
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
    this.#batch.push(witnessed);
    if (this.#batch.length >= BATCH_MAX) this.#flush();
    else this.#timer ??= setTimeout(() => this.#flush(), BATCH_MS);
  }

  close(): void {
    this.#closed = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#thread.then((thread) => thread.destroy()).catch(() => {});
  }

  #hasRoom(): boolean {
    return this.#pending < PENDING_MAX && this.#pendingBytes < PENDING_BYTES_MAX;
  }

  #refill(): void {
    const elapsedMs = turnMs() - this.#refilledMs;
    if (elapsedMs <= 0) return;
    this.#refilledMs += elapsedMs;
    this.#tokens = Math.min(BURST_MAX, this.#tokens + (elapsedMs * PER_SECOND_MAX) / 1_000);
  }

  #flush(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    const batch = this.#batch;
    this.#batch = [];
    if (!this.#closed && batch.length > 0) void this.#run(batch);
  }

  async #run(batch: readonly Witnessed[]): Promise<void> {
    try {
      const thread = await this.#thread;
      for (const result of (await thread.run(batch)) as ShadowResult[]) this.#take(result);
    } catch (error) {
      // Closed meanwhile, or the thread ended: another one is started for the next batch.
      if (this.#closed) return;
      for (const _ of batch) this.#options.onSkipped();
      this.#options.warn("a shadow's thread ended", { error: String(error) });
    } finally {
      this.#pending -= batch.length;
      for (const each of batch) this.#pendingBytes -= weightOf(each);
    }
  }

  #take(result: ShadowResult): void {
    if (result.outcome !== "none") this.#options.onCall(result);
    if (result.difference !== null) this.#options.onDifference(result.difference);
  }
}

// Of what may be large: the rest is bounded by the limits of heads and decisions.
function weightOf({ bodyBytes, calls }: Witnessed): number {
  const answers = calls.map(({ answer }) =>
    typeof answer === "object" ? (answer?.body.length ?? 0) : String(answer).length,
  );
  return answers.reduce((sum, length) => sum + length, bodyBytes);
}

async function startThread(setup: ShadowSetup): Promise<Piscina> {
  // Loaded here, so that a gateway without shadows does without.
  const { Piscina } = await import("piscina");
  const thread = new Piscina({
    filename: new URL("./shadow-worker.ts", import.meta.url).href,
    workerData: setup,
    minThreads: 1,
    maxThreads: 1,
    concurrentTasksPerWorker: 1,
    recordTiming: false,
    resourceLimits: { maxOldGenerationSizeMb: HEAP_MB },
  });
  thread.on("error", () => {});
  return thread;
}
