// A source map of Wasm: one generated line, whose columns are byte offsets of the module.

export type SourcePlace = {
  readonly file: string;
  /** Both count from 1. */
  readonly line: number;
  readonly column: number;
  /** Text of the line; empty when the map does not hold the file. */
  readonly source: string;
};

type Segment = {
  readonly offset: number;
  readonly file: number;
  readonly line: number;
  readonly column: number;
};

const DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

export class SourceMap {
  readonly #segments: readonly Segment[];
  readonly #sources: readonly string[];
  readonly #texts: readonly (string | null)[];

  /** Reads the JSON of a source map. */
  constructor(json: string) {
    const map = JSON.parse(json) as {
      mappings: string;
      sources: string[];
      sourcesContent?: (string | null)[];
    };
    this.#segments = decode(map.mappings);
    this.#sources = map.sources;
    this.#texts = map.sourcesContent ?? [];
  }

  /** The place of the code at `offset`, in a function that begins at `from`. */
  at(offset: number, from: number): SourcePlace | null {
    const segment = this.#segments.findLast((each) => each.offset <= offset);
    return segment === undefined || segment.offset < from ? null : this.#place(segment);
  }

  /** The nearest place before `offset` that is of the plugin's own source, in the same function. */
  ownBefore(offset: number, from: number): SourcePlace | null {
    const segment = this.#segments.findLast(
      (each) => each.offset <= offset && !isLibrary(this.#sources[each.file] ?? ""),
    );
    return segment === undefined || segment.offset < from ? null : this.#place(segment);
  }

  /** The first place in a range of code. */
  firstIn({ from, end }: { readonly from: number; readonly end: number }): SourcePlace | null {
    const segment = this.#segments.find((each) => each.offset >= from);
    return segment === undefined || segment.offset >= end ? null : this.#place(segment);
  }

  /** A line of one of the sources. */
  line(file: string, line: number): string {
    const text = this.#texts[this.#sources.indexOf(file)] ?? "";
    return text.split(/\r?\n/)[line - 1] ?? "";
  }

  #place({ file, line, column }: Segment): SourcePlace {
    const name = this.#sources[file] ?? "?";
    return {
      file: name,
      line: line + 1,
      column: column + 1,
      source: this.line(name, line + 1),
    };
  }
}

/** What asc calls the files of the language and of packages. */
export function isLibrary(file: string): boolean {
  return file.startsWith("~lib/");
}

function decode(mappings: string): Segment[] {
  const state = [0, 0, 0, 0];
  const segments: Segment[] = [];
  for (const text of mappings.split(",")) {
    const fields = numbersIn(text);
    for (let i = 0; i < Math.min(fields.length, 4); i++) state[i] += fields[i];
    // One number alone: code of no source.
    if (fields.length < 4) continue;
    const [offset, file, line, column] = state;
    segments.push({ offset, file, line, column });
  }
  return segments.sort((a, b) => a.offset - b.offset);
}

// Base 64 digits of five bits with a bit that says "more", the lowest bit of the number its sign.
function numbersIn(text: string): number[] {
  const numbers: number[] = [];
  let value = 0;
  let shift = 0;
  for (const digit of text) {
    const bits = DIGITS.indexOf(digit);
    value += (bits & 31) * 2 ** shift;
    shift += 5;
    if ((bits & 32) !== 0) continue;
    numbers.push(value % 2 === 1 ? -(value - 1) / 2 : value / 2);
    value = 0;
    shift = 0;
  }
  return numbers;
}
