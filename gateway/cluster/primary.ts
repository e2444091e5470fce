// The primary: owns the listening sockets, the state on disk and the admin API, supervises the
// workers, and carries no traffic. Starts from the last committed revision and then applies the
// configuration file as any other change; stops in the reverse order, within the drain deadline.

import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { mkdir, readFile } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { dirname, join, resolve } from "node:path";
import type { Log } from "../base/log.ts";
import { LIMITS } from "../base/limits.ts";
import { writeFileDurably } from "../base/write-file.ts";
import { ControlError } from "../../admin/api/control.ts";
import { checkConfigText } from "../config/parse.ts";
import type { Fault } from "../config/fault.ts";
import type { Config, ListenerConfig, ParsedConfig } from "../config/schema.ts";
import { resolveSecrets } from "../config/secrets.ts";
import { watchFile } from "../config/source-file.ts";
import { openStore } from "../config/store.ts";
import type { CertificatePem } from "../http/certificates.ts";
import { FleetMetrics } from "../telemetry/fleet-metrics.ts";
import { digestOf } from "../../sandbox/sandbox.ts";
import { Fleet } from "./fleet.ts";
import { GatewayControl } from "./gateway-control.ts";
import { Listeners } from "./listeners.ts";
import { lockDataDir } from "./lock.ts";
import { PluginStore } from "./plugin-store.ts";
import type { Prepare } from "./plugin-store.ts";
import { selfSignedCertificate } from "./self-signed.ts";

export type PrimaryOptions = {
  readonly configFile: string;
  /** In place of the file's `data_dir`. */
  readonly dataDir: string | null;
  /** In place of the file's `workers`. */
  readonly workers: number | null;
  /** The file that workers run. */
  readonly workerFile: string;
  /** Modules to store and make current at start, unless their bytes are known. */
  readonly seeds: readonly Seed[];
  readonly version: string;
  readonly log: Log;
  readonly prepare: Prepare;
};

/** A plugin to have from the first start on. */
export type Seed = { readonly name: string; readonly file: string };

/** The configuration file cannot be used; `text` is its content, for showing where. */
export class ConfigFaults extends Error {
  readonly file: string;
  readonly text: string;
  readonly faults: readonly Fault[];

  constructor(file: string, text: string, faults: readonly Fault[]) {
    super(`${file} has ${faults.length} fault(s)`);
    this.file = file;
    this.text = text;
    this.faults = faults;
  }
}

/** A running primary. */
export type Primary = {
  readonly control: GatewayControl;
  readonly dataDir: string;
  readonly drainMs: number;
  readonly adminListen: string;
  /** Reads the configuration file again; resolves to what became of it. */
  reload(): Promise<"applied" | "unchanged" | "refused">;
  reopenLogs(): void;
  /** Resolves once draining was asked for. */
  readonly drainAsked: Promise<void>;
  stop(): Promise<void>;
};

/** Starts everything but the admin API. Rejects with ConfigFaults or an error that names the cause. */
export async function startPrimary(options: PrimaryOptions): Promise<Primary> {
  const { log, version } = options;
  await using started = new AsyncDisposableStack();
  const configFile = resolve(options.configFile);
  const baseDir = dirname(configFile);
  const checkContext = { readFile: readText, env: process.env, baseDir };
  const text = await readConfig(configFile);
  // The first check knows no plugins yet: it is only for where the state is.
  const first = checked(
    configFile,
    text,
    checkConfigText(text, { ...checkContext, plugins: null }),
  );
  const dataDir = resolve(baseDir, options.dataDir ?? first.data_dir ?? "./var");
  await mkdir(dataDir, { recursive: true, mode: 0o750 });
  const lock = await lockDataDir(dataDir);
  started.defer(() => lock.release());

  const plugins = await PluginStore.open(join(dataDir, "plugins"), options.prepare);
  const revisions = await openStore(dataDir);
  const metrics = new FleetMetrics();
  const listeners = new Listeners((listener) => loadCertificates(listener, baseDir, dataDir));
  started.defer(() => listeners.close());
  const fleet = new Fleet({
    log,
    workers: options.workers ?? workersOf(first),
    workerFile: options.workerFile,
    onWorkerGone: (id) => metrics.remove(id),
  });
  const drainMs = first.drain_ms ?? 30_000;
  started.defer(() => fleet.stop(drainMs));

  let askDrain: () => void = () => {};
  const drainAsked = new Promise<void>((settle) => (askDrain = settle));
  const fixed = { workers: first.workers, data_dir: first.data_dir, admin: first.admin };
  const last = await revisions.current();
  const config = { ...last?.config, ...fixed } as ParsedConfig;
  const resolved = resolveSecrets(config, checkContext);
  if (resolved.faults.length > 0) throw new ConfigFaults(configFile, text, resolved.faults);
  const prepared = await listeners.prepare(resolved.config);
  const { routes, ...base } = resolved.config;
  const served = {
    generation: 1,
    revision: last?.revision ?? 0,
    base,
    routes: routes ?? [],
    plugins: await plugins.bindings(resolved.config, plugins.registry, (line) => log.warn(line)),
  };
  await fleet.start(served, prepared.fleet);
  prepared.commit();
  const control = new GatewayControl(
    { log, version, fleet, listeners, plugins, revisions, metrics, checkContext, drain: askDrain },
    { revision: served.revision, config, served },
  );
  for (const seed of options.seeds) await sow(control, plugins, seed);
  const source = new FileSource({ control, configFile, dataDir, log });
  const outcome = await source.applyAtStart(text);
  if (outcome !== null) throw new ConfigFaults(configFile, text, outcome);
  const watch = watchFile(configFile, {
    onChange: () => void source.apply(),
    onError: (error) => log.warn("the configuration file cannot be watched", { error }),
  });
  started.defer(() => watch.close());
  const collector = setInterval(() => void control.collectMetrics(), LIMITS.metricsPullMs);
  started.defer(() => clearInterval(collector));
  const running = started.move();
  return {
    control,
    dataDir,
    drainMs,
    adminListen: first.admin?.listen ?? "127.0.0.1:9180",
    reload: () => source.apply(),
    reopenLogs: () => fleet.reopenLogs(),
    drainAsked,
    stop: () => running.disposeAsync(),
  };
}

