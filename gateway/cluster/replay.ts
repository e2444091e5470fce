// Runs two versions of a plugin over what a route has recorded, beside the traffic, and tells in what they
// differ. In a thread of its own, so that the primary goes on; bounded in time.

import { Worker } from "node:worker_threads";
import type { ReplayReport } from "../../admin/api/control.ts";
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

/** What is counted of a replay; the differences are the first ones. */
export type ReplayCounts = Omit<
  ReplayReport,
  "route" | "plugin" | "stable" | "candidate" | "tookMs" | "differences"
> & { readonly differences: readonly ShownDifference[] };

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
