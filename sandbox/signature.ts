// Whether a trusted key signed a module as this plugin in this version. A signature binds all three: our
// own format by a statement, minisign by words of its trusted comment, and what signs bytes alone by the
// module's manifest, which is among these bytes. Never throws on hostile input.

import { createHash, createPublicKey, sign, verify } from "node:crypto";
import type { KeyObject } from "node:crypto";
import { rawEd25519, sallyportKeyId } from "../gateway/base/trusted-key.ts";
import type { TrustedKey } from "../gateway/base/trusted-key.ts";
import { digestOf } from "./digest.ts";
import type { Manifest } from "./manifest.ts";
import { SALLYPORT_FORMAT, parseSignedAs, refused } from "./signature-form.ts";
import type { ModuleSignature, SignatureRefusal, SignedAs } from "./signature-form.ts";

/** A trusted key and what its operator calls it. */
export type NamedKey = TrustedKey & { readonly name: string };

/** What has to be signed. */
export type SignedModule = SignedAs & {
  readonly bytes: Uint8Array;
  /** Of these very bytes. */
  readonly manifest: Pick<Manifest, "name" | "version"> | null;
};

export type SignatureVerdict =
  /** `by` is the key's name. */
  { readonly ok: true; readonly by: string; readonly keyId: string } | SignatureRefusal;

/** Judges a well-formed signature by the keys that are trusted now. */
export function verifySignature(
  signature: ModuleSignature,
  module: SignedModule,
  keys: readonly NamedKey[],
): SignatureVerdict {
  const { format, keyId } = signature;
  // A key never verifies another format than its own, whatever mathematics would allow.
  const ours = keys.filter((key) => key.format === format && (keyId ?? key.id) === key.id);
  if (ours.length === 0) {
    const which = keyId === null ? `a ${format} key` : `the ${format} key ${keyId}`;
    return refused("signature_unknown_key", `No trusted_plugin_keys entry is ${which}.`);
  }
  const signedBytes = messageOf(signature, module.bytes);
  const key = ours.find((key) => verifies(key, signedBytes, signature.signature));
  if (key === undefined) {
    const names = ours.map(({ name }) => name).join(", ");
    const message = `The signature is not of these bytes, or not by ${names}.`;
    return refused("signature_invalid", message);
  }
  if (signature.format === "minisign") {
    const comment = Buffer.concat([signature.signature, Buffer.from(signature.comment)]);
    if (!verifies(key, comment, signature.globalSignature)) {
      const message = `The trusted comment is not the one that ${key.name} signed.`;
      return refused("signature_comment_invalid", message);
    }
  }
  return checkBinding(signature, module) ?? { ok: true, by: key.name, keyId: key.id };
}

/** Signs a module in our own format: the one line of a signature file. */
export function signModule(
  module: SignedAs & { readonly bytes: Uint8Array },
  privateKey: KeyObject,
): string {
  const { name, version, bytes } = module;
  const as = `${name}@${version}`;
  if (privateKey.asymmetricKeyType !== "ed25519") throw new Error("an Ed25519 key is needed");
  if (parseSignedAs(as) === null) throw new Error(`${as} cannot be signed`);
  const keyId = sallyportKeyId(rawEd25519(createPublicKey(privateKey)));
  const signature = sign(null, statement(module, bytes), privateKey).toString("base64");
  return `${SALLYPORT_FORMAT} ${keyId} ${as} ${signature}\n`;
}

function messageOf(signature: ModuleSignature, bytes: Uint8Array): Uint8Array {
  switch (signature.format) {
    case "sallyport":
      // As it claims: whether that is what is wanted is asked once it is known to be genuine.
      return statement(signature.signedAs, bytes);
    case "minisign":
      return createHash("blake2b512").update(bytes).digest();
    default:
      return bytes;
  }
}

// The first line keeps it apart from all else that the key may sign. Neither a name nor a version can
// hold a line end, so no two statements have the same text.
function statement({ name, version }: SignedAs, bytes: Uint8Array): Buffer {
  const lines = ["sallyport plugin signature v1", `name ${name}`, `version ${version}`];
  return Buffer.from(`${[...lines, digestOf(bytes)].join("\n")}\n`);
}

function checkBinding(
  { signedAs }: ModuleSignature,
  { name, version, manifest }: SignedModule,
): SignatureRefusal | null {
  const signed = signedAs ?? manifest;
  if (signed === null) {
    const message =
      "The signature is of bytes alone, and the module has no manifest that names it in them.";
    return refused("signature_unbound", message);
  }
  if (signed.name !== name) {
    return refused("signature_wrong_name", `It is signed as ${signed.name}, not as ${name}.`);
  }
  if (signed.version === version) return null;
  const message = `It is signed as ${name}@${signed.version}, not as ${version}.`;
  return refused("signature_wrong_version", message);
}

function verifies(key: TrustedKey, message: Uint8Array, signature: Uint8Array): boolean {
  try {
    if (key.format !== "cosign") return verify(null, message, key.key, signature);
    return verify("sha256", message, { key: key.key, dsaEncoding: "der" }, signature);
  } catch {
    return false;
  }
}
