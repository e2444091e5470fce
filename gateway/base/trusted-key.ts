// The public keys that an operator trusts to sign plugins, in the three forms in which they are handed
// around. The form says which format of signatures a key is good for, and it is good for no other: so
// that what was signed for one purpose proves nothing for another.

import { createHash, createPublicKey } from "node:crypto";
import type { KeyObject } from "node:crypto";
import { decodeBase64 } from "./base64.ts";
import { isSoundEd25519Key } from "./ed25519-point.ts";

export type SignatureFormat = "sallyport" | "minisign" | "cosign";

export type TrustedKey = {
  /** The one format it verifies. */
  readonly format: SignatureFormat;
  /** 16 hex digits: minisign's own number, as minisign shows it, else of the key's digest. */
  readonly id: string;
  /** The point, in hex: equal for one key in two forms. */
  readonly point: string;
  readonly key: KeyObject;
};

/** What a key may look like, for whoever gave something else. */
export const TRUSTED_KEY_WORDS =
  "the PEM of an Ed25519 or P-256 public key, the base64 of 32 bytes of Ed25519, or minisign's RW...";

const PEM = /^-----BEGIN PUBLIC KEY-----\n((?:[A-Za-z0-9+/=]+\n)+)-----END PUBLIC KEY-----\n?$/;
const MINISIGN = /^RW[QRST][A-Za-z0-9+/]{53}$/; // "Ed", 8 bytes of number, 32 of key.
// Keys of one kind are of one length and differ behind these bytes (RFC 8410, 4; RFC 5480, 2).
const SPKI_ED25519 = Buffer.from("302a300506032b6570032100", "hex");
const SPKI_P256 = Buffer.from("3059301306072a8648ce3d020106082a8648ce3d03010703420004", "hex");

/** Reads a key; what is none, or a weak one, gets a reason. Never shows what it was given. */
export function parseTrustedKey(text: string): TrustedKey | { readonly reason: string } {
  if (text.includes("PRIVATE KEY")) {
    return { reason: "this is a private key, and now a known one: make another pair" };
  }
  if (text.startsWith("-----BEGIN")) return parsePem(text);
  const bytes = decodeBase64(text);
  if (bytes?.length === 32) return sallyportKey(bytes);
  if (bytes === null || !MINISIGN.test(text)) return { reason: "this is no public key" };
  return ed25519Key("minisign", bytes.subarray(10), minisignKeyId(bytes.subarray(2, 10)));
}

/** The number of a minisign key, as minisign shows it. */
export function minisignKeyId(bytes: Uint8Array): string {
  return Buffer.from(bytes).reverse().toString("hex").toUpperCase();
}

/** The number that signatures name a sallyport key by. */
export function sallyportKeyId(raw: Uint8Array): string {
  return createHash("sha256").update(raw).digest("hex").slice(0, 16);
}

/** The 32 bytes of an Ed25519 key. */
export function rawEd25519(key: KeyObject): Buffer {
  return key.export({ format: "der", type: "spki" }).subarray(SPKI_ED25519.length);
}

function parsePem(text: string): TrustedKey | { readonly reason: string } {
  const body = PEM.exec(text)?.[1];
  const der = body === undefined ? null : decodeBase64(body.replaceAll("\n", ""));
  if (der === null) return { reason: "this is not one PEM block of a public key" };
  if (der.length === SPKI_ED25519.length + 32 && startsWith(der, SPKI_ED25519)) {
    return sallyportKey(der.subarray(SPKI_ED25519.length));
  }
  const key = publicKey(der);
  if (key === null) return { reason: "this public key does not parse" };
  if (der.length !== SPKI_P256.length + 64 || !startsWith(der, SPKI_P256)) {
    return { reason: `this is a key of ${kindOf(key)}; Ed25519 and uncompressed P-256 are taken` };
  }
  const id = createHash("sha256").update(der).digest("hex").slice(0, 16);
  return { format: "cosign", id, point: der.subarray(SPKI_P256.length).toString("hex"), key };
}

function sallyportKey(raw: Uint8Array): TrustedKey | { readonly reason: string } {
  return ed25519Key("sallyport", raw, sallyportKeyId(raw));
}

function ed25519Key(
  format: SignatureFormat,
  raw: Uint8Array,
  id: string,
): TrustedKey | { readonly reason: string } {
  const key = publicKey(Buffer.concat([SPKI_ED25519, raw]));
  if (key === null || !isSoundEd25519Key(raw)) {
    return { reason: "these 32 bytes are no point of Ed25519, or one of small order" };
  }
  return { format, id, point: Buffer.from(raw).toString("hex"), key };
}

// Also finds that a point of P-256 is not on its curve.
function publicKey(der: Buffer): KeyObject | null {
  try {
    return createPublicKey({ key: der, format: "der", type: "spki" });
  } catch {
    return null;
  }
}

function kindOf(key: KeyObject): string {
  const curve = key.asymmetricKeyDetails?.namedCurve;
  return `${key.asymmetricKeyType}${curve === undefined ? "" : ` ${curve}`}`;
}

function startsWith(bytes: Buffer, head: Buffer): boolean {
  return bytes.subarray(0, head.length).equals(head);
}
