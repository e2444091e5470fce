// The thread of a replay.

import { deserialize } from "node:v8";
import { parentPort, workerData } from "node:worker_threads";
import { compileModule } from "../../sandbox/sandbox.ts";
import { giveWay } from "../base/give-way.ts";
import { differencesOf } from "../plugins/compare.ts";
import { Evaluator } from "../plugins/evaluate.ts";
import { DEFAULT_REDACTION, showDifference } from "../plugins/redact.ts";
import type { ShownDifference } from "../plugins/redact.ts";
import type { Witnessed } from "../plugins/witness.ts";
import type { ReplayCounts, ReplayTask, ReplayedVersion } from "./replay.ts";

const DIFFERENCES_MAX = 100;

giveWay();
parentPort?.postMessage(await compare(workerData as ReplayTask));

async function compare(task: ReplayTask): Promise<ReplayCounts> {
  const stable = await evaluatorOf(task.stable);
  const candidate = await evaluatorOf(task.candidate);
  let [same, different, incomparable, drifted] = [0, 0, 0, 0];
  const faults = new Map<string, number>();
  const by = new Map<string, number>();
  const differences: ShownDifference[] = [];
  for (const record of task.records) {
    const witnessed = deserialize(record) as Witnessed;
    const was = (await stable.evaluate(witnessed)).said;
    const now = (await candidate.evaluate(witnessed)).said;
    if (was?.kind === "unknown" || now?.kind === "unknown") {
      incomparable++;
      continue;
    }
    if (differencesOf(witnessed.said, was).length > 0) drifted++;
    if (now?.kind === "failed") count(faults, now.fault);
    const differs = differencesOf(was, now);
    if (differs.length === 0) {
      same++;
      continue;
    }
    different++;
    for (const what of differs) count(by, what);
    if (differences.length < DIFFERENCES_MAX) {
      const seen = { ...witnessed, said: was ?? witnessed.said };
      differences.push(showDifference(seen, now, differs, DEFAULT_REDACTION));
    }
  }
  const counts = { calls: task.records.length, same, different, incomparable, drifted };
  return {
    ...counts,
    faults: Object.fromEntries(faults),
    by: Object.fromEntries(by),
    differences,
  };
}

async function evaluatorOf({ bytes, ...setup }: ReplayedVersion): Promise<Evaluator> {
  return new Evaluator({ ...setup, module: await compileModule(bytes) });
}

function count(counts: Map<string, number>, name: string): void {
  counts.set(name, (counts.get(name) ?? 0) + 1);
}