// The configuration file as one of the writers. What it last held is remembered, so that a restart
// keeps what was changed through the admin API since, and a changed file is applied.
class FileSource {
  readonly #control: GatewayControl;
  readonly #configFile: string;
  readonly #statePath: string;
  readonly #log: Log;

  constructor(parts: { control: GatewayControl; configFile: string; dataDir: string; log: Log }) {
    this.#control = parts.control;
    this.#configFile = parts.configFile;
    this.#statePath = join(parts.dataDir, "source.json");
    this.#log = parts.log;
  }

  /** Applies the file unless it is what was applied last; the faults when it is refused. */
  async applyAtStart(text: string): Promise<readonly Fault[] | null> {
    const known = await readFile(this.#statePath, "utf8").catch(() => "");
    if (known === stateOf(this.#configFile, text)) return null;
    try {
      await this.#apply(text);
      return null;
    } catch (error) {
      return faultsOf(error);
    }
  }

  async apply(): Promise<"applied" | "unchanged" | "refused"> {
    try {
      const result = await this.#apply(await readFile(this.#configFile, "utf8"));
      if (!result.changed) return "unchanged";
      const { revision, tookMs } = result;
      this.#log.info("the configuration file was applied", { revision, took_ms: tookMs });
      return "applied";
    } catch (error) {
      this.#log.error("the configuration file was refused; the live revision serves on", {
        faults: faultsOf(error),
      });
      return "refused";
    }
  }

  async #apply(text: string): Promise<{ changed: boolean; revision: number; tookMs: number }> {
    const options = { actor: "file", ifMatch: null, dryRun: false, message: this.#configFile };
    const result = await this.#control.applyText(text, options);
    await writeFileDurably(this.#statePath, stateOf(this.#configFile, text));
    return result;
  }
}

function stateOf(file: string, text: string): string {
  const sha256 = createHash("sha256").update(text).digest("hex");
  return `${JSON.stringify({ file, sha256 })}\n`;
}

function faultsOf(error: unknown): readonly Fault[] {
  if (error instanceof ControlError && Array.isArray(error.fields["faults"])) {
    return error.fields["faults"] as Fault[];
  }
  const message = error instanceof Error ? error.message : String(error);
  const path = error instanceof ControlError ? String(error.fields["path"] ?? "") : "";
  return [{ code: "refused", message, path: path === "" ? "" : `/${path.replaceAll(".", "/")}` }];
}

// Known bytes are left alone: what was rolled back since must not come back with a restart.
async function sow(control: GatewayControl, plugins: PluginStore, seed: Seed): Promise<void> {
  const { name, file } = seed;
  const bytes = await readFile(file).catch((error: NodeJS.ErrnoException) => {
    throw new Error(`the module ${file} of plugin ${name} cannot be read: ${error.code}`);
  });
  const digest = digestOf(bytes);
  const versions = plugins.registry.entry(name)?.versions ?? [];
  if (versions.some((version) => version.digest === digest)) return;
  const request = { name, version: null, bytes, makeCurrent: true, sha256: null, actor: "start" };
  await control.loadPlugin(request);
}

async function readConfig(file: string): Promise<string> {
  try {
    return await readFile(file, "utf8");
  } catch (error) {
    const code = error instanceof Error && "code" in error ? String(error.code) : String(error);
    const why = code === "ENOENT" ? "there is no such file; -c FILE names another" : code;
    throw new Error(`the configuration ${file} cannot be read: ${why}`);
  }
}

async function loadCertificates(
  listener: ListenerConfig,
  baseDir: string,
  dataDir: string,
): Promise<readonly CertificatePem[]> {
  const certificates: CertificatePem[] = [];
  for (const { cert_file, key_file } of listener.tls?.certificates ?? []) {
    certificates.push({
      cert: await readFile(resolve(baseDir, cert_file), "utf8"),
      key: await readFile(resolve(baseDir, key_file), "utf8"),
    });
  }
  if (listener.tls?.self_signed === true) certificates.push(await selfSignedCertificate(dataDir));
  return certificates;
}

function checked(
  file: string,
  text: string,
  result: ReturnType<typeof checkConfigText>,
): ParsedConfig {
  if (!result.ok) throw new ConfigFaults(file, text, result.faults);
  return result.config;
}

function workersOf(config: Config): number {
  const { workers } = config;
  const wanted = workers === undefined || workers === "auto" ? availableParallelism() : workers;
  return Math.min(wanted, LIMITS.workersMax);
}

function readText(path: string): string {
  return readFileSync(path, "utf8");
}
