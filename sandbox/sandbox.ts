// The door of the sandbox: what the rest of the gateway may know about Wasm. A module is prepared
// once, on the control plane, and refused there if at all; workers compile the prepared bytes and
// call guests through a pool. Nothing here knows HTTP.

import { admitModule, type Admitted } from "./admit.ts";
import { digestOf } from "./digest.ts";
import { SandboxError } from "./errors.ts";
import { showSignature, type Signature } from "./imports.ts";
import type { SandboxLimits } from "./limits.ts";
import { parseManifest, type Manifest } from "./manifest.ts";
import { meterModule } from "./meter.ts";

export { digestOf } from "./digest.ts";
export { SandboxError, type CallErrorCode, type SandboxErrorCode } from "./errors.ts";
export { Guest, type GuestLog, type HostFunction } from "./guest.ts";
export type { Signature, ValueType } from "./imports.ts";
export { DEFAULT_SANDBOX_LIMITS, type SandboxLimits } from "./limits.ts";
export type { BorderFunction, GuestObserver } from "./observer.ts";
export { readManifest, type Manifest } from "./manifest.ts";
export { signModule, verifySignature } from "./signature.ts";
export type { NamedKey, SignatureVerdict, SignedModule } from "./signature.ts";
export {
  decodeText,
  parseSignature,
  parseSignatureField,
  parseSignedAs,
} from "./signature-form.ts";
export type { ModuleSignature, SignatureCode, SignatureRefusal } from "./signature-form.ts";
export { GuestPool, type GuestPoolOptions, type Outcome } from "./pool.ts";
export { runDelayMs } from "./run-delay.ts";
export { ModuleStore, openModuleStore } from "./store.ts";
export { THREAD_LIMITS, ThreadPool, type ThreadPoolOptions, type ThreadResult } from "./thread.ts";
export { createThreadServer, type ThreadSetup } from "./thread-worker.ts";

export type Prepared = {
  /** `sha256:` and the hex digest of the original bytes. */
  readonly digest: string;
  /** What workers compile: the original with its bounds written in. */
  readonly bytes: Uint8Array;
  /** The original with the maxima of its memory and table clamped and nothing else: for threads. */
  readonly clamped: Uint8Array;
  /** Names of the exported functions, in order. */
  readonly exports: string[];
  /** `module.name` of each import, in order. */
  readonly imports: string[];
  readonly manifest: Manifest | null;
};

export type PrepareOptions = {
  readonly limits: SandboxLimits;
  /** What `extism:host/user` may be asked for. */
  readonly hostFunctions: ReadonlyMap<string, Signature>;
  /** At least one of these must be exported, as `() -> i32` or `() -> ()`; empty asks nothing. */
  readonly requiredExports: readonly string[];
  /** Gets, for each run of instructions kept, its place in the result, in the input, and its length. */
  readonly onKept?: (to: number, from: number, length: number) => void;
};

/**
 * Checks a module and writes the sandbox's bounds into it; throws a SandboxError whose code says
 * what is wrong. Nothing of the module runs. CPU-bound, up to some tens of ms for 4 MiB: call it
 * on a thread where requests are served.
 */
export function prepareModule(bytes: Uint8Array, options: PrepareOptions): Prepared {
  const { limits } = options;
  if (bytes.length > limits.moduleBytesMax) {
    throw new SandboxError(
      "too_large",
      `The module is ${bytes.length} bytes long; ${limits.moduleBytesMax} are allowed.`,
    );
  }
  const admitted = admitModule(bytes, options);
  validate(bytes);
  checkExports(admitted, options.requiredExports);
  const manifest = admitted.manifest === null ? null : parseManifest(admitted.manifest);
  // Only bytes that V8 has found valid are metered: what is added is out of their reach.
  const clamped = applyPatches(bytes, admitted);
  const prepared = meterModule(clamped, {
    types: admitted.types,
    functions: admitted.functions,
    importedFunctions: admitted.imports.length,
    globals: admitted.globals,
    ...(options.onKept === undefined ? {} : { onKept: options.onKept }),
  });
  assertValid(prepared);
  return {
    digest: digestOf(bytes),
    bytes: prepared,
    clamped,
    exports: [...admitted.exports.keys()],
    imports: [...admitted.imports],
    manifest,
  };
}

/** Compiles prepared bytes off the main thread of V8; rejects only on bytes that were not prepared. */
export async function compileModule(bytes: Uint8Array): Promise<WebAssembly.Module> {
  // Work of V8's own threads does not keep a process alive, which a command would notice.
  const hold = setInterval(() => {}, 60_000);
  try {
    return await WebAssembly.compile(bytes);
  } finally {
    clearInterval(hold);
  }
}

function validate(bytes: Uint8Array): void {
  if (WebAssembly.validate(bytes)) return;
  let reason = "it does not validate";
  try {
    // Only compiling says why; an invalid module is refused before any code is made.
    new WebAssembly.Module(bytes);
  } catch (error) {
    if (error instanceof Error) reason = error.message.replace(/^.*?\(\): /, "");
  }
  throw new SandboxError("invalid_module", `The module is not valid: ${reason.slice(0, 300)}.`);
}

function assertValid(bytes: Uint8Array): void {
  if (!WebAssembly.validate(bytes))
    throw new Error("a valid module was rewritten to an invalid one");
}

function checkExports(admitted: Admitted, required: readonly string[]): void {
  let found = 0;
  for (const name of required) {
    const type = admitted.exports.get(name);
    const other = admitted.otherExports.get(name);
    if (other !== undefined) {
      const message = `The module exports ${name} as a ${other}; a function is needed.`;
      throw new SandboxError("missing_export", message);
    }
    if (type === undefined) continue;
    found += 1;
    const { params, results } = type;
    if (params.length === 0 && (results.length === 0 || results.join() === "i32")) continue;
    const shown = showSignature(params, results);
    throw new SandboxError(
      "missing_export",
      `The module exports ${name} as ${shown}; () -> i32 or () -> () is needed.`,
    );
  }
  if (found > 0 || required.length === 0) return;
  const names = required.join(" or ");
  throw new SandboxError("missing_export", `The module exports no function ${names}.`);
}

function applyPatches(bytes: Uint8Array, { patches }: Admitted): Uint8Array {
  const parts: Uint8Array[] = [];
  let at = 0;
  for (const patch of patches) {
    parts.push(bytes.subarray(at, patch.start), Uint8Array.from(patch.bytes));
    at = patch.end;
  }
  parts.push(bytes.subarray(at));
  const whole = Buffer.concat(parts);
  // A copy of its own: a Buffer from the shared slab would drag its neighbours across a thread.
  return new Uint8Array(whole);
}
