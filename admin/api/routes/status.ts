// How the gateway is: for people, load balancers and Prometheus.

import { ControlError } from "../control.ts";
import type { Status, WorkerInfo } from "../control.ts";
import type { ApiRoute } from "../route.ts";

const EXPOSITION_TYPE = "text/plain; version=0.0.4; charset=utf-8";

export const STATUS_ROUTES: readonly ApiRoute[] = [
  {
    method: "GET",
    path: "/livez",
    summary: "200 while the primary runs",
    role: "none",
    handle: () => ({ status: 200, text: "ok\n" }),
  },
  {
    method: "GET",
    path: "/readyz",
    summary: "200 once every worker serves the live revision, 503 before and while draining",
    role: "none",
    handle: ({ control }) =>
      control.ready() ? { status: 200, text: "ready\n" } : { status: 503, text: "not ready\n" },
  },
  {
    method: "GET",
    path: "/metrics",
    summary: "Prometheus exposition, summed over workers",
    role: "none",
    handle: async ({ control }) => ({
      status: 200,
      text: await control.metrics(),
      contentType: EXPOSITION_TYPE,
    }),
  },
  {
    method: "GET",
    path: "/admin/whoami",
    summary: "Name and role of the key that asks",
    role: "read",
    handle: ({ actor, role }) => ({ status: 200, body: { name: actor, role } }),
  },
  {
    method: "GET",
    path: "/admin/status",
    summary: "State of the gateway, its listeners and workers",
    role: "read",
    handle: async ({ control }) => ({ status: 200, body: shownStatus(await control.status()) }),
  },
  {
    method: "GET",
    path: "/admin/workers",
    summary: "The workers",
    role: "read",
    handle: async ({ control }) => ({
      status: 200,
      body: (await control.status()).workers.map(shownWorker),
    }),
  },
  ...(["profile", "heap"] as const).map((name): ApiRoute => ({
    method: "GET",
    path: `/debug/pprof/${name}`,
    summary: `A ${name === "heap" ? "heap" : "CPU"} profile of all workers, for go tool pprof`,
    role: "admin",
    query: ["seconds"],
    handle: async ({ control, query }) => ({
      status: 200,
      text: await control.profile(name === "heap" ? "heap" : "cpu", secondsOf(query)),
      contentType: "application/octet-stream",
      headers: { "content-disposition": `attachment; filename="${name}.pb.gz"` },
    }),
  })),
  {
    method: "POST",
    path: "/admin/drain",
    summary: "Stops accepting, lets requests end, and ends the gateway",
    role: "admin",
    handle: ({ control }) => {
      control.drain();
      return { status: 202, body: { state: "draining" } };
    },
  },
];

const SECONDS_MAX = 60;
const SECONDS_DEFAULT = 10;

function secondsOf(query: URLSearchParams): number {
  const text = query.get("seconds") ?? String(SECONDS_DEFAULT);
  const seconds = /^\d{1,2}$/.test(text) ? Number(text) : 0;
  if (seconds >= 1 && seconds <= SECONDS_MAX) return seconds;
  throw new ControlError(400, "bad_parameter", `seconds is a number from 1 to ${SECONDS_MAX}.`);
}

export type ShownStatus = ReturnType<typeof shownStatus>;

function shownStatus(status: Status) {
  const { startedAt, workers, ...rest } = status;
  return { ...rest, started_at: startedAt, workers: workers.map(shownWorker) };
}

function shownWorker(worker: WorkerInfo) {
  const { startedAt, rssBytes, ...rest } = worker;
  return { ...rest, started_at: startedAt, rss_bytes: rssBytes };
}
