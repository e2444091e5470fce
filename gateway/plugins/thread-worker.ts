// The program of a plugin's thread: the sandbox's side of it with the functions of the plugin interface.
// What a plugin decides is gathered here, as anywhere, and checked again where it is carried out.

import { workerData } from "node:worker_threads";
import { createThreadServer } from "../../sandbox/sandbox.ts";
import type { ThreadSetup } from "../../sandbox/sandbox.ts";
import { HOST_FUNCTIONS } from "./abi.ts";
import { contextOf } from "./thread-context.ts";

/** Called by piscina for each task. */
export default createThreadServer(workerData as ThreadSetup, {
  hostFunctions: HOST_FUNCTIONS,
  contextOf,
  dataOf: ({ decision }) => decision.data(),
});
