// What a shadow costs the requests that it is shown: the same gateway with and without one, in turn, at a
// moderate rate and at half of what the machine can do. A shadow gives way to everything else, so the
// latency of requests must not tell whether there is one.
//   node bench/shadow.ts [--candidate same|loops|none] [--pairs N] [--seconds N] [--rate N]
// `none` starts no shadow at all: what the ratios are worth. The table goes to standard output. Exit codes:
// 0 within the target, 1 missed it. Linux only.

import { readFileSync } from "node:fs";
import net from "node:net";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { parseArgs } from "node:util";
import { watAssembler } from "../test/support/wat.ts";
import { Children, allowedCpus } from "./load/children.ts";
import { findLoadTool } from "./load/client.ts";
import { startGateway } from "./load/running.ts";
import type { RunningGateway } from "./load/running.ts";
import { pairedRatio, percentile } from "./measure.ts";
import type { Spread } from "./measure.ts";

const PLUGIN = join(import.meta.dirname, "../plugins-src/build/hello.wasm");
const ROLLOUT = "/admin/routes/all/rollouts/hello";
const REQUEST = "GET / HTTP/1.1\r\nhost: bench.test\r\nuser-agent: bench\r\naccept: */*\r\n\r\n";
const P99_RATIO_MAX = 1.05;
const CONNECTIONS = 32;
const WARM_SECONDS = 3;
const SETTLE_MS = 300;

const { values: flags } = parseArgs({
  options: {
    candidate: { type: "string", default: "same" },
    pairs: { type: "string", default: "20" },
    seconds: { type: "string", default: "3" },
    rate: { type: "string", default: "500" },
  },
});
const [pairs, seconds, rate] = [flags.pairs, flags.seconds, flags.rate].map(Number);
if (!(pairs > 0 && seconds > 0 && rate > 0)) throw new Error("--pairs, --seconds, --rate: above 0");
if (!["same", "loops", "none"].includes(flags.candidate)) throw new Error("no such --candidate");

const LOOPS = `(module (func (export "on_request") (result i32) (loop $on (br $on)) unreachable))`;
const hello = readFileSync(PLUGIN);
const candidate = flags.candidate === "loops" ? (await watAssembler())(LOOPS) : hello;

const children = new Children();
const cpus = allowedCpus();
const gateway = await startGateway(children, {
  workers: 1,
  plugins: { hello },
  config: {
    listeners: [{ name: "load", address: "127.0.0.1:0" }],
    routes: [{ name: "all", plugins: [{ plugin: "hello" }], respond: { body: "x".repeat(200) } }],
  },
});
await gateway.admin("POST", "/admin/plugins/hello/versions/99.0.0", Buffer.from(candidate));
// By a load like the one below, so that half of it leaves room.
const saturated = await findLoadTool(children, cpus, "node").run({
  ...{ url: `http://127.0.0.1:${gateway.port}/`, method: "GET", bodyBytes: 0, tokensFile: null },
  ...{ connections: CONNECTIONS, seconds: WARM_SECONDS },
});
const half = Math.round((saturated.requests / saturated.durationUs) * 1e6) >> 1;
console.log(
  `candidate: ${flags.candidate}; ratio of all requests, and (of pairs: median, min-max)`,
);
console.log("rate      p50 without    with   ratio        p99 without    with   ratio");
const moderate = await compare(rate);
await compare(half);
await gateway.child.stop();
process.exitCode = moderate <= P99_RATIO_MAX ? 0 : 1;

