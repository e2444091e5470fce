// The chunked transfer coding (RFC 9112, 7.1), strict and incremental: decodes a body that may be
// cut anywhere, hands data on as views of the given bytes, copies nothing. Exactly CRLF ends a
// line; extensions are checked, bounded and dropped; so are trailers, and those that frame are
// refused.

import { LIMITS } from "../base/limits.ts";
import { TOKEN, VALUE, lowerCode } from "./chars.ts";

const SIZE = 0;
const SIZE_LF = 1;
const DATA = 2;
const DATA_CR = 3;
const DATA_LF = 4;
const TRAILER_START = 5;
const TRAILER_NAME = 6;
const TRAILER_VALUE = 7;
const TRAILER_LF = 8;
const END_LF = 9;
const DONE = 10;
const EXTENSION_START = 11; // After the semicolon; all states from here on are within an extension.
const EXTENSION_NAME = 12;
const EXTENSION_VALUE = 13; // After the equals sign.
const EXTENSION_TOKEN = 14;
const EXTENSION_QUOTED = 15;
const EXTENSION_PAIR = 16; // After a backslash between quotes.
const EXTENSION_UNQUOTED = 17; // After the closing quote.

/** Trailers that say where a message ends or whose it is: nobody sends them in good faith. */
const TRAILERS_REFUSED: ReadonlySet<string> = new Set([
  "content-length",
  "host",
  "transfer-encoding",
]);

/** Decoder of one body. After an error it must not be used again. */
export class ChunkedDecoder {
  #state = SIZE;
  #size = 0;
  #digits = 0;
  #extensionBytes = 0;
  #trailerBytes = 0;
  #trailerName = "";

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
        return this.#state >= EXTENSION_START ? this.#extensionByte(code) : this.#trailerByte(code);
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
    else if (code === 0x3b) this.#state = EXTENSION_START;
    else return false;
    return true;
  }

  // `;name`, `;name=token` or `;name="quoted"` (RFC 9112, 7.1.1), without bad white space. Nothing
  // of it is used, but where readers differ about its end they see different bodies.
  #extensionByte(code: number): boolean {
    const state = this.#state;
    const mayEnd =
      state === EXTENSION_NAME || state === EXTENSION_TOKEN || state === EXTENSION_UNQUOTED;
    if (mayEnd && code === 13) {
      this.#state = SIZE_LF;
      return true;
    }
    if (++this.#extensionBytes > LIMITS.chunkExtensionBytesMax) return false;
    if (mayEnd && code === 0x3b) {
      this.#state = EXTENSION_START;
      return true;
    }
    switch (state) {
      case EXTENSION_START:
        this.#state = EXTENSION_NAME;
        return TOKEN[code] === 1;
      case EXTENSION_NAME:
        if (code === 0x3d) this.#state = EXTENSION_VALUE;
        else return TOKEN[code] === 1;
        return true;
      case EXTENSION_VALUE:
        this.#state = code === 0x22 ? EXTENSION_QUOTED : EXTENSION_TOKEN;
        return code === 0x22 || TOKEN[code] === 1;
      case EXTENSION_TOKEN:
        return TOKEN[code] === 1;
      case EXTENSION_QUOTED:
        if (code === 0x22) this.#state = EXTENSION_UNQUOTED;
        else if (code === 0x5c) this.#state = EXTENSION_PAIR;
        return VALUE[code] === 1;
      case EXTENSION_PAIR:
        this.#state = EXTENSION_QUOTED;
        return VALUE[code] === 1;
      default:
        return false;
    }
  }

  #trailerByte(code: number): boolean {
    if (++this.#trailerBytes > LIMITS.trailerBytesMax) return false;
    switch (this.#state) {
      case TRAILER_START:
        this.#trailerName = "";
        this.#state = code === 13 ? END_LF : TRAILER_NAME;
        return code === 13 || this.#trailerNameByte(code);
      case TRAILER_NAME:
        if (code !== 0x3a) return this.#trailerNameByte(code);
        this.#state = TRAILER_VALUE;
        return !TRAILERS_REFUSED.has(this.#trailerName);
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

  #trailerNameByte(code: number): boolean {
    this.#trailerName += String.fromCharCode(lowerCode(code));
    return TOKEN[code] === 1;
  }
}

function hexDigit(code: number): number {
  if (code >= 48 && code <= 57) return code - 48;
  const letter = code | 32;
  return letter >= 97 && letter <= 102 ? letter - 87 : -1;
}
