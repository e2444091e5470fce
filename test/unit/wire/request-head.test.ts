// The request-head parser, row by row: what it takes and what it makes of it, what it refuses and
// with which code, its bounds at n and n + 1, and every sharp byte at every offset of a good head.

import assert from "node:assert/strict";
import { METHODS } from "node:http";
import { test } from "node:test";
import { LIMITS } from "../../../gateway/base/limits.ts";
import type { ErrorCode } from "../../../gateway/base/errors.ts";
import { STRIDE } from "../../../gateway/wire/fields.ts";
import {
  RequestHead,
  isHopelessPrefix,
  parseRequestHead,
} from "../../../gateway/wire/request-head.ts";

const HOST = "Host: a\r\n";

function parsed(text: string): RequestHead {
  const head = parseRequestHead(text);
  assert.ok(head instanceof RequestHead, `${String(head)} for ${JSON.stringify(text)}`);
  return head;
}

/** A POST with these lines after its Host. */
function post(lines: string, version = "HTTP/1.1"): string {
  return `POST / ${version}\r\n${HOST}${lines}\r\n`;
}

type Row = readonly [what: string, text: string, code: ErrorCode];

const REFUSED: readonly Row[] = [
  // The request line.
  ["nothing", "", "BAD_HEAD"],
  ["an empty line first", `\r\nGET / HTTP/1.1\r\n${HOST}\r\n`, "BAD_HEAD"],
  ["a space first", ` GET / HTTP/1.1\r\n${HOST}\r\n`, "BAD_HEAD"],
  ["no method", ` / HTTP/1.1\r\n${HOST}\r\n`, "BAD_HEAD"],
  ["no target", `GET HTTP/1.1\r\n${HOST}\r\n`, "BAD_HEAD"],
  ["no version", `GET /\r\n${HOST}\r\n`, "BAD_HEAD"],
  ["two spaces before the target", `GET  / HTTP/1.1\r\n${HOST}\r\n`, "BAD_HEAD"],
  ["two spaces before the version", `GET /  HTTP/1.1\r\n${HOST}\r\n`, "BAD_HEAD"],
  ["a space after the version", `GET / HTTP/1.1 \r\n${HOST}\r\n`, "BAD_HEAD"],
  ["a tab for a space", `GET\t/ HTTP/1.1\r\n${HOST}\r\n`, "BAD_HEAD"],
  ["a method with a slash", `GE/T / HTTP/1.1\r\n${HOST}\r\n`, "BAD_HEAD"],
  ["a lower-case method", `get / HTTP/1.1\r\n${HOST}\r\n`, "METHOD_NOT_SUPPORTED"],
  ["an unknown method", `FROB / HTTP/1.1\r\n${HOST}\r\n`, "METHOD_NOT_SUPPORTED"],
  ["a method of Object.prototype", `toString / HTTP/1.1\r\n${HOST}\r\n`, "METHOD_NOT_SUPPORTED"],
  ["CONNECT", `CONNECT a:1 HTTP/1.1\r\n${HOST}\r\n`, "METHOD_NOT_SUPPORTED"],
  ["TRACE", `TRACE / HTTP/1.1\r\n${HOST}\r\n`, "METHOD_NOT_SUPPORTED"],
  ["# in the target", `GET /a#b HTTP/1.1\r\n${HOST}\r\n`, "BAD_TARGET"],
  ["a raw non-ASCII byte in the target", `GET /\xe9 HTTP/1.1\r\n${HOST}\r\n`, "BAD_HEAD"],
  ["DEL in the target", `GET /\x7f HTTP/1.1\r\n${HOST}\r\n`, "BAD_HEAD"],
  // The version.
  ["HTTP/2.0", `GET / HTTP/2.0\r\n${HOST}\r\n`, "VERSION_NOT_SUPPORTED"],
  ["HTTP/1.2", `GET / HTTP/1.2\r\n${HOST}\r\n`, "VERSION_NOT_SUPPORTED"],
  ["HTTP/0.9", `GET / HTTP/0.9\r\n${HOST}\r\n`, "VERSION_NOT_SUPPORTED"],
  ["a preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\n", "VERSION_NOT_SUPPORTED"],
  ["a lower-case version", `GET / http/1.1\r\n${HOST}\r\n`, "BAD_HEAD"],
  ["a version of letters", `GET / HTTP/1.x\r\n${HOST}\r\n`, "BAD_HEAD"],
  ["a version without minor", `GET / HTTP/1\r\n${HOST}\r\n`, "BAD_HEAD"],
  ["a version of two digits", `GET / HTTP/1.10\r\n${HOST}\r\n`, "BAD_HEAD"],
  ["another protocol", `GET / HTTQ/1.1\r\n${HOST}\r\n`, "BAD_HEAD"],
  // Host.
  ["no Host", "GET / HTTP/1.1\r\n\r\n", "BAD_HOST"],
  ["two Hosts", `GET / HTTP/1.1\r\n${HOST}hOsT: a\r\n\r\n`, "BAD_HOST"],
  ["two Hosts on HTTP/1.0", `GET / HTTP/1.0\r\n${HOST}${HOST}\r\n`, "BAD_HOST"],
  // Field lines.
  ["an empty name", post(": b\r\n"), "BAD_HEAD"],
  ["no colon", post("x\r\n"), "BAD_HEAD"],
  ["a space before the colon", post("x : b\r\n"), "BAD_HEAD"],
  ["a tab before the colon", post("x\t: b\r\n"), "BAD_HEAD"],
  ["a space before the name", post(" x: b\r\n"), "BAD_HEAD"],
  ["a folded line", post("x: b\r\n c\r\n"), "BAD_HEAD"],
  ["a name with a bracket", post("x(: b\r\n"), "BAD_HEAD"],
  ["a name beyond ASCII", post("x\xa0: b\r\n"), "BAD_HEAD"],
  ["DEL in a value", post("x: \x7f\r\n"), "BAD_HEAD"],
  ["text after the empty line", `${post("")}x`, "BAD_HEAD"],
  ["no empty line", `POST / HTTP/1.1\r\n${HOST}`, "BAD_HEAD"],
  // Framing.
  ["an empty length", post("Content-Length:\r\n"), "BAD_FRAMING"],
  ["a length with a plus", post("Content-Length: +1\r\n"), "BAD_FRAMING"],
  ["a negative length", post("Content-Length: -1\r\n"), "BAD_FRAMING"],
  ["a hexadecimal length", post("Content-Length: 0x1\r\n"), "BAD_FRAMING"],
  ["a length with an underscore", post("Content-Length: 1_0\r\n"), "BAD_FRAMING"],
  ["a length with a point", post("Content-Length: 1.0\r\n"), "BAD_FRAMING"],
  ["a length with an exponent", post("Content-Length: 1e1\r\n"), "BAD_FRAMING"],
  ["a list of lengths", post("Content-Length: 1,1\r\n"), "BAD_FRAMING"],
  ["a length of two words", post("Content-Length: 1 1\r\n"), "BAD_FRAMING"],
  ["a length after NBSP", post("Content-Length: \xa01\r\n"), "BAD_FRAMING"],
  ["two equal lengths", post("Content-Length: 1\r\ncontent-length: 1\r\n"), "BAD_FRAMING"],
  ["two lengths", post("Content-Length: 1\r\nContent-Length: 2\r\n"), "BAD_FRAMING"],
  [
    "a length and a coding",
    post("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n"),
    "BAD_FRAMING",
  ],
  [
    "a coding and a length",
    post("Transfer-Encoding: chunked\r\nContent-Length: 0\r\n"),
    "BAD_FRAMING",
  ],
  ["two codings", post("Transfer-Encoding: chunked\r\n".repeat(2)), "BAD_FRAMING"],
  ["chunked twice", post("Transfer-Encoding: chunked, chunked\r\n"), "BAD_FRAMING"],
  ["an empty coding", post("Transfer-Encoding:\r\n"), "BAD_FRAMING"],
  ["a coding on HTTP/1.0", post("Transfer-Encoding: chunked\r\n", "HTTP/1.0"), "BAD_FRAMING"],
  ["a coding after VT", post("Transfer-Encoding: \vchunked\r\n"), "BAD_HEAD"],
  ["gzip alone", post("Transfer-Encoding: gzip\r\n"), "UNKNOWN_TRANSFER_CODING"],
  ["gzip, chunked", post("Transfer-Encoding: gzip, chunked\r\n"), "UNKNOWN_TRANSFER_CODING"],
  ["chunked, gzip", post("Transfer-Encoding: chunked, gzip\r\n"), "UNKNOWN_TRANSFER_CODING"],
  ["a comma, then chunked", post("Transfer-Encoding: ,chunked\r\n"), "UNKNOWN_TRANSFER_CODING"],
  ["only a comma", post("Transfer-Encoding: ,\r\n"), "UNKNOWN_TRANSFER_CODING"],
  ["xchunked", post("Transfer-Encoding: xchunked\r\n"), "UNKNOWN_TRANSFER_CODING"],
  ["chunked quoted", post('Transfer-Encoding: "chunked"\r\n'), "UNKNOWN_TRANSFER_CODING"],
  ["chunked;x=1", post("Transfer-Encoding: chunked;x=1\r\n"), "UNKNOWN_TRANSFER_CODING"],
  ["chunked NBSP", post("Transfer-Encoding: chunked\xa0\r\n"), "UNKNOWN_TRANSFER_CODING"],
  // Expectations.
  ["another expectation", post("Expect: 200-ok\r\n"), "EXPECTATION_FAILED"],
  ["an empty expectation", post("Expect:\r\n"), "EXPECTATION_FAILED"],
  ["two expectations", post("Expect: 100-continue\r\n".repeat(2)), "EXPECTATION_FAILED"],
  ["a list of expectations", post("Expect: 100-continue, x\r\n"), "EXPECTATION_FAILED"],
];

