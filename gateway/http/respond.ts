// Responses that the gateway makes itself: by a plugin, a route's action, or an error. Text in the
// form that a connection sends: status line and fields, without the fields of framing and without
// the empty line. The body's length is always declared.

import { STATUS_CODES } from "node:http";
import { httpDate } from "../base/clock.ts";
import type { HeaderEdits } from "../exchange.ts";
import type { LocalResponse } from "../plugins/verdict.ts";

/** Fields that only the connection writes; from anywhere else they are passed over. */
const FRAMING_NAMES: ReadonlySet<string> = new Set([
  "connection",
  "content-length",
  "date",
  "keep-alive",
  "transfer-encoding",
  "upgrade",
  "x-request-id",
]);

/** Status line and fields of a local response; `bodyBytes` is what its body takes. */
export function localFields(
  response: LocalResponse,
  requestId: string,
  edits: HeaderEdits | null,
  bodyBytes: number,
): string {
  const { status } = response;
  let text = `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ""}\r\ndate: ${httpDate()}\r\n`;
  for (const [name, value] of response.headers) {
    const lower = name.toLowerCase();
    if (FRAMING_NAMES.has(lower) || edits?.has(lower)) continue;
    text += `${lower}: ${value}\r\n`;
  }
  text += `x-request-id: ${requestId}\r\n`;
  if (edits !== null) {
    for (const [name, value] of edits) {
      if (value !== null && !FRAMING_NAMES.has(name)) text += `${name}: ${value}\r\n`;
    }
  }
  // 204 and 304 have no body, so a length would be a lie (RFC 9110, 8.6).
  return hasNoBody(status) ? text : `${text}content-length: ${bodyBytes}\r\n`;
}

/** True for the statuses that never have a body. */
export function hasNoBody(status: number): boolean {
  return status === 204 || status === 304 || status < 200;
}
