// The outer form of a token: compact JWS (RFC 7515, 7.1) and nothing that merely decodes to one.
// JOSE libraries forgive white space, padding and stray bits; then one token has many spellings,
// and what was checked is not what was compared. Everything else is refused before any decoding.

import { ownText } from "./credentials.ts";

/** Characters of a token at most. */
export const TOKEN_CHARS_MAX = 8192;
const KID_CHARS_MAX = 512;

// The value of each base64url digit (RFC 4648, 5), 64 for what is none.
const DIGIT: Uint8Array = buildDigits();

function buildDigits(): Uint8Array {
  const digits = new Uint8Array(128).fill(64);
  const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  for (let i = 0; i < alphabet.length; i++) digits[alphabet.charCodeAt(i)] = i;
  return digits;
}

/** True for three non-empty, canonical base64url segments of at most 8192 characters together. */
export function isCompactJws(token: string): boolean {
  if (token.length > TOKEN_CHARS_MAX) return false;
  const first = token.indexOf(".");
  const second = token.indexOf(".", first + 1);
  return (
    first !== -1 &&
    second !== -1 &&
    isSegment(token, 0, first) &&
    isSegment(token, first + 1, second) &&
    isSegment(token, second + 1, token.length)
  );
}

function isSegment(text: string, start: number, end: number): boolean {
  const length = end - start;
  if (length === 0 || length % 4 === 1) return false;
  let digit = 0;
  for (let i = start; i < end; i++) {
    const code = text.charCodeAt(i);
    digit = code < 128 ? DIGIT[code] : 64;
    if (digit === 64) return false;
  }
  // The last digit's bits beyond the last whole byte must be zero: one text for one value.
  if (length % 4 === 2) return (digit & 0b1111) === 0;
  return length % 4 === 0 || (digit & 0b11) === 0;
}

/** What the choice of a key depends on. Every other header parameter is ignored. */
export type JoseHeader = { readonly alg: string; readonly kid: string | null };

/**
 * Reads protected headers and remembers the last one: the tokens of an issuer begin alike, and the same
 * text means the same.
 */
export class HeaderReader {
  #segment = "";
  #header: JoseHeader | null = null;

  /** As `readJoseHeader`. */
  read(token: string): JoseHeader | null {
    const length = this.#segment.length;
    const isSame = length > 0 && token.startsWith(this.#segment) && token[length] === ".";
    if (isSame) return this.#header;
    this.#header = readJoseHeader(token);
    // A copy: a slice would keep the whole request's text alive.
    this.#segment = ownText(token.slice(0, token.indexOf(".")));
    return this.#header;
  }
}

/**
 * Reads the protected header of a token that passed `isCompactJws`. Null when it is malformed or
 * asks for extensions (`crit`, `b64`), none of which is supported (RFC 7515, 4.1.11). Keys that
 * the token brings along (`jwk`, `jku`, `x5u`, `x5c`) are never looked at.
 */
export function readJoseHeader(token: string): JoseHeader | null {
  let header: unknown;
  try {
    header = JSON.parse(Buffer.from(token.slice(0, token.indexOf(".")), "base64url").toString());
  } catch {
    return null;
  }
  if (typeof header !== "object" || header === null || Array.isArray(header)) return null;
  if (Object.hasOwn(header, "crit") || Object.hasOwn(header, "b64")) return null;
  const alg = Object.hasOwn(header, "alg") && "alg" in header ? header.alg : null;
  const kid = Object.hasOwn(header, "kid") && "kid" in header ? header.kid : null;
  if (typeof alg !== "string") return null;
  if (kid !== null && (typeof kid !== "string" || kid.length > KID_CHARS_MAX)) return null;
  return { alg, kid };
}
