// sallyport top: what the gateway does right now, as rates between two looks at its counters. On a
// terminal it looks again and again; anywhere else once.

import { setTimeout as wait } from "node:timers/promises";
import type { AdminClient } from "../../client.ts";
import type { ShownStatus } from "../../api/routes/status.ts";
import { CLEAR, EXIT, table } from "../output.ts";
import type { Output } from "../output.ts";

const ROUTES_MAX = 20;

type Look = { readonly atMs: number; readonly status: ShownStatus; readonly metrics: string };

type RouteRate = {
  readonly route: string;
  readonly requests_per_s: number;
  readonly errors_per_s: number;
  readonly mean_ms: number;
};

type Rates = {
  readonly interval_ms: number;
  readonly requests_per_s: number;
  readonly workers: readonly {
    id: number;
    cpu_percent: number;
    connections: number;
    rss_mb: number;
  }[];
  readonly routes: readonly RouteRate[];
};

export async function topCommand(
  client: AdminClient,
  { intervalS, output }: { readonly intervalS: number; readonly output: Output },
): Promise<number> {
  let before = await look(client);
  for (;;) {
    await wait(intervalS * 1000);
    const now = await look(client);
    const rates = ratesOf(before, now);
    output.result(rates, () => `${output.isTerminal ? CLEAR : ""}${textOf(rates, now.status)}`);
    if (!output.isTerminal) return EXIT.ok;
    before = now;
  }
}

async function look(client: AdminClient): Promise<Look> {
  const { body: status } = await client.call<ShownStatus>("GET", "/admin/status");
  const { body: metrics } = await client.call<string>("GET", "/metrics");
  return { atMs: performance.now(), status, metrics };
}

function ratesOf(before: Look, now: Look): Rates {
  const seconds = (now.atMs - before.atMs) / 1000;
  const rate = (name: string, label: string, keep = (_labels: string) => true) => {
    const sums = sumBy(now.metrics, { name, label, keep });
    for (const [key, value] of sumBy(before.metrics, { name, label, keep })) {
      sums.set(key, Math.max(0, (sums.get(key) ?? 0) - value));
    }
    return new Map([...sums].map(([key, value]) => [key, value / seconds]));
  };
  const requests = rate("sallyport_requests_total", "route");
  const errors = rate("sallyport_requests_total", "route", (labels) => /code="5/.test(labels));
  const spent = rate("sallyport_request_duration_seconds_sum", "route");
  const cpu = rate("sallyport_process_cpu_seconds_total", "worker");
  const routes = [...requests].map(([route, perS]) => ({
    route: route === "" ? "(none)" : route,
    requests_per_s: round(perS),
    errors_per_s: round(errors.get(route) ?? 0),
    mean_ms: perS === 0 ? 0 : round(((spent.get(route) ?? 0) / perS) * 1000),
  }));
  routes.sort((a, b) => b.requests_per_s - a.requests_per_s);
  return {
    interval_ms: Math.round(seconds * 1000),
    requests_per_s: round([...requests.values()].reduce((sum, each) => sum + each, 0)),
    workers: now.status.workers.map(({ id, connections, rss_bytes: rss }) => ({
      id,
      cpu_percent: round((cpu.get(String(id)) ?? 0) * 100),
      connections,
      rss_mb: Math.round(rss / 1e6),
    })),
    routes,
  };
}

/** Sums of a metric's samples by one of its labels. */
function sumBy(
  text: string,
  of: { readonly name: string; readonly label: string; keep(labels: string): boolean },
): Map<string, number> {
  const sums = new Map<string, number>();
  for (const line of text.split("\n")) {
    if (!line.startsWith(`${of.name}{`)) continue;
    const end = line.lastIndexOf("}");
    const labels = line.slice(of.name.length, end);
    const key = new RegExp(`[{,]${of.label}="([^"]*)"`).exec(labels)?.[1];
    if (key === undefined || !of.keep(labels)) continue;
    sums.set(key, (sums.get(key) ?? 0) + Number(line.slice(end + 1)));
  }
  return sums;
}

function textOf({ routes, workers, requests_per_s: total }: Rates, status: ShownStatus): string {
  const { state, revision } = status;
  return [
    `${state}, revision ${revision}, ${total} requests/s`,
    "",
    table([
      ["WORKER", "CPU %", "CONNECTIONS", "RSS MB"],
      ...workers.map((worker) => [
        String(worker.id),
        String(worker.cpu_percent),
        String(worker.connections),
        String(worker.rss_mb),
      ]),
    ]),
    "",
    table([
      ["ROUTE", "REQ/S", "5XX/S", "MEAN MS"],
      ...routes
        .slice(0, ROUTES_MAX)
        .map((each) => [
          each.route,
          String(each.requests_per_s),
          String(each.errors_per_s),
          String(each.mean_ms),
        ]),
    ]),
  ].join("\n");
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}
