// What a worker counts. On the path of a request this is additions to typed arrays, nothing else:
// no labels are looked up, no strings built, and text is made in the primary when somebody scrapes.
// Names of removed routes, upstreams and plugins are dropped; surviving ones count on.

import { CALL_FAULTS, ERRORS } from "../base/errors.ts";
import type { CallFault, ErrorCode } from "../base/errors.ts";
import { RowTable, filterRows, isRowsSnapshot, mergeRows } from "./rows.ts";
import type { Row, RowsSnapshot } from "./rows.ts";

/** Upper bounds of the latency buckets of routes and upstreams, in milliseconds. */
export const LATENCY_BOUNDS_MS: readonly number[] = [
  0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000,
];
/** Upper bounds of the buckets of plugin calls, in microseconds. */
export const CALL_BOUNDS_US: readonly number[] = [
  1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 50_000, 100_000,
];
/** Every error code, in the order in which rows count them. */
export const ERROR_CODES: readonly ErrorCode[] = Object.keys(ERRORS) as ErrorCode[];
const ERROR_INDEX: ReadonlyMap<string, number> = indexOf(ERROR_CODES);
/** What plugins are counted by: built-in ones fail with error codes, uploaded ones with call faults. */
export const PLUGIN_CODES: readonly (ErrorCode | CallFault)[] = [...ERROR_CODES, ...CALL_FAULTS];
const PLUGIN_CODE_INDEX: ReadonlyMap<string, number> = indexOf(PLUGIN_CODES);

/** What a plugin's call came to. */
export const DECISIONS = ["continue", "respond", "error"] as const;
export type Decision = (typeof DECISIONS)[number];

const CLASSES = 5;
// Different status codes that a route counts apart; an origin that answers with ever new ones is
// counted by class only from then on.
const CODE_SLOTS = 12;
const BUCKETS = LATENCY_BOUNDS_MS.length + 1;
const CALL_BUCKETS = CALL_BOUNDS_US.length + 1;

/** Offsets within a route's row: totals by class, pairs of code and count, buckets, sums. */
export const ROUTE_ROW = {
  classes: 0,
  codes: CLASSES,
  codeSlots: CODE_SLOTS,
  buckets: CLASSES + 2 * CODE_SLOTS,
  sumMs: CLASSES + 2 * CODE_SLOTS + BUCKETS,
  bytesIn: CLASSES + 2 * CODE_SLOTS + BUCKETS + 1,
  bytesOut: CLASSES + 2 * CODE_SLOTS + BUCKETS + 2,
  stride: CLASSES + 2 * CODE_SLOTS + BUCKETS + 3,
} as const;

/** Offsets within an upstream's row. */
export const UPSTREAM_ROW = {
  classes: 0,
  unanswered: CLASSES,
  connects: CLASSES + 1,
  connectFailures: CLASSES + 2,
  reused: CLASSES + 3,
  retries: CLASSES + 4,
  cut: CLASSES + 5,
  timeouts: CLASSES + 6,
  active: CLASSES + 7,
  buckets: CLASSES + 8,
  sumMs: CLASSES + 8 + BUCKETS,
  stride: CLASSES + 9 + BUCKETS,
} as const;

/** Offsets within a plugin's row. */
export const PLUGIN_ROW = {
  decisions: 0,
  errors: DECISIONS.length,
  buckets: DECISIONS.length + PLUGIN_CODES.length,
  sumUs: DECISIONS.length + PLUGIN_CODES.length + CALL_BUCKETS,
  stride: DECISIONS.length + PLUGIN_CODES.length + CALL_BUCKETS + 1,
} as const;

/** Offsets within a listener's row. */
export const LISTENER_ROW = {
  open: 0,
  total: 1,
  refused: 2,
  handshakesOk: 3,
  handshakesFailed: 4,
  abused: 5,
  malformed: 6,
  stride: 6 + ERROR_CODES.length,
} as const;

/** One route's counters. */
export class RouteMetrics {
  readonly #slab: Float64Array;
  readonly #base: number;

