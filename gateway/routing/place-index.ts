// The hash table under the tree and the hash of its keys. A place is found by numbers that are made
// in one pass over the request's text, so that a lookup cuts no substring and allocates nothing.
// A hash is only a hint: whoever looks up compares the text itself before believing a hit.
// Clients cannot lengthen probe chains: only configured keys are in the table.

/** Hash of no text. */
export const HASH_START = 0x811c9dc5 | 0;

/** Adds one character's code (FNV-1a over codes). */
export function hashCode(hash: number, code: number): number {
  return Math.imul(hash ^ code, 0x01000193);
}

/** Adds the finished hash of a part: order matters, and the low bits become good slot numbers. */
export function hashPart(hash: number, part: number): number {
  const mixed = Math.imul(hash ^ part ^ (part >>> 16), 0x9e3779b1);
  return mixed ^ (mixed >>> 15);
}

/** Hash of a whole text. */
export function hashText(text: string): number {
  let hash = HASH_START;
  for (let i = 0; i < text.length; i++) hash = hashCode(hash, text.charCodeAt(i));
  return hash;
}

/**
 * Open addressing with linear probing, at most half full. To look up, begin at `hash & mask`, stop
 * at the first null entry, and compare hashes before touching an entry, which may not be cached.
 */
export class PlaceIndex<Entry> {
  readonly hashes: Int32Array;
  readonly entries: (Entry | null)[];
  readonly mask: number;

  /** Holds up to `countMax` entries; never grows. */
  constructor(countMax: number) {
    let capacity = 8;
    while (capacity < countMax * 2) capacity *= 2;
    this.hashes = new Int32Array(capacity);
    this.entries = [];
    // Pushed, not preset by length: a large preset array would be a dictionary in V8.
    for (let i = 0; i < capacity; i++) this.entries.push(null);
    this.mask = capacity - 1;
  }

  /** Stores an entry in the first free slot for this hash. The caller knows that it is new. */
  insert(hash: number, entry: Entry): void {
    let slot = hash & this.mask;
    while (this.entries[slot] !== null) slot = (slot + 1) & this.mask;
    this.hashes[slot] = hash;
    this.entries[slot] = entry;
  }
}
