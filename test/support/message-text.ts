// Texts of HTTP/1.1 messages for searches: mostly well formed, with the spellings on which parsers
// are known to differ, and a few bytes changed by chance. Texts are Latin-1.

import fc from "fast-check";

/** Bytes that end, split, hide or join things in one parser or another. */
const NASTY_BYTES: readonly string[] = [
  ..."\0\t\n\v\f\r !\"#%&'()*+,-./019:;<=>?@AZ[\\]^_`az{|}~",
  ..."\x01\x1f\x7f\x80\x85\xa0\xad\xff",
  "\r\n",
  "\r\n\r\n",
];

const METHODS = ["GET", "POST", "PUT", "HEAD", "OPTIONS", "QUERY", "M-SEARCH"];
const METHODS_ODD = ["get", "FROB", "SOURCE", "CONNECT", "PRI"];
const TARGETS = ["/", "/a/b?c=d&e", "/%7Ea;x=1", "http://b/c", "https://b:8/?d"];
const TARGETS_ODD = ["*", "http://", "http:///", "ftp://b/", "a", "b:80", "//b", "/a#b", "?"];
const VERSIONS_ODD = ["HTTP/2.0", "HTTP/1.2", "HTTP/0.9", "http/1.1", "HTTP/1.1 "];

/** Fields of framing and connection in the spellings that were used to smuggle. */
const SHARP_FIELDS: readonly string[] = [
  "Host: a",
  "Host: a:80",
  "hOST:\ta\t",
  "Content-Length: 0",
  "Content-Length: 3",
  "content-length:03",
  "Content-Length: +3",
  "Content-Length: 3 ",
  "Content-Length: 3,3",
  "Content-Length: 3 3",
  "Content-Length: 0x3",
  "Content-Length: -0",
  "Content-Length:",
  "Content-Length: 999999999999999",
  "Content-Length: 9999999999999999",
  "Content-Length: 18446744073709551616",
  "Content-Length\t: 3",
  "Transfer-Encoding: chunked",
  "transfer-encoding:Chunked ",
  "Transfer-Encoding: chunked, chunked",
  "Transfer-Encoding: ,chunked",
  "Transfer-Encoding: gzip, chunked",
  "Transfer-Encoding: chunked, identity",
  "Transfer-Encoding: chunked;x",
  'Transfer-Encoding: "chunked"',
  "Transfer-Encoding: \vchunked",
  "Transfer-Encoding: xchunked",
  "Transfer-Encoding:",
  "Transfer_Encoding: chunked",
  " Transfer-Encoding: chunked",
  "Connection: close",
  "Connection: keep-alive, X-A",
  "Connection: upgrade",
  "Upgrade: websocket",
  "Expect: 100-continue",
  "Trailer: X-A",
];
const PLAIN_FIELDS = [
  "X-A: b",
  "X-A:",
  "x_a: 1",
  "X-B: \x80\xff",
  "Cookie: a=b; c=d",
  "!#$%&'*: ~",
];

/** A usual element seven times out of eight. */
function mostly<T>(usual: readonly T[], odd: readonly T[]): fc.Arbitrary<T> {
  return fc.oneof(
    { weight: 7, arbitrary: fc.constantFrom(...usual) },
    { weight: 1, arbitrary: fc.constantFrom(...odd) },
  );
}

type Change = { readonly kind: string; readonly at: number; readonly byte: string };

const change = fc.record<Change>({
  kind: fc.constantFrom("insert", "replace", "remove", "double"),
  at: fc.nat(1_000_000),
  byte: fc.constantFrom(...NASTY_BYTES),
});

function applyChanges(text: string, changes: readonly Change[]): string {
  let changed = text;
  for (const { kind, at, byte } of changes) {
    const i = at % (changed.length + 1);
    const after = kind === "insert" ? i : i + 1;
    const put = kind === "remove" ? "" : kind === "double" ? changed[i]?.repeat(2) : byte;
    changed = changed.slice(0, i) + (put ?? "") + changed.slice(after);
  }
  return changed;
}

