// What a flood costs those who have nothing to do with it: the p99 of bystanders at a modest rate on the
// same worker, before and during each flood, in rounds that take turns. The gateway has a CPU of its
// own; attacker, bystanders and origin share the others. Linux only; it ends by itself.
//   node bench/flood.ts [--flood NAME]... [--rounds N] [--seconds N] [--rate N]

import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { parseArgs } from "node:util";
import { FLOODS } from "./flood/attacker.ts";
import type { AttackReport } from "./flood/attacker.ts";
import { Bystanders } from "./flood/bystanders.ts";
import type { Latency, Protocol } from "./flood/bystanders.ts";
import { waitUntilReady } from "./load/check.ts";
import { Children, allowedCpus } from "./load/children.ts";
import { makeFixtures } from "./load/fixtures.ts";
import { startOrigin } from "./load/origin.ts";
import { freePort } from "./load/run.ts";
import { median, pairedRatio } from "./measure.ts";
import { gateway, gatewayConfig } from "./peers/gateway.ts";
import { HOST } from "./peers/peer.ts";

const REPLY_BYTES = 200;
const WARM_SECONDS = 4;
/** What a flood left behind is over by then. */
const REST_MS = 300;
const READY_MS = 10_000;
const ATTACKER = join(import.meta.dirname, "flood/attacker.ts");

type Round = {
  readonly before: Readonly<Record<Protocol, Latency>>;
  readonly during: Readonly<Record<Protocol, Latency>>;
  readonly attack: AttackReport;
};

const { values: flags } = parseArgs({
  options: {
    flood: { type: "string", multiple: true, default: [...FLOODS] },
    rounds: { type: "string", default: "3" },
    seconds: { type: "string", default: "2" },
    rate: { type: "string", default: "300" },
  },
});
const [rounds, seconds, rate] = [flags.rounds, flags.seconds, flags.rate].map(Number);
if (!(rounds > 0 && seconds > 0 && rate > 0)) throw new Error("flags are numbers above 0");
const unknown = flags.flood.find((name) => !FLOODS.includes(name));
if (unknown !== undefined) throw new Error(`no flood ${unknown}; there are ${FLOODS.join(", ")}`);

const directory = mkdtempSync(join(os.tmpdir(), "sallyport-flood-"));
process.on("exit", () => rmSync(directory, { recursive: true, force: true }));
const children = new Children();
const cpus = allowedCpus();
const [own, rest] = cpus.length > 1 ? [cpus.slice(0, 1), cpus.slice(1)] : [cpus, cpus];
if (own === rest || !children.pins) say("not pinned: the gateway shares its CPU with the load");
else spawnSync("taskset", ["-a", "-c", "-p", rest.join(","), String(process.pid)]);

const target = await startGateway();
using bystanders = Bystanders.connect(target.port);
await bystanders.measure(rate, WARM_SECONDS);
const measured = new Map(flags.flood.map((name): [string, Round[]] => [name, []]));
for (let round = 1; round <= rounds; round++) {
  for (const [name, done] of measured) {
    say(`${round}/${rounds}: ${name}`);
    done.push(await measureFlood(name));
    await pause(REST_MS);
  }
}
const headings = [
  "flood",
  "sent",
  "cut after",
  "h1 p99",
  "during",
  "ratio",
  "h2 p99",
  "during",
  "ratio",
];
console.log(lineOf([...headings, "failed"]));
for (const [name, done] of measured) console.log(lineOf([name, ...figuresOf(done)]));
await target.stop();
process.exit();

async function startGateway() {
  const { tls } = await makeFixtures(directory);
  const place = { directory, port: await freePort(), adminPort: await freePort() };
  const setup = { ...place, originPort: await freePort(), tls: null, jwt: null, wasm: null };
  const tlsPort = await freePort();
  const origin = await startOrigin(children, {
    port: setup.originPort,
    replyBytes: REPLY_BYTES,
    cpus: rest,
  });
  const { args, env } = gateway.command(setup);
  const config = gatewayConfig(setup);
  const [clear] = config.listeners ?? [];
  const certificates = [{ cert_file: tls.certFile, key_file: tls.keyFile }];
  const listeners = [
    { ...clear, http2: true },
    { name: "secure", address: `127.0.0.1:${tlsPort}`, tls: { certificates } },
  ];
  mkdirSync(directory, { recursive: true });
  writeFileSync(join(directory, "sallyport.json"), JSON.stringify({ ...config, listeners }));
  const options = { cpus: own, cwd: directory, env };
  const child = await children.start(process.execPath, args, options);
  const url = `http://127.0.0.1:${setup.adminPort}/readyz`;
  await waitUntilReady({ url, method: "GET", bodyBytes: 0, host: HOST, token: null }, child);
  const stop = async () => void (await Promise.all([child.stop(), origin.stop()]));
  return { port: setup.port, tlsPort, stop };
}

async function measureFlood(name: string): Promise<Round> {
  const before = await bystanders.measure(rate, seconds);
  const args = [ATTACKER, name, String(target.port), String(target.tlsPort), String(seconds)];
  const attacker = await children.start(process.execPath, args, { cpus: rest });
  const endMs = performance.now() + READY_MS;
  while (!attacker.output.out.includes("ready")) {
    if (performance.now() > endMs) throw new Error(`no attack: ${attacker.output.err}`);
    await pause(5);
  }
  const during = await bystanders.measure(rate, seconds);
  await attacker.exited;
  const attack = JSON.parse(attacker.output.out.split("\n")[1]) as AttackReport;
  return { before, during, attack };
}

function figuresOf(done: readonly Round[]): string[] {
  const sent = median(done.map(({ attack }) => Math.max(attack.sent, attack.connections)));
  const cuts = done.flatMap(({ attack }) => attack.cutMs);
  const figures = [
    sent.toFixed(0),
    cuts.length === 0 ? "never" : `${median(cuts).toFixed(0)} ms`,
    ...(["h1", "h2"] as const).flatMap((protocol) => {
      const before = done.map((round) => round.before[protocol].p99Ms);
      const during = done.map((round) => round.during[protocol].p99Ms);
      const ratio = pairedRatio(during, before).median.toFixed(2);
      return [`${median(before).toFixed(1)} ms`, `${median(during).toFixed(1)} ms`, ratio];
    }),
  ];
  const failed = done.reduce((sum, { during }) => sum + during.h1.failed + during.h2.failed, 0);
  return [...figures, String(failed)];
}

function lineOf([name, ...figures]: readonly string[]): string {
  return name.padEnd(15) + figures.map((each) => each.padStart(11)).join("");
}

function say(line: string): void {
  process.stderr.write(`${line}\n`);
}
