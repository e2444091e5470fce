// The primary: owns the listening sockets, the state on disk and the admin API, supervises the
// workers, and carries no traffic. Starts from the last committed revision, or from the configuration
// file when that was changed since; stops in the reverse order, within the drain deadline.

import { readFileSync } from "node:fs";
import { mkdir, readFile } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { dirname, join, resolve } from "node:path";
import { loadAdminKey } from "../../admin/api/auth.ts";
import type { FirstKey } from "../../admin/api/auth.ts";
import type { Log } from "../base/log.ts";
import { nowMs } from "../base/clock.ts";
import { LIMITS } from "../base/limits.ts";
import { diffResolved } from "../config/diff.ts";
import type { Fault } from "../config/fault.ts";
import { checkConfigText } from "../config/parse.ts";
import type { CheckContext } from "../config/parse.ts";
import type { Config, ListenerConfig, ParsedConfig } from "../config/schema.ts";
import { resolveConfig } from "../config/resolve.ts";
import { watchFile } from "../config/source-file.ts";
import { openStore } from "../config/store.ts";
import { pinRanges, resolveRanges } from "../config/version-range.ts";
import type { Resolution } from "../config/version-range.ts";
import type { RevisionStore } from "../config/store.ts";
import type { CertificatePem } from "../http/certificates.ts";
import { FleetMetrics } from "../telemetry/fleet-metrics.ts";
import { knownPlugins } from "./config-grounds.ts";
import { FileSource, SourceFile } from "./file-source.ts";
import { Fleet } from "./fleet.ts";
import type { Served } from "./channel.ts";
import { GatewayControl } from "./gateway-control.ts";
import { Listeners } from "./listeners.ts";
import type { TlsFiles } from "./listeners.ts";
import { lockDataDir } from "./lock.ts";
import { KvStore } from "./kv-store.ts";
import { PluginQuarantine } from "./plugin-quarantine.ts";
import { PluginStore } from "./plugin-store.ts";
import { servedPlugins } from "./live.ts";
import { fitRollouts, heldRanges } from "./rollout-fit.ts";
import { openRollouts } from "./rollout-store.ts";
import type { RolloutStore } from "./rollout-store.ts";
import type { Prepare } from "./plugin-store.ts";
import { selfSignedCertificate } from "./self-signed.ts";
import { decodeText, parseSignature } from "../../sandbox/sandbox.ts";
import type { ModuleSignature } from "../../sandbox/sandbox.ts";

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
  readonly adminKey: FirstKey;
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
  await seedPlugins(plugins, options.seeds);
  const start = await chooseConfig(state);

  const metrics = new FleetMetrics();
  const { baseDir } = state.checkContext;
  const listeners = new Listeners((listener, shared) =>
    loadTls(listener, shared ?? [], { baseDir, dataDir }),
  );
  // Until all is started there is nothing to bind anew, nor to take back.
  const late: { control: GatewayControl | null } = { control: null };
  const rebind = async () => await late.control?.rebindPlugins();
  const quarantine = new PluginQuarantine({ log, rebind });
  const values = new KvStore(nowMs);
  const fleet = new Fleet({
    log,
    workers: options.workers ?? workersOf(first),
    workerFile: options.workerFile,
    onWorkerGone: (id) => {
      metrics.remove(id);
      late.control?.rollouts.onWorkerGone(id);
    },
    answerKv: (request) => values.answer(request),
    onQuarantined: (name, version, detail) =>
      void setAside({ name, version, detail }, { plugins, quarantine, control: late.control, log }),
  });
  const drainMs = first.drain_ms ?? 30_000;
  started.defer(() => fleet.stop(drainMs));
  // First of all: nobody would accept what the kernel still queued.
  started.defer(() => listeners.close());
  const prepared = await listeners.prepare(start.resolved);
  const served = await firstServed(start, state, log);
  await fleet.start(served, prepared.fleet);
  prepared.commit();
  await start.commit();

  const drainAsked = Promise.withResolvers<void>();
  const { checkContext } = state;
  const control = new GatewayControl(
    {
      ...{ log, version, fleet, listeners, quarantine, values, metrics, checkContext },
      ...{ plugins, revisions, rollouts: state.rollouts },
      firstKey: state.adminKey.key,
      drain: drainAsked.resolve,
    },
    { revision: start.revision, config: start.config, resolution: start.resolution, served },
    prepared,
  );
  late.control = control;
  // Without an admin API the gateway ends before it ever drains: nothing may go on by itself then.
  started.defer(() => control.rollouts.close());
  const source = keepUp(control, state, started, log);
  const running = started.move();
  return {
    control,
    configFile,
    dataDir,
    drainMs,
    adminKey: state.adminKey,
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

// A version had to be stopped too often: as a candidate it is taken back; as one that serves it is set aside.
async function setAside(
  { name, version, detail }: { name: string; version: string; detail: string },
  parts: {
    readonly plugins: PluginStore;
    readonly quarantine: PluginQuarantine;
    readonly control: GatewayControl | null;
    readonly log: Log;
  },
): Promise<void> {
  const { plugins, quarantine, control, log } = parts;
  const isTakenBack = await control?.rollouts
    .onStoppedTooOften(name, version, detail)
    .catch((error: unknown) => log.error("a candidate could not be taken back", { error }));
  const isCurrent = plugins.registry.entry(name)?.current === version;
  if (isTakenBack !== true || isCurrent) quarantine.add(name, version, detail);
}

// A rollout goes on from its last step, unless the configuration has become another one meanwhile.
async function firstServed(start: StartConfig, state: State, log: Log): Promise<Served> {
  const { resolved, revision } = start;
  const { plugins, rollouts: store } = state;
  const { registry } = plugins;
  const { routes, ...base } = resolved;
  const act = { at: new Date().toISOString(), actor: "gateway" };
  const rollouts = fitRollouts(store.rollouts, start, registry, act);
  if (rollouts !== store.rollouts) await store.save(rollouts);
  const parts = await servedPlugins(
    resolved,
    { registry, rollouts },
    { plugins, firstKey: state.adminKey.key },
    (line) => log.warn(line),
  );
  return { generation: 1, revision, base, routes: routes ?? [], ...parts };
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
  readonly adminKey: FirstKey;
  readonly rollouts: RolloutStore;
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
  const rollouts = await openRollouts(join(dataDir, "plugins", "rollouts.json"), options.log);
  const adminKey = await loadAdminKey(join(dataDir, "admin.key"));
  const config = { configFile, text, first, checkContext, adminKey };
  return { ...config, dataDir, plugins, rollouts, revisions, sourceFile };
}

type StartConfig = {
  readonly revision: number;
  readonly config: ParsedConfig;
  readonly resolution: Resolution;
  /** With secrets in the place of references, and exact versions in the place of ranges. */
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
  const { registry } = plugins;
  const known = knownPlugins({ registry, kept: heldRanges(state.rollouts.rollouts) });
  let config: ParsedConfig;
  if (isFileKnown) {
    config = last.config as ParsedConfig;
  } else {
    const result = checkConfigText(text, { ...checkContext, plugins: known });
    if (!result.ok) throw new ConfigFaults(configFile, text, result.faults);
    config = result.config;
  }
  // A version that is gone leaves its attachments without their plugin: their fail_mode decides.
  const resolution = isFileKnown ? last.resolution : resolveRanges(config, known).resolution;
  const { config: resolved, faults } = resolveConfig(config, checkContext);
  if (faults.length > 0) throw new ConfigFaults(configFile, text, faults);
  const isNew = last === null || diffResolved(last, { config, resolution }).length > 0;
  return {
    revision: (last?.revision ?? 0) + (isNew ? 1 : 0),
    config,
    resolution,
    resolved: pinRanges(resolved, resolution),
    commit: async () => {
      if (isNew) {
        await revisions.append({ config, resolution, actor: "file", message: configFile });
      }
      if (!isFileKnown) await sourceFile.markApplied(text);
    },
  };
}

async function seedPlugins(plugins: PluginStore, seeds: readonly Seed[]): Promise<void> {
  for (const { name, file } of seeds) {
    await plugins.seed(name, await readModule(name, file), await readSignature(file));
  }
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

// The signature that lies beside a module, or null.
async function readSignature(moduleFile: string): Promise<ModuleSignature | null> {
  const file = `${moduleFile}.sig`;
  const bytes = await readFile(file).catch((error: unknown) => {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return null;
    throw error;
  });
  if (bytes === null) return null;
  const parsed = parseSignature(decodeText(bytes) ?? "");
  if (!parsed.ok) throw new Error(`${file} is no signature: ${parsed.code}: ${parsed.message}`);
  return parsed.signature;
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
