// The keys that are trusted to sign plugins: each must be one, of a kind that is taken, and be there
// once. What a fault is about is never shown: a private key may have been pasted.

import { TRUSTED_KEY_WORDS, parseTrustedKey } from "../base/trusted-key.ts";
import { HIDDEN } from "./fault-list.ts";
import type { FaultList } from "./fault-list.ts";
import type { Config } from "./schema.ts";
import type { Sound } from "./sound.ts";

/** Adds a fault for each key that proves nothing. */
export function checkTrustedKeys(
  keys: Sound<NonNullable<Config["trusted_plugin_keys"]>>,
  faults: FaultList,
): void {
  const owners = new Map<string, string>();
  keys.forEach((entry, i) => {
    if (entry?.key === undefined) return;
    const path = `/trusted_plugin_keys/${i}/key`;
    const parsed = parseTrustedKey(entry.key);
    if ("reason" in parsed) {
      faults.add({
        code: "out_of_range",
        message: parsed.reason,
        path,
        found: HIDDEN,
        allowed: TRUSTED_KEY_WORDS,
        at: "value",
      });
      return;
    }
    // Also in another form: it would be good for two formats.
    const other = owners.get(parsed.point);
    if (other === undefined) owners.set(parsed.point, path);
    else faults.duplicate(path, "this key", other);
  });
}
