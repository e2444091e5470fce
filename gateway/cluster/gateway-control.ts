// The running gateway as the admin API sees it: every change of configuration or plugins goes through
// here, one at a time, checked, prepared in all workers, made durable, and only then acknowledged.

import { nowMs } from "../base/clock.ts";
import type { Log } from "../base/log.ts";
import { ControlError } from "../../admin/api/control.ts";
import type {
  ApplyOptions,
  ApplyResult,
  Control,
  LoadRequest,
  LoadResult,
  PluginSample,
  PluginVersionInfo,
  RevisionInfo,
  Status,
} from "../../admin/api/control.ts";
import { checkConfigText, checkConfigValue } from "../config/parse.ts";
import type { CheckContext } from "../config/parse.ts";
import { diffConfigs } from "../config/diff.ts";
import type { Fault } from "../config/fault.ts";
import type { Config, ParsedConfig } from "../config/schema.ts";
import { resolveConfig } from "../config/resolve.ts";
import { resolveSecrets } from "../config/secrets.ts";
import type { RevisionStore } from "../config/store.ts";
import { exposition } from "../telemetry/exposition.ts";
import type { FleetMetrics } from "../telemetry/fleet-metrics.ts";
import type { ProfileKind } from "../telemetry/profile.ts";
import { BUILTINS } from "../plugins/builtin/registry.ts";
import { DEFAULT_SANDBOX_LIMITS, SandboxError, digestOf } from "../../sandbox/sandbox.ts";
import { RefusedError } from "./fleet.ts";
import type { Fleet, Served } from "./fleet.ts";
import type { PluginBinding } from "./channel.ts";
import type { Listeners, PreparedListeners } from "./listeners.ts";
import { checkImmutable } from "./immutable.ts";
import { TlsRenewal } from "./tls-renewal.ts";
import type { KvStore } from "./kv-store.ts";
import { isVersion } from "./plugin-registry.ts";
import type { PluginRegistry, PluginVersion } from "./plugin-registry.ts";
import { makeVersion } from "./plugin-store.ts";
import type { PluginQuarantine } from "./plugin-quarantine.ts";
import type { PluginStore } from "./plugin-store.ts";
import { trySample } from "./sample.ts";

export type ControlParts = {
  readonly log: Log;
  readonly version: string;
  readonly fleet: Fleet;
  readonly listeners: Listeners;
  readonly plugins: PluginStore;
  readonly quarantine: PluginQuarantine;
  readonly values: KvStore;
  readonly revisions: RevisionStore;
  readonly metrics: FleetMetrics;
  readonly checkContext: Omit<CheckContext, "plugins">;
  /** Starts the end of the gateway. */
  drain(): void;
};

type Live = { readonly revision: number; readonly config: ParsedConfig; readonly served: Served };

type Applied = ApplyResult & { readonly config: Config };

export class GatewayControl implements Control {
  readonly #parts: ControlParts;
  readonly #startedAt = new Date().toISOString();
  #live: Live;
  #draining = false;
  readonly #renewal: TlsRenewal;

  constructor(parts: ControlParts, live: Live, prepared: PreparedListeners) {
    this.#parts = parts;
    this.#live = live;
    this.#renewal = new TlsRenewal(parts, prepared);
  }

  async status(): Promise<Status> {
    const { fleet, listeners, version } = this.#parts;
    const views = await fleet.views();
    return {
      version,
      pid: process.pid,
      state: this.#draining ? "draining" : fleet.ready ? "running" : "starting",
      revision: this.#live.revision,
      generation: this.#live.served.generation,
      startedAt: this.#startedAt,
      listeners: listeners.addresses,
      workers: views.map(({ id, pid, startedAtMs, report }) => ({
        id,
        pid,
        state: report === null ? "starting" : report.draining ? "draining" : "running",
        generation: report?.generation ?? 0,
        startedAt: new Date(startedAtMs).toISOString(),
        restarts: fleet.restarts,
        connections: report?.connections ?? 0,
        requests: report?.requests ?? 0,
        rssBytes: report?.rssBytes ?? 0,
      })),
      routes: this.#live.config.routes?.length ?? 0,
      plugins: this.#parts.plugins.registry.entries.length,
    };
  }

  /** What listens now. */
  get addresses(): Status["listeners"] {
    return this.#parts.listeners.addresses;
  }

  ready(): boolean {
    return !this.#draining && this.#parts.fleet.ready;
  }

