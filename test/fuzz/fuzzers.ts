// All fuzzers, as a table and as a program:
//   node test/fuzz/fuzzers.ts [NAME...] [--seconds N] [--seed N]
// runs those named, or all, each for so long (60 s), prints what they met, and exits with 1 when one
// has found something, with the command that finds it again.

import { parseArgs } from "node:util";
import { parseRequestHead } from "../../gateway/wire/request-head.ts";
import { SEED } from "../support/random.ts";
import { decisions } from "./decisions.ts";
import { runFuzzer, showCounts, showFinding } from "./fuzzing.ts";
import type { Fuzzer } from "./fuzzing.ts";
import { liveClient } from "./live-client.ts";
import { liveH2 } from "./live-h2.ts";
import { liveH2Origin } from "./live-h2-origin.ts";
import { liveOrigin } from "./live-origin.ts";
import { metering, meteringOthers } from "./metering.ts";
import { liveProxy } from "./live-proxy.ts";
import { liveTls } from "./live-tls.ts";
import { modules } from "./modules.ts";
import { roundTrip } from "./round-trip.ts";
import { chunkedBodies, requestHeads, responses } from "./wire.ts";

const SECONDS_DEFAULT = 60;

export function allFuzzers(): readonly Fuzzer[] {
  return [
    requestHeads("request-heads"),
    chunkedBodies("chunked-bodies"),
    responses("responses"),
    roundTrip("round-trip"),
    decisions("decisions"),
    modules("modules"),
    metering("metering"),
    meteringOthers("metering-others"),
    liveClient("live-client"),
    liveOrigin("live-origin"),
    liveH2("live-h2"),
    liveH2Origin("live-h2-origin"),
    liveTls("live-tls"),
    liveProxy("live-proxy"),
  ];
}

/** Tests the fuzzing itself: a parser that bears a space before the colon must be caught at once. */
export function canary(): Fuzzer {
  return requestHeads("canary", (text) => parseRequestHead(text.replaceAll(" :", ":")));
}

async function main(args: readonly string[]): Promise<number> {
  const { values, positionals } = parseArgs({
    args: [...args],
    options: { seconds: { type: "string" }, seed: { type: "string" } },
    allowPositionals: true,
  });
  const seed = Number(values.seed ?? SEED);
  const ms = Number(values.seconds ?? SECONDS_DEFAULT) * 1000;
  const all = allFuzzers();
  const known = [...all, canary()];
  const unknown = positionals.filter((name) => !known.some((fuzzer) => fuzzer.name === name));
  if (unknown.length > 0 || !Number.isInteger(seed) || !(ms > 0)) {
    const names = known.map(({ name }) => name).join(" ");
    process.stderr.write(`fuzzers.ts [NAME...] [--seconds N] [--seed N]; names: ${names}\n`);
    return 2;
  }
  let running = { name: "", seed };
  // What is thrown beside any round: in a gateway it would have ended the process.
  process.on("uncaughtException", (error) => {
    console.log(
      showFinding({ ...running, counts: {}, seconds: 0, finding: { error, ...running } }),
    );
    process.exit(1);
  });
  const chosen = positionals.length === 0 ? all : known.filter((f) => positionals.includes(f.name));
  let found = 0;
  console.log(`seed ${seed}`);
  for (const fuzzer of chosen) {
    const onRound = (seed: number) => (running = { name: fuzzer.name, seed });
    const report = await runFuzzer(fuzzer, { seed, ms, onRound });
    console.log(`${fuzzer.name.padEnd(16)} ${showCounts(report)}`);
    if (report.finding === null) continue;
    found++;
    console.log(showFinding(report));
  }
  return found === 0 ? 0 : 1;
}

if (import.meta.main) process.exitCode = await main(process.argv.slice(2));
