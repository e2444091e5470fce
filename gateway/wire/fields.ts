// Field lines of a message head, shared by requests and responses: one strict scan over the text,
// offsets out. Framing and forwarding both read this one list; what does not fit it refuses the
// message and is never cut off.

import { LIMITS } from "../base/limits.ts";
import { TOKEN, VALUE, equalsLower, lowerCode } from "./chars.ts";

/** Fields that mean something to the gateway itself; every other field is ORDINARY. */
export const FIELD = {
  ORDINARY: 0,
  HOST: 1,
  CONTENT_LENGTH: 2,
  TRANSFER_ENCODING: 3,
  CONNECTION: 4,
  /** Meant for one connection only: dropped when forwarding (RFC 9110, 7.6.1). */
  HOP: 5,
  EXPECT: 6,
  /** Written by the gateway; a client's own copy is replaced (or believed, from a trusted proxy). */
  FORWARDING: 7,
  REQUEST_ID: 8,
  TRACEPARENT: 9,
  UPGRADE: 10,
  DATE: 11,
  SERVER: 12,
  /**
   * Never forwarded nor shown: names with an underscore, which origins confuse with a dash, and what a
   * request's Connection nominates.
   */
  DROPPED: 13,
} as const;

/**
 * Names that Connection cannot nominate away: nobody means to take credentials, or what describes the
 * message, from the next reader.
 */
export const NEVER_NOMINATED: ReadonlySet<string> = new Set([
  "authorization",
  "content-length",
  "content-type",
  "cookie",
  "date",
  "host",
  "set-cookie",
  "x-api-key",
]);

const KNOWN: readonly (readonly [name: string, kind: number])[] = [
  ["host", FIELD.HOST],
  ["content-length", FIELD.CONTENT_LENGTH],
  ["transfer-encoding", FIELD.TRANSFER_ENCODING],
  ["connection", FIELD.CONNECTION],
  ["keep-alive", FIELD.HOP],
  ["proxy-connection", FIELD.HOP],
  ["proxy-authenticate", FIELD.HOP],
  ["proxy-authorization", FIELD.HOP],
  ["te", FIELD.HOP],
  ["trailer", FIELD.HOP],
  ["http2-settings", FIELD.HOP],
  // For this gateway only: which versions of plugins are to serve, and the key that allows it.
  ["x-plugin-version", FIELD.HOP],
  ["x-plugin-version-key", FIELD.HOP],
  ["upgrade", FIELD.UPGRADE],
  ["expect", FIELD.EXPECT],
  ["forwarded", FIELD.FORWARDING],
  ["x-forwarded-for", FIELD.FORWARDING],
  ["x-forwarded-host", FIELD.FORWARDING],
  ["x-forwarded-proto", FIELD.FORWARDING],
  ["x-forwarded-port", FIELD.FORWARDING],
  ["x-forwarded-client-cert", FIELD.FORWARDING],
  ["x-real-ip", FIELD.FORWARDING],
  ["x-request-id", FIELD.REQUEST_ID],
  ["traceparent", FIELD.TRACEPARENT],
  ["date", FIELD.DATE],
  ["server", FIELD.SERVER],
];

// Candidates by (length, first letter): at most two names are compared per field.
const BY_SHAPE: (readonly (readonly [string, number])[] | undefined)[] = buildShapes();

function buildShapes(): (readonly (readonly [string, number])[] | undefined)[] {
  const shapes: (readonly [string, number])[][] = [];
  for (const known of KNOWN)
    (shapes[shapeOf(known[0].length, known[0].charCodeAt(0))] ??= []).push(known);
  return Array.from({ length: 32 * 32 }, (_, shape) => shapes[shape]);
}

function shapeOf(length: number, firstCode: number): number {
  return (length << 5) | (firstCode & 31);
}

/** Numbers per field in `FieldList.at`: name start, name end, value start, value end, kind. */
export const STRIDE = 5;

/**
 * The parsed fields: five small integers a field, offsets into `text`. A flat array of small
 * integers costs one allocation per head; an object per field cost four times as much.
 */
export class FieldList {
  text: string;
  readonly at: number[] = [];

  constructor(text: string) {
    this.text = text;
  }

  /** Value of the first field of this lower-case name, or null. */
  get(nameLower: string): string | null {
    const at = this.at;
    for (let i = 0; i < at.length; i += STRIDE) {
      if (at[i + 4] !== FIELD.DROPPED && equalsLower(this.text, at[i], at[i + 1], nameLower)) {
        return this.text.slice(at[i + 2], at[i + 3]);
      }
    }
    return null;
  }

