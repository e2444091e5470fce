// The load: connections that are kept alive, each with one request at a time, from a process of its
// own. wrk where it is installed; otherwise node-client.ts, which does the same for more CPU.

import { join } from "node:path";
import { HOST } from "../peers/peer.ts";
import { findProgram } from "./children.ts";
import type { Children } from "./children.ts";

/** A load that has not ended this long after its time never will. */
const GRACE_MS = 20_000;

export type LoadOptions = {
  readonly url: string;
  readonly method: "GET" | "POST";
  readonly bodyBytes: number;
  /** A file of tokens, one a line, sent in rotation as Authorization: Bearer; null for none. */
  readonly tokensFile: string | null;
  readonly connections: number;
  readonly seconds: number;
};

export type LoadResult = {
  /** Complete responses, `refused` ones among them. */
  readonly requests: number;
  readonly durationUs: number;
  readonly bytes: number;
  readonly p50Us: number;
  readonly p99Us: number;
  /** Responses with a status of 400 or more. */
  readonly refused: number;
  /** Connections that failed and requests that were not answered in time. */
  readonly lost: number;
};

export type LoadTool = {
  readonly name: "wrk" | "node" | "h2load";
  run(options: LoadOptions): Promise<LoadResult>;
};

/** The load generator of this machine, on these CPUs; `name` takes one in place of the best. */
export function findLoadTool(children: Children, cpus: readonly number[], name?: string): LoadTool {
  const wrk = findProgram("wrk");
  const isWrk = name === undefined ? wrk !== null : name === "wrk";
  if (isWrk && wrk === null) throw new Error("wrk is not installed");
  // One CPU is left to the origin.
  const threads = Math.max(1, Math.min(4, cpus.length - 1));
  return {
    name: isWrk ? "wrk" : "node",
    run: async (options) => {
      const args = isWrk
        ? wrkArgs(options, threads)
        : [join(import.meta.dirname, "node-client.ts"), JSON.stringify({ ...options, host: HOST })];
      const program = isWrk && wrk !== null ? wrk : process.execPath;
      const { seconds } = options;
      return parseLoadResult(await runLoad(children, [program, ...args], { cpus, seconds }));
    },
  };
}

/** Runs a load generator to its end; resolves to what it wrote. */
export async function runLoad(
  children: Children,
  [program, ...args]: readonly string[],
  { cpus, seconds }: { readonly cpus: readonly number[]; readonly seconds: number },
): Promise<string> {
  const child = await children.start(program, args, { cpus });
  const limit = setTimeout(() => void child.stop(), seconds * 1000 + GRACE_MS);
  const code = await child.exited;
  clearTimeout(limit);
  if (code !== 0) throw new Error(`the load ended with ${code}: ${child.output.err}`);
  return child.output.out;
}

function wrkArgs(options: LoadOptions, threads: number): string[] {
  const { url, method, bodyBytes, tokensFile, connections, seconds } = options;
  const script = join(import.meta.dirname, "wrk.lua");
  const load = [`-t${threads}`, `-c${connections}`, `-d${seconds}s`, "--timeout", "10s"];
  const own = [method, String(bodyBytes), tokensFile ?? "-"];
  return [...load, "-s", script, "-H", `Host: ${HOST}`, url, "--", ...own];
}

/** The result among what a load generator wrote: its last line that begins with a brace. */
export function parseLoadResult(output: string): LoadResult {
  const line = output.split("\n").findLast((each) => each.startsWith("{"));
  if (line === undefined) throw new Error(`the load told no result: ${output}`);
  const told = JSON.parse(line) as Record<string, unknown>;
  const number = (name: keyof LoadResult): number => {
    const value = told[name];
    if (typeof value !== "number" || !(value >= 0)) throw new Error(`no ${name} in ${line}`);
    return value;
  };
  return {
    requests: number("requests"),
    durationUs: number("durationUs"),
    bytes: number("bytes"),
    p50Us: number("p50Us"),
    p99Us: number("p99Us"),
    refused: number("refused"),
    lost: number("lost"),
  };
}
