// What a shadow costs the requests that it is shown: the same gateway with and without one, in turn, at a
// moderate rate and at half of what the machine can do. A shadow gives way to everything else, so the
// latency of requests must not tell whether there is one.
//   node bench/shadow.ts [--pairs N] [--seconds N] [--rate N]
// The table goes to standard output. Exit codes: 0 within the target, 1 missed it. Linux only.

import { readFileSync } from "node:fs";
import net from "node:net";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { parseArgs } from "node:util";
import { Children, allowedCpus } from "./load/children.ts";
import { findLoadTool } from "./load/client.ts";
import { startGateway } from "./load/running.ts";
import type { RunningGateway } from "./load/running.ts";
import { pairedRatio, percentile, spreadOf } from "./measure.ts";
import type { Spread } from "./measure.ts";

const PLUGIN = join(import.meta.dirname, "../plugins-src/build/hello.wasm");
const ROLLOUT = "/admin/routes/all/rollouts/hello";
const REQUEST = "GET / HTTP/1.1\r\nhost: bench.test\r\nuser-agent: bench\r\naccept: */*\r\n\r\n";
const P99_RATIO_MAX = 1.2;
const CONNECTIONS = 32;
const WARM_SECONDS = 3;
const SETTLE_MS = 300;

const { values: flags } = parseArgs({
  options: {
    pairs: { type: "string", default: "6" },
    seconds: { type: "string", default: "3" },
    rate: { type: "string", default: "500" },
  },
});
const [pairs, seconds, rate] = [flags.pairs, flags.seconds, flags.rate].map(Number);
if (!(pairs > 0 && seconds > 0 && rate > 0)) throw new Error("--pairs, --seconds, --rate: above 0");

type Period = { readonly p50Us: number; readonly p99Us: number; readonly requests: number };

const children = new Children();
const cpus = allowedCpus();
const gateway = await startGateway(children, {
  workers: 1,
  plugins: { hello: readFileSync(PLUGIN) },
  config: {
    listeners: [{ name: "load", address: "127.0.0.1:0" }],
    routes: [{ name: "all", plugins: [{ plugin: "hello" }], respond: { body: "x".repeat(200) } }],
  },
});
await gateway.admin("POST", "/admin/plugins/hello/versions/99.0.0", readFileSync(PLUGIN));
// By a load like the one below, so that half of it leaves room.
const saturated = await findLoadTool(children, cpus, "node").run({
  ...{ url: `http://127.0.0.1:${gateway.port}/`, method: "GET", bodyBytes: 0, tokensFile: null },
  ...{ connections: CONNECTIONS, seconds: WARM_SECONDS },
});
const half = Math.round((saturated.requests / saturated.durationUs) * 1e6) >> 1;
console.log("rate      p50 without    with   ratio        p99 without    with   ratio");
const moderate = await compare(rate);
await compare(half);
await gateway.child.stop();
process.exitCode = moderate.median <= P99_RATIO_MAX ? 0 : 1;

/** Pairs of periods, each beginning with the other one; resolves to the ratios of the p99. */
async function compare(perSecond: number): Promise<Spread> {
  const without: Period[] = [];
  const shadowed: Period[] = [];
  for (let pair = 0; pair < pairs; pair++) {
    for (const isShadowed of pair % 2 === 0 ? [false, true] : [true, false]) {
      if (isShadowed) await startShadow(gateway);
      // Its thread starts, code gets warm: of both periods alike.
      await measure(perSecond, WARM_SECONDS / 2);
      (isShadowed ? shadowed : without).push(await measure(perSecond, seconds));
      if (isShadowed) await endShadow(gateway);
    }
  }
  const of = (name: "p50Us" | "p99Us") => {
    const [one, other] = [without, shadowed].map((each) => each.map((period) => period[name]));
    const ratio = pairedRatio(other, one);
    return { text: [one, other].map((each) => ms(spreadOf(each).median)).join("  "), ratio };
  };
  const [p50, p99] = [of("p50Us"), of("p99Us")];
  const told = [p50, p99].map(({ text, ratio }) => `${text}   ${ratioText(ratio)}`);
  console.log(`${String(perSecond).padEnd(7)} ${told.join("     ")}`);
  return p99.ratio;
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
  const { shadow } = (await (await admin("GET", ROLLOUT)).json()) as {
    shadow: Record<string, number>;
  };
  process.stderr.write(`shadow: ${JSON.stringify(shadow)}\n`);
  if (shadow["same"] === 0) throw new Error("the shadow was shown nothing");
  await admin("DELETE", ROLLOUT);
}

/** Requests at a rate, each on a connection that is free; latency from when it was due. */
async function measure(perSecond: number, forSeconds: number): Promise<Period> {
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
  const all = Float64Array.from(latenciesUs);
  return { p50Us: percentile(all, 50), p99Us: percentile(all, 99), requests: all.length };
}

function ms(micros: number): string {
  return `${(micros / 1000).toFixed(2)} ms`.padStart(9);
}

function ratioText({ median, min, max }: Spread): string {
  return `${median.toFixed(2)} (${min.toFixed(2)}-${max.toFixed(2)})`;
}
