// The strict parser of HTTP/1.1 request heads (RFC 9112). Text in, one RequestHead or one error code
// out; what is ambiguous is refused, with no leniency to switch on. Knows no socket and no route.

import type { ErrorCode } from "../base/errors.ts";
import { METHODS } from "../base/http-words.ts";
import { LIMITS } from "../base/limits.ts";
import { TARGET, TOKEN, eachListElement, equalsLower } from "./chars.ts";
import {
  FIELD,
  FieldList,
  NEVER_NOMINATED,
  STRIDE,
  isFollowedByTab,
  parseContentLength,
  scanFields,
} from "./fields.ts";

// CONNECT would make the gateway a tunnel and TRACE would echo credentials: neither is offered.
const METHODS_KNOWN: ReadonlySet<string> = new Set(
  METHODS.filter((method) => method !== "CONNECT" && method !== "TRACE"),
);

/** A parsed request head. Offsets refer to `fields.text`; values are cut out only when asked for. */
export class RequestHead {
  readonly fields: FieldList;
  method = "";
  /** As sent: origin form, absolute form or `*`. */
  target = "";
  /** 0 for HTTP/1.0, 1 for HTTP/1.1. */
  minor = 1;
  /** Declared body bytes; -1 when there is no Content-Length. */
  contentLength = -1;
  chunked = false;
  /** False when the client asked to close, or speaks 1.0 without asking to keep alive. */
  keepAlive = true;
  expectContinue = false;
  /** Value of the one Host field; null when HTTP/1.0 sent none. */
  hostField: string | null = null;
  /** Lower-case names that Connection nominates besides close and keep-alive; null when none. */
  nominated: string[] | null = null;
  /** True when the client asks to go on with WebSocket (RFC 6455, 4.1) and nothing else. */
  websocket = false;

  constructor(text: string) {
    this.fields = new FieldList(text);
  }

  /** Value of the first field of this lower-case name, or null. */
  get(nameLower: string): string | null {
    return this.fields.get(nameLower);
  }

  /** True when body bytes follow the head. */
  get hasBody(): boolean {
    return this.chunked || this.contentLength > 0;
  }
}

/**
 * Parses a complete head: Latin-1 text that ends with its empty line.
 * Returns the head, or the code of the first thing that is wrong with it.
 */
export function parseRequestHead(text: string): RequestHead | ErrorCode {
  const head = new RequestHead(text);
  const afterLine = parseRequestLine(head, text);
  if (typeof afterLine !== "number") return afterLine;
  const end = scanFields(head.fields, afterLine, LIMITS.headersMax);
  if (end === -2) return "HEAD_TOO_LARGE";
  if (end !== text.length) return "BAD_HEAD";
  return applyFields(head);
}

function parseRequestLine(head: RequestHead, text: string): number | ErrorCode {
  let i = 0;
  let code = text.charCodeAt(0);
  while (code < 128 && TOKEN[code] === 1) code = text.charCodeAt(++i);
  if (code !== 32 || i === 0) return "BAD_HEAD";
  head.method = text.slice(0, i);
  const targetStart = ++i;
  code = text.charCodeAt(i);
  while (code < 128 && TARGET[code] === 1) code = text.charCodeAt(++i);
  if (i - targetStart > LIMITS.requestLineBytesMax) return "TARGET_TOO_LONG";
  if (code !== 32 || i === targetStart) return code === 0x23 ? "BAD_TARGET" : "BAD_HEAD";
  head.target = text.slice(targetStart, i);
  i++;
  if (text.charCodeAt(i + 8) !== 13 || text.charCodeAt(i + 9) !== 10) return "BAD_HEAD";
  if (!text.startsWith("HTTP/1.", i)) return versionFault(text, i);
  const minor = text.charCodeAt(i + 7) - 48;
  if (minor !== 0 && minor !== 1) return versionFault(text, i);
  head.minor = minor;
  if (!METHODS_KNOWN.has(head.method)) return "METHOD_NOT_SUPPORTED";
  return i + 10;
}

function versionFault(text: string, start: number): ErrorCode {
  const isDigit = (code: number) => code >= 48 && code <= 57;
  const wellFormed =
    text.startsWith("HTTP/", start) &&
    isDigit(text.charCodeAt(start + 5)) &&
    text.charCodeAt(start + 6) === 0x2e &&
    isDigit(text.charCodeAt(start + 7));
  return wellFormed ? "VERSION_NOT_SUPPORTED" : "BAD_HEAD";
}

