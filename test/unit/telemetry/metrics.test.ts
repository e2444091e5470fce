// Counters of workers, their sums over living and dead workers, and their text. The text is parsed
// back by a small reader of the format, so that a test compares numbers and not strings.

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { exposition } from "../../../gateway/telemetry/exposition.ts";
import { FleetMetrics } from "../../../gateway/telemetry/fleet-metrics.ts";
import { Metrics, isMetricsSnapshot, mergeSnapshots } from "../../../gateway/telemetry/metrics.ts";
import type { MetricsSnapshot } from "../../../gateway/telemetry/metrics.ts";

const FACTS = {
  version: "1.2.3",
  workers: 2,
  restarts: 1,
  revision: 7,
  generation: 9,
  startedAtS: 1_700_000_000,
  rollouts: [],
};

type Parsed = { samples: Map<string, number>; types: Map<string, string> };

/** Reads the Prometheus text format; refuses what its description does not allow. */
function parseText(text: string): Parsed {
  assert.ok(text.endsWith("\n"));
  const samples = new Map<string, number>();
  const types = new Map<string, string>();
  for (const line of text.split("\n")) {
    if (line === "" || line.startsWith("# HELP ")) continue;
    if (line.startsWith("# TYPE ")) {
      const [, , name, type] = line.split(" ");
      assert.ok(!types.has(name), `${name} has two TYPE lines`);
      types.set(name, type);
      continue;
    }
    const parts = /^([a-z_]+)(\{(?:[a-z_]+="(?:[^"\\]|\\.)*",?)*\})? ([-+0-9.eInf]+)$/.exec(line);
    assert.ok(parts, `not a sample: ${line}`);
    const base = parts[1].replace(/_(bucket|sum|count)$/, "");
    assert.ok(types.has(parts[1]) || types.get(base) === "histogram", `no TYPE for ${line}`);
    const key = parts[1] + (parts[2] ?? "");
    assert.ok(!samples.has(key), `${key} occurs twice`);
    samples.set(key, Number(parts[3]));
  }
  return { samples, types };
}

const textOf = async (list: readonly MetricsSnapshot[]) =>
  parseText(await exposition(mergeSnapshots(list), FACTS));

test("what two workers counted is summed under the names that are published", async () => {
  const workers = [new Metrics("1"), new Metrics("2")];
  for (const worker of workers) {
    const route = worker.route("orders");
    route.observe(200, 0.5, 10, 100);
    route.observe(200, 3, 0, 100);
    route.observe(404, 40_000, 0, 50);
    const upstream = worker.upstream("orders");
    upstream.connected(true);
    upstream.connected(false);
    upstream.answered(200, 2, false);
    upstream.answered(503, 2, true);
    upstream.answered(0, 2, true);
    upstream.retried();
    upstream.cut();
    upstream.timedOut();
    upstream.began();
    const plugin = worker.plugin("authz", "1.2.0");
    plugin.observe("continue", null, 3);
    plugin.observe("respond", null, 80);
    plugin.observe("error", "deadline", 5000);
    const listener = worker.listener("https");
    listener.opened();
    listener.opened();
    listener.closed();
    listener.handshake(true);
    listener.handshake(false);
    listener.malformed("BAD_HEAD");
    listener.refused();
    listener.abused();
  }
  const { samples, types } = await textOf(workers.map((worker) => worker.snapshot()));
  const expected: Record<string, number> = {
    'sallyport_requests_total{route="orders",code="200"}': 4,
    'sallyport_requests_total{route="orders",code="404"}': 2,
    'sallyport_request_bytes_total{route="orders"}': 20,
    'sallyport_response_bytes_total{route="orders"}': 500,
    'sallyport_request_duration_seconds_bucket{le="0.0005",route="orders"}': 2,
    'sallyport_request_duration_seconds_bucket{le="0.0025",route="orders"}': 2,
    'sallyport_request_duration_seconds_bucket{le="0.005",route="orders"}': 4,
    'sallyport_request_duration_seconds_bucket{le="30",route="orders"}': 4,
    'sallyport_request_duration_seconds_bucket{le="+Inf",route="orders"}': 6,
    'sallyport_request_duration_seconds_count{route="orders"}': 6,
    'sallyport_request_duration_seconds_sum{route="orders"}': 80.007,
    'sallyport_upstream_requests_total{upstream="orders",code="2xx"}': 2,
    'sallyport_upstream_requests_total{upstream="orders",code="5xx"}': 2,
    'sallyport_upstream_requests_total{upstream="orders",code="none"}': 2,
    'sallyport_upstream_connects_total{upstream="orders"}': 2,
    'sallyport_upstream_connect_failures_total{upstream="orders"}': 2,
    'sallyport_upstream_reused_total{upstream="orders"}': 4,
    'sallyport_upstream_retries_total{upstream="orders"}': 2,
    'sallyport_upstream_cut_total{upstream="orders"}': 2,
    'sallyport_upstream_timeouts_total{upstream="orders"}': 2,
    'sallyport_upstream_active{upstream="orders"}': 2,
    'sallyport_plugin_calls_total{plugin="authz",version="1.2.0",decision="continue"}': 2,
    'sallyport_plugin_calls_total{plugin="authz",version="1.2.0",decision="respond"}': 2,
    'sallyport_plugin_calls_total{plugin="authz",version="1.2.0",decision="error"}': 2,
    'sallyport_plugin_errors_total{plugin="authz",version="1.2.0",code="deadline"}': 2,
    'sallyport_plugin_call_duration_seconds_count{plugin="authz",version="1.2.0"}': 6,
    'sallyport_connections_open{listener="https"}': 2,
    'sallyport_connections_total{listener="https"}': 4,
    'sallyport_connections_refused_total{listener="https"}': 2,
    'sallyport_connections_abused_total{listener="https"}': 2,
    'sallyport_tls_handshakes_total{listener="https",result="ok"}': 2,
    'sallyport_tls_handshakes_total{listener="https",result="failed"}': 2,
    'sallyport_malformed_requests_total{listener="https",code="BAD_HEAD"}': 2,
    'sallyport_build_info{version="1.2.3"}': 1,
    sallyport_workers: 2,
    sallyport_worker_restarts_total: 1,
    sallyport_config_revision: 7,
    sallyport_config_generation: 9,
    sallyport_start_time_seconds: 1_700_000_000,
  };
  for (const [key, value] of Object.entries(expected)) {
    const got = samples.get(key);
    assert.ok(got !== undefined, `${key} is missing`);
    assert.ok(Math.abs(got - value) < 1e-9, `${key}: ${got}`);
  }
  assert.ok(samples.has('sallyport_process_cpu_seconds_total{worker="2"}'));
  assert.equal(types.get("sallyport_upstream_active"), "gauge");
  assert.equal(types.get("sallyport_worker_restarts_total"), "counter");
});

test("buckets are cumulative, inclusive and end with all, wherever the values fall", () =>
  fc.assert(
    fc.asyncProperty(fc.array(fc.double({ min: 0, max: 60_000, noNaN: true })), async (list) => {
      const worker = new Metrics("1");
      const route = worker.route("r");
      for (const ms of list) route.observe(200, ms, 0, 0);
      const { samples } = await textOf([worker.snapshot()]);
      for (const [key, value] of samples) {
        const le = /duration_seconds_bucket\{le="([^"]+)"/.exec(key)?.[1];
        if (le === undefined) continue;
        const bound = le === "+Inf" ? Infinity : Number(le) * 1000;
        assert.equal(value, list.filter((ms) => ms <= bound * (1 + 1e-12)).length, key);
      }
    }),
    { numRuns: 50 },
  ));

