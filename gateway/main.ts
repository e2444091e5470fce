// Composition root: the command line in the primary, the data path in a worker. Holds no logic.

import cluster from "node:cluster";
import { assertLimits } from "./base/limits.ts";
import { nodeFault } from "./base/node-version.ts";

const fault = nodeFault(process.version);
if (fault !== null) {
  process.stderr.write(`error: ${fault}\n`);
  process.exit(2);
}
assertLimits();
if (cluster.isWorker) {
  const { startWorkerProcess } = await import("./process/worker-process.ts");
  startWorkerProcess();
} else {
  const { runCli } = await import("../admin/cli/main.ts");
  const { VERSION } = await import("./process/version.ts");
  process.exitCode = await runCli(process.argv.slice(2), {
    version: VERSION,
    run: async (options) => {
      const { runGateway } = await import("./process/run.ts");
      return await runGateway(options, import.meta.filename);
    },
  });
}
