// Merged counters as Prometheus text, in the primary and only when somebody scrapes. prom-client
// does the escaping and the numbers; it is fed a slice of samples at a time, so that a scrape of
// many routes never holds the primary's event loop for long.

import { Registry } from "prom-client";
import type { Metric } from "prom-client";
import { setImmediate as yieldToLoop } from "node:timers/promises";
import {
  CALL_BOUNDS_US,
  DECISIONS,
  ERROR_CODES,
  PLUGIN_CODES,
  LATENCY_BOUNDS_MS,
  LISTENER_ROW,
  PLUGIN_ROW,
  ROUTE_ROW,
  UPSTREAM_ROW,
} from "./metrics.ts";
import type { MetricsSnapshot } from "./metrics.ts";
import type { Family, Labels, Sample } from "./family.ts";
import { rolloutFamilies } from "./rollout-families.ts";
import type { RolloutFacts } from "./rollout-families.ts";
import type { RowsSnapshot } from "./rows.ts";

/** Content type of the text. */
export const EXPOSITION_TYPE: string = Registry.PROMETHEUS_CONTENT_TYPE;

// About 4 ms of formatting on a busy core.
const SAMPLES_PER_SLICE = 2000;

/** What the primary knows besides the counters. */
export type ExpositionFacts = {
  readonly version: string;
  readonly workers: number;
  readonly restarts: number;
  readonly revision: number;
  /** Changes whenever what is served changes, plugin versions included. */
  readonly generation: number;
  /** Seconds since the epoch. */
  readonly startedAtS: number;
  readonly rollouts: readonly RolloutFacts[];
};

/** The whole text, HELP and TYPE included; ends with a newline. */
export async function exposition(merged: MetricsSnapshot, facts: ExpositionFacts): Promise<string> {
  const parts: string[] = [];
  const families = [
    ...routeFamilies(merged.routes),
    ...upstreamFamilies(merged.upstreams),
    ...pluginFamilies(merged.plugins),
    ...rolloutFamilies(facts.rollouts),
    ...listenerFamilies(merged.listeners),
    ...processFamilies(merged, facts),
  ];
  for (const family of families) await renderFamily(family, parts);
  return `${parts.join("\n")}\n`;
}

async function renderFamily(family: Family, parts: string[]): Promise<void> {
  let slice: Sample[] = [];
  let isFirst = true;
  const flush = async () => {
    const text = await formatSlice(family, slice);
    // Every slice comes with HELP and TYPE, which a family may have only once.
    parts.push(isFirst ? text : text.slice(text.indexOf("\n", text.indexOf("\n") + 1) + 1));
    isFirst = false;
    slice = [];
  };
  for (const sample of family.samples) {
    slice.push(sample);
    if (slice.length < SAMPLES_PER_SLICE) continue;
    await flush();
    await yieldToLoop();
  }
  if (slice.length > 0) await flush();
}

function formatSlice({ help, name, type }: Family, values: Sample[]): Promise<string> {
  // A metric by its contract with the registry, as prom-client's own aggregated ones are: something
  // that can `get` its values. Feeding Counter and Histogram objects would hash every label again.
  const metric = { name, help, type, aggregator: "sum", get: async () => ({ ...metric, values }) };
  const registry = new Registry();
  registry.registerMetric(metric as unknown as Metric);
  return registry.getSingleMetricAsString(name);
}

function routeFamilies(routes: RowsSnapshot): Family[] {
  const counter = counterOf(routes, ROUTE_ROW.stride, "route");
  return [
    {
      name: "sallyport_requests_total",
      help: "Finished requests by route and status code; a class where codes are too many.",
      type: "counter",
      samples: eachRow(routes, ROUTE_ROW.stride, routeCodes),
    },
    {
      name: "sallyport_request_duration_seconds",
      help: "From the complete request head to the end of the response.",
      type: "histogram",
      samples: eachRow(routes, ROUTE_ROW.stride, (name, rows, at) =>
        histogram("sallyport_request_duration_seconds", {
          labels: { route: name },
          bounds: LATENCY_BOUNDS_S,
          buckets: rows.subarray(at + ROUTE_ROW.buckets, at + ROUTE_ROW.sumMs),
          sumS: rows[at + ROUTE_ROW.sumMs] / 1000,
        }),
      ),
    },
    counter("sallyport_request_bytes_total", ROUTE_ROW.bytesIn, "Body bytes from clients."),
    counter("sallyport_response_bytes_total", ROUTE_ROW.bytesOut, "Body bytes to clients."),
  ];
}

function* routeCodes(name: string, rows: Float64Array, at: number): Generator<Sample> {
  const rest = [...rows.subarray(at + ROUTE_ROW.classes, at + ROUTE_ROW.codes)];
  for (let i = at + ROUTE_ROW.codes; i < at + ROUTE_ROW.buckets; i += 2) {
    if (rows[i] === 0) break;
    rest[Math.trunc(rows[i] / 100) - 1] -= rows[i + 1];
    yield { labels: { route: name, code: String(rows[i]) }, value: rows[i + 1] };
  }
  for (const [i, count] of rest.entries()) {
    if (count > 0) yield { labels: { route: name, code: `${i + 1}xx` }, value: count };
  }
}

