// Where one request ends: every known way to let two readers see different ends, over the wire.
// Pass is refused, with the end of the connection and no byte at the origin, or forwarded as exactly
// what was meant: byte by byte, and as llhttp reads it (test/support/attack.ts). The parsers' own rows
// are in test/unit/wire; here the whole path is held to them.
//
// Families of the catalogue that do not apply to HTTP/1.1 here:
// - h2 -> h1 downgrade: other bytes, other parser; test/integration/http2.test.ts.
// - upgrade smuggling: test/integration/websocket.test.ts.
// - the HEAD, 204, 304 and 1xx matrix of response framing: test/integration/origin-edge-cases.test.ts.

import assert from "node:assert/strict";
import { test } from "node:test";
import {
  answersTo,
  assertForwarded,
  assertRefused,
  startTarget,
  statusesOf,
} from "../support/attack.ts";
import type { Meant } from "../support/recording-origin.ts";

const SMUGGLED = "GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n";
/** By its length one body; in the chunked coding an empty one, and a request. */
const TWO_FACED = `0\r\n\r\n${SMUGGLED}`;
const SMUGGLED_MEANT: Meant = { line: "GET /smuggled" };

/** What a spelling of Transfer-Encoding is: the field itself, sound or not, or some other field. */
type Spelling = readonly [lines: string, is: "chunked" | "unsound" | "another", kept?: string];

