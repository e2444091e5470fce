// One scenario: everything is started and checked, then the contenders take turns, round by round,
// with the same load. Idle contenders stay up, so that a runtime that compiles as it goes is warm.

import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import net from "node:net";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { readCpuUs, readMemory } from "../measure.ts";
import { HOST } from "../peers/peer.ts";
import { PATH, checkPlugin, checkWork, waitUntilReady } from "./check.ts";
import type { Child, Children } from "./children.ts";
import type { LoadOptions, LoadResult, LoadTool } from "./client.ts";
import { startOrigin } from "./origin.ts";
import type { Contender, Fixtures, Scenario } from "./scenario.ts";

/** CPU after which a runtime has compiled what is hot: time says little where CPUs are shared. */
const WARM_CPU_US = 2_000_000;
const WARM_LOADS_MAX = 8; // Of one second each.

export type Round = LoadResult & {
  readonly rps: number;
  readonly cpuUsPerRequest: number;
  /** CPU used, as a part of one CPU's time. */
  readonly busy: number;
  readonly rssBytes: number;
  readonly pssBytes: number | null;
};

export type Outcome = Pick<Contender, "label" | "role"> & {
  /** Why it did not run: the work it cannot do, or what went wrong. */
  readonly left: { readonly why: string; readonly isFault: boolean } | null;
  /** As many as every other has, or none. */
  readonly rounds: readonly Round[];
};

export type RunOptions = {
  readonly rounds: number;
  readonly seconds: number;
  readonly connections: number;
  readonly peerCpus: readonly number[];
  readonly loadCpus: readonly number[];
  readonly directory: string;
  readonly children: Children;
  readonly tool: LoadTool;
  readonly fixtures: Fixtures;
  say(line: string): void;
};

type Entry = {
  readonly contender: Contender;
  left: Outcome["left"];
  readonly rounds: Round[];
};

/** A contender that serves, and the load for it. */
type Running = { readonly child: Child; readonly load: LoadOptions };

/** Runs a scenario with the contenders that this machine has. */
export async function runScenario(
  scenario: Scenario,
  contenders: readonly Contender[],
  options: RunOptions,
): Promise<Outcome[]> {
  const { rounds, tool, children, loadCpus, say } = options;
  const { name, traffic } = scenario;
  await using started = new AsyncDisposableStack();
  const originPort = await freePort();
  const { replyBytes } = traffic;
  const origin = await startOrigin(children, { port: originPort, replyBytes, cpus: loadCpus });
  started.defer(() => origin.stop());
  const entries = contenders.map((contender): Entry => {
    const lacks = contender.peer.lacks(contender.work);
    const left = lacks === null ? null : { why: lacks, isFault: false };
    return { contender, left, rounds: [] };
  });
  const running = new Map<Entry, Running>();
  // One that fails leaves the run, and the others go on.
  const attempt = async (entry: Entry, task: () => Promise<void>) => {
    try {
      await task();
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      say(`${name}: ${entry.contender.label} failed: ${why}`);
      entry.left = { why, isFault: true };
      entry.rounds.length = 0;
      running.delete(entry);
    }
  };
  for (const entry of entries.filter(({ left }) => left === null)) {
    await attempt(entry, async () => {
      const one = await startContender(scenario, entry.contender, { ...options, originPort });
      started.defer(() => one.child.stop());
      running.set(entry, one);
    });
  }
  for (const [entry, one] of running) {
    say(`${name}: warming ${entry.contender.label}`);
    await attempt(entry, () => warmUp(one, tool));
  }
  for (let round = 0; round < rounds; round++) {
    for (const [entry, one] of rotated([...running], round)) {
      await attempt(entry, async () => {
        const measured = await measureRound(one, tool);
        entry.rounds.push(measured);
        const { cpuUsPerRequest, rps } = measured;
        const figures = `${cpuUsPerRequest.toFixed(1)} us, ${rps.toFixed(0)} RPS`;
        say(`${name} ${round + 1}/${rounds}: ${entry.contender.label}: ${figures}`);
      });
    }
  }
  return entries.map(({ contender: { label, role }, left, rounds: measured }) => {
    return { label, role, left, rounds: measured };
  });
}

// Each round begins with another contender, so that none is always the one after the slowest.
function rotated<T>(items: readonly T[], by: number): T[] {
  const at = items.length === 0 ? 0 : by % items.length;
  return [...items.slice(at), ...items.slice(0, at)];
}

async function startContender(
  scenario: Scenario,
  contender: Contender,
  options: RunOptions & { readonly originPort: number },
): Promise<Running> {
  const { peer, work, label } = contender;
  const { children, fixtures, originPort, connections, seconds, peerCpus } = options;
  const { traffic } = scenario;
  const directory = join(options.directory, `${scenario.name} ${label}`.replaceAll(/\W+/g, "-"));
  mkdirSync(directory);
  const place = { directory, port: await freePort(), adminPort: await freePort(), originPort };
  const { files, args, env } = peer.command({ ...work, ...place });
  for (const [name, text] of Object.entries(files)) writeFileSync(join(directory, name), text);
  const program = peer.find();
  if (program === null) throw new Error("absent");
  const child = await children.start(program, args, { cpus: peerCpus, cwd: directory, env });
  try {
    const base = `${work.tls === null ? "http" : "https"}://${HOST}:${place.port}`;
    const url = base + PATH;
    const { method, bodyBytes } = traffic;
    const tokensFile = traffic.tokens ? fixtures.tokensFile : null;
    const token = tokensFile === null ? null : firstToken(tokensFile);
    if (peer.readyUrl !== undefined) {
      const ready = { url: peer.readyUrl(place), host: HOST, token: null };
      await waitUntilReady({ ...ready, method: "GET", bodyBytes: 0 }, child);
    }
    await waitUntilReady({ url, method, bodyBytes, host: HOST, token }, child);
    await checkWork(base, traffic, token);
    if (work.wasm !== null) await checkPlugin(base, work.wasm);
    return { child, load: { url, method, bodyBytes, tokensFile, connections, seconds } };
  } catch (error) {
    await child.stop();
    throw error;
  }
}

async function warmUp({ child, load }: Running, tool: LoadTool): Promise<void> {
  const enoughUs = readCpuUs(child.pid) + WARM_CPU_US;
  for (let i = 0; i < WARM_LOADS_MAX && readCpuUs(child.pid) < enoughUs; i++) {
    await tool.run({ ...load, seconds: 1 });
  }
}

async function measureRound({ child, load }: Running, tool: LoadTool): Promise<Round> {
  const before = readCpuUs(child.pid);
  const result = await tool.run(load);
  const cpuUs = readCpuUs(child.pid) - before;
  const { requests, durationUs } = result;
  if (requests === 0) throw new Error(`${load.url} answered nothing`);
  return {
    ...result,
    rps: requests / (durationUs / 1e6),
    cpuUsPerRequest: cpuUs / requests,
    busy: cpuUs / durationUs,
    ...readMemory(child.pid),
  };
}

function firstToken(file: string): string {
  return readFileSync(file, "utf8").split("\n")[0];
}

/** Free now; that it stays so until the peer binds it cannot be had, since peers take no port 0. */
export async function freePort(): Promise<number> {
  const server = net.createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}
