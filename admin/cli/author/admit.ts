// A module as the gateway would take it: the same admission and the same limits as an upload.

import { setFlagsFromString } from "node:v8";
import { HOST_SIGNATURES, REQUIRED_EXPORTS } from "../../../gateway/plugins/abi.ts";
import {
  DEFAULT_SANDBOX_LIMITS,
  SandboxError,
  compileModule,
  prepareModule,
} from "../../../sandbox/sandbox.ts";
import type { Manifest } from "../../../sandbox/sandbox.ts";
import { CliError, EXIT } from "../output.ts";

export const LIMITS = DEFAULT_SANDBOX_LIMITS;

export type Admitted = {
  /** As given. */
  readonly bytes: Uint8Array;
  /** As it runs, with the sandbox's bounds written in. */
  readonly prepared: Uint8Array;
  readonly module: WebAssembly.Module;
  readonly manifest: Manifest | null;
  readonly digest: string;
  /** What of the code the rewriter kept. */
  readonly kept: readonly Kept[];
};

/** A run of instructions: where it is in the prepared module, where it was, its length. */
export type Kept = { readonly to: number; readonly from: number; readonly length: number };

/** Admits a module; rejects with a SandboxError. An Extism module needs none of our exports. */
export async function admit(
  bytes: Uint8Array,
  requiredExports: readonly string[] = REQUIRED_EXPORTS,
): Promise<Admitted> {
  // As workers have it: code that is compiled late is compiled within a call.
  setFlagsFromString("--no-wasm-lazy-compilation");
  const kept: Kept[] = [];
  const options = {
    limits: LIMITS,
    hostFunctions: HOST_SIGNATURES,
    requiredExports,
    onKept: (to: number, from: number, length: number) => void kept.push({ to, from, length }),
  };
  const { bytes: prepared, manifest, digest } = prepareModule(bytes, options);
  return { bytes, prepared, module: await compileModule(prepared), manifest, digest, kept };
}

/** What a module says of itself; says why it would not be admitted. */
export async function manifestOf(file: string, bytes: Uint8Array): Promise<Manifest | null> {
  try {
    return (await admit(bytes)).manifest;
  } catch (error) {
    if (!(error instanceof SandboxError)) throw error;
    throw new CliError(`${file} would be refused: ${error.code}: ${error.message}`, EXIT.no);
  }
}