function upstreamFamilies(upstreams: RowsSnapshot): Family[] {
  const counter = counterOf(upstreams, UPSTREAM_ROW.stride, "upstream");
  return [
    {
      name: "sallyport_upstream_requests_total",
      help: "Attempts at an upstream by class of status; none: no response came.",
      type: "counter",
      samples: eachRow(upstreams, UPSTREAM_ROW.stride, upstreamCodes),
    },
    {
      name: "sallyport_upstream_duration_seconds",
      help: "From sending a request to an upstream to its response's head or failure.",
      type: "histogram",
      samples: eachRow(upstreams, UPSTREAM_ROW.stride, (name, rows, at) =>
        histogram("sallyport_upstream_duration_seconds", {
          labels: { upstream: name },
          bounds: LATENCY_BOUNDS_S,
          buckets: rows.subarray(at + UPSTREAM_ROW.buckets, at + UPSTREAM_ROW.sumMs),
          sumS: rows[at + UPSTREAM_ROW.sumMs] / 1000,
        }),
      ),
    },
    counter("sallyport_upstream_connects_total", UPSTREAM_ROW.connects, "Connections made."),
    counter(
      "sallyport_upstream_connect_failures_total",
      UPSTREAM_ROW.connectFailures,
      "Connections that could not be made.",
    ),
    counter(
      "sallyport_upstream_reused_total",
      UPSTREAM_ROW.reused,
      "Attempts on kept connections.",
    ),
    counter("sallyport_upstream_retries_total", UPSTREAM_ROW.retries, "Attempts after the first."),
    counter("sallyport_upstream_cut_total", UPSTREAM_ROW.cut, "Responses that ended early."),
    counter("sallyport_upstream_timeouts_total", UPSTREAM_ROW.timeouts, "Attempts out of time."),
    {
      ...counter("sallyport_upstream_active", UPSTREAM_ROW.active, "Attempts under way."),
      type: "gauge",
    },
  ];
}

function* upstreamCodes(name: string, rows: Float64Array, at: number): Generator<Sample> {
  for (let i = 0; i <= UPSTREAM_ROW.unanswered; i++) {
    const value = rows[at + i];
    const code = i === UPSTREAM_ROW.unanswered ? "none" : `${i + 1}xx`;
    if (value > 0) yield { labels: { upstream: name, code }, value };
  }
}

function pluginFamilies(plugins: RowsSnapshot): Family[] {
  return [
    {
      name: "sallyport_plugin_calls_total",
      help: "Calls of a plugin's version by what they came to.",
      type: "counter",
      samples: eachRow(plugins, PLUGIN_ROW.stride, pluginDecisions),
    },
    {
      name: "sallyport_plugin_errors_total",
      help: "Failed calls of a plugin's version by what failed.",
      type: "counter",
      samples: eachRow(plugins, PLUGIN_ROW.stride, (name, rows, at) =>
        codeCounts(PLUGIN_CODES, pluginLabels(name), rows.subarray(at + PLUGIN_ROW.errors)),
      ),
    },
    {
      name: "sallyport_plugin_call_duration_seconds",
      help: "Time of a plugin's calls, waiting included.",
      type: "histogram",
      samples: eachRow(plugins, PLUGIN_ROW.stride, (name, rows, at) =>
        histogram("sallyport_plugin_call_duration_seconds", {
          labels: pluginLabels(name),
          bounds: CALL_BOUNDS_S,
          buckets: rows.subarray(at + PLUGIN_ROW.buckets, at + PLUGIN_ROW.sumUs),
          sumS: rows[at + PLUGIN_ROW.sumUs] / 1e6,
        }),
      ),
    },
  ];
}

function* pluginDecisions(name: string, rows: Float64Array, at: number): Generator<Sample> {
  for (const [i, decision] of DECISIONS.entries()) {
    const value = rows[at + PLUGIN_ROW.decisions + i];
    if (value > 0) yield { labels: { ...pluginLabels(name), decision }, value };
  }
}

function pluginLabels(name: string): Labels {
  const at = name.indexOf("@");
  return { plugin: name.slice(0, at), version: name.slice(at + 1) };
}

