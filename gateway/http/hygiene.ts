// What may cross the gateway, in both directions: builds the head that the origin gets and the fields
// that the client gets. Fields of one connection stay on it (RFC 9110, 7.6.1), the gateway's own
// fields are never taken from a stranger, and kept fields are copied in runs, not one by one.

import { httpDate } from "../base/clock.ts";
import type { HeaderEdits } from "../exchange.ts";
import type { Exchange } from "../exchange.ts";
import { FIELD, NEVER_NOMINATED, STRIDE } from "../wire/fields.ts";
import type { FieldList } from "../wire/fields.ts";
import { wantsTrailers } from "../wire/h2-fields.ts";
import type { ResponseHead } from "../wire/response-head.ts";

/** An informational response as the client gets it: of its fields only links. */
export function interimText(head: ResponseHead): string {
  let text = `HTTP/1.1 ${head.status} ${head.reason}\r\n`;
  head.fields.forEach((name, value) => {
    if (name === "link") text += `link: ${value}\r\n`;
  });
  return `${text}\r\n`;
}

/** Kinds of request fields that are not copied: the gateway writes its own or drops them. */
const REQUEST_DROPS = dropTable([
  FIELD.HOST,
  FIELD.CONTENT_LENGTH,
  FIELD.TRANSFER_ENCODING,
  FIELD.CONNECTION,
  FIELD.HOP,
  FIELD.EXPECT,
  FIELD.FORWARDING,
  FIELD.REQUEST_ID,
  FIELD.TRACEPARENT,
  FIELD.UPGRADE,
  FIELD.DROPPED,
]);

const RESPONSE_DROP_KINDS = [
  FIELD.TRANSFER_ENCODING,
  FIELD.CONNECTION,
  FIELD.HOP,
  FIELD.UPGRADE,
  FIELD.REQUEST_ID,
];
const RESPONSE_DROPS = dropTable(RESPONSE_DROP_KINDS);
/** 1xx and 204 have no length to declare (RFC 9110, 8.6). */
const BODILESS_DROPS = dropTable([...RESPONSE_DROP_KINDS, FIELD.CONTENT_LENGTH]);

function dropTable(kinds: readonly number[]): Uint8Array {
  const table = new Uint8Array(16);
  for (const kind of kinds) table[kind] = 1;
  return table;
}

/** What a request's head needs beside the exchange. */
export type RequestHeadParts = {
  /** Value of the Host field to send. */
  readonly host: string;
  /** Value of X-Forwarded-For: the chain so far and the peer. */
  readonly forwardedFor: string;
  /** Host as the client sent it. */
  readonly forwardedHost: string;
  /** Declared body bytes, or -1 for none. */
  readonly contentLength: number;
  readonly chunked: boolean;
  /** The request asks for WebSocket, and may. */
  readonly websocket: boolean;
  /** The origin's trailers can be passed on. */
  readonly trailers: boolean;
};

/** The request's head as the origin gets it: Latin-1 text with its empty line. */
export function buildRequestHead(exchange: Exchange, parts: RequestHeadParts): string {
  const { head, query } = exchange;
  const target = query === "" ? exchange.path : `${exchange.path}?${query}`;
  let text = `${exchange.method} ${target} HTTP/1.1\r\nhost: ${parts.host}\r\n`;
  // What the request's Connection nominates, its parser has dropped.
  text += copyFields(head.fields, REQUEST_DROPS, null, exchange.requestEdits);
  text += ownFields(exchange, parts);
  // Only this of TE may go on: it says that trailers are understood all the way (RFC 9110, 10.1.4).
  if (parts.trailers && wantsTrailers(head.get("te"))) text += "te: trailers\r\n";
  if (parts.chunked) text += "transfer-encoding: chunked\r\n";
  else if (parts.websocket) text += "connection: upgrade\r\nupgrade: websocket\r\n";
  else if (parts.contentLength >= 0) text += `content-length: ${parts.contentLength}\r\n`;
  text += editLines(exchange.requestEdits);
  return `${text}\r\n`;
}