/** The texts, each with no byte changed, or with up to three. */
function mutated(texts: fc.Arbitrary<string>): fc.Arbitrary<string> {
  const changes = fc.oneof(
    { weight: 2, arbitrary: fc.constant([]) },
    { weight: 3, arbitrary: fc.array(change, { minLength: 1, maxLength: 3 }) },
  );
  return fc.tuple(texts, changes).map(([text, made]) => applyChanges(text, made));
}

const fields = fc
  .array(
    fc.oneof(
      { weight: 1, arbitrary: fc.constantFrom(...SHARP_FIELDS) },
      { weight: 1, arbitrary: fc.constantFrom(...PLAIN_FIELDS) },
    ),
    { maxLength: 3 },
  )
  .map((lines) => lines.map((line) => `${line}\r\n`).join(""));

/** Heads of requests, with a Host more often than not. */
export const requestHeads: fc.Arbitrary<string> = mutated(
  fc
    .record({
      method: mostly(METHODS, METHODS_ODD),
      target: mostly(TARGETS, TARGETS_ODD),
      version: mostly(["HTTP/1.1", "HTTP/1.1", "HTTP/1.0"], VERSIONS_ODD),
      host: mostly(["Host: a\r\n", "Host: b.example:81\r\n"], [""]),
      fields,
    })
    .map(
      (part) => `${part.method} ${part.target} ${part.version}\r\n${part.host}${part.fields}\r\n`,
    ),
);

const STATUS_LINES = [
  "HTTP/1.1 200 OK",
  "HTTP/1.1 200 OK",
  "HTTP/1.0 200 OK",
  "HTTP/1.1 204 No Content",
  "HTTP/1.1 304 Not Modified",
  "HTTP/1.1 404",
  "HTTP/1.1 500 ",
  "HTTP/1.1 103 Early Hints",
  "HTTP/1.1 099 Low",
  "HTTP/1.1 600 High",
  "HTTP/1.1  200 OK",
  "HTTP/2.0 200 OK",
];

/** Heads of responses. */
export const responseHeads: fc.Arbitrary<string> = mutated(
  fc
    .record({ line: fc.constantFrom(...STATUS_LINES), fields })
    .map((part) => `${part.line}\r\n${part.fields}\r\n`),
);

const SIZES: readonly ((length: number) => string)[] = [
  (length) => length.toString(16),
  (length) => length.toString(16).toUpperCase(),
  (length) => length.toString(16).padStart(4, "0"),
  (length) => ` ${length.toString(16)}`,
  (length) => `${length.toString(16)} `,
  (length) => `0x${length.toString(16)}`,
  (length) => `+${length.toString(16)}`,
  (length) => (length + 1).toString(16),
];
const EXTENSIONS = [
  ";a",
  ";a=b",
  ';a="b;\\"c"',
  ";a=b;c=d",
  ";",
  ";;a",
  "; a",
  ";a =b",
  ";a=",
  ';a="b"c',
  ';"a"',
];
const TRAILERS = [
  "X-A: b",
  "X-A:",
  "Content-Length: 3",
  "Transfer-Encoding: chunked",
  "Host: b",
  " X-A: b",
];

const chunk = fc
  .record({
    data: fc.constantFrom("a", "bc", "\r\n", "0\r\n\r\n", "d".repeat(17)),
    size: mostly(SIZES.slice(0, 3), SIZES),
    extension: mostly([""], EXTENSIONS),
  })
  .map((part) => `${part.size(part.data.length)}${part.extension}\r\n${part.data}\r\n`);

/** Bodies in the chunked coding. */
export const chunkedBodies: fc.Arbitrary<string> = mutated(
  fc
    .record({
      chunks: fc.array(chunk, { maxLength: 3 }),
      last: mostly(["0"], ["00", "0;a", "-0", ""]),
      trailers: fc.array(fc.constantFrom(...TRAILERS), { maxLength: 2 }),
    })
    .map(({ chunks, last, trailers }) => {
      const lines = trailers.map((line) => `${line}\r\n`).join("");
      return `${chunks.join("")}${last}\r\n${lines}\r\n`;
    }),
);
