// The two clocks. Durations and deadlines use the monotonic one; only what people read uses the
// other. Pure code gets the time as an argument and imports neither.

/** Monotonic milliseconds, with fractions. */
export function nowMs(): number {
  return performance.now();
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