/** Pairs of periods, each beginning with the other one; resolves to the ratio of the p99 of all requests. */
async function compare(perSecond: number): Promise<number> {
  const without: Float64Array[] = [];
  const shadowed: Float64Array[] = [];
  for (let pair = 0; pair < pairs; pair++) {
    for (const isShadowed of pair % 2 === 0 ? [false, true] : [true, false]) {
      const hasShadow = isShadowed && flags.candidate !== "none";
      // One that loops is stopped soon, and its rollout ends: what that costs is all there is.
      const startsLate = flags.candidate === "loops";
      if (hasShadow && !startsLate) await startShadow(gateway);
      // Its thread starts, code gets warm: of both periods alike.
      await measure(perSecond, WARM_SECONDS / 2);
      const measuring = measure(perSecond, seconds);
      if (hasShadow && startsLate) await startShadow(gateway);
      (isShadowed ? shadowed : without).push(await measuring);
      if (hasShadow) await endShadow(gateway);
    }
  }
  const of = (share: number) => {
    const [one, other] = [without, shadowed].map((periods) => percentile(joined(periods), share));
    const ofPeriods = (periods: Float64Array[]) => periods.map((each) => percentile(each, share));
    const pairs = ratioText(pairedRatio(ofPeriods(shadowed), ofPeriods(without)));
    const ratio = other / one;
    return { ratio, text: `${ms(one)}  ${ms(other)}   ${ratio.toFixed(2)} (${pairs})` };
  };
  const [p50, p99] = [of(50), of(99)];
  console.log(`${String(perSecond).padEnd(7)} ${p50.text}     ${p99.text}`);
  return p99.ratio;
}

function joined(periods: readonly Float64Array[]): Float64Array {
  return Float64Array.from(periods.flatMap((period) => [...period]));
}

async function startShadow({ admin }: RunningGateway): Promise<void> {
  const wanted = {
    ...{ candidate: "99.0.0", mode: "shadow", interval_ms: 3_600_000 },
    analysis: { min_requests: 1_000_000_000 },
  };
  await admin("PUT", ROLLOUT, Buffer.from(JSON.stringify(wanted)));
}

// Says what the shadow was shown: a period in which it was shown nothing measured nothing.
async function endShadow({ admin }: RunningGateway): Promise<void> {
  const { state, shadow } = (await (await admin("GET", ROLLOUT)).json()) as {
    state: string;
    shadow: Record<string, number>;
  };
  process.stderr.write(`shadow ${state}: ${JSON.stringify(shadow)}\n`);
  if (shadow["same"] + shadow["different"] === 0) throw new Error("the shadow was shown nothing");
  if (state !== "aborted") await admin("DELETE", ROLLOUT);
}

/** Microseconds of requests at a rate, each on a connection that is free, from when it was due. */
async function measure(perSecond: number, forSeconds: number): Promise<Float64Array> {
  const count = perSecond * forSeconds;
  const latenciesUs: number[] = [];
  const free: net.Socket[] = [];
  const dueMs = new Map<net.Socket, number>();
  const waiting: number[] = [];
  const send = (socket: net.Socket, atMs: number) => {
    dueMs.set(socket, atMs);
    socket.write(REQUEST);
  };
  const sockets = Array.from({ length: CONNECTIONS }, () => {
    const socket = net.connect({ port: gateway.port, host: "127.0.0.1", noDelay: true });
    socket.once("connect", () => free.push(socket));
    // One short answer at a time: it comes whole.
    socket.on("data", () => {
      latenciesUs.push((performance.now() - (dueMs.get(socket) ?? 0)) * 1000);
      const next = waiting.shift();
      if (next === undefined) free.push(socket);
      else send(socket, next);
    });
    socket.on("error", (error) => {
      throw error;
    });
    return socket;
  });
  await pause(SETTLE_MS);
  const beganMs = performance.now();
  for (let sent = 0; sent < count;) {
    const now = performance.now();
    for (; sent < ((now - beganMs) / 1000) * perSecond && sent < count; sent++) {
      const socket = free.pop();
      if (socket === undefined) waiting.push(now);
      else send(socket, now);
    }
    await pause(1);
  }
  await pause(SETTLE_MS);
  for (const socket of sockets) socket.destroy();
  return Float64Array.from(latenciesUs);
}

function ms(micros: number): string {
  return `${(micros / 1000).toFixed(2)} ms`.padStart(9);
}

function ratioText({ median, min, max }: Spread): string {
  return `${median.toFixed(2)} (${min.toFixed(2)}-${max.toFixed(2)})`;
}
