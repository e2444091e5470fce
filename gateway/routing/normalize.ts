// The one normal form of a request's path and host, made before routing and policy, and forwarded.
// Never decodes twice, never guesses: what two servers could read differently is refused (null, the
// caller answers 400). Normalising a normal form changes nothing.
//
// Path: escapes of unreserved characters are decoded once (RFC 3986, 6.2.2.2), all other escapes get
// upper-case digits, visible characters that a path may not hold are escaped, repeated slashes are
// merged, then dot segments are removed. Reserved characters stay as written: `%40` is not `@`.
// Query: checked and otherwise left raw.

/** A target in normal form. May be reused: pass it to the next `normalizeTarget`. */
export class NormalTarget {
  /** Begins with a slash. */
  path = "/";
  /** Without the question mark; empty when there is none. */
  query = "";
}

const REFUSED = 0;
const PLAIN = 1;
const SLASH = 2;
const DOT = 3;
const ESCAPE = 4;
const ESCAPED_ALWAYS = 5;
const QUESTION = 6;

const CODE_SLASH = 0x2f;
const CODE_BACKSLASH = 0x5c;
const HOST_LENGTH_MAX = 253;
const LABEL_LENGTH_MAX = 63;
const PORT_DIGITS_MAX = 5;

const UNRESERVED = table("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~", 1);
const HOST_CODES = table("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", 1);
const PATH_KINDS = pathKinds();
/** Value of a hexadecimal digit, or 16 for every other ASCII code. */
const HEX = hexValues();

/**
 * Brings an origin-form target ("/path?query") to its normal form, in `into` when given. A path
 * that is clean already is only cut out. Null: refused, and `into` holds nothing of use.
 */
export function normalizeTarget(
  target: string,
  into: NormalTarget = new NormalTarget(),
): NormalTarget | null {
  const length = target.length;
  if (length === 0 || target.charCodeAt(0) !== CODE_SLASH) return null;
  let afterSlash = true;
  let i = 1;
  for (; i < length; i++) {
    const code = target.charCodeAt(i);
    const kind = code < 128 ? PATH_KINDS[code] : REFUSED;
    if (kind === PLAIN) {
      afterSlash = false;
    } else if (kind === SLASH && !afterSlash) {
      afterSlash = true;
    } else if (kind === QUESTION) {
      break;
    } else if (kind !== DOT || afterSlash) {
      return rewriteTarget(target, into);
    }
  }
  if (i === length) {
    into.path = target;
    into.query = "";
    return into;
  }
  if (!isQuery(target, i + 1)) return null;
  into.path = target.slice(0, i);
  into.query = target.slice(i + 1);
  return into;
}

/**
 * Brings the host of a Host field or an authority to the form routes are looked up by: lower case,
 * without port (1 to 65535, no leading zero) and without one trailing dot; IPv6 keeps its brackets.
 * Null for user information, empty labels, zones and every other character.
 */
export function normalizeHost(host: string): string | null {
  const length = host.length;
  if (length === 0) return null;
  if (host.charCodeAt(0) === 0x5b) return normalizeLiteral(host);
  let upper = false;
  let labelLength = 0;
  let i = 0;
  for (; i < length; i++) {
    const code = host.charCodeAt(i);
    if (code === 0x3a) break;
    if (code === 0x2e) {
      if (labelLength === 0) return null;
      labelLength = 0;
    } else {
      if (code > 127 || HOST_CODES[code] === 0) return null;
      if (code >= 65 && code <= 90) upper = true;
      if (++labelLength > LABEL_LENGTH_MAX) return null;
    }
  }
  if (i < length && !isPort(host, i + 1)) return null;
  const end = labelLength === 0 ? i - 1 : i; // An empty last label: the trailing dot goes.
  if (end <= 0 || end > HOST_LENGTH_MAX) return null;
  const name = end === length ? host : host.slice(0, end);
  return upper ? name.toLowerCase() : name;
}

function rewriteTarget(target: string, into: NormalTarget): NormalTarget | null {
  const question = target.indexOf("?");
  const end = question === -1 ? target.length : question;
  if (question !== -1 && !isQuery(target, question + 1)) return null;
  const segments: string[] = [];
  for (let start = 1; start <= end;) {
    let stop = target.indexOf("/", start);
    if (stop === -1 || stop > end) stop = end;
    const segment = normalizeSegment(target, start, stop);
    if (segment === null || isDotWithParameters(segment)) return null;
    if (segment === "..") {
      // Above the root: one server stops there, another escapes.
      if (segments.length === 0) return null;
      segments.pop();
    }
    const named = segment !== "" && segment !== "." && segment !== "..";
    if (named) segments.push(segment);
    else if (stop === end) segments.push("");
    start = stop + 1;
  }
  into.path = `/${segments.join("/")}`;
  into.query = question === -1 ? "" : target.slice(question + 1);
  return into;
}