for (const [what, text, code] of REFUSED) {
  test(`refused with ${code}: ${what}`, () => {
    assert.equal(parseRequestHead(text), code);
  });
}

test("a plain request keeps method, target and fields, and has no body", () => {
  const head = parsed(`GET /a?b=c HTTP/1.1\r\n${HOST}X-A: \t b c \t\r\nX-E:\r\n\r\n`);
  assert.equal(head.method, "GET");
  assert.equal(head.target, "/a?b=c");
  assert.equal(head.minor, 1);
  assert.equal(head.hostField, "a");
  assert.equal(head.get("x-a"), "b c");
  assert.equal(head.get("x-e"), "");
  assert.equal(head.get("x-b"), null);
  assert.deepEqual([head.contentLength, head.chunked, head.hasBody], [-1, false, false]);
  assert.deepEqual([head.keepAlive, head.expectContinue, head.nominated], [true, false, null]);
});

test("every method of node:http is taken, but CONNECT and TRACE", () => {
  for (const method of METHODS.filter((name) => name !== "CONNECT" && name !== "TRACE")) {
    assert.equal(parsed(`${method} / HTTP/1.1\r\n${HOST}\r\n`).method, method);
  }
});

test("targets are kept as sent, in every form", () => {
  for (const target of [
    "/",
    "*",
    "http://a/b?c",
    "/%2e%2E",
    "/a\\b",
    "//",
    "/?",
    "a:1",
    '/"<>{}',
  ]) {
    assert.equal(parsed(`OPTIONS ${target} HTTP/1.1\r\n${HOST}\r\n`).target, target);
  }
});