test("an origin with ever new status codes cannot make ever new series", async () => {
  const snapshots = ["1", "2"].map((name) => {
    const worker = new Metrics(name);
    const route = worker.route("r");
    for (let status = 200; status < 600; status++) route.observe(status, 1, 0, 0);
    route.observe(0, 1, 0, 0);
    route.observe(999, 1, 0, 0);
    return worker.snapshot();
  });
  const { samples } = await textOf(snapshots);
  const codes = [...samples].filter(([key]) => key.startsWith("sallyport_requests_total{"));
  assert.equal(codes.length, 16);
  assert.equal(
    codes.reduce((sum, [, count]) => sum + count, 0),
    800,
  );
});

test("labels are escaped, so that no name can write samples of its own", async () => {
  const worker = new Metrics('w"\n\\');
  worker.route('a"} 1\nevil_total 5\n\\').observe(200, 1, 0, 0);
  const { samples } = await textOf([worker.snapshot()]);
  assert.ok(![...samples.keys()].some((key) => key.startsWith("evil")));
});

test("removed names are forgotten and surviving ones count on, on their own row", () => {
  const worker = new Metrics("1");
  const [kept, gone] = [worker.route("kept"), worker.route("gone")];
  kept.observe(200, 1, 0, 0);
  gone.observe(200, 1, 0, 0);
  const live = (routes: string[]) => ({
    routes: new Set(routes),
    upstreams: new Set<string>(),
    plugins: new Set<string>(),
  });
  worker.retain(live(["kept"]));
  // A request that began before still counts for the removed route: nobody else may get that.
  const young = worker.route("young");
  gone.observe(200, 1, 0, 0);
  young.observe(404, 1, 0, 0);
  kept.observe(200, 1, 0, 0);
  const { routes } = worker.snapshot();
  assert.deepEqual(routes.names.toSorted(), ["kept", "young"]);
  const total = (name: string) => {
    const at = (routes.names.indexOf(name) * routes.rows.length) / routes.names.length;
    return routes.rows.subarray(at, at + 5).reduce((sum, count) => sum + count, 0);
  };
  assert.equal(total("kept"), 2);
  assert.equal(total("young"), 1);
  worker.retain(live(["kept"]));
  worker.retain(live(["kept"]));
  // A row given to another name begins at zero.
  for (let i = 0; i < 300; i++) worker.route(`later-${i}`);
  assert.deepEqual(worker.snapshot().routes.names, ["kept"]);
});

