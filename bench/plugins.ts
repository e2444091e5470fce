// What plugins do to a gateway over time: whether swaps and calls wear it out, and what a plugin that
// never ends does to the requests of others.
//   node bench/plugins.ts [--part wear|hostile]... [--swaps N] [--calls N]
// The table goes to standard output. Exit codes: 0 within the targets, 1 a target missed. Linux only.

import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { parseArgs } from "node:util";
import { Children, allowedCpus } from "./load/children.ts";
import { findLoadTool } from "./load/client.ts";
import type { LoadOptions, LoadResult } from "./load/client.ts";
import { startGateway } from "./load/running.ts";
import type { RunningGateway } from "./load/running.ts";
import { parseMemoryField, processTree } from "./measure.ts";

const HELLO = join(import.meta.dirname, "../plugins-src/build/hello.wasm");
/** `on_request` is `loop { br 0 }`. */
const LOOP =
  "0061736d0100000001040160000003020100070e010a6f6e5f7265717565737400000a0901070003400c000b0b";
const ROUNDS = 10;
const COMPARED = 3;
const GROWTH_BYTES_MAX = 10e6;
const P99_RATIO_MAX = 1.2;
/** Between two requests of the route with the plugin. */
const PAUSE_MS = 20;

const { values: flags } = parseArgs({
  options: {
    part: { type: "string", multiple: true, default: ["wear", "hostile"] },
    swaps: { type: "string", default: "2000" },
    calls: { type: "string", default: "1000000" },
  },
});
const swaps = Number(flags.swaps);
const calls = Number(flags.calls);
if (!(swaps > 0 && calls > 0)) throw new Error("--swaps and --calls are numbers above 0");

type Listed = { versions: { version: string; current: boolean }[] };
type Wear = { readonly rssBytes: number; readonly threads: number; readonly files: number };

const children = new Children();
const cpus = allowedCpus();
if (flags.part.includes("wear")) await measureWear();
if (flags.part.includes("hostile")) await measureHostile();

async function measureWear(): Promise<void> {
  const gateway = await start({ hello: readFileSync(HELLO) });
  const perRound = Math.ceil(swaps / ROUNDS);
  console.log("after            RSS MB of each process   threads      files");
  await swap(gateway, 0, perRound);
  await call(gateway, 50_000);
  await look(gateway, "warm-up");
  const rounds: Wear[][] = [];
  for (let round = 1; round <= ROUNDS; round++) {
    await swap(gateway, round * perRound, perRound);
    await call(gateway, calls / ROUNDS);
    rounds.push(await look(gateway, `round ${round}/${ROUNDS}`));
  }
  await gateway.child.stop();
  for (const i of rounds[0].keys())
    judge(
      i,
      rounds.map((round) => round[i]),
    );
}

// The first rounds against the last, by their medians: what RSS is just after a load depends on when V8
// last collected.
function judge(index: number, rounds: readonly Wear[]): void {
  const growth = (of: (wear: Wear) => number): number =>
    medianOf(rounds.slice(-COMPARED).map(of)) - medianOf(rounds.slice(0, COMPARED).map(of));
  const bytes = growth(({ rssBytes }) => rssBytes);
  const isFlat =
    bytes < GROWTH_BYTES_MAX &&
    growth(({ threads }) => threads) <= 0 &&
    growth(({ files }) => files) <= 0;
  if (!isFlat) process.exitCode = 1;
  const who = index === 0 ? "primary" : `worker ${index}`;
  const verdict = isFlat ? "flat" : "NOT FLAT";
  console.log(`${who}: ${megabytes(bytes)} MB over ${swaps} swaps, ${calls} calls: ${verdict}`);
}

async function swap(gateway: RunningGateway, from: number, count: number): Promise<void> {
  const hello = readFileSync(HELLO);
  for (let i = 0; i < count; i++) {
    // Another custom section makes other bytes of the same plugin.
    const mark = Buffer.from(`\x05note=${String(from + i).padStart(8, "0")}`);
    const module = Buffer.concat([hello, Buffer.from([0, mark.length]), mark]);
    await (await gateway.admin("POST", "/admin/plugins/load?name=hello", module)).arrayBuffer();
    // What is stored is not what is measured: the version before goes again.
    const listed = await gateway.admin("GET", "/admin/plugins/hello");
    const { versions } = (await listed.json()) as Listed;
    const before = versions.find(({ current }) => !current);
    if (before === undefined) continue;
    await gateway.admin("DELETE", `/admin/plugins/hello/versions/${before.version}`);
  }
}

