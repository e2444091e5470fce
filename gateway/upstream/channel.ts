// What a forwarded request needs of its way to an origin, whatever protocol the origin speaks: a channel
// for one request and its response, and a pool that gives channels out. Heads are text in the form of
// HTTP/1.1; an implementation for another protocol translates.

import type { ErrorCode } from "../base/errors.ts";
import type { BodyFraming, ResponseHead } from "../wire/response-head.ts";

/** What a channel must know of a request beside its head's text. */
export type RequestFacts = {
  readonly method: string;
  /** The body has no declared length. */
  readonly chunkedBody: boolean;
  readonly mayUpgrade: boolean;
};

/** One request's way to the origin and back. After `release` or `destroy` it is not used again. */
export interface OriginChannel {
  /** Sends the request's head: Latin-1 text with its empty line. The body follows, then `endRequest`. */
  sendHead(text: string, request: RequestFacts): void;
  /** Adds body bytes; `flush` writes them. */
  sendBody(bytes: Buffer, from: number, to: number): void;
  /** The request is complete; the origin's time to answer begins. */
  endRequest(): void;
  /** Writes what was added. False: the origin is slow, wait for `onDrain`. */
  flush(): boolean;
  /** Reads on after `flush` of the user had returned false. */
  resume(): void;
  /** Ends the sending half of a tunnel; the origin has a while to end its own. */
  endTunnel(): void;
  /** The user is done with a complete response. */
  release(): void;
  /** Ends the request at once; its user hears nothing more. */
  destroy(): void;
}

/** The one that uses a channel: one request and its response. */
export interface OriginUser {
  /** For the PROXY header of a connection that is made for this user. */
  readonly clientIp: string;
  /** The channel is this user's until it calls `release` or `destroy`. */
  onConnected(channel: OriginChannel, reused: boolean): void;
  onUnavailable(code: ErrorCode, detail: string): void;
  /** An informational response worth forwarding (103). */
  onInterim(head: ResponseHead): void;
  onHead(head: ResponseHead, framing: BodyFraming): void;
  /** A run of body bytes. Large ones stay valid until `flush` returns true or `resume` is called. */
  onBody(bytes: Buffer, from: number, to: number): void;
  /**
   * The response is complete: passes on the rest; true when all of it has left. `trailers` is field
   * lines as text, "" for none.
   */
  onEnd(trailers: string): boolean;
  /** Called after every other read: passes on what came; false stops reading until `resume`. */
  flush(): boolean;
  /** What was written to the origin has left. */
  onDrain(): void;
  /** The channel failed; it is destroyed. `received`: a byte of the response had come. */
  onFailed(code: ErrorCode, detail: string, received: boolean): void;
}

/** Channels to one origin address. */
export interface ChannelPool {
  /** Gives the user a channel, now or later. `fresh`: over a new connection. */
  acquire(user: OriginUser, fresh: boolean): void;
  /** The user no longer wants one. */
  cancel(user: OriginUser): void;
  /** Closes what is idle and refuses what waits; requests under way end as they would. */
  close(): void;
}
