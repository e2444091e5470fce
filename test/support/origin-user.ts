// A user of origin connections that sends one GET as soon as it has a connection and records what
// it is told: the least that the pool's contract asks for.

import type { ErrorCode } from "../../gateway/base/errors.ts";
import type { OriginChannel, OriginUser } from "../../gateway/upstream/channel.ts";
import type { BodyFraming, ResponseHead } from "../../gateway/wire/response-head.ts";

const DEADLINE_MS = 5_000;

export type Outcome =
  | { readonly kind: "answered"; readonly status: number; readonly body: string }
  | { readonly kind: "unavailable"; readonly code: ErrorCode; readonly detail: string }
  | { readonly kind: "failed"; readonly code: ErrorCode; readonly received: boolean };

export class RecordingUser implements OriginUser {
  readonly #outcome = Promise.withResolvers<Outcome>();
  readonly #head = Promise.withResolvers<ResponseHead>();
  readonly #path: string;
  readonly clientIp = "192.0.2.1";
  connection: OriginChannel | null = null;
  reused = false;
  framing: BodyFraming | null = null;
  readonly interims: number[] = [];
  #status = 0;
  #body = "";
  /** How often it was told of an end; more than once is against the contract. */
  outcomes = 0;

  constructor(path = "/") {
    this.#path = path;
    // Not every test waits for a head.
    this.#head.promise.catch(() => {});
  }

  /** How it ended; rejects when it has not in time. */
  outcome(): Promise<Outcome> {
    return withinDeadline(this.#outcome.promise, "the outcome");
  }

  head(): Promise<ResponseHead> {
    return withinDeadline(this.#head.promise, "the response's head");
  }

  onConnected(connection: OriginChannel, reused: boolean): void {
    this.connection = connection;
    this.reused = reused;
    const text = `GET ${this.#path} HTTP/1.1\r\nhost: origin\r\n\r\n`;
    connection.sendHead(text, { method: "GET", chunkedBody: false, mayUpgrade: false });
    connection.endRequest();
    connection.flush();
  }

  onUnavailable(code: ErrorCode, detail: string): void {
    this.#settle({ kind: "unavailable", code, detail });
  }

  onInterim(head: ResponseHead): void {
    this.interims.push(head.status);
  }

  onHead(head: ResponseHead, framing: BodyFraming): void {
    this.#status = head.status;
    this.framing = framing;
    this.#head.resolve(head);
  }

  onBody(bytes: Buffer, from: number, to: number): void {
    this.#body += bytes.latin1Slice(from, to);
  }

  onEnd(): boolean {
    this.connection?.release();
    this.#settle({ kind: "answered", status: this.#status, body: this.#body });
    return true;
  }

  flush(): boolean {
    return true;
  }

  onDrain(): void {}

  onFailed(code: ErrorCode, _detail: string, received: boolean): void {
    this.#settle({ kind: "failed", code, received });
  }

  #settle(outcome: Outcome): void {
    this.outcomes++;
    this.#outcome.resolve(outcome);
  }
}

/** The promise, or a rejection when it takes too long. */
export async function withinDeadline<T>(promise: Promise<T>, what: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} did not come`)), DEADLINE_MS);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Resolves once it holds; looks after every turn of the event loop. */
export async function until(holds: () => boolean, what: string): Promise<void> {
  const endMs = performance.now() + DEADLINE_MS;
  while (!holds()) {
    if (performance.now() > endMs) throw new Error(`${what} did not come to be`);
    await new Promise((resolve) => setImmediate(resolve));
  }
}
