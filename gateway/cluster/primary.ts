// The primary: owns the listening sockets, the state on disk and the admin API, supervises the
// workers, and carries no traffic. Starts from the last committed revision, or from the configuration
// file when that was changed since; stops in the reverse order, within the drain deadline.

import { readFileSync } from "node:fs";
import { mkdir, readFile } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { dirname, join, resolve } from "node:path";
import type { Log } from "../base/log.ts";
import { nowMs } from "../base/clock.ts";
import { LIMITS } from "../base/limits.ts";
import { diffConfigs } from "../config/diff.ts";
import type { Fault } from "../config/fault.ts";
import { checkConfigText } from "../config/parse.ts";
import type { CheckContext } from "../config/parse.ts";
import type { Config, ListenerConfig, ParsedConfig } from "../config/schema.ts";
import { resolveConfig } from "../config/resolve.ts";
import { watchFile } from "../config/source-file.ts";
import { openStore } from "../config/store.ts";
import type { RevisionStore } from "../config/store.ts";
import type { CertificatePem } from "../http/certificates.ts";
import { FleetMetrics } from "../telemetry/fleet-metrics.ts";
import { FileSource, SourceFile } from "./file-source.ts";
import { Fleet } from "./fleet.ts";
import type { Served } from "./fleet.ts";
import { GatewayControl } from "./gateway-control.ts";
import { Listeners } from "./listeners.ts";
import type { TlsFiles } from "./listeners.ts";
import { lockDataDir } from "./lock.ts";
import { KvStore } from "./kv-store.ts";
import { PluginQuarantine } from "./plugin-quarantine.ts";
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
  readonly configFile: string;
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
  const state = await openState(options, started);
  const { configFile, dataDir, first, plugins, revisions } = state;
  for (const { name, file } of options.seeds)
    await plugins.seed(name, await readModule(name, file));
  const start = await chooseConfig(state);

  const metrics = new FleetMetrics();
  const { baseDir } = state.checkContext;
  const listeners = new Listeners((listener, shared) =>
    loadTls(listener, shared ?? [], { baseDir, dataDir }),
  );
  // Until all is started there is nothing to bind anew.
  let rebind = async (): Promise<void> => {};
  const quarantine = new PluginQuarantine({ log, rebind: () => rebind() });
  const values = new KvStore(nowMs);
  const fleet = new Fleet({
    log,
    workers: options.workers ?? workersOf(first),
    workerFile: options.workerFile,
    onWorkerGone: (id) => metrics.remove(id),
    answerKv: (request) => values.answer(request),
    onQuarantined: (name, version, detail) => quarantine.add(name, version, detail),
  });
  const drainMs = first.drain_ms ?? 30_000;
  started.defer(() => fleet.stop(drainMs));
  // First of all: nobody would accept what the kernel still queued.
  started.defer(() => listeners.close());
  const prepared = await listeners.prepare(start.resolved);
  const served = await firstServed(start, plugins, log);
  await fleet.start(served, prepared.fleet);
  prepared.commit();
  await start.commit();

  const drainAsked = Promise.withResolvers<void>();
  const { checkContext } = state;
  const control = new GatewayControl(
    {
      log,
      version,
      fleet,
      listeners,
      plugins,
      quarantine,
      values,
      revisions,
      metrics,
      checkContext,
      drain: drainAsked.resolve,
    },
    { revision: start.revision, config: start.config, served },
    prepared,
  );
  rebind = () => control.rebindPlugins();
  const source = keepUp(control, state, started, log);
  const running = started.move();
  return {
    control,
    configFile,
    dataDir,
    drainMs,
    adminListen: first.admin?.listen ?? "127.0.0.1:9180",
    reload: async () => {
      const outcome = await source.apply();
      await control.renewTls();
      return outcome;
    },
    reopenLogs: () => fleet.reopenLogs(),
    drainAsked: drainAsked.promise,
    stop: () => running.disposeAsync(),
  };
}

async function firstServed(start: StartConfig, plugins: PluginStore, log: Log): Promise<Served> {
  const { resolved, revision } = start;
  const { routes, ...base } = resolved;
  const warn = (line: string) => log.warn(line);
  const bindings = await plugins.bindings(resolved, plugins.registry, warn);
  return { generation: 1, revision, base, routes: routes ?? [], plugins: bindings };
}

// What goes on by itself from now on: the file is watched, certificates are renewed, counters collected.
function keepUp(
  control: GatewayControl,
  state: State,
  started: AsyncDisposableStack,
  log: Log,
): FileSource {
  const source = new FileSource({ control, file: state.sourceFile, log });
  const watch = watchFile(state.configFile, {
    knownText: state.text,
    onChange: () => void source.apply(),
    onError: (error) => log.warn("the configuration file cannot be watched", { error }),
  });
  started.defer(() => watch.close());
  const renewal = setInterval(() => void control.renewTls(), LIMITS.tlsRenewMs);
  started.defer(() => clearInterval(renewal));
  const collector = setInterval(() => void control.collectMetrics(), LIMITS.metricsPullMs);
  started.defer(() => clearInterval(collector));
  return source;
}

