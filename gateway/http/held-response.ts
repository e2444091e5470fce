// An origin's response while the route's policies take their time about its head: what comes of it is
// held, the origin is made to wait, and it goes on its way when they have decided.

import { beginTurn } from "../base/clock.ts";
import type { ErrorCode } from "../base/errors.ts";
import type { Forward, ForwardClient } from "../upstream/forward.ts";
import type { ResponseHead } from "../wire/response-head.ts";
import type { Endpoint } from "../upstream/upstream.ts";

export type HeldParts = {
  readonly forward: Forward;
  readonly client: ForwardClient;
  /** False when the request was answered otherwise, or its client is gone. */
  isWanted(): boolean;
  /** Sends the response's head. */
  passHead(): void;
  fail(error: unknown): void;
};

/** Holds the response of `forward` until the policies are done. */
export function holdResponse(policies: Promise<void>, parts: HeldParts): void {
  const { forward, client } = parts;
  const held = new HeldResponse(client);
  forward.handTo(held);
  const goOn = () => {
    if (!parts.isWanted()) return;
    beginTurn();
    forward.handTo(client);
    if (held.failure !== null) {
      client.onForwardFailed(held.failure.code, held.failure.detail);
      return;
    }
    parts.passHead();
    if (held.passOn()) forward.resumeResponse();
  };
  // What goOn throws is a failure of the request like that of a policy.
  policies.then(goOn).catch((error: unknown) => {
    if (parts.isWanted()) parts.fail(error);
  });
}

class HeldResponse implements ForwardClient {
  readonly #client: ForwardClient;
  readonly #chunks: Buffer[] = [];
  #trailers: string | null = null;
  failure: { readonly code: ErrorCode; readonly detail: string } | null = null;

  constructor(client: ForwardClient) {
    this.#client = client;
  }

  /** Hands on what was held; true when the origin may go on. */
  passOn(): boolean {
    for (const chunk of this.#chunks) this.#client.onResponseBody(chunk, 0, chunk.length);
    if (this.#trailers === null) return this.#client.flushResponse();
    this.#client.onResponseEnd(this.#trailers);
    return false;
  }

  onResponseBody(bytes: Buffer, from: number, to: number): void {
    this.#chunks.push(Buffer.from(bytes.subarray(from, to)));
  }

  onResponseEnd(trailers: string): boolean {
    this.#trailers = trailers;
    // Copies were made, but whoever asks may not know the bytes to be gone.
    return false;
  }

  flushResponse(): boolean {
    return false;
  }

  onForwardFailed(code: ErrorCode, detail: string): void {
    this.failure = { code, detail };
  }

  // The request goes on as it did.

  requestHead(endpoint: Endpoint): string {
    return this.#client.requestHead(endpoint);
  }

  startBody(): void {
    this.#client.startBody();
  }

  resumeBody(): void {
    this.#client.resumeBody();
  }

  onInterim(head: ResponseHead): void {
    this.#client.onInterim(head);
  }

  onResponseHead(): void {
    throw new Error("a response has one head");
  }
}
