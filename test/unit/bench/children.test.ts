// Nothing that a bench starts outlives it. A process of its own starts a shell, which starts a sleeper,
// and then ends in each of the ways there are; afterwards the group of the shell must be empty.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { test } from "node:test";
import { Children, allowedCpus, findProgram } from "../../../bench/load/children.ts";

const WAIT_MS = 20_000;
const MODULE = new URL("../../../bench/load/children.ts", import.meta.url);

const program = (ending: string) => `
  const { Children } = await import(${JSON.stringify(MODULE.href)});
  const children = new Children();
  // Deaf to SIGTERM, as a server that drains may be.
  const script = "trap '' TERM; sleep 60 & echo started; wait";
  const child = await children.start("/bin/sh", ["-c", script], { cpus: [${allowedCpus()[0]}] });
  while (child.output.out === "") await new Promise((resolve) => setTimeout(resolve, 5));
  console.log(child.pid);
  ${ending}
`;

/** The pids of a process group, without those that wait to be buried by process 1. */
async function groupOf(leader: string): Promise<string[]> {
  const pgrep = spawn("pgrep", ["-r", "R,S,D,T", "-g", leader], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let out = "";
  pgrep.stdout.on("data", (chunk) => (out += String(chunk)));
  await once(pgrep, "close");
  return out.split("\n").filter((line) => line !== "");
}

const ENDINGS: [string, string, NodeJS.Signals | null][] = [
  ["Ctrl-C", "setInterval(() => {}, 1e9);", "SIGINT"],
  ["SIGTERM", "setInterval(() => {}, 1e9);", "SIGTERM"],
  ["an error that nobody catches", "throw new Error('on purpose');", null],
  ["process.exit", "process.exit(3);", null],
];

for (const [what, ending, signal] of ENDINGS) {
  const skip = findProgram("pgrep") === null ? "pgrep is not installed" : false;
  test(`children and their children end with ${what}`, { skip }, async () => {
    const bench = spawn(process.execPath, ["--input-type=module", "-e", program(ending)]);
    const bound = { signal: AbortSignal.timeout(WAIT_MS) };
    const ended = once(bench, "close", bound);
    const [first] = (await once(bench.stdout, "data", bound)) as [Buffer];
    const leader = String(first).trim();
    assert.match(leader, /^\d+$/);
    if (signal !== null) bench.kill(signal);
    const [code] = (await ended) as [number | null];
    assert.notEqual(code, 0);
    // SIGKILL was sent; the kernel may need a moment to carry it out.
    const deadlineMs = performance.now() + WAIT_MS;
    let left = await groupOf(leader);
    while (left.length > 0 && performance.now() < deadlineMs) left = await groupOf(leader);
    assert.deepEqual(left, []);
  });
}

test("stopping waits until the process has ended, and its output is kept", async () => {
  const children = new Children();
  const script =
    "trap 'echo bye; exit 7' TERM; echo hello; echo oops >&2; while :; do sleep 0.01; done";
  const child = await children.start("/bin/sh", ["-c", script], { cpus: allowedCpus() });
  const deadlineMs = performance.now() + WAIT_MS;
  while (child.output.out === "" && performance.now() < deadlineMs) {
    await new Promise((resolve) => setImmediate(resolve));
  }
  let code: number | null = null;
  void child.exited.then((value) => (code = value));
  await child.stop();
  assert.equal(code, 7);
  assert.deepEqual(child.output, { out: "hello\nbye\n", err: "oops\n" });
});

test("a program that cannot be executed is an error or ends at once, never a wait", async () => {
  const children = new Children();
  const start = children.start("/nonexistent/program", [], { cpus: allowedCpus() });
  // With taskset it is taskset that fails.
  const code = await start.then((child) => child.exited).catch(() => "rejected");
  assert.notEqual(code, 0);
});
