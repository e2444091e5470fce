// HTTP/1.1 messages by chance: grown from a grammar that is mostly the RFC's, then changed where
// parsers are known to differ. Each grammar draws once which oddities it knows and how often it
// uses them, so that runs differ in kind and not only in detail. Texts are Latin-1.

import type { Chance } from "../support/chance.ts";

const METHODS = ["GET", "GET", "POST", "PUT", "HEAD", "OPTIONS", "DELETE", "PATCH", "QUERY"];
const METHODS_ODD = ["get", "FROB", "SOURCE", "CONNECT", "PRI", "TRACE", "M-SEARCH", "", "G\tT"];
const SEGMENTS = ["", "a", "b.c", "%7Ea", "%41", "d;x=1", "e@f", "~", "-_", "..", ".", "%2e"];
const SEGMENTS_ODD = ["%2F", "%5c", "%00", "%", "%zz", "\\", "..;", "\x80", "{}", "a%20b", "#"];
const QUERIES = ["", "", "?", "?a=b", "?a=%20&b", "?//?", "?a=%C3%BC"];
const QUERIES_ODD = ["?%", "?#", "?\xfc", "#a", "?a b"];
const TARGETS_ODD = ["*", "http://", "http:///", "ftp://b/", "a", "b:80", "//b", "", "http://b?c"];
const VERSIONS = ["HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.0"];
const VERSIONS_ODD = ["HTTP/2.0", "HTTP/1.2", "HTTP/0.9", "http/1.1", "HTTP/1.1 ", "HTTP/11", ""];
const HOSTS = ["a", "a.example", "b.example:81", "[::1]:80", "A.", "\ta\t"];
const HOSTS_ODD = ["", "a/b", "a@b", "a b", "a,b", "[", "[::1", "a:0", "a..b", "\xe4"];

/** Framing and connection, in the spellings that were used to smuggle. */
const SHARP: readonly string[] = [
  "Content-Length: 0",
  "Content-Length: 3",
  "content-length:03",
  "Content-Length: +3",
  "Content-Length: 3 ",
  "Content-Length: 3,3",
  "Content-Length: 3 3",
  "Content-Length: 0x3",
  "Content-Length: -0",
  "Content-Length: 3\v",
  "Content-Length: 3;",
  "Content-Length:",
  "Content-Length: 999999999999999",
  "Content-Length: 18446744073709551619",
  "Content-Length\t: 3",
  "Content-Length\0: 3",
  "Content_Length: 3",
  "Transfer-Encoding: chunked",
  "transfer-encoding:Chunked ",
  "Transfer-Encoding: chunked, chunked",
  "Transfer-Encoding: ,chunked",
  "Transfer-Encoding: gzip, chunked",
  "Transfer-Encoding: chunked, identity",
  "Transfer-Encoding: identity",
  "Transfer-Encoding: chunked;x",
  'Transfer-Encoding: "chunked"',
  "Transfer-Encoding: \vchunked",
  "Transfer-Encoding: xchunked",
  "Transfer-Encoding:\r\n chunked",
  "Transfer-Encoding:",
  "Transfer-Encoding : chunked",
  "Transfer_Encoding: chunked",
  " Transfer-Encoding: chunked",
  "Connection: close",
  "Connection: Keep-Alive",
  "Connection: keep-alive, X-A",
  "Connection: host, authorization, content-length",
  "Connection: ,, ,close",
  "Connection: upgrade",
  "Connection: Upgrade, close",
  "Upgrade: websocket",
  "Upgrade: h2c",
  "Expect: 100-continue",
  "Expect: 200-ok",
  "TE: trailers",
  "Trailer: X-A",
  "Keep-Alive: timeout=5",
  "Proxy-Connection: keep-alive",
  "HTTP2-Settings: AAMAAABkAAQAAP__",
  "X-Forwarded-For: 1.2.3.4",
  "Forwarded: for=1.2.3.4",
  "X-Request-Id: abc",
  "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
];
const NAMES = ["X-A", "x-b", "Cookie", "Accept", "x_a", "!#$%&'*", "Authorization", "Date", "1"];
const VALUES = ["", "b", "c d", " e ", "f=g; h", '"q,"', "\x80\xff", "\t", "0", "a".repeat(70)];

