// WebSocket (RFC 6455) as far as a gateway must know it: whether both sides agreed to it, and where a
// frame ends, so that a close frame of our own can be put between two of theirs. Payload is passed on
// as it comes: never looked at, never inflated.

import { createHash } from "node:crypto";
import { GatewayError } from "../base/errors.ts";
import type { Exchange } from "../exchange.ts";
import { problem } from "../plugins/problem.ts";
import type { LocalResponse } from "../plugins/verdict.ts";
import type { RequestHead } from "../wire/request-head.ts";
import type { ResponseHead } from "../wire/response-head.ts";

const GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/** 16 bytes in base64 (RFC 6455, 4.1): the last digit holds two bits. */
const KEY_CHARS = 24;
const WEBSOCKET_VERSION = "13";

/** Status code 1001, "going away" (RFC 6455, 7.4.1), as a server sends it. */
export const CLOSE_GOING_AWAY: Buffer = Buffer.from([0x88, 0x02, 0x03, 0xe9]);
/** The same as a client sends it: masked, here with zeros. */
export const CLOSE_GOING_AWAY_MASKED: Buffer = Buffer.from([0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe9]);

/** True for a handshake that this version of the protocol knows the key of. */
function hasKey(head: RequestHead): boolean {
  const key = head.get("sec-websocket-key");
  return key !== null && key.length === KEY_CHARS && Buffer.from(key, "base64").length === 16;
}

/** True when the origin's 101 answers this very handshake (RFC 6455, 4.2.2). */
export function isAccepted(request: RequestHead, response: ResponseHead): boolean {
  const key = request.get("sec-websocket-key") ?? "";
  const expected = createHash("sha1").update(`${key}${GUID}`).digest("base64");
  return (
    response.get("upgrade")?.toLowerCase() === "websocket" &&
    response.nominated?.includes("upgrade") === true &&
    response.get("sec-websocket-accept") === expected
  );
}

const FIRST = 0;
const SECOND = 1;
const REST = 2; // Of the header: extended length and mask.
const PAYLOAD = 3;

/** Follows the frames of one direction (RFC 6455, 5.2). Never fails: what is malformed, the peer sees. */
export class FrameTracker {
  #state = FIRST;
  #left = 0;
  #lengthBytes = 0;
  #payload = 0;

  /** True between two frames. */
  get atBoundary(): boolean {
    return this.#state === FIRST;
  }

  /**
   * Looks at bytes[from, to). Returns the offset after the last frame that ends in them, or -1 when
   * none does.
   */
  push(bytes: Uint8Array, from: number, to: number): number {
    let boundary = -1;
    for (let i = from; i < to;) {
      if (this.#state === PAYLOAD) {
        const take = Math.min(this.#payload, to - i);
        this.#payload -= take;
        i += take;
        if (this.#payload === 0) this.#state = FIRST;
      } else {
        this.#headerByte(bytes[i++]);
      }
      if (this.#state === FIRST) boundary = i;
    }
    return boundary;
  }

  #headerByte(code: number): void {
    if (this.#state === FIRST) {
      this.#state = SECOND;
    } else if (this.#state === SECOND) {
      const length = code & 0x7f;
      this.#lengthBytes = length === 126 ? 2 : length === 127 ? 8 : 0;
      this.#payload = this.#lengthBytes === 0 ? length : 0;
      this.#left = this.#lengthBytes + (code >= 0x80 ? 4 : 0);
      this.#state = REST;
      if (this.#left === 0) this.#endHeader();
    } else {
      if (this.#lengthBytes > 0) {
        this.#lengthBytes--;
        this.#payload = this.#payload * 256 + code;
      }
      if (--this.#left === 0) this.#endHeader();
    }
  }

  #endHeader(): void {
    this.#state = this.#payload === 0 ? FIRST : PAYLOAD;
  }
}

/** What cannot become a WebSocket is told so before an origin is asked (RFC 6455, 4.2.1 and 4.4). */
export function refuseHandshake(head: RequestHead, exchange: Exchange): LocalResponse | null {
  if (head.get("sec-websocket-version") !== WEBSOCKET_VERSION) {
    exchange.reason = "UPGRADE_REQUIRED";
    const headers = [["sec-websocket-version", WEBSOCKET_VERSION]] as const;
    return problem("UPGRADE_REQUIRED", exchange.requestId, headers);
  }
  if (!hasKey(head)) throw new GatewayError("BAD_REQUEST", "a bad Sec-WebSocket-Key");
  return null;
}
