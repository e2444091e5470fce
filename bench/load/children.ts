// The processes that a run starts: pinned to their CPUs, each the leader of a group of its own. All
// groups are killed when this process ends, whatever ends it but SIGKILL.

import { spawn, spawnSync } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";

const STOP_MS = 5_000;
const OUTPUT_CHARS_MAX = 1_000_000;
/** Servers are often installed where PATH of an ordinary user does not look. */
const MORE_DIRECTORIES = ["/usr/local/sbin", "/usr/sbin", "/usr/local/bin", "/usr/bin"];

export type ChildOptions = {
  readonly cpus: readonly number[];
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
};

export type Child = {
  readonly pid: number;
  /** Resolves to the exit code, null when a signal ended it. */
  readonly exited: Promise<number | null>;
  /** What it wrote so far, standard output and errors apart. */
  readonly output: { out: string; err: string };
  /** Asks it to end, and kills its group if it does not. */
  stop(): Promise<void>;
};

/** The path of a program, or null when this machine has none. */
export function findProgram(name: string): string | null {
  const directories = [...(process.env["PATH"] ?? "").split(":"), ...MORE_DIRECTORIES];
  return directories.map((each) => join(each, name)).find((path) => existsSync(path)) ?? null;
}

/** First line of what a program says of itself. */
export function versionLine(program: string, args: readonly string[]): string {
  const { stdout, stderr } = spawnSync(program, args, { encoding: "utf8", timeout: STOP_MS });
  return `${stdout}\n${stderr}`.trim().split("\n")[0];
}

/** CPUs that this process may run on. */
export function allowedCpus(): number[] {
  const status = readFileSync("/proc/self/status", "utf8");
  const list = /^Cpus_allowed_list:\s+(\S+)$/m.exec(status)?.[1] ?? "0";
  return list.split(",").flatMap((range) => {
    const [first, last = first] = range.split("-").map(Number);
    return Array.from({ length: last - first + 1 }, (_, i) => first + i);
  });
}

export class Children {
  readonly #running = new Set<ChildProcess>();
  readonly #taskset = findProgram("taskset");

  constructor() {
    process.on("exit", () => {
      for (const child of this.#running) signalGroup(child, "SIGKILL");
    });
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
      process.on(signal, () => process.exit(130));
    }
  }

  /** True when processes can be kept to the CPUs they are given. */
  get pins(): boolean {
    return this.#taskset !== null;
  }

  /** Starts a program; rejects when it cannot be executed. */
  async start(program: string, args: readonly string[], options: ChildOptions): Promise<Child> {
    // taskset becomes the program, so the process id is the program's own.
    const pinned = this.#taskset === null ? [] : [this.#taskset, "-c", options.cpus.join(",")];
    const [command, ...rest] = [...pinned, program, ...args];
    const child = spawn(command, rest, {
      cwd: options.cwd,
      env: { ...process.env, ...options.env },
      detached: true,
      stdio: ["ignore", "pipe", "pipe"],
    });
    const exited = new Promise<number | null>((resolve) => {
      child.on("close", (code) => {
        this.#running.delete(child);
        resolve(code);
      });
    });
    await new Promise((resolve, reject) => child.once("spawn", resolve).once("error", reject));
    this.#running.add(child);
    const output = { out: "", err: "" };
    child.stdout.on("data", (data) => (output.out = tail(output.out + String(data))));
    child.stderr.on("data", (data) => (output.err = tail(output.err + String(data))));
    const stop = async () => {
      const timer = setTimeout(() => signalGroup(child, "SIGKILL"), STOP_MS);
      child.kill("SIGTERM");
      await exited;
      clearTimeout(timer);
    };
    return { pid: child.pid ?? 0, exited, output, stop };
  }
}

function tail(text: string): string {
  return text.length > OUTPUT_CHARS_MAX ? text.slice(-OUTPUT_CHARS_MAX) : text;
}

function signalGroup(child: ChildProcess, signal: NodeJS.Signals): void {
  try {
    if (child.pid !== undefined) process.kill(-child.pid, signal);
  } catch {
    // The group has ended already.
  }
}
