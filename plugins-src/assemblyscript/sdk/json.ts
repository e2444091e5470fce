// JSON (RFC 8259) as configurations and claims hold it: read strictly, in one pass without recursion,
// into a flat list of places in the text; texts are decoded when they are asked for. No position of a
// fault is told: the host has written what is read here.

export const TEXT_UNITS_MAX: i32 = 262_144;
export const DEPTH_MAX: i32 = 16;

export enum Kind {
  Text,
  Number,
  Flag,
  Null,
  List,
  Object,
}

const QUOTE: i32 = 0x22;
const COMMA: i32 = 0x2c;
const MINUS: i32 = 0x2d;
const COLON: i32 = 0x3a;
const LIST: i32 = 0x5b;
const BACKSLASH: i32 = 0x5c;
const OBJECT: i32 = 0x7b;
const END: i32 = -1;

/** Three numbers for each value and key: start, end, and the place behind its inside. */
const STRIDE: i32 = 3;

/** Null for what is not JSON, or too long, too deep, or holds half of a surrogate pair. */
export function parseJson(text: string): Json | null {
  if (text.length > TEXT_UNITS_MAX) return null;
  const reader = new Reader(text);
  return reader.read() ? new Json(text, reader.nodes, 0) : null;
}

/** One value of a parsed text. */
export class Json {
  constructor(private readonly whole: string, private readonly nodes: StaticArray<i32>, private readonly at: i32) {}

  get kind(): Kind {
    switch (this.whole.charCodeAt(this.start)) {
      case QUOTE: return Kind.Text;
      case LIST: return Kind.List;
      case OBJECT: return Kind.Object;
      case 0x6e: return Kind.Null;
      case 0x66:
      case 0x74: return Kind.Flag;
      default: return Kind.Number;
    }
  }

  /** Its JSON. */
  get raw(): string { return this.whole.substring(this.start, this.end); }

  /** The decoded text; empty for another kind. */
  get text(): string {
    if (this.kind != Kind.Text) return "";
    return decode(this.whole, this.start + 1, this.end - 1);
  }

  /** Exact for up to 15 digits and exponents of ten up to 22, else right but for the last digit. */
  get number(): f64 { return this.kind == Kind.Number ? decimal(this.raw) : 0; }

  get flag(): bool { return this.whole.charCodeAt(this.start) == 0x74; }

  /** Values of a list; keys and values, in turn, of an object; nothing of another kind. */
  get items(): Json[] {
    const items: Json[] = [];
    let next = this.first;
    while (next !== null) {
      const item = next;
      items.push(item);
      next = item.nextIn(this);
    }
    return items;
  }

  /** The first value of a list, the first key of an object; null when it is empty, or none of these. */
  get first(): Json | null {
    const isHolder = this.kind == Kind.List || this.kind == Kind.Object;
    return isHolder && this.behind > this.at + STRIDE ? this.place(this.at + STRIDE) : null;
  }

  /** What follows in `holder`, a key's value too; null behind the last. */
  nextIn(holder: Json): Json | null {
    return this.behind < holder.behind ? this.place(this.behind) : null;
  }

  /** The value of a key, the last where it comes again; null too where this is no object. */
  get(key: string): Json | null {
    let found: Json | null = null;
    let own = this.kind == Kind.Object ? this.first : null;
    while (own !== null) {
      const value = own.nextIn(this);
      if (value === null) break;
      if (own.isText(key)) found = value;
      own = value.nextIn(this);
    }
    return found;
  }

  isText(wanted: string): bool { return this.kind == Kind.Text && this.text == wanted; }

  /** True for the same place of the same text. */
  isSame(other: Json): bool { return this.nodes === other.nodes && this.at == other.at; }

  private get start(): i32 { return unchecked(this.nodes[this.at]); }
  private get end(): i32 { return unchecked(this.nodes[this.at + 1]); }
  private get behind(): i32 { return unchecked(this.nodes[this.at + 2]); }
  private place(at: i32): Json { return new Json(this.whole, this.nodes, at); }
}

