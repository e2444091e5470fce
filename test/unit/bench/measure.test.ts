// The figures of the benches: what is read from /proc and how rounds become one number. Texts of
// /proc are recorded ones; the tree and its CPU are read from processes that this test starts.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { test } from "node:test";
import fc from "fast-check";
import {
  median,
  pairedRatio,
  parseMemoryField,
  parseStat,
  percentile,
  processTree,
  readCpuUs,
  readMemory,
} from "../../../bench/measure.ts";

const SEED = process.env["SEED"] === undefined ? {} : { seed: Number(process.env["SEED"]) };
const AFTER_NAME =
  "S 4112 4123 4112 0 -1 4194304 2961 17 0 0 150 25 3 2 20 0 1 0 9120 41 1210 18446744073709551615";

test("CPU is user and system, of the process and of children it has waited for", () => {
  const cases: [string, string][] = [
    ["an ordinary name", "nginx"],
    ["a name with a space", "tmux: server"],
    ["a name that looks like the end of the name", "a) S 1 (b"],
  ];
  for (const [what, name] of cases) {
    assert.deepEqual(
      parseStat(`4123 (${name}) ${AFTER_NAME}\n`),
      { parent: 4112, cpuUs: (150 + 25 + 3 + 2) * 10_000 },
      what,
    );
  }
});

test("a line that is no line of stat is refused, not read as zero", () => {
  for (const line of ["", "4123 (nginx", "4123 (nginx) S x y z"]) {
    assert.throws(() => parseStat(line), /no line of stat/);
  }
});

test("memory fields are read by their whole name, and absent ones are null", () => {
  const rollup =
    "Rss:                5000 kB\nPss:                3000 kB\nPss_Dirty:           100 kB\n";
  assert.equal(parseMemoryField(rollup, "Pss"), 3000 * 1024);
  assert.equal(parseMemoryField(rollup, "Pss_Dirty"), 100 * 1024);
  assert.equal(parseMemoryField(rollup, "Swap"), null);
});

test("a tree holds children of children, and what they use is counted", async (t) => {
  // A shell that waits for a child, which burns CPU and then waits to be ended.
  const burn = `while (process.cpuUsage().user < 100_000); console.log("done"); setInterval(() => {}, 1e9);`;
  const script = `"${process.execPath}" -e '${burn}' & wait`;
  const shell = spawn("/bin/sh", ["-c", script], { stdio: ["ignore", "pipe", "inherit"] });
  const pid = shell.pid ?? 0;
  t.after(() => {
    for (const each of processTree(pid)) process.kill(each, "SIGKILL");
  });
  await once(shell.stdout, "data", { signal: AbortSignal.timeout(30_000) });
  const tree = processTree(pid);
  assert.equal(tree.length, 2);
  assert.equal(tree[0], pid);
  assert.ok(processTree(process.pid).includes(tree[1]));
  // A part of a tick may not have been counted yet.
  assert.ok(readCpuUs(pid) >= 80_000, `${readCpuUs(pid)} us`);
  const memory = readMemory(pid);
  assert.ok(memory.rssBytes > 2 ** 24, `${memory.rssBytes} bytes`);
  assert.ok(memory.pssBytes === null || memory.pssBytes <= memory.rssBytes);
});

test("CPU of a process that is gone is an error, not zero", async () => {
  const child = spawn("/bin/true");
  await once(child, "exit");
  assert.throws(() => readCpuUs(child.pid ?? 0), /is gone/);
});

test("the median is the middle of the sorted values", () => {
  const cases: [number[], number][] = [
    [[3], 3],
    [[10, 9, 1], 9],
    [[4, 1, 3, 2], 2.5],
    [[100, 20, 3], 20],
  ];
  for (const [values, expected] of cases) assert.equal(median(values), expected);
  assert.throws(() => median([]), /no median/);
});

test("a percentile is a value that was measured, by nearest rank", () => {
  const hundred = Float64Array.from({ length: 100 }, (_, i) => 100 - i);
  const cases: [number, number][] = [
    [0, 1],
    [50, 50],
    [99, 99],
    [99.1, 100],
    [100, 100],
  ];
  for (const [percent, expected] of cases) assert.equal(percentile(hundred, percent), expected);
  assert.throws(() => percentile(new Float64Array(0), 50), /no percentile/);
});

test("at least that part of the values, and not more than needed, is up to a percentile", () => {
  const values = fc.array(fc.double({ noNaN: true }), { minLength: 1, maxLength: 300 });
  const property = fc.property(values, fc.integer({ min: 1, max: 100 }), (list, percent) => {
    const at = percentile(Float64Array.from(list), percent);
    const upTo = list.filter((value) => value <= at).length;
    const below = list.filter((value) => value < at).length;
    assert.ok(upTo * 100 >= percent * list.length);
    assert.ok(below * 100 < percent * list.length);
  });
  fc.assert(property, SEED);
});

test("what slows a whole round changes no ratio", () => {
  const slowdowns = [1, 3, 1.5];
  const ratio = pairedRatio(
    slowdowns.map((factor) => 20 * factor),
    slowdowns.map((factor) => 16 * factor),
  );
  assert.deepEqual(ratio, { median: 1.25, min: 1.25, max: 1.25 });
  assert.throws(() => pairedRatio([1, 2], [1]), /without a partner/);
});
