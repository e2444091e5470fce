// The buffers that sockets read into. Heads and small bodies are consumed within the read, so all
// sockets of a worker share one buffer for them. Large runs of a body are written without a copy, out
// of a buffer that is their connection's alone. Such a buffer goes to another connection when its
// socket has taken another one to read into and no write refers to it any more, never before: one
// client's bytes would leave as another's. Both are counted here, so that no caller can be too early.

import { LIMITS } from "./limits.ts";

const BUFFER_BYTES = 65_536;
/** 8 MiB: as much as 64 connections take with large bodies both ways. */
const FREE_MAX = 128;
/**
 * Runs within a loan are copied up to here, which costs less than to write them by themselves; longer
 * ones would be strings that fill the young generation for nothing.
 */
export const LOAN_COPIED_BYTES_MAX = 8_192;

/** A buffer that is one connection's. */
export type Loan = { readonly buffer: Buffer; writes: number; isGivenUp: boolean };

export class ReadBuffers {
  /** Valid only within one read. */
  readonly shared: Buffer = Buffer.allocUnsafeSlow(BUFFER_BYTES);
  readonly #free: Loan[] = [];
  /** Weak: a buffer that was being written to a socket as it broke is left to the garbage collector. */
  readonly #loans = new WeakMap<ArrayBufferLike, Loan>();

  take(): Loan {
    const loan = this.#free.pop() ?? this.#make();
    loan.isGivenUp = false;
    return loan;
  }

  /** Nothing is read into it any more. */
  giveUp(loan: Loan): void {
    if (loan.isGivenUp) throw new Error("a read buffer was given up twice");
    loan.isGivenUp = true;
    if (loan.writes === 0) this.#keep(loan);
  }

  /** A write refers to these bytes until `onWritten`; null when they are no loan's. */
  onWrite(bytes: Buffer): Loan | null {
    const loan = this.#loans.get(bytes.buffer);
    if (loan === undefined) return null;
    loan.writes++;
    return loan;
  }

  onWritten(loan: Loan): void {
    loan.writes--;
    if (loan.writes === 0 && loan.isGivenUp) this.#keep(loan);
  }

  isShared(bytes: Buffer): boolean {
    return bytes.buffer === this.shared.buffer;
  }

  #make(): Loan {
    const buffer = Buffer.allocUnsafeSlow(BUFFER_BYTES);
    const loan = { buffer, writes: 0, isGivenUp: false };
    this.#loans.set(buffer.buffer, loan);
    return loan;
  }

  #keep(loan: Loan): void {
    if (this.#free.length < FREE_MAX) this.#free.push(loan);
  }
}

/** What one socket reads into: the shared buffer, or one of its own while a large body comes. */
export class Intake {
  readonly #buffers: ReadBuffers;
  #own: Loan | null = null;
  /** What the socket has been told to read into; null: the shared one. */
  #target: Loan | null = null;
  /** The own buffer holds bytes that are asked for later. */
  #isParked = false;

  constructor(buffers: ReadBuffers) {
    this.#buffers = buffers;
  }

  /** The buffer for the socket's next read. The socket has none but this from now on. */
  nextBuffer(): Buffer {
    const before = this.#target;
    this.#target = this.#isParked ? null : this.#own;
    if (before !== null && before !== this.#own) this.#buffers.giveUp(before);
    return this.#target === null ? this.#buffers.shared : this.#target.buffer;
  }

  /**
   * A buffer that has bytes[from, to) at the same place and outlives the read, when so many are
   * written from where they are.
   */
  lasting(bytes: Buffer, from: number, to: number): Buffer {
    if (!this.#buffers.isShared(bytes) || to - from <= LIMITS.smallBodyBytesMax) return bytes;
    const own = this.#writable();
    bytes.copy(own, from, from, to);
    return own;
  }

  /** After a read of a body that goes on: one that comes in large runs gets a buffer of its own. */
  expectMore(bytes: Buffer, count: number): void {
    if (count > LOAN_COPIED_BYTES_MAX && this.#buffers.isShared(bytes)) {
      this.#own ??= this.#buffers.take();
    }
  }

  /** A copy of bytes from the shared buffer that stays until `unpark` and `giveUp`. */
  park(bytes: Buffer): Buffer {
    if (bytes.length <= LOAN_COPIED_BYTES_MAX || this.#own !== null) return Buffer.from(bytes);
    const own = this.#writable();
    this.#isParked = true;
    bytes.copy(own);
    return own.subarray(0, bytes.length);
  }

  /** What was parked is being written: its buffer is read into again when that is done. */
  unpark(): void {
    this.#isParked = false;
  }

  /** The body is over. */
  giveUp(): void {
    const own = this.#own;
    this.#own = null;
    this.#isParked = false;
    // The socket may still read into its target: that one is let go by `nextBuffer` or `close`.
    if (own !== null && own !== this.#target) this.#buffers.giveUp(own);
  }

  /** The socket is closed. */
  close(): void {
    this.giveUp();
    const target = this.#target;
    this.#target = null;
    if (target !== null) this.#buffers.giveUp(target);
  }

  // What is still being written is not written over.
  #writable(): Buffer {
    if (this.#own !== null && this.#own.writes > 0) this.giveUp();
    this.#own ??= this.#buffers.take();
    return this.#own.buffer;
  }
}