class Reader {
  readonly nodes: StaticArray<i32>;
  private count: i32 = 0;
  private at: i32 = 0;

  constructor(private readonly text: string) {
    // Of two characters at least one separates values.
    this.nodes = new StaticArray<i32>((text.length / 2 + 2) * STRIDE);
  }

  /** False when the text is no JSON. */
  read(): bool {
    // The innermost list or object around the place; of an open one, its own place is where the place
    // behind it will be.
    let around: i32 = END;
    let depth = 0;
    while (true) {
      const opening = this.token();
      if (opening == OBJECT || opening == LIST) {
        const node = this.push(this.at);
        this.at++;
        // `]` is two behind `[`, and `}` behind `{`.
        if (this.token() == opening + 2) {
          this.close(node);
        } else {
          if (depth++ == DEPTH_MAX) return false;
          unchecked((this.nodes[node + 2] = around));
          around = node;
          if (opening == OBJECT && !this.key()) return false;
          continue;
        }
      } else if (!this.scalar(opening)) {
        return false;
      }
      // A value has ended, and with it perhaps what it was the last of.
      while (true) {
        const next = this.token();
        if (around == END) return next == END;
        const kind = this.text.charCodeAt(unchecked(this.nodes[around]));
        if (next == kind + 2) {
          const outer = unchecked(this.nodes[around + 2]);
          this.close(around);
          around = outer;
          depth--;
        } else {
          if (next != COMMA) return false;
          this.at++;
          if (kind == OBJECT && !this.key()) return false;
          break;
        }
      }
    }
  }

  /** The next character that is not white space, which is not consumed; END behind the last. */
  private token(): i32 {
    for (; this.at < this.text.length; this.at++) {
      const code = this.text.charCodeAt(this.at);
      if (code != 0x20 && code != 0x0a && code != 0x0d && code != 0x09) return code;
    }
    return END;
  }

  private push(end: i32): i32 {
    const node = this.count;
    this.count += STRIDE;
    unchecked((this.nodes[node] = this.at));
    unchecked((this.nodes[node + 1] = end));
    unchecked((this.nodes[node + 2] = this.count));
    return node;
  }

  private close(node: i32): void {
    unchecked((this.nodes[node + 1] = ++this.at));
    unchecked((this.nodes[node + 2] = this.count));
  }

  private key(): bool {
    const isKey = this.token() == QUOTE && this.scalar(QUOTE) && this.token() == COLON;
    this.at++;
    return isKey;
  }

  /** A value that begins with this character and holds no others. */
  private scalar(code: i32): bool {
    const end = code == QUOTE ? endOfText(this.text, this.at + 1)
      : code == MINUS || isDigit(code) ? endOfNumber(this.text, this.at)
      : endOfWord(this.text, this.at);
    if (end == END) return false;
    this.push(end);
    this.at = end;
    return true;
  }
}

function endOfWord(text: string, at: i32): i32 {
  if (text.startsWith("true", at) || text.startsWith("null", at)) return at + 4;
  return text.startsWith("false", at) ? at + 5 : END;
}

/** Behind the quote that ends the text; END when there is none, or what no text may hold. */
function endOfText(text: string, from: i32): i32 {
  let at = from;
  while (at < text.length) {
    const code = text.charCodeAt(at);
    if (code == QUOTE) return at + 1;
    if (code < 0x20) return END;
    if (code != BACKSLASH) {
      at++;
      continue;
    }
    const unit = escaped(text, at);
    if (unit == END) return END;
    at += escapeLength(text, at);
    if (unit < 0xd800 || unit > 0xdfff) continue;
    // Half of a pair: the other half must follow.
    const low = unit < 0xdc00 && at < text.length && text.charCodeAt(at) == BACKSLASH ? escaped(text, at) : END;
    if (low < 0xdc00 || low > 0xdfff) return END;
    at += 6;
  }
  return END;
}