function normalizeSegment(target: string, start: number, end: number): string | null {
  let text = "";
  let from = start;
  for (let i = start; i < end; i++) {
    const code = target.charCodeAt(i);
    const kind = code < 128 ? PATH_KINDS[code] : REFUSED;
    if (kind === PLAIN || kind === DOT) continue;
    if (kind === ESCAPED_ALWAYS) {
      text += target.slice(from, i) + escapeOf(code);
      from = i + 1;
    } else if (kind === ESCAPE) {
      const byte = i + 2 < end ? escapedByte(target, i) : -1;
      if (byte < 0 || !mayBeEscaped(byte)) return null;
      text += target.slice(from, i);
      text += UNRESERVED[byte] === 1 ? String.fromCharCode(byte) : escapeOf(byte);
      i += 2;
      from = i + 1;
    } else {
      return null;
    }
  }
  return text + target.slice(from, end);
}

/** False for encoded controls and for encoded separators, which servers disagree about. */
function mayBeEscaped(byte: number): boolean {
  return byte > 31 && byte !== 127 && byte !== CODE_SLASH && byte !== CODE_BACKSLASH;
}

/**
 * `..;x` and `.;x`: servers that strip path parameters late see a dot segment here, others a name.
 */
function isDotWithParameters(segment: string): boolean {
  if (segment.charCodeAt(0) !== 0x2e) return false;
  const after = segment.charCodeAt(1) === 0x2e ? 2 : 1;
  return segment.startsWith(";", after) || segment.startsWith("%3B", after);
}

function isQuery(target: string, start: number): boolean {
  for (let i = start; i < target.length; i++) {
    const code = target.charCodeAt(i);
    if (code <= 32 || code >= 127 || code === 0x23) return false;
    if (code === 0x25 && escapedByte(target, i) < 0) return false;
  }
  return true;
}

/** The byte that the escape at `at` stands for; -1 when its digits are missing or wrong. */
function escapedByte(text: string, at: number): number {
  if (at + 2 >= text.length) return -1;
  const high = text.charCodeAt(at + 1);
  const low = text.charCodeAt(at + 2);
  if (high > 127 || low > 127 || HEX[high] === 16 || HEX[low] === 16) return -1;
  return HEX[high] * 16 + HEX[low];
}

function escapeOf(byte: number): string {
  return (byte < 16 ? "%0" : "%") + byte.toString(16).toUpperCase();
}

function isPort(host: string, start: number): boolean {
  const length = host.length;
  if (length === start || length - start > PORT_DIGITS_MAX) return false;
  if (host.charCodeAt(start) === 0x30) return false;
  let port = 0;
  for (let i = start; i < length; i++) {
    const digit = host.charCodeAt(i) - 48;
    if (digit < 0 || digit > 9) return false;
    port = port * 10 + digit;
  }
  return port <= 65_535;
}

function normalizeLiteral(host: string): string | null {
  const close = host.indexOf("]");
  if (close === -1 || !isAddress(host, close)) return null;
  if (close + 1 === host.length) return host.toLowerCase();
  if (host.charCodeAt(close + 1) !== 0x3a || !isPort(host, close + 2)) return null;
  return host.slice(0, close + 1).toLowerCase();
}

/** An IPv6 address between the brackets: eight groups, or fewer and one `::` (RFC 4291, 2.2). */
function isAddress(host: string, end: number): boolean {
  const compressed = host.indexOf("::");
  if (compressed !== -1 && host.indexOf("::", compressed + 1) !== -1) return false;
  let groups = 0;
  let digits = 0;
  for (let i = 1; i < end; i++) {
    const code = host.charCodeAt(i);
    if (code === 0x3a) {
      const double = i === compressed || i === compressed + 1;
      if (digits === 0 && !double) return false;
      digits = 0;
    } else {
      if (code > 127 || HEX[code] === 16 || ++digits > 4) return false;
      if (digits === 1) groups++;
    }
  }
  if (digits === 0 && compressed !== end - 2) return false;
  return compressed === -1 ? groups === 8 : groups < 8;
}

function table(members: string, value: number): Uint8Array {
  const codes = new Uint8Array(256);
  for (let i = 0; i < members.length; i++) codes[members.charCodeAt(i)] = value;
  return codes;
}

function pathKinds(): Uint8Array {
  const kinds = new Uint8Array(128).fill(REFUSED);
  const set = (members: string, kind: number) => {
    for (let i = 0; i < members.length; i++) kinds[members.charCodeAt(i)] = kind;
  };
  for (let code = 33; code < 127; code++) if (UNRESERVED[code] === 1) kinds[code] = PLAIN;
  set("!$&'()*+,;=:@", PLAIN);
  // Not allowed in a path by RFC 3986, but sent raw by some clients: one form, the escaped one.
  set('"<>[]^`{|}', ESCAPED_ALWAYS);
  set("/", SLASH);
  set(".", DOT);
  set("%", ESCAPE);
  set("?", QUESTION);
  return kinds;
}

function hexValues(): Uint8Array {
  const values = new Uint8Array(128).fill(16);
  for (let digit = 0; digit < 16; digit++) {
    const text = digit.toString(16);
    values[text.charCodeAt(0)] = digit;
    values[text.toUpperCase().charCodeAt(0)] = digit;
  }
  return values;
}
