// The beginning of a request's body, held back while the route's policies look at it. What is held is
// bounded; the client is made to wait beyond that, and what was held goes on its way first.

import type { SeenBody } from "../exchange.ts";

/** What a route's policies may see of a body. */
export type BodyView = {
  /** So many bytes at most are held. */
  readonly bytesMax: number;
  /** True when they must see all of it: a longer body is refused. */
  readonly whole: boolean;
};

export class HeldBody {
  readonly #view: BodyView;
  readonly #announced: number;
  readonly #chunks: Buffer[] = [];
  #bytes = 0;
  /** The body has ended: what is held is all of it. */
  ended = false;

  /** `announced`: the bytes that are to come; negative when that is not known. */
  constructor(view: BodyView, announced: number) {
    this.#view = view;
    this.#announced = announced;
  }

  /** Adds a copy; what comes beyond the bound in one read is held as well. */
  add(bytes: Buffer, from: number, to: number): void {
    this.#chunks.push(Buffer.from(bytes.subarray(from, to)));
    this.#bytes += to - from;
  }

  /** True when policies can be asked. */
  get isReady(): boolean {
    return (
      this.ended || (this.#bytes >= this.#view.bytesMax && !this.#view.whole) || this.isTooLong
    );
  }

  /** True when more came than policies that must see all of it can be shown. */
  get isTooLong(): boolean {
    const { bytesMax, whole } = this.#view;
    return whole && (this.#bytes > bytesMax || this.#announced > bytesMax);
  }

  /** All that is held, as one. */
  bytes(): Buffer {
    if (this.#chunks.length > 1) this.#chunks.splice(0, Infinity, Buffer.concat(this.#chunks));
    return this.#chunks[0] ?? EMPTY;
  }
}

const EMPTY = Buffer.alloc(0);

/** What policies see of a request without a body. */
export const NO_BODY: SeenBody = Object.freeze({ bytes: EMPTY, whole: true });
