// How long the event loop was held up lately: the longest stall of the last half minute to minute.
// A stall is what every connection of a worker waits for, so it is a figure of its own.

import { monitorEventLoopDelay } from "node:perf_hooks";

const RESOLUTION_MS = 10;
const WINDOW_MS = 30_000;

export class LoopDelay {
  readonly #histogram = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  readonly #timer: NodeJS.Timeout;
  #beforeMs = 0;

  constructor() {
    this.#histogram.enable();
    // What happened in the window before still counts, so that no stall is missed between two looks.
    this.#timer = setInterval(() => {
      this.#beforeMs = this.#nowMaxMs();
      this.#histogram.reset();
    }, WINDOW_MS);
    this.#timer.unref();
  }

  /** The longest stall, in milliseconds; 0 when there was none. */
  get maxMs(): number {
    return Math.max(this.#beforeMs, this.#nowMaxMs());
  }

  close(): void {
    clearInterval(this.#timer);
    this.#histogram.disable();
  }

  // The histogram holds intervals between ticks: the tick itself is no stall.
  #nowMaxMs(): number {
    if (this.#histogram.count === 0) return 0;
    return Math.max(0, this.#histogram.max / 1e6 - RESOLUTION_MS);
  }
}
