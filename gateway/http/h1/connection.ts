// One client connection that speaks HTTP/1.1, clear text or TLS: bytes in, one request at a time out,
// its response back. Refuses at the first byte that cannot be right. Parks what comes early, bounded,
// and pauses the socket rather than to queue; never reads a body that nobody has asked for.

import type { Socket } from "node:net";
import { beginTurn, turnMs } from "../../base/clock.ts";
import type { ErrorCode } from "../../base/errors.ts";
import { LIMITS } from "../../base/limits.ts";
import { Intake } from "../../base/read-buffers.ts";
import { Deadline } from "../../base/timer-wheel.ts";
import { headText } from "../../wire/head-text.ts";
import { Outbox } from "../../wire/outbox.ts";
import { isHopelessPrefix, isLineTooLong, parseRequestHead } from "../../wire/request-head.ts";
import type { RequestHead } from "../../wire/request-head.ts";
import type { BodyFraming } from "../../wire/response-head.ts";
import { RateWatch } from "../body-rate.ts";
import type { BodyConsumer, Downstream, Peer, RequestServer } from "../downstream.ts";
import type { ConnectionHost, SocketReader } from "./host.ts";
import { Parking } from "./parking.ts";
import { ENDLESS, RequestBody } from "./request-body.ts";
import { ANSWER, BODY, CLOSED, DRAIN, HEAD, LINGER } from "./states.ts";

