// One request to an HTTP/2 origin: its head translated from text, its response's head to text and through
// the one strict parser, so that an origin of either protocol is held to the same rules.

import http2 from "node:http2";
import type { ClientHttp2Stream } from "node:http2";
import { addAbortSignal } from "node:stream";
import { beginTurn, turnMs } from "../base/clock.ts";
import type { ErrorCode } from "../base/errors.ts";
import { LIMITS } from "../base/limits.ts";
import { Deadline } from "../base/timer-wheel.ts";
import type { TimerWheel } from "../base/timer-wheel.ts";
import { requestHeaders, responseText, trailerText } from "../wire/h2-fields.ts";
import { parseResponseHead } from "../wire/response-head.ts";
import type { ResponseHead } from "../wire/response-head.ts";
import type { OriginChannel, OriginUser, RequestFacts } from "./channel.ts";
import type { OriginTimeouts } from "./origin-connection.ts";

const { NGHTTP2_ENHANCE_YOUR_CALM, NGHTTP2_PROTOCOL_ERROR, NGHTTP2_REFUSED_STREAM } =
  http2.constants;
const END_STREAM = 1;

export type H2StreamParts = {
  readonly wheel: TimerWheel;
  readonly timeouts: OriginTimeouts;
  readonly scheme: "http" | "https";
  /** Opens the stream on its session. */
  request(headers: string[], endStream: boolean): ClientHttp2Stream;
  /** The stream no longer counts. */
  onClosed(): void;
};

export class H2OriginStream implements OriginChannel {
  readonly #parts: H2StreamParts;
  readonly #deadline: Deadline;
  #user: OriginUser | null = null;
  #stream: ClientHttp2Stream | null = null;
  #headText = "";
  #method = "GET";
  #interims = 0;
  #trailers = "";
  #received = false;
  #answered = false;
  #requestDone = false;
  /** The origin ended the stream, and did not reset it. */
  #sawEnd = false;
  #over = false;

  constructor(parts: H2StreamParts) {
    this.#parts = parts;
    this.#deadline = new Deadline(() => this.#onDeadline());
  }

  assign(user: OriginUser): void {
    this.#user = user;
  }

  sendHead(text: string, { method }: RequestFacts): void {
    this.#headText = text;
    this.#method = method;
  }

  sendBody(bytes: Buffer, from: number, to: number): void {
    // Copied: the stream keeps it until the origin's window opens, the reader's buffer is only lent.
    if (from < to) this.#open(false)?.write(Buffer.from(bytes.subarray(from, to)));
  }

