// The program of a shadow's thread: runs the candidate on what the stable version has decided about, and
// compares. Its requests are over or go on without it, so it runs only when nothing else on the machine does.

import { deserialize } from "node:v8";
import { parentPort, workerData } from "node:worker_threads";
import type { CallFault } from "../base/errors.ts";
import { runWhenIdle } from "../base/give-way.ts";
import { differencesOf } from "./compare.ts";
import { Evaluator } from "./evaluate.ts";
import type { Evaluated, EvaluatorSetup } from "./evaluate.ts";
import { redactionOf, showDifference } from "./redact.ts";
import type { ShownDifference } from "./redact.ts";
import type { Said, Witnessed } from "./witness.ts";

/** The candidate, and names that its differences leave out beside those that sound like secrets. */
export type ShadowSetup = EvaluatorSetup & { readonly redact: readonly string[] };

/** What became of one request in the shadow. */
export type ShadowResult = {
  /** null: it ended well, or takes no part. */
  readonly fault: CallFault | null;
  /** Without what the thread waited for a CPU. */
  readonly micros: number;
  readonly phase: Witnessed["phase"];
  /** What it answered with; 0 for letting pass, and where it did not come to that. */
  readonly status: number;
  readonly outcome: "same" | "different" | "incomparable" | "none";
  readonly difference: ShownDifference | null;
};

export type ShadowAnswer = {
  /** One for each request, in their order. */
  readonly results: readonly ShadowResult[];
  /** What the thread has used since its last answer, taking requests in and giving way included. */
  readonly cpuMs: number;
};

runWhenIdle();
const setup = workerData as ShadowSetup;
const evaluator = new Evaluator(setup);
const redaction = redactionOf(setup.redact);
let cpu = process.threadCpuUsage();

parentPort?.on("message", (slices: readonly Uint8Array[]) => {
  void shadow(slices).then((answer) => parentPort?.postMessage(answer));
});

/** Each slice is a serialized list of Witnessed. */
async function shadow(slices: readonly Uint8Array[]): Promise<ShadowAnswer> {
  const results: ShadowResult[] = [];
  for (const slice of slices) {
    for (const witnessed of deserialize(slice) as Witnessed[]) {
      results.push(resultOf(witnessed, await evaluator.evaluate(witnessed)));
    }
  }
  const before = cpu;
  cpu = process.threadCpuUsage();
  const micros = cpu.user + cpu.system - before.user - before.system;
  return { results, cpuMs: micros / 1000 };
}

function resultOf(witnessed: Witnessed, { said, micros }: Evaluated): ShadowResult {
  const { phase } = witnessed;
  if (said?.kind === "unknown") {
    return { fault: null, micros, phase, status: 0, outcome: "incomparable", difference: null };
  }
  const facts = {
    fault: said?.kind === "failed" ? said.fault : null,
    micros,
    phase,
    status: said?.kind === "decided" ? said.decision.status : 0,
  };
  const differs = differencesOf(witnessed.said, said);
  if (differs.length > 0) {
    const difference = showDifference(witnessed, said, differs, redaction);
    return { ...facts, outcome: "different", difference };
  }
  return { ...facts, outcome: partOf(said, witnessed.said), difference: null };
}

function partOf(candidate: Said | null, stable: Said): ShadowResult["outcome"] {
  return candidate === null && stable.kind === "decided" ? "none" : "same";
}