// What the gateway says of the client, and to which request and trace this one belongs.
function ownFields(exchange: Exchange, parts: RequestHeadParts): string {
  const { requestEdits: edits } = exchange;
  const { forwardedFor, forwardedHost } = parts;
  return (
    ownLine("x-forwarded-for", forwardedFor, edits) +
    ownLine("x-forwarded-proto", exchange.scheme, edits) +
    ownLine("x-forwarded-host", forwardedHost, edits) +
    ownLine("forwarded", forwardedElement(exchange, forwardedHost), edits) +
    ownLine("x-request-id", exchange.requestId, edits) +
    ownLine("traceparent", exchange.traceparent, edits)
  );
}

// The word of a policy or of the route replaces the gateway's: of two lines readers choose either.
function ownLine(name: string, value: string, edits: HeaderEdits | null): string {
  return edits !== null && edits.has(name) ? "" : `${name}: ${value}\r\n`;
}

/**
 * The response's status line and fields as the client gets them, without the fields that delimit
 * the body (Content-Length is kept) and without the empty line.
 */
export function buildResponseFields(head: ResponseHead, exchange: Exchange): string {
  const edits = exchange.responseEdits;
  const reason = head.reason === "" ? "" : head.reason;
  let text = `HTTP/1.1 ${head.status} ${reason}\r\n`;
  const drops = head.status === 204 || head.status < 200 ? BODILESS_DROPS : RESPONSE_DROPS;
  text += copyFields(head.fields, drops, head.nominated, edits);
  if (!hasKind(head.fields, FIELD.DATE)) text += ownLine("date", httpDate(), edits);
  text += ownLine("x-request-id", exchange.requestId, edits);
  return text + editLines(edits) + editLines(edits?.added ?? null);
}

// Kept neighbours are cut out as one run of the original text.
function copyFields(
  fields: FieldList,
  drops: Uint8Array,
  nominated: readonly string[] | null,
  edits: HeaderEdits | null,
): string {
  const { at, text } = fields;
  const lengths = lengthsOf(nominated) | lengthsOf(edits?.keys() ?? null);
  let copied = "";
  let runStart = -1;
  for (let i = 0; i < at.length; i += STRIDE) {
    const dropped =
      drops[at[i + 4]] === 1 ||
      ((lengths & lengthBit(at[i + 1] - at[i])) !== 0 &&
        isReplaced(text.slice(at[i], at[i + 1]).toLowerCase(), nominated, edits));
    if (!dropped) {
      if (runStart === -1) runStart = at[i];
    } else if (runStart !== -1) {
      copied += text.slice(runStart, at[i]);
      runStart = -1;
    }
  }
  // The last run ends before the empty line.
  return runStart === -1 ? copied : copied + text.slice(runStart, text.length - 2);
}

// The lengths of some names as bits: only a field whose name has one of them can be replaced, and most
// names need not be cut out and looked up.
function lengthsOf(names: Iterable<string> | null): number {
  let bits = 0;
  if (names !== null) for (const name of names) bits |= lengthBit(name.length);
  return bits;
}

function lengthBit(length: number): number {
  return 1 << (length & 31);
}

function isReplaced(
  name: string,
  nominated: readonly string[] | null,
  edits: HeaderEdits | null,
): boolean {
  if (edits !== null && edits.has(name)) return true;
  return nominated !== null && nominated.includes(name) && !NEVER_NOMINATED.has(name);
}

function editLines(edits: Iterable<readonly [string, string | null]> | null): string {
  if (edits === null) return "";
  let text = "";
  for (const [name, value] of edits) {
    if (value !== null) text += `${name}: ${value}\r\n`;
  }
  return text;
}

function hasKind(fields: FieldList, kind: number): boolean {
  const { at } = fields;
  for (let i = 4; i < at.length; i += STRIDE) if (at[i] === kind) return true;
  return false;
}

// RFC 7239: an IPv6 address is quoted and bracketed, a host with a port is quoted.
function forwardedElement(exchange: Exchange, host: string): string {
  const { clientIp } = exchange;
  const node = clientIp.includes(":") ? `"[${clientIp}]"` : clientIp;
  return `for=${node};host="${host}";proto=${exchange.scheme}`;
}
