// HTTP/2 header blocks as HTTP/1.1 text and back: the life of a request knows one form of head, and one
// strict parser guards it. What HTTP/2 allows and text would read as something else is refused here
// (RFC 9113, 8.2 and 8.3), so that no header of one request can become a line of another.

import { randomBytes } from "node:crypto";
import type { ErrorCode } from "../base/errors.ts";
import { LIMITS } from "../base/limits.ts";
import { eachListElement, isFieldValue, isToken } from "./chars.ts";

/** Names and values in turn, as node:http2 has them. */
export type RawHeaders = readonly string[];

/** Fields of one HTTP/1.1 connection: a message with one of them is malformed (RFC 9113, 8.2.2). */
const CONNECTION_FIELDS: ReadonlySet<string> = new Set([
  "connection",
  "http2-settings",
  "keep-alive",
  "proxy-connection",
  "transfer-encoding",
  "upgrade",
]);

/**
 * The text of a request's head, ready for the parser, or why there can be none. `endsHere` says that
 * no body follows.
 */
export function requestText(
  raw: RawHeaders,
  endsHere: boolean,
): { readonly text: string } | { readonly fault: ErrorCode } {
  const pseudo = new Map<string, string>();
  let fields = "";
  let cookies = "";
  let hostField: string | null = null;
  let hasLength = false;
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i];
    const value = raw[i + 1];
    if (!isFieldValue(value)) return { fault: "BAD_HEAD" };
    if (name.startsWith(":")) {
      if (pseudo.has(name) || value === "") return { fault: "BAD_HEAD" };
      pseudo.set(name, value);
    } else if (!isToken(name) || name !== name.toLowerCase() || CONNECTION_FIELDS.has(name)) {
      return { fault: "BAD_HEAD" };
    } else if (name === "te" && value.toLowerCase() !== "trailers") {
      return { fault: "BAD_HEAD" };
    } else if (name === "host") {
      if (hostField !== null) return { fault: "BAD_HOST" };
      hostField = value;
    } else if (name === "sec-websocket-key" && pseudo.has(":protocol")) {
      // Without meaning here (RFC 8441, 5.1): beside our own it would be one too many.
      continue;
    } else if (name === "cookie") {
      // Crumbs are one field again (RFC 9113, 8.2.3).
      cookies += cookies === "" ? value : `; ${value}`;
    } else {
      if (name === "content-length") hasLength = true;
      fields += `${name}: ${value}\r\n`;
    }
  }
  if (cookies !== "") fields += `cookie: ${cookies}\r\n`;
  const authority = pseudo.get(":authority") ?? hostField;
  // Two names for the host of one request: a reader could choose the other one.
  if (hostField !== null && authority !== hostField) return { fault: "BAD_HOST" };
  const line = requestLine(pseudo);
  if (line === null) return { fault: "BAD_TARGET" };
  // A tunnel has no message that could have a length.
  if (line.isWebSocket && hasLength) return { fault: "BAD_FRAMING" };
  const host = authority === null ? "" : `host: ${authority}\r\n`;
  if (!endsHere && !hasLength && !line.isWebSocket) fields += "transfer-encoding: chunked\r\n";
  const upgrade = line.isWebSocket ? webSocketFields() : "";
  const text = `${line.text}${host}${upgrade}${fields}\r\n`;
  // node:http2 holds its bound only once the client has confirmed it.
  return text.length > LIMITS.headBytesMax ? { fault: "HEAD_TOO_LARGE" } : { text };
}

function requestLine(
  pseudo: ReadonlyMap<string, string>,
): { readonly text: string; readonly isWebSocket: boolean } | null {
  const method = pseudo.get(":method") ?? "";
  const path = pseudo.get(":path") ?? "";
  const isWebSocket = method === "CONNECT" && pseudo.get(":protocol") === "websocket";
  // Only these forms: an absolute one would name the host a second time.
  if (!path.startsWith("/") && !(path === "*" && method === "OPTIONS")) return null;
  if (!isToken(method) || /[^\x21-\x7e]/.test(path)) return null;
  return { text: `${isWebSocket ? "GET" : method} ${path} HTTP/1.1\r\n`, isWebSocket };
}

