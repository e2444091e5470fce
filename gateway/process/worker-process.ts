// A worker as a process: its channel to the primary, and what ends it. Signals are the primary's: a
// terminal sends Ctrl-C to the whole group, and a worker that left on its own would cut its requests.

import cluster from "node:cluster";
import { flushCompileCache } from "node:module";
import { createLog } from "../base/log.ts";
import { runWorker } from "../cluster/worker.ts";

/** Serves until the primary says otherwise. */
export function startWorkerProcess(): void {
  const id = cluster.worker?.id ?? 0;
  const log = createLog((line) => process.stderr.write(line), { worker: id });
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => {});
  process.on("uncaughtException", (error) => {
    // An impossible state: whatever is half done in this process cannot be trusted any more.
    log.error("a worker ends itself", { error: error.stack ?? String(error) });
    process.exit(70);
  });
  runWorker(
    {
      // A failed send means that the primary is gone, and then the disconnect ends this worker.
      send: (message) => void process.send?.(message, undefined, undefined, () => {}),
      onMessage: (listener) => void process.on("message", listener),
      onDisconnect: (listener) => void process.on("disconnect", listener),
      exit: (code) => process.exit(code),
    },
    log,
    String(id),
  );
  // Written at an orderly exit only, which no worker has: the primary ends it.
  flushCompileCache();
}