  endRequest(): void {
    this.#requestDone = true;
    if (this.#stream === null) this.#open(true);
    else this.#stream.end();
    if (!this.#answered) this.#arm(this.#parts.timeouts.firstByteMs);
  }

  flush(): boolean {
    const stream = this.#requestDone ? this.#stream : this.#open(false);
    if (stream === null || stream.writableLength < LIMITS.bodyHighWaterBytes) return true;
    this.#arm(this.#parts.timeouts.idleMs);
    return false;
  }

  resume(): void {
    if (this.#stream?.isPaused() !== true) return;
    this.#arm(this.#parts.timeouts.idleMs);
    this.#stream.resume();
  }

  endTunnel(): void {
    this.#stream?.end();
  }

  release(): void {
    this.#user = null;
    // A response that came before the request's end: the rest of the request is not wanted.
    if (!this.#requestDone) this.#cancel();
    this.#finish();
  }

  destroy(): void {
    this.#user = null;
    this.#cancel();
    this.#finish();
  }

  // destroy() and not close(): that one ends the body first, and what the origin has of it would then be
  // taken for a whole one. Of the errors to destroy with, only an abort is told as CANCEL.
  #cancel(): void {
    if (this.#stream !== null) addAbortSignal(AbortSignal.abort(), this.#stream);
  }

  // Opened with the first thing behind the head, so that a request without a body is one frame.
  #open(endStream: boolean): ClientHttp2Stream | null {
    if (this.#stream !== null || this.#over) return this.#stream;
    const headers = requestHeaders(this.#headText, this.#parts.scheme);
    const stream = this.#parts.request(headers, endStream);
    this.#stream = stream;
    // The readable half ends with a reset as well, and one without an error leaves no other trace. By
    // then the stream is closed; by its own end it is not yet.
    const push = stream.push;
    stream.push = (chunk: Buffer | null, encoding) => {
      if (chunk === null && !stream.closed) this.#sawEnd = true;
      return push.call(stream, chunk, encoding);
    };
    stream.on("headers", (_headers, _flags, raw) => this.#onInterim(raw));
    stream.on("response", (_headers, flags, raw) => this.#onResponse(raw, flags));
    stream.on("trailers", (_headers, _flags, raw) => (this.#trailers = trailerText(raw)));
    stream.on("data", (chunk: Buffer) => this.#onData(chunk));
    stream.on("end", () => this.#onEnd());
    stream.on("drain", () => {
      beginTurn();
      if (!this.#requestDone) this.#parts.wheel.disarm(this.#deadline);
      this.#user?.onDrain();
    });
    stream.on("error", (error) => this.#fail(this.#codeOf(stream), error.message));
    stream.on("aborted", () => this.#fail(this.#codeOf(stream), "the origin reset the stream"));
    stream.on("close", () => this.#fail(this.#codeOf(stream), "the stream was closed"));
    return stream;
  }

  #onInterim(raw: readonly string[]): void {
    beginTurn();
    const head = this.#parse(raw);
    if (head === null) return;
    if (++this.#interims > LIMITS.interimResponsesMax) {
      this.#fail("UPSTREAM_BAD_RESPONSE", "too many informational responses");
    } else if (head.status === 103) {
      this.#user?.onInterim(head);
      this.#passOn();
    }
  }

  #onResponse(raw: readonly string[], flags: number): void {
    beginTurn();
    this.#received = true;
    const head = this.#parse(raw);
    if (head === null) return;
    this.#answered = true;
    // Also where no body may follow: the end of the stream still has to.
    this.#arm(this.#parts.timeouts.idleMs);
    const declared = head.framing(this.#method);
    const isEmpty = (flags & END_STREAM) !== 0 || declared === "none";
    // Without a length the end of the stream tells the end: the client is told by chunks.
    const framing = isEmpty ? "none" : declared === "length" ? "length" : "chunked";
    this.#user?.onHead(head, framing);
    // The body may be long in coming, but what of it came with the head leaves with the head.
    if (!isEmpty) setImmediate(() => this.#passOnLater());
  }

  // The head, or null after the failure.
  #parse(raw: readonly string[]): ResponseHead | null {
    const text = responseText(raw);
    const head = text === null ? "malformed fields" : parseResponseHead(text);
    if (typeof head !== "string") return head;
    this.#fail("UPSTREAM_BAD_RESPONSE", head);
    return null;
  }

  #onData(chunk: Buffer): void {
    beginTurn();
    this.#user?.onBody(chunk, 0, chunk.length);
    this.#passOn();
  }

  #passOnLater(): void {
    beginTurn();
    this.#passOn();
  }

  // A user that is behind stops the origin.
  #passOn(): void {
    const user = this.#user;
    if (user === null || this.#over) return;
    if (user.flush()) {
      this.#arm(this.#parts.timeouts.idleMs);
    } else {
      this.#parts.wheel.disarm(this.#deadline);
      this.#stream?.pause();
    }
  }

  #onEnd(): void {
    beginTurn();
    if (!this.#answered || !this.#sawEnd) {
      this.#fail(this.#answered ? "UPSTREAM_CUT" : "UPSTREAM_RESET", "the stream ended early");
      return;
    }
    const user = this.#user;
    this.#over = true;
    this.#parts.wheel.disarm(this.#deadline);
    user?.onEnd(this.#trailers);
  }

  #codeOf(stream: ClientHttp2Stream): ErrorCode {
    if (this.#answered) return "UPSTREAM_CUT";
    switch (stream.rstCode) {
      // Not looked at by the origin (RFC 9113, 8.7): as if nothing had been sent.
      case NGHTTP2_REFUSED_STREAM:
        return "UPSTREAM_CONNECT";
      // What node:http2 itself says of a head that is none, or over its bounds: the next would be like it.
      case NGHTTP2_PROTOCOL_ERROR:
      case NGHTTP2_ENHANCE_YOUR_CALM:
        return "UPSTREAM_BAD_RESPONSE";
      default:
        return "UPSTREAM_RESET";
    }
  }

  #onDeadline(): void {
    this.#fail("UPSTREAM_TIMEOUT", "the origin made no progress in time");
  }

  #arm(delayMs: number): void {
    if (!this.#over) this.#parts.wheel.arm(this.#deadline, turnMs(), delayMs);
  }

  #fail(code: ErrorCode, detail: string): void {
    const user = this.#user;
    if (this.#over || user === null) return;
    const received = this.#received;
    this.destroy();
    user.onFailed(code, detail, received);
  }

  #isCounted = true;

  #finish(): void {
    this.#over = true;
    this.#parts.wheel.remove(this.#deadline);
    if (!this.#isCounted) return;
    this.#isCounted = false;
    this.#parts.onClosed();
  }
}