test("HTTP/1.0 needs no Host", () => {
  const head = parsed("GET / HTTP/1.0\r\n\r\n");
  assert.deepEqual([head.minor, head.hostField, head.keepAlive], [0, null, false]);
});

test("an empty Host is kept for the next stage to judge", () => {
  assert.equal(parsed("GET / HTTP/1.1\r\nHost:\r\n\r\n").hostField, "");
});

const FRAMINGS: readonly (readonly [lines: string, length: number, chunked: boolean])[] = [
  ["Content-Length: 0\r\n", 0, false],
  ["Content-Length:\t 7 \t\r\n", 7, false],
  ["content-length: 007\r\n", 7, false],
  ["Content-Length: 999999999999999\r\n", 999_999_999_999_999, false],
  ["Transfer-Encoding: chunked\r\n", -1, true],
  ["transfer-encoding: CHUNKED \r\n", -1, true],
  ["Transfer_Encoding: chunked\r\n", -1, false],
  ["X-Transfer-Encoding: chunked\r\n", -1, false],
];

test("framing is read from the two fields that say it", () => {
  for (const [lines, length, chunked] of FRAMINGS) {
    const head = parsed(post(lines));
    assert.deepEqual([head.contentLength, head.chunked], [length, chunked], lines);
    assert.equal(head.hasBody, chunked || length > 0, lines);
  }
});

