// The memory that the official SDK lends to one guest, seen as Guest sees a kernel, and what of Extism's
// memory functions the SDK leaves open: a bound on blocks, an output shorter than its block, an error
// taken back. Blocks belong to a call; the SDK forgets them when the next one begins.

import type { CallContext } from "@extism/extism";
import type { Kernel } from "./kernel.ts";

/** What host functions need of a kernel. */
type Memory = Pick<
  Kernel,
  "readString" | "readBytes" | "readLine" | "writeString" | "writeBytes" | "lengthOf" | "free"
>;

/** A function as the SDK takes it. */
// oxlint-disable-next-line typescript/no-explicit-any -- the SDK's own type; what guests pass is by signature
export type SdkFunction = (context: CallContext, ...args: any[]) => unknown;

/** An address is a block's number and a place in it; numbers from 2^15 on would be negative. */
const OFFSET_BITS = 48n;
const OFFSET_MASK = (1n << OFFSET_BITS) - 1n;
const BLOCKS_MAX = 16_384;

const NOTHING = Buffer.alloc(0);

export class SdkMemory implements Memory {
  readonly #bytesMax: number;
  #context: CallContext | null = null;
  #blocks = 0;
  #isFull = false;
  #error = 0n;
  #output: Buffer = NOTHING;
  /** Allocations of this call that found no room. */
  failedAllocs = 0;

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  /** Forgets the call before. */
  begin(): void {
    this.#blocks = 0;
    this.#isFull = false;
    this.#error = 0n;
    this.#output = NOTHING;
    this.failedAllocs = 0;
  }

  /** What the guest imports in place of the SDK's own; each is told the SDK's context first. */
  readonly imports: Record<string, SdkFunction> = {
    alloc: (context, length: bigint) => this.#within(context).alloc(BigInt.asUintN(64, length)),
    output_set: (context, at: bigint, length: bigint) =>
      this.#within(context).#setOutput(at, BigInt.asUintN(64, length)),
    error_set: (context, handle: bigint) => this.#within(context).#setError(handle),
    error_get: () => this.#error,
  };

  /** The same for a function of the host, which knows nothing of the SDK. */
  bind(call: (...args: never[]) => unknown): SdkFunction {
    return (context, ...args) => {
      this.#context = context;
      return call(...(args as never[]));
    };
  }

  alloc(length: bigint): bigint {
    // The SDK makes a block before it looks at its bound, and keeps it when it was too much.
    const fits = length <= BigInt(this.#bytesMax) && this.#blocks < BLOCKS_MAX && !this.#isFull;
    if (length === 0n) return 0n;
    const handle = fits ? this.#sdk.alloc(length) : 0n;
    this.#blocks += 1;
    if (handle === 0n) {
      this.#isFull ||= fits;
      this.failedAllocs += 1;
    }
    return handle;
  }

  readString(handle: bigint): string {
    return this.#block(handle).toString("utf8");
  }

  readBytes(handle: bigint): Uint8Array {
    return new Uint8Array(this.#block(handle));
  }

  readLine(handle: bigint, bytesMax: number): string {
    return this.#block(handle).toString("utf8", 0, bytesMax);
  }

  writeString(text: string): bigint {
    return this.writeBytes(Buffer.from(text, "utf8"));
  }

  writeBytes(bytes: Uint8Array): bigint {
    const handle = this.alloc(BigInt(bytes.length));
    this.#block(handle).set(handle === 0n ? NOTHING : bytes);
    return handle;
  }

  lengthOf(handle: bigint): number {
    return this.#block(handle).length;
  }

  /** Nothing: a host function's few arguments wait for the end of the call. */
  free(): void {}

  get hasError(): boolean {
    return this.#error !== 0n;
  }

  error(bytesMax: number): string {
    return this.readLine(this.#error, bytesMax);
  }

  /** The output, valid until the next call. */
  get output(): Buffer {
    return this.#output;
  }

  #within(context: CallContext): this {
    this.#context = context;
    return this;
  }

  get #sdk(): CallContext {
    if (this.#context === null) throw new Error("the SDK has called no function yet");
    return this.#context;
  }

  // The block that begins at `handle`; empty for none.
  #block(handle: bigint): Buffer {
    if (handle <= 0n || (handle & OFFSET_MASK) !== 0n) return NOTHING;
    // A view of the block; the SDK's declarations lose what it extends.
    const found = this.#sdk.read(handle) as DataView | null;
    return found === null ? NOTHING : Buffer.from(found.buffer);
  }

  // What is out of reach is ignored, as the other tiers ignore it.
  #setOutput(at: bigint, length: bigint): void {
    const offset = at & OFFSET_MASK;
    const block = this.#block(at - offset);
    if (length === 0n) this.#output = NOTHING;
    else if (offset + length <= BigInt(block.length)) {
      this.#output = block.subarray(Number(offset), Number(offset + length));
    }
  }

  #setError(handle: bigint): void {
    if (handle === 0n || this.#block(handle).length > 0) this.#error = handle;
  }
}
