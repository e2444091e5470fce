// The least rate at which a client sends a body: one that trickles would otherwise keep a request and
// an origin's connection for as long as the route allows. Time counts only while the gateway reads, so
// an origin that is slow is not held against the client, and until the response begins: from then on it
// is a conversation, whose silence is bounded by the idle deadline. Nothing is done per chunk but sums.

import { turnMs } from "../base/clock.ts";
import { Deadline } from "../base/timer-wheel.ts";
import type { TimerWheel } from "../base/timer-wheel.ts";

export type BodyRate = {
  /** 0: any rate will do. */
  readonly bytesPerSecondMin: number;
  readonly windowMs: number;
};

/**
 * The bodies that one connection brings. A client may send them one after another, so a body that
 * stands still is slow only when all together bring less than is due for each.
 */
export type Bodies = {
  /** All that came of them. */
  bytes: number;
  /** How many are being read. */
  count: number;
};

export class RateWatch {
  readonly #wheel: TimerWheel;
  readonly #bodies: Bodies;
  readonly #now: () => number;
  readonly #deadline: Deadline;
  #rate: BodyRate = { bytesPerSecondMin: 0, windowMs: 0 };
  /** What has come of this body within the window. */
  #bytes = 0;
  /** What had come of all when it began. */
  #bodiesBytes = 0;
  #state: "off" | "running" | "held" = "off";
  /** What is left of the window, while it is held. */
  #leftMs = 0;

  /** `now` is the wheel's clock. */
  constructor(wheel: TimerWheel, bodies: Bodies, onSlow: () => void, now: () => number = turnMs) {
    this.#wheel = wheel;
    this.#bodies = bodies;
    this.#now = now;
    this.#deadline = new Deadline(() => {
      if (!this.#isSlow()) {
        this.#begin(0);
        return;
      }
      this.stop();
      onSlow();
    });
  }

  /** A body is read from now on. */
  start(rate: BodyRate): void {
    if (rate.bytesPerSecondMin === 0) return;
    this.stop();
    this.#rate = rate;
    this.#state = "running";
    this.#bodies.count++;
    // The first window is grace: connections and encoders take time to gain speed.
    this.#begin(Infinity);
  }

  /** So much of it came. */
  add(bytes: number): void {
    this.#bytes += bytes;
    this.#bodies.bytes += bytes;
  }

  /** It is not read for now. */
  hold(): void {
    if (this.#state !== "running") return;
    this.#state = "held";
    this.#bodies.count--;
    this.#leftMs = this.#deadline.atMs - this.#now();
    this.#wheel.disarm(this.#deadline);
  }

  resume(): void {
    if (this.#state !== "held") return;
    this.#state = "running";
    this.#bodies.count++;
    this.#wheel.arm(this.#deadline, this.#now(), Math.max(this.#leftMs, 1));
  }

  /** It has ended, or its rate does not matter any more. */
  stop(): void {
    if (this.#state === "running") this.#bodies.count--;
    this.#state = "off";
    this.#wheel.disarm(this.#deadline);
  }

  /** Stops for good, so that the wheel no longer holds the owner. */
  close(): void {
    this.stop();
    this.#wheel.remove(this.#deadline);
  }

  #begin(bytes: number): void {
    this.#bytes = bytes;
    this.#bodiesBytes = this.#bodies.bytes;
    this.#wheel.arm(this.#deadline, this.#now(), this.#rate.windowMs);
  }

  #isSlow(): boolean {
    const dueBytes = (this.#rate.bytesPerSecondMin * this.#rate.windowMs) / 1000;
    if (this.#bytes >= dueBytes) return false;
    return this.#bodies.bytes - this.#bodiesBytes < dueBytes * this.#bodies.count;
  }
}