const STATUS_LINES = [
  "HTTP/1.1 200 OK",
  "HTTP/1.1 200 OK",
  "HTTP/1.1 200 OK",
  "HTTP/1.0 200 OK",
  "HTTP/1.1 204 No Content",
  "HTTP/1.1 304 Not Modified",
  "HTTP/1.1 404",
  "HTTP/1.1 500 ",
  "HTTP/1.1 599 \xfcber",
];
const STATUS_LINES_ODD = [
  "HTTP/1.1 100 Continue",
  "HTTP/1.1 101 Switching Protocols",
  "HTTP/1.1 103 Early Hints",
  "HTTP/1.1 099 Low",
  "HTTP/1.1 600 High",
  "HTTP/1.1 2000 OK",
  "HTTP/1.1 20 OK",
  "HTTP/1.1  200 OK",
  "HTTP/1.1 200\tOK",
  "HTTP/2.0 200 OK",
  "HTTP/1.1200 OK",
  "ICY 200 OK",
];

const DATA = ["", "a", "bc", "\r\n", "0\r\n\r\n", "d".repeat(17), "e".repeat(300)];
const SIZES: readonly ((length: number) => string)[] = [
  (length) => length.toString(16),
  (length) => length.toString(16).toUpperCase(),
  (length) => length.toString(16).padStart(4, "0"),
];
const SIZES_ODD: readonly ((length: number) => string)[] = [
  (length) => ` ${length.toString(16)}`,
  (length) => `${length.toString(16)} `,
  (length) => `0x${length.toString(16)}`,
  (length) => `+${length.toString(16)}`,
  (length) => `-${length.toString(16)}`,
  (length) => (length + 1).toString(16),
  (length) => length.toString(16).padStart(9, "0"),
  (length) => `1${length.toString(16).padStart(16, "0")}`,
  () => "",
  () => "ffffffff",
];
const EXTENSIONS = ["", "", "", ";a", ";a=b", ';a="b;\\"c"', ";a=b;c=d"];
const EXTENSIONS_ODD = [";", ";;a", "; a", " ;a", ";a =b", ";a=", ';a="b"c', ';"a"', ";a\n"];
const TRAILERS = ["X-A: b", "X-A:", "x_a: \xff"];
const TRAILERS_ODD = ["Content-Length: 3", "Transfer-Encoding: chunked", "Host: b", " X: b", "X"];

/** Bytes that end, split, hide or join things in one parser or another. */
const NASTY: readonly string[] = [
  ..."\0\t\n\v\f\r !\"#%&'()*+,-./019:;<=>?@AZ[\\]^_`az{|}~",
  ..."\x01\x1f\x7f\x80\x85\xa0\xad\xff",
  "\r\n",
  "\r\n\r\n",
  "\n\n",
  "\r\r\n",
];
const EDITS = ["insert", "replace", "remove", "double", "any", "near", "cut", "swap", "splice"];
const MARK = /[\r\n:, ]/;

export class Grammar {
  readonly #chance: Chance;
  /** One choice in this many is odd. */
  readonly #oddIn: number;
  /** One text in this many is left as it has grown. */
  readonly #keptIn: number;
  readonly #editsMax: number;
  readonly #edits: readonly string[];
  readonly #bytes: readonly string[];
  readonly #sharp: readonly string[];
  readonly #fieldsMax: number;
  /** The text before, for splices. */
  #last = "";

  constructor(chance: Chance) {
    this.#chance = chance;
    this.#oddIn = chance.pick([4, 10, 30, 100]);
    this.#keptIn = chance.pick([2, 3, 8]);
    this.#editsMax = chance.pick([1, 2, 4, 12]);
    this.#edits = chance.some(EDITS);
    this.#bytes = chance.some(NASTY);
    this.#sharp = chance.some(SHARP);
    this.#fieldsMax = chance.pick([1, 3, 6]);
  }

