// A request on its way to an upstream: one attempt after another until a response's head was handed
// on. After that there is no second try: the response is passed through or cut. Knows nothing of the
// client's protocol; what it forwards comes from and goes to a ForwardClient.

import { turnMs } from "../base/clock.ts";
import type { ErrorCode } from "../base/errors.ts";
import type { BodyFraming, ResponseHead } from "../wire/response-head.ts";
import type { OriginChannel, OriginUser } from "./channel.ts";
import { mayRetry } from "./retry.ts";
import type { Endpoint, Upstream } from "./upstream.ts";

/** The client's side of a forwarded request. */
export interface ForwardClient {
  /** The request's head for this endpoint: Latin-1 text with its empty line. */
  requestHead(endpoint: Endpoint): string;
  /** Starts the flow of the request's body into `sendBody`, `flushBody` and `endBody`. */
  startBody(): void;
  resumeBody(): void;
  onInterim(head: ResponseHead): void;
  /** With framing "tunnel" the origin has agreed to an upgrade that the request asked for. */
  onResponseHead(head: ResponseHead, framing: BodyFraming): void;
  onResponseBody(bytes: Buffer, from: number, to: number): void;
  /** Passes on the rest and the trailers; true when all of it has left. */
  onResponseEnd(trailers: string): boolean;
  /** Passes on what was gathered; false stops the origin until `resumeResponse`. */
  flushResponse(): boolean;
  /** No response came, or (after its head) it cannot be completed. */
  onForwardFailed(code: ErrorCode, detail: string): void;
}

export type ForwardPlan = {
  readonly method: string;
  readonly hasBody: boolean;
  /** The body has no declared length. */
  readonly chunkedBody: boolean;
  /** The request asks for a tunnel. */
  readonly mayUpgrade: boolean;
  readonly clientIp: string;
  readonly hashKey: string;
  readonly attemptsMax: number;
  readonly retryOn: readonly string[];
};

/** Methods whose repetition has the effect of one (RFC 9110, 9.2.2). */
const IDEMPOTENT: ReadonlySet<string> = new Set(["GET", "HEAD", "OPTIONS", "PUT", "DELETE"]);

export class Forward implements OriginUser {
  #client: ForwardClient;
  readonly #upstream: Upstream;
  readonly #plan: ForwardPlan;
  #endpoint: Endpoint | null = null;
  #channel: OriginChannel | null = null;
  #reused = false;
  #bodyStarted = false;
  #staleRetried = false;
  #headPassed = false;
  /** A head that asks for another attempt was received: the rest of that response is not wanted. */
  #discarding = false;
  #attemptAtMs = 0;
  #done = false;
  attempts = 0;

  constructor(client: ForwardClient, upstream: Upstream, plan: ForwardPlan) {
    this.#client = client;
    this.#upstream = upstream;
    this.#plan = plan;
  }

  /** Address of the endpoint that was tried last. */
  get address(): string {
    return this.#endpoint?.address ?? "";
  }

  get clientIp(): string {
    return this.#plan.clientIp;
  }

  /** Tells another one from now on what comes of the response. */
  handTo(client: ForwardClient): void {
    this.#client = client;
  }

  start(): void {
    this.#upstream.budget.deposit();
    this.#attempt(null, false);
  }

