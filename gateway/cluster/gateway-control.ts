// The running gateway as the admin API sees it: every change of configuration or plugins goes through
// here, one at a time, checked, prepared in all workers, made durable, and only then acknowledged.

import { nowMs } from "../base/clock.ts";
import { ControlError } from "../../admin/api/control.ts";
import type {
  ApplyOptions,
  ApplyResult,
  Control,
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
import { exposition } from "../telemetry/exposition.ts";
import type { ProfileKind } from "../telemetry/profile.ts";
import { checkImmutable } from "./immutable.ts";
import type { KvStore } from "./kv-store.ts";
import type { PreparedListeners } from "./listeners.ts";
import { Live } from "./live.ts";
import type { LiveParts, LiveState } from "./live.ts";
import { PluginControl } from "./plugin-control.ts";
import { TlsRenewal } from "./tls-renewal.ts";

export type ControlParts = LiveParts & {
  readonly version: string;
  readonly values: KvStore;
  readonly checkContext: Omit<CheckContext, "plugins">;
  /** Starts the end of the gateway. */
  drain(): void;
};

type Applied = ApplyResult & { readonly config: Config };

export class GatewayControl implements Control {
  readonly #parts: ControlParts;
  readonly #startedAt = new Date().toISOString();
  readonly #live: Live;
  readonly #renewal: TlsRenewal;
  readonly plugins: PluginControl;

  constructor(parts: ControlParts, state: LiveState, prepared: PreparedListeners) {
    this.#parts = parts;
    this.#live = new Live(parts, state);
    this.plugins = new PluginControl({ ...parts, live: this.#live });
    this.#renewal = new TlsRenewal(parts, prepared);
  }

  async status(): Promise<Status> {
    const { fleet, listeners, version } = this.#parts;
    const views = await fleet.views();
    return {
      version,
      pid: process.pid,
      state: this.#live.draining ? "draining" : fleet.ready ? "running" : "starting",
      revision: this.#live.state.revision,
      generation: this.#live.state.served.generation,
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
      routes: this.#live.state.config.routes?.length ?? 0,
      plugins: this.#parts.plugins.registry.entries.length,
    };
  }

  /** What listens now. */
  get addresses(): Status["listeners"] {
    return this.#parts.listeners.addresses;
  }

  ready(): boolean {
    return !this.#live.draining && this.#parts.fleet.ready;
  }

  config(): { readonly revision: number; readonly config: Config } {
    return { revision: this.#live.state.revision, config: this.#live.state.config };
  }

  async validate(text: string): Promise<readonly Fault[]> {
    const checked = checkConfigText(text, this.#context());
    if (!checked.ok) return checked.faults;
    return resolveSecrets(checked.config, this.#parts.checkContext).faults;
  }

  async applyText(text: string, options: ApplyOptions): Promise<Applied> {
    const checked = checkConfigText(text, this.#context());
    if (!checked.ok) throw invalidConfig(checked.faults);
    return await this.#live.exclusively(() => this.#apply(checked.config, options));
  }

  async edit(change: (config: Config) => Config, options: ApplyOptions): Promise<Applied> {
    return await this.#live.exclusively(async () => {
      const checked = checkConfigValue(
        change(structuredClone(this.#live.state.config)),
        this.#context(),
      );
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
      revision: this.#live.state.revision,
      generation: this.#live.state.served.generation,
      workers: (await fleet.views()).length,
      restarts: fleet.restarts,
      startedAtS: Date.parse(this.#startedAt) / 1000,
    });
  }

  /** Serves certificates that were replaced on disk, and new ticket keys when it is time. */
  async renewTls(): Promise<void> {
    if (this.#live.draining) return;
    await this.#parts.fleet.exclusively(() => this.#renewal.renew(this.#live.state.served.base));
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
    this.#live.beginDrain();
  }

  #context(): CheckContext {
    return { ...this.#parts.checkContext, plugins: this.#parts.plugins.known() };
  }

  async #apply(config: ParsedConfig, options: ApplyOptions): Promise<Applied> {
    const beganMs = nowMs();
    const { revision } = this.#live.state;
    if (options.ifMatch !== null && options.ifMatch !== revision) {
      throw new ControlError(
        412,
        "revision_mismatch",
        `The live revision is ${revision}, not ${options.ifMatch}; read it again and repeat.`,
        { revision },
      );
    }
    checkImmutable(this.#live.state.config, config);
    const diff = diffConfigs(this.#live.state.config, config);
    const resolved = resolveConfig(config, this.#parts.checkContext);
    if (resolved.faults.length > 0) throw invalidConfig(resolved.faults);
    const tookMs = () => Math.round((nowMs() - beganMs) * 10) / 10;
    if (diff.length === 0) return { revision, changed: false, diff, tookMs: tookMs(), config };
    if (options.dryRun) return { revision, changed: true, diff, tookMs: tookMs(), config };
    const { actor, message = "" } = options;
    const candidate = { config, resolved: resolved.config, actor, message };
    this.#renewal.applied(await this.#live.changeConfig(candidate));
    return { revision: this.#live.state.revision, changed: true, diff, tookMs: tookMs(), config };
  }

  /** Serves what the registry and the quarantine say now. */
  async rebindPlugins(): Promise<void> {
    if (this.#live.draining) return;
    const { plugins } = this.#parts;
    await this.#live.exclusively(() => this.#live.changePlugins(plugins.registry));
  }
}

function invalidConfig(faults: readonly Fault[]): ControlError {
  const count = faults.length === 1 ? "1 fault" : `${faults.length} faults`;
  return new ControlError(422, "invalid_config", `The configuration has ${count}.`, { faults });
}
