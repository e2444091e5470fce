// A shape is a path condition without its texts: exact, a prefix of n segments, or which segments of
// a pattern are literal. Routes are few shapes and many texts, so a host is searched shape by shape,
// in order of precedence, with one hash lookup each; no trie is walked and nothing backtracks.
// PathScan reads a path once and yields the hash of any shape's literal parts.

import { HASH_START, hashCode, hashPart } from "./place-index.ts";
import type { ShapeFacts } from "./precedence.ts";

export const EXACT = 0;
export const PREFIX = 1;
export const PATTERN = 2;
/** More segments than a scan counts; a small integer, which compares faster than a double. */
const UNBOUNDED = 2 ** 30;

/** See the file's comment. Shapes with the same key are the same object within a tree. */
export class Shape implements ShapeFacts {
  readonly kindCode: typeof EXACT | typeof PREFIX | typeof PATTERN;
  /** How many segments a path of this shape has. */
  readonly countMin: number;
  readonly countMax: number;
  readonly salt: number;
  /** Indexes of literal segments and of parameters; empty unless a pattern. */
  readonly literalAt: Int32Array;
  readonly parameterAt: Int32Array;
  readonly kind: ShapeFacts["kind"];
  readonly literals: readonly boolean[];
  readonly hasRest: boolean;

  constructor(facts: ShapeFacts, salt: number) {
    const depth = facts.literals.length;
    this.kindCode = facts.kind === "exact" ? EXACT : facts.kind === "prefix" ? PREFIX : PATTERN;
    this.countMin = facts.kind === "exact" ? 1 : facts.hasRest ? depth + 1 : depth;
    const isOpen = facts.hasRest || facts.kind !== "pattern";
    this.countMax = isOpen ? UNBOUNDED : depth;
    this.salt = salt;
    const indexes = facts.kind === "pattern" ? facts.literals.map((_, index) => index) : [];
    this.literalAt = Int32Array.from(indexes.filter((index) => facts.literals[index]));
    this.parameterAt = Int32Array.from(indexes.filter((index) => !facts.literals[index]));
    this.kind = facts.kind;
    this.literals = facts.literals;
    this.hasRest = facts.hasRest;
  }
}

/** Equal for equal shapes. */
export function shapeKey(facts: ShapeFacts): string {
  const marks = facts.literals.map((literal) => (literal ? "l" : "p")).join("");
  return `${facts.kind} ${marks}${facts.hasRest ? "*" : ""}`;
}

/**
 * What one pass over a path finds: its segments (the text between slashes, the last may be empty)
 * and their hashes, up to a number of segments; the rest of a longer path is not read. Reused.
 */
export class PathScan {
  /** Segments found; `segmentsMax + 1` when there are more than `segmentsMax`. */
  count = 0;
  readonly segmentsMax: number;
  /** Where segment i begins; it ends one before the next begins. */
  readonly starts: Int32Array;
  readonly segmentHashes: Int32Array;
  /** Hash of the first i segments. */
  readonly prefixHashes: Int32Array;

  constructor(segmentsMax: number) {
    this.segmentsMax = segmentsMax;
    this.starts = new Int32Array(segmentsMax + 2);
    this.segmentHashes = new Int32Array(segmentsMax + 1);
    this.prefixHashes = new Int32Array(segmentsMax + 2);
    this.starts[0] = 1;
    this.prefixHashes[0] = HASH_START;
  }

  /** Reads a path in normal form. */
  read(path: string): void {
    const { length } = path;
    let count = 0;
    let segment = HASH_START;
    let prefix = HASH_START;
    for (let i = 1; i <= length; i++) {
      const code = i < length ? path.charCodeAt(i) : 0x2f;
      if (code !== 0x2f) {
        segment = hashCode(segment, code);
        continue;
      }
      this.segmentHashes[count] = segment;
      prefix = hashPart(prefix, segment);
      count++;
      this.prefixHashes[count] = prefix;
      this.starts[count] = i + 1;
      if (count > this.segmentsMax) break;
      segment = HASH_START;
    }
    this.count = count;
  }

  /** Hash of what a shape's text is in the path read last; never 0. */
  placeHash(hostSalt: number, shape: Shape): number {
    let text: number;
    if (shape.kindCode === EXACT) {
      text = this.prefixHashes[this.count];
    } else if (shape.kindCode === PREFIX) {
      text = this.prefixHashes[shape.countMin];
    } else {
      text = HASH_START;
      const { literalAt } = shape;
      for (let i = 0; i < literalAt.length; i++) {
        text = hashPart(text, this.segmentHashes[literalAt[i]]);
      }
    }
    return hashPart(hostSalt ^ shape.salt, text) || 1;
  }
}
