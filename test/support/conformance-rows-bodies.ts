// Bodies of requests: with a length, without one, too long, cut short, asked for, and answered before
// their end.

import type { Answer, Case, Field } from "./conformance-case.ts";

const LARGE = "0123456789abcde\n".repeat(65_536);
const MAX = 1_000;
const SHORT_MS = 150;
const SMALL = { body_bytes_max: MAX };

const WHOLE: readonly Case[] = [
  ...(["POST", "PUT", "GET", "DELETE", "OPTIONS"] as const).flatMap((method): Case[] => [
    {
      what: `a body with a length, of ${method}`,
      request: { method, body: { text: "some text", length: 9 } },
    },
    {
      what: `a body without a length, of ${method}`,
      request: { method, body: { text: "some text" } },
    },
  ]),
  {
    what: "a length of 0",
    request: { body: { text: "", length: 0 } },
  },
  { what: "an empty body without a length", request: { body: { text: "" } } },
  {
    what: "a large body with a length",
    request: { body: { text: LARGE, length: LARGE.length } },
  },
  { what: "a large body without a length", request: { body: { text: LARGE } } },
  {
    what: "a body that is a request",
    request: { body: { text: "GET /next HTTP/1.1\r\nhost: a\r\n\r\n" } },
  },
  {
    what: "trailers of a request go no further",
    request: { body: { text: "text", trailers: [["x-sum", "4"]] } },
  },
  {
    what: "chunk extensions are dropped",
    request: {
      method: "POST",
      bytes:
        "POST /a HTTP/1.1\r\nhost: api.test\r\ntransfer-encoding: chunked\r\n\r\n" +
        '3;x="y"\r\nabc\r\n02\r\nde\r\n0;z\r\n\r\n',
    },
    origin: { body: "abcde" },
    notOver: { "h2 client": "no chunks" },
  },
  {
    what: "a client that ends its half behind its request",
    request: { halfClose: true },
    closes: true,
    notOver: { "h2 client": "no half-close" },
  },
];

const CHUNKED_HEAD = "POST /a HTTP/1.1\r\nhost: api.test\r\ntransfer-encoding: chunked\r\n\r\n";
const CHUNKS_UNSOUND: readonly (readonly [what: string, bytes: string])[] = [
  ["a negative chunk size", "-1\r\n"],
  ["a chunk size over the limit", "fffffffff\r\n"],
  ["a chunk size over 2^53", "20000000000001\r\n"],
  ["a chunk size of no digits", "\r\n"],
  ["a bare LF after a chunk size", "1\na\r\n0\r\n\r\n"],
  ["a chunk longer than its size", "1\r\nab\r\n"],
  ["a NUL in a chunk extension", "1;a=\0\r\n"],
  ["chunk extensions over the limit", `1;${"x".repeat(20_000)}\r\n`],
  ["a trailer that frames", "1\r\na\r\n0\r\ncontent-length: 1\r\n\r\n"],
];

const REFUSED: readonly Case[] = [
  ...CHUNKS_UNSOUND.map(([what, bytes]): Case => ({
    what,
    request: { method: "POST", bytes: CHUNKED_HEAD + bytes },
    client: "BAD_CHUNK",
    origin: "unfinished",
    notOver: { "h2 client": "no chunks" },
  })),
  {
    what: "a body shorter than its length",
    request: { body: { text: "part", length: 9, then: "end" } },
    client: "BAD_FRAMING",
    origin: "unfinished",
    differs: { "h2 client": { why: "reset by framing", client: "reset", origin: "unfinished" } },
  },
  {
    what: "a body without a length that ends within a chunk",
    request: {
      method: "POST",
      bytes: `${CHUNKED_HEAD}4\r\npa`,
      halfClose: true,
    },
    client: "BAD_FRAMING",
    origin: "unfinished",
    notOver: { "h2 client": "no chunks" },
  },
  {
    what: "a body longer than its length",
    request: { body: { text: "much", length: 2 } },
    client: "reset",
    origin: "unfinished",
    losesSession: true,
    notOver: { "h1 client": "next request" },
  },
  {
    what: "a body that its client takes back",
    request: { body: { text: "part", length: 9, then: "reset" } },
    client: "reset",
    origin: "unfinished",
  },
  {
    what: "a body without a length that its client takes back",
    request: { body: { text: "part", then: "reset" } },
    client: "reset",
    origin: "unfinished",
  },
  {
    what: "a body at its bound",
    request: { body: { text: "a".repeat(MAX), length: MAX } },
    route: SMALL,
  },
  {
    what: "a body that announces more than its bound",
    request: { body: { text: "", length: MAX + 1, then: "nothing" } },
    route: SMALL,
    client: "BODY_TOO_LARGE",
    closes: true,
  },
  {
    what: "a body that grows over its bound",
    request: { body: { text: "a".repeat(MAX + 1) } },
    route: SMALL,
    client: "BODY_TOO_LARGE",
    origin: "unfinished",
    closes: true,
  },
];

