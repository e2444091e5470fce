// What H2Grammar makes messages of: fields that are right and fields that are not, bodies, and header
// blocks that are none. Texts are Latin-1.

import { integer } from "../support/hpack.ts";
import type { Field } from "../support/hpack.ts";

export const BODIES = ["", "abc", "0\r\n\r\n", "d".repeat(50), "e".repeat(3_000)];
export const BODY_BIG = "y".repeat(20_000);
export const METHODS = ["GET", "GET", "GET", "HEAD", "POST", "POST", "PUT", "OPTIONS", "DELETE"];
export const STATUSES = ["200", "200", "200", "204", "304", "404", "503", "599"];
export const STATUSES_ODD = ["", "20", "2000", "099", "600", "abc", "101", "2 0"];
export const AUTHORITIES = ["a", "a.example", "b.example:81", "[::1]:80"];

export const PLAIN_FIELDS: readonly Field[] = [
  ["x-a", "b"],
  ["x-b", "c d"],
  ["x-a", "\x80\xff"],
  ["accept", ""],
  ["accept-encoding", "gzip, deflate"],
  ["cookie", "a=b"],
  ["cookie", "c=d"],
  ["te", "trailers"],
  ["x-b", "a".repeat(300)],
  ["x_a", "b"],
];
/** What must not cross, or makes a message malformed. */
export const SHARP_FIELDS: readonly Field[] = [
  ["connection", "close"],
  ["transfer-encoding", "chunked"],
  ["upgrade", "h2c"],
  ["keep-alive", "timeout=5"],
  ["proxy-connection", "keep-alive"],
  ["te", "gzip"],
  ["content-length", "3"],
  ["content-length", "03"],
  ["content-length", "3, 3"],
  ["content-length", "-1"],
  ["content-length", "18446744073709551619"],
  ["host", "a"],
  ["host", "b"],
  ["expect", "100-continue"],
  ["trailer", "x-a"],
  ["X-A", "b"],
  ["x-a ", "b"],
  ["x a", "b"],
  ["x-a\0", "b"],
  ["x-a:", "b"],
  ["", "b"],
  [":", "b"],
  ["x-a", "b\r\nx-c: d"],
  ["x-a", "b\nc"],
  ["x-a", "b\0c"],
  ["x-a", " b "],
  ["x-a", "\x7f"],
  [":path", "/a"],
  [":status", "200"],
  [":protocol", "websocket"],
  [":unknown", "a"],
  [":method", "get"],
  [":authority", "b"],
  ["x-forwarded-for", "1.2.3.4"],
  ["sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="],
  ["http2-settings", "AAMAAABkAAQAAP__"],
];
export const TRAILERS: readonly Field[] = [
  ["x-t", "u"],
  ["grpc-status", "0"],
];
/** Indices that are in no table, sizes that are too large, texts that end beyond the block. */
export const BROKEN_BLOCKS: readonly Buffer[] = [
  Buffer.of(0x80),
  integer(200, 7, 0x80),
  integer(2 ** 31, 7, 0x80),
  integer(8_192, 5, 0x20),
  Buffer.of(0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff),
  Buffer.of(0x00, 0x7f, 0xff, 0xff, 0x7f),
  Buffer.of(0x00, 0x81, 0x00, 0x00),
  Buffer.of(0x40, 0x84, 0xff, 0xff, 0xff, 0xff, 0x00),
  Buffer.of(0x40),
];
