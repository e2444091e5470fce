// What the primary and its workers say to each other. Every message is checked where it arrives: a
// message that is not understood ends the worker or the worker's life, never its meaning. Routes are
// not walked here: they passed the checker in the primary.

import type { Config, RouteConfig } from "../config/schema.ts";
import type { ListenerOptions } from "../http/listener-host.ts";
import type { KvRequest } from "./kv-store.ts";
import type { Manifest } from "../../sandbox/sandbox.ts";
import type { CallRecord } from "../plugins/recorder.ts";
import type { Sticky } from "../rollout/share.ts";
import { isRolloutReport } from "./rollout-counters.ts";
import type { RolloutReport } from "./rollout-counters.ts";
import { isMetricsSnapshot } from "../telemetry/metrics.ts";
import type { MetricsSnapshot } from "../telemetry/metrics.ts";
import type { ProfileKind, ProfileNode } from "../telemetry/profile.ts";

/** A module on disk and the digest of its file. */
export type ModuleFile = { readonly file: string; readonly fileDigest: string };

/** Where a worker finds one version of a plugin. */
export type PluginBinding = {
  readonly name: string;
  readonly version: string;
  /** Of the uploaded bytes. */
  readonly digest: string;
  /** The prepared module and its digest. */
  readonly file: string;
  readonly fileDigest: string;
  /** The upload with its maxima clamped, not metered; null where no attachment runs it in threads. */
  readonly clamped: ModuleFile | null;
  readonly memoryPages: number;
  /** True for the version that attachments without a version follow. */
  readonly current: boolean;
  readonly manifest: Manifest | null;
};

/** What workers need of a rollout that is under way. */
export type RolloutSpec = {
  readonly id: string;
  readonly route: string;
  readonly plugin: string;
  readonly stable: string;
  readonly candidate: string;
  readonly mode: "canary" | "shadow";
  /** Percent of the callers that get the candidate; 0 in a shadow. */
  readonly weight: number;
  readonly sticky: Sticky;
  readonly salt: string;
};

/** A part of the routes of the next `prepare` of this transaction. */
export type RoutesMessage = {
  readonly kind: "routes";
  readonly transaction: number;
  readonly routes: readonly RouteConfig[];
};

/** Everything that workers serve from. */
export type Served = {
  readonly generation: number;
  readonly revision: number;
  /** The configuration without its routes; secrets are resolved. */
  readonly base: Config;
  readonly routes: readonly RouteConfig[];
  readonly plugins: readonly PluginBinding[];
  readonly rollouts: readonly RolloutSpec[];
  /** SHA-256, as hex, of the keys whose holders may choose versions. */
  readonly overrideKeys: readonly string[];
};

/** The routes come before it, in parts. */
export type PrepareMessage = Omit<Served, "routes"> & {
  readonly kind: "prepare";
  readonly transaction: number;
  /** Only plugins changed: keep the routes and all that was built from them. */
  readonly reuseRoutes: boolean;
};

/**
 * How connections come to workers. "shared": all accept from the primary's socket, which comes with the
 * message. "reuse-port": each listens for itself. "round-robin": the primary accepts and hands on.
 */
export type Accepting =
  | { readonly mode: "shared" | "round-robin" }
  | { readonly mode: "reuse-port"; readonly host: string; readonly port: number };

/** For a listener that is open only the options count. */
export type ListenMessage = {
  readonly kind: "listen";
  readonly name: string;
  readonly options: ListenerOptions;
  readonly accepting: Accepting;
};

/** Asks for a profile of so many seconds. */
export type ProfileMessage = {
  readonly kind: "profile";
  readonly id: number;
  readonly of: ProfileKind;
  readonly seconds: number;
};

export type ToWorker =
  | RoutesMessage
  | PrepareMessage
  | { readonly kind: "commit"; readonly transaction: number }
  | { readonly kind: "abort"; readonly transaction: number }
  | ListenMessage
  | { readonly kind: "unlisten"; readonly name: string }
  /** Comes with a connection that the primary has accepted. */
  | { readonly kind: "connection"; readonly name: string }
  | { readonly kind: "metrics"; readonly id: number }
  | { readonly kind: "info"; readonly id: number }
  | ProfileMessage
  /** Asks for what rollouts have counted. */
  | { readonly kind: "rollouts"; readonly id: number }
  /** Asks for what a route has recorded of its plugins. */
  | { readonly kind: "recordings"; readonly id: number; readonly route: string }
  /** The answer to a question about values. */
  | { readonly kind: "kv"; readonly id: number; readonly value: string | number | null }
  | { readonly kind: "ping"; readonly at: number }
  | { readonly kind: "reopen-logs" }
  | { readonly kind: "drain" };

/** What a worker says of itself. */
export type WorkerReport = {
  readonly generation: number;
  readonly revision: number;
  readonly draining: boolean;
  readonly connections: number;
  readonly requests: number;
  readonly rssBytes: number;
  readonly uptimeMs: number;
};

