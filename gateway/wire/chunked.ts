// The chunked transfer coding (RFC 9112, 7.1), strict and incremental: decodes a body that may be
// cut anywhere, hands data on as views of the given bytes, copies nothing. Exactly CRLF ends a line;
// extensions are dropped and bounded; trailers are checked, bounded and dropped by rule.

import { LIMITS } from "../base/limits.ts";
import { TOKEN, VALUE } from "./chars.ts";

const SIZE = 0;
const EXTENSION = 1;
const SIZE_LF = 2;
const DATA = 3;
const DATA_CR = 4;
const DATA_LF = 5;
const TRAILER_START = 6;
const TRAILER_NAME = 7;
const TRAILER_VALUE = 8;
const TRAILER_LF = 9;
const END_LF = 10;
const DONE = 11;

/** Decoder of one body. After an error it must not be used again. */
export class ChunkedDecoder {
  #state = SIZE;
  #size = 0;
  #digits = 0;
  #extensionBytes = 0;
  #trailerBytes = 0;

  /** True once the last chunk and the trailer section were read. */
  get done(): boolean {
    return this.#state === DONE;
  }

  /**
   * Decodes bytes[start, end). Calls `onData` for each run of body bytes. Returns the offset of the
   * first byte it did not take (`end`, or less once done), or -1 for a syntax error.
   */
  push(
    bytes: Buffer,
    start: number,
    onData: (bytes: Buffer, from: number, to: number) => void,
  ): number {
    const end = bytes.length;
    let i = start;
    while (i < end && this.#state !== DONE) {
      if (this.#state === DATA) {
        const take = Math.min(this.#size, end - i);
        onData(bytes, i, i + take);
        i += take;
        this.#size -= take;
        if (this.#size === 0) this.#state = DATA_CR;
      } else if (!this.#step(bytes[i++])) {
        return -1;
      }
    }
    return i;
  }

  // One byte of everything that is not data; false refuses the body.
  #step(code: number): boolean {
    switch (this.#state) {
      case SIZE:
        return this.#sizeByte(code);
      case EXTENSION:
        if (code === 13) this.#state = SIZE_LF;
        else if (++this.#extensionBytes > LIMITS.chunkExtensionBytesMax) return false;
        else return VALUE[code] === 1;
        return true;
      case SIZE_LF:
        this.#state = this.#size === 0 ? TRAILER_START : DATA;
        this.#digits = 0;
        return code === 10;
      case DATA_CR:
        this.#state = DATA_LF;
        return code === 13;
      case DATA_LF:
        this.#state = SIZE;
        this.#size = 0;
        return code === 10;
      default:
        return this.#trailerByte(code);
    }
  }

  #sizeByte(code: number): boolean {
    const digit = hexDigit(code);
    if (digit !== -1) {
      if (++this.#digits > LIMITS.chunkSizeDigitsMax) return false;
      this.#size = this.#size * 16 + digit;
      return true;
    }
    if (this.#digits === 0) return false;
    if (code === 13) this.#state = SIZE_LF;
    else if (code === 0x3b) this.#state = EXTENSION;
    else return false;
    return true;
  }

  #trailerByte(code: number): boolean {
    if (++this.#trailerBytes > LIMITS.trailerBytesMax) return false;
    switch (this.#state) {
      case TRAILER_START:
        if (code === 13) this.#state = END_LF;
        else if (code < 128 && TOKEN[code] === 1) this.#state = TRAILER_NAME;
        else return false;
        return true;
      case TRAILER_NAME:
        if (code === 0x3a) this.#state = TRAILER_VALUE;
        else return code < 128 && TOKEN[code] === 1;
        return true;
      case TRAILER_VALUE:
        if (code === 13) this.#state = TRAILER_LF;
        else return VALUE[code] === 1;
        return true;
      case TRAILER_LF:
        this.#state = TRAILER_START;
        return code === 10;
      default:
        this.#state = DONE;
        return code === 10;
    }
  }
}

function hexDigit(code: number): number {
  if (code >= 48 && code <= 57) return code - 48;
  const letter = code | 32;
  return letter >= 97 && letter <= 102 ? letter - 87 : -1;
}