  constructor(row: Row) {
    this.#slab = row.slab;
    this.#base = row.base;
  }

  /** Counts a finished request: status sent (0: none was), duration, body bytes both ways. */
  observe(status: number, durationMs: number, bytesIn: number, bytesOut: number): void {
    const slab = this.#slab;
    const base = this.#base;
    countStatus(slab, base, status);
    slab[base + ROUTE_ROW.buckets + bucketOf(LATENCY_BOUNDS_MS, durationMs)]++;
    slab[base + ROUTE_ROW.sumMs] += durationMs;
    slab[base + ROUTE_ROW.bytesIn] += bytesIn;
    slab[base + ROUTE_ROW.bytesOut] += bytesOut;
  }
}

/** One upstream's counters. */
export class UpstreamMetrics {
  readonly #slab: Float64Array;
  readonly #base: number;

  constructor(row: Row) {
    this.#slab = row.slab;
    this.#base = row.base;
  }

  connected(ok: boolean): void {
    this.#slab[this.#base + (ok ? UPSTREAM_ROW.connects : UPSTREAM_ROW.connectFailures)]++;
  }

  /** An attempt is over; status 0 when no response came. `reused`: on a kept connection. */
  answered(status: number, latencyMs: number, reused: boolean): void {
    const slab = this.#slab;
    const base = this.#base;
    const isStatus = status >= 100 && status <= 599;
    slab[base + (isStatus ? Math.trunc(status / 100) - 1 : UPSTREAM_ROW.unanswered)]++;
    if (reused) slab[base + UPSTREAM_ROW.reused]++;
    slab[base + UPSTREAM_ROW.buckets + bucketOf(LATENCY_BOUNDS_MS, latencyMs)]++;
    slab[base + UPSTREAM_ROW.sumMs] += latencyMs;
  }

  retried(): void {
    this.#slab[this.#base + UPSTREAM_ROW.retries]++;
  }

  /** A response ended early. */
  cut(): void {
    this.#slab[this.#base + UPSTREAM_ROW.cut]++;
  }

  timedOut(): void {
    this.#slab[this.#base + UPSTREAM_ROW.timeouts]++;
  }

  began(): void {
    this.#slab[this.#base + UPSTREAM_ROW.active]++;
  }

  ended(): void {
    this.#slab[this.#base + UPSTREAM_ROW.active]--;
  }
}

/** One plugin version's counters. */
export class PluginMetrics {
  readonly #slab: Float64Array;
  readonly #base: number;

  constructor(row: Row) {
    this.#slab = row.slab;
    this.#base = row.base;
  }

  /** Counts a decision: what the call came to, and the failure's code, null without one. */
  decided(decision: Decision, code: ErrorCode | CallFault | null): void {
    const slab = this.#slab;
    const base = this.#base;
    slab[base + (decision === "continue" ? 0 : decision === "respond" ? 1 : 2)]++;
    if (code !== null) slab[base + PLUGIN_ROW.errors + (PLUGIN_CODE_INDEX.get(code) as number)]++;
  }

  /** Counts a decision and the microseconds it took. */
  observe(decision: Decision, code: CallFault | null, micros: number): void {
    this.decided(decision, code);
    const slab = this.#slab;
    const base = this.#base;
    slab[base + PLUGIN_ROW.buckets + bucketOf(CALL_BOUNDS_US, micros)]++;
    slab[base + PLUGIN_ROW.sumUs] += micros;
  }
}

/** One listener's counters. */
export class ListenerMetrics {
  readonly #slab: Float64Array;
  readonly #base: number;

  constructor(row: Row) {
    this.#slab = row.slab;
    this.#base = row.base;
  }

  opened(): void {
    this.#slab[this.#base + LISTENER_ROW.open]++;
    this.#slab[this.#base + LISTENER_ROW.total]++;
  }

  closed(): void {
    this.#slab[this.#base + LISTENER_ROW.open]--;
  }

  /** A connection over the bound was turned away. */
  refused(): void {
    this.#slab[this.#base + LISTENER_ROW.refused]++;
  }

