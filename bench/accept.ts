// Ways of accepting, side by side: what a new connection costs, how evenly workers get them, and what
// is lost when a worker is killed. One request per connection, answered by the gateway itself.
//   node bench/accept.ts [--seconds N] [--rate N]

import net from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { Children } from "./load/children.ts";
import type { Child } from "./load/children.ts";
import { startGateway } from "./load/running.ts";
import { readCpuUs } from "./measure.ts";

const MODES = ["shared", "reuse-port", "round-robin"] as const;
const REQUEST = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
const WORKERS = 2;
const AT_ONCE = 64;
const ANSWER_MS = 10_000;

const { values: flags } = parseArgs({
  options: {
    seconds: { type: "string", default: "5" },
    rate: { type: "string", default: "1000" },
  },
});
const seconds = Number(flags.seconds);
const rate = Number(flags.rate);
if (!(seconds > 0 && rate > 0)) throw new Error("--seconds and --rate are numbers above 0");

type Gateway = {
  readonly child: Child;
  readonly port: number;
  workers(): Promise<readonly { pid: number; requests: number }[]>;
};

const children = new Children();
console.log(
  "mode          new/s   CPU us each   shares of workers   killed at 1/2: lost  slowest ms",
);
for (const mode of MODES) {
  const gateway = await start(mode);
  await saturate(gateway.port, 1);
  const { perSecond, cpuUs, shares } = await measureRate(gateway);
  const { lost, slowestMs } = await measureLoss(gateway);
  await gateway.child.stop();
  console.log(
    mode.padEnd(12),
    perSecond.toFixed(0).padStart(6),
    cpuUs.toFixed(0).padStart(13),
    shares
      .map((share) => `${(share * 100).toFixed(0)} %`)
      .join(" / ")
      .padStart(19),
    String(lost).padStart(20),
    slowestMs.toFixed(0).padStart(11),
  );
}

async function start(accept: (typeof MODES)[number]): Promise<Gateway> {
  const { child, port, admin } = await startGateway(children, {
    workers: WORKERS,
    config: {
      listeners: [{ name: "load", address: "127.0.0.1:0", accept }],
      routes: [{ name: "here", respond: { body: "hello" } }],
    },
  });
  const workers: Gateway["workers"] = async () => {
    const answer = await admin("GET", "/admin/workers");
    return (await answer.json()) as { pid: number; requests: number }[];
  };
  return { child, port, workers };
}

async function measureRate(gateway: Gateway) {
  const before = await gateway.workers();
  const cpuBefore = readCpuUs(gateway.child.pid);
  const count = await saturate(gateway.port, seconds);
  const cpuUs = (readCpuUs(gateway.child.pid) - cpuBefore) / count;
  const after = await gateway.workers();
  const taken = after.map(({ requests }, i) => requests - before[i].requests);
  const all = taken.reduce((sum, each) => sum + each, 0);
  return { perSecond: count / seconds, cpuUs, shares: taken.map((each) => each / all) };
}

/** Opens connections as fast as they are answered; how many were. */
async function saturate(port: number, forSeconds: number): Promise<number> {
  const endMs = performance.now() + forSeconds * 1000;
  let count = 0;
  const one = async () => {
    while (performance.now() < endMs) if (await ask(port)) count++;
  };
  await Promise.all(Array.from({ length: AT_ONCE }, one));
  return count;
}

/** A steady rate of new connections, and a worker killed in the middle. */
async function measureLoss(gateway: Gateway): Promise<{ lost: number; slowestMs: number }> {
  const [{ pid }] = await gateway.workers();
  const asked: Promise<void>[] = [];
  let lost = 0;
  let slowestMs = 0;
  const startMs = performance.now();
  let isKilled = false;
  for (let sent = 0; sent < rate * seconds;) {
    const elapsedMs = performance.now() - startMs;
    if (!isKilled && elapsedMs > seconds * 500) {
      isKilled = true;
      process.kill(pid, "SIGKILL");
    }
    for (; sent < (elapsedMs / 1000) * rate && sent < rate * seconds; sent++) {
      const atMs = performance.now();
      const settled = ask(gateway.port).then((ok) => {
        if (!ok) lost++;
        slowestMs = Math.max(slowestMs, performance.now() - atMs);
      });
      asked.push(settled);
    }
    await sleep(1);
  }
  await Promise.all(asked);
  return { lost, slowestMs };
}

/** One connection with one request; whether it was answered. */
function ask(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = net.connect(port, "127.0.0.1");
    let answered = false;
    socket.setTimeout(ANSWER_MS, () => socket.destroy());
    socket.on("data", () => (answered = true));
    socket.on("error", () => {});
    socket.on("close", () => resolve(answered));
    socket.end(REQUEST);
  });
}
