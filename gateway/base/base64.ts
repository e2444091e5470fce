// Base64 as keys and signatures are written: one text for each sequence of bytes, or refused.

/** The bytes of canonical, padded base64 (RFC 4648, 4) without anything between; null for all else. */
export function decodeBase64(text: string): Buffer | null {
  // Node ignores what it does not know and what is left over: what it reads must be what was written.
  const bytes = Buffer.from(text, "base64");
  return bytes.length > 0 && bytes.toString("base64") === text ? bytes : null;
}