  /** A connection was ended for what its client sent. */
  abused(): void {
    this.#slab[this.#base + LISTENER_ROW.abused]++;
  }

  handshake(ok: boolean): void {
    this.#slab[this.#base + (ok ? LISTENER_ROW.handshakesOk : LISTENER_ROW.handshakesFailed)]++;
  }

  /** A request was refused before it was known which route it is for. */
  malformed(code: ErrorCode): void {
    this.#slab[this.#base + LISTENER_ROW.malformed + (ERROR_INDEX.get(code) as number)]++;
  }
}

/** CPU, memory and stalls of one worker process. */
export type ProcessSample = {
  readonly worker: string;
  readonly cpuS: number;
  readonly residentBytes: number;
  /** The longest stall of its event loop lately, see loop-delay.ts. */
  readonly loopDelayMs: number;
};

/** Plain data of one worker, or the sum of several: fit for structured clone. */
export type MetricsSnapshot = {
  readonly routes: RowsSnapshot;
  readonly upstreams: RowsSnapshot;
  /** Named `name@version`. */
  readonly plugins: RowsSnapshot;
  readonly listeners: RowsSnapshot;
  readonly processes: readonly ProcessSample[];
};

/** Names that are in the configuration: everything else is forgotten. */
export type LiveNames = {
  readonly routes: ReadonlySet<string>;
  readonly upstreams: ReadonlySet<string>;
  /** `name@version`. */
  readonly plugins: ReadonlySet<string>;
};

