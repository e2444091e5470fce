// Tokens that were verified, so that the same token is not verified again: bounded in entries and
// in characters, failures never kept. It judges nothing: whether an entry still holds (time, key
// generation) is for the caller to ask at each hit.

const CHARS_PER_ENTRY = 1024; // The mean that the bound on characters allows for.

/** A verified token and what the plugin derives from it. */
export class VerifiedToken {
  readonly claims: Readonly<Record<string, unknown>>;
  readonly consumer: string | null;
  /** Request headers to set, in lower case, with values fit to be sent. */
  readonly headers: readonly (readonly [name: string, value: string])[];
  /** Epoch milliseconds from which the token counts; skew included. */
  readonly notBeforeMs: number;
  /** Epoch milliseconds at which it no longer counts; skew included. */
  readonly expiresMs: number;
  /** Of the keys that verified it. */
  readonly generation: number;
  /** Used since the eviction's hand last passed. */
  used = false;

  constructor(fields: Omit<VerifiedToken, "used">) {
    this.claims = fields.claims;
    this.consumer = fields.consumer;
    this.headers = fields.headers;
    this.notBeforeMs = fields.notBeforeMs;
    this.expiresMs = fields.expiresMs;
    this.generation = fields.generation;
  }
}

/** Second-chance eviction: an entry used since the hand last passed stays for another round. */
export class TokenCache {
  readonly #entriesMax: number;
  readonly #charsMax: number;
  readonly #byToken = new Map<string, VerifiedToken>();
  #chars = 0;
  // One living iterator: starting anew at the front of a Map passes over all deleted entries.
  #hand: MapIterator<[string, VerifiedToken]>;

  /** With `entriesMax` 0 nothing is kept. */
  constructor(entriesMax: number) {
    this.#entriesMax = entriesMax;
    this.#charsMax = entriesMax * CHARS_PER_ENTRY;
    this.#hand = this.#byToken.entries();
  }

  get size(): number {
    return this.#byToken.size;
  }

  get(token: string): VerifiedToken | undefined {
    const entry = this.#byToken.get(token);
    if (entry !== undefined) entry.used = true;
    return entry;
  }

  /** Keeps an entry. The text must own its characters, see `ownText`. */
  put(token: string, entry: VerifiedToken): void {
    if (token.length > this.#charsMax) return;
    this.delete(token);
    while (this.#byToken.size >= this.#entriesMax || this.#chars + token.length > this.#charsMax) {
      this.#evict();
    }
    this.#byToken.set(token, entry);
    this.#chars += token.length;
  }

  delete(token: string): void {
    if (this.#byToken.delete(token)) this.#chars -= token.length;
  }

  clear(): void {
    this.#byToken.clear();
    this.#chars = 0;
  }

  #evict(): void {
    for (;;) {
      const step = this.#hand.next();
      if (step.done) {
        this.#hand = this.#byToken.entries();
        continue;
      }
      const [token, entry] = step.value;
      if (entry.used) {
        entry.used = false;
        continue;
      }
      this.delete(token);
      return;
    }
  }
}
