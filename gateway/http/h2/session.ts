// One HTTP/2 connection of a client, over node:http2: bounds what it may ask for, turns its streams into
// requests, ends it when it is idle or misbehaves, and drains it. Framing is nghttp2's business.

import http2 from "node:http2";
import type { ServerHttp2Session, ServerHttp2Stream } from "node:http2";
import type { Socket } from "node:net";
import { beginTurn, turnMs } from "../../base/clock.ts";
import type { ErrorCode } from "../../base/errors.ts";
import { LIMITS } from "../../base/limits.ts";
import { Deadline } from "../../base/timer-wheel.ts";
import type { TimerWheel } from "../../base/timer-wheel.ts";
import { requestText, responseHeaders } from "../../wire/h2-fields.ts";
import { parseRequestHead } from "../../wire/request-head.ts";
import type { RequestHead } from "../../wire/request-head.ts";
import type { Bodies, BodyRate } from "../body-rate.ts";
import type { Peer, RequestServer } from "../downstream.ts";
import { ByteBudget, SecondBudget } from "./flood-watch.ts";
import type { FloodWatch, Watched } from "./flood-watch.ts";
import { H2Stream } from "./stream.ts";

const { NGHTTP2_ENHANCE_YOUR_CALM, NGHTTP2_NO_ERROR } = http2.constants;

/** What a session needs of the listener it came through. */
export interface H2Host {
  readonly wheel: TimerWheel;
  readonly scheme: "http" | "https";
  readonly floods: FloodWatch;
  readonly timeouts: {
    readonly bodyIdleMs: number;
    readonly bodyRate: BodyRate;
    readonly idleMs: number;
  };
  /** Makes the server of a request; the stream then starts it. */
  serveStream(stream: H2Stream, head: RequestHead): RequestServer;
  /** Head and body of the response that refuses a request without a usable head. */
  refusalParts(code: ErrorCode): { readonly head: string; readonly body: string };
  /** The client floods, or breaks the protocol; its session ends. */
  onAbused(): void;
  onSessionClosed(session: H2Session): void;
}

const OPTIONS: http2.ServerSessionOptions = {
  maxSessionMemory: 4,
  maxHeaderListPairs: LIMITS.headersMax,
  maxSendHeaderBlockLength: LIMITS.responseHeadBytesMax,
  maxOutstandingPings: 4,
  maxSettings: 16,
  streamResetBurst: LIMITS.h2ResetsPerSecondMax,
  streamResetRate: LIMITS.h2ResetsPerSecondMax,
  strictSingleValueFields: false,
  settings: {
    enablePush: false,
    enableConnectProtocol: true,
    maxConcurrentStreams: LIMITS.h2StreamsMax,
    maxHeaderListSize: LIMITS.headBytesMax,
    initialWindowSize: LIMITS.h2WindowBytes,
  },
};

export class H2Session implements Watched {
  readonly peer: Peer;
  /** What streams tell of their bytes. */
  readonly bytes = new ByteBudget(turnMs());
  readonly bodies: Bodies = { bytes: 0, count: 0 };
  readonly #host: H2Host;
  readonly #socket: Socket;
  readonly #session: ServerHttp2Session;
  readonly #streams = new Set<H2Stream>();
  readonly #idle: Deadline;
  readonly #resets = new SecondBudget(LIMITS.h2ResetsPerSecondMax);
  readonly #tiny = new SecondBudget(LIMITS.h2TinyPerSecondMax);

  /** Over a socket on which the client speaks HTTP/2; what was read of it must be in its buffer. */
  constructor(host: H2Host, socket: Socket, peer: Peer) {
    beginTurn();
    this.#host = host;
    this.#socket = socket;
    this.peer = peer;
    this.#idle = new Deadline(() => this.#onIdle());
    socket.on("error", () => {});
    // A client that ended its half can say no more, not even that it takes more: it is gone.
    socket.allowHalfOpen = false;
    this.#session = http2.performServerHandshake(socket, OPTIONS);
    this.#session.on("error", (error) => this.#onError(error));
    this.#session.on("frameError", () => {});
    this.#session.on("stream", (stream, _headers, _flags, raw) => this.#onStream(stream, raw));
    this.#session.on("close", () => this.#onClose());
    host.floods.add(this);
    this.#armIdle();
  }

