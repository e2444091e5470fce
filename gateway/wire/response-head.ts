// The strict parser of HTTP/1.1 response heads from origins (RFC 9112), and the rule that says how
// the response's body ends. An origin is as hostile as a client: what is ambiguous is a 502.

import { LIMITS } from "../base/limits.ts";
import { VALUE, eachListElement, equalsLower } from "./chars.ts";
import {
  FIELD,
  FieldList,
  STRIDE,
  isFollowedByTab,
  parseContentLength,
  scanFields,
} from "./fields.ts";

/** How the bytes after the head are delimited; a tunnel has no messages any more. */
export type BodyFraming = "none" | "length" | "chunked" | "close" | "tunnel";

export class ResponseHead {
  readonly fields: FieldList;
  status = 0;
  reason = "";
  minor = 1;
  contentLength = -1;
  chunked = false;
  keepAlive = true;
  nominated: string[] | null = null;

  constructor(text: string) {
    this.fields = new FieldList(text);
  }

  get(nameLower: string): string | null {
    return this.fields.get(nameLower);
  }

  /** RFC 9112, 6.3: HEAD, 1xx, 204 and 304 have no body, whatever their fields say. */
  framing(requestMethod: string): BodyFraming {
    const status = this.status;
    if (requestMethod === "HEAD" || status < 200 || status === 204 || status === 304) return "none";
    if (this.chunked) return "chunked";
    if (this.contentLength === 0) return "none";
    return this.contentLength > 0 ? "length" : "close";
  }
}

/** Parses a complete head, or returns a sentence that says why it is refused (for the log only). */
export function parseResponseHead(text: string): ResponseHead | string {
  const head = new ResponseHead(text);
  if (!text.startsWith("HTTP/1.")) return "not an HTTP/1 status line";
  const minor = text.charCodeAt(7) - 48;
  if (minor !== 0 && minor !== 1) return "unknown HTTP version";
  head.minor = minor;
  if (text.charCodeAt(8) !== 32) return "malformed status line";
  for (let i = 9; i < 12; i++) {
    const digit = text.charCodeAt(i) - 48;
    if (!(digit >= 0 && digit <= 9)) return "malformed status code";
    head.status = head.status * 10 + digit;
  }
  if (head.status < 100 || head.status > 599) return "status code out of range";
  let i = 12;
  // The space before an empty reason is often left out: nothing can be hidden there.
  if (text.charCodeAt(i) === 32) i++;
  else if (text.charCodeAt(i) !== 13) return "malformed status line";
  const reasonStart = i;
  while (VALUE[text.charCodeAt(i)] === 1) i++;
  if (text.charCodeAt(i) !== 13 || text.charCodeAt(i + 1) !== 10) return "malformed status line";
  head.reason = text.slice(reasonStart, i);
  const end = scanFields(head.fields, i + 2, LIMITS.responseHeadersMax);
  if (end === -2) return "too many header fields";
  if (end !== text.length) return "malformed header field";
  return applyFields(head);
}

function applyFields(head: ResponseHead): ResponseHead | string {
  const at = head.fields.at;
  const text = head.fields.text;
  let askedClose = false;
  let askedKeepAlive = false;
  for (let i = 0; i < at.length; i += STRIDE) {
    const kind = at[i + 4];
    if (kind < FIELD.CONTENT_LENGTH || kind > FIELD.CONNECTION) continue;
    const start = at[i + 2];
    const end = at[i + 3];
    if (kind === FIELD.CONTENT_LENGTH) {
      if (head.contentLength !== -1) return "two Content-Length fields";
      head.contentLength = parseContentLength(text, start, end);
      if (head.contentLength === -1) return "malformed Content-Length";
    } else if (kind === FIELD.TRANSFER_ENCODING) {
      if (head.chunked) return "two Transfer-Encoding fields";
      if (head.minor === 0) return "Transfer-Encoding in HTTP/1.0";
      if (!equalsLower(text, start, end, "chunked")) return "unknown transfer coding";
      if (isFollowedByTab(text, end)) return "a tab after the transfer coding";
      head.chunked = true;
    } else {
      eachListElement(text.slice(start, end), (element) => {
        const option = element.toLowerCase();
        if (option === "close") askedClose = true;
        else if (option === "keep-alive") askedKeepAlive = true;
        else (head.nominated ??= []).push(option);
      });
    }
  }
  if (head.chunked && head.contentLength !== -1) return "Content-Length and Transfer-Encoding";
  head.keepAlive = !askedClose && (head.minor === 1 || askedKeepAlive);
  return head;
}
