// What a client connection gets from its listener, and what it gives to the socket that reads for it.

import type { ErrorCode } from "../../base/errors.ts";
import type { ReadBuffers } from "../../base/read-buffers.ts";
import type { TimerWheel } from "../../base/timer-wheel.ts";
import type { RequestHead } from "../../wire/request-head.ts";
import type { BodyRate } from "../body-rate.ts";
import type { RequestServer } from "../downstream.ts";
import type { H1Connection } from "./connection.ts";

export type ConnectionTimeouts = {
  readonly headMs: number;
  readonly bodyIdleMs: number;
  readonly bodyRate: BodyRate;
  readonly idleMs: number;
};

/** What a connection needs of the listener it came through. */
export interface ConnectionHost {
  readonly wheel: TimerWheel;
  readonly buffers: ReadBuffers;
  readonly scheme: "http" | "https";
  readonly timeouts: ConnectionTimeouts;
  readonly draining: boolean;
  /** Makes the server of a request; the connection then starts it. */
  serve(connection: H1Connection, head: RequestHead): RequestServer;
  /** The text of the response that refuses a request without a usable head. */
  refusal(code: ErrorCode): string;
  onClosed(connection: H1Connection): void;
}

/** What a connection gives to the socket that reads for it. */
export type SocketReader = {
  /** For sockets that read into buffers of ours: the next one, and what was read into it. */
  readonly onread: {
    buffer(): Uint8Array;
    callback(count: number, buffer: Uint8Array): boolean;
  };
  /** For sockets that bring buffers of their own. */
  onData(chunk: Buffer): void;
};
