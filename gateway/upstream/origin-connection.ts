// One HTTP/1.1 connection to an origin: one request at a time, its response parsed strictly and handed
// on as it arrives. An origin is as hostile as a client: whatever is ambiguous fails the response,
// and a connection with one surprising byte is never used again.

import type { Socket } from "node:net";
import { Deadline } from "../base/timer-wheel.ts";
import type { TimerWheel } from "../base/timer-wheel.ts";
import { beginTurn, turnMs } from "../base/clock.ts";
import type { ErrorCode } from "../base/errors.ts";
import { LIMITS } from "../base/limits.ts";
import { ChunkedDecoder } from "../wire/chunked.ts";
import { headText } from "../wire/head-text.ts";
import { Outbox } from "../wire/outbox.ts";
import { parseResponseHead } from "../wire/response-head.ts";
import type { BodyFraming, ResponseHead } from "../wire/response-head.ts";
import { Intake } from "../base/read-buffers.ts";
import type { ReadBuffers } from "../base/read-buffers.ts";
import type { OriginChannel, OriginUser, RequestFacts } from "./channel.ts";

export type OriginTimeouts = { readonly firstByteMs: number; readonly idleMs: number };

/** What a connection tells the pool it belongs to. */
export interface OriginOwner {
  readonly wheel: TimerWheel;
  readonly buffers: ReadBuffers;
  readonly timeouts: OriginTimeouts;
  onReusable(connection: OriginConnection): void;
  onGone(connection: OriginConnection): void;
}

const IDLE = 0;
const HEAD = 1;
const BODY = 2;
const ENDED = 3; // The response is complete, the user has not let go yet.
const GONE = 4;

export class OriginConnection implements OriginChannel {
  readonly #owner: OriginOwner;
  readonly #deadline: Deadline;
  #socket!: Socket;
  #outbox!: Outbox;
  #user: OriginUser | null = null;
  #state = IDLE;
  #method = "GET";
  #deadlineCode: ErrorCode = "UPSTREAM_TIMEOUT";
  #headText = "";
  #interims = 0;
  #framing: BodyFraming = "none";
  #remaining = 0;
  #decoder: ChunkedDecoder | null = null;
  #onData = (bytes: Buffer, from: number, to: number): void => this.#pass(bytes, from, to);
  readonly #intake: Intake;
  #paused = false;
  #reading = false;
  #keepAlive = true;
  #requestDone = false;
  /** The request asks for a tunnel, so a 101 is an answer and not a surprise. */
  #mayUpgrade = false;
  #chunkedRequest = false;
  #received = false;

  constructor(owner: OriginOwner) {
    this.#owner = owner;
    this.#intake = new Intake(owner.buffers);
    this.#deadline = new Deadline(() => this.#onDeadline());
  }

  /** Buffer for the next read: given to the socket's `onread`. */
  readonly nextBuffer = (): Buffer => this.#intake.nextBuffer();

  /** The socket's `onread` callback; false stops reading. */
  readonly onRead = (count: number, buffer: Uint8Array): boolean => {
    this.onBytes(buffer as Buffer, count);
    return !this.#paused;
  };

