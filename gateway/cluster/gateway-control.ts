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
import { diffResolved } from "../config/diff.ts";
import type { Fault } from "../config/fault.ts";
import type { Config, ParsedConfig } from "../config/schema.ts";
import type { Revision } from "../config/store.ts";
import { resolveConfig } from "../config/resolve.ts";
import { resolveSecrets } from "../config/secrets.ts";
import { pinRanges, resolveRanges } from "../config/version-range.ts";
import { exposition } from "../telemetry/exposition.ts";
import type { ProfileKind } from "../telemetry/profile.ts";
import { groundsOf, knownPlugins, movedNotes } from "./config-grounds.ts";
import type { Grounds } from "./config-grounds.ts";
import { checkImmutable } from "./immutable.ts";
import type { KvStore } from "./kv-store.ts";
import type { PreparedListeners } from "./listeners.ts";
import { Live } from "./live.ts";
import type { LiveParts, LiveState } from "./live.ts";
import { PluginControl } from "./plugin-control.ts";
import type { Rollout } from "../rollout/rollout.ts";
import { ReplayControl } from "./replay-control.ts";
import { RolloutControl } from "./rollout-control.ts";
import { heldRanges, rolloutSpecs } from "./rollout-fit.ts";
import { signatureFaults } from "./signature-faults.ts";
import { TlsRenewal } from "./tls-renewal.ts";

export type ControlParts = LiveParts & {
  readonly version: string;
  readonly values: KvStore;
  readonly checkContext: Omit<CheckContext, "plugins">;
  /** Starts the end of the gateway. */
  drain(): void;
};

type Applied = ApplyResult & { readonly config: Config };

/** How a change is to be judged, and what becomes of the rollouts by it. */
type Given = { readonly grounds?: Grounds; readonly rollouts?: readonly Rollout[] };

export class GatewayControl implements Control {
  readonly #parts: ControlParts;
  readonly #startedAt = new Date().toISOString();
  readonly #live: Live;
  readonly #renewal: TlsRenewal;
  readonly plugins: PluginControl;
  readonly rollouts: RolloutControl;
  readonly recordings: ReplayControl;