async function call(gateway: RunningGateway, count: number): Promise<void> {
  for (let done = 0; done < count;) done += (await load(gateway, "/hello", 5)).requests;
}

async function look(gateway: RunningGateway, what: string): Promise<Wear[]> {
  await pause(2_000);
  const all = processTree(gateway.child.pid).map((pid): Wear => {
    const status = readFileSync(`/proc/${pid}/status`, "utf8");
    return {
      rssBytes: parseMemoryField(status, "VmRSS") ?? 0,
      threads: Number(/^Threads:\s+(\d+)$/m.exec(status)?.[1]),
      files: readdirSync(`/proc/${pid}/fd`).length,
    };
  });
  const column = (show: (wear: Wear) => string) => all.map(show).join(" / ");
  console.log(
    what.padEnd(14),
    column(({ rssBytes }) => megabytes(rssBytes)).padStart(24),
    column(({ threads }) => String(threads)).padStart(14),
    column(({ files }) => String(files)).padStart(14),
  );
  return all;
}

// The requests of a route without plugins while another route's plugin never ends, and, as often, while
// it is one that does: round by round.
async function measureHostile(): Promise<void> {
  const plugins = { loop: Buffer.from(LOOP, "hex"), hello: readFileSync(HELLO) };
  const [first, ...others] = cpus;
  const gateway = await start(plugins, [first]);
  const tool = findLoadTool(children, others.length === 0 ? cpus : others);
  const p99Us = async (beside: string): Promise<number> => {
    const stop = new AbortController();
    const asking = ask(gateway, beside, stop.signal);
    const { p99Us, lost, refused } = await tool.run(loadOf(gateway, "/plain", 5));
    stop.abort();
    await asking;
    failed += lost + refused;
    return p99Us;
  };
  let failed = 0;
  await p99Us("/hello");
  const quiet: number[] = [];
  const ratios: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const alone = await p99Us("/hello");
    quiet.push(alone);
    ratios.push((await p99Us("/loop")) / alone);
  }
  await gateway.child.stop();
  const ratio = medianOf(ratios);
  console.log(
    `p99 of another route: ${medianOf(quiet)} us beside a plugin that ends, ${ratio.toFixed(2)}x as long`,
    `beside one that never does (target ${P99_RATIO_MAX}); ${failed} requests failed`,
  );
  if (ratio > P99_RATIO_MAX || failed > 0) process.exitCode = 1;
}

function medianOf(values: number[]): number {
  return values.sort((a, b) => a - b)[values.length >> 1];
}

async function ask(gateway: RunningGateway, path: string, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    await fetch(`http://127.0.0.1:${gateway.port}${path}`, { signal }).then(
      (response) => response.arrayBuffer(),
      () => {},
    );
    await pause(PAUSE_MS);
  }
}

async function load(gateway: RunningGateway, path: string, seconds: number): Promise<LoadResult> {
  return await findLoadTool(children, cpus).run(loadOf(gateway, path, seconds));
}

function loadOf(gateway: RunningGateway, path: string, seconds: number): LoadOptions {
  const url = `http://127.0.0.1:${gateway.port}${path}`;
  return { url, method: "GET", bodyBytes: 0, tokensFile: null, connections: 16, seconds };
}

async function start(
  plugins: Readonly<Record<string, Uint8Array>>,
  on: readonly number[] = cpus,
): Promise<RunningGateway> {
  return await startGateway(children, {
    workers: 1,
    cpus: on,
    plugins,
    config: {
      listeners: [{ name: "load", address: "127.0.0.1:0" }],
      routes: [
        { name: "plain", respond: { status: 200, body: "plain" } },
        ...Object.keys(plugins).map((plugin) => ({
          name: plugin,
          match: { paths: [{ prefix: `/${plugin}` }] },
          plugins: [{ plugin }],
          respond: { status: 200, body: "guarded" },
        })),
      ],
    },
  });
}

function megabytes(bytes: number): string {
  return (bytes / 1e6).toFixed(0);
}
