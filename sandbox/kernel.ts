// One Extism kernel: kernel.wat instantiated over a memory of its own, and the host's side of it.
// It must never grow its memory and never hand a guest a view of it: the host's views live as long
// as the kernel, and a handle is checked against the kernel's own words before it is followed.

import { KERNEL_BASE64 } from "./kernel-bytes.ts";

/** The largest kernel memory: a length has 24 bits, and the size classes end here. */
export const KERNEL_BYTES_TOP = 8 * 1024 * 1024;

// Where kernel.wat keeps what the host reads, as indices of 32-bit words.
const OUTPUT_OFFSET = 4;
const OUTPUT_LENGTH = 5;
const ERROR = 6;
const FAILED_ALLOCS = 7;
const GRANULE_WORDS = 256;
const LENGTH_MASK = 0xff_ffff;

// Below these lengths a loop over bytes beats a call into the runtime
// (bench/micro/sandbox.bench.ts, "strings").
const LOOP_WRITE_MAX = 16;
const LOOP_READ_MAX = 4;

// Strings that guests read again and again, header names above all, are found without being made.
const CACHE_SLOTS = 256;
const CACHE_TEXT_MAX = 20;

type KernelExports = {
  begin(length: number): number;
  host_alloc(length: number): number;
  free(handle: bigint): void;
};

/** The kernel's module; synchronous, about 2 KiB. Compile it once and share it. */
export function compileKernel(): WebAssembly.Module {
  return new WebAssembly.Module(Buffer.from(KERNEL_BASE64, "base64"));
}

/** The host's side of one kernel. Handles are what guests hold: addresses, 0 for none. */
export class Kernel {
  /** What guests import: the kernel's own functions, so a guest's loads and stores stay in Wasm. */
  readonly exports: WebAssembly.Exports;
  readonly #calls: KernelExports;
  readonly #bytes: Buffer;
  readonly #words: Int32Array;
  readonly #dataStart: number;
  readonly #dataEnd: number;
  readonly #cache: string[];