export class H1Connection implements Downstream {
  readonly host: ConnectionHost;
  readonly peer: Peer;
  readonly #socket: Socket;
  readonly #outbox: Outbox;
  readonly #deadline: Deadline;
  readonly #requestDeadline: Deadline;
  readonly #intake: Intake;
  readonly #parked: Parking;
  readonly #onRun = (bytes: Buffer, from: number, to: number): void => {
    this.#consumer?.onBody(this.#intake.lasting(bytes, from, to), from, to);
  };
  #state = HEAD;
  #server: RequestServer | null = null;
  #consumer: BodyConsumer | null = null;
  #head: RequestHead | null = null;
  #paused = false;
  #inputEnded = false;
  /** null: the request has none. */
  #body: RequestBody | null = null;
  /** Made for the first body that does not come with its head. */
  #rate: RateWatch | null = null;
  #framing: BodyFraming = "none";
  #responding = false;
  #keepAlive = true;
  #mustClose = false;
  #droppedBytes = 0;
  /** Guards against recursion: requests that are answered at once are taken in a loop. */
  #taking = false;

  /** `open` makes the socket that reads for this connection. */
  constructor(host: ConnectionHost, open: (reader: SocketReader) => Socket, peer: Peer) {
    beginTurn();
    this.host = host;
    this.peer = peer;
    this.#intake = new Intake(host.buffers);
    this.#parked = new Parking(this.#intake);
    const socket = open({
      onread: {
        buffer: () => this.#intake.nextBuffer(),
        callback: (count, buffer) => this.#onRead(count, buffer as Buffer),
      },
      onData: (chunk) => {
        beginTurn();
        this.#onData(chunk);
      },
    });
    this.#socket = socket;
    this.#outbox = new Outbox(socket, host.buffers, () => this.#onDrain());
    this.#deadline = new Deadline(() => this.#onDeadline());
    this.#requestDeadline = new Deadline(() => this.#server?.onTimeout());
    socket.on("end", () => this.#onInputEnd());
    socket.on("error", () => this.#close());
    socket.on("close", () => this.#close());
    socket.on("close", () => this.#intake.close());
    this.#arm(host.timeouts.headMs);
  }

  get scheme(): "http" | "https" {
    return this.host.scheme;
  }

  /** True between two requests. */
  get idle(): boolean {
    return this.#state === HEAD && this.#parked.bytes === null;
  }

  limitRequest(timeoutMs: number, startedMs: number): void {
    this.host.wheel.arm(this.#requestDeadline, startedMs, timeoutMs);
  }

  unlimitRequest(): void {
    this.host.wheel.disarm(this.#requestDeadline);
  }

  // The request's body.

  readBody(): void {
    if (this.#state !== BODY || this.#server === null) {
      this.#server?.onBodyEnd();
      return;
    }
    this.#consumer = this.#server;
    if (this.#head?.expectContinue === true && this.#parked.bytes === null && !this.#responding) {
      this.#socket.write("HTTP/1.1 100 Continue\r\n\r\n", "latin1");
    }
    if (this.#framing !== "tunnel") this.#arm(this.host.timeouts.bodyIdleMs);
    const isTaken = this.#unpark();
    this.#watchRate();
    // An origin that is behind with what was parked asks for more when it has caught up.
    if (isTaken) this.resumeBody();
    else this.#rate?.hold();
  }

  resumeBody(): void {
    if (!this.#paused || this.#state === CLOSED) return;
    if (this.#state === BODY) {
      if (this.#consumer === null) return;
      if (this.#framing !== "tunnel") this.#arm(this.host.timeouts.bodyIdleMs);
      this.#rate?.resume();
    } else if ((this.#state === ANSWER || this.#state === DRAIN) && this.#parked.isFull) {
      return;
    }
    this.#paused = false;
    this.#socket.resume();
  }

  // The response.

  closeAfterResponse(): void {
    this.#mustClose = true;
  }

  sendInterim(text: string): void {
    if (this.#head?.minor === 1 && !this.#responding) this.#outbox.addText(text);
  }

  sendHead(text: string, framing: BodyFraming): void {
    if (framing === "tunnel") {
      this.#startTunnel(text);
      return;
    }
    const head = this.#head;
    // A body that is not read to its end would be taken for the next request.
    if (this.#state === BODY && this.#consumer === null) this.#skipParkedBody();
    const complete = this.#state === ANSWER;
    const isOld = head === null || head.minor === 0;
    this.#framing = framing === "chunked" && isOld ? "close" : framing;
    this.#keepAlive =
      complete &&
      head !== null &&
      head.keepAlive &&
      !this.#mustClose &&
      !this.host.draining &&
      !(this.#inputEnded && this.#parked.bytes === null) &&
      this.#framing !== "close";
    this.#responding = true;
    this.#rate?.stop();
    let fields = text;
    if (this.#framing === "chunked") fields += "transfer-encoding: chunked\r\n";
    if (!this.#keepAlive) fields += "connection: close\r\n";
    else if (isOld) fields += "connection: keep-alive\r\n";
    this.#outbox.addText(`${fields}\r\n`);
  }

  sendBody(bytes: Buffer, from: number, to: number): void {
    if (from === to) return;
    if (this.#framing === "chunked") this.#outbox.addChunk(bytes, from, to);
    else this.#outbox.addBytes(bytes, from, to);
  }

  // From here on neither side has messages: what parked is the first of it.
  #startTunnel(text: string): void {
    this.#framing = "tunnel";
    this.#responding = true;
    this.#keepAlive = false;
    this.#state = BODY;
    this.#body = new RequestBody(ENDLESS);
    this.#outbox.addText(`${text}\r\n`);
    this.flush();
    this.readBody();
    if (this.#inputEnded) this.#consumer?.onBodyEnd();
  }

  flush(): boolean {
    if (this.#state === CLOSED) return true;
    const flushed = this.#outbox.flush();
    if (!flushed) this.#arm(this.host.timeouts.bodyIdleMs);
    return flushed;
  }

  /** The connection goes on with the next request, or closes. */
  endResponse(trailers: string): boolean {
    if (this.#framing === "chunked") this.#outbox.addText(`0\r\n${trailers}\r\n`);
    const flushed = this.flush();
    this.#server = null;
    this.#consumer = null;
    this.host.wheel.disarm(this.#requestDeadline);
    if (this.#state === CLOSED) return flushed;
    if (this.#keepAlive) this.#next(flushed);
    else this.#linger();
    return flushed;
  }

  cut(): void {
    if (this.#state === CLOSED) return;
    // It is not the client that went.
    this.#server = null;
    // TLS has its own way to tell: the close_notify that is missing (RFC 8446, 6.1).
    if (this.host.scheme === "http") this.#socket.resetAndDestroy();
    else this.#socket.destroy();
    this.#close();
  }

  /** Closes the connection once its request is answered; at once when it is idle. */
  drain(): void {
    if (this.idle) this.#socket.end(() => this.#socket.destroy());
    else this.#server?.onDraining();
  }

  destroy(): void {
    this.#socket.destroy();
    this.#close();
  }

  #onRead(count: number, buffer: Buffer): boolean {
    beginTurn();
    this.#parked.isLent = true;
    this.#onData(count === buffer.length ? buffer : buffer.subarray(0, count));
    this.#parked.isLent = false;
    return !this.#paused;
  }

  #onData(chunk: Buffer): void {
    switch (this.#state) {
      case HEAD:
        this.#take(chunk);
        return;
      case BODY:
        if (this.#consumer === null) this.#park(chunk);
        else this.#feed(chunk);
        return;
      case ANSWER:
      case DRAIN:
        this.#park(chunk);
        return;
      case LINGER:
        this.#droppedBytes += chunk.length;
        if (this.#droppedBytes > LIMITS.drainBodyBytesMax) this.destroy();
    }
  }

  // Takes requests from the bytes until they are used up or one must be waited for.
  #take(chunk: Buffer): void {
    const parked = this.#parked.take();
    let bytes: Buffer | null = parked === null ? chunk : Buffer.concat([parked, chunk]);
    let seen = parked === null ? 0 : parked.length;
    this.#taking = true;
    for (; bytes !== null && this.#state === HEAD; seen = 0) bytes = this.#takeHead(bytes, seen);
    this.#taking = false;
  }

  // Returns what is left of the bytes when the next request may be taken, null otherwise.
  #takeHead(bytes: Buffer, seen: number): Buffer | null {
    const text = headText(bytes, 0, Math.min(bytes.length, LIMITS.headBytesMax));
    const end = text.indexOf("\r\n\r\n");
    if (end === -1) {
      this.#awaitHead(bytes, text, seen);
      return null;
    }
    const whole = end + 4 === text.length;
    const head = parseRequestHead(whole ? text : text.slice(0, end + 4));
    if (typeof head === "string") {
      this.#refuse(head);
      return null;
    }
    const rest = end + 4 === bytes.length ? null : bytes.subarray(end + 4);
    this.#begin(head, rest);
    if ((this.#state as number) !== HEAD) return null;
    return this.#parked.take();
  }

  #awaitHead(bytes: Buffer, text: string, seen: number): void {
    if (bytes.length >= LIMITS.headBytesMax) {
      this.#refuse("HEAD_TOO_LARGE");
    } else if (isHopelessPrefix(bytes, Math.max(0, seen - 1))) {
      this.#refuse("BAD_HEAD");
    } else if (isLineTooLong(text)) {
      this.#refuse("TARGET_TOO_LONG");
    } else if (this.#inputEnded) {
      this.#finish();
    } else {
      // One deadline for the whole head, from its first byte: a byte at a time buys no more time.
      if (seen === 0) this.#arm(this.host.timeouts.headMs);
      this.#parked.set(bytes);
    }
  }

  #begin(head: RequestHead, rest: Buffer | null): void {
    this.#head = head;
    this.#responding = false;
    this.#framing = "none";
    this.host.wheel.disarm(this.#deadline);
    this.#state = head.hasBody ? BODY : ANSWER;
    this.#body = head.hasBody ? new RequestBody(head) : null;
    if (rest !== null) {
      if (head.hasBody) this.#parkBody(rest);
      else this.#parked.set(rest);
    }
    this.#server = this.host.serve(this, head);
    this.#server.start();
  }

  // Goes on to the next request after a complete one.
  #next(flushed: boolean): void {
    this.#head = null;
    this.#state = flushed ? HEAD : DRAIN;
    if (flushed) this.#takeNext();
  }

  #takeNext(): void {
    this.#arm(this.host.timeouts.idleMs);
    const parked = this.#taking ? null : this.#parked.take();
    if (parked !== null) this.#take(parked);
    const isLast = this.#inputEnded && !(this.#taking && this.#parked.bytes !== null);
    if (this.#state === HEAD && (isLast || this.host.draining)) this.#finish();
    else this.resumeBody();
  }

  // False: its consumer is behind, and asks for more.
  #feed(bytes: Buffer): boolean {
    const consumer = this.#consumer;
    const body = this.#body;
    if (consumer === null || body === null) return true;
    const end = body.take(bytes, this.#onRun);
    // Its consumer has refused it.
    if (this.#state !== BODY) return true;
    if (end === -1) {
      this.#failRequest("BAD_CHUNK", "malformed chunked body");
      return true;
    }
    if (body.isComplete) {
      this.#state = ANSWER;
      this.#consumer = null;
      this.#rate?.stop();
      this.host.wheel.disarm(this.#deadline);
      if (end < bytes.length) this.#parked.bytes = Buffer.from(bytes.subarray(end));
      // First: at its end the consumer may answer, and the next request be taken.
      this.#intake.giveUp();
      consumer.onBodyEnd();
      return true;
    }
    if (this.#framing !== "tunnel") this.#arm(this.host.timeouts.bodyIdleMs);
    this.#rate?.add(bytes.length);
    this.#intake.expectMore(bytes, bytes.length);
    if (consumer.flushBody()) return true;
    // Not the client is slow, the origin is: its own deadline runs.
    this.host.wheel.disarm(this.#deadline);
    this.#rate?.hold();
    this.#pause();
    return false;
  }

  // Of a body that is still to come.
  #watchRate(): void {
    if (this.#state !== BODY || this.#responding || this.#consumer === null) return;
    this.#rate ??= new RateWatch(this.host.wheel, { bytes: 0, count: 0 }, () =>
      this.#failRequest("REQUEST_TIMEOUT", "the body came too slowly"),
    );
    this.#rate.start(this.host.timeouts.bodyRate);
  }

  // An answer without the body: when the body has come already, it is passed over.
  #skipParkedBody(): void {
    const parked = this.#parked.bytes;
    const body = this.#body;
    if (parked === null || body === null) return;
    const end = body.take(parked, this.#onRun);
    if (end === -1 || !body.isComplete) return;
    this.#state = ANSWER;
    this.#parked.bytes = end === parked.length ? null : Buffer.from(parked.subarray(end));
    this.#intake.giveUp();
  }

  #unpark(): boolean {
    const parked = this.#parked.take();
    if (parked === null) return true;
    this.#intake.unpark();
    return this.#feed(parked);
  }

  // What has come of a body that nobody has asked for yet; of a large one no more is read till then.
  #parkBody(rest: Buffer): void {
    this.#parked.setBody(rest);
    if (rest.length > LIMITS.smallBodyBytesMax) this.#pause();
  }

  #park(chunk: Buffer): void {
    this.#parked.add(chunk);
    if (this.#parked.isFull) this.#pause();
  }

  #pause(): void {
    if (this.#paused) return;
    this.#paused = true;
    this.#socket.pause();
  }

  #onDrain(): void {
    beginTurn();
    if (this.#state === LINGER || this.#state === CLOSED) return;
    if (this.#state === DRAIN) {
      this.#state = HEAD;
      this.#takeNext();
      return;
    }
    if (this.#state === ANSWER || this.#framing === "tunnel") {
      this.host.wheel.disarm(this.#deadline);
    }
    this.#server?.onClientDrain();
  }

  #onInputEnd(): void {
    this.#inputEnded = true;
    if (this.#state === HEAD) this.#finish();
    else if (this.#framing === "tunnel" && this.#state === BODY) this.#consumer?.onBodyEnd();
    else if (this.#state === BODY)
      this.#failRequest("BAD_FRAMING", "the client ended its body early");
    else if (this.#state === LINGER) this.destroy();
  }

  #onDeadline(): void {
    if (this.#state === HEAD && this.#parked.bytes !== null) {
      this.#refuse("REQUEST_TIMEOUT");
    } else if (this.#state === BODY && !this.#responding && this.#socket.writableLength === 0) {
      this.#failRequest("REQUEST_TIMEOUT", "the body made no progress in time");
    } else {
      // Idle too long, or a client that does not read.
      this.destroy();
    }
  }

  #failRequest(code: ErrorCode, detail: string): void {
    this.#consumer = null;
    this.#server?.onRequestFailed(code, detail);
  }

  #refuse(code: ErrorCode): void {
    this.#outbox.addText(this.host.refusal(code));
    this.flush();
    this.#linger();
  }

  // The client may still be sending: closing now would answer with a reset, and the reset would
  // destroy the response before it is read (RFC 9112, 9.6).
  #linger(): void {
    this.#parked.bytes = null;
    this.#head = null;
    this.#paused = false;
    this.#finish();
    this.#socket.resume();
  }

  #finish(): void {
    this.#state = LINGER;
    // The time to linger begins when the response has left.
    this.#arm(this.host.timeouts.bodyIdleMs);
    this.#socket.end(() => {
      beginTurn();
      if (this.#state === LINGER) this.#arm(LIMITS.lingerMs);
    });
  }

  #close(): void {
    if (this.#state === CLOSED) return;
    this.#state = CLOSED;
    this.host.wheel.remove(this.#deadline);
    this.host.wheel.remove(this.#requestDeadline);
    this.#rate?.close();
    this.#parked.bytes = null;
    const server = this.#server;
    this.#server = null;
    this.#consumer = null;
    this.host.onClosed(this);
    server?.onClientGone();
  }

  #arm(delayMs: number): void {
    this.host.wheel.arm(this.#deadline, turnMs(), delayMs);
  }
}