  /** Takes over a connected socket, whose errors now end this connection. */
  adopt(socket: Socket): void {
    this.#socket = socket;
    this.#outbox = new Outbox(socket, this.#owner.buffers, () => this.#onDrain());
    socket.on("end", () => this.#onSocketEnd());
    socket.on("error", (error) => this.#fail("UPSTREAM_RESET", error.message));
    socket.on("close", () => {
      this.#intake.close();
      this.#fail("UPSTREAM_RESET", "the connection was closed");
    });
  }

  get usable(): boolean {
    return this.#state === IDLE && this.#socket.writable;
  }

  /** Gives the connection to a user, who sends one request. */
  assign(user: OriginUser): void {
    this.#owner.wheel.disarm(this.#deadline);
    this.#user = user;
  }

  sendHead(text: string, request: RequestFacts): void {
    const { method, chunkedBody, mayUpgrade } = request;
    this.#mayUpgrade = mayUpgrade;
    this.#state = HEAD;
    this.#method = method;
    this.#chunkedRequest = chunkedBody;
    this.#headText = "";
    this.#interims = 0;
    this.#requestDone = false;
    this.#received = false;
    this.#keepAlive = true;
    this.#outbox.addText(text);
  }

  sendBody(bytes: Buffer, from: number, to: number): void {
    if (this.#state === GONE || from === to) return;
    if (this.#chunkedRequest) this.#outbox.addChunk(bytes, from, to);
    else this.#outbox.addBytes(bytes, from, to);
  }

  endRequest(): void {
    if (this.#state === GONE) return;
    this.#requestDone = true;
    if (this.#chunkedRequest) this.#outbox.addText("0\r\n\r\n");
    if (this.#state === HEAD) this.#arm(this.#owner.timeouts.firstByteMs);
  }

  flush(): boolean {
    if (this.#state === GONE) return true;
    const flushed = this.#outbox.flush();
    if (!flushed && !this.#requestDone) this.#arm(this.#owner.timeouts.idleMs);
    return flushed;
  }

  resume(): void {
    if (!this.#paused || this.#state === GONE) return;
    this.#paused = false;
    if (this.#state === BODY && this.#framing !== "tunnel") this.#arm(this.#owner.timeouts.idleMs);
    // Within a read the callback's return value goes on with it.
    if (!this.#reading) this.#socket.resume();
  }

  endTunnel(): void {
    if (this.#state === GONE) return;
    this.#socket.end();
    this.#arm(LIMITS.lingerMs);
  }

  /** The connection is kept when both messages ended cleanly. */
  release(): void {
    this.#user = null;
    const clean =
      this.#state === ENDED && this.#keepAlive && this.#requestDone && this.#socket.writable;
    if (!clean) {
      this.destroy();
      return;
    }
    this.#state = IDLE;
    if (this.#paused) {
      this.#paused = false;
      if (!this.#reading) this.#socket.resume();
    }
    this.#arm(this.#owner.timeouts.idleMs);
    this.#owner.onReusable(this);
  }

  destroy(): void {
    if (this.#state === GONE) return;
    this.#state = GONE;
    this.#user = null;
    this.#owner.wheel.remove(this.#deadline);
    this.#socket.destroy();
    this.#owner.onGone(this);
  }

  /** Bytes from the origin. The buffer may be the shared one. */
  onBytes(buffer: Buffer, count: number): void {
    beginTurn();
    this.#reading = true;
    this.#received = true;
    const end = this.#consume(buffer, count);
    if (this.#state !== GONE && end < count) {
      // Bytes nobody asked for: the next response could be forged with them.
      if (this.#state === IDLE) this.#fail("UPSTREAM_RESET", "bytes on an idle connection");
      else this.#keepAlive = false;
    }
    if (this.#state === BODY) this.#intake.expectMore(buffer, count);
    const user = this.#user;
    if (user !== null) this.#afterRead(user);
    this.#reading = false;
  }

  #afterRead(user: OriginUser): void {
    if (this.#state === ENDED) {
      // First: at its end the user releases the connection, which may begin another use.
      this.#intake.giveUp();
      user.onEnd("");
      return;
    }
    const flushed = user.flush();
    if (this.#state !== BODY) return;
    if (flushed) {
      // A tunnel's time is its user's business: both directions count.
      if (this.#framing !== "tunnel") this.#arm(this.#owner.timeouts.idleMs);
    } else {
      // The origin is not slow, the client is: its own deadline runs instead.
      this.#paused = true;
      this.#owner.wheel.disarm(this.#deadline);
      this.#socket.pause();
    }
  }

  #consume(buffer: Buffer, count: number): number {
    let at = 0;
    while (this.#state === HEAD && at < count) at = this.#readHead(buffer, at, count);
    if (this.#state !== BODY || at === count) return at;
    switch (this.#framing) {
      case "length": {
        const take = Math.min(this.#remaining, count - at);
        this.#remaining -= take;
        this.#pass(buffer, at, at + take);
        if (this.#remaining === 0) this.#state = ENDED;
        return at + take;
      }
      case "chunked": {
        const decoder = this.#decoder ?? new ChunkedDecoder();
        const whole = count === buffer.length ? buffer : buffer.subarray(0, count);
        const stop = decoder.push(whole, at, this.#onData);
        if (stop === -1) this.#fail("UPSTREAM_BAD_RESPONSE", "malformed chunked body");
        else if (decoder.done) this.#state = ENDED;
        return stop;
      }
      default:
        this.#pass(buffer, at, count);
        return count;
    }
  }

  #pass(buffer: Buffer, from: number, to: number): void {
    this.#user?.onBody(this.#intake.lasting(buffer, from, to), from, to);
  }

  // Returns the offset after the head, or `count` when the head goes on in the next read.
  #readHead(buffer: Buffer, at: number, count: number): number {
    const before = this.#headText.length;
    const room = LIMITS.responseHeadBytesMax - before;
    const text = this.#headText + headText(buffer, at, Math.min(count, at + room));
    const end = text.indexOf("\r\n\r\n", Math.max(0, before - 3));
    if (end === -1) {
      this.#headText = text;
      if (text.length >= LIMITS.responseHeadBytesMax) {
        this.#fail("UPSTREAM_BAD_RESPONSE", "the response head is too large");
      } else if (!"HTTP/1.".startsWith(text.slice(0, 7))) {
        this.#fail("UPSTREAM_BAD_RESPONSE", "not an HTTP/1 response");
      } else if (isHopelessLine(text, before)) {
        this.#fail("UPSTREAM_BAD_RESPONSE", "a line of the head does not end with CR LF");
      }
      return count;
    }
    this.#headText = "";
    const head = parseResponseHead(end + 4 === text.length ? text : text.slice(0, end + 4));
    if (typeof head === "string") this.#fail("UPSTREAM_BAD_RESPONSE", head);
    else if (head.status < 200) this.#onInterim(head);
    else this.#onHead(head, head.framing(this.#method));
    return at + end + 4 - before;
  }

  #onInterim(head: ResponseHead): void {
    // Who says close is believed, before the response as in it (RFC 9112, 9.6).
    if (!head.keepAlive) this.#keepAlive = false;
    if (head.status === 101 && this.#mayUpgrade) {
      this.#onHead(head, "tunnel");
    } else if (head.status === 101) {
      this.#fail("UPSTREAM_BAD_RESPONSE", "an upgrade that nobody asked for");
    } else if (++this.#interims > LIMITS.interimResponsesMax) {
      this.#fail("UPSTREAM_BAD_RESPONSE", "too many informational responses");
    } else if (head.status === 103) {
      this.#user?.onInterim(head);
    }
  }

  #onHead(head: ResponseHead, framing: BodyFraming): void {
    this.#framing = framing;
    this.#keepAlive &&= head.keepAlive && framing !== "close" && framing !== "tunnel";
    this.#remaining = head.contentLength;
    this.#decoder = framing === "chunked" ? new ChunkedDecoder() : null;
    this.#state = framing === "none" ? ENDED : BODY;
    this.#owner.wheel.disarm(this.#deadline);
    this.#user?.onHead(head, framing);
  }

  #onSocketEnd(): void {
    beginTurn();
    if (this.#state === BODY && (this.#framing === "close" || this.#framing === "tunnel")) {
      this.#state = ENDED;
      this.#keepAlive = false;
      const user = this.#user;
      if (user !== null) this.#afterRead(user);
      return;
    }
    const code = this.#state === BODY ? "UPSTREAM_CUT" : "UPSTREAM_RESET";
    this.#fail(code, "the origin closed the connection");
  }

  #onDrain(): void {
    beginTurn();
    if (this.#state === HEAD && !this.#requestDone) this.#owner.wheel.disarm(this.#deadline);
    this.#user?.onDrain();
  }

  #onDeadline(): void {
    if (this.#state === IDLE) this.destroy();
    else this.#fail(this.#deadlineCode, "the origin made no progress in time");
  }

  #arm(delayMs: number): void {
    this.#owner.wheel.arm(this.#deadline, turnMs(), delayMs);
  }

  #fail(code: ErrorCode, detail: string): void {
    if (this.#state === GONE) return;
    const user = this.#user;
    const failure = code === "UPSTREAM_RESET" && this.#state === BODY ? "UPSTREAM_CUT" : code;
    const received = this.#received && this.#state !== IDLE;
    const wasEnded = this.#state === ENDED;
    this.destroy();
    // After the response's end the user has all it wants; release() then finds the connection gone.
    if (!wasEnded) user?.onFailed(failure, detail, received);
  }
}

// A head that can never end right is not waited for.
function isHopelessLine(text: string, from: number): boolean {
  for (let i = text.indexOf("\n", from); i !== -1; i = text.indexOf("\n", i + 1)) {
    if (text.charCodeAt(i - 1) !== 13) return true;
  }
  return false;
}
