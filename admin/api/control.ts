// What the admin API may ask of the running gateway. The primary implements it; the API gets it
// injected and knows nothing of processes, sockets or files.

import type { DiffLine, Fault } from "../../gateway/config/fault.ts";
import type { Config } from "../../gateway/config/schema.ts";

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
  /** Until when, and why, it does not serve although it is current; else null. */
  readonly setAside: { readonly until: string; readonly reason: string } | null;
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
  readonly actor: string;
};

export type LoadResult = PluginVersionInfo & {
  readonly created: boolean;
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

export interface PluginsControl {
  list(): readonly PluginVersionInfo[];
  /** Which versions of a plugin were current before, the latest last. */
  history(name: string): readonly string[];
  load(request: LoadRequest): Promise<LoadResult>;
  setCurrent(
    name: string,
    version: string,
  ): Promise<{ readonly from: string; readonly to: string }>;
  /** 409 plugin_referenced while a route runs it or it is current and followed. */
  remove(name: string, version: string): Promise<void>;
  test(
    name: string,
    version: string,
    sample: PluginSample,
  ): Promise<Readonly<Record<string, unknown>>>;
}

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
  revision(revision: number): Promise<RevisionInfo & { readonly config: Config }>;
  rollback(
    revision: number,
    options: ApplyOptions,
  ): Promise<ApplyResult & { readonly config: Config }>;
  readonly plugins: PluginsControl;
  /** The Prometheus exposition, summed over workers. */
  metrics(): Promise<string>;
  /** A pprof file of all workers, sampled for so many seconds. */
  profile(of: "cpu" | "heap", seconds: number): Promise<Uint8Array>;
  /** Starts draining; resolves at once. */
  drain(): void;
}
