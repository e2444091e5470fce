// The response-head parser, row by row: what it takes from an origin, what it refuses, its bounds,
// every sharp byte at every offset of a good head, and how the body's end is told for each status
// and method.

import assert from "node:assert/strict";
import { test } from "node:test";
import { LIMITS } from "../../../gateway/base/limits.ts";
import { ResponseHead, parseResponseHead } from "../../../gateway/wire/response-head.ts";
import type { BodyFraming } from "../../../gateway/wire/response-head.ts";

function parsed(text: string): ResponseHead {
  const head = parseResponseHead(text);
  assert.ok(head instanceof ResponseHead, `${String(head)} for ${JSON.stringify(text)}`);
  return head;
}

/** A response of 200 with these lines. */
function ok(lines: string, version = "HTTP/1.1"): string {
  return `${version} 200 OK\r\n${lines}\r\n`;
}

const REFUSED: readonly (readonly [what: string, text: string, why: RegExp])[] = [
  ["nothing", "", /not an HTTP\/1 status line/],
  ["an empty line first", `\r\n${ok("")}`, /not an HTTP\/1/],
  ["a request", "GET / HTTP/1.1\r\n\r\n", /not an HTTP\/1/],
  ["a lower-case version", ok("", "http/1.1"), /not an HTTP\/1/],
  ["HTTP/2.0", ok("", "HTTP/2.0"), /not an HTTP\/1/],
  ["HTTP/1.2", ok("", "HTTP/1.2"), /unknown HTTP version/],
  ["HTTP/1.", "HTTP/1.", /unknown HTTP version/],
  ["ICY", "ICY 200 OK\r\n\r\n", /not an HTTP\/1/],
  ["two spaces before the status", "HTTP/1.1  200 OK\r\n\r\n", /malformed status code/],
  ["a tab before the status", "HTTP/1.1\t200 OK\r\n\r\n", /malformed status line/],
  ["no status", "HTTP/1.1\r\n\r\n", /malformed status line/],
  ["a status of two digits", "HTTP/1.1 20 OK\r\n\r\n", /malformed status code/],
  ["a status of four digits", "HTTP/1.1 2000 OK\r\n\r\n", /malformed status line/],
  ["a negative status", "HTTP/1.1 -20 OK\r\n\r\n", /malformed status code/],
  ["a status of letters", "HTTP/1.1 2e2 OK\r\n\r\n", /malformed status code/],
  ["status 99", "HTTP/1.1 099 Low\r\n\r\n", /out of range/],
  ["status 600", "HTTP/1.1 600 High\r\n\r\n", /out of range/],
  ["a reason with NUL", "HTTP/1.1 200 O\0K\r\n\r\n", /malformed status line/],
  ["a reason with a bare CR", "HTTP/1.1 200 O\rK\r\n\r\n", /malformed status line/],
  ["a bare LF after the status line", "HTTP/1.1 200 OK\nX: a\r\n\r\n", /malformed status line/],
  ["a NUL in a value", ok("X: \0\r\n"), /malformed header field/],
  ["a space before the colon", ok("X : a\r\n"), /malformed header field/],
  ["a folded line", ok("X: a\r\n b\r\n"), /malformed header field/],
  ["an empty name", ok(": a\r\n"), /malformed header field/],
  ["text after the empty line", `${ok("")}a`, /malformed header field/],
  ["an empty length", ok("Content-Length:\r\n"), /malformed Content-Length/],
  ["a length with a plus", ok("Content-Length: +1\r\n"), /malformed Content-Length/],
  ["a hexadecimal length", ok("Content-Length: 0x1\r\n"), /malformed Content-Length/],
  ["a list of lengths", ok("Content-Length: 1, 1\r\n"), /malformed Content-Length/],
  ["two equal lengths", ok("Content-Length: 1\r\n".repeat(2)), /two Content-Length/],
  ["two lengths", ok("Content-Length: 1\r\nContent-Length: 2\r\n"), /two Content-Length/],
  [
    "a length and a coding",
    ok("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n"),
    /Content-Length and Transfer-Encoding/,
  ],
  ["two codings", ok("Transfer-Encoding: chunked\r\n".repeat(2)), /two Transfer-Encoding/],
  ["a coding on HTTP/1.0", ok("Transfer-Encoding: chunked\r\n", "HTTP/1.0"), /in HTTP\/1\.0/],
  ["gzip, chunked", ok("Transfer-Encoding: gzip, chunked\r\n"), /unknown transfer coding/],
  ["identity", ok("Transfer-Encoding: identity\r\n"), /unknown transfer coding/],
  ["an empty coding", ok("Transfer-Encoding:\r\n"), /unknown transfer coding/],
];

