// The running gateway as a process: the primary, its admin API, signals and what people are told.
// Part of the composition root: puts the parts together and leaves every decision to them.

import { join, resolve } from "node:path";
import { startAdminServer } from "../../admin/api/server.ts";
import type { AdminServer } from "../../admin/api/server.ts";
import type { RunOptions } from "../../admin/cli/main.ts";
import { createPreparer } from "../../sandbox/prepare-thread.ts";
import { DEFAULT_SANDBOX_LIMITS } from "../../sandbox/sandbox.ts";
import { createLog } from "../base/log.ts";
import type { Log } from "../base/log.ts";
import { portHolder } from "../cluster/port-holder.ts";
import { ConfigFaults, startPrimary } from "../cluster/primary.ts";
import type { Primary } from "../cluster/primary.ts";
import { formatFaults } from "../config/fault-text.ts";
import { demoSettings, demoText } from "./demo.ts";
import { HOST_SIGNATURES, REQUIRED_EXPORTS } from "../plugins/abi.ts";
import { serviceManager } from "./service-manager.ts";
import { splitAddress } from "../upstream/upstream.ts";
import { VERSION } from "./version.ts";

/** Exit codes of `run`, as sysexits(3) has them for a bad configuration. */
const EXIT_CONFIG = 78;

/** Runs until it is told to stop; resolves to the exit code. `workerFile` is what workers run. */
export async function runGateway(options: RunOptions, workerFile: string): Promise<number> {
  const log = createLog((line) => process.stderr.write(line));
  process.on("uncaughtException", (error) => {
    log.error("the primary ends itself", { error: error.stack ?? String(error) });
    process.exit(70);
  });
  const manager = serviceManager(log);
  const stopAsked = stopSignal();
  await using running = new AsyncDisposableStack();
  const preparer = createPreparer();
  running.defer(() => preparer.close());
  const settings = options.demo ? demoSettings(options) : options;
  let primary: Primary;
  let admin: AdminServer | null = null;
  // It answers until the last request has ended: a load balancer asks /readyz meanwhile.
  running.defer(async () => await admin?.close());
  try {
    primary = await startPrimary({
      configFile: settings.config ?? "sallyport.yaml",
      dataDir: settings.dataDir === null ? null : resolve(settings.dataDir),
      workers: options.workers,
      workerFile,
      seeds: settings.seeds,
      version: VERSION,
      log,
      prepare: (bytes, memoryPagesMax) =>
        preparer.prepare(bytes, {
          limits: { ...DEFAULT_SANDBOX_LIMITS, memoryPagesMax },
          hostFunctions: HOST_SIGNATURES,
          requiredExports: REQUIRED_EXPORTS,
        }),
    });
    running.defer(() => primary.stop());
    admin = await startAdmin(primary, log);
  } catch (error) {
    return explainFailure(error);
  }
  process.on("SIGHUP", () => void reload(primary));
  await manager.tell("--ready", `--status=serving, revision ${primary.control.config().revision}`);
  process.stdout.write(options.demo ? demoText(primary, admin) : readyText(primary, admin));
  await Promise.race([stopAsked, primary.drainAsked]);
  log.info("draining", { drain_ms: primary.drainMs });
  await manager.tell("STOPPING=1");
  primary.control.beginDrain();
  return 0;
}

// The first signal drains, the second one ends everything at once.
function stopSignal(): Promise<void> {
  return new Promise((settle) => {
    let isStopping = false;
    const onSignal = () => {
      if (isStopping) process.exit(130);
      isStopping = true;
      settle();
    };
    process.on("SIGTERM", onSignal);
    process.on("SIGINT", onSignal);
  });
}

async function startAdmin(primary: Primary, log: Log): Promise<AdminServer> {
  const { host, port } = splitAddress(primary.adminListen);
  try {
    return await startAdminServer({
      control: primary.control,
      host,
      port,
      firstKey: primary.adminKey,
      auditFile: join(primary.dataDir, "audit.log"),
      version: VERSION,
      log,
    });
  } catch (error) {
    if (!(error instanceof Error && "code" in error && error.code === "EADDRINUSE")) throw error;
    const holder = await portHolder(port);
    const by = holder === null ? "another program" : `${holder.program} (pid ${holder.pid})`;
    const mend = "stop it, or set admin.listen to another address";
    const message = `the admin API's ${primary.adminListen} is taken by ${by}; ${mend}`;
    throw new Error(message, { cause: error });
  }
}

async function reload(primary: Primary): Promise<void> {
  primary.reopenLogs();
  await primary.reload();
}

function explainFailure(error: unknown): number {
  if (error instanceof ConfigFaults) {
    const { faults, file, text } = error;
    const color = process.stderr.isTTY && (process.env["NO_COLOR"] ?? "") === "";
    process.stderr.write(formatFaults(faults, { file, text, color }));
    return EXIT_CONFIG;
  }
  const message = error instanceof Error ? error.message : String(error);
  process.stderr.write(`error: ${message}\n`);
  return 1;
}

function readyText(primary: Primary, admin: AdminServer): string {
  const { revision } = primary.control.config();
  const where = primary.control.addresses
    .map(({ name, address, tls }) => `${name} ${tls ? "https" : "http"}://${address}`)
    .join(", ");
  const keyFile = join(primary.dataDir, "admin.key");
  const key = admin.isKeyNew ? `\nthe admin key was made: ${keyFile}` : "";
  return `sallyport ${VERSION} serves revision ${revision} on ${where || "no listener yet"}; admin http://${admin.address}${key}\n`;
}
