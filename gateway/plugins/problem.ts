// Local error responses as problem documents (RFC 9457). One shape for every refusal that the
// gateway makes by itself; it never carries a cause, a stack or what a client sent.

import { STATUS_CODES } from "../base/http-words.ts";
import { ERRORS } from "../base/errors.ts";
import type { ErrorCode } from "../base/errors.ts";
import type { LocalResponse } from "./verdict.ts";

const NO_HEADERS: readonly (readonly [string, string])[] = [];

/**
 * The problem document for a code: type, title (the status phrase, as `about:blank` asks), status,
 * detail (the table's public sentence unless a better one is given), code and request id.
 * `extraHeaders` are checked by the caller; `detail` is sent to the client.
 */
export function problem(
  code: ErrorCode,
  requestId: string,
  extraHeaders: readonly (readonly [string, string])[] = NO_HEADERS,
  detail: string = ERRORS[code].say,
): LocalResponse {
  const { status } = ERRORS[code];
  const title = STATUS_CODES[status] ?? "Error";
  const document = { type: "about:blank", title, status, detail, code, request_id: requestId };
  return {
    status,
    headers: [
      ["content-type", "application/problem+json"],
      ["cache-control", "no-store"],
      ...extraHeaders,
    ],
    body: JSON.stringify(document),
  };
}
