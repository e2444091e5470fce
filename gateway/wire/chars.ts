// Character classes of HTTP/1.1 syntax (RFC 9110 section 5.6.2, RFC 9112) as lookup tables, and the
// few comparisons over Latin-1 text that the parsers share. Nothing here allocates.

/** 1 for the characters of a token: field names and methods (RFC 9110, 5.6.2). */
export const TOKEN: Uint8Array = table((code) =>
  /[!#$%&'*+.^_`|~0-9A-Za-z-]/.test(String.fromCharCode(code)),
);

/** 1 for what a field value may hold: HTAB, SP, visible ASCII, obs-text; no CR, LF, NUL, DEL. */
export const VALUE: Uint8Array = table((code) => code === 9 || (code >= 32 && code !== 127));

/** 1 for what a request target may hold: visible ASCII but `#`, which no client may send. */
export const TARGET: Uint8Array = table((code) => code > 32 && code < 127 && code !== 0x23);

function table(holds: (code: number) => boolean): Uint8Array {
  return Uint8Array.from({ length: 256 }, (_, code) => (holds(code) ? 1 : 0));
}

/** Lower-cases one ASCII code; leaves every other code as it is. */
export function lowerCode(code: number): number {
  return code >= 65 && code <= 90 ? code | 32 : code;
}

/** True when text[start, end) equals the lower-case ASCII word, ignoring ASCII case. */
export function equalsLower(text: string, start: number, end: number, word: string): boolean {
  if (end - start !== word.length) return false;
  for (let i = 0; i < word.length; i++) {
    if (lowerCode(text.charCodeAt(start + i)) !== word.charCodeAt(i)) return false;
  }
  return true;
}

/** True when the value may be sent in a header: no control characters, Latin-1 only. */
export function isFieldValue(value: string): boolean {
  for (let i = 0; i < value.length; i++) {
    const code = value.charCodeAt(i);
    if (code > 255 || VALUE[code] === 0) return false;
  }
  return true;
}

/** True for a non-empty token: a legal field name. */
export function isToken(name: string): boolean {
  for (let i = 0; i < name.length; i++) {
    const code = name.charCodeAt(i);
    if (code > 127 || TOKEN[code] === 0) return false;
  }
  return name.length > 0;
}

/**
 * Calls `each` with every element of a comma-separated list, without optional white space around
 * it; empty elements are passed over (RFC 9110, 5.6.1).
 */
export function eachListElement(value: string, each: (element: string) => void): void {
  let start = 0;
  while (start <= value.length) {
    let end = value.indexOf(",", start);
    if (end === -1) end = value.length;
    let from = start;
    let to = end;
    while (from < to && isBlank(value.charCodeAt(from))) from++;
    while (to > from && isBlank(value.charCodeAt(to - 1))) to--;
    if (to > from) each(value.slice(from, to));
    start = end + 1;
  }
}

function isBlank(code: number): boolean {
  return code === 32 || code === 9;
}