test("sums never go down when workers die and are replaced", async () => {
  const fleet = new FleetMetrics();
  const total = async () => {
    const { samples } = parseText(await exposition(fleet.merged(), FACTS));
    return {
      requests: samples.get('sallyport_requests_total{route="r",code="200"}') ?? 0,
      open: samples.get('sallyport_connections_open{listener="l"}') ?? 0,
      active: samples.get('sallyport_upstream_active{upstream="u"}') ?? 0,
    };
  };
  let before = 0;
  for (let id = 1; id <= 4; id++) {
    const worker = new Metrics(String(id));
    const route = worker.route("r");
    worker.listener("l").opened();
    worker.upstream("u").began();
    for (let i = 0; i < 5; i++) {
      route.observe(200, 1, 0, 0);
      fleet.update(id, structuredClone(worker.snapshot()));
      const { requests } = await total();
      assert.equal(requests, before + 1);
      before = requests;
    }
    assert.equal((await total()).open, 1);
    fleet.remove(id);
    fleet.remove(id);
    assert.deepEqual(await total(), { requests: before, open: 0, active: 0 });
  }
  fleet.retain({ routes: new Set(), upstreams: new Set(["u"]), plugins: new Set() });
  assert.equal((await total()).requests, 0);
});

test("a snapshot of another form is recognised, not summed", () => {
  const worker = new Metrics("1");
  worker.route("r").observe(200, 1, 0, 0);
  const good = structuredClone(worker.snapshot());
  assert.ok(isMetricsSnapshot(good));
  const bad: unknown[] = [
    null,
    {},
    { ...good, routes: { names: ["r"], rows: new Float64Array(3) } },
    { ...good, routes: { names: ["r"], rows: [...good.routes.rows] } },
    { ...good, upstreams: undefined },
    { ...good, processes: [{}] },
    JSON.parse(JSON.stringify(good)),
  ];
  for (const value of bad) assert.equal(isMetricsSnapshot(value), false);
});