test("100-continue is an expectation of HTTP/1.1 only", () => {
  assert.equal(parsed(post("Expect: 100-Continue\r\n")).expectContinue, true);
  assert.equal(parsed(post("Expect: 100-continue\r\n", "HTTP/1.0")).expectContinue, false);
});

const CONNECTIONS: readonly (readonly [
  lines: string,
  version: string,
  keepAlive: boolean,
  nominated: string[] | null,
])[] = [
  ["", "HTTP/1.1", true, null],
  ["Connection: close\r\n", "HTTP/1.1", false, null],
  ["Connection: CLOSE\r\n", "HTTP/1.1", false, null],
  ["Connection: keep-alive, close\r\n", "HTTP/1.1", false, null],
  ["Connection: keep-alive\r\nConnection: close\r\n", "HTTP/1.1", false, null],
  ["Connection: closed\r\n", "HTTP/1.1", true, ["closed"]],
  [
    "Connection: , X-A ,,upgrade\r\nConnection: Host\r\n",
    "HTTP/1.1",
    true,
    ["x-a", "upgrade", "host"],
  ],
  ["", "HTTP/1.0", false, null],
  ["Connection: Keep-Alive\r\n", "HTTP/1.0", true, null],
  ["Connection: x, keep-alive\r\n", "HTTP/1.0", true, ["x"]],
  ["Connection: keep-alive, close\r\n", "HTTP/1.0", false, null],
];

test("Connection says whether to keep alive, and nominates fields", () => {
  for (const [lines, version, keepAlive, nominated] of CONNECTIONS) {
    const head = parsed(`GET / ${version}\r\n${HOST}${lines}\r\n`);
    assert.deepEqual(
      [head.keepAlive, head.nominated],
      [keepAlive, nominated],
      `${version} ${lines}`,
    );
  }
});

test("the bounds: n is taken, n + 1 is refused", () => {
  const fields = (count: number) => `GET / HTTP/1.1\r\n${HOST}${"x:\r\n".repeat(count - 1)}\r\n`;
  assert.equal(parsed(fields(LIMITS.headersMax)).fields.count, LIMITS.headersMax);
  assert.equal(parseRequestHead(fields(LIMITS.headersMax + 1)), "HEAD_TOO_LARGE");
  const target = (bytes: number) => `GET /${"a".repeat(bytes - 1)} HTTP/1.1\r\n${HOST}\r\n`;
  assert.equal(
    parsed(target(LIMITS.requestLineBytesMax)).target.length,
    LIMITS.requestLineBytesMax,
  );
  assert.equal(parseRequestHead(target(LIMITS.requestLineBytesMax + 1)), "TARGET_TOO_LONG");
  const length = (digits: number) => post(`Content-Length: ${"1".repeat(digits)}\r\n`);
  assert.equal(parsed(length(LIMITS.contentLengthDigitsMax)).contentLength, 111_111_111_111_111);
  assert.equal(parseRequestHead(length(LIMITS.contentLengthDigitsMax + 1)), "BAD_FRAMING");
});