/** What is on disk when the gateway starts, locked for this process. */
type State = {
  readonly configFile: string;
  readonly text: string;
  /** The file, checked without knowing plugins: enough to know where the state is. */
  readonly first: ParsedConfig;
  readonly dataDir: string;
  readonly checkContext: Omit<CheckContext, "plugins">;
  readonly plugins: PluginStore;
  readonly revisions: RevisionStore;
  readonly sourceFile: SourceFile;
};

async function openState(options: PrimaryOptions, started: AsyncDisposableStack): Promise<State> {
  const configFile = resolve(options.configFile);
  const baseDir = dirname(configFile);
  const checkContext = { readFile: readText, env: process.env, baseDir };
  const text = await readConfig(configFile);
  const result = checkConfigText(text, { ...checkContext, plugins: null });
  if (!result.ok) throw new ConfigFaults(configFile, text, result.faults);
  const first = result.config;
  const dataDir = resolve(baseDir, options.dataDir ?? first.data_dir ?? "./var");
  await mkdir(dataDir, { recursive: true, mode: 0o750 });
  const lock = await lockDataDir(dataDir);
  started.defer(() => lock.release());
  const plugins = await PluginStore.open(join(dataDir, "plugins"), options.prepare);
  const revisions = await openStore(dataDir);
  for (const note of revisions.notes) options.log.warn("the revisions were healed", { note });
  const sourceFile = new SourceFile(configFile, join(dataDir, "source.json"));
  return { configFile, text, first, dataDir, checkContext, plugins, revisions, sourceFile };
}

type StartConfig = {
  readonly revision: number;
  readonly config: ParsedConfig;
  /** With secrets in the place of references. */
  readonly resolved: Config;
  /** Makes it the durable one; called when the workers serve it. */
  commit(): Promise<void>;
};

// The last revision, which holds what was changed through the admin API since; the file, when it is
// another one than was applied last.
async function chooseConfig(state: State): Promise<StartConfig> {
  const { checkContext, configFile, plugins, revisions, sourceFile, text } = state;
  const last = await revisions.current();
  const isFileKnown = last !== null && (await sourceFile.isApplied(text));
  let config: ParsedConfig;
  if (isFileKnown) {
    config = last.config as ParsedConfig;
  } else {
    const result = checkConfigText(text, { ...checkContext, plugins: plugins.known() });
    if (!result.ok) throw new ConfigFaults(configFile, text, result.faults);
    config = result.config;
  }
  const { config: resolved, faults } = resolveConfig(config, checkContext);
  if (faults.length > 0) throw new ConfigFaults(configFile, text, faults);
  const isNew = last === null || diffConfigs(last.config, config).length > 0;
  return {
    revision: (last?.revision ?? 0) + (isNew ? 1 : 0),
    config,
    resolved,
    commit: async () => {
      if (isNew) await revisions.append({ config, actor: "file", message: configFile });
      if (!isFileKnown) await sourceFile.markApplied(text);
    },
  };
}

async function readModule(name: string, file: string): Promise<Uint8Array> {
  try {
    return await readFile(file);
  } catch (error) {
    const code = error instanceof Error && "code" in error ? String(error.code) : String(error);
    throw new Error(`the module ${file} of plugin ${name} cannot be read: ${code}`, {
      cause: error,
    });
  }
}

async function readConfig(file: string): Promise<string> {
  try {
    return await readFile(file, "utf8");
  } catch (error) {
    const code = error instanceof Error && "code" in error ? String(error.code) : String(error);
    const why = code === "ENOENT" ? "there is no such file; -c FILE names another" : code;
    throw new Error(`the configuration ${file} cannot be read: ${why}`, { cause: error });
  }
}

async function loadTls(
  { tls }: ListenerConfig,
  shared: NonNullable<Config["certificates"]>,
  { baseDir, dataDir }: { readonly baseDir: string; readonly dataDir: string },
): Promise<TlsFiles> {
  const read = async (file: string) => await readFile(resolve(baseDir, file), "utf8");
  const certificates: CertificatePem[] = [];
  for (const { cert_file, key_file } of [...(tls?.certificates ?? []), ...shared]) {
    certificates.push({ cert: await read(cert_file), key: await read(key_file) });
  }
  if (tls?.self_signed === true) certificates.push(await selfSignedCertificate(dataDir));
  const caFile = tls?.client_ca_file;
  return { certificates, clientCa: caFile === undefined ? null : await read(caFile) };
}

function workersOf(config: Config): number {
  const { workers } = config;
  const wanted = workers === undefined || workers === "auto" ? availableParallelism() : workers;
  return Math.min(wanted, LIMITS.workersMax);
}

function readText(path: string): string {
  return readFileSync(path, "utf8");
}
