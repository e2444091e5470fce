// What a peer costs, read from /proc, and the statistics of rounds. A peer is the tree of processes
// below one: a gateway's primary and workers and nginx's master and workers count alike.

import { readFileSync, readdirSync } from "node:fs";

/** /proc counts CPU in hundredths of a second on every architecture that Node runs on. */
const TICK_US = 10_000;

export type ProcessStat = { readonly parent: number; readonly cpuUs: number };
export type Memory = { readonly rssBytes: number; readonly pssBytes: number | null };
export type Spread = { readonly median: number; readonly min: number; readonly max: number };

/**
 * Parent, and CPU of user and system together, of a line of /proc/<pid>/stat. Children that have
 * ended and were waited for are part of it, so that the sum over a tree never falls.
 */
export function parseStat(line: string): ProcessStat {
  // A program's name may hold spaces and parentheses: the fields begin after the last one.
  const fields = line.slice(line.lastIndexOf(")") + 2).split(" ");
  const [utime, stime, cutime, cstime] = fields.slice(11, 15).map(Number);
  const stat = { parent: Number(fields[1]), cpuUs: (utime + stime + cutime + cstime) * TICK_US };
  if (!Number.isInteger(stat.parent + stat.cpuUs)) throw new Error(`no line of stat: ${line}`);
  return stat;
}

/** Kilobytes of a field such as `Pss:` in /proc/<pid>/smaps_rollup, as bytes; null without it. */
export function parseMemoryField(text: string, name: string): number | null {
  const kilobytes = new RegExp(`^${name}:\\s+(\\d+) kB$`, "m").exec(text)?.[1];
  return kilobytes === undefined ? null : Number(kilobytes) * 1024;
}

/** A process and everything below it. */
export function processTree(root: number): number[] {
  const childrenOf = Map.groupBy(readStats(), ([, { parent }]) => parent);
  const tree = [root];
  for (const pid of tree) {
    for (const [child] of childrenOf.get(pid) ?? []) tree.push(child);
  }
  return tree;
}

/** CPU time of a tree since its processes began, in microseconds. */
export function readCpuUs(root: number): number {
  const stats = new Map(readStats());
  if (!stats.has(root)) throw new Error(`process ${root} is gone`);
  return processTree(root).reduce((sum, pid) => sum + (stats.get(pid)?.cpuUs ?? 0), 0);
}

/** Resident memory of a tree; PSS, which counts shared pages once, where this user may read it. */
export function readMemory(root: number): Memory {
  let rssBytes = 0;
  let pssBytes: number | null = 0;
  for (const pid of processTree(root)) {
    rssBytes += parseMemoryField(readProc(pid, "status") ?? "", "VmRSS") ?? 0;
    const pss = parseMemoryField(readProc(pid, "smaps_rollup") ?? "", "Pss");
    pssBytes = pss === null || pssBytes === null ? null : pssBytes + pss;
  }
  return { rssBytes, pssBytes };
}

function readStats(): [number, ProcessStat][] {
  const stats: [number, ProcessStat][] = [];
  for (const name of readdirSync("/proc")) {
    const line = /^\d+$/.test(name) ? readProc(Number(name), "stat") : null;
    if (line !== null) stats.push([Number(name), parseStat(line)]);
  }
  return stats;
}

// Null: the process has ended since it was listed, or is not this user's to look at.
function readProc(pid: number, file: string): string | null {
  try {
    return readFileSync(`/proc/${pid}/${file}`, "utf8");
  } catch {
    return null;
  }
}

/** The middle value, or the mean of the two middle ones. */
export function median(values: readonly number[]): number {
  if (values.length === 0) throw new Error("no values, no median");
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** The smallest value that at least `percent` of the values do not exceed (nearest rank). */
export function percentile(values: Float64Array, percent: number): number {
  if (values.length === 0) throw new Error("no values, no percentile");
  const sorted = values.toSorted();
  return sorted[Math.max(0, Math.ceil((percent / 100) * sorted.length) - 1)];
}

export function spreadOf(values: readonly number[]): Spread {
  return { median: median(values), min: Math.min(...values), max: Math.max(...values) };
}

/**
 * Ratios of two peers, round by round. What slows a shared machine for a while slows both, so a
 * ratio within a round says more than the ratio of two medians.
 */
export function pairedRatio(subject: readonly number[], baseline: readonly number[]): Spread {
  if (subject.length !== baseline.length) throw new Error("rounds without a partner");
  return spreadOf(subject.map((value, round) => value / baseline[round]));
}