// What the handshake of HTTP/1.1 has and the one of HTTP/2 does without (RFC 8441, 5.1).
function webSocketFields(): string {
  const key = randomBytes(16).toString("base64");
  return `connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-key: ${key}\r\n`;
}

/** The header block of a request whose head is this text, as the gateway writes heads. */
export function requestHeaders(text: string, scheme: "http" | "https"): string[] {
  const [method, path] = text.slice(0, text.indexOf("\r\n")).split(" ");
  const headers = [":method", method, ":scheme", scheme, ":path", path];
  eachField(text, (name, value) => {
    if (name === "host") headers.push(":authority", value);
  });
  eachField(text, (name, value) => {
    if (name !== "host" && !CONNECTION_FIELDS.has(name)) headers.push(name, value);
  });
  return headers;
}

/** The header block of a response whose status line and fields are this text. */
export function responseHeaders(text: string): string[] {
  const headers = [":status", text.slice(9, 12)];
  eachField(text, (name, value) => {
    if (!CONNECTION_FIELDS.has(name)) headers.push(name, value);
  });
  return headers;
}

/** The header block that opens a WebSocket: 200 in the place of 101, nothing accepted (RFC 8441, 5.1). */
export function tunnelHeaders(text: string): string[] {
  const headers = [":status", "200"];
  eachField(text, (name, value) => {
    if (!CONNECTION_FIELDS.has(name) && name !== "sec-websocket-accept") headers.push(name, value);
  });
  return headers;
}

/** The text of a response's head, ready for the parser; null for one that no parser should see. */
export function responseText(raw: RawHeaders): string | null {
  let status = "";
  let fields = "";
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i];
    const value = raw[i + 1];
    if (!isFieldValue(value)) return null;
    if (name === ":status") status = value;
    else if (!isToken(name) || CONNECTION_FIELDS.has(name)) return null;
    else fields += `${name}: ${value}\r\n`;
  }
  if (!/^\d{3}$/.test(status)) return null;
  const text = `HTTP/1.1 ${status} \r\n${fields}\r\n`;
  return text.length > LIMITS.responseHeadBytesMax ? null : text;
}

/** Fields that a trailer section may not have (RFC 9110, 6.5.1): they would come too late. */
const NO_TRAILERS: ReadonlySet<string> = new Set([
  ...CONNECTION_FIELDS,
  "authorization",
  "content-encoding",
  "content-length",
  "content-range",
  "content-type",
  "cookie",
  "host",
  "set-cookie",
  "te",
  "trailer",
]);

/** Trailers as lines of text; those that may not be sent so late are left out. */
export function trailerText(raw: RawHeaders): string {
  let text = "";
  for (let i = 0; i < raw.length; i += 2) {
    const [name, value] = [raw[i], raw[i + 1]];
    if (isToken(name) && !NO_TRAILERS.has(name) && isFieldValue(value))
      text += `${name}: ${value}\r\n`;
  }
  return text;
}

/** Lines of trailers as an object, as node:http2 wants them. */
export function trailerHeaders(text: string): Record<string, string | string[]> {
  const headers = Object.create(null) as Record<string, string | string[]>;
  eachField(`\r\n${text}`, (name, value) => {
    const before = headers[name];
    headers[name] = before === undefined ? value : [before, value].flat();
  });
  return headers;
}

// The text is the gateway's own: names are lower case where it wrote them, else the origin's.
function eachField(text: string, each: (nameLower: string, value: string) => void): void {
  let start = text.indexOf("\r\n") + 2;
  for (;;) {
    const end = text.indexOf("\r\n", start);
    if (end <= start) return;
    const colon = text.indexOf(":", start);
    each(
      text.slice(start, colon).toLowerCase(),
      text.slice(colon + 1, end).replace(/^[ \t]+|[ \t]+$/g, ""),
    );
    start = end + 2;
  }
}

/** True when a request's TE field says that trailers are understood. */
export function wantsTrailers(te: string | null): boolean {
  let wants = false;
  if (te !== null)
    eachListElement(te, (element) => (wants ||= element.toLowerCase() === "trailers"));
  return wants;
}
