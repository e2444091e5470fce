// One request of an HTTP/2 client: the same life as over HTTP/1.1, heads translated to text and back.
// Flow control is the protocol's: a body that nobody takes is not read, and its window stays closed.

import type { ServerHttp2Stream } from "node:http2";
import http2 from "node:http2";
import { beginTurn, turnMs } from "../../base/clock.ts";
import { LIMITS } from "../../base/limits.ts";
import { Deadline } from "../../base/timer-wheel.ts";
import type { TimerWheel } from "../../base/timer-wheel.ts";
import {
  responseHeaders,
  trailerHeaders,
  tunnelHeaders,
  wantsTrailers,
} from "../../wire/h2-fields.ts";
import type { RequestHead } from "../../wire/request-head.ts";
import type { BodyFraming } from "../../wire/response-head.ts";
import { RateWatch } from "../body-rate.ts";
import type { Bodies, BodyRate } from "../body-rate.ts";
import type { Downstream, Peer, RequestServer } from "../downstream.ts";
import type { ByteBudget } from "./flood-watch.ts";

const { NGHTTP2_NO_ERROR } = http2.constants;

/** What a stream needs of its session. */
export interface H2StreamHost {
  readonly wheel: TimerWheel;
  readonly scheme: "http" | "https";
  readonly peer: Peer;
  readonly bodyIdleMs: number;
  readonly bodyRate: BodyRate;
  readonly bodies: Bodies;
  readonly bytes: ByteBudget;
}

export class H2Stream implements Downstream {
  /** It was reset by us, for what the origin did. */
  wasCut = false;
  readonly #host: H2StreamHost;
  readonly #stream: ServerHttp2Stream;
  readonly #head: RequestHead;
  readonly #requestDeadline: Deadline;
  readonly #bodyDeadline: Deadline;
  readonly #stallDeadline: Deadline;
  /** Made when a body is read. */
  #rate: RateWatch | null = null;
  #server: RequestServer | null = null;
  #inputEnded: boolean;
  #reading = false;
  #unflushedBytes = 0;
  #flushesLater = false;
  #isTunnel = false;
  /** Trailers can still be said after the body. */
  #mayTrail = false;
  #trailers = "";
  #ended = false;

