// One line of the access log, written byte by byte into a buffer: JSON of printable ASCII, whatever
// a client or a plugin put into its parts. Lines built from strings and gathered as one text cost
// three times as much to get to the disk (bench: telemetry) and kept whole request heads alive.

import type { Exchange } from "../exchange.ts";
import { maskQuery } from "./mask-query.ts";

/** Bytes of a line at most; the bounds below add up to less. */
export const LINE_BYTES_MAX = 65_536;
const TEXT_CHARS_MAX = 2048;
const SHORT_CHARS_MAX = 256;
const VALUE_CHARS_MAX = 128;
const VALUES_MAX = 8;
const HEX = "0123456789abcdef";

/** Where lines go: `bytes[used]` is the next one; the caller sees to the room. */
export type LineSink = { readonly bytes: Uint8Array; used: number };

/** Writes one line and its newline; optional fields are left out when they are empty. */
export function writeLine(
  sink: LineSink,
  exchange: Exchange,
  durationMs: number,
  timeText: string,
): void {
  putPlain(sink, '{"time":"');
  putPlain(sink, timeText);
  putPlain(sink, '","id":');
  putQuoted(sink, exchange.requestId, SHORT_CHARS_MAX);
  putPlain(sink, ',"trace_id":');
  putQuoted(sink, exchange.traceparent.slice(3, 35), SHORT_CHARS_MAX);
  putPlain(sink, ',"client":');
  putQuoted(sink, exchange.clientIp, SHORT_CHARS_MAX);
  putPlain(sink, ',"method":');
  putQuoted(sink, exchange.method, SHORT_CHARS_MAX);
  putPlain(sink, ',"host":');
  putQuoted(sink, exchange.host, SHORT_CHARS_MAX);
  putPlain(sink, ',"path":');
  putQuoted(sink, exchange.path, TEXT_CHARS_MAX);
  if (exchange.query !== "") {
    putPlain(sink, ',"query":');
    putQuoted(sink, maskQuery(exchange.query), TEXT_CHARS_MAX);
  }
  putPlain(sink, ',"status":');
  putInteger(sink, exchange.status);
  putPlain(sink, ',"bytes_in":');
  putInteger(sink, exchange.bytesReceived);
  putPlain(sink, ',"bytes_out":');
  putInteger(sink, exchange.bytesSent);
  putPlain(sink, ',"duration_ms":');
  putDecimal(sink, durationMs);
  putPlain(sink, ',"route":');
  putQuoted(sink, exchange.routeName, SHORT_CHARS_MAX);
  writeOutcome(sink, exchange);
  putPlain(sink, "}\n");
}

function writeOutcome(sink: LineSink, exchange: Exchange): void {
  if (exchange.upstreamName !== "") {
    putPlain(sink, ',"upstream":');
    putQuoted(sink, exchange.upstreamName, SHORT_CHARS_MAX);
    putPlain(sink, ',"upstream_address":');
    putQuoted(sink, exchange.upstreamAddress, SHORT_CHARS_MAX);
    putPlain(sink, ',"attempts":');
    putInteger(sink, exchange.attempts);
  }
  if (exchange.consumer !== null) {
    putPlain(sink, ',"consumer":');
    putQuoted(sink, exchange.consumer, SHORT_CHARS_MAX);
  }
  if (exchange.decidedBy !== null) {
    putPlain(sink, ',"decided_by":');
    const { name, version } = exchange.decidedBy;
    putQuoted(sink, `${name}@${version}`, SHORT_CHARS_MAX);
  }
  if (exchange.reason !== "") {
    putPlain(sink, ',"reason":');
    putQuoted(sink, exchange.reason, SHORT_CHARS_MAX);
  }
  const userAgent = exchange.head.get("user-agent");
  if (userAgent !== null) {
    putPlain(sink, ',"user_agent":');
    putQuoted(sink, userAgent, SHORT_CHARS_MAX);
  }
  if (exchange.values !== null) {
    putPlain(sink, ',"values":');
    putValues(sink, exchange.values);
  }
}

function putValues(sink: LineSink, values: ReadonlyMap<string, string>): void {
  let count = 0;
  for (const [name, value] of values) {
    if (count === VALUES_MAX) break;
    putPlain(sink, count === 0 ? "{" : ",");
    putQuoted(sink, name, VALUE_CHARS_MAX);
    putPlain(sink, ":");
    putQuoted(sink, value, VALUE_CHARS_MAX);
    count++;
  }
  putPlain(sink, count === 0 ? "{}" : "}");
}

/** Text of our own: printable ASCII without quotes that matter. */
function putPlain(sink: LineSink, text: string): void {
  const { bytes } = sink;
  let used = sink.used;
  for (let i = 0; i < text.length; i++) bytes[used++] = text.charCodeAt(i);
  sink.used = used;
}

/**
 * A JSON string; beyond `charsMax` cut, which three dots at its end show. Controls of both sets,
 * line separators and lone surrogates could end a line for some reader or move a terminal's
 * cursor: everything that is not printable ASCII becomes an escape.
 */
function putQuoted(sink: LineSink, text: string, charsMax: number): void {
  const { bytes } = sink;
  let used = sink.used;
  const length = Math.min(text.length, charsMax);
  bytes[used++] = 0x22;
  for (let i = 0; i < length; i++) {
    const code = text.charCodeAt(i);
    if (code >= 32 && code <= 126) {
      if (code === 0x22 || code === 0x5c) bytes[used++] = 0x5c;
      bytes[used++] = code;
    } else {
      used = putEscape(bytes, used, code);
    }
  }
  if (length < text.length) {
    for (let dots = 0; dots < 3; dots++) bytes[used++] = 0x2e;
  }
  bytes[used++] = 0x22;
  sink.used = used;
}

function putEscape(bytes: Uint8Array, at: number, code: number): number {
  bytes[at] = 0x5c;
  bytes[at + 1] = 0x75;
  for (let digit = 0; digit < 4; digit++) {
    bytes[at + 2 + digit] = HEX.charCodeAt((code >> (12 - 4 * digit)) & 15);
  }
  return at + 6;
}

function putInteger(sink: LineSink, value: number): void {
  putPlain(sink, String(value));
}

// Three decimals by integers: printing a double costs 0.2 us, two integers a tenth of it.
function putDecimal(sink: LineSink, ms: number): void {
  const micros = Math.round(Math.max(0, ms) * 1000);
  const whole = Math.floor(micros / 1000);
  const rest = micros - whole * 1000;
  putInteger(sink, whole);
  putPlain(sink, rest < 10 ? ".00" : rest < 100 ? ".0" : ".");
  putInteger(sink, rest);
}
