// A growing buffer for the bytes of a module: the counterpart of reader.ts. It owns its memory and
// hands out a copy at the end.

/** Writes the primitive values of the Wasm binary format (core specification, chapter 5). */
export class Writer {
  #bytes: Uint8Array;
  #length = 0;

  constructor(capacity = 256) {
    this.#bytes = new Uint8Array(capacity);
  }

  get length(): number {
    return this.#length;
  }

  u8(value: number): void {
    if (this.#length === this.#bytes.length) this.#grow(1);
    this.#bytes[this.#length++] = value;
  }

  /** An unsigned number of at most 32 bits. */
  u32(value: number): void {
    let rest = value;
    while (rest >= 128) {
      this.u8((rest & 127) | 128);
      rest >>>= 7;
    }
    this.u8(rest);
  }

  /** A signed number of 32 bits. */
  s32(value: number): void {
    let rest = value;
    while (rest < -64 || rest > 63) {
      this.u8((rest & 127) | 128);
      rest >>= 7;
    }
    this.u8(rest & 127);
  }

  /** The bytes of `source` from `start` up to `end`. */
  copy(source: Uint8Array, start: number, end: number): void {
    const count = end - start;
    if (this.#length + count > this.#bytes.length) this.#grow(count);
    const bytes = this.#bytes;
    // A call into the runtime costs more than a short loop.
    if (count < 48) {
      let at = this.#length;
      for (let i = start; i < end; i++) bytes[at++] = source[i];
    } else {
      bytes.set(source.subarray(start, end), this.#length);
    }
    this.#length += count;
  }

  all(source: Uint8Array): void {
    this.copy(source, 0, source.length);
  }

  /** ASCII with its length before it. */
  name(text: string): void {
    this.u32(text.length);
    for (let i = 0; i < text.length; i++) this.u8(text.charCodeAt(i));
  }

  /** Room for a number that `patchLength` fills in when what follows has been written. */
  reserveLength(): number {
    const at = this.#length;
    for (let i = 0; i < LENGTH_BYTES; i++) this.u8(0);
    return at;
  }

  /** Writes the count of bytes since `reserveLength` answered `at`, in as many bytes as it took. */
  patchLength(at: number): void {
    let rest = this.#length - at - LENGTH_BYTES;
    for (let i = 0; i < LENGTH_BYTES; i++) {
      this.#bytes[at + i] = (rest & 127) | (i < LENGTH_BYTES - 1 ? 128 : 0);
      rest >>>= 7;
    }
  }

  /** What was written, valid until the next write. */
  view(): Uint8Array {
    return this.#bytes.subarray(0, this.#length);
  }

  /** A copy of what was written. */
  result(): Uint8Array {
    return this.#bytes.slice(0, this.#length);
  }

  clear(): void {
    this.#length = 0;
  }

  #grow(count: number): void {
    const bytes = new Uint8Array(Math.max(this.#bytes.length * 2, this.#length + count));
    bytes.set(this.view());
    this.#bytes = bytes;
  }
}

// 28 bits: far beyond what an upload may be.
const LENGTH_BYTES = 4;