/** All counters of one worker. */
export class Metrics {
  readonly #worker: string;
  readonly #loopDelay: { readonly maxMs: number };
  readonly #tables = {
    routes: new RowTable(ROUTE_ROW.stride),
    upstreams: new RowTable(UPSTREAM_ROW.stride),
    plugins: new RowTable(PLUGIN_ROW.stride),
    listeners: new RowTable(LISTENER_ROW.stride),
  };

  /** `worker` labels the process's own samples. */
  constructor(worker: string, loopDelay: { readonly maxMs: number } = { maxMs: 0 }) {
    this.#worker = worker;
    this.#loopDelay = loopDelay;
  }

  route(name: string): RouteMetrics {
    return new RouteMetrics(this.#tables.routes.take(name));
  }

  upstream(name: string): UpstreamMetrics {
    return new UpstreamMetrics(this.#tables.upstreams.take(name));
  }

  plugin(name: string, version: string): PluginMetrics {
    return new PluginMetrics(this.#tables.plugins.take(`${name}@${version}`));
  }

  listener(name: string): ListenerMetrics {
    return new ListenerMetrics(this.#tables.listeners.take(name));
  }

  /**
   * Forgets what is not in the configuration any more; called after each change of it. What a
   * request of an earlier configuration still counts for a forgotten name is lost.
   */
  retain(live: LiveNames): void {
    this.#tables.routes.retain((name) => live.routes.has(name));
    this.#tables.upstreams.retain((name) => live.upstreams.has(name));
    this.#tables.plugins.retain((name) => live.plugins.has(name));
  }

  /** A copy of all counters that were ever touched. */
  snapshot(): MetricsSnapshot {
    const { user, system } = process.cpuUsage();
    const residentBytes = process.memoryUsage.rss();
    const cpuS = (user + system) / 1e6;
    const loopDelayMs = this.#loopDelay.maxMs;
    return {
      routes: this.#tables.routes.snapshot(),
      upstreams: this.#tables.upstreams.snapshot(),
      plugins: this.#tables.plugins.snapshot(),
      listeners: this.#tables.listeners.snapshot(),
      processes: [{ worker: this.#worker, cpuS, residentBytes, loopDelayMs }],
    };
  }
}

/** Sums the counters of several workers; an empty list gives an empty snapshot. */
export function mergeSnapshots(list: readonly MetricsSnapshot[]): MetricsSnapshot {
  const merge = (pick: (one: MetricsSnapshot) => RowsSnapshot, stride: number) =>
    mergeRows(list.map(pick), stride, addNumbers(stride));
  return {
    routes: mergeRows(
      list.map((one) => one.routes),
      ROUTE_ROW.stride,
      addRouteRow,
    ),
    upstreams: merge((one) => one.upstreams, UPSTREAM_ROW.stride),
    plugins: merge((one) => one.plugins, PLUGIN_ROW.stride),
    listeners: merge((one) => one.listeners, LISTENER_ROW.stride),
    processes: list.flatMap((one) => one.processes),
  };
}

/** The snapshot without names that are gone from the configuration. */
export function retainLive(snapshot: MetricsSnapshot, live: LiveNames): MetricsSnapshot {
  return {
    ...snapshot,
    routes: filterRows(snapshot.routes, ROUTE_ROW.stride, (name) => live.routes.has(name)),
    upstreams: filterRows(snapshot.upstreams, UPSTREAM_ROW.stride, (name) =>
      live.upstreams.has(name),
    ),
    plugins: filterRows(snapshot.plugins, PLUGIN_ROW.stride, (name) => live.plugins.has(name)),
  };
}

/** True for a value that has the form of a snapshot of this version; it came from a worker. */
export function isMetricsSnapshot(value: unknown): value is MetricsSnapshot {
  if (typeof value !== "object" || value === null) return false;
  const one = value as Record<keyof MetricsSnapshot, unknown>;
  return (
    isRowsSnapshot(one.routes, ROUTE_ROW.stride) &&
    isRowsSnapshot(one.upstreams, UPSTREAM_ROW.stride) &&
    isRowsSnapshot(one.plugins, PLUGIN_ROW.stride) &&
    isRowsSnapshot(one.listeners, LISTENER_ROW.stride) &&
    Array.isArray(one.processes) &&
    one.processes.every(isProcessSample)
  );
}

function isProcessSample(value: unknown): value is ProcessSample {
  if (typeof value !== "object" || value === null) return false;
  const one = value as Record<keyof ProcessSample, unknown>;
  return (
    typeof one.worker === "string" &&
    typeof one.cpuS === "number" &&
    typeof one.residentBytes === "number" &&
    typeof one.loopDelayMs === "number"
  );
}

function countStatus(slab: Float64Array, base: number, status: number): void {
  if (status < 100 || status > 599) return;
  slab[base + ROUTE_ROW.classes + Math.trunc(status / 100) - 1]++;
  addCode(slab, base + ROUTE_ROW.codes, status, 1);
}

// A linear search: most routes see two or three codes, the commonest first.
function addCode(slab: Float64Array, codes: number, status: number, count: number): void {
  for (let i = codes; i < codes + 2 * CODE_SLOTS; i += 2) {
    if (slab[i] === status || slab[i] === 0) {
      slab[i] = status;
      slab[i + 1] += count;
      return;
    }
  }
}

function addRouteRow(into: Float64Array, at: number, from: Float64Array, fromAt: number): void {
  for (let i = 0; i < ROUTE_ROW.stride; i++) {
    const isCodes = i >= ROUTE_ROW.codes && i < ROUTE_ROW.buckets;
    if (!isCodes) into[at + i] += from[fromAt + i];
  }
  for (let i = ROUTE_ROW.codes; i < ROUTE_ROW.buckets; i += 2) {
    const status = from[fromAt + i];
    if (status !== 0) addCode(into, at + ROUTE_ROW.codes, status, from[fromAt + i + 1]);
  }
}

function addNumbers(stride: number) {
  return (into: Float64Array, at: number, from: Float64Array, fromAt: number) => {
    for (let i = 0; i < stride; i++) into[at + i] += from[fromAt + i];
  };
}

// Inclusive bounds, as in Prometheus; the last bucket has none.
function bucketOf(bounds: readonly number[], value: number): number {
  let i = 0;
  while (i < bounds.length && value > bounds[i]) i++;
  return i;
}

function indexOf(codes: readonly string[]): ReadonlyMap<string, number> {
  return new Map(codes.map((code, index) => [code, index]));
}
