// Responses that the gateway makes itself: by a plugin, a route's action, or an error. Text in the
// form that a connection sends: status line and fields, without the fields of framing and without
// the empty line. The body's length is always declared.

import { isGatewayError } from "../base/errors.ts";
import type { ErrorCode } from "../base/errors.ts";
import { httpDate } from "../base/clock.ts";
import { STATUS_CODES } from "../base/http-words.ts";
import type { Exchange, ResponseEdits } from "../exchange.ts";
import type { LocalResponse } from "../plugins/verdict.ts";
import type { RequestHead } from "../wire/request-head.ts";
import type { Downstream } from "./downstream.ts";

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
  edits: ResponseEdits | null,
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
    for (const [name, value] of [...edits, ...edits.added]) {
      if (value !== null && !FRAMING_NAMES.has(name)) text += `${name}: ${value}\r\n`;
    }
  }
  // 204 and 304 have no body, so a length would be a lie (RFC 9110, 8.6).
  return hasNoBody(status) ? text : `${text}content-length: ${bodyBytes}\r\n`;
}

/** gRPC's code for a status that a gateway answers with (gRPC over HTTP/2, "HTTP to gRPC"). */
const GRPC_STATUS: ReadonlyMap<number, number> = new Map([
  [400, 13], // internal
  [401, 16], // unauthenticated
  [403, 7], // permission denied
  [404, 12], // unimplemented
  [408, 4], // deadline exceeded
  [413, 8], // resource exhausted
  [429, 8],
  [502, 14], // unavailable
  [503, 14],
  [504, 4],
]);
const GRPC_UNKNOWN = 2;

/** True for a request whose client reads a status of gRPC and no other. */
export function isGrpc(contentType: string | null): boolean {
  return contentType !== null && /^application\/grpc(\+|;|$)/i.test(contentType);
}

/** A refusal as gRPC clients understand it: the status in fields of its own, no body. */
export function grpcResponse({ status, headers }: LocalResponse, reason: string): LocalResponse {
  const kept = headers.filter(([name]) => !/^(content-|cache-control$)/i.test(name));
  const message = encodeURIComponent(reason.toWellFormed());
  return {
    status: 200,
    headers: [
      ["content-type", "application/grpc"],
      ["grpc-status", String(GRPC_STATUS.get(status) ?? GRPC_UNKNOWN)],
      ["grpc-message", message],
      ...kept,
    ],
    body: "",
  };
}

/** Milliseconds of a `grpc-timeout` field, or null when it is none (8 digits and a unit). */
function grpcTimeoutMs(field: string | null): number | null {
  const match = /^(\d{1,8})([HMSmun])$/.exec(field ?? "");
  if (match === null) return null;
  const unitMs = { H: 3_600_000, M: 60_000, S: 1_000, m: 1, u: 1e-3, n: 1e-6 };
  return Math.ceil(Number(match[1]) * unitMs[match[2] as keyof typeof unitMs]);
}

/** True for the statuses that never have a body. */
export function hasNoBody(status: number): boolean {
  return status === 204 || status === 304 || status < 200;
}

/** Sends an answer whole, and marks the head as sent. */
export function sendAnswer(client: Downstream, answer: LocalResponse, exchange: Exchange): void {
  const body = bodyOf(answer);
  const text = localFields(answer, exchange.requestId, exchange.responseEdits, body.length);
  const isSent = body.length > 0 && !hasNoBody(answer.status) && exchange.method !== "HEAD";
  exchange.headSent = true;
  client.sendHead(text, isSent ? "length" : "none");
  if (isSent) {
    exchange.bytesSent = body.length;
    client.sendBody(body, 0, body.length);
  }
  client.endResponse("");
}

/** What a problem document says in its one sentence; plugins' bodies are not for a header. */
export function reasonOf({ status, body }: LocalResponse): string {
  try {
    const { detail } = JSON.parse(String(body)) as { detail?: unknown };
    if (typeof detail === "string") return detail;
  } catch {
    // Not a problem document.
  }
  return `answered with ${status}`;
}

/** The code of what was thrown; what is none of ours is INTERNAL. */
export function codeOf(error: unknown): ErrorCode {
  return isGatewayError(error) ? error.code : "INTERNAL";
}

/** For the log. */
export function stackOf(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}

// A body's bytes, whatever it was given as.
function bodyOf({ body }: LocalResponse): Buffer {
  if (typeof body === "string") return Buffer.from(body);
  return Buffer.from(body.buffer, body.byteOffset, body.byteLength);
}

/** The route's time, or the client's own where that is shorter; 0: no limit. */
export function grpcLimitMs(head: RequestHead, routeMs: number): number {
  const asked = grpcTimeoutMs(head.get("grpc-timeout"));
  return asked === null || (routeMs > 0 && routeMs < asked) ? routeMs : asked;
}
