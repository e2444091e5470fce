// Header blocks of HTTP/2 (RFC 7541), written in every representation there is and read without the
// library that the gateway uses: a second reader. Texts are Latin-1.

export type Field = readonly [name: string, value: string];

/** Of the dynamic table, unless SETTINGS say otherwise. */
const TABLE_BYTES = 4_096;
/** What an entry costs beside its texts (4.1). */
const ENTRY_BYTES = 32;
const STATIC_COUNT = 61;
const INTEGER_MAX = 2 ** 31;

// Appendix A.
const STATIC: readonly Field[] = [
  [":authority", ""],
  [":method", "GET"],
  [":method", "POST"],
  [":path", "/"],
  [":path", "/index.html"],
  [":scheme", "http"],
  [":scheme", "https"],
  ...["200", "204", "206", "304", "400", "404", "500"].map((code): Field => [":status", code]),
  ["accept-charset", ""],
  ["accept-encoding", "gzip, deflate"],
  ...(
    "accept-language accept-ranges accept access-control-allow-origin age allow authorization " +
    "cache-control content-disposition content-encoding content-language content-length " +
    "content-location content-range content-type cookie date etag expect expires from host " +
    "if-match if-modified-since if-none-match if-range if-unmodified-since last-modified link " +
    "location max-forwards proxy-authenticate proxy-authorization range referer refresh " +
    "retry-after server set-cookie strict-transport-security transfer-encoding user-agent vary " +
    "via www-authenticate"
  )
    .split(" ")
    .map((name): Field => [name, ""]),
];

// Appendix B: bits of the code of each byte, and last of the end of the string. The codes follow from
// them: within one length they count up, in the order of the bytes.
const CODE_BITS = [
  ...[13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28],
  ...[28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28],
  ...[6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6],
  ...[5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10],
  ...[13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7],
  ...[7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6],
  ...[15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5],
  ...[6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28],
  ...[20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23],
  ...[24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24],
  ...[22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23],
  ...[21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23],
  ...[26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25],
  ...[19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27],
  ...[20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23],
  ...[26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26],
  30,
];
const END_OF_STRING = 256;
const PADDING_BITS_MAX = 7;
const CODES = codesOf(CODE_BITS);
const BYTES: ReadonlyMap<string, number> = new Map(CODES.map((code, byte) => [code, byte]));

/** Both ends of a connection keep one for each direction. */
class FieldTable {
  #entries: Field[] = [];
  #bytes = 0;
  #bytesMax = TABLE_BYTES;

  /** From 1; undefined: there is none. */
  at(index: number): Field | undefined {
    return index <= STATIC_COUNT ? STATIC[index - 1] : this.#entries[index - STATIC_COUNT - 1];
  }

  /** Indices of the fields of this name, those of this value first. */
  find(name: string, value: string): { whole: number; name: number } {
    const all = [...STATIC, ...this.#entries];
    const whole = all.findIndex((each) => each[0] === name && each[1] === value) + 1;
    return { whole, name: all.findIndex((each) => each[0] === name) + 1 };
  }

  add(field: Field): void {
    this.#bytes += costOf(field);
    this.#entries.unshift(field);
    this.#evict();
  }

  resize(bytesMax: number): void {
    this.#bytesMax = bytesMax;
    this.#evict();
  }

  #evict(): void {
    while (this.#bytes > this.#bytesMax) {
      const last = this.#entries.pop();
      if (last !== undefined) this.#bytes -= costOf(last);
    }
  }
}

/** Reads the header blocks of one direction, in their order. */
export class HpackReader {
  readonly #table = new FieldTable();
  #bytes: Buffer = Buffer.alloc(0);
  #at = 0;

  /** The fields, or what is wrong; then no further block can be read. */
  read(block: Buffer): Field[] | string {
    this.#bytes = block;
    this.#at = 0;
    const fields: Field[] = [];
    try {
      while (this.#at < block.length) {
        const field = this.#next(fields.length === 0);
        if (field !== null) fields.push(field);
      }
    } catch (error) {
      return (error as Error).message;
    }
    return fields;
  }

  #next(isFirst: boolean): Field | null {
    const first = this.#bytes[this.#at];
    if (first >= 0x80) return this.#entry(this.#integer(7));
    if (first >= 0x20 && first < 0x40) {
      const bytesMax = this.#integer(5);
      if (!isFirst || bytesMax > TABLE_BYTES) throw new Error("a bad size of the table");
      this.#table.resize(bytesMax);
      return null;
    }
    const isAdded = first >= 0x40;
    const index = this.#integer(isAdded ? 6 : 4);
    const name = index === 0 ? this.#text() : this.#entry(index)[0];
    const field = [name, this.#text()] as const;
    if (isAdded) this.#table.add(field);
    return field;
  }

