// What the command line may learn of a module: whether it would be admitted, and what it is.

import { HOST_SIGNATURES, REQUIRED_EXPORTS } from "../plugins/abi.ts";
import { DEFAULT_SANDBOX_LIMITS, prepareModule } from "../../sandbox/sandbox.ts";
import type { Prepared } from "../../sandbox/sandbox.ts";

/** Admits a module as an upload would; throws a SandboxError. Nothing of it runs. */
export function inspectModule(bytes: Uint8Array): Omit<Prepared, "bytes"> {
  const { digest, exports, imports, manifest } = prepareModule(bytes, {
    limits: DEFAULT_SANDBOX_LIMITS,
    hostFunctions: HOST_SIGNATURES,
    requiredExports: REQUIRED_EXPORTS,
  });
  return { digest, exports, imports, manifest };
}