const SPELLINGS: readonly Spelling[] = [
  ["Transfer-Encoding: chunked\r\n", "chunked"],
  ["transfer-encoding:chunked\r\n", "chunked"],
  ["TRANSFER-ENCODING: CHUNKED\r\n", "chunked"],
  ["Transfer-Encoding:\t chunked \r\n", "chunked"],
  // Blank by RFC 9110, 5.6.3, but llhttp 9.4 does not see the coding then.
  ["Transfer-Encoding: chunked \t\r\n", "unsound"],
  // Another name is another field: llhttp, which reads the origin's side, must think so too.
  ["X-Transfer-Encoding: chunked\r\n", "another", "X-Transfer-Encoding: chunked\r\n"],
  ["Transfer-Encodin: chunked\r\n", "another", "Transfer-Encodin: chunked\r\n"],
  ["Transfer.Encoding: chunked\r\n", "another", "Transfer.Encoding: chunked\r\n"],
  ["X: Transfer-Encoding: chunked\r\n", "another", "X: Transfer-Encoding: chunked\r\n"],
  ["Transfer_Encoding: chunked\r\n", "another", ""],
  ["Content_Length: 5\r\n", "another", ""],
  ["Keep-Alive: Transfer-Encoding: chunked\r\n", "another", ""],
  // The name.
  ["Transfer-Encoding : chunked\r\n", "unsound"],
  ["Transfer-Encoding\t: chunked\r\n", "unsound"],
  ["Transfer-Encoding\v: chunked\r\n", "unsound"],
  ["Transfer-Encoding\xa0: chunked\r\n", "unsound"],
  ["Transfer-Encoding\0: chunked\r\n", "unsound"],
  ["\0Transfer-Encoding: chunked\r\n", "unsound"],
  ["\xefTransfer-Encoding: chunked\r\n", "unsound"],
  ["Transfer Encoding: chunked\r\n", "unsound"],
  ["Transf\xe9r-Encoding: chunked\r\n", "unsound"],
  ["Transfer-Encoding chunked\r\n", "unsound"],
  ["Transfer-Encoding\r\n: chunked\r\n", "unsound"],
  [": chunked\r\nTransfer-Encoding: chunked\r\n", "unsound"],
  // Lines that are one or two.
  [" Transfer-Encoding: chunked\r\n", "unsound"],
  ["\tTransfer-Encoding: chunked\r\n", "unsound"],
  ["X: y\r\n Transfer-Encoding: chunked\r\n", "unsound"],
  ["Transfer-Encoding:\r\n chunked\r\n", "unsound"],
  ["Transfer-Encoding:\r\n\tchunked\r\n", "unsound"],
  ["Transfer-Encoding: chunked\r\n , identity\r\n", "unsound"],
  ["X: y\nTransfer-Encoding: chunked\r\n", "unsound"],
  ["X: y\rTransfer-Encoding: chunked\r\n", "unsound"],
  ["X: y\r\r\nTransfer-Encoding: chunked\r\n", "unsound"],
  ["X: y\n\rTransfer-Encoding: chunked\r\n", "unsound"],
  ["Transfer-Encoding: chunked\n", "unsound"],
  ["Transfer-Encoding: chunked\r", "unsound"],
  // The value.
  ["Transfer-Encoding: \vchunked\r\n", "unsound"],
  ["Transfer-Encoding: \fchunked\r\n", "unsound"],
  ["Transfer-Encoding: \xa0chunked\r\n", "unsound"],
  ["Transfer-Encoding: chunked\x85\r\n", "unsound"],
  ["Transfer-Encoding: chunked\0\r\n", "unsound"],
  ["Transfer-Encoding: chunked\v\r\n", "unsound"],
  ["Transfer-Encoding: chunked\x7f\r\n", "unsound"],
  ['Transfer-Encoding: "chunked"\r\n', "unsound"],
  ["Transfer-Encoding: 'chunked'\r\n", "unsound"],
  ["Transfer-Encoding: xchunked\r\n", "unsound"],
  ["Transfer-Encoding: chunkedx\r\n", "unsound"],
  ["Transfer-Encoding: chunke\r\n", "unsound"],
  ["Transfer-Encoding: chunked;a=b\r\n", "unsound"],
  ["Transfer-Encoding: chunked ;\r\n", "unsound"],
  ["Transfer-Encoding: chunked,\r\n", "unsound"],
  ["Transfer-Encoding: ,chunked\r\n", "unsound"],
  ["Transfer-Encoding: chunked, chunked\r\n", "unsound"],
  ["Transfer-Encoding: chunked, identity\r\n", "unsound"],
  ["Transfer-Encoding: identity, chunked\r\n", "unsound"],
  ["Transfer-Encoding: identity\r\n", "unsound"],
  ["Transfer-Encoding: gzip, chunked\r\n", "unsound"],
  ["Transfer-Encoding: \r\n", "unsound"],
  // More than one field.
  ["Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "unsound"],
  ["Transfer-Encoding: chunked\r\ntransfer-encoding: identity\r\n", "unsound"],
  ["Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n", "unsound"],
  ["Transfer-Encoding: chunked\r\nX: y\r\nTransfer-Encoding: cow\r\n", "unsound"],
  ["Transfer-Encoding:\r\nTransfer-Encoding: chunked\r\n", "unsound"],
];

/** The lengths beside it; null: an unsound one. */
const LENGTHS: readonly (readonly [lines: string, length: number | null])[] = [
  [`Content-Length: ${TWO_FACED.length}\r\n`, TWO_FACED.length],
  ["Content-Length: 5\r\n", 5],
  ["Content-Length: 0\r\n", 0],
  ["Content-Length: 5\r\nContent-Length: 5\r\n", null],
  [`Content-Length: 5\r\ncontent-length: ${TWO_FACED.length}\r\n`, null],
  [`Content-Length: ${TWO_FACED.length}, 5\r\n`, null],
];

for (const [lines, is, kept = ""] of SPELLINGS) {
  test(`CL.TE, TE.CL, TE.TE: ${JSON.stringify(lines)}`, async (t) => {
    const target = await startTarget(t);
    const head = (fields: string) => `POST /meant HTTP/1.1\r\nHost: a\r\n${fields}\r\n`;
    const post: Meant = { line: "POST /meant", fields: kept };
    const alone = head(lines) + TWO_FACED;
    if (is === "unsound") {
      await assertRefused(t, target, { bytes: alone });
    } else if (is === "chunked") {
      const meant = [{ ...post, chunks: [] }, SMUGGLED_MEANT];
      await assertForwarded(t, target, { bytes: alone, meant });
    } else {
      // Without a body its bytes are the next request, which they cannot be.
      await assertForwarded(t, target, { bytes: alone, meant: [post], then: 400 });
    }
    for (const [lengthLines, length] of LENGTHS) {
      for (const fields of [lengthLines + lines, lines + lengthLines]) {
        const bytes = head(fields) + TWO_FACED;
        if (is !== "another" || length === null) {
          await assertRefused(t, target, { bytes });
        } else if (length === 0) {
          await assertForwarded(t, target, { bytes, meant: [{ ...post, body: "" }], then: 400 });
        } else {
          const whole = { ...post, body: TWO_FACED.slice(0, length) };
          const meant = length === TWO_FACED.length ? [whole] : [whole, SMUGGLED_MEANT];
          await assertForwarded(t, target, { bytes, meant });
        }
      }
    }
  });
}

test("TE.CL: chunked is not for HTTP/1.0, with or without a length", async (t) => {
  const target = await startTarget(t);
  for (const fields of ["", "Content-Length: 5\r\n", "Connection: keep-alive\r\n"]) {
    const head = `POST / HTTP/1.0\r\nHost: a\r\n${fields}Transfer-Encoding: chunked\r\n\r\n`;
    await assertRefused(t, target, { bytes: head + TWO_FACED });
  }
});

/** Lengths that some reader takes for 5, or for none. */
const LENGTHS_UNSOUND = [
  ...["", " ", "+5", "-5", "-0", "0x5", "0b101", "5_0", "5,5", "5, 5", "5 5", "5.0", "5e0", "5;"],
  ...["\xa05", "5\xa0", "\x855", "\v5", "5\v", "5\0", "\0", '"5"', "\xb5", "\xb9", "five", "NaN"],
  ...["9007199254740993", "18446744073709551621", "4294967301000000", "0000000000000005"],
  ...["\r\n 5", "5\r\n 0", "5\r\n\t", "Infinity", "5\nX: y"],
];

test("CL syntax: one to fifteen digits, or no request", async (t) => {
  const target = await startTarget(t);
  for (const length of LENGTHS_UNSOUND) {
    for (const method of ["POST", "GET"]) {
      const head = `${method} / HTTP/1.1\r\nHost: a\r\nContent-Length:${length}\r\n\r\n`;
      await assertRefused(t, target, { bytes: head + TWO_FACED });
    }
  }
  for (const length of ["5", " 5", "\t5 ", "05", "000000000000005"]) {
    const bytes = `PUT / HTTP/1.1\r\nHost: a\r\nContent-Length:${length}\r\n\r\n${TWO_FACED}`;
    const meant = [{ line: "PUT /", body: "0\r\n\r\n" }, SMUGGLED_MEANT];
    await assertForwarded(t, target, { bytes, meant });
  }
});

test("CL.0, TE.0: a body is a body whatever the method", async (t) => {
  const target = await startTarget(t);
  for (const method of ["GET", "OPTIONS", "DELETE", "PROPFIND", "QUERY"]) {
    const line = `${method} /meant`;
    const declared = `${line} HTTP/1.1\r\nHost: a\r\nContent-Length: ${SMUGGLED.length}\r\n\r\n`;
    await assertForwarded(t, target, {
      bytes: declared + SMUGGLED,
      meant: [{ line, body: SMUGGLED }],
    });
    const chunked = `${line} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n`;
    const size = SMUGGLED.length.toString(16);
    await assertForwarded(t, target, {
      bytes: `${chunked}${size}\r\n${SMUGGLED}\r\n0\r\n\r\n`,
      meant: [{ line, chunks: [SMUGGLED] }],
    });
  }
});

test("hop-by-hop: Connection does not nominate the framing away", async (t) => {
  const target = await startTarget(t);
  const start = "POST /meant HTTP/1.1\r\nHost: a\r\nConnection: ";
  for (const nominated of ["content-length", "Content-Length, host", "x, CONTENT-LENGTH,"]) {
    await assertForwarded(t, target, {
      bytes: `${start}${nominated}\r\nContent-Length: ${SMUGGLED.length}\r\n\r\n${SMUGGLED}`,
      meant: [{ line: "POST /meant", body: SMUGGLED }],
    });
  }
  await assertForwarded(t, target, {
    bytes: `${start}transfer-encoding\r\nTransfer-Encoding: chunked\r\n\r\n${TWO_FACED}`,
    meant: [{ line: "POST /meant", chunks: [] }, SMUGGLED_MEANT],
  });
});

const HEADS_UNSOUND: readonly (readonly [what: string, bytes: string])[] = [
  ["an empty line first", "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"],
  ["bare LFs", "GET / HTTP/1.1\nHost: a\n\n"],
  ["a bare LF after the line", "GET / HTTP/1.1\nHost: a\r\n\r\n"],
  ["a bare CR after the line", "GET / HTTP/1.1\rHost: a\r\n\r\n"],
  ["a bare LF as the empty line", "GET / HTTP/1.1\r\nHost: a\r\n\n"],
  ["an end of CR LF CR and more", "GET / HTTP/1.1\r\nHost: a\r\n\rX: y\r\n\r\n"],
  ["an end of CR CR LF", "GET / HTTP/1.1\r\nHost: a\r\n\r\r\n"],
  ["an end of a blank", "GET / HTTP/1.1\r\nHost: a\r\n \r\n\r\n"],
  ["a fold of the line", "GET / HTTP/1.1\r\n Host: a\r\n\r\n"],
  ["a fold of Host", "GET / HTTP/1.1\r\nHost:\r\n a\r\n\r\n"],
  ["a fold by a tab", "GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n\tz\r\n\r\n"],
  ["a blank before a colon", "GET / HTTP/1.1\r\nHost : a\r\n\r\n"],
  ["a name of nothing", "GET / HTTP/1.1\r\nHost: a\r\n: y\r\n\r\n"],
  ["no colon", "GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n"],
  ["a name in quotes", 'GET / HTTP/1.1\r\nHost: a\r\n"X": y\r\n\r\n'],
  ["a NUL in a value", "GET / HTTP/1.1\r\nHost: a\r\nX: y\0\r\n\r\n"],
  ["a NUL in the target", "GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n"],
  ["ESC in a value", "GET / HTTP/1.1\r\nHost: a\r\nX: \x1b[2J\r\n\r\n"],
  ["HTTP/0.9", "GET /\r\n\r\n"],
  ["a space too many", "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n"],
  ["a version behind a version", "GET / HTTP/1.1 HTTP/1.1\r\nHost: a\r\n\r\n"],
  ["a version of three digits", "GET / HTTP/1.10\r\nHost: a\r\n\r\n"],
  ["an upper-case copy of Host", "GET / HTTP/1.1\r\nHost: a\r\nHOST: b\r\n\r\n"],
];

for (const [what, bytes] of HEADS_UNSOUND) {
  test(`the head's lines: refused and closed, ${what}`, async (t) => {
    await assertRefused(t, await startTarget(t), { bytes });
  });
}

test("the head's lines: blanks that only Unicode knows are bytes of a value", async (t) => {
  const target = await startTarget(t);
  for (const value of ["\xa0y", "y\xa0", "\x85y\x85", "y\xad", "\xef\xbb\xbfy", "\x80\xff"]) {
    await assertForwarded(t, target, {
      bytes: `GET / HTTP/1.1\r\nHost: a\r\nX: ${value}\r\n\r\n`,
      meant: [{ line: "GET /", fields: `X: ${value}\r\n` }],
    });
  }
});

const CHUNKED = "POST /meant HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
/** A body whose seven lines end here; the second datum looks like a request. */
const PIECES = ["3", "abc", `${SMUGGLED.length.toString(16)};x=y`, SMUGGLED, "0;z", "T: v", ""];

for (const [position] of PIECES.entries()) {
  test(`chunk line terminators: only CR LF, at position ${position + 1} of 7`, async (t) => {
    const target = await startTarget(t);
    const bodyWith = (terminator: string) =>
      PIECES.map((piece, index) => piece + (index === position ? terminator : "\r\n")).join("");
    await assertForwarded(t, target, {
      bytes: CHUNKED + bodyWith("\r\n"),
      meant: [{ line: "POST /meant", chunks: ["abc", SMUGGLED] }],
    });
    for (const wrong of ["\n", "\r", "\r\r\n", "\rX", "\n\r", "\0\r\n", "\r\0\n"]) {
      const bytes = CHUNKED + bodyWith(wrong);
      const text = await answersTo(t, target, bytes);
      assert.deepEqual(statusesOf(text), [400], JSON.stringify(bytes));
      // What came before it may have left already; a whole request has not.
      const { requests, texts, faults } = target.origin.take();
      assert.deepEqual([requests, faults], [[], []], JSON.stringify(bytes));
      for (const received of texts) assert.doesNotMatch(received, /\r\n0\r\n\r\n|\/last/);
    }
  });
}

test("chunk spill: no byte between data and its CR LF is skipped, nor taken for data", async (t) => {
  const target = await startTarget(t);
  for (const body of ["2\r\nabX\r\n0\r\n\r\n", "2\r\nabXY\r\n0\r\n\r\n", "3\r\nab\r\n0\r\n\r\n"]) {
    const text = await answersTo(t, target, CHUNKED + body);
    assert.deepEqual(statusesOf(text), [400], JSON.stringify(body));
    assert.deepEqual(target.origin.take().requests, []);
  }
});

const SIZES_UNSOUND = [
  ...["", " ", "+5", "-5", "0x5", "5 ", " 5", "5\t", "5_0", "5,5", "5h", "g", "5\0", "\xb5", "5.0"],
  ...["000000005", "100000005", "10000000000000005", "ffffffffffffffff", "5;", "5;=", '5;a="\r\n"'],
];

test("chunk size: one to eight hexadecimal digits, or no request", async (t) => {
  const target = await startTarget(t);
  for (const size of SIZES_UNSOUND) {
    const text = await answersTo(t, target, `${CHUNKED}${size}\r\nhello\r\n0\r\n\r\n`);
    assert.deepEqual(statusesOf(text), [400], JSON.stringify(size));
    assert.deepEqual(target.origin.take().requests, []);
  }
});

test("trailers: those that frame or route are refused, others go no further", async (t) => {
  const target = await startTarget(t);
  for (const trailer of ["Content-Length: 5", "transfer-encoding: chunked", "HOST: b", " X: y"]) {
    const text = await answersTo(t, target, `${CHUNKED}1\r\na\r\n0\r\n${trailer}\r\n\r\n`);
    assert.deepEqual(statusesOf(text), [400], trailer);
    assert.deepEqual(target.origin.take().requests, []);
  }
  const dropped = "Authorization: x\r\nX-Forwarded-For: 6.6.6.6\r\n";
  await assertForwarded(t, target, {
    bytes: `${CHUNKED}1\r\na\r\n0\r\n${dropped}\r\n`,
    meant: [{ line: "POST /meant", chunks: ["a"] }],
  });
});
