// Which versions of plugins are signed by a key that is trusted now. What the registry says of a
// signature is never believed: it is verified against the module's bytes, once for each signature and
// set of keys, and again when either is another one.

import { createHash } from "node:crypto";
import { parseTrustedKey } from "../base/trusted-key.ts";
import type { Config } from "../config/schema.ts";
import { parseSignature, verifySignature } from "../../sandbox/sandbox.ts";
import type { NamedKey, SignatureVerdict, SignedModule } from "../../sandbox/sandbox.ts";
import type { KeptSignature } from "./plugin-registry.ts";

const VERDICTS_MAX = 10_000;

/** The keys of one configuration. */
export type TrustedKeys = {
  /** Equal for equal keys. */
  readonly id: string;
  readonly keys: readonly NamedKey[];
};

/** A version as it is kept. */
export type JudgedVersion = {
  readonly name: string;
  readonly version: string;
  readonly digest: string;
  readonly signature: Pick<KeptSignature, "text"> | null;
};

/** The bytes that a digest names, and the manifest in them. */
export type ModuleOfDigest = Pick<SignedModule, "bytes" | "manifest">;

const MISSING: SignatureVerdict = {
  ok: false,
  code: "signature_missing",
  message:
    "It is not signed, and trusted_plugin_keys asks for a signature: sallyport plugin sign makes one.",
};

export class PluginSignatures {
  readonly #verdicts = new Map<string, SignatureVerdict>();
  #trusted: TrustedKeys | null = null;

  /** The keys that a configuration trusts; null when it asks for no signatures. */
  trusted({ trusted_plugin_keys: entries }: Config): TrustedKeys | null {
    if (entries === undefined) return null;
    const id = sha256(JSON.stringify(entries));
    if (this.#trusted?.id !== id) {
      const keys = entries.flatMap(({ name, key }) => {
        const parsed = parseTrustedKey(key);
        return "reason" in parsed ? [] : [{ ...parsed, name }];
      });
      this.#trusted = { id, keys };
    }
    return this.#trusted;
  }

  /** Judges a version; `load` is asked when it is not known yet, and its rejection is passed on. */
  async judge(
    judged: JudgedVersion,
    trusted: TrustedKeys,
    load: () => Promise<ModuleOfDigest>,
  ): Promise<SignatureVerdict> {
    const key = keyOf(judged, trusted);
    const known = this.#verdicts.get(key);
    if (known !== undefined) return known;
    const verdict = await verdictOf(judged, trusted, load);
    if (this.#verdicts.size >= VERDICTS_MAX) this.#verdicts.clear();
    this.#verdicts.set(key, verdict);
    return verdict;
  }

  /** The name of the key that signed a version: as it was judged last, else at its upload. */
  signer(
    judged: JudgedVersion & { readonly signature: KeptSignature | null },
    trusted: TrustedKeys | null,
  ): string | null {
    const verdict = trusted === null ? undefined : this.#verdicts.get(keyOf(judged, trusted));
    if (verdict !== undefined) return verdict.ok ? verdict.by : null;
    return judged.signature?.keyName ?? null;
  }
}

async function verdictOf(
  { name, version, signature }: JudgedVersion,
  { keys }: TrustedKeys,
  load: () => Promise<ModuleOfDigest>,
): Promise<SignatureVerdict> {
  if (signature === null) return MISSING;
  const parsed = parseSignature(signature.text);
  if (!parsed.ok) return parsed;
  return verifySignature(parsed.signature, { name, version, ...(await load()) }, keys);
}

function keyOf({ name, version, digest, signature }: JudgedVersion, { id }: TrustedKeys): string {
  return sha256(JSON.stringify([id, name, version, digest, signature?.text]));
}

function sha256(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}