// One pass over the fields that carry framing or connection options. Repetition of any of them is
// refused: two readers could choose different copies.
function applyFields(head: RequestHead): RequestHead | ErrorCode {
  const at = head.fields.at;
  const text = head.fields.text;
  let encodings = 0;
  let expectations = 0;
  let askedKeepAlive = false;
  let askedClose = false;
  for (let i = 0; i < at.length; i += STRIDE) {
    const kind = at[i + 4];
    if (kind === FIELD.ORDINARY || kind > FIELD.EXPECT) continue;
    const start = at[i + 2];
    const end = at[i + 3];
    if (kind === FIELD.HOST) {
      if (head.hostField !== null) return "BAD_HOST";
      head.hostField = text.slice(start, end);
    } else if (kind === FIELD.CONTENT_LENGTH) {
      if (head.contentLength !== -1) return "BAD_FRAMING";
      head.contentLength = parseContentLength(text, start, end);
      if (head.contentLength === -1) return "BAD_FRAMING";
    } else if (kind === FIELD.TRANSFER_ENCODING) {
      if (++encodings > 1 || head.minor === 0) return "BAD_FRAMING";
      if (isFollowedByTab(text, end)) return "BAD_FRAMING";
      const fault = checkTransferEncoding(text.slice(start, end));
      if (fault !== null) return fault;
      head.chunked = true;
    } else if (kind === FIELD.EXPECT) {
      if (++expectations > 1 || !equalsLower(text, start, end, "100-continue")) {
        return "EXPECTATION_FAILED";
      }
      head.expectContinue = head.minor === 1;
    } else if (kind === FIELD.CONNECTION) {
      if (equalsLower(text, start, end, "keep-alive")) askedKeepAlive = true;
      else if (equalsLower(text, start, end, "close")) askedClose = true;
      else {
        eachListElement(text.slice(start, end), (element) => {
          const option = element.toLowerCase();
          if (option === "close") askedClose = true;
          else if (option === "keep-alive") askedKeepAlive = true;
          else (head.nominated ??= []).push(option);
        });
      }
    }
  }
  if (head.chunked && head.contentLength !== -1) return "BAD_FRAMING";
  if (head.hostField === null && head.minor === 1) return "BAD_HOST";
  head.keepAlive = !askedClose && (head.minor === 1 || askedKeepAlive);
  const { nominated } = head;
  if (nominated !== null) {
    // Each is compared with each field, so there may be as many of them as of those.
    if (nominated.length > LIMITS.headersMax) return "HEAD_TOO_LARGE";
    head.websocket = isWebSocket(head);
    dropNominated(head.fields, nominated);
  }
  return head;
}

// A policy must see the request that the origin sees: what this hop takes away, it takes from both.
function dropNominated({ at, text }: FieldList, nominated: readonly string[]): void {
  for (let i = 0; i < at.length; i += STRIDE) {
    if (at[i + 4] !== FIELD.ORDINARY) continue;
    const name = text.slice(at[i], at[i + 1]).toLowerCase();
    if (nominated.includes(name) && !NEVER_NOMINATED.has(name)) at[i + 4] = FIELD.DROPPED;
  }
}

// Any other upgrade is not offered: its fields are dropped, and the request is answered as it is.
function isWebSocket(head: RequestHead): boolean {
  return (
    head.minor === 1 &&
    head.method === "GET" &&
    !head.hasBody &&
    head.nominated?.includes("upgrade") === true &&
    head.fields.getAll("upgrade")?.toLowerCase() === "websocket"
  );
}

// Only `chunked`, once: a coding that the gateway does not undo would hide where the body ends.
function checkTransferEncoding(value: string): ErrorCode | null {
  if (equalsLower(value, 0, value.length, "chunked")) return null;
  let chunkedCount = 0;
  eachListElement(value, (element) => {
    if (element.toLowerCase() === "chunked") chunkedCount++;
  });
  if (value.length === 0 || chunkedCount > 1) return "BAD_FRAMING";
  return "UNKNOWN_TRANSFER_CODING";
}

/**
 * Looks at a head that is not complete yet: true when it can never become a valid one, so that the
 * refusal does not wait for more (a bare LF, a CR without LF, a NUL, a leading blank line).
 */
export function isHopelessPrefix(bytes: Uint8Array, from: number): boolean {
  for (let i = from; i < bytes.length; i++) {
    const code = bytes[i];
    if (code > 13) continue;
    if (code === 0) return true;
    if (code === 10 && (i === 0 || bytes[i - 1] !== 13)) return true;
    if (code === 13 && i + 1 < bytes.length && bytes[i + 1] !== 10) return true;
  }
  return bytes.length > 0 && (bytes[0] > 127 || TOKEN[bytes[0]] === 0);
}

/**
 * Whether the start of a head without its end has a first line that is longer than any: its target, and
 * a method and a version beside it.
 */
export function isLineTooLong(text: string): boolean {
  const aside = text.indexOf(" ") + " HTTP/1.1\r".length + 1;
  return text.length > LIMITS.requestLineBytesMax + aside && !text.includes("\r\n");
}
