// The chunked decoder: the same result wherever reads cut the body, exactly CRLF at each of its
// seven line ends, the grammar of sizes, extensions and trailers row by row, and every bound at n
// and n + 1.

import assert from "node:assert/strict";
import { test } from "node:test";
import { LIMITS } from "../../../gateway/base/limits.ts";
import { ChunkedDecoder } from "../../../gateway/wire/chunked.ts";

type Decoded = { readonly data: string; readonly end: number; readonly done: boolean };

/** Decodes the text, cut into reads at the given offsets. `end` -1: refused. */
function decode(text: string, cuts: readonly number[] = []): Decoded {
  const decoder = new ChunkedDecoder();
  let data = "";
  let at = 0;
  for (const cut of [...cuts, text.length]) {
    const read = Buffer.from(text.slice(at, cut), "latin1");
    const end = decoder.push(read, 0, (bytes, from, to) => (data += bytes.latin1Slice(from, to)));
    if (end === -1) return { data, end, done: decoder.done };
    if (decoder.done) return { data, end: at + end, done: true };
    assert.equal(end, read.length, "it takes every byte until it is done");
    at = cut;
  }
  return { data, end: at, done: false };
}

const isRefused = (text: string) => decode(text).end === -1;

// Of its four chunks the second holds what looks like the end of the body.
const GOOD =
  '3\r\nabc\r\n5;n="v;\\""\r\n0\r\n\r\n\r\n0A\r\n0123456789\r\n1\r\nd\r\n' +
  "000;x=y;z\r\nT-A: b\r\nT-B:\r\n\r\n";
const NEXT = "GET / HTTP/1.1\r\n";

test("data comes out, extensions and trailers do not, and the next message is left", () => {
  const { data, end, done } = decode(GOOD + NEXT);
  assert.equal(data, "abc0\r\n\r\n0123456789d");
  assert.equal(end, GOOD.length);
  assert.equal(done, true);
});

test("a body cut at any byte, or at every byte, gives the same", () => {
  const whole = decode(GOOD + NEXT);
  for (let cut = 1; cut < GOOD.length; cut++) {
    assert.deepEqual(decode(GOOD + NEXT, [cut]), whole);
    assert.equal(decode(GOOD.slice(0, cut)).done, false, "it is not done before its last byte");
  }
  const every = Array.from({ length: GOOD.length }, (_, index) => index + 1);
  assert.deepEqual(decode(GOOD + NEXT, every), whole);
});

test("decoding begins at the given offset, and data is handed on as views of the read", () => {
  const decoder = new ChunkedDecoder();
  const bytes = Buffer.from("head2\r\nab\r\n0\r\n\r\nrest", "latin1");
  const runs: unknown[] = [];
  const end = decoder.push(bytes, 4, (...run) => runs.push(run));
  assert.deepEqual(runs, [[bytes, 7, 9]]);
  assert.equal((runs[0] as [Buffer])[0], bytes);
  assert.equal(bytes.latin1Slice(end), "rest");
  assert.equal(
    decoder.push(bytes, end, () => assert.fail()),
    end,
    "once done it takes nothing",
  );
});

const PIECES = ["3", "abc", "2;x=y", "de", "0;z", "T: v", ""];

/** A body with this terminator at the position, CRLF at the other six, and a message behind it. */
function withTerminator(position: number, terminator: string): string {
  const lines = PIECES.map((piece, index) => piece + (index === position ? terminator : "\r\n"));
  return lines.join("") + NEXT;
}

for (const [position, piece] of PIECES.entries()) {
  test(`only CRLF ends line ${position + 1} of 7 (${piece || "the empty one"})`, () => {
    assert.equal(decode(withTerminator(position, "\r\n")).done, true);
    for (const wrong of [
      "\n",
      "\n\n",
      "\x01\n",
      "\r",
      "\r\r\n",
      "\rX",
      "\r\0",
      "\0",
      "\n\r",
      "\0\r\n",
      "\r\0\n",
    ]) {
      const text = withTerminator(position, wrong);
      assert.equal(isRefused(text), true, JSON.stringify(text));
      // One byte a read: the refusal does not depend on what comes with it.
      const every = Array.from({ length: text.length - 1 }, (_, index) => index + 1);
      assert.equal(decode(text, every).end, -1, JSON.stringify(text));
    }
  });
}

test("bytes between the data and its CRLF are never skipped", () => {
  for (const spill of ["X", "XX", "\r", "\r\n\r", " ", "\n"]) {
    assert.equal(isRefused(`2\r\nab${spill}\r\n0\r\n\r\n`), true, JSON.stringify(spill));
  }
  assert.equal(isRefused("3\r\nab\r\n0\r\n\r\n"), true);
});