  constructor(parts: ControlParts, state: LiveState, prepared: PreparedListeners) {
    this.#parts = parts;
    this.#live = new Live(parts, state);
    this.plugins = new PluginControl({ ...parts, live: this.#live });
    this.#renewal = new TlsRenewal(parts, prepared);
    const believe = (name: string, version: string) => this.plugins.believe(name, version);
    this.recordings = new ReplayControl({ ...parts, live: this.#live, believe });
    this.rollouts = new RolloutControl({
      ...parts,
      live: this.#live,
      believe,
      mustFit: (at, candidate) => this.plugins.mustFitAt(at, candidate),
      replay: (at, candidate) => this.recordings.replay(at, candidate),
      edit: async (change, facts, rollouts) => {
        // What ranges came to on other routes is no business of a rollout.
        const grounds = { ...this.#grounds(), kept: this.#live.state.resolution };
        const checked = this.#edited(change, grounds);
        const options = { ...facts, ifMatch: null, dryRun: false };
        await this.#apply(checked, options, { grounds, rollouts });
      },
    });
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
    const { faults } = resolveSecrets(checked.config, this.#parts.checkContext);
    return [...faults, ...(await this.#signatureFaults(checked.config, this.#grounds()))];
  }

  async applyText(text: string, options: ApplyOptions): Promise<Applied> {
    const checked = checkConfigText(text, this.#context());
    if (!checked.ok) throw invalidConfig(checked.faults);
    return await this.#live.exclusively(() => this.#apply(checked.config, options));
  }

  async edit(change: (config: Config) => Config, options: ApplyOptions): Promise<Applied> {
    return await this.#live.exclusively(() => this.#apply(this.#edited(change), options));
  }

  #edited(change: (config: Config) => Config, grounds = this.#grounds()): ParsedConfig {
    const edited = change(structuredClone(this.#live.state.config));
    const checked = checkConfigValue(edited, this.#context(grounds));
    if (!checked.ok) throw invalidConfig(checked.faults);
    return checked.config;
  }

  async revisions(): Promise<readonly RevisionInfo[]> {
    return await this.#parts.revisions.list();
  }

  async revision(revision: number): Promise<Revision> {
    const found = await this.#parts.revisions.read(revision);
    if (found === null) {
      throw new ControlError(404, "unknown_revision", `There is no revision ${revision}.`);
    }
    return found;
  }

  async rollback(revision: number, options: ApplyOptions): Promise<Applied> {
    const found = await this.revision(revision);
    return await this.#live.exclusively(async () => {
      const grounds = groundsOf(found, this.#parts.plugins.registry);
      const config = this.#edited(() => found.config, grounds);
      const { resolution } = resolveRanges(config, this.#known(grounds));
      const notes = [...grounds.notes, ...movedNotes(found.resolution, resolution)];
      const { message = `roll back to revision ${revision}` } = options;
      const said = { ...options, message: [message, ...notes].join("; ") };
      const applied = await this.#apply(config, said, { grounds });
      return { ...applied, notes: applied.changed ? notes : [] };
    });
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
      rollouts: await this.rollouts.facts(),
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
    this.rollouts.close();
    this.#live.beginDrain();
  }

  // Of a change that takes the newest versions that its ranges allow.
  #grounds(): Grounds {
    const { plugins, rollouts } = this.#parts;
    return { registry: plugins.registry, kept: heldRanges(rollouts.rollouts) };
  }

  #known(grounds: Grounds): ReturnType<typeof knownPlugins> {
    const { quarantine } = this.#parts;
    return knownPlugins(grounds, (name, version) => quarantine.of(name, version) !== null);
  }

  #context(grounds = this.#grounds()): CheckContext {
    return { ...this.#parts.checkContext, plugins: this.#known(grounds) };
  }

  #signatureFaults(
    next: Config,
    grounds: Grounds,
    resolution = resolveRanges(next, this.#known(grounds)).resolution,
  ): Promise<Fault[]> {
    const { plugins, rollouts } = this.#parts;
    const { registry } = grounds;
    const specs = rolloutSpecs(rollouts.rollouts, registry);
    const { config: live, resolution: before } = this.#live.state;
    const used = { plugins, registry, rollouts: specs };
    return signatureFaults(pinRanges(live, before), pinRanges(next, resolution), used);
  }

  async #apply(
    config: ParsedConfig,
    options: ApplyOptions,
    { grounds = this.#grounds(), rollouts }: Given = {},
  ): Promise<Applied> {
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
    // Once more, now that nothing changes meanwhile: a version may have gone since it was checked.
    const ranges = resolveRanges(config, this.#known(grounds));
    if (ranges.faults.length > 0) throw invalidConfig(ranges.faults);
    const { resolution } = ranges;
    const diff = diffResolved(this.#live.state, { config, resolution });
    const resolved = resolveConfig(config, this.#parts.checkContext);
    const faults = [
      ...resolved.faults,
      ...(await this.#signatureFaults(config, grounds, resolution)),
    ];
    if (faults.length > 0) throw invalidConfig(faults);
    const tookMs = () => Math.round((nowMs() - beganMs) * 10) / 10;
    if (diff.length === 0) return { revision, changed: false, diff, tookMs: tookMs(), config };
    if (options.dryRun) return { revision, changed: true, diff, tookMs: tookMs(), config };
    const { actor, message = "" } = options;
    const { registry } = grounds;
    const pinned = pinRanges(resolved.config, resolution);
    const candidate = { config, resolution, resolved: pinned, registry, actor, message };
    this.#renewal.applied(await this.#live.changeConfig(candidate, rollouts));
    return { revision: this.#live.state.revision, changed: true, diff, tookMs: tookMs(), config };
  }

  /** Serves what the registry and the quarantine say now. */
  async rebindPlugins(): Promise<void> {
    if (this.#live.draining) return;
    await this.#live.exclusively(() => this.#live.changePlugins());
  }
}

function invalidConfig(faults: readonly Fault[]): ControlError {
  const count = faults.length === 1 ? "1 fault" : `${faults.length} faults`;
  return new ControlError(422, "invalid_config", `The configuration has ${count}.`, { faults });
}
