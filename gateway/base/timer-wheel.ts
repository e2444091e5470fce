// Every deadline of the data path, on one coarse wheel: a deadline is late by at most one tick.
// Connections set and move deadlines with each request, so that must cost a field write and not a
// timer: moving one later, or off, only notes the new time; its slot looks at it when it comes by.

import { LIMITS } from "./limits.ts";

const SLOTS = 512;

/** Something that may expire. Embed or own one per purpose, for as long as its owner lives. */
export class Deadline {
  /** Called at most once per arming, never from within arm(). */
  readonly expire: () => void;
  /** When it expires; 0 when it is off. */
  atMs = 0;
  // The place in the wheel; the slot may come by before `atMs`, never after.
  slot = -1;
  slotAtMs = 0;
  previous: Deadline | null = null;
  next: Deadline | null = null;

  constructor(expire: () => void) {
    this.expire = expire;
  }
}

export class TimerWheel {
  readonly #slots: (Deadline | null)[] = Array.from({ length: SLOTS }, () => null);
  readonly #now: () => number;
  readonly #tickMs: number;
  #timer: NodeJS.Timeout | null = null;
  #doneTick: number;
  #count = 0;

  /** `now` is monotonic milliseconds. The wheel's timer does not keep the process alive. */
  constructor(now: () => number, tickMs: number = LIMITS.timerTickMs) {
    this.#now = now;
    this.#tickMs = tickMs;
    this.#doneTick = Math.floor(now() / tickMs);
  }

  /** Deadlines in the wheel, those that are off but not yet passed included. */
  get count(): number {
    return this.#count;
  }

  /** Lets the deadline expire `delayMs` after `nowMs`, wherever it stood before. */
  arm(deadline: Deadline, nowMs: number, delayMs: number): void {
    deadline.atMs = nowMs + delayMs;
    if (deadline.slot !== -1) {
      if (deadline.slotAtMs <= deadline.atMs) return;
      this.#unlink(deadline);
    }
    if (this.#timer === null) this.#start();
    this.#link(deadline);
  }

  /** Switches the deadline off; it stays in its slot until that comes by. */
  disarm(deadline: Deadline): void {
    deadline.atMs = 0;
  }

  /** Takes the deadline out, so that the wheel no longer holds its owner. */
  remove(deadline: Deadline): void {
    deadline.atMs = 0;
    if (deadline.slot !== -1) this.#unlink(deadline);
  }

  /** Expires what is due. Called by the wheel's own timer; tests call it with their own clock. */
  tick(): void {
    const now = this.#now();
    const tick = Math.floor(now / this.#tickMs);
    // After a long stall one turn of the wheel sees every slot.
    const from = Math.max(this.#doneTick + 1, tick - SLOTS + 1);
    this.#doneTick = tick;
    for (let at = from; at <= tick; at++) this.#expireSlot(at % SLOTS, now);
    if (this.#count === 0 && this.#timer !== null) {
      clearInterval(this.#timer);
      this.#timer = null;
    }
  }

  /** Stops the timer for good; deadlines no longer expire. */
  close(): void {
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#timer = null;
  }

  #start(): void {
    this.#doneTick = Math.floor(this.#now() / this.#tickMs);
    this.#timer = setInterval(() => this.tick(), this.#tickMs);
    this.#timer.unref();
  }

  #expireSlot(slot: number, now: number): void {
    let deadline = this.#slots[slot];
    if (deadline === null) return;
    // Detached first: what expires may arm, move or remove others, those of this slot included.
    this.#slots[slot] = null;
    const due: Deadline[] = [];
    while (deadline !== null) {
      const next: Deadline | null = deadline.next;
      deadline.slot = -1;
      deadline.previous = null;
      deadline.next = null;
      this.#count--;
      if (deadline.atMs > now) this.#link(deadline);
      else if (deadline.atMs !== 0) due.push(deadline);
      deadline = next;
    }
    for (const each of due) {
      if (each.atMs === 0 || each.atMs > now) continue;
      each.atMs = 0;
      each.expire();
    }
  }

  #link(deadline: Deadline): void {
    const aheadMs = deadline.atMs - this.#doneTick * this.#tickMs;
    const ticks = Math.min(Math.max(Math.ceil(aheadMs / this.#tickMs), 1), SLOTS - 1);
    const tick = this.#doneTick + ticks;
    deadline.slot = tick % SLOTS;
    deadline.slotAtMs = tick * this.#tickMs;
    const head = this.#slots[deadline.slot];
    deadline.next = head;
    if (head !== null) head.previous = deadline;
    this.#slots[deadline.slot] = deadline;
    this.#count++;
  }

  #unlink(deadline: Deadline): void {
    if (deadline.previous !== null) deadline.previous.next = deadline.next;
    else this.#slots[deadline.slot] = deadline.next;
    if (deadline.next !== null) deadline.next.previous = deadline.previous;
    deadline.slot = -1;
    deadline.previous = null;
    deadline.next = null;
    this.#count--;
  }
}
