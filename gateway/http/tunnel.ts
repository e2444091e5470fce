// A WebSocket between a client and an origin, after both agreed to it: bytes pass in both directions,
// idle ones are ended, and at a drain both sides are told with a close frame between two of their own.

import { turnMs } from "../base/clock.ts";
import { Deadline } from "../base/timer-wheel.ts";
import type { TimerWheel } from "../base/timer-wheel.ts";
import type { Forward } from "../upstream/forward.ts";
import type { Downstream } from "./downstream.ts";
import { CLOSE_GOING_AWAY, CLOSE_GOING_AWAY_MASKED, FrameTracker } from "./websocket.ts";

/** Where one direction's bytes go. */
export interface TunnelSide {
  send(bytes: Buffer, from: number, to: number): void;
  flush(): boolean;
  /** Nothing more is sent; what was added leaves first. */
  end(): void;
}

/** The client's side; `end` ends the response. */
export function clientSide(client: Downstream, end: () => void): TunnelSide {
  return {
    send: (bytes, from, to) => client.sendBody(bytes, from, to),
    flush: () => client.flush(),
    end,
  };
}

/** The origin's side. */
export function originSide(forward: Forward): TunnelSide {
  return {
    send: (bytes, from, to) => forward.sendBody(bytes, from, to),
    flush: () => forward.flushBody(),
    end: () => forward.endTunnel(),
  };
}

export type TunnelOptions = {
  readonly wheel: TimerWheel;
  readonly idleMs: number;
  readonly client: TunnelSide;
  readonly origin: TunnelSide;
  /** Nothing came from either side for too long. */
  onIdle(): void;
};

/** One direction: passes bytes on until it was told to go away and a frame has ended. */
class Direction {
  readonly #to: TunnelSide;
  readonly #farewell: Buffer;
  readonly #frames = new FrameTracker();
  #isLeaving = false;
  #isOver = false;

  constructor(to: TunnelSide, farewell: Buffer) {
    this.#to = to;
    this.#farewell = farewell;
  }

  pass(bytes: Buffer, from: number, to: number): void {
    if (this.#isOver) return;
    const boundary = this.#frames.push(bytes, from, to);
    const end = this.#isLeaving && boundary !== -1 ? boundary : to;
    this.#to.send(bytes, from, end);
    if (this.#isLeaving && boundary !== -1) this.#leave();
  }

  goAway(): void {
    this.#isLeaving = true;
    if (this.#frames.atBoundary && !this.#isOver) this.#leave();
  }

  #leave(): void {
    this.#isOver = true;
    this.#to.send(this.#farewell, 0, this.#farewell.length);
    this.#to.flush();
    this.#to.end();
  }
}

export class Tunnel {
  readonly #options: TunnelOptions;
  readonly #idle: Deadline;
  readonly #toClient: Direction;
  readonly #toOrigin: Direction;

  constructor(options: TunnelOptions) {
    this.#options = options;
    this.#idle = new Deadline(() => options.onIdle());
    this.#toClient = new Direction(options.client, CLOSE_GOING_AWAY);
    this.#toOrigin = new Direction(options.origin, CLOSE_GOING_AWAY_MASKED);
    this.#stir();
  }

  fromClient(bytes: Buffer, from: number, to: number): void {
    this.#stir();
    this.#toOrigin.pass(bytes, from, to);
  }

  fromOrigin(bytes: Buffer, from: number, to: number): void {
    this.#stir();
    this.#toClient.pass(bytes, from, to);
  }

  /** Tells both sides to close, each when a frame of its direction has ended. */
  goAway(): void {
    this.#toOrigin.goAway();
    this.#toClient.goAway();
  }

  close(): void {
    this.#options.wheel.remove(this.#idle);
  }

  #stir(): void {
    this.#options.wheel.arm(this.#idle, turnMs(), this.#options.idleMs);
  }
}