  config(): { readonly revision: number; readonly config: Config } {
    return { revision: this.#live.revision, config: this.#live.config };
  }

  async validate(text: string): Promise<readonly Fault[]> {
    const checked = checkConfigText(text, this.#context());
    if (!checked.ok) return checked.faults;
    return resolveSecrets(checked.config, this.#parts.checkContext).faults;
  }

  async applyText(text: string, options: ApplyOptions): Promise<Applied> {
    const checked = checkConfigText(text, this.#context());
    if (!checked.ok) throw invalidConfig(checked.faults);
    return await this.#exclusively(() => this.#apply(checked.config, options));
  }

  async edit(change: (config: Config) => Config, options: ApplyOptions): Promise<Applied> {
    return await this.#exclusively(async () => {
      const checked = checkConfigValue(change(structuredClone(this.#live.config)), this.#context());
      if (!checked.ok) throw invalidConfig(checked.faults);
      return await this.#apply(checked.config, options);
    });
  }

  async revisions(): Promise<readonly RevisionInfo[]> {
    return await this.#parts.revisions.list();
  }

  async revision(revision: number): Promise<RevisionInfo & { readonly config: Config }> {
    const found = await this.#parts.revisions.read(revision);
    if (found === null) {
      throw new ControlError(404, "unknown_revision", `There is no revision ${revision}.`);
    }
    return found;
  }

  async rollback(revision: number, options: ApplyOptions): Promise<Applied> {
    const { config } = await this.revision(revision);
    const message = options.message ?? `roll back to revision ${revision}`;
    return await this.edit(() => config, { ...options, message });
  }

  plugins(): readonly PluginVersionInfo[] {
    return this.#parts.plugins.registry.entries.flatMap((entry) =>
      entry.versions.map((version) => this.#describe(entry.name, version)),
    );
  }

  pluginHistory(name: string): readonly string[] {
    return this.#parts.plugins.registry.entry(name)?.history ?? [];
  }

  async loadPlugin(request: LoadRequest): Promise<LoadResult> {
    const beganMs = nowMs();
    const { plugins } = this.#parts;
    const digest = digestOf(request.bytes);
    if (request.sha256 !== null && `sha256:${request.sha256}` !== digest) {
      throw new ControlError(422, "hash_mismatch", `The body's digest is ${digest}.`, {
        step: "hash",
      });
    }
    // The checks run beside other changes; only what depends on the registry takes its turn.
    const prepared = await refusing(() => plugins.inspect(request.bytes));
    const { manifest } = prepared;
    const name = request.name ?? manifest?.name ?? null;
    if (name === null) {
      throw new ControlError(400, "missing_name", "The module names no plugin; add ?name=NAME.");
    }
    checkName(name);
    await plugins.putModule(request.bytes);
    return await this.#exclusively(async () => {
      const wanted = request.version ?? manifest?.version ?? null;
      const version = this.#versionFor(name, wanted, request, digest);
      const known = plugins.registry.version(name, version);
      const added = known ?? makeVersion(version, request.bytes, prepared);
      let registry = known === null ? plugins.registry.withVersion(name, added) : plugins.registry;
      if (request.makeCurrent) registry = registry.withCurrent(name, version);
      if (registry !== plugins.registry) await this.#useRegistry(registry);
      return {
        ...this.#describe(name, added),
        created: known === null,
        tookMs: Math.round((nowMs() - beganMs) * 10) / 10,
        limits: { ...DEFAULT_SANDBOX_LIMITS },
      };
    });
  }

  async setCurrent(
    name: string,
    version: string,
    _actor: string,
  ): Promise<{ readonly from: string; readonly to: string }> {
    return await this.#exclusively(async () => {
      const { registry } = this.#parts.plugins;
      const entry = registry.entry(name);
      this.#existing(name, version);
      this.#parts.quarantine.lift(name, version);
      await this.#useRegistry(registry.withCurrent(name, version));
      return { from: entry?.current ?? "", to: version };
    });
  }

  async removeVersion(name: string, version: string, _actor: string): Promise<void> {
    await this.#exclusively(async () => {
      const { plugins } = this.#parts;
      const known = this.#existing(name, version);
      const { routes, current } = this.#describe(name, known);
      if (routes.length > 0) {
        throw new ControlError(
          409,
          "plugin_referenced",
          `${name}@${version} is used by ${routes.slice(0, 10).join(", ")}; detach it first.`,
          { routes },
        );
      }
      const entry = plugins.registry.entry(name);
      if (current && entry !== null && entry.versions.length > 1) {
        throw new ControlError(
          409,
          "plugin_referenced",
          `${version} is the current version of ${name}; make another one current first.`,
        );
      }
      await plugins.save(plugins.registry.without(name, version));
      if (plugins.registry.entry(name) === null) this.#parts.values.forget(name);
    });
  }

  async testPlugin(
    name: string,
    version: string,
    sample: PluginSample,
  ): Promise<Readonly<Record<string, unknown>>> {
    const known = this.#existing(name, version);
    const bytes = await refusing(() => this.#parts.plugins.preparedBytes(known.digest));
    return await trySample({ name, version, bytes, manifest: known.manifest }, sample);
  }

  /** Takes every worker's counters, so that little is lost with one that dies. */
  async collectMetrics(): Promise<void> {
    const { fleet, metrics } = this.#parts;
    for (const [id, snapshot] of await fleet.metrics()) metrics.update(id, snapshot);
  }

  async metrics(): Promise<string> {
    const { fleet, metrics } = this.#parts;
    await this.collectMetrics();
    return await exposition(metrics.merged(), {
      version: this.#parts.version,
      revision: this.#live.revision,
      generation: this.#live.served.generation,
      workers: (await fleet.views()).length,
      restarts: fleet.restarts,
      startedAtS: Date.parse(this.#startedAt) / 1000,
    });
  }

  /** Serves certificates that were replaced on disk, and new ticket keys when it is time. */
  async renewTls(): Promise<void> {
    if (this.#draining) return;
    await this.#parts.fleet.exclusively(() => this.#renewal.renew(this.#live.served.base));
  }

  async profile(of: ProfileKind, seconds: number): Promise<Uint8Array> {
    const atMs = Date.now();
    const profiles = await this.#parts.fleet.profile(of, seconds);
    const { encodePprof } = await import("../telemetry/pprof.ts");
    return encodePprof(of, profiles, { atMs, seconds });
  }

  drain(): void {
    this.beginDrain();
    this.#parts.drain();
  }

  /** Not ready any more, and no change is accepted. */
  beginDrain(): void {
    this.#draining = true;
  }

  #context(): CheckContext {
    return { ...this.#parts.checkContext, plugins: this.#parts.plugins.known() };
  }

  #exclusively<T>(task: () => Promise<T>): Promise<T> {
    if (this.#draining) {
      throw new ControlError(503, "draining", "The gateway is shutting down.");
    }
    return this.#parts.fleet.exclusively(task);
  }

  async #apply(config: ParsedConfig, options: ApplyOptions): Promise<Applied> {
    const beganMs = nowMs();
    const { revision } = this.#live;
    if (options.ifMatch !== null && options.ifMatch !== revision) {
      throw new ControlError(
        412,
        "revision_mismatch",
        `The live revision is ${revision}, not ${options.ifMatch}; read it again and repeat.`,
        { revision },
      );
    }
    checkImmutable(this.#live.config, config);
    const diff = diffConfigs(this.#live.config, config);
    const resolved = resolveConfig(config, this.#parts.checkContext);
    if (resolved.faults.length > 0) throw invalidConfig(resolved.faults);
    const tookMs = () => Math.round((nowMs() - beganMs) * 10) / 10;
    if (diff.length === 0) return { revision, changed: false, diff, tookMs: tookMs(), config };
    if (options.dryRun) return { revision, changed: true, diff, tookMs: tookMs(), config };
    const next = await this.#carryOut(config, resolved.config, options);
    return { revision: next, changed: true, diff, tookMs: tookMs(), config };
  }

  // Binds, prepares everywhere, writes the revision, commits everywhere; or changes nothing.
  async #carryOut(config: ParsedConfig, resolved: Config, options: ApplyOptions): Promise<number> {
    const { fleet, listeners, revisions } = this.#parts;
    const prepared = await refusing(() => listeners.prepare(resolved));
    let served: Served | null = null;
    try {
      const { routes, ...base } = resolved;
      const candidate: Served = {
        generation: this.#live.served.generation + 1,
        revision: this.#live.revision + 1,
        base,
        routes: routes ?? [],
        plugins: await this.#bindings(resolved, this.#parts.plugins.registry),
      };
      await refusing(() =>
        fleet.change(candidate, async () => {
          const { actor, message } = options;
          const info = await revisions.append({ config, actor, message: message ?? "" });
          served = { ...candidate, revision: info.revision };
        }),
      );
    } catch (error) {
      prepared.abort();
      throw error;
    }
    if (served === null) throw new Error("a change was committed without its revision");
    const { revision } = served as Served;
    this.#live = { revision, config, served };
    await fleet.listen(prepared.fleet);
    prepared.commit();
    this.#renewal.applied(prepared);
    this.#retainMetrics();
    return revision;
  }

  /** Serves what the registry and the quarantine say now. */
  async rebindPlugins(): Promise<void> {
    if (this.#draining) return;
    await this.#exclusively(() => this.#useRegistry(this.#parts.plugins.registry));
  }

  #bindings(config: Config, registry: PluginRegistry): Promise<PluginBinding[]> {
    const { log, plugins, quarantine } = this.#parts;
    return plugins.bindings(config, quarantine.serving(registry), (text) => log.warn(text));
  }

  // A change of versions: the routes stay, only slots are filled anew.
  async #useRegistry(registry: PluginRegistry): Promise<void> {
    const { fleet, plugins } = this.#parts;
    const { served } = this.#live;
    const resolved = { ...served.base, routes: [...served.routes] };
    const bindings = await this.#bindings(resolved, registry);
    const next: Served = { ...served, generation: served.generation + 1, plugins: bindings };
    if (JSON.stringify(bindings) === JSON.stringify(served.plugins)) {
      await plugins.save(registry);
      return;
    }
    await refusing(() => fleet.change(next, () => plugins.save(registry)));
    this.#live = { ...this.#live, served: next };
    this.#retainMetrics();
  }

  #retainMetrics(): void {
    const { config, served } = this.#live;
    this.#parts.metrics.retain({
      routes: new Set(["", ...(config.routes ?? []).map(({ name }) => name)]),
      upstreams: new Set((config.upstreams ?? []).map(({ name }) => name)),
      plugins: new Set([
        ...served.plugins.map(({ name, version }) => `${name}@${version}`),
        ...[...BUILTINS.keys()].map((name) => `${name}@builtin`),
      ]),
    });
  }

  #versionFor(name: string, wanted: string | null, request: LoadRequest, digest: string): string {
    const { registry } = this.#parts.plugins;
    if (wanted !== null && !isVersion(wanted)) {
      throw new ControlError(400, "bad_version", `${wanted} is not a semantic version like 1.2.0.`);
    }
    const same = registry.entry(name)?.versions.find((each) => each.digest === digest);
    if (request.version === null) {
      // The manifest's version is a wish: taken while it is free, else the next patch number.
      if (same !== undefined) return same.version;
      return registry.versionFor(name, wanted);
    }
    const known = registry.version(name, request.version);
    if (known !== null && known.digest !== digest) {
      throw new ControlError(
        409,
        "version_exists",
        `${name}@${request.version} exists with other bytes; versions are immutable, choose another.`,
        { digest: known.digest },
      );
    }
    return request.version;
  }

  #existing(name: string, version: string): PluginVersion {
    const known = this.#parts.plugins.registry.version(name, version);
    if (known === null) {
      throw new ControlError(404, "unknown_plugin", `There is no plugin ${name}@${version}.`);
    }
    return known;
  }

  #describe(name: string, version: PluginVersion): PluginVersionInfo {
    const entry = this.#parts.plugins.registry.entry(name);
    const isCurrent = entry?.current === version.version;
    const routes = (this.#live.config.routes ?? [])
      .filter((route) =>
        route.plugins?.some(
          (each) =>
            each.plugin === name &&
            (each.version === undefined ? isCurrent : each.version === version.version),
        ),
      )
      .map((route) => route.name);
    return {
      name,
      version: version.version,
      digest: version.digest,
      sizeBytes: version.sizeBytes,
      abi: version.manifest?.abi ?? 1,
      exports: version.exports,
      createdAt: version.createdAt,
      current: isCurrent,
      setAside: this.#parts.quarantine.of(name, version.version),
      routes,
    };
  }
}

function invalidConfig(faults: readonly Fault[]): ControlError {
  const count = faults.length === 1 ? "1 fault" : `${faults.length} faults`;
  return new ControlError(422, "invalid_config", `The configuration has ${count}.`, { faults });
}

function checkName(name: string): void {
  if (BUILTINS.has(name)) {
    throw new ControlError(
      409,
      "reserved_name",
      `${name} is a built-in plugin; choose another name.`,
    );
  }
  if (!/^[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?$/.test(name)) {
    throw new ControlError(
      400,
      "bad_name",
      "A name is 1 to 64 of a-z, 0-9, dot, dash, underscore.",
    );
  }
}

// Turns the refusals of the parts into answers of the API.
async function refusing<T>(task: () => Promise<T>): Promise<T> {
  try {
    return await task();
  } catch (error) {
    if (error instanceof SandboxError) {
      throw new ControlError(422, error.code, error.message, { step: "admit" });
    }
    if (error instanceof RefusedError) {
      throw new ControlError(422, "refused_by_worker", error.message, { step: "prepare" });
    }
    throw error;
  }
}
