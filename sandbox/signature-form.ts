// The three forms of a signature file, told apart by what they look like alone, and read without a key:
// what a signature claims is believed by nobody before signature.ts has verified it. Hostile input:
// every length is fixed or bounded, one text is read in one way, and what does not fit gets a code.

import { decodeBase64 } from "../gateway/base/base64.ts";
import { LIMITS } from "../gateway/base/limits.ts";
import { minisignKeyId } from "../gateway/base/trusted-key.ts";

/** Why a signature is refused. Codes are API and keep their meaning. */
export type SignatureCode =
  | "signature_missing"
  | "signature_too_large"
  | "signature_repeated"
  | "signature_malformed"
  | "signature_legacy"
  | "signature_unknown_key"
  | "signature_invalid"
  | "signature_comment_invalid"
  | "signature_unbound"
  | "signature_wrong_name"
  | "signature_wrong_version";

/** A refusal; `message` is one sentence for the operator. */
export type SignatureRefusal = {
  readonly ok: false;
  readonly code: SignatureCode;
  readonly message: string;
};

/** Which plugin a signature is for. */
export type SignedAs = { readonly name: string; readonly version: string };

/** A signature that is well formed, and not more than that. */
export type ModuleSignature = {
  /** The file's text. */
  readonly text: string;
} & (
  | {
      readonly format: "sallyport";
      readonly keyId: string;
      readonly signedAs: SignedAs;
      readonly signature: Buffer;
    }
  | {
      readonly format: "minisign";
      readonly keyId: string;
      /** Null: the comment names no plugin. */
      readonly signedAs: SignedAs | null;
      readonly signature: Buffer;
      readonly comment: string;
      /** Over the signature and the comment. */
      readonly globalSignature: Buffer;
    }
  | {
      readonly format: "cosign";
      readonly keyId: null;
      readonly signedAs: null;
      readonly signature: Buffer;
    }
);

type Parsed = { readonly ok: true; readonly signature: ModuleSignature } | SignatureRefusal;

const NAME = "[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?";
const NUMBER = "(?:0|[1-9][0-9]{0,15})";
const VERSION = `${NUMBER}\\.${NUMBER}\\.${NUMBER}(?:-[0-9A-Za-z.-]{1,64})?`;
const SIGNED_AS = new RegExp(`^(${NAME})@(${VERSION})$`);

/** The first word of our own format. */
export const SALLYPORT_FORMAT = "sallyport-v1";
const SALLYPORT = /^sallyport-v1 ([0-9a-f]{16}) ([^ ]+) ([A-Za-z0-9+/]{86}==)\n?$/;
const UNTRUSTED = "untrusted comment: ";
const TRUSTED = "trusted comment: ";
const PLUGIN_WORD = "plugin:";
const ED25519_BYTES = 64;
/** `ED` or `Ed`, the key's number, the signature. */
const MINISIGN_BYTES = 2 + 8 + ED25519_BYTES;
const SEQUENCE = 0x30;
const INTEGER = 0x02;

/** Reads the text of a signature file. */
export function parseSignature(text: string): Parsed {
  if (Buffer.byteLength(text) > LIMITS.pluginSignatureBytesMax) return tooLarge();
  if (text.includes("\r")) return malformed("has CR LF line ends; LF is needed");
  if (/[^\t\n\P{Cc}]/u.test(text)) return malformed("holds control characters");
  if (text.startsWith("sallyport-")) return parseSallyport(text);
  if (text.startsWith(UNTRUSTED)) return parseMinisign(text);
  return parseCosign(text);
}

/**
 * Reads a header: the base64 of a signature file, or a signature of one line as it is. The two cannot
 * be mistaken: no file begins with the byte that a bare signature of cosign begins with.
 */
export function parseSignatureField(field: string): Parsed {
  if (field.length > Math.ceil(LIMITS.pluginSignatureBytesMax / 3) * 4) return tooLarge();
  if (field.includes(",")) {
    return refused("signature_repeated", "There is more than one X-Plugin-Signature.");
  }
  if (field.startsWith("sallyport-")) return parseSignature(field);
  const bytes = decodeBase64(field);
  if (bytes === null) return malformed("is neither canonical base64 nor one line that can be read");
  if (bytes[0] === SEQUENCE) return parseSignature(field);
  const text = decodeText(bytes);
  return text === null ? malformed("is not UTF-8") : parseSignature(text);
}

/** The text of a signature file, or null when it is not UTF-8. */
export function decodeText(bytes: Uint8Array): string | null {
  try {
    // A byte order mark stays, and then fits no form.
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return null;
  }
}