export type ToPrimary =
  | { readonly kind: "hello" }
  | { readonly kind: "prepared"; readonly transaction: number; readonly tookMs: number }
  | { readonly kind: "refused"; readonly transaction: number; readonly reason: string }
  | { readonly kind: "committed"; readonly transaction: number }
  | { readonly kind: "listening"; readonly name: string }
  | { readonly kind: "metrics"; readonly id: number; readonly snapshot: MetricsSnapshot }
  | { readonly kind: "info"; readonly id: number; readonly info: WorkerReport }
  | { readonly kind: "profile"; readonly id: number; readonly nodes: readonly ProfileNode[] }
  | { readonly kind: "recordings"; readonly id: number; readonly records: readonly CallRecord[] }
  | { readonly kind: "rollouts"; readonly id: number; readonly reports: readonly RolloutReport[] }
  /** A question about values that plugins keep. */
  | { readonly kind: "kv"; readonly id: number; readonly request: KvRequest }
  /** A plugin had to be stopped too often. */
  | {
      readonly kind: "quarantined";
      readonly name: string;
      readonly version: string;
      readonly detail: string;
    }
  | { readonly kind: "pong"; readonly at: number }
  | { readonly kind: "drained" };

type FieldType = "number" | "string" | "boolean" | "object" | "array";

const TO_WORKER: Readonly<Record<ToWorker["kind"], Readonly<Record<string, FieldType>>>> = {
  routes: { transaction: "number", routes: "array" },
  prepare: {
    transaction: "number",
    generation: "number",
    revision: "number",
    base: "object",
    plugins: "array",
    rollouts: "array",
    overrideKeys: "array",
    reuseRoutes: "boolean",
  },
  commit: { transaction: "number" },
  abort: { transaction: "number" },
  listen: { name: "string", options: "object", accepting: "object" },
  unlisten: { name: "string" },
  connection: { name: "string" },
  metrics: { id: "number" },
  info: { id: "number" },
  profile: { id: "number", of: "string", seconds: "number" },
  rollouts: { id: "number" },
  recordings: { id: "number", route: "string" },
  kv: { id: "number" },
  ping: { at: "number" },
  "reopen-logs": {},
  drain: {},
};

const TO_PRIMARY: Readonly<Record<ToPrimary["kind"], Readonly<Record<string, FieldType>>>> = {
  hello: {},
  prepared: { transaction: "number", tookMs: "number" },
  refused: { transaction: "number", reason: "string" },
  committed: { transaction: "number" },
  listening: { name: "string" },
  metrics: { id: "number", snapshot: "object" },
  info: { id: "number", info: "object" },
  profile: { id: "number", nodes: "array" },
  rollouts: { id: "number", reports: "array" },
  recordings: { id: "number", records: "array" },
  kv: { id: "number", request: "object" },
  quarantined: { name: "string", version: "string", detail: "string" },
  pong: { at: "number" },
  drained: {},
};

const REPORT_FIELDS: Readonly<Record<keyof WorkerReport, FieldType>> = {
  generation: "number",
  revision: "number",
  draining: "boolean",
  connections: "number",
  requests: "number",
  rssBytes: "number",
  uptimeMs: "number",
};

/** Checks a message from the primary; throws on anything else. */
export function parseToWorker(value: unknown): ToWorker {
  checkFields(value, kindFields(TO_WORKER, value));
  return value as ToWorker;
}

/** Checks a message from a worker; throws on anything else. */
export function parseToPrimary(value: unknown): ToPrimary {
  checkFields(value, kindFields(TO_PRIMARY, value));
  const message = value as ToPrimary;
  if (message.kind === "metrics" && !isMetricsSnapshot(message.snapshot)) {
    throw new Error("a metrics message without a metrics snapshot");
  }
  if (message.kind === "rollouts" && !message.reports.every(isRolloutReport)) {
    throw new Error("a message without reports of rollouts");
  }
  if (message.kind === "info") checkFields(message.info, REPORT_FIELDS);
  return message;
}

function kindFields(
  table: Readonly<Record<string, Readonly<Record<string, FieldType>>>>,
  value: unknown,
): Readonly<Record<string, FieldType>> {
  const kind =
    typeof value === "object" && value !== null && "kind" in value ? value.kind : undefined;
  if (typeof kind !== "string" || !Object.hasOwn(table, kind)) {
    throw new Error(`an unknown message: ${String(kind)}`);
  }
  return table[kind];
}

function checkFields(value: unknown, fields: Readonly<Record<string, FieldType>>): void {
  const record = value as Record<string, unknown>;
  for (const [name, type] of Object.entries(fields)) {
    const field = record[name];
    const found = Array.isArray(field) ? "array" : field === null ? "null" : typeof field;
    if (found !== type) throw new Error(`a message's ${name} is ${found}, not ${type}`);
  }
}
