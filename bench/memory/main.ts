// What a worker of the gateway takes in memory: idle connections, large bodies with one slow side, and
// minutes of load. Linux only.
//   node bench/memory/main.ts [--part idle|large|steady]... [--connections N] [--minutes N]
// The table goes to standard output, progress to standard error. Exit codes: 0 within all targets,
// 1 a target missed, 2 wrong usage.

import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import os from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { Children } from "../load/children.ts";
import { makeFixtures } from "../load/fixtures.ts";
import { measureIdle } from "./idle.ts";
import { measureLargeBodies } from "./large-body.ts";
import { measureSteady } from "./steady.ts";
import { startSubject } from "./subject.ts";
import type { Finding, Run } from "./subject.ts";

const PARTS = ["idle", "large", "steady"] as const;
/** TLS costs the load, which is this process, much more to open. */
const TLS_PART = 5;
/** Besides a connection each: sockets to the origin, files and pipes. */
const OTHER_FILES = 500;

const flags = readFlags();
const directory = mkdtempSync(join(os.tmpdir(), "sallyport-memory-"));
process.on("exit", () => rmSync(directory, { recursive: true, force: true }));
const run: Run = { children: new Children(), directory, say };
// The first one after a change fills the compile cache, and is larger than those after it.
await (await startSubject(run, { originPort: 9, tls: null }))[Symbol.asyncDispose]();
const findings: Finding[] = [];
if (flags.parts.has("idle")) {
  const { tls } = await makeFixtures(directory);
  const { connections } = flags;
  findings.push(await measureIdle(run, { count: connections, tls: null }));
  findings.push(await measureIdle(run, { count: Math.ceil(connections / TLS_PART), tls }));
}
if (flags.parts.has("large")) findings.push(...(await measureLargeBodies(run)));
if (flags.parts.has("steady")) findings.push(await measureSteady(run, flags.minutes));
const width = Math.max(...findings.map(({ what }) => what.length));
for (const finding of findings) process.stdout.write(`${rowOf(finding)}\n`);
process.exitCode = findings.some(isMissed) ? 1 : 0;

function rowOf(finding: Finding): string {
  const { what, bytes, unit, targetBytes, more } = finding;
  const inUnit = (value: number) => `${(value / (unit === "KB" ? 1e3 : 1e6)).toFixed(1)} ${unit}`;
  const target = targetBytes === null ? "no target" : `target ${inUnit(targetBytes)}`;
  const verdict = isMissed(finding) ? " MISSED" : "";
  return `${what.padEnd(width)}  ${inUnit(bytes).padStart(9)}  ${target}${verdict}; ${more}`;
}

function isMissed({ bytes, targetBytes }: Finding): boolean {
  return targetBytes !== null && bytes >= targetBytes;
}

function readFlags() {
  try {
    const { values } = parseArgs({
      options: {
        part: { type: "string", multiple: true, default: [...PARTS] },
        connections: { type: "string", default: "10000" },
        minutes: { type: "string", default: "5" },
      },
    });
    const parts = new Set(values.part);
    const unknown = values.part.find((part) => !PARTS.some((known) => known === part));
    if (unknown !== undefined) throw new Error(`no part ${unknown}; there are ${PARTS.join(", ")}`);
    const connections = numberOf("connections", values.connections);
    const minutes = numberOf("minutes", values.minutes);
    if (parts.has("idle")) checkFilesMax(connections + OTHER_FILES);
    return { parts, connections, minutes };
  } catch (error) {
    say(error instanceof Error ? error.message : String(error));
    process.exit(2);
  }
}

function numberOf(flag: string, text: string): number {
  const value = Number(text);
  if (!(value > 0 && value < 1e6)) throw new Error(`--${flag} is a number above 0`);
  return value;
}

// Node has raised its own limit as far as it may; the gateway inherits it.
function checkFilesMax(needed: number): void {
  const limits = readFileSync("/proc/self/limits", "utf8");
  const text = /^Max open files +(\S+)/m.exec(limits)?.[1];
  if (text === "unlimited" || Number(text) >= needed) return;
  throw new Error(
    `${needed} open files are needed and ${text} allowed: ulimit -n ${needed}, or fewer --connections`,
  );
}

function say(line: string): void {
  process.stderr.write(`${line}\n`);
}
