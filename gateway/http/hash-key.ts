// What a request is hashed by when its upstream balances by consistent hashing. A request without
// the chosen part falls back to the client's address, so that it still always meets the same target.

import type { Exchange } from "../exchange.ts";
import type { HashBy } from "./snapshot.ts";

/** The text to hash; never empty. */
export function hashKey(rule: HashBy, exchange: Exchange): string {
  switch (rule.by) {
    case "header":
      return exchange.header(rule.name) ?? exchange.clientIp;
    case "cookie":
      return cookieValue(exchange.header("cookie"), rule.name) ?? exchange.clientIp;
    case "path":
      return exchange.path;
    default:
      return exchange.clientIp;
  }
}

/** Value of the first cookie of this name (RFC 6265, 4.2), or null. */
export function cookieValue(field: string | null, name: string): string | null {
  if (field === null) return null;
  for (let start = 0; start < field.length;) {
    let end = field.indexOf(";", start);
    if (end === -1) end = field.length;
    while (field.charCodeAt(start) === 32) start++;
    if (field.startsWith(name, start) && field.charCodeAt(start + name.length) === 0x3d) {
      return field.slice(start + name.length + 1, end);
    }
    start = end + 1;
  }
  return null;
}