/** `name@version` of a plugin, or null for what could be read in two ways. */
export function parseSignedAs(text: string): SignedAs | null {
  const match = SIGNED_AS.exec(text);
  return match === null ? null : { name: match[1], version: match[2] };
}

function parseSallyport(text: string): Parsed {
  const match = SALLYPORT.exec(text);
  if (match === null) {
    return malformed(`is not ${SALLYPORT_FORMAT} KEY NAME@VERSION SIGNATURE in one line`);
  }
  const signedAs = parseSignedAs(match[2]);
  const signature = decodeBase64(match[3]);
  if (signedAs === null) return malformed("names no plugin and version as NAME@VERSION");
  if (signature === null) return malformed("is not canonical base64");
  return accepted({ format: "sallyport", text, keyId: match[1], signedAs, signature });
}

// The file of `minisign -S`: a comment that nobody signs, the signature, a comment that is signed, and
// the signature over both.
function parseMinisign(text: string): Parsed {
  const lines = (text.endsWith("\n") ? text.slice(0, -1) : text).split("\n");
  if (lines.length !== 4 || !lines[2].startsWith(TRUSTED)) {
    return malformed("is not the four lines that minisign writes");
  }
  const bytes = decodeBase64(lines[1]);
  const globalSignature = decodeBase64(lines[3]);
  if (bytes?.length !== MINISIGN_BYTES || globalSignature?.length !== ED25519_BYTES) {
    return malformed("is not of minisign's lengths, or not in canonical base64");
  }
  const algorithm = bytes.toString("latin1", 0, 2);
  if (algorithm === "Ed") {
    const message = "The signature is of minisign's legacy kind; sign again with minisign -S -H.";
    return refused("signature_legacy", message);
  }
  if (algorithm !== "ED") return malformed("is of a kind that minisign does not have");
  const comment = lines[2].slice(TRUSTED.length);
  const words = comment.split(/[\t ]/).filter((word) => word.startsWith(PLUGIN_WORD));
  const signedAs = words.length === 1 ? parseSignedAs(words[0].slice(PLUGIN_WORD.length)) : null;
  if (words.length > 0 && signedAs === null) {
    return malformed("has a trusted comment without exactly one plugin:NAME@VERSION");
  }
  return accepted({
    format: "minisign",
    text,
    keyId: minisignKeyId(bytes.subarray(2, 10)),
    signedAs,
    signature: bytes.subarray(10),
    comment,
    globalSignature,
  });
}

// What `cosign sign-blob --key` writes: base64 of an ECDSA signature in DER.
function parseCosign(text: string): Parsed {
  const signature = decodeBase64(text.endsWith("\n") ? text.slice(0, -1) : text);
  if (signature === null || !isEcdsaP256(signature)) {
    const known =
      "a line of sallyport plugin sign, a file of minisign, or of cosign sign-blob --key";
    return malformed(`is none of these: ${known}`);
  }
  return accepted({ format: "cosign", text, keyId: null, signedAs: null, signature });
}

// A sequence of two positive integers of at most 32 bytes, each written in the one shortest way.
function isEcdsaP256(der: Buffer): boolean {
  if (der[0] !== SEQUENCE || der.length > 72 || der[1] !== der.length - 2) return false;
  const afterR = afterInteger(der, 2);
  return afterR !== -1 && afterInteger(der, afterR) === der.length;
}

function afterInteger(der: Buffer, at: number): number {
  const length = der[at + 1] ?? 0;
  const first = at + 2;
  if (der[at] !== INTEGER || length < 1 || first + length > der.length) return -1;
  const isNegative = der[first] >= 0x80;
  // A zero in front is there for the sign or not at all; so zero itself is refused too.
  const isLonger = der[first] === 0 && (length === 1 || der[first + 1] < 0x80);
  const bytes = der[first] === 0 ? length - 1 : length;
  return isNegative || isLonger || bytes > 32 ? -1 : first + length;
}

function accepted(signature: ModuleSignature): Parsed {
  return { ok: true, signature };
}

function tooLarge(): SignatureRefusal {
  const message = `The signature is larger than the ${LIMITS.pluginSignatureBytesMax} bytes allowed.`;
  return refused("signature_too_large", message);
}

function malformed(what: string): SignatureRefusal {
  return refused("signature_malformed", `The signature ${what}.`);
}

/** A refusal with its code. */
export function refused(code: SignatureCode, message: string): SignatureRefusal {
  return { ok: false, code, message };
}
