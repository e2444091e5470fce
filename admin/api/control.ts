// What the admin API may ask of the running gateway. The primary implements it; the API gets it
// injected and knows nothing of processes, sockets or files.

import type { DiffLine, Fault } from "../../gateway/config/fault.ts";
import type { Config } from "../../gateway/config/schema.ts";
import type { Resolution } from "../../gateway/config/version-range.ts";
import type { Thresholds } from "../../gateway/rollout/analysis.ts";
import type { Rollout } from "../../gateway/rollout/rollout.ts";
import type { Sticky } from "../../gateway/rollout/share.ts";

/** A refusal: turned into a problem document by the API. */
export class ControlError extends Error {
  /** Stable snake_case code. */
  readonly code: string;
  /** HTTP status: 400, 404, 409, 412, 413, 422, 503. */
  readonly status: number;
  readonly fields: Readonly<Record<string, unknown>>;

  constructor(
    status: number,
    code: string,
    message: string,
    fields: Readonly<Record<string, unknown>> = {},
  ) {
    super(message);
    this.status = status;
    this.code = code;
    this.fields = fields;
  }
}

export type ApplyResult = {
  /** The revision that is live after the call. */
  readonly revision: number;
  /** False when the candidate equals the live configuration: nothing was done. */
  readonly changed: boolean;
  readonly diff: readonly DiffLine[];
  readonly tookMs: number;
  /** What else a rollback did: versions that it brought back, ranges that it could not restore. */
  readonly notes?: readonly string[];
};

export type ApplyOptions = {
  /** Who asks, for the audit log and the revision. */
  readonly actor: string;
  /** Refused with 412 revision_mismatch when the live revision is another one. */
  readonly ifMatch: number | null;
  readonly dryRun: boolean;
  readonly message?: string;
};

export type RevisionInfo = {
  readonly revision: number;
  readonly at: string;
  readonly actor: string;
  readonly message: string;
};

export type PluginVersionInfo = {
  readonly name: string;
  readonly version: string;
  /** sha256:<hex> of the uploaded bytes. */
  readonly digest: string;
  readonly sizeBytes: number;
  readonly abi: number;
  readonly exports: readonly string[];
  readonly createdAt: string;
  readonly current: boolean;
  /** Since when nothing may use it; null while it may be used. */
  readonly retiredAt: string | null;
  /** Until when, and why, it does not serve although it is current; else null. */
  readonly setAside: { readonly until: string; readonly reason: string } | null;
  readonly signature: { readonly format: string; readonly keyId: string | null } | null;
  /** The trusted key that signed it; null when none did, or none was asked for. */
  readonly signedBy: string | null;
  /** Routes that run it now. */
  readonly routes: readonly string[];
};

export type LoadRequest = {
  readonly name: string | null;
  /** null: the manifest's version, else the next patch number. */
  readonly version: string | null;
  readonly bytes: Uint8Array;
  readonly makeCurrent: boolean;
  readonly sha256: string | null;
  /** The header's text. */
  readonly signature: string | null;
  readonly actor: string;
};

export type LoadResult = PluginVersionInfo & {
  readonly created: boolean;
  /** It was retired, and the same bytes brought it back. */
  readonly restored: boolean;
  readonly tookMs: number;
  readonly limits: Readonly<Record<string, number>>;
};

/** A request to try a plugin on; the result is the decision it took. */
export type PluginSample = {
  readonly method?: string;
  readonly path?: string;
  readonly query?: string;
  readonly host?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly clientIp?: string;
  readonly consumer?: string;
  readonly claims?: Readonly<Record<string, unknown>>;
  readonly config?: Readonly<Record<string, unknown>>;
};

export type WorkerInfo = {
  readonly id: number;
  readonly pid: number;
  readonly state: "starting" | "running" | "draining";
  readonly generation: number;
  readonly startedAt: string;
  readonly restarts: number;
  readonly connections: number;
  readonly requests: number;
  readonly rssBytes: number;
};

export type Status = {
  readonly version: string;
  readonly pid: number;
  readonly state: "starting" | "running" | "draining";
  readonly revision: number;
  readonly generation: number;
  readonly startedAt: string;
  readonly listeners: readonly { name: string; address: string; tls: boolean }[];
  readonly workers: readonly WorkerInfo[];
  readonly routes: number;
  readonly plugins: number;
};

/** What a route attaches of plugins, in order. */
export type AttachedPlugin = {
  readonly plugin: string;
  /** As it is written: a version or a range; null: the current one, or a built-in plugin. */
  readonly version: string | null;
  /** The version that runs; null for a built-in plugin, or when there is none. */
  readonly resolved: string | null;
  readonly current: boolean;
};

/** What became current. */
export type CurrentChange = {
  readonly from: string;
  readonly to: string;
  readonly tookMs: number;
};

export interface PluginsControl {
  /** All versions; the retired ones only where they are asked for. */
  list(options?: { readonly retired: boolean }): readonly PluginVersionInfo[];
  /** Throws a ControlError 404 for an unknown route. */
  attached(route: string): readonly AttachedPlugin[];
  /** Which versions of a plugin were current before, the latest last. */
  history(name: string): readonly string[];
  load(request: LoadRequest): Promise<LoadResult>;
  setCurrent(name: string, version: string): Promise<CurrentChange>;
  /** To a version, else to what was current before; a retired one is brought back. */
  rollback(
    name: string,
    version: string | null,
  ): Promise<CurrentChange & { readonly restored: boolean }>;
  /**
   * Takes a version out of use, its bytes stay. 409 plugin_referenced while a route or a rollout uses it,
   * or it is current and not the only one.
   */
  retire(name: string, version: string): Promise<void>;
  /** Forgets a retired version; 409 plugin_referenced while a revision names it. */
  purge(name: string, version: string): Promise<void>;
  test(
    name: string,
    version: string,
    sample: PluginSample,
  ): Promise<Readonly<Record<string, unknown>>>;
}

