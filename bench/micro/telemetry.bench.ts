// What telemetry costs: nanoseconds per counted request and per log line, and how long a scrape of
// ten thousand routes holds a worker and the primary.
// Run: node bench/micro/telemetry.bench.ts
//
// What is measured: observe over one route and over many (cold rows); a line of an ordinary request
// into a buffer, and all the way into a file in the system's temporary folder; and the parts of a
// scrape apart. Medians of rounds.

import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { deserialize, serialize } from "node:v8";
import { Exchange } from "../../gateway/exchange.ts";
import { AccessLog } from "../../gateway/telemetry/access-log.ts";
import { exposition } from "../../gateway/telemetry/exposition.ts";
import { LINE_BYTES_MAX, writeLine } from "../../gateway/telemetry/log-line.ts";
import { Metrics, isMetricsSnapshot, mergeSnapshots } from "../../gateway/telemetry/metrics.ts";
import type { MetricsSnapshot } from "../../gateway/telemetry/metrics.ts";
import { RequestHead, parseRequestHead } from "../../gateway/wire/request-head.ts";

const ROUNDS = 11;
const CALLS = 100_000;
const LINES = 20_000;
const ROUTES = 10_000;
const TIME = "2026-11-23T12:00:00.005Z";

function median(values: number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];
}

function timeEach(name: string, calls: number, run: (i: number) => void): void {
  const rounds: number[] = [];
  for (let round = 0; round < ROUNDS + 2; round++) {
    const started = process.hrtime.bigint();
    for (let i = 0; i < calls; i++) run(i);
    if (round >= 2) rounds.push(Number(process.hrtime.bigint() - started) / calls);
  }
  console.log(`${name.padEnd(44)} ${median(rounds).toFixed(0).padStart(8)} ns`);
}

function timeOnce<T>(name: string, run: () => T): T {
  const startedMs = performance.now();
  const result = run();
  console.log(`${name.padEnd(44)} ${(performance.now() - startedMs).toFixed(1).padStart(8)} ms`);
  return result;
}

function makeExchange(): Exchange {
  const head = parseRequestHead(
    "GET /orders/12345?page=2&size=50 HTTP/1.1\r\nHost: api.example.com\r\n" +
      "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n\r\n",
  );
  if (!(head instanceof RequestHead)) throw new Error(head);
  const exchange = new Exchange({
    head,
    host: "api.example.com",
    path: "/orders/12345",
    query: "page=2&size=50",
    scheme: "https",
    tls: null,
    authority: "api.example.com",
    clientIp: "192.0.2.1",
    forwardedFor: "192.0.2.1",
    requestId: "0123456789abcdef0123456789abcdef",
    traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00",
    startedMs: 0,
  });
  exchange.status = 200;
  exchange.bytesSent = 200;
  exchange.routeName = "orders";
  exchange.upstreamName = "orders";
  exchange.upstreamAddress = "127.0.0.1:9001";
  exchange.attempts = 1;
  exchange.consumer = "acme";
  return exchange;
}

async function benchLog(): Promise<void> {
  const exchange = makeExchange();
  const sink = { bytes: Buffer.alloc(LINE_BYTES_MAX), used: 0 };
  timeEach("access log: one line into a buffer", LINES, () => {
    sink.used = 0;
    writeLine(sink, exchange, 1.234, TIME);
  });
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "telemetry-bench-"));
  const log = new AccessLog({ path: path.join(folder, "access.log"), bytesMax: 2 ** 30 });
  const rounds: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const started = process.hrtime.bigint();
    for (let i = 0; i < LINES; i++) log.write(exchange, 1.234);
    await log.flush();
    rounds.push(Number(process.hrtime.bigint() - started) / LINES);
  }
  await log.close();
  fs.rmSync(folder, { recursive: true });
  if (log.dropped > 0) throw new Error("lines were dropped");
  const name = `access log: written to disk, ${sink.used} bytes`;
  console.log(`${name.padEnd(44)} ${median(rounds).toFixed(0).padStart(8)} ns`);
}

/** The longest time that the event loop was held while `run` ran, in milliseconds. */
async function holdOf<T>(run: () => Promise<T>): Promise<[T, number]> {
  let longestMs = 0;
  let lastMs = performance.now();
  let isRunning = true;
  const tick = () => {
    const nowMs = performance.now();
    longestMs = Math.max(longestMs, nowMs - lastMs);
    lastMs = nowMs;
    if (isRunning) setImmediate(tick);
  };
  setImmediate(tick);
  const result = await run();
  isRunning = false;
  return [result, longestMs];
}

async function benchScrape(): Promise<void> {
  const worker = new Metrics("1");
  for (let i = 0; i < ROUTES; i++) {
    const route = worker.route(`tenant-${i}.orders`);
    for (const status of [200, 200, 404, 503]) route.observe(status, i % 100, 10, 200);
  }
  const facts = {
    version: "0",
    workers: 4,
    restarts: 0,
    revision: 1,
    generation: 1,
    startedAtS: 0,
    rollouts: [],
  };
  for (let round = 0; round < 3; round++) {
    console.log(`scrape of ${ROUTES} routes, round ${round + 1}`);
    const snapshot = timeOnce("  worker: snapshot", () => worker.snapshot());
    const bytes = timeOnce("  worker: serialize for the primary", () => serialize(snapshot));
    const received = timeOnce("  primary: deserialize", () => deserialize(bytes) as unknown);
    if (!isMetricsSnapshot(received)) throw new Error("not a snapshot");
    const four: MetricsSnapshot[] = [received, received, received, received];
    const merged = timeOnce("  primary: merge four workers", () => mergeSnapshots(four));
    const startedMs = performance.now();
    const [text, holdMs] = await holdOf(() => exposition({ ...merged, processes: [] }, facts));
    const tookMs = performance.now() - startedMs;
    const lines = text.split("\n").length;
    console.log(`  primary: text of ${lines} lines, ${tookMs.toFixed(0)} ms,`);
    console.log(
      `    longest hold ${holdMs.toFixed(1)} ms, ${(bytes.length / 1e6).toFixed(1)} MB sent`,
    );
  }
}

async function main(): Promise<void> {
  const worker = new Metrics("1");
  const one = worker.route("one");
  const many = Array.from({ length: ROUTES }, (_, i) => worker.route(`r${i}`));
  const plugin = worker.plugin("authz", "1.0.0");
  const upstream = worker.upstream("u");
  timeEach("route.observe, one route", CALLS, (i) => one.observe(200, (i % 64) / 8, 0, 200));
  timeEach("route.observe, 10,000 routes in turn", CALLS, (i) =>
    many[(i * 7919) % ROUTES].observe(200, (i % 64) / 8, 0, 200),
  );
  timeEach("plugin.observe", CALLS, (i) => plugin.observe("continue", null, i % 16));
  timeEach("upstream.answered", CALLS, (i) => upstream.answered(200, (i % 64) / 8, true));
  await benchLog();
  await benchScrape();
}

await main();