const GOOD = "PUT /a?b HTTP/1.1\r\nHost: a.b\r\nContent-Length: 12\r\nX-A: b c\r\nX-B:\r\n\r\n";

/** The good head with `bytes` put in at every offset, its end included. */
function* withInserted(bytes: string): Generator<string> {
  for (let at = 0; at <= GOOD.length; at++) yield GOOD.slice(0, at) + bytes + GOOD.slice(at);
}

for (const [what, bytes] of [
  ["NUL", "\0"],
  ["a bare LF", "\n"],
  ["a bare CR", "\r"],
  ["CR CR LF", "\r\r\n"],
  ["an obs-fold", "\r\n "],
  ["an obs-fold by tab", "\r\n\t"],
  ["an empty line", "\r\n\r\n"],
  ["VT", "\v"],
  ["ESC", "\x1b"],
  ["DEL", "\x7f"],
] as const) {
  test(`refused at every offset of a good head: ${what}`, () => {
    parsed(GOOD);
    for (const text of withInserted(bytes)) {
      assert.equal(typeof parseRequestHead(text), "string", JSON.stringify(text));
    }
  });
}

test("white space before any colon of a field line is refused", () => {
  const colons = [...GOOD.matchAll(/(?<=\r\n[A-Za-z-]+):/g)].map((match) => match.index);
  assert.equal(colons.length, 4);
  for (const at of colons) {
    for (const blank of [" ", "\t", "\xa0", "\x85", "\v", "\0"]) {
      const text = GOOD.slice(0, at) + blank + GOOD.slice(at);
      assert.equal(parseRequestHead(text), "BAD_HEAD", JSON.stringify(text));
    }
  }
});

test("any byte in any place gives a head with all its bytes accounted for, or a code", () => {
  for (let at = 0; at < GOOD.length; at++) {
    for (let code = 0; code < 256; code++) {
      const text = GOOD.slice(0, at) + String.fromCharCode(code) + GOOD.slice(at + 1);
      const head = parseRequestHead(text);
      if (typeof head === "string") continue;
      let line = `${head.method} ${head.target} HTTP/1.${head.minor}\r\n`;
      const { at: offsets } = head.fields;
      for (let i = 0; i < offsets.length; i += STRIDE) {
        // From the name to its colon, and from the value's end over blanks to the line's end.
        assert.equal(text[offsets[i + 1]], ":");
        assert.match(text.slice(offsets[i + 1] + 1, offsets[i + 2]), /^[ \t]*$/);
        const lineEnd = text.indexOf("\r\n", offsets[i + 3]);
        assert.match(text.slice(offsets[i + 3], lineEnd), /^[ \t]*$/);
        line += text.slice(offsets[i], lineEnd + 2);
      }
      assert.equal(`${line}\r\n`, text);
    }
  }
});

test("no prefix of a good head is given up", () => {
  const bytes = Buffer.from(GOOD, "latin1");
  for (let end = 0; end <= bytes.length; end++) {
    assert.equal(isHopelessPrefix(bytes.subarray(0, end), 0), false, `at ${end}`);
  }
});

test("a head is given up at the first byte that cannot be right, wherever reads cut it", () => {
  for (let at = 1; at < GOOD.length; at++) {
    // After a CR, a LF is right.
    const sharp = GOOD[at - 1] === "\r" ? ["\0", "\r", "x"] : ["\0", "\n"];
    for (const byte of sharp) {
      const bytes = Buffer.from(GOOD.slice(0, at) + byte, "latin1");
      assert.equal(isHopelessPrefix(bytes, 0), true, JSON.stringify(bytes.latin1Slice()));
      // As a connection asks that has looked at all but the last byte.
      assert.equal(isHopelessPrefix(bytes, Math.max(0, at - 1)), true);
    }
  }
});

test("a first byte that begins no method is given up at once", () => {
  for (const first of ["\r", " ", "\x16", "\x80", "(", "\n", "\0"]) {
    assert.equal(isHopelessPrefix(Buffer.from(first, "latin1"), 0), true, JSON.stringify(first));
  }
});
