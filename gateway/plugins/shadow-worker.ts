// The program of a shadow's thread: runs the candidate on what the stable version has decided about, and
// compares. Its requests are over or go on without it, so it gives way to everything else on the machine.

import { workerData } from "node:worker_threads";
import type { CallFault } from "../base/errors.ts";
import { giveWay } from "../base/give-way.ts";
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

giveWay();
const setup = workerData as ShadowSetup;
const evaluator = new Evaluator(setup);
const redaction = redactionOf(setup.redact);

/** Called by piscina for each task. */
export default async function shadow(batch: readonly Witnessed[]): Promise<ShadowResult[]> {
  const results: ShadowResult[] = [];
  for (const witnessed of batch) {
    results.push(resultOf(witnessed, await evaluator.evaluate(witnessed)));
  }
  return results;
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
