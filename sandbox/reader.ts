// A bounded cursor over the bytes of a module: every read checks the end, and a malformed number is
// an error that says where. It keeps `pos <= end` and never looks past `end`.

import { SandboxError } from "./errors.ts";

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Reads the primitive values of the Wasm binary format (core specification, chapter 5). */
export class Reader {
  readonly bytes: Uint8Array;
  pos: number;
  readonly end: number;

  constructor(bytes: Uint8Array, pos: number, end: number) {
    this.bytes = bytes;
    this.pos = pos;
    this.end = end;
  }

  get done(): boolean {
    return this.pos === this.end;
  }

  u8(): number {
    if (this.pos >= this.end) this.fail("ends early");
    return this.bytes[this.pos++];
  }

  skip(count: number): void {
    if (count > this.end - this.pos) this.fail("ends early");
    this.pos += count;
  }

  /** An unsigned number of at most 32 bits in at most five bytes. */
  u32(): number {
    const { pos } = this;
    // Most numbers of a module have one byte: this is where its time goes (bench/micro/metering.bench.ts).
    if (pos < this.end && this.bytes[pos] < 128) {
      this.pos = pos + 1;
      return this.bytes[pos];
    }
    return this.#longU32();
  }

  #longU32(): number {
    let byte = this.u8();
    let value = byte & 127;
    for (let shift = 7; shift < 35; shift += 7) {
      byte = this.u8();
      if (shift === 28 && byte > 15) break;
      value += (byte & 127) * 2 ** shift;
      if (byte < 128) return value;
    }
    return this.fail("holds a number of more than 32 bits");
  }

  /** Steps over a signed number of at most `bytesMax` bytes (5 for 32 bits, 10 for 64). */
  skipLeb(bytesMax: number): void {
    const { bytes, pos } = this;
    const end = Math.min(pos + bytesMax, this.end);
    for (let at = pos; at < end; at++) {
      if (bytes[at] >= 128) continue;
      this.pos = at + 1;
      return;
    }
    this.pos = end;
    if (end < pos + bytesMax) this.fail("ends early");
    this.fail("holds a number that does not end");
  }

  /** A signed 32-bit number. */
  s32(): number {
    let value = 0;
    for (let shift = 0; shift < 35; shift += 7) {
      const byte = this.u8();
      value |= (byte & 127) << shift;
      if (byte < 128) return shift < 28 && (byte & 64) !== 0 ? value | (-1 << (shift + 7)) : value;
    }
    return this.fail("holds a number that does not end");
  }

  /** A name of at most `bytesMax` bytes of valid UTF-8. */
  name(bytesMax: number, what: string): string {
    const length = this.u32();
    if (length > bytesMax) {
      const found = `${what} of ${length} bytes`;
      throw new SandboxError("limit_exceeded", `The module has ${found}; ${bytesMax} are allowed.`);
    }
    const start = this.pos;
    this.skip(length);
    try {
      return utf8.decode(this.bytes.subarray(start, this.pos));
    } catch {
      return this.fail(`has ${what} that is not UTF-8`);
    }
  }

  /** A cursor over the next `length` bytes, which this one steps over. */
  slice(length: number): Reader {
    const start = this.pos;
    this.skip(length);
    return new Reader(this.bytes, start, this.pos);
  }

  fail(what: string): never {
    throw new SandboxError("invalid_module", `The module ${what} at byte ${this.pos}.`);
  }
}
