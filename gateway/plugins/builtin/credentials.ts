// Where clients put credentials: a header, a cookie, a query parameter. Each finder tells "none",
// "one" and "several" apart, because two readers of a request with two credentials may believe
// different ones; the callers refuse it. Nothing here decides whether a credential is good.

import type { Exchange } from "../../exchange.ts";
import { equalsLower } from "../../wire/chars.ts";
import { FIELD, STRIDE } from "../../wire/fields.ts";

/** More than one credential where one is allowed. */
export const SEVERAL: unique symbol = Symbol("several");

/** One credential, none, or more than one. */
export type Found = string | null | typeof SEVERAL;

/**
 * The value of a request header that may occur once. An earlier policy's edit counts as the only
 * value, as it does for the origin.
 */
export function findHeader(exchange: Exchange, nameLower: string): Found {
  const edited = exchange.requestEdits?.get(nameLower);
  if (edited !== undefined) return edited;
  const { text, at } = exchange.head.fields;
  let found: string | null = null;
  for (let i = 0; i < at.length; i += STRIDE) {
    if (!equalsLower(text, at[i], at[i + 1], nameLower) || at[i + 4] === FIELD.DROPPED) continue;
    if (found !== null) return SEVERAL;
    found = text.slice(at[i + 2], at[i + 3]);
  }
  return found;
}

/** Every Cookie line joined to one, or null; HTTP/1.1 clients should send one, some send more. */
function cookieText(exchange: Exchange): string | null {
  const one = findHeader(exchange, "cookie");
  if (one !== SEVERAL) return one;
  const lines: string[] = [];
  exchange.head.fields.forEach((name, value) => {
    if (name === "cookie") lines.push(value);
  });
  return lines.join("; ");
}

/** The value of a cookie by its exact, case-sensitive name. */
export function findCookie(exchange: Exchange, name: string): Found {
  const text = cookieText(exchange);
  if (text === null) return null;
  let found: string | null = null;
  for (const pair of splitPairs(text, ";")) {
    if (!isNamed(pair, name)) continue;
    if (found !== null) return SEVERAL;
    found = pair.slice(name.length + 1);
  }
  return found;
}

/** Removes a cookie from what the origin will see; the other cookies stay as they were. */
export function hideCookie(exchange: Exchange, name: string): void {
  const text = cookieText(exchange);
  if (text === null) return;
  const kept = splitPairs(text, ";").filter((pair) => !isNamed(pair, name));
  exchange.editRequestHeader("cookie", kept.length === 0 ? null : kept.join("; "));
}

/**
 * The decoded value of a query parameter. Its name is compared decoded, since the origin will
 * decode it: `%6bey=1` is the parameter `key`.
 */
export function findQuery(query: string, name: string): Found {
  if (query.length === 0) return null;
  let found: string | null = null;
  for (const pair of query.split("&")) {
    const equals = pair.indexOf("=");
    if (decodeQuery(equals === -1 ? pair : pair.slice(0, equals)) !== name) continue;
    if (found !== null) return SEVERAL;
    found = equals === -1 ? "" : decodeQuery(pair.slice(equals + 1));
  }
  return found;
}

/** The query without a parameter, in every spelling of its name; the rest is left byte for byte. */
export function hideQuery(query: string, name: string): string {
  const kept = query.split("&").filter((pair) => {
    const equals = pair.indexOf("=");
    return decodeQuery(equals === -1 ? pair : pair.slice(0, equals)) !== name;
  });
  return kept.join("&");
}

/** Percent and plus decoded; a malformed text is taken as it is. */
export function decodeQuery(text: string): string {
  if (!text.includes("%") && !text.includes("+")) return text;
  const spaced = text.replaceAll("+", " ");
  try {
    return decodeURIComponent(spaced);
  } catch {
    return spaced;
  }
}

/**
 * A copy that owns its characters. A value cut out of a head is a window on the whole head's text:
 * kept in a table, it would keep up to 32 KiB alive.
 */
export function ownText(latin1: string): string {
  return Buffer.from(latin1, "latin1").latin1Slice();
}

function isNamed(pair: string, name: string): boolean {
  return pair.startsWith(name) && pair.charCodeAt(name.length) === 0x3d;
}

// Elements without blanks around them; empty ones are passed over.
function splitPairs(text: string, separator: string): string[] {
  const pairs: string[] = [];
  for (const part of text.split(separator)) {
    let start = 0;
    let end = part.length;
    while (start < end && isBlank(part.charCodeAt(start))) start++;
    while (end > start && isBlank(part.charCodeAt(end - 1))) end--;
    if (end > start) pairs.push(part.slice(start, end));
  }
  return pairs;
}

function isBlank(code: number): boolean {
  return code === 32 || code === 9;
}
