// The client's side of one request, whatever protocol the client speaks: what the life of a request
// needs of a connection or a stream. Heads are text in the form of HTTP/1.1 in both directions, so that
// there is one set of rules for them; an implementation for another protocol translates.

import type { ErrorCode } from "../base/errors.ts";
import type { TlsFacts } from "../exchange.ts";
import type { BodyFraming } from "../wire/response-head.ts";

/** Who is at the other end of a connection. */
export type Peer = {
  /** The socket's, or what a PROXY header said; IPv4 as such. */
  readonly address: string;
  /** null on clear text. */
  readonly tls: TlsFacts | null;
};

export interface Downstream {
  readonly scheme: "http" | "https";
  readonly peer: Peer;
  /** Lets the request run at most this long. */
  limitRequest(timeoutMs: number, startedMs: number): void;
  /** Ends that limit: the request has become something that lasts. */
  unlimitRequest(): void;
  /** Starts to hand the body to the server of the request; asks the client for it when it waits. */
  readBody(): void;
  /** Reads on after `flushBody` had returned false. */
  resumeBody(): void;
  /** Closes the connection after the response: what the client means is in doubt. */
  closeAfterResponse(): void;
  /** Sends an informational head (RFC 9110, 15.2), with its empty line. */
  sendInterim(text: string): void;
  /**
   * Sends the response's head: status line and fields as text, without the empty line and without
   * the fields of framing other than Content-Length, which are added where the protocol has them.
   */
  sendHead(text: string, framing: BodyFraming): void;
  /** Adds body bytes; large ones must stay as they are until `flush` returned true or a drain. */
  sendBody(bytes: Buffer, from: number, to: number): void;
  /** Writes what was added. False: the client is slow, wait for `onClientDrain`. */
  flush(): boolean;
  /** Ends the response; `trailers` is field lines as text, "" for none. True when all has left. */
  endResponse(trailers: string): boolean;
  /** Ends the response so that the client cannot take what it has for a whole one. */
  cut(): void;
}

/** Takes the body of a request as it arrives. */
export interface BodyConsumer {
  /** A run of body bytes, valid until the socket has drained. */
  onBody(bytes: Buffer, from: number, to: number): void;
  /** Called after each read; false: pause until `resumeBody`. */
  flushBody(): boolean;
  /** True when nothing refers to the last bytes any more. */
  onBodyEnd(): boolean;
}

/** What serves the requests of a connection: one per request. */
export interface RequestServer extends BodyConsumer {
  /** Begins; may answer within the call. */
  start(): void;
  /** The request cannot be completed: its body is malformed, too slow or too large. */
  onRequestFailed(code: ErrorCode, detail: string): void;
  /** What was written to the client has left. */
  onClientDrain(): void;
  /** The route's time is up. */
  onTimeout(): void;
  /** The gateway drains: what has no end of its own is to be ended. */
  onDraining(): void;
  /** The socket is gone; nothing can be sent any more. */
  onClientGone(): void;
}