  constructor(host: H2StreamHost, stream: ServerHttp2Stream, head: RequestHead) {
    this.#host = host;
    this.#stream = stream;
    this.#head = head;
    this.#inputEnded = stream.endAfterHeaders;
    this.#requestDeadline = new Deadline(() => this.#server?.onTimeout());
    this.#bodyDeadline = new Deadline(() => this.#failSlow("the body made no progress in time"));
    this.#stallDeadline = new Deadline(() => this.#onStalled());
    stream.on("error", () => {});
    stream.on("close", () => this.#onClose());
    stream.on("drain", () => {
      beginTurn();
      this.#host.wheel.disarm(this.#stallDeadline);
      this.#server?.onClientDrain();
    });
    stream.on("wantTrailers", () => this.#sendTrailers());
  }

  get scheme(): "http" | "https" {
    return this.#host.scheme;
  }

  get peer(): Peer {
    return this.#host.peer;
  }

  /** Begins the request; the server may answer within the call. */
  serve(server: RequestServer): void {
    this.#server = server;
    server.start();
  }

  /** The gateway drains. */
  drain(): void {
    this.#server?.onDraining();
  }

  limitRequest(timeoutMs: number, startedMs: number): void {
    this.#host.wheel.arm(this.#requestDeadline, startedMs, timeoutMs);
  }

  unlimitRequest(): void {
    this.#host.wheel.disarm(this.#requestDeadline);
  }

  readBody(): void {
    const server = this.#server;
    if (server === null || this.#reading) return;
    // An empty body can have ended before anybody listened, and its end is not told again.
    if (this.#stream.readableEnded && !this.#stream.aborted) this.#inputEnded = true;
    // A handshake has no body: what comes behind it is for the one who agrees to it.
    if (this.#inputEnded || (this.#head.websocket && !this.#isTunnel)) {
      server.onBodyEnd();
      return;
    }
    this.#reading = true;
    if (this.#head.expectContinue && this.#isOpen && !this.#stream.headersSent) {
      this.#stream.additionalHeaders({ ":status": 100 });
    }
    this.#armBody();
    this.#watchRate();
    this.#stream.on("data", (chunk: Buffer) => this.#onData(chunk));
    this.#stream.on("end", () => this.#onInputEnd());
  }

  resumeBody(): void {
    if (!this.#reading || !this.#stream.isPaused()) return;
    this.#armBody();
    this.#rate?.resume();
    this.#stream.resume();
  }

  // A stream is not reused: there is nothing that could be mistaken for the next request.
  closeAfterResponse(): void {}

  sendInterim(text: string): void {
    if (!this.#isOpen || this.#stream.headersSent) return;
    const headers = responseHeaders(text);
    const links = headers.filter((_, i) => headers[i - (i % 2)] === "link" && i % 2 === 1);
    this.#stream.additionalHeaders({ ":status": Number(headers[1]), link: links });
  }

  sendHead(text: string, framing: BodyFraming): void {
    this.#rate?.stop();
    if (!this.#isOpen) return;
    this.#isTunnel = framing === "tunnel";
    const headers = this.#isTunnel ? tunnelHeaders(text) : responseHeaders(text);
    // Any 2xx would say that the WebSocket is open (RFC 8441, 5), and whoever answered knows of none.
    if (this.#head.websocket && !this.#isTunnel && text[9] === "2") headers[1] = "501";
    const endStream = framing === "none";
    this.#mayTrail = !endStream && wantsTrailers(this.#head.get("te"));
    this.#stream.respond(headers, { endStream, waitForTrailers: this.#mayTrail });
    if (this.#isTunnel) this.readBody();
  }

  sendBody(bytes: Buffer, from: number, to: number): void {
    // Copied: the stream keeps it until the client's window opens, the reader's buffer is only lent.
    if (from >= to || !this.#isOpen) return;
    this.#host.bytes.sent(to - from);
    this.#stream.write(Buffer.from(bytes.subarray(from, to)));
  }

  flush(): boolean {
    if (!this.#isOpen || this.#stream.writableLength < LIMITS.bodyHighWaterBytes) return true;
    // The drain event follows: so much is over the stream's own mark.
    this.#armStall();
    return false;
  }

  endResponse(trailers: string): boolean {
    this.#trailers = trailers;
    this.#ended = true;
    this.#server = null;
    this.#host.wheel.disarm(this.#requestDeadline);
    this.#host.wheel.disarm(this.#bodyDeadline);
    if (this.#isOpen) {
      this.#armStall();
      this.#stream.end();
    }
    // With trailers the end of the stream comes behind the body's, and so must the refusal.
    if (!this.#inputEnded && !this.#mayTrail) this.#refuseRest();
    return true;
  }

  // What the client still sends is not wanted (RFC 9113, 8.1). In a later turn: a reset overtakes what
  // is not on the wire yet.
  #refuseRest(): void {
    const close = () => setImmediate(() => this.#isOpen && this.#stream.close(NGHTTP2_NO_ERROR));
    if (this.#stream.writableFinished) close();
    else this.#stream.once("finish", close);
  }

  // destroy() and not close(): that one ends the body first, and a body without a length would then be
  // taken for a whole one.
  cut(): void {
    this.#server = null;
    this.wasCut = true;
    this.#stream.destroy(new Error("the response was cut"));
  }

  get #isOpen(): boolean {
    return !this.#stream.destroyed && !this.#stream.closed;
  }

  #onData(chunk: Buffer): void {
    beginTurn();
    this.#host.bytes.body(chunk.length);
    this.#rate?.add(chunk.length);
    const server = this.#server;
    if (server === null) return;
    server.onBody(chunk, 0, chunk.length);
    this.#unflushedBytes += chunk.length;
    if (this.#unflushedBytes > LIMITS.bodyHighWaterBytes) this.#flushBody();
    else if (!this.#flushesLater) {
      this.#flushesLater = true;
      setImmediate((stream: H2Stream) => stream.#onReadEnd(), this);
    }
  }

  // What came with one read leaves with one write: frames of a few bytes would cost a system call each
  // (bench: flood).
  #onReadEnd(): void {
    this.#flushesLater = false;
    if (!this.#inputEnded) this.#flushBody();
  }

  #flushBody(): void {
    this.#unflushedBytes = 0;
    const server = this.#server;
    if (server === null) return;
    if (server.flushBody()) {
      this.#armBody();
    } else {
      this.#host.wheel.disarm(this.#bodyDeadline);
      this.#rate?.hold();
      this.#stream.pause();
    }
  }

  #onInputEnd(): void {
    beginTurn();
    // A reset ends the readable half as well, and is no end of a body. Not `aborted`: a HEAD is not that
    // even so, since node:http2 has ended its writable half from the first.
    if (!this.#isOpen) return;
    this.#inputEnded = true;
    this.#host.wheel.disarm(this.#bodyDeadline);
    this.#rate?.stop();
    this.#server?.onBodyEnd();
  }

  #armBody(): void {
    if (!this.#isTunnel) this.#host.wheel.arm(this.#bodyDeadline, turnMs(), this.#host.bodyIdleMs);
  }

  #watchRate(): void {
    if (this.#isTunnel || this.#stream.headersSent) return;
    const { wheel, bodies, bodyRate } = this.#host;
    this.#rate = new RateWatch(wheel, bodies, () => this.#failSlow("the body came too slowly"));
    this.#rate.start(bodyRate);
  }

  #failSlow(detail: string): void {
    this.#server?.onRequestFailed("REQUEST_TIMEOUT", detail);
  }

  #armStall(): void {
    this.#host.wheel.arm(this.#stallDeadline, turnMs(), this.#host.bodyIdleMs);
  }

  // The client's window is shut, and what waits for it takes memory of ours.
  #onStalled(): void {
    this.#stream.destroy(new Error("the client does not read"));
  }

  #sendTrailers(): void {
    if (!this.#isOpen) return;
    this.#stream.sendTrailers(trailerHeaders(this.#trailers));
    if (!this.#inputEnded) this.#refuseRest();
  }

  #onClose(): void {
    beginTurn();
    this.#host.wheel.remove(this.#requestDeadline);
    this.#host.wheel.remove(this.#bodyDeadline);
    this.#host.wheel.remove(this.#stallDeadline);
    this.#rate?.close();
    if (!this.#inputEnded) this.#host.bytes.unread();
    const server = this.#server;
    this.#server = null;
    if (!this.#ended) server?.onClientGone();
  }
}