function listenerFamilies(listeners: RowsSnapshot): Family[] {
  const counter = counterOf(listeners, LISTENER_ROW.stride, "listener");
  return [
    { ...counter("sallyport_connections_open", LISTENER_ROW.open, "Open now."), type: "gauge" },
    counter("sallyport_connections_total", LISTENER_ROW.total, "Connections accepted."),
    counter("sallyport_connections_refused_total", LISTENER_ROW.refused, "Over the bound."),
    counter(
      "sallyport_connections_abused_total",
      LISTENER_ROW.abused,
      "HTTP/2 connections ended for what their client sent: floods, resets, broken frames.",
    ),
    {
      name: "sallyport_tls_handshakes_total",
      help: "TLS handshakes by result.",
      type: "counter",
      samples: eachRow(listeners, LISTENER_ROW.stride, handshakes),
    },
    {
      name: "sallyport_malformed_requests_total",
      help: "Requests refused before a route was known, by error code.",
      type: "counter",
      samples: eachRow(listeners, LISTENER_ROW.stride, (name, rows, at) =>
        codeCounts(ERROR_CODES, { listener: name }, rows.subarray(at + LISTENER_ROW.malformed)),
      ),
    },
  ];
}

function* handshakes(name: string, rows: Float64Array, at: number): Generator<Sample> {
  const ok = rows[at + LISTENER_ROW.handshakesOk];
  const failed = rows[at + LISTENER_ROW.handshakesFailed];
  if (ok + failed === 0) return;
  yield { labels: { listener: name, result: "ok" }, value: ok };
  yield { labels: { listener: name, result: "failed" }, value: failed };
}

function processFamilies({ processes }: MetricsSnapshot, facts: ExpositionFacts): Family[] {
  const single = (name: string, help: string, value: number): Family => ({
    name,
    help,
    type: name.endsWith("_total") ? "counter" : "gauge",
    samples: [{ labels: {}, value }],
  });
  return [
    {
      name: "sallyport_process_cpu_seconds_total",
      help: "CPU time of a worker, user and system.",
      type: "counter",
      samples: processes.map((one) => ({ labels: { worker: one.worker }, value: one.cpuS })),
    },
    {
      name: "sallyport_process_resident_memory_bytes",
      help: "Resident memory of a worker.",
      type: "gauge",
      samples: processes.map((one) => ({
        labels: { worker: one.worker },
        value: one.residentBytes,
      })),
    },
    {
      name: "sallyport_event_loop_delay_max_seconds",
      help: "Longest stall of a worker's event loop in the last half minute to minute.",
      type: "gauge",
      samples: processes.map((one) => ({
        labels: { worker: one.worker },
        value: one.loopDelayMs / 1000,
      })),
    },
    {
      name: "sallyport_build_info",
      help: "Always 1; the version is in the label.",
      type: "gauge",
      samples: [{ labels: { version: facts.version }, value: 1 }],
    },
    single("sallyport_workers", "Workers that serve.", facts.workers),
    single("sallyport_worker_restarts_total", "Workers replaced.", facts.restarts),
    single("sallyport_config_revision", "Revision that is live.", facts.revision),
    single("sallyport_config_generation", "Generation that is live.", facts.generation),
    single("sallyport_start_time_seconds", "When the gateway started.", facts.startedAtS),
  ];
}

const LATENCY_BOUNDS_S: readonly number[] = LATENCY_BOUNDS_MS.map((bound) => bound / 1000);
const CALL_BOUNDS_S: readonly number[] = CALL_BOUNDS_US.map((bound) => bound / 1e6);

type RowSamples = (name: string, rows: Float64Array, at: number) => Iterable<Sample>;

function* eachRow(snapshot: RowsSnapshot, stride: number, of: RowSamples): Generator<Sample> {
  for (const [i, name] of snapshot.names.entries()) yield* of(name, snapshot.rows, i * stride);
}

/** Makes families with one number a row. */
function counterOf(snapshot: RowsSnapshot, stride: number, label: string) {
  return (name: string, offset: number, help: string): Family => ({
    name,
    help,
    type: "counter",
    samples: eachRow(snapshot, stride, (row, rows, at) => [
      { labels: { [label]: row }, value: rows[at + offset] },
    ]),
  });
}

function* codeCounts(
  codes: readonly string[],
  labels: Labels,
  counts: Float64Array,
): Generator<Sample> {
  for (const [i, code] of codes.entries()) {
    if (counts[i] > 0) yield { labels: { ...labels, code }, value: counts[i] };
  }
}

type HistogramParts = {
  readonly labels: Labels;
  readonly bounds: readonly number[];
  /** One more than the bounds. */
  readonly buckets: Float64Array;
  readonly sumS: number;
};

// Cumulative, as the format wants it; the row counts each bucket by itself.
function* histogram(metric: string, parts: HistogramParts): Generator<Sample> {
  const { bounds, buckets, labels, sumS } = parts;
  let count = 0;
  for (let i = 0; i < buckets.length; i++) {
    count += buckets[i];
    const le = i < bounds.length ? String(bounds[i]) : "+Inf";
    yield { metricName: `${metric}_bucket`, labels: { le, ...labels }, value: count };
  }
  yield { metricName: `${metric}_sum`, labels, value: sumS };
  yield { metricName: `${metric}_count`, labels, value: count };
}