  /** The head of a request, with its empty line. */
  requestHead(): string {
    const chance = this.#chance;
    const method = this.#mostly(METHODS, METHODS_ODD);
    const version = this.#mostly(VERSIONS, VERSIONS_ODD);
    const host = chance.oneIn(this.#oddIn) ? "" : `Host: ${this.#mostly(HOSTS, HOSTS_ODD)}\r\n`;
    return `${method} ${this.target()} ${version}\r\n${host}${this.fields()}\r\n`;
  }

  target(): string {
    const chance = this.#chance;
    if (chance.oneIn(this.#oddIn)) return chance.pick(TARGETS_ODD);
    let target = chance.oneIn(8) ? `http://${this.#mostly(HOSTS, HOSTS_ODD)}` : "";
    for (let left = chance.between(1, 4); left > 0; left--) {
      target += `/${this.#mostly(SEGMENTS, SEGMENTS_ODD)}`;
    }
    return target + this.#mostly(QUERIES, QUERIES_ODD);
  }

  /** The head of a response, with its empty line. */
  responseHead(): string {
    return `${this.#mostly(STATUS_LINES, STATUS_LINES_ODD)}\r\n${this.fields()}\r\n`;
  }

  fields(): string {
    const chance = this.#chance;
    const count = chance.oneIn(500) ? chance.between(100, 300) : chance.below(this.#fieldsMax + 1);
    let lines = "";
    for (let left = count; left > 0; left--) {
      lines += chance.oneIn(2) ? this.plainField() : `${chance.pick(this.#sharp)}\r\n`;
    }
    return lines;
  }

  plainField(): string {
    return `${this.#chance.pick(NAMES)}: ${this.#chance.pick(VALUES)}\r\n`;
  }

  /** A body in the chunked coding. */
  chunkedBody(): string {
    let body = "";
    for (let left = this.#chance.below(4); left > 0; left--) {
      const data = this.#chance.pick(DATA);
      body += data === "" ? "" : `${this.#chunkLine(data.length)}${data}\r\n`;
    }
    body += this.#chunkLine(0);
    for (let left = this.#chance.below(3); left > 0; left--) {
      body += `${this.#mostly(TRAILERS, TRAILERS_ODD)}\r\n`;
    }
    return `${body}\r\n`;
  }

  /** The text as it is, or with some of it changed. */
  mutate(text: string): string {
    const chance = this.#chance;
    let changed = text;
    if (!chance.oneIn(this.#keptIn)) {
      for (let left = chance.between(1, this.#editsMax); left > 0; left--) {
        changed = this.#edit(changed);
      }
    }
    this.#last = text;
    return changed;
  }

  #chunkLine(length: number): string {
    const size = this.#mostly(SIZES, SIZES_ODD)(length);
    return `${size}${this.#mostly(EXTENSIONS, EXTENSIONS_ODD)}\r\n`;
  }

  #mostly<T>(usual: readonly T[], odd: readonly T[]): T {
    return this.#chance.pick(this.#chance.oneIn(this.#oddIn) ? odd : usual);
  }

  #edit(text: string): string {
    const chance = this.#chance;
    const at = chance.below(text.length + 1);
    const to = at + chance.below(8);
    const put = (end: number, bytes: string) => text.slice(0, at) + bytes + text.slice(end);
    switch (chance.pick(this.#edits)) {
      case "insert":
        return put(at, chance.pick(this.#bytes));
      case "replace":
        return put(at + 1, chance.pick(this.#bytes));
      case "remove":
        return put(to, "");
      case "double":
        return put(at, text.slice(at, to));
      case "any":
        return put(at + 1, String.fromCharCode(chance.below(256)));
      case "near":
        return this.#editNearMark(text, at);
      case "cut":
        return chance.oneIn(4) ? text.slice(0, at) : text;
      case "swap":
        return this.#swapLines(text);
      default:
        return put(text.length, this.#last.slice(chance.below(this.#last.length + 1)));
    }
  }

  // Parsers differ about what stands beside a line's end, a colon, a comma or a space.
  #editNearMark(text: string, from: number): string {
    let at = from;
    while (at < text.length && !MARK.test(text[at])) at++;
    const byte = this.#chance.pick(this.#bytes);
    if (this.#chance.oneIn(2)) at++;
    return text.slice(0, at) + byte + text.slice(at + this.#chance.below(2));
  }

  #swapLines(text: string): string {
    const lines = text.split("\r\n");
    const from = this.#chance.below(lines.length);
    const to = this.#chance.below(lines.length);
    [lines[from], lines[to]] = [lines[to], lines[from]];
    return lines.join("\r\n");
  }
}