  get wheel(): TimerWheel {
    return this.#host.wheel;
  }

  get scheme(): "http" | "https" {
    return this.#host.scheme;
  }

  get bodyIdleMs(): number {
    return this.#host.timeouts.bodyIdleMs;
  }

  get bodyRate(): BodyRate {
    return this.#host.timeouts.bodyRate;
  }

  /** Takes no further streams; closes when the last one has ended. */
  drain(): void {
    this.#session.close();
    for (const stream of this.#streams) stream.drain();
  }

  destroy(): void {
    this.#session.destroy();
  }

  /** Called now and then: frames that are no event here show as bytes. */
  look(nowMs: number): void {
    if (this.bytes.isExceeded(nowMs, this.#socket.bytesRead)) this.#cut();
  }

  #onStream(stream: ServerHttp2Stream, raw: readonly string[]): void {
    beginTurn();
    stream.on("error", () => {});
    if (!stream.endAfterHeaders) this.#countTiny(stream);
    const translated = requestText(raw, stream.endAfterHeaders);
    const head = "fault" in translated ? translated.fault : parseRequestHead(translated.text);
    if (typeof head === "string") {
      this.#refuse(stream, head);
      return;
    }
    this.bytes.head(head.fields.text.length);
    const own = new H2Stream(this, stream, head);
    this.#streams.add(own);
    this.#host.wheel.disarm(this.#idle);
    stream.once("close", () => this.#onStreamClosed(own, stream));
    own.serve(this.#host.serveStream(own, head));
  }

  // Counted as they come and not as they are read: a stream that nobody reads yet would take 100,000
  // frames of one byte, 20 MB and a fifth of a second.
  #countTiny(stream: ServerHttp2Stream): void {
    const push = stream.push;
    stream.push = (chunk: Buffer | null, encoding) => {
      if (chunk !== null && chunk.length < LIMITS.h2TinyBytes && this.#tiny.isExceeded(turnMs())) {
        this.#cut();
      }
      return push.call(stream, chunk, encoding);
    };
  }

  #onStreamClosed(own: H2Stream, stream: ServerHttp2Stream): void {
    this.#streams.delete(own);
    if (stream.rstCode !== NGHTTP2_NO_ERROR && !own.wasCut) this.#countReset();
    if (this.#streams.size === 0) this.#armIdle();
  }

  // Resets that the client provokes cost as much as those that it sends (CVE-2025-8671).
  #countReset(): void {
    if (this.#resets.isExceeded(beginTurn())) this.#cut();
  }

  #cut(): void {
    if (this.#session.destroyed) return;
    this.#host.onAbused();
    this.#session.goaway(NGHTTP2_ENHANCE_YOUR_CALM);
    this.#session.destroy();
    this.#armIdle();
  }

  // What nghttp2 ended: its own bounds on floods, and frames that break the protocol.
  #onError({ code }: NodeJS.ErrnoException): void {
    if (code?.startsWith("ERR_HTTP2_") === true) this.#host.onAbused();
  }

  #refuse(stream: ServerHttp2Stream, code: ErrorCode): void {
    const { head, body } = this.#host.refusalParts(code);
    if (!stream.endAfterHeaders) this.bytes.unread();
    this.#countReset();
    // It may have been taken back, or its session ended, within the read that brought it.
    if (stream.destroyed || stream.closed) return;
    stream.respond(responseHeaders(head));
    stream.end(body);
    // A body that was announced is not read: node:http2 resets the stream once the answer has left.
  }

  #armIdle(): void {
    const { closed, destroyed } = this.#session;
    const delayMs = closed || destroyed ? LIMITS.lingerMs : this.#host.timeouts.idleMs;
    this.#host.wheel.arm(this.#idle, turnMs(), delayMs);
  }

  // Says so first; a client that then does not go, or lets no refusal leave, is not waited for. A
  // session that is destroyed waits for its socket, which waits for the client.
  #onIdle(): void {
    if (this.#session.destroyed) {
      this.#socket.destroy();
      return;
    }
    if (this.#session.closed) this.#session.destroy();
    else this.#session.close();
    this.#armIdle();
  }

  #onClose(): void {
    this.#host.wheel.remove(this.#idle);
    this.#host.floods.remove(this);
    this.#host.onSessionClosed(this);
  }
}