for (const [what, text, why] of REFUSED) {
  test(`a response is refused: ${what}`, () => {
    const head = parseResponseHead(text);
    assert.ok(typeof head === "string");
    assert.match(head, why);
  });
}

test("a plain response keeps status, reason and fields", () => {
  const head = parsed("HTTP/1.1 404 Not \xe9 Found\r\nX-A: \tb \r\nContent-Length: 7\r\n\r\n");
  assert.deepEqual([head.status, head.reason, head.minor], [404, "Not \xe9 Found", 1]);
  assert.equal(head.get("x-a"), "b");
  assert.deepEqual([head.contentLength, head.chunked, head.keepAlive], [7, false, true]);
});

test("the reason may be empty, and its space left out", () => {
  assert.equal(parsed("HTTP/1.1 200 \r\n\r\n").reason, "");
  assert.equal(parsed("HTTP/1.1 200\r\n\r\n").reason, "");
});

test("the range of status codes is taken whole", () => {
  for (const status of [100, 101, 199, 200, 299, 599]) {
    assert.equal(parsed(`HTTP/1.1 ${status} x\r\n\r\n`).status, status);
  }
});

test("Connection says whether the origin keeps the connection, and nominates fields", () => {
  const rows: readonly (readonly [string, string, boolean, string[] | null])[] = [
    ["", "HTTP/1.1", true, null],
    ["Connection: Close\r\n", "HTTP/1.1", false, null],
    ["Connection: keep-alive\r\nConnection: close\r\n", "HTTP/1.1", false, null],
    ["Connection: X-A, close\r\n", "HTTP/1.1", false, ["x-a"]],
    ["", "HTTP/1.0", false, null],
    ["Connection: keep-alive\r\n", "HTTP/1.0", true, null],
  ];
  for (const [lines, version, keepAlive, nominated] of rows) {
    const head = parsed(ok(lines, version));
    assert.deepEqual([head.keepAlive, head.nominated], [keepAlive, nominated], lines);
  }
});

test("the body's end is told by status and method before any field", () => {
  const length = "Content-Length: 3\r\n";
  const chunked = "Transfer-Encoding: chunked\r\n";
  const rows: readonly (readonly [number, string, string, BodyFraming])[] = [
    [200, "GET", length, "length"],
    [200, "GET", chunked, "chunked"],
    [200, "GET", "", "close"],
    [200, "GET", "Content-Length: 0\r\n", "none"],
    [200, "POST", length, "length"],
    [500, "DELETE", chunked, "chunked"],
    [205, "GET", length, "length"],
    ...[100, 103, 199, 204, 304].flatMap((status) =>
      [length, chunked, ""].map((lines) => [status, "GET", lines, "none"] as const),
    ),
    ...[200, 404].flatMap((status) =>
      [length, chunked, ""].map((lines) => [status, "HEAD", lines, "none"] as const),
    ),
  ];
  for (const [status, method, lines, framing] of rows) {
    const head = parsed(`HTTP/1.1 ${status} x\r\n${lines}\r\n`);
    assert.equal(head.framing(method), framing, `${status} to ${method} with ${lines}`);
  }
});

test("the bounds: n is taken, n + 1 is refused", () => {
  const most = ok("x:\r\n".repeat(LIMITS.responseHeadersMax));
  assert.equal(parsed(most).fields.count, LIMITS.responseHeadersMax);
  assert.equal(
    parseResponseHead(ok("x:\r\n".repeat(LIMITS.responseHeadersMax + 1))),
    "too many header fields",
  );
  const digits = "9".repeat(LIMITS.contentLengthDigitsMax);
  assert.equal(parsed(ok(`Content-Length: ${digits}\r\n`)).contentLength, 999_999_999_999_999);
  assert.equal(parseResponseHead(ok(`Content-Length: ${digits}9\r\n`)), "malformed Content-Length");
});

test("sharp bytes are refused at every offset of a good head", () => {
  const good = "HTTP/1.1 200 OK\r\nContent-Length: 12\r\nX-A: b c\r\nX-B:\r\n\r\n";
  parsed(good);
  for (const bytes of ["\0", "\n", "\r", "\r\r\n", "\r\n ", "\r\n\t", "\x7f", "\r\n\r\n"]) {
    for (let at = 0; at <= good.length; at++) {
      const text = good.slice(0, at) + bytes + good.slice(at);
      assert.equal(typeof parseResponseHead(text), "string", JSON.stringify(text));
    }
  }
});