test("a size is hexadecimal digits and nothing else", () => {
  for (const size of ["1", "01", "00000001"]) {
    assert.equal(decode(`${size}\r\na\r\n0\r\n\r\n`).data, "a", size);
  }
  assert.equal(decode("a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n").data.length, 20);
  const wrong = "|+1|-1|0x1|1 | 1|\t1|1\t|1_0|1,1|1.|g|:|/|@|`|G|\xa01|\xb9|1\0|\v1|1h";
  for (const size of wrong.split("|")) {
    assert.equal(isRefused(`${size}\r\na\r\n0\r\n\r\n`), true, JSON.stringify(size));
  }
});

test("the last chunk is any spelling of zero", () => {
  for (const last of ["0", "00", "00000000", "0;a", '0;a="b"']) {
    assert.equal(decode(`${last}\r\n\r\n`).done, true, last);
  }
  for (const none of ["", ";a", " "]) assert.equal(isRefused(`${none}\r\n\r\n`), true, none);
});

test("extensions follow the grammar, so that nobody sees another end of line", () => {
  const right = [
    ";a",
    ";a=b",
    ';a=""',
    ';a="b c"',
    ';a="\\""',
    ';a="\\\\"',
    ';a="\t\x80\xff"',
    ";a;b=c;d",
    ';a="b";c',
    ";!#$%&'*+-.^_`|~=1",
  ];
  for (const extension of right) {
    assert.equal(decode(`1${extension}\r\na\r\n0\r\n\r\n`).data, "a", extension);
  }
  const wrong = [
    ";",
    ";;a",
    ";a;",
    "; a",
    ";a ",
    ";a =b",
    ";a= b",
    ";a=",
    ";=b",
    ";a=b=c",
    ';"a"',
    ';a="b',
    ';a="b"c',
    ';a="b" ',
    ';a=b"c"',
    ";a\0",
    ";a=\x7f",
    ';a="\0"',
    ';a="\\\0"',
    ';a="\n"',
    ';a="\r\n"',
    ";\x80",
    ";a,b",
  ];
  for (const extension of wrong) {
    assert.equal(isRefused(`1${extension}\r\na\r\n0\r\n\r\n`), true, JSON.stringify(extension));
  }
});

test("trailers are field lines; those that frame or route are refused in any case", () => {
  for (const line of ["a: b", "a:", "a:\t\xff", "x-content-length: 1", "hos: t", "hostt: x"]) {
    assert.equal(decode(`0\r\n${line}\r\n\r\n`).done, true, line);
  }
  const wrong = [
    ": a",
    "a",
    "a : b",
    " a: b",
    "a: b\r\n c",
    "a: \0",
    "a: \x7f",
    "\x80: a",
    "(: a",
    "Content-Length: 3",
    "content-length:3",
    "TRANSFER-ENCODING: chunked",
    "Host: b",
    "a: b\r\nHost: c",
  ];
  for (const line of wrong) {
    assert.equal(isRefused(`0\r\n${line}\r\n\r\n`), true, JSON.stringify(line));
  }
});

test("the bounds: n is taken, n + 1 is refused", () => {
  const size = (digits: number) => `${"1".padStart(digits, "0")}\r\na\r\n0\r\n\r\n`;
  assert.equal(decode(size(LIMITS.chunkSizeDigitsMax)).done, true);
  assert.equal(isRefused(size(LIMITS.chunkSizeDigitsMax + 1)), true);

  // All extensions of a body count together.
  const extensions = (bytes: number) => {
    const half = Math.floor(bytes / 2);
    return `1;${"a".repeat(half)}\r\na\r\n0;${"b".repeat(bytes - half)}\r\n\r\n`;
  };
  assert.equal(decode(extensions(LIMITS.chunkExtensionBytesMax)).done, true);
  assert.equal(isRefused(extensions(LIMITS.chunkExtensionBytesMax + 1)), true);

  const trailers = (bytes: number) => `0\r\na:${"b".repeat(bytes - 6)}\r\n\r\n`;
  assert.equal(decode(trailers(LIMITS.trailerBytesMax)).done, true);
  assert.equal(isRefused(trailers(LIMITS.trailerBytesMax + 1)), true);
  const many = (bytes: number) => `0\r\n${"a:\r\n".repeat(bytes / 4)}\r\n`;
  assert.equal(isRefused(many(LIMITS.trailerBytesMax)), true);
});

test("the largest size is counted down exactly", () => {
  const decoder = new ChunkedDecoder();
  const sizeMax = 16 ** LIMITS.chunkSizeDigitsMax - 1;
  const megabytes = Buffer.alloc(64 * 1024 * 1024);
  let taken = 0;
  const count = (_bytes: Buffer, from: number, to: number) => (taken += to - from);
  decoder.push(Buffer.from("ffffffff\r\n"), 0, count);
  while (sizeMax - taken > megabytes.length) decoder.push(megabytes, 0, count);
  const end = decoder.push(megabytes.subarray(0, sizeMax - taken), 0, count);
  assert.notEqual(end, -1);
  assert.equal(taken, sizeMax);
  assert.equal(decoder.push(Buffer.from("\r\n0\r\n\r\n"), 0, count), 7);
  assert.equal(decoder.done, true);
});
