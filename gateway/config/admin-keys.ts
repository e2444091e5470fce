// Keys of the admin API as the configuration has them: names, roles and hashes, never a key. They are
// made with 256 bits of chance, so that a plain SHA-256 tells nobody anything.

import { createHash, randomBytes } from "node:crypto";
import type { FaultList } from "./fault-list.ts";
import type { AdminKeyConfig } from "./schema-admin.ts";
import type { Config } from "./schema.ts";
import type { Sound } from "./sound.ts";

export type Role = AdminKeyConfig["role"];

/** What an operation needs: a key of a role, or none. */
export type Access = "none" | Role;

// Each may do what those before it may.
const ACCESSES: readonly Access[] = ["none", "read", "deploy", "admin"];

/** The holder of the key that a data directory is made with. */
export const FIRST_KEY_NAME = "admin";

/** Who acts without a key of the configuration: revisions and the audit log tell them by these. */
const OTHER_ACTORS: readonly string[] = [FIRST_KEY_NAME, "file", "gateway"];

/** True when who has one access may do what the other one is needed for. */
export function allows(has: Access, needed: Access): boolean {
  return ACCESSES.indexOf(has) >= ACCESSES.indexOf(needed);
}

/** A new key. */
export function makeKey(): string {
  return `sp_${randomBytes(32).toString("base64url")}`;
}

/** What the configuration has in place of a key. */
export function hashOfKey(key: string): string {
  return `sha256:${createHash("sha256").update(key).digest("hex")}`;
}

/** SHA-256, as hex digits, of every configured key that may deploy plugins. */
export function deployKeyHashes(config: Config): readonly string[] {
  return (config.admin?.keys ?? [])
    .filter(({ role }) => allows(role, "deploy"))
    .map(({ hash }) => digestText(hash));
}

/** The hex digits of `sha256:<hex>`. */
export function digestText(hash: string): string {
  return hash.slice("sha256:".length);
}

/** Adds a fault for each key that could be taken for somebody else. */
export function checkAdminKeys(keys: Sound<readonly AdminKeyConfig[]>, faults: FaultList): void {
  const owners = new Map<string, string>();
  keys.forEach((key, i) => {
    if (key?.name !== undefined && OTHER_ACTORS.includes(key.name)) {
      const allowed = `another name than ${OTHER_ACTORS.join(", ")}`;
      faults.outOfRange(`/admin/keys/${i}/name`, key.name, allowed);
    }
    if (key?.hash === undefined) return;
    const path = `/admin/keys/${i}/hash`;
    const other = owners.get(key.hash);
    if (other === undefined) owners.set(key.hash, path);
    else faults.duplicate(path, "this hash", other);
  });
}