/** The UTF-16 unit of the escape that begins here; END when it is none. */
function escaped(text: string, at: i32): i32 {
  if (at + 1 >= text.length) return END;
  const letter = text.charCodeAt(at + 1);
  switch (letter) {
    case QUOTE:
    case BACKSLASH:
    case 0x2f: return letter;
    case 0x62: return 0x08;
    case 0x66: return 0x0c;
    case 0x6e: return 0x0a;
    case 0x72: return 0x0d;
    case 0x74: return 0x09;
    case 0x75: break;
    default: return END;
  }
  if (at + 6 > text.length) return END;
  let unit: i32 = 0;
  for (let i = at + 2; i < at + 6; i++) {
    const digit = hexDigit(text.charCodeAt(i));
    if (digit == END) return END;
    unit = (unit << 4) | digit;
  }
  return unit;
}

function escapeLength(text: string, at: i32): i32 {
  return text.charCodeAt(at + 1) == 0x75 ? 6 : 2;
}

/** The value of a hexadecimal digit; END for anything else. */
export function hexDigit(code: i32): i32 {
  if (isDigit(code)) return code - 0x30;
  const letter = code | 0x20;
  return letter >= 0x61 && letter <= 0x66 ? letter - 0x57 : END;
}

function isDigit(code: i32): bool {
  return code >= 0x30 && code <= 0x39;
}

// The text has been checked: every escape is one.
function decode(text: string, from: i32, end: i32): string {
  const start = __new(<usize>(end - from) << 1, idof<string>());
  let to = start;
  for (let at = from; at < end; to += 2) {
    let code: i32 = text.charCodeAt(at);
    if (code == BACKSLASH) {
      code = escaped(text, at);
      at += escapeLength(text, at);
    } else {
      at++;
    }
    store<u16>(to, <u16>code);
  }
  return changetype<string>(__renew(start, to - start));
}

function endOfNumber(text: string, from: i32): i32 {
  let at = from + (codeAt(text, from) == MINUS ? 1 : 0);
  const whole = at;
  at = endOfDigits(text, at);
  if (at == whole || (at > whole + 1 && codeAt(text, whole) == 0x30)) return END;
  if (codeAt(text, at) == 0x2e) {
    const fraction = at + 1;
    at = endOfDigits(text, fraction);
    if (at == fraction) return END;
  }
  if ((codeAt(text, at) | 0x20) == 0x65) {
    at++;
    if (codeAt(text, at) == MINUS || codeAt(text, at) == 0x2b) at++;
    const exponent = at;
    at = endOfDigits(text, exponent);
    if (at == exponent) return END;
  }
  return at;
}

function codeAt(text: string, at: i32): i32 {
  return at < text.length ? text.charCodeAt(at) : 0;
}

function endOfDigits(text: string, from: i32): i32 {
  let at = from;
  while (isDigit(codeAt(text, at))) at++;
  return at;
}

/** The value of a number that `endOfNumber` has accepted. */
function decimal(text: string): f64 {
  let mantissa: u64 = 0;
  let tens: i32 = 0;
  let isFraction = false;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code == 0x2e) {
      isFraction = true;
    } else if ((code | 0x20) == 0x65) {
      tens += exponentOf(text, i + 1);
      break;
    } else if (isDigit(code)) {
      // Digits that do not fit only move the point.
      const fits = mantissa < 100_000_000_000_000_000;
      if (fits) mantissa = mantissa * 10 + <u64>(code - 0x30);
      tens += <i32>!fits - <i32>isFraction;
    }
  }
  let value = <f64>mantissa;
  while (tens != 0 && value != 0 && value < f64.MAX_VALUE) {
    // Powers of ten up to 22 are exact.
    const step = min(max(tens, -22), 22);
    let power: f64 = 1;
    for (let i = abs(step); i > 0; i--) power *= 10;
    value = step > 0 ? value * power : value / power;
    tens -= step;
  }
  return text.charCodeAt(0) == MINUS ? -value : value;
}

function exponentOf(text: string, from: i32): i32 {
  let value = 0;
  for (let i = from; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (isDigit(code)) value = min(value * 10 + code - 0x30, 100_000);
  }
  return text.charCodeAt(from) == MINUS ? -value : value;
}
