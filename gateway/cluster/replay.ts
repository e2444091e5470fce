// Runs two versions of a plugin over what a route has recorded, beside the traffic, and tells in what they
// differ. In a thread of its own, so that the primary goes on; bounded in time.

import { Worker } from "node:worker_threads";
import type { EvaluatorSetup } from "../plugins/evaluate.ts";
import type { ShownDifference } from "../plugins/redact.ts";

const REPLAY_MS = 60_000;

/** A version with its prepared bytes. */
export type ReplayedVersion = Omit<EvaluatorSetup, "module"> & { readonly bytes: Uint8Array };

export type ReplayTask = {
  readonly stable: ReplayedVersion;
  readonly candidate: ReplayedVersion;
  /** Serialized calls, as a recorder keeps them. */
  readonly records: readonly Uint8Array[];
};

export type ReplayCounts = {
  readonly calls: number;
  readonly same: number;
  readonly different: number;
  /** A version asked its host what was not recorded. */
  readonly incomparable: number;
  /** Calls of the candidate that failed, by fault. */
  readonly faults: Readonly<Record<string, number>>;
  /** By what differed. */
  readonly by: Readonly<Record<string, number>>;
  /**
   * Calls in which the stable version itself now says something else than was recorded: of these the
   * comparison says little, since what it decides by was left out as a secret or kept by itself.
   */
  readonly drifted: number;
  /** The first ones. */
  readonly differences: readonly ShownDifference[];
};

/** Rejects when it takes too long. */
export async function replay(task: ReplayTask): Promise<ReplayCounts> {
  const thread = new Worker(new URL("./replay-thread.ts", import.meta.url), { workerData: task });
  let timer: NodeJS.Timeout | undefined;
  try {
    return await new Promise<ReplayCounts>((resolve, reject) => {
      timer = setTimeout(
        () => reject(new Error(`no end within ${REPLAY_MS / 1000} s; record fewer requests`)),
        REPLAY_MS,
      ).unref();
      thread.once("message", resolve);
      thread.once("error", reject);
      // A gateway that ends meanwhile does not wait. Last: who listens for messages holds the thread.
      thread.unref();
    });
  } finally {
    clearTimeout(timer);
    await thread.terminate();
  }
}