  #entry(index: number): Field {
    const field = this.#table.at(index);
    if (field === undefined) throw new Error(`no entry ${index}`);
    return field;
  }

  #integer(prefixBits: number): number {
    const most = (1 << prefixBits) - 1;
    let value = this.#byte() & most;
    if (value < most) return value;
    for (let scale = 1; ; scale *= 128) {
      const byte = this.#byte();
      value += (byte & 127) * scale;
      if (value > INTEGER_MAX) throw new Error("a huge integer");
      if (byte < 128) return value;
    }
  }

  #text(): string {
    const isHuffman = this.#bytes[this.#at] >= 0x80;
    const length = this.#integer(7);
    const end = this.#at + length;
    if (end > this.#bytes.length) throw new Error("a text beyond the block");
    const bytes = this.#bytes.subarray(this.#at, end);
    this.#at = end;
    return isHuffman ? readHuffman(bytes) : bytes.latin1Slice();
  }

  #byte(): number {
    if (this.#at >= this.#bytes.length) throw new Error("the block is cut");
    return this.#bytes[this.#at++];
  }
}

/** How a field is written: as an index where the table has it whole, or as a literal. */
export type Form = {
  readonly kind: "index" | "added" | "plain" | "never";
  /** The name is looked up in the table. */
  readonly knownName: boolean;
  readonly huffman: boolean;
};

/** Writes the header blocks of one direction, in their order. */
export class HpackWriter {
  readonly #table = new FieldTable();

  write([name, value]: Field, { kind, knownName, huffman }: Form): Buffer {
    const found = this.#table.find(name, value);
    if (kind === "index" && found.whole > 0) return integer(found.whole, 7, 0x80);
    const [bits, high] = kind === "added" ? [6, 0x40] : [4, kind === "never" ? 0x10 : 0];
    const index = knownName ? found.name : 0;
    const parts = [integer(index, bits, high)];
    if (index === 0) parts.push(text(name, huffman));
    parts.push(text(value, huffman));
    if (kind === "added") this.#table.add([name, value]);
    return Buffer.concat(parts);
  }

  /** A change of the table's size (6.3). */
  resize(bytesMax: number): Buffer {
    this.#table.resize(bytesMax);
    return integer(bytesMax, 5, 0x20);
  }
}

/** An integer (5.1) behind a prefix. */
export function integer(value: number, prefixBits: number, high: number): Buffer {
  const most = (1 << prefixBits) - 1;
  if (value < most) return Buffer.of(high | value);
  const bytes = [high | most];
  let rest = value - most;
  for (; rest >= 128; rest = Math.floor(rest / 128)) bytes.push((rest & 127) | 128);
  return Buffer.of(...bytes, rest);
}

function text(value: string, huffman: boolean): Buffer {
  const bytes = Buffer.from(value, "latin1");
  if (!huffman) return Buffer.concat([integer(bytes.length, 7, 0), bytes]);
  let bits = "";
  for (const byte of bytes) bits += CODES[byte];
  bits += "1".repeat((8 - (bits.length % 8)) % 8);
  const coded = Buffer.alloc(bits.length / 8);
  for (let i = 0; i < coded.length; i++)
    coded[i] = Number.parseInt(bits.slice(8 * i, 8 * i + 8), 2);
  return Buffer.concat([integer(coded.length, 7, 0x80), coded]);
}

function readHuffman(bytes: Buffer): string {
  let decoded = "";
  let code = "";
  for (const byte of bytes) {
    for (const bit of byte.toString(2).padStart(8, "0")) {
      code += bit;
      const symbol = BYTES.get(code);
      if (symbol === undefined) continue;
      if (symbol === END_OF_STRING) throw new Error("the end of a string within it");
      decoded += String.fromCharCode(symbol);
      code = "";
    }
  }
  if (code.length > PADDING_BITS_MAX || code.includes("0")) throw new Error("bad padding");
  return decoded;
}

// As texts of zeros and ones.
function codesOf(lengths: readonly number[]): readonly string[] {
  const order = lengths.map((bits, byte) => ({ bits, byte }));
  order.sort((a, b) => a.bits - b.bits || a.byte - b.byte);
  const codes: string[] = [];
  let next = 0;
  let bitsBefore = 0;
  for (const { bits, byte } of order) {
    next *= 2 ** (bits - bitsBefore);
    bitsBefore = bits;
    codes[byte] = (next++).toString(2).padStart(bits, "0");
  }
  return codes;
}

function costOf([name, value]: Field): number {
  return name.length + value.length + ENTRY_BYTES;
}
