// The values that plugins keep beyond a request, in the primary, so that all workers see the same. In
// memory: they are lost with the primary. Each plugin has its own room, bounded in entries and bytes;
// when it is full, what was not touched for longest goes.

export type KvLimits = { readonly entriesMax: number; readonly bytesMax: number };

/** Of one plugin. */
export const KV_LIMITS: KvLimits = { entriesMax: 10_000, bytesMax: 8 * 1024 * 1024 };

// What an entry costs beside its texts.
const ENTRY_BYTES = 100;

type Entry = { value: string; readonly endsMs: number };

/** The values of one plugin. Times are milliseconds of a monotonic clock. */
export class KvRoom {
  readonly #limits: KvLimits;
  // In the order of their last use, the oldest first.
  readonly #entries = new Map<string, Entry>();
  #bytes = 0;

  constructor(limits: KvLimits = KV_LIMITS) {
    this.#limits = limits;
  }

  get size(): number {
    return this.#entries.size;
  }

  get(key: string, nowMs: number): string | null {
    const entry = this.#live(key, nowMs);
    if (entry === null) return null;
    this.#entries.delete(key);
    this.#entries.set(key, entry);
    return entry.value;
  }

  /** `ttlMs` 0: until it is evicted. */
  set(key: string, value: string, ttlMs: number, nowMs: number): void {
    this.#remove(key);
    this.#add(key, { value, endsMs: ttlMs === 0 ? Infinity : nowMs + ttlMs });
  }

  /** Adds to a number that begins at 0; null when the value is none. The end is set at the beginning. */
  increment(key: string, by: number, ttlMs: number, nowMs: number): number | null {
    const entry = this.#live(key, nowMs);
    const sum = (entry === null ? 0 : Number(entry.value)) + by;
    if (!Number.isSafeInteger(sum)) return null;
    const endsMs = entry?.endsMs ?? (ttlMs === 0 ? Infinity : nowMs + ttlMs);
    this.#remove(key);
    this.#add(key, { value: String(sum), endsMs });
    return sum;
  }

  #live(key: string, nowMs: number): Entry | null {
    const entry = this.#entries.get(key);
    if (entry === undefined) return null;
    if (nowMs < entry.endsMs) return entry;
    this.#remove(key);
    return null;
  }

  #add(key: string, entry: Entry): void {
    this.#entries.set(key, entry);
    this.#bytes += cost(key, entry);
    const { entriesMax, bytesMax } = this.#limits;
    while (this.#entries.size > entriesMax || this.#bytes > bytesMax) {
      const [oldest] = this.#entries.keys();
      this.#remove(oldest);
    }
  }

  #remove(key: string): void {
    const entry = this.#entries.get(key);
    if (entry === undefined) return;
    this.#bytes -= cost(key, entry);
    this.#entries.delete(key);
  }
}

function cost(key: string, { value }: Entry): number {
  return (key.length + value.length) * 2 + ENTRY_BYTES;
}

/** What a worker asks of a room. */
export type KvRequest = {
  readonly plugin: string;
  readonly key: string;
} & (
  | { readonly op: "get" }
  | { readonly op: "set"; readonly value: string; readonly ttlMs: number }
  | { readonly op: "increment"; readonly by: number; readonly ttlMs: number }
);

/** The rooms of all plugins. */
export class KvStore {
  readonly #rooms = new Map<string, KvRoom>();
  readonly #nowMs: () => number;

  constructor(nowMs: () => number) {
    this.#nowMs = nowMs;
  }

  /** The value, the sum, or null: no such value, or one that is no number. */
  answer(request: KvRequest): string | number | null {
    const { plugin, key } = request;
    let room = this.#rooms.get(plugin);
    if (room === undefined) {
      room = new KvRoom();
      this.#rooms.set(plugin, room);
    }
    switch (request.op) {
      case "get":
        return room.get(key, this.#nowMs());
      case "set":
        room.set(key, request.value, request.ttlMs, this.#nowMs());
        return null;
      case "increment":
        return room.increment(key, request.by, request.ttlMs, this.#nowMs());
    }
  }

  /** Forgets what a plugin kept that is no more. */
  forget(plugin: string): void {
    this.#rooms.delete(plugin);
  }
}