  /**
   * Values of all fields of this lower-case name as one, in order, or null: joined by commas (RFC
   * 9110, 5.3), cookies by semicolons (RFC 6265, 5.4). Who decides by a field must see every copy of
   * it, or could be passed with a second one that the origin reads.
   */
  getAll(nameLower: string): string | null {
    const { at, text } = this;
    let found: string | null = null;
    for (let i = 0; i < at.length; i += STRIDE) {
      if (at[i + 4] === FIELD.DROPPED || !equalsLower(text, at[i], at[i + 1], nameLower)) continue;
      const value = text.slice(at[i + 2], at[i + 3]);
      found = found === null ? value : `${found}${nameLower === "cookie" ? "; " : ", "}${value}`;
    }
    return found;
  }

  /** The values of all fields of this lower-case name, in order. */
  each(nameLower: string): string[] {
    const { at, text } = this;
    const found: string[] = [];
    for (let i = 0; i < at.length; i += STRIDE) {
      if (at[i + 4] === FIELD.DROPPED || !equalsLower(text, at[i], at[i + 1], nameLower)) continue;
      found.push(text.slice(at[i + 2], at[i + 3]));
    }
    return found;
  }

  /** Number of fields. */
  get count(): number {
    return this.at.length / STRIDE;
  }

  /** Calls `each` with every field that is not dropped: lower-case name, value. Cold. */
  forEach(each: (nameLower: string, value: string) => void): void {
    const at = this.at;
    for (let i = 0; i < at.length; i += STRIDE) {
      if (at[i + 4] === FIELD.DROPPED) continue;
      each(this.text.slice(at[i], at[i + 1]).toLowerCase(), this.text.slice(at[i + 2], at[i + 3]));
    }
  }
}

/**
 * Scans field lines from `start` to the empty line. Returns the offset after the empty line,
 * -1 for a syntax error, -2 for more than `fieldsMax` fields. The text is Latin-1, and complete:
 * it ends with the empty line.
 */
export function scanFields(list: FieldList, start: number, fieldsMax: number): number {
  const text = list.text;
  const at = list.at;
  let i = start;
  for (let count = 0; ; count++) {
    if (text.charCodeAt(i) === 13) return text.charCodeAt(i + 1) === 10 ? i + 2 : -1;
    if (count === fieldsMax) return -2;
    const nameStart = i;
    let hasUnderscore = false;
    let code = text.charCodeAt(i);
    while (code < 128 && TOKEN[code] === 1) {
      if (code === 0x5f) hasUnderscore = true;
      code = text.charCodeAt(++i);
    }
    // The colon must follow the name at once: no space before it, no empty name, no folding.
    if (code !== 0x3a || i === nameStart) return -1;
    const nameEnd = i++;
    code = text.charCodeAt(i);
    while (code === 32 || code === 9) code = text.charCodeAt(++i);
    const valueStart = i;
    while (VALUE[code] === 1) code = text.charCodeAt(++i);
    if (code !== 13 || text.charCodeAt(i + 1) !== 10) return -1;
    let valueEnd = i;
    while (valueEnd > valueStart && isBlank(text.charCodeAt(valueEnd - 1))) valueEnd--;
    i += 2;
    const kind = hasUnderscore ? FIELD.DROPPED : kindOf(text, nameStart, nameEnd);
    at.push(nameStart, nameEnd, valueStart, valueEnd, kind);
  }
}

function kindOf(text: string, start: number, end: number): number {
  const length = end - start;
  if (length > 31) return FIELD.ORDINARY;
  const candidates = BY_SHAPE[shapeOf(length, lowerCode(text.charCodeAt(start)))];
  if (candidates === undefined) return FIELD.ORDINARY;
  for (const [name, kind] of candidates) if (equalsLower(text, start, end, name)) return kind;
  return FIELD.ORDINARY;
}

function isBlank(code: number): boolean {
  return code === 32 || code === 9;
}

/**
 * True when a tab stands between the value's end and the line's. Of Transfer-Encoding some readers,
 * llhttp for one, then do not see the last coding, and look for another end of the body.
 */
export function isFollowedByTab(text: string, valueEnd: number): boolean {
  let i = valueEnd;
  while (text.charCodeAt(i) === 32) i++;
  return text.charCodeAt(i) === 9;
}

/** Value of a Content-Length field: 1 to 15 digits and nothing else; -1 when it is anything else. */
export function parseContentLength(text: string, start: number, end: number): number {
  const length = end - start;
  if (length < 1 || length > LIMITS.contentLengthDigitsMax) return -1;
  let value = 0;
  for (let i = start; i < end; i++) {
    const digit = text.charCodeAt(i) - 48;
    if (digit < 0 || digit > 9) return -1;
    value = value * 10 + digit;
  }
  return value;
}
