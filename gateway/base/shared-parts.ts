// Things that several generations use and the last one must close: made on first use, found again by
// key, closed when nobody holds them. So a change that does not touch an upstream or a plugin keeps
// its connections and its state.

type Entry<T> = { readonly part: T; holders: number };

export class SharedParts<T extends { close(): void }> {
  readonly #entries = new Map<string, Entry<T>>();

  get size(): number {
    return this.#entries.size;
  }

  /** True when a part of this key is alive. */
  has(key: string): boolean {
    return this.#entries.has(key);
  }

  /** Holds the part of this key, making it when there is none. */
  hold(key: string, make: () => T): T {
    let entry = this.#entries.get(key);
    if (entry === undefined) {
      entry = { part: make(), holders: 0 };
      this.#entries.set(key, entry);
    }
    entry.holders++;
    return entry.part;
  }

  /** Lets go of it once; the last one closes it. */
  release(key: string): void {
    const entry = this.#entries.get(key);
    if (entry === undefined) throw new Error(`nobody holds ${key}`);
    entry.holders--;
    if (entry.holders > 0) return;
    this.#entries.delete(key);
    entry.part.close();
  }
}
