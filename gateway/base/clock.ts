// The two clocks. Durations and deadlines use the monotonic one; only what people read uses the
// other. Pure code gets the time as an argument and imports neither.

/** Monotonic milliseconds, with fractions. */
export function nowMs(): number {
  return performance.now();
}

let turn = performance.now();

/** The time, for everything that is done in this turn of the event loop: a look costs 60 ns. */
export function beginTurn(): number {
  turn = performance.now();
  return turn;
}

/**
 * When this turn began. Whoever is called by a socket or a timer of the data path begins one; in any
 * other turn it is late by at most the tick of the timer wheel.
 */
export function turnMs(): number {
  return turn;
}

/** Milliseconds since the epoch; may jump. */
export function wallMs(): number {
  return Date.now();
}

let httpDateAtS = 0;
let httpDateText = "";

/** Now as an HTTP date (RFC 9110, 5.6.7); made once a second, since making it costs 1 us. */
export function httpDate(): string {
  const atMs = Date.now();
  const atS = Math.trunc(atMs / 1000);
  if (atS !== httpDateAtS) {
    httpDateAtS = atS;
    httpDateText = new Date(atMs).toUTCString();
  }
  return httpDateText;
}
