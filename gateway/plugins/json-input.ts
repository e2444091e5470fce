// A request as JSON, for plugins whose manifest asks for it whole instead of by host functions.

import { isUtf8 } from "node:buffer";
import { isOwnHeader } from "../exchange.ts";
import type { AskedRequest } from "./abi.ts";

/** What goes beside the request. */
export type JsonInputParts = {
  /** By lower-case name, as `header` answers. */
  readonly headers: ReadonlyMap<string, string>;
  /** How much of the body may be seen; null for none. */
  readonly bodyBytesMax: number | null;
  readonly config: Readonly<Record<string, unknown>>;
};

/** The input of one call (abi.md). */
export function jsonInput(request: AskedRequest, parts: JsonInputParts): string {
  return JSON.stringify({
    method: request.method,
    path: request.path,
    query: request.query,
    host: request.host,
    scheme: request.scheme,
    client_ip: request.clientIp,
    request_id: request.requestId,
    route: request.routeName,
    params: Object.fromEntries(request.params ?? []),
    headers: shownHeaders(parts.headers),
    consumer: request.consumer,
    claims: request.claims,
    ...bodyInput(request, parts.bodyBytesMax),
    config: parts.config,
  });
}

// Only for plugins that may see bodies: text where it is UTF-8, else base64.
function bodyInput({ body }: AskedRequest, bytesMax: number | null): object {
  if (bytesMax === null || body === null) return {};
  const { buffer, byteOffset, length } = body.bytes;
  const shown = Buffer.from(buffer, byteOffset, length).subarray(0, bytesMax);
  const whole = { body_is_whole: body.whole && shown.length === length };
  if (isUtf8(shown)) return { body: shown.toString("utf8"), ...whole };
  return { body_base64: shown.toString("base64"), ...whole };
}

// What the gateway says of a request stands beside the headers already. Clients choose the names, and
// __proto__ is one of them.
function shownHeaders(headers: ReadonlyMap<string, string>): Record<string, string> {
  const record = Object.create(null) as Record<string, string>;
  for (const [name, value] of headers) {
    if (name === "host" || !isOwnHeader(name)) record[name] = value;
  }
  return record;
}
