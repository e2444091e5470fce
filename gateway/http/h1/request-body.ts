// Where the body of a request ends in what its client sends: by its length or by its chunks.

import { ChunkedDecoder } from "../../wire/chunked.ts";
import type { RequestHead } from "../../wire/request-head.ts";

/** A tunnel is a body without an end. */
export const ENDLESS = { chunked: false, contentLength: Infinity };

export class RequestBody {
  readonly #decoder: ChunkedDecoder | null;
  #remaining: number;

  constructor({ chunked, contentLength }: Pick<RequestHead, "chunked" | "contentLength">) {
    this.#decoder = chunked ? new ChunkedDecoder() : null;
    this.#remaining = contentLength;
  }

  get isComplete(): boolean {
    return this.#decoder === null ? this.#remaining === 0 : this.#decoder.done;
  }

  /**
   * Takes bytes from the first on, and calls `onRun` for each run of the body. Returns the offset of
   * the first that is not the body's, or -1 for a syntax error.
   */
  take(bytes: Buffer, onRun: (bytes: Buffer, from: number, to: number) => void): number {
    if (this.#decoder !== null) return this.#decoder.push(bytes, 0, onRun);
    const count = Math.min(this.#remaining, bytes.length);
    this.#remaining -= count;
    onRun(bytes, 0, count);
    return count;
  }
}