const SLOW: readonly Case[] = [
  ...[{ text: "part", length: 9 }, { text: "part" }].map((body): Case => ({
    what: `a body ${body.length === undefined ? "without" : "with"} a length that stops`,
    request: { body: { ...body, then: "nothing" } },
    timeouts: { body_idle_ms: SHORT_MS },
    client: "REQUEST_TIMEOUT",
    origin: "unfinished",
    closes: true,
  })),
  {
    what: "a body that trickles beyond the route's time",
    request: { body: { text: "part", then: "nothing" } },
    route: { timeout_ms: SHORT_MS },
    client: "ROUTE_TIMEOUT",
    origin: "unfinished",
    closes: true,
  },
  {
    what: "a head that stops",
    request: { bytes: "GET / HT" },
    timeouts: { head_ms: SHORT_MS },
    client: "REQUEST_TIMEOUT",
    closes: true,
    notOver: { "h2 client": "no lines" },
  },
];

const EXPECT: readonly Field[] = [["expect", "100-continue"]];
const ASKED: readonly Case[] = [
  {
    what: "a body that waits is asked for",
    request: { fields: EXPECT, body: { text: "body", length: 4, isAskedFor: true } },
    client: { interims: [[100, []]] },
    origin: { fields: [["content-length", "4"]] },
  },
  {
    what: "a body without a length that waits is asked for",
    request: { fields: EXPECT, body: { text: "body", isAskedFor: true } },
    client: { interims: [[100, []]] },
    origin: { fields: [] },
  },
  {
    what: "a body that waits and is not wanted is not asked for",
    request: { fields: EXPECT, body: { text: "body", length: 4, isAskedFor: true } },
    route: { respond: { status: 403, body: "no" } },
    client: { status: 403, fields: [["content-length", "2"]], body: "no" },
    origin: "nothing",
    closes: true,
  },
  {
    what: "an origin that asks for the body as well is heard once",
    request: { fields: EXPECT, body: { text: "body", length: 4, isAskedFor: true } },
    answer: { interims: [{ status: 100 }] },
    client: { interims: [[100, []]] },
    origin: { fields: [["content-length", "4"]] },
  },
];

const ENOUGH: Answer = { when: "head", status: 413, body: { text: "enough", as: "length" } };

const EARLY: readonly Case[] = [
  {
    what: "an answer before the end of a body with a length",
    request: { body: { text: "begin", length: 16 * 1024 * 1024, then: "nothing" } },
    answer: ENOUGH,
    origin: "unfinished",
    closes: true,
  },
  {
    what: "an answer before the end of a body without a length",
    request: { body: { text: "begin", then: "nothing" } },
    answer: ENOUGH,
    origin: "unfinished",
    closes: true,
  },
  {
    what: "an answer of an origin that stops to read",
    request: { body: { text: LARGE.repeat(4), length: 16 * 1024 * 1024, then: "nothing" } },
    answer: { ...ENOUGH, stops: true },
    origin: "unfinished",
    closes: true,
  },
  {
    what: "an early answer without a length",
    request: { body: { text: "begin", then: "nothing" } },
    answer: { ...ENOUGH, body: { text: "enough", as: "open" } },
    origin: "unfinished",
    closes: true,
  },
];

export const BODIES: readonly Case[] = [...WHOLE, ...REFUSED, ...SLOW, ...ASKED, ...EARLY];
