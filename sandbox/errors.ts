// What the sandbox reports: why a module was refused (thrown on the control plane) and why a call
// failed (a value, never thrown across the door). Codes are API and keep their meaning.

import type { CallFault } from "../gateway/base/errors.ts";

/** Why a module was refused or could not be read back. */
export type SandboxErrorCode =
  | "too_large"
  | "invalid_module"
  | "feature_denied"
  | "import_denied"
  | "import_kind"
  | "limit_exceeded"
  | "reserved_export"
  | "missing_export"
  | "init_failed"
  | "bad_manifest"
  | "bad_config_schema"
  | "hash_mismatch"
  | "module_missing";

/** A refused module. `message` is one sentence for the operator: what was found, what is allowed. */
export class SandboxError extends Error {
  readonly code: SandboxErrorCode;

  constructor(code: SandboxErrorCode, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = "SandboxError";
    this.code = code;
  }
}

/** Why a call into a guest failed. */
export type CallErrorCode = Exclude<CallFault, "quarantined">;

/**
 * Thrown through a guest to end its call; caught by the pool and nowhere else. Not an Error: it
 * crosses Wasm frames on hostile input, where capturing a stack would only cost time.
 */
export class Halt {
  readonly code: CallErrorCode;
  readonly detail: string;

  constructor(code: CallErrorCode, detail: string) {
    this.code = code;
    this.detail = detail;
  }
}

/** `text` cut to `charsMax`, with control characters shown as spaces, for a line of a log. */
export function printable(text: string, charsMax: number): string {
  let out = "";
  const end = Math.min(text.length, charsMax);
  for (let i = 0; i < end; i++) {
    const code = text.charCodeAt(i);
    out += code < 32 || (code >= 127 && code < 160) ? " " : text[i];
  }
  return text.length > charsMax ? `${out}...` : out;
}
