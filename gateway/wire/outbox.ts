// What is about to be written to one socket in this turn. Heads and small bodies are gathered as
// Latin-1 text and leave as one write, which is one system call; large chunks are passed on as they
// came, without a copy, in the same gathered write.

import { LIMITS } from "../base/limits.ts";
import { LOAN_COPIED_BYTES_MAX } from "../base/read-buffers.ts";
import type { Loan, ReadBuffers } from "../base/read-buffers.ts";
import { DirectWriter } from "./direct-write.ts";

/** The part of a socket that an outbox needs. */
export type OutboxSocket = {
  cork(): void;
  uncork(): void;
  write(
    chunk: string | Uint8Array,
    encoding?: BufferEncoding,
    done?: (error?: Error | null) => void,
  ): boolean;
  readonly writableLength: number;
};

export class Outbox {
  readonly #socket: OutboxSocket;
  readonly #buffers: ReadBuffers;
  readonly #onDrain: () => void;
  readonly #direct: DirectWriter | null;
  /** What the writes under way refer to; null: no loan. */
  #loans: Loan[] | null = null;
  #text = "";
  #corked = false;
  #waiting = false;
  readonly #onWritten = (error?: Error | null): void => {
    if (this.#waiting && !error) this.#drained();
  };

  /** `onDrain` is called once everything has left, after a `flush` that returned false. */
  constructor(socket: OutboxSocket, buffers: ReadBuffers, onDrain: () => void) {
    this.#socket = socket;
    this.#buffers = buffers;
    this.#onDrain = onDrain;
    this.#direct = DirectWriter.of(socket, () => {
      if (this.#waiting) this.#drained();
    });
  }

  /** Adds Latin-1 text. */
  addText(text: string): void {
    this.#text += text;
  }

  /**
   * Adds bytes[from, to). More than LIMITS.smallBodyBytesMax of them are not copied, of a loan more
   * than LOAN_COPIED_BYTES_MAX: they must stay as they are until `flush` has returned true or
   * `onDrain` was called.
   */
  addBytes(bytes: Buffer, from: number, to: number): void {
    const count = to - from;
    const loan = count > LOAN_COPIED_BYTES_MAX ? this.#buffers.onWrite(bytes) : null;
    if (loan === null && count <= LIMITS.smallBodyBytesMax) {
      this.#text += bytes.latin1Slice(from, to);
      if (this.#text.length > LIMITS.bodyHighWaterBytes) this.#writeText();
      return;
    }
    if (loan !== null) (this.#loans ??= []).push(loan);
    this.#writeText();
    this.#cork();
    this.#socket.write(from === 0 && to === bytes.length ? bytes : bytes.subarray(from, to));
  }

  /** Adds bytes[from, to) as one chunk of the chunked coding (RFC 9112, 7.1). */
  addChunk(bytes: Buffer, from: number, to: number): void {
    this.#text += `${(to - from).toString(16)}\r\n`;
    this.addBytes(bytes, from, to);
    this.#text += "\r\n";
  }

  /** Writes everything. True when the kernel took it all; false: `onDrain` will be called. */
  flush(): boolean {
    if (this.#corked) {
      this.#writeText();
      this.#corked = false;
      this.#socket.uncork();
    } else if (this.#text !== "") {
      const text = this.#text;
      this.#text = "";
      if (this.#direct?.isReady === true) {
        if (this.#direct.write(text)) return true;
        this.#waiting = true;
        return false;
      }
      this.#socket.write(text, "latin1", this.#onWritten);
      if (this.#socket.writableLength === 0) return true;
      // Always so with TLS, which never writes at once.
      this.#waiting = true;
      return false;
    }
    if (this.#direct?.isPending === true) {
      this.#waiting = true;
      return false;
    }
    if (this.#socket.writableLength === 0) {
      this.#settle();
      return true;
    }
    if (!this.#waiting) this.#wait();
    return false;
  }

  // Everything has left. Not so after an error: what a broken socket had is nobody's any more.
  #settle(): void {
    const loans = this.#loans;
    if (loans === null) return;
    this.#loans = null;
    for (const loan of loans) this.#buffers.onWritten(loan);
  }

  // The socket's own drain event comes only above its high-water mark. An empty write behind the
  // others tells when they have left, and costs nothing where nothing is slow.
  #wait(): void {
    this.#waiting = true;
    this.#socket.write("", "latin1", this.#onWritten);
  }

  // A write has left; others may have been added behind it.
  #drained(): void {
    // What is still with the handle tells by itself.
    if (this.#direct?.isPending === true) return;
    if (this.#socket.writableLength !== 0) {
      this.#wait();
      return;
    }
    this.#waiting = false;
    this.#settle();
    this.#onDrain();
  }

  #writeText(): void {
    if (this.#text === "") return;
    this.#cork();
    this.#socket.write(this.#text, "latin1");
    this.#text = "";
  }

  #cork(): void {
    if (this.#corked) return;
    this.#corked = true;
    this.#socket.cork();
  }
}
