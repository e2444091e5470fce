// Finds clients that keep a connection busy with frames that carry nothing: PING, SETTINGS,
// WINDOW_UPDATE, data of no stream. node:http2 reports few of them and counts none, so what is watched
// is how many bytes a connection read that no request explains. It looks at a bounded number of
// connections per tick, whatever their number, and does nothing per frame.

import { turnMs } from "../../base/clock.ts";
import { LIMITS } from "../../base/limits.ts";
import { Deadline } from "../../base/timer-wheel.ts";
import type { TimerWheel } from "../../base/timer-wheel.ts";

/** What a head or a chunk may cost in frames around it: frame heads, padding, updates of windows. */
const FRAMING_BYTES = 128;
/** A client that takes so many may send one: two updates of windows and a ping for each KiB. */
const TAKEN_PER_BYTE = 32;

/** How many bytes of one connection are not explained, as a bucket that leaks. */
export class ByteBudget {
  #explained = 0;
  #read = 0;
  #level = 0;
  #atMs: number;

  constructor(nowMs: number) {
    this.#atMs = nowMs;
  }

  /** A request's head came, so many characters of it. */
  head(length: number): void {
    this.#explained += length + FRAMING_BYTES;
  }

  /** A part of a body came. Twice its length: the frames of one byte each explain nothing else. */
  body(length: number): void {
    this.#explained += 2 * length;
  }

  /** A part of a body was sent, which the client acknowledges. */
  sent(length: number): void {
    this.#explained += FRAMING_BYTES + Math.trunc(length / TAKEN_PER_BYTE);
  }

  /** A stream closed amid a body: as much as its window may have been sent, or still be on its way. */
  unread(): void {
    this.#explained += LIMITS.h2WindowBytes;
  }

  /** Whether more was read, `read` bytes by now, than may stay unexplained. */
  isExceeded(nowMs: number, read: number): boolean {
    const leak = ((nowMs - this.#atMs) / 1_000) * LIMITS.h2UnexplainedBytesPerSecondMax;
    const level = this.#level + read - this.#read - this.#explained - leak;
    // What explains bytes may come before them, but is not saved up.
    this.#level = Math.max(level, -LIMITS.h2WindowBytes);
    this.#explained = 0;
    this.#read = read;
    this.#atMs = nowMs;
    return this.#level > LIMITS.h2UnexplainedBytesPerSecondMax;
  }
}

/** Counts what may happen so often in a second. */
export class SecondBudget {
  readonly #max: number;
  #count = 0;
  #sinceMs = 0;

  constructor(max: number) {
    this.#max = max;
  }

  /** Counts one more; whether that is one too many. */
  isExceeded(nowMs: number): boolean {
    if (nowMs - this.#sinceMs > 1_000) {
      this.#count = 0;
      this.#sinceMs = nowMs;
    }
    return ++this.#count > this.#max;
  }
}

/** A connection that is looked at; the look may end it. */
export interface Watched {
  look(nowMs: number): void;
}

/** The connections of one listener, in turn. */
export class FloodWatch {
  readonly #wheel: TimerWheel;
  readonly #watched = new Set<Watched>();
  readonly #tick: Deadline;
  /** Goes on over what is added and removed meanwhile. */
  #turn = this.#watched.values();

  constructor(wheel: TimerWheel) {
    this.#wheel = wheel;
    this.#tick = new Deadline(() => this.#onTick());
  }

  add(one: Watched): void {
    if (this.#watched.size === 0) this.#arm();
    this.#watched.add(one);
  }

  remove(one: Watched): void {
    this.#watched.delete(one);
  }

  #arm(): void {
    // The next tick: a whole one from now would be the one after it.
    this.#wheel.arm(this.#tick, turnMs(), 1);
  }

  #onTick(): void {
    const nowMs = turnMs();
    for (let left = Math.min(this.#watched.size, LIMITS.h2LooksPerTickMax); left > 0; left--) {
      let next = this.#turn.next();
      if (next.done === true) {
        this.#turn = this.#watched.values();
        next = this.#turn.next();
      }
      if (next.done !== true) next.value.look(nowMs);
    }
    if (this.#watched.size > 0) this.#arm();
  }
}
