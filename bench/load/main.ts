// The gateway and every peer of this machine on the same work, in one run.
//   node bench/load/main.ts [--scenario NAME]... [--peer NAME]... [--rounds N] [--seconds N]
//                           [--quick] [--json FILE] [--load wrk|node]
// Tables go to standard output, progress to standard error, and all figures to a file of JSON.
// Exit codes: 0 measured, 1 with requests that failed or peers that did not run, 2 wrong usage.

import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import { dirname, join } from "node:path";
import { parseArgs } from "node:util";
import { PEERS } from "../peers/all.ts";
import { gateway } from "../peers/gateway.ts";
import { download, upload } from "./body-1m.ts";
import { Children, allowedCpus } from "./children.ts";
import { findLoadTool } from "./client.ts";
import { PLUGINS, makeFixtures } from "./fixtures.ts";
import { findH2load } from "./h2load.ts";
import { httpsH2 } from "./https-h2.ts";
import { httpsJwt } from "./https-jwt.ts";
import { https } from "./https.ts";
import { plain } from "./plain.ts";
import { plugin } from "./plugin.ts";
import { countFaults, formatReport, reportOf } from "./report.ts";
import type { ScenarioReport } from "./report.ts";
import { runScenario } from "./run.ts";

const SCENARIOS = [plain, https, httpsH2, httpsJwt, download, upload, plugin];
const CONNECTIONS = 64;
const RESULTS = join(import.meta.dirname, "../results");

const flags = readFlags();
const startedAt = new Date().toISOString();
const directory = mkdtempSync(join(os.tmpdir(), "sallyport-bench-"));
process.on("exit", () => rmSync(directory, { recursive: true, force: true }));
const children = new Children();
const [peerCpus, loadCpus] = splitCpus(allowedCpus());
const http1Tool = findLoadTool(children, loadCpus, flags.load);
const machine = describeMachine();
const found = PEERS.map((peer) => ({ peer, program: peer.find() }));
const present = new Set(found.filter(({ program }) => program !== null).map(({ peer }) => peer));
const versions = Object.fromEntries(
  found.map(({ peer, program }) => [peer.name, program && peer.version(program)]),
);
for (const [name, version] of Object.entries(versions)) say(`${name}: ${version ?? "absent"}`);
say(`load: ${http1Tool.name} on CPU ${loadCpus.join(",")}; peers on CPU ${peerCpus.join(",")}`);
if (peerCpus === loadCpus || !children.pins) {
  say("not pinned: peers, load and origin share CPUs; only CPU per request means anything");
}
const fixtures = await makeFixtures(directory);
for (const { name } of PLUGINS) {
  if (!fixtures.plugins.some((built) => built.name === name)) {
    say(`plugin ${name}: absent; node plugins-src/build.ts makes it`);
  }
}
const reports: ScenarioReport[] = [];
for (const scenario of SCENARIOS) {
  if (!isWanted(scenario.name, flags.scenario)) continue;
  const { streams } = scenario.traffic;
  const where = { cpus: loadCpus, directory };
  const tool = streams === null ? http1Tool : findH2load(children, where, streams);
  if (tool === null) {
    say(`${scenario.name}: left out, h2load is absent`);
    continue;
  }
  const contenders = scenario
    .contenders(fixtures)
    .filter(
      ({ peer }) => present.has(peer) && (peer === gateway || isWanted(peer.name, flags.peer)),
    );
  const outcomes = await runScenario(scenario, contenders, {
    ...flags,
    ...{ connections: CONNECTIONS, peerCpus, loadCpus, directory, children, tool, fixtures, say },
  });
  const report = reportOf(scenario, outcomes);
  reports.push(report);
  process.stdout.write(`\n${formatReport(report)}`);
}
const file = flags.json ?? join(RESULTS, `${startedAt.replaceAll(":", "-")}.json`);
const { rounds, seconds } = flags;
const settings = {
  rounds,
  seconds,
  connections: CONNECTIONS,
  load: http1Tool.name,
  peerCpus,
  loadCpus,
};
mkdirSync(dirname(file), { recursive: true });
writeFileSync(file, JSON.stringify({ startedAt, machine, versions, settings, reports }, null, 1));
const absent = found.filter(({ program }) => program === null).map(({ peer }) => peer.name);
if (absent.length > 0) process.stdout.write(`\nabsent on this machine: ${absent.join(", ")}\n`);
process.stdout.write(
  "\nmedian of rounds (best); ratios: median of the rounds' ratios (smallest-largest)\n" +
    "* used less than 90 % of a CPU: the load or other programs held it back\n",
);
say(`all figures: ${file}`);
process.exitCode = reports.some((report) => countFaults(report) > 0) ? 1 : 0;

function readFlags() {
  try {
    const { values } = parseArgs({
      options: {
        scenario: { type: "string", multiple: true, default: [] },
        peer: { type: "string", multiple: true, default: [] },
        rounds: { type: "string" },
        seconds: { type: "string" },
        quick: { type: "boolean", default: false },
        json: { type: "string" },
        load: { type: "string" },
      },
    });
    const { scenario, peer, quick, json, load } = values;
    checkNames("scenario", scenario, SCENARIOS);
    checkNames("peer", peer, PEERS);
    checkNames("load", load === undefined ? [] : [load], [{ name: "wrk" }, { name: "node" }]);
    const rounds = count("rounds", values.rounds ?? (quick ? "2" : "5"));
    const seconds = count("seconds", values.seconds ?? (quick ? "2" : "4"));
    return { scenario, peer, json, load, rounds, seconds };
  } catch (error) {
    say(error instanceof Error ? error.message : String(error));
    process.exit(2);
  }
}

function checkNames(
  flag: string,
  given: readonly string[],
  known: readonly { readonly name: string }[],
): void {
  const names = known.map(({ name }) => name);
  const unknown = given.find((name) => !names.includes(name));
  if (unknown !== undefined)
    throw new Error(`no ${flag} ${unknown}; there are ${names.join(", ")}`);
}

function count(flag: string, text: string): number {
  if (!/^[1-9]\d{0,3}$/.test(text)) throw new Error(`--${flag} is a number from 1 to 9999`);
  return Number(text);
}

function isWanted(name: string, wanted: readonly string[]): boolean {
  return wanted.length === 0 || wanted.includes(name);
}

// A peer gets one CPU; load and origin get the others, so that they never take its time.
function splitCpus(cpus: readonly number[]): [readonly number[], readonly number[]] {
  return cpus.length === 1 ? [cpus, cpus] : [cpus.slice(0, 1), cpus.slice(1)];
}

function describeMachine() {
  const git = ["-C", import.meta.dirname, "rev-parse", "HEAD"];
  const commit = spawnSync("git", git, { encoding: "utf8" }).stdout?.trim() || null;
  const cpu = os.cpus()[0]?.model ?? "unknown";
  return {
    cpu,
    cpus: os.availableParallelism(),
    kernel: os.release(),
    node: process.version,
    commit,
  };
}

function say(line: string): void {
  process.stderr.write(`${line}\n`);
}
