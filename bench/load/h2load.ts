// The load over HTTP/2: h2load, which keeps several requests at a time on each connection. It is told a
// number of requests and no time: told a time, it never ends when a connection is not up by then, and
// leaves what is under way uncounted. It tells no percentiles, so these are read from its log.

import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { percentile } from "../measure.ts";
import { HOST } from "../peers/peer.ts";
import { findProgram } from "./children.ts";
import type { Children } from "./children.ts";
import { runLoad } from "./client.ts";
import type { LoadOptions, LoadResult, LoadTool } from "./client.ts";

/** Of the first load of each URL: as many to each stream. */
const FIRST_REQUESTS = 8;

/** h2load on these CPUs, or null where it is not installed; its log goes to `directory`. */
export function findH2load(
  children: Children,
  where: { readonly cpus: readonly number[]; readonly directory: string },
  streams: number,
): LoadTool | null {
  const program = findProgram("h2load");
  if (program === null) return null;
  const log = join(where.directory, "h2load-requests");
  /** Requests per second that a URL answered last: how many fill the time of the next load. */
  const rates = new Map<string, number>();
  return {
    name: "h2load",
    run: async (options) => {
      const { url, connections, seconds } = options;
      rmSync(log, { force: true }); // It would append.
      const requests = Math.max(
        FIRST_REQUESTS * connections * streams,
        Math.ceil((rates.get(url) ?? 0) * seconds),
      );
      const load = [...argsOf(options), `-m${streams}`, `-n${requests}`, `--log-file=${log}`, url];
      const output = await runLoad(children, [program, ...load], { cpus: where.cpus, seconds });
      const result = parseH2load(output, readFileSync(log, "utf8"));
      rates.set(url, result.requests / (result.durationUs / 1e6));
      return result;
    },
  };
}

// Without the list it would fall back to HTTP/1.1.
function argsOf({ method, tokensFile, connections }: LoadOptions): string[] {
  if (method !== "GET" || tokensFile !== null) throw new Error("h2load only does a plain GET here");
  return ["-t1", `-c${connections}`, "--npn-list=h2", "-H", `:authority: ${HOST}`];
}

/** The result from what h2load wrote, and from its log: start, status, microseconds. */
export function parseH2load(output: string, log: string): LoadResult {
  const number = (pattern: RegExp): number => {
    const value = Number(pattern.exec(output)?.[1]);
    if (!(value >= 0)) throw new Error(`h2load told no ${pattern.source}: ${output}`);
    return value;
  };
  const latencies = Float64Array.from(log.trimEnd().split("\n"), (line) =>
    Number(line.split("\t")[2]),
  );
  const [, time, unit] = /^finished in ([\d.]+)(s|ms|us),/m.exec(output) ?? [];
  if (time === undefined) throw new Error(`h2load told no time: ${output}`);
  const refused = number(/, (\d+) 4xx/) + number(/, (\d+) 5xx/);
  return {
    requests: number(/ (\d+) done,/),
    durationUs: Math.round(Number(time) * { s: 1e6, ms: 1e3, us: 1 }[unit as "s" | "ms" | "us"]),
    bytes: number(/^traffic: \S+ \((\d+)\) total/m),
    p50Us: percentile(latencies, 50),
    p99Us: percentile(latencies, 99),
    refused,
    lost: number(/ (\d+) failed,/) - refused,
  };
}
