// The name of a module: the digest of its original bytes. Nothing else names a module.

import { createHash } from "node:crypto";

/** `sha256:` and 64 hex digits. */
export function digestOf(bytes: Uint8Array): string {
  return `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
}