/** How a rollout is to go; what is left out has a default. */
export type RolloutRequest = {
  readonly candidate: string;
  readonly mode: "canary" | "shadow";
  readonly steps: readonly number[];
  readonly intervalMs: number;
  readonly sticky: Sticky;
  readonly thresholds: Thresholds;
  /** It may only start when a replay over what the route has recorded is within this; null: no replay. */
  readonly gate: RolloutGate | null;
};

export type RolloutGate = {
  /** Calls that must have been compared. */
  readonly minRequests: number;
  /** Share of them, from 0 to 1, that may differ or fail. */
  readonly differenceRateMax: number;
};

/** What one version did since the rollout began. Rates are shares from 0 to 1, null without calls. */
export type ArmView = {
  readonly version: string;
  readonly requests: number;
  /** Of both phases. */
  readonly calls: number;
  readonly errors: number;
  readonly faults: Readonly<Record<string, number>>;
  readonly errorRate: number | null;
  readonly denyRate: number | null;
  readonly upstreamErrorRate: number | null;
  readonly p50Us: number;
  readonly p99Us: number;
};

export type RolloutView = {
  readonly rollout: Rollout;
  readonly weight: number;
  readonly stable: ArmView;
  readonly candidate: ArmView;
  /** null for a canary. */
  readonly shadow: Readonly<Record<string, unknown>> | null;
  /** What it waits for; empty when it is over. */
  readonly waitsFor: string;
  /** Until the interval ends; 0 when it waits for something else. */
  readonly stepLeftMs: number;
};

/** What an action on a rollout did. */
export type RolloutChange = {
  readonly view: RolloutView;
  /** Percent of the callers on the candidate, before and after. */
  readonly from: number;
  readonly to: number;
  /** The live revision; a promotion may have made one. */
  readonly revision: number;
  /** The command that undoes it. */
  readonly undo: string;
  readonly tookMs: number;
};

export interface RolloutsControl {
  /** Told of every step that nobody asked for, to be kept. */
  onAutomatic: (entry: Readonly<Record<string, unknown>>) => void;
  list(): Promise<readonly RolloutView[]>;
  get(route: string, plugin: string): Promise<RolloutView>;
  /** Decisions in which a shadow differed, the latest last, without secrets. */
  differences(route: string, plugin: string): Promise<readonly object[]>;
  start(
    at: RolloutPlace,
    request: RolloutRequest,
    actor: string,
  ): Promise<RolloutChange & { readonly created: boolean }>;
  /** To the next step, or to the end. */
  promote(at: RolloutPlace, to: "next" | "full", actor: string): Promise<RolloutChange>;
  pause(at: RolloutPlace, actor: string): Promise<RolloutChange>;
  resume(at: RolloutPlace, actor: string): Promise<RolloutChange>;
  abort(at: RolloutPlace, actor: string): Promise<RolloutChange>;
}

/** What two versions say to the requests that a route has recorded. */
export type ReplayReport = RolloutPlace & {
  readonly stable: string;
  readonly candidate: string;
  readonly calls: number;
  readonly same: number;
  readonly different: number;
  /** A version asked its host what was not recorded. */
  readonly incomparable: number;
  /**
   * Calls in which the stable version itself now says something else than was recorded: of these the
   * comparison says little, since what it decides by was left out as a secret or kept by itself.
   */
  readonly drifted: number;
  /** Calls of the candidate that failed, by fault. */
  readonly faults: Readonly<Record<string, number>>;
  /** By what differed. */
  readonly by: Readonly<Record<string, number>>;
  readonly differences: readonly object[];
  readonly tookMs: number;
};

export interface RecordingsControl {
  /** The last calls of plugins that a route has recorded, without secrets. */
  list(route: string, last: number): Promise<readonly object[]>;
  /** Runs a version over them, and the one that serves beside it. */
  replay(at: RolloutPlace, candidate: string): Promise<ReplayReport>;
}

export type RolloutPlace = { readonly route: string; readonly plugin: string };

export interface Control {
  status(): Promise<Status>;
  /** True once every worker serves the live revision. */
  ready(): boolean;
  /** The live configuration, secrets still as references. */
  config(): { readonly revision: number; readonly config: Config };
  /** Every fault of a candidate; text is YAML or JSON. Never changes anything. */
  validate(text: string): Promise<readonly Fault[]>;
  /** Replaces the whole configuration. Throws ControlError 422 invalid_config with `faults`. */
  applyText(
    text: string,
    options: ApplyOptions,
  ): Promise<ApplyResult & { readonly config: Config }>;
  /** Replaces the whole configuration by an edited copy; the edit runs inside the writers' lock. */
  edit(
    change: (config: Config) => Config,
    options: ApplyOptions,
  ): Promise<ApplyResult & { readonly config: Config }>;
  revisions(): Promise<readonly RevisionInfo[]>;
  revision(
    revision: number,
  ): Promise<RevisionInfo & { readonly config: Config; readonly resolution: Resolution }>;
  rollback(
    revision: number,
    options: ApplyOptions,
  ): Promise<ApplyResult & { readonly config: Config }>;
  readonly plugins: PluginsControl;
  readonly rollouts: RolloutsControl;
  readonly recordings: RecordingsControl;
  /** The Prometheus exposition, summed over workers. */
  metrics(): Promise<string>;
  /** A pprof file of all workers, sampled for so many seconds. */
  profile(of: "cpu" | "heap", seconds: number): Promise<Uint8Array>;
  /** Starts draining; resolves at once. */
  drain(): void;
}