  /**
   * `bytesMax` is what one call may use, a positive multiple of 16 up to KERNEL_BYTES_TOP. `refuel`
   * becomes the export of that name, which guests call when their fuel or stack is used up.
   */
  constructor(module: WebAssembly.Module, bytesMax: number, refuel: () => void) {
    if (!(bytesMax >= 16 && bytesMax <= KERNEL_BYTES_TOP && bytesMax % 16 === 0)) {
      throw new Error(`kernel memory of ${bytesMax} bytes: a multiple of 16 up to 8 MiB is needed`);
    }
    // The unusable first granule comes on top, so that `bytesMax` is what the call gets.
    const dataBytes = bytesMax + 16;
    this.#dataStart = Math.ceil((GRANULE_WORDS * 4 + dataBytes / 4) / 4096) * 4096;
    this.#dataEnd = this.#dataStart + dataBytes;
    const pages = Math.ceil(this.#dataEnd / 65_536);
    const memory = new WebAssembly.Memory({ initial: pages, maximum: pages });
    const kernel = { memory, data_start: this.#dataStart, data_end: this.#dataEnd, refuel };
    this.exports = new WebAssembly.Instance(module, { kernel }).exports;
    this.#calls = this.exports as unknown as KernelExports;
    this.#bytes = Buffer.from(memory.buffer);
    this.#words = new Int32Array(memory.buffer);
    this.#cache = Array.from({ length: CACHE_SLOTS }, () => "");
    this.#calls.begin(0);
  }

  /** Starts a call: nothing of the one before is left. False when the input does not fit. */
  begin(input: string | Uint8Array | null): boolean {
    if (input === null || input.length === 0) {
      this.#calls.begin(0);
      return true;
    }
    if (typeof input !== "string") {
      // Checked here: a length is cut to 32 bits on its way into Wasm.
      if (input.length >= this.#dataEnd) return false;
      const at = this.#calls.begin(input.length);
      if (at === 0) return false;
      this.#bytes.set(input, at);
      return true;
    }
    const length = Buffer.byteLength(input, "utf8");
    if (length >= this.#dataEnd) return false;
    const at = this.#calls.begin(length);
    if (at === 0) return false;
    this.#bytes.write(input, at, length, "utf8");
    return true;
  }

  /** Bytes in use of the block that begins at `handle`; 0 when none does. */
  lengthOf(handle: bigint): number {
    const at = Number(handle) - this.#dataStart;
    // The position, word 0, bounds it; what lies beyond has no live block.
    if (!(at > 0 && at < this.#words[0] - this.#dataStart) || (at & 15) !== 0) return 0;
    const word = this.#words[GRANULE_WORDS + (at >>> 4)];
    return word < 0 ? word & LENGTH_MASK : 0;
  }

  /** The block's text; bytes that are not UTF-8 become U+FFFD; "" for no block. */
  readString(handle: bigint): string {
    const length = this.lengthOf(handle);
    return length === 0 ? "" : this.#text(Number(handle), length);
  }

  /** A copy of the block's bytes, empty for no block. */
  readBytes(handle: bigint): Uint8Array {
    const at = Number(handle);
    return this.#copy(at, this.lengthOf(handle));
  }

  /** Puts `text` as UTF-8 into a new block; 0n when it is empty or there is no room. */
  writeString(text: string): bigint {
    const chars = text.length;
    if (chars <= LOOP_WRITE_MAX) {
      const at = this.#calls.host_alloc(chars);
      if (at === 0) return 0n;
      const bytes = this.#bytes;
      let index = 0;
      for (; index < chars; index++) {
        const code = text.charCodeAt(index);
        if (code > 127) break;
        bytes[at + index] = code;
      }
      if (index === chars) return BigInt(at);
      this.#calls.free(BigInt(at));
    }
    const length = Buffer.byteLength(text, "utf8");
    const at = length >= this.#dataEnd ? 0 : this.#calls.host_alloc(length);
    if (at === 0) return 0n;
    this.#bytes.write(text, at, length, "utf8");
    return BigInt(at);
  }

  /** Puts a copy of `bytes` into a new block; 0n when it is empty or there is no room. */
  writeBytes(bytes: Uint8Array): bigint {
    const at = bytes.length >= this.#dataEnd ? 0 : this.#calls.host_alloc(bytes.length);
    if (at === 0) return 0n;
    this.#bytes.set(bytes, at);
    return BigInt(at);
  }

  /** Gives a block back; anything else is ignored. */
  free(handle: bigint): void {
    this.#calls.free(handle);
  }

  /** Length of the output the guest set, in bytes; 0 for none. */
  get outputLength(): number {
    return this.#words[OUTPUT_LENGTH];
  }

  /** A copy of the output. */
  output(): Uint8Array {
    return this.#copy(this.#words[OUTPUT_OFFSET], this.#words[OUTPUT_LENGTH]);
  }

  /** True when the guest set an error and did not take it back. */
  get hasError(): boolean {
    return this.#words[ERROR] !== 0;
  }

  /** The error the guest set, cut to `bytesMax` bytes; "" when its block is gone. */
  error(bytesMax: number): string {
    const at = this.#words[ERROR];
    const length = Math.min(this.lengthOf(BigInt(at)), bytesMax);
    return length === 0 ? "" : this.#bytes.toString("utf8", at, at + length);
  }

  /** The block's text, cut to `bytesMax` bytes. */
  readLine(handle: bigint, bytesMax: number): string {
    const at = Number(handle);
    const length = Math.min(this.lengthOf(handle), bytesMax);
    return length === 0 ? "" : this.#bytes.toString("utf8", at, at + length);
  }

  /** Allocations of this call that found no room. */
  get failedAllocs(): number {
    return this.#words[FAILED_ALLOCS];
  }

  #copy(at: number, length: number): Uint8Array {
    const out = new Uint8Array(length);
    if (length !== 0) out.set(this.#bytes.subarray(at, at + length));
    return out;
  }

  #text(at: number, length: number): string {
    if (length > CACHE_TEXT_MAX) return this.#bytes.toString("utf8", at, at + length);
    const bytes = this.#bytes;
    const end = at + length;
    let hash = length;
    for (let i = at; i < end; i++) hash = (Math.imul(hash, 31) + bytes[i]) | 0;
    const slot = (hash ^ (hash >>> 8)) & (CACHE_SLOTS - 1);
    const cached = this.#cache[slot];
    if (cached.length === length) {
      let i = 0;
      while (i < length && cached.charCodeAt(i) === bytes[at + i]) i++;
      if (i === length) return cached;
    }
    const text = length <= LOOP_READ_MAX ? this.#short(at, end) : bytes.toString("utf8", at, end);
    // Only ASCII is cached: there, characters and bytes are the same thing to compare.
    if (text.length === length && isAscii(text)) this.#cache[slot] = text;
    return text;
  }

  #short(at: number, end: number): string {
    let text = "";
    for (let i = at; i < end; i++) {
      const code = this.#bytes[i];
      if (code > 127) return this.#bytes.toString("utf8", at, end);
      text += String.fromCharCode(code);
    }
    return text;
  }
}

function isAscii(text: string): boolean {
  for (let i = 0; i < text.length; i++) if (text.charCodeAt(i) > 127) return false;
  return true;
}
