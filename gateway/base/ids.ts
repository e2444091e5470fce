// Identifiers of requests and traces: random, made from a pool of random bytes that is turned into
// digits at once, since one system call per request would cost more than the identifier itself.

import { randomFillSync } from "node:crypto";

const POOL_BYTES = 8192;
const ID_BYTES = 8;
const REQUEST_ID_CHARS_MAX = 128;

/** A source of random identifiers; one per worker. */
export class IdSource {
  readonly #bytes = Buffer.alloc(POOL_BYTES);
  #digits = "";
  #used = 0;

  /** 32 lower-case hex digits; never all zero. */
  requestId(): string {
    return this.#take(32);
  }

  /**
   * The W3C traceparent to send upstream: a valid one is continued with a new span, keeping trace
   * and flags (Trace Context, 2.2 and 4.3); anything else starts a new, unsampled trace.
   */
  traceparent(received: string | null): string {
    if (received !== null && isTraceparent(received)) {
      return `00-${received.slice(3, 35)}-${this.#take(16)}-${received.slice(53, 55)}`;
    }
    return `00-${this.#take(32)}-${this.#take(16)}-00`;
  }

  #take(digits: number): string {
    if (this.#used + digits > this.#digits.length) this.#refill();
    const start = this.#used;
    this.#used += digits;
    return this.#digits.slice(start, this.#used);
  }

  #refill(): void {
    const bytes = randomFillSync(this.#bytes);
    // No identifier may be all zero: each begins at a multiple of eight bytes.
    for (let i = 0; i < POOL_BYTES; i += ID_BYTES) bytes[i] |= 1;
    this.#digits = bytes.toString("hex");
    this.#used = 0;
  }
}

/** True for a version 00 traceparent with lower-case digits and non-zero identifiers. */
export function isTraceparent(text: string): boolean {
  if (text.length !== 55 || !text.startsWith("00-")) return false;
  if (text.charCodeAt(35) !== 0x2d || text.charCodeAt(52) !== 0x2d) return false;
  return isHexId(text, 3, 35) && isHexId(text, 36, 52) && isHex(text, 53, 55);
}

/** True for a client's request id worth keeping: 1 to 128 characters of [A-Za-z0-9._:/+=@-]. */
export function isSaneRequestId(text: string): boolean {
  if (text.length === 0 || text.length > REQUEST_ID_CHARS_MAX) return false;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    const isAlphanumeric =
      (code >= 48 && code <= 58) || (code >= 64 && code <= 90) || (code >= 97 && code <= 122);
    // Besides those: + - . / = _
    if (!isAlphanumeric && code !== 43 && !(code >= 45 && code <= 47) && code !== 61 && code !== 95)
      return false;
  }
  return true;
}

function isHexId(text: string, start: number, end: number): boolean {
  let sum = 0;
  for (let i = start; i < end; i++) sum |= text.charCodeAt(i) ^ 48;
  return sum !== 0 && isHex(text, start, end);
}

function isHex(text: string, start: number, end: number): boolean {
  for (let i = start; i < end; i++) {
    const code = text.charCodeAt(i);
    if (!((code >= 48 && code <= 57) || (code >= 97 && code <= 102))) return false;
  }
  return true;
}