  /** The client is gone or was answered otherwise: the origin's connection is ended. */
  abort(): void {
    if (this.#done) return;
    this.#done = true;
    if (this.#channel === null) this.#endpoint?.pool.cancel(this);
    this.#settle(0, !this.#headPassed);
    this.#channel?.destroy();
    this.#channel = null;
  }

  sendBody(bytes: Buffer, from: number, to: number): void {
    this.#channel?.sendBody(bytes, from, to);
  }

  endBody(): void {
    this.#channel?.endRequest();
  }

  /** Ends the sending half of a tunnel. */
  endTunnel(): void {
    this.#channel?.endTunnel();
  }

  /** Writes what was sent. False: the origin is slow, `resumeBody` of the client will follow. */
  flushBody(): boolean {
    return this.#channel?.flush() ?? true;
  }

  resumeResponse(): void {
    this.#channel?.resume();
  }

  onConnected(channel: OriginChannel, reused: boolean): void {
    this.#channel = channel;
    this.#reused = reused;
    const { hasBody } = this.#plan;
    channel.sendHead(this.#client.requestHead(this.#endpoint as Endpoint), this.#plan);
    if (hasBody) {
      this.#bodyStarted = true;
      this.#client.startBody();
      // The body's first bytes may have been flushed with the head already.
      this.#channel?.flush();
    } else {
      channel.endRequest();
      channel.flush();
    }
  }

  onUnavailable(code: ErrorCode, detail: string): void {
    this.#settle(0, false);
    this.#retryOrFail({ code, detail, received: false });
  }

  onInterim(head: ResponseHead): void {
    this.#client.onInterim(head);
  }

  onHead(head: ResponseHead, framing: BodyFraming): void {
    if (this.#wantsRetry(null, head.status, false) && this.#upstream.budget.withdraw()) {
      this.#discarding = true;
      return;
    }
    this.#headPassed = true;
    this.#settle(head.status, head.status < 500);
    this.#client.onResponseHead(head, framing);
  }

  onBody(bytes: Buffer, from: number, to: number): void {
    if (!this.#discarding) this.#client.onResponseBody(bytes, from, to);
  }

  flush(): boolean {
    return this.#discarding ? this.#tryAgain() : this.#client.flushResponse();
  }

  onEnd(trailers: string): boolean {
    if (this.#done) return true;
    if (this.#discarding) return this.#tryAgain();
    this.#done = true;
    const channel = this.#channel;
    this.#channel = null;
    // First the connection, so that the client's next request finds it free.
    channel?.release();
    return this.#client.onResponseEnd(trailers);
  }

  onDrain(): void {
    this.#client.resumeBody();
  }

  onFailed(code: ErrorCode, detail: string, received: boolean): void {
    this.#channel = null;
    if (code === "UPSTREAM_TIMEOUT") this.#upstream.counters.timedOut();
    if (this.#headPassed) {
      this.#done = true;
      this.#upstream.counters.cut();
      this.#client.onForwardFailed(code, detail);
      return;
    }
    this.#settle(0, false);
    this.#retryOrFail({ code, detail, received });
  }

  #attempt(failed: Endpoint | null, fresh: boolean): void {
    const endpoint = this.#upstream.pick(this.#plan.hashKey, failed);
    if (endpoint === null) {
      this.#done = true;
      this.#client.onForwardFailed("UPSTREAM_NO_TARGET", `${this.#upstream.name} has no target`);
      return;
    }
    this.#endpoint = endpoint;
    this.attempts++;
    this.#attemptAtMs = turnMs();
    endpoint.balancer?.started(endpoint.index);
    this.#upstream.counters.began();
    endpoint.pool.acquire(this, fresh);
  }

  // Tells the balancer and the counters how the attempt went; once per attempt.
  #settle(status: number, ok: boolean): void {
    const endpoint = this.#endpoint;
    if (endpoint === null || this.#attemptAtMs === 0) return;
    const latencyMs = turnMs() - this.#attemptAtMs;
    this.#attemptAtMs = 0;
    endpoint.balancer?.finished(endpoint.index, latencyMs, ok);
    this.#upstream.counters.ended();
    this.#upstream.counters.answered(status, latencyMs, this.#reused);
  }

  // A response that asked for another attempt: its connection is not worth reading to the end.
  #tryAgain(): boolean {
    this.#discarding = false;
    this.#settle(503, false);
    this.#channel?.destroy();
    this.#channel = null;
    this.#upstream.counters.retried();
    this.#attempt(this.#endpoint, false);
    return true;
  }

  #retryOrFail(failure: { code: ErrorCode; detail: string; received: boolean }): void {
    const { code, detail, received } = failure;
    const isStale = this.#reused && !received && !this.#staleRetried && code === "UPSTREAM_RESET";
    if (isStale && !this.#bodyStarted && IDEMPOTENT.has(this.#plan.method)) {
      // The origin closed an idle connection as we used it: not an attempt that counts.
      this.#staleRetried = true;
      this.#upstream.counters.retried();
      this.#attempt(null, true);
      return;
    }
    if (this.#wantsRetry(code, 0, received) && this.#upstream.budget.withdraw()) {
      this.#upstream.counters.retried();
      this.#attempt(this.#endpoint, false);
      return;
    }
    this.#done = true;
    this.#client.onForwardFailed(code, `${this.address}: ${detail}`);
  }

  #wantsRetry(code: ErrorCode | null, status: number, received: boolean): boolean {
    if (this.attempts >= this.#plan.attemptsMax) return false;
    return mayRetry({
      code,
      status,
      on: this.#plan.retryOn,
      idempotent: IDEMPOTENT.has(this.#plan.method),
      bodyReplayable: !this.#bodyStarted,
      bytesSent: this.#channel !== null || received || code !== "UPSTREAM_CONNECT",
    });
  }
}
