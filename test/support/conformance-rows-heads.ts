// Heads of requests: what is refused before anything of it reaches an origin, and which fields of what is
// accepted go on.

import { LIMITS } from "../../gateway/base/limits.ts";
import type { Case, Field, Reason, Wanted } from "./conformance-case.ts";

/** node:http2 or nghttp2 resets the stream before the gateway hears of it. */
function reset(why: Reason): { "h2 client": Wanted & { why: Reason } } {
  return { "h2 client": { why, client: "reset", origin: "nothing", closes: false } };
}

/** A field that no message may have. */
const FIELDS_UNSOUND: readonly (readonly [what: string, field: Field])[] = [
  ["a space before the colon", ["x ", "1"]],
  ["a space in a name", ["x y", "1"]],
  ["a name of nothing", ["", "1"]],
  ["a name in quotes", ['"x"', "1"]],
  ["a name beyond ASCII", ["x\xe9", "1"]],
  ["a NUL in a name", ["x\0", "1"]],
  ["a folded line", ["x", "1\r\n 2"]],
  ["a bare LF in a value", ["x", "1\n2"]],
  ["a bare CR in a value", ["x", "1\r2"]],
  ["a NUL in a value", ["x", "1\x002"]],
  ["ESC in a value", ["x", "1\x1b[2J"]],
  ["DEL in a value", ["x", "1\x7f"]],
];

const LENGTHS_UNSOUND: readonly (readonly [what: string, values: readonly string[]])[] = [
  ["two equal lengths", ["1", "1"]],
  ["two different lengths", ["1", "2"]],
  ["a length with a sign", ["+1"]],
  ["a negative length", ["-1"]],
  ["a hexadecimal length", ["0x1"]],
  ["a list of lengths", ["1,1"]],
  ["a length of nothing", [""]],
  ["a length over 2^53", ["9007199254740993"]],
  ["a length with a fraction", ["1.0"]],
];

const FRAMING: readonly Case[] = [
  ...LENGTHS_UNSOUND.map(([what, values]): Case => ({
    what,
    request: { method: "POST", fields: values.map((value): Field => ["content-length", value]) },
    client: "BAD_FRAMING",
    differs: reset("reset by framing"),
  })),
  {
    what: "Content-Length and Transfer-Encoding",
    request: {
      method: "POST",
      fields: [
        ["content-length", "3"],
        ["transfer-encoding", "chunked"],
      ],
    },
    client: "BAD_FRAMING",
    differs: reset("no connection fields"),
  },
  ...(
    [
      ["xchunked", "UNKNOWN_TRANSFER_CODING"],
      ["gzip, chunked", "UNKNOWN_TRANSFER_CODING"],
      ["identity", "UNKNOWN_TRANSFER_CODING"],
      ["chunked, chunked", "BAD_FRAMING"],
      ["", "BAD_FRAMING"],
    ] as const
  ).map(([value, client]): Case => ({
    what: `Transfer-Encoding ${JSON.stringify(value)}`,
    request: { method: "POST", fields: [["transfer-encoding", value]] },
    client,
    differs: reset("no connection fields"),
  })),
  {
    what: "Transfer-Encoding twice",
    request: {
      method: "POST",
      fields: [
        ["transfer-encoding", "chunked"],
        ["transfer-encoding", "chunked"],
      ],
    },
    client: "BAD_FRAMING",
    differs: reset("no connection fields"),
  },
];

/** What is spelt wrong around the fields. */
const LINES: readonly Case[] = [
  [
    "Transfer-Encoding on HTTP/1.0",
    "POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n",
    "BAD_FRAMING",
  ],
  ["an empty line first", "\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n", "BAD_HEAD"],
  ["a bare LF, at once", "GET / HTTP/1.1\n", "BAD_HEAD"],
  ["a bare CR, at once", "GET / HTTP/1.1\r\nhost: a\r\nx: a\rb", "BAD_HEAD"],
  ["a NUL, at once", "GET / HTTP/1.1\r\nhost: a\r\nx: a\0", "BAD_HEAD"],
  ["no colon", "GET / HTTP/1.1\r\nhost: a\r\nx\r\n\r\n", "BAD_HEAD"],
  ["a space too many", "GET /a b HTTP/1.1\r\nhost: a\r\n\r\n", "BAD_HEAD"],
].map(([what, bytes, client]): Case => ({
  what,
  request: { bytes },
  client: client as "BAD_HEAD",
  notOver: { "h2 client": "no lines" },
}));

const VERSIONS: readonly Case[] = [
  ["HTTP/2.0 in the request line", "GET / HTTP/2.0\r\nhost: a\r\n\r\n", "VERSION_NOT_SUPPORTED"],
  ["HTTP/1.2", "GET / HTTP/1.2\r\nhost: a\r\n\r\n", "VERSION_NOT_SUPPORTED"],
  ["a version in lower case", "GET / http/1.1\r\nhost: a\r\n\r\n", "BAD_HEAD"],
  ["HTTP/0.9", "GET /\r\n\r\n", "BAD_HEAD"],
].map(([what, bytes, client]): Case => ({
  what,
  request: { bytes },
  client: client as "BAD_HEAD",
  notOver: { "h2 client": "no version" },
}));

const PSEUDO: readonly Field[] = [
  [":method", "GET"],
  [":scheme", "http"],
  [":path", "/a"],
  [":authority", "api.test"],
];
const without = (name: string) => PSEUDO.filter((field) => field[0] !== name);

/** Header blocks of HTTP/2 that are no requests. */
const BLOCKS: readonly Case[] = (
  [
    ["no :method", without(":method")],
    ["no :scheme", without(":scheme")],
    ["no :path", without(":path")],
    ["two :method", [...PSEUDO, [":method", "POST"]]],
    ["two :path", [...PSEUDO, [":path", "/b"]]],
    ["two :authority", [...PSEUDO, [":authority", "b.test"]]],
    ["an unknown pseudo field", [...PSEUDO, [":version", "2"]]],
    [":status in a request", [...PSEUDO, [":status", "200"]]],
    ["a pseudo field behind a field", [...without(":path"), ["x", "1"], [":path", "/a"]]],
    ["an empty :path", [...without(":path"), [":path", ""]]],
    ["an empty :method", [...without(":method"), [":method", ""]]],
    [":protocol without CONNECT", [...PSEUDO, [":protocol", "websocket"]]],
    ["te other than trailers", [...PSEUDO, ["te", "gzip"]]],
  ] as const
).map(([what, block]): Case => ({
  what,
  request: { block },
  client: "reset",
  notOver: { "h1 client": what.startsWith("te ") ? "no connection fields" : "no pseudo fields" },
}));

const REFUSED: readonly Case[] = [
  ...FIELDS_UNSOUND.map(([what, field]): Case => ({
    what,
    request: { fields: [field] },
    client: "BAD_HEAD",
    differs: {
      "h2 client": {
        why: "left out by framing",
        client: {},
        origin: { fields: [] },
        closes: false,
      },
    },
  })),
  ...(["CONNECT", "TRACE", "FROB", "get"] as const).map((method): Case => ({
    what: `the method ${method}`,
    request: { method },
    client: "METHOD_NOT_SUPPORTED",
    ...(method === "CONNECT" ? { differs: reset("reset by framing") } : {}),
  })),
  {
    what: "an expectation that nobody knows",
    request: { fields: [["expect", "more"]] },
    client: "EXPECTATION_FAILED",
  },
  {
    what: "the expectation twice",
    request: {
      fields: [
        ["expect", "100-continue"],
        ["expect", "100-continue"],
      ],
    },
    client: "EXPECTATION_FAILED",
  },
  {
    what: "too many fields",
    request: { fields: Array.from({ length: 200 }, (_, i): Field => [`x-${i}`, "1"]) },
    client: "HEAD_TOO_LARGE",
    differs: reset("own limits"),
  },
  {
    what: "a head over the limit",
    request: { fields: [["x", "a".repeat(LIMITS.headBytesMax)]] },
    client: "HEAD_TOO_LARGE",
    differs: reset("own limits"),
  },
];

const CONNECTION_ONLY: readonly Field[] = [
  ["connection", "x-mine"],
  ["keep-alive", "timeout=5"],
  ["proxy-connection", "keep-alive"],
  ["upgrade", "h2c"],
  ["http2-settings", "AAMAAABkAARAAAAAAAIAAAAA"],
];

const FORWARDED: readonly Case[] = [
  {
    what: "fields of no meaning here go on, in order and however often",
    request: {
      fields: [
        ["x-b", "1"],
        ["x-a", ""],
        ["x-b", "2"],
        ["accept", "*/*"],
        ["x-latin", "\xfcber"],
        ["authorization", "Bearer t"],
      ],
    },
  },
  ...CONNECTION_ONLY.map(([name, value]): Case => ({
    what: `${name} stays on its connection`,
    request: {
      fields: [
        [name, value],
        ["x-kept", "1"],
      ],
    },
    origin: { fields: [["x-kept", "1"]] },
    differs: {
      "h2 client": {
        why: "no connection fields",
        // Of no meaning any more, so nghttp2 does not know it.
        client: name === "http2-settings" ? "BAD_HEAD" : "reset",
        origin: "nothing",
        closes: false,
      },
    },
  })),
  {
    what: "what Connection nominates stays, credentials go on",
    request: {
      fields: [
        ["connection", "host, authorization, x-mine"],
        ["x-mine", "1"],
        ["authorization", "Bearer t"],
      ],
    },
    origin: { fields: [["authorization", "Bearer t"]] },
    differs: reset("no connection fields"),
  },
  {
    what: "credentials for a proxy, the end of hops and an answered expectation stay here",
    request: {
      fields: [
        ["proxy-authorization", "Basic x"],
        ["proxy-authenticate", "Basic"],
        ["trailer", "x-sum"],
        ["expect", "100-continue"],
        ["x-kept", "1"],
      ],
    },
    origin: { fields: [["x-kept", "1"]] },
  },
  {
    what: "the client's word about itself and its proxies is replaced",
    request: {
      fields: [
        ["x-forwarded-for", "6.6.6.6"],
        ["x-forwarded-proto", "https"],
        ["x-forwarded-host", "evil.test"],
        ["x-forwarded-port", "1"],
        ["x-forwarded-client-cert", "x"],
        ["forwarded", "for=6.6.6.6"],
        ["x-real-ip", "6.6.6.6"],
        ["traceparent", "00-x"],
        ["x-request-id", "not sane"],
        ["x-kept", "1"],
      ],
    },
    origin: { fields: [["x-kept", "1"]] },
  },
  {
    what: "names with an underscore go no further",
    request: {
      fields: [
        ["x_real_ip", "6.6.6.6"],
        ["content_length", "5"],
        ["x-kept", "1"],
      ],
    },
    origin: { fields: [["x-kept", "1"]] },
  },
  {
    what: "a name in upper case is another spelling",
    request: { fields: [["X-Own", "1"]] },
    origin: { fields: [["x-own", "1"]] },
    differs: reset("lower case only"),
  },
  {
    what: "blanks around a value are not part of it",
    request: { fields: [["x-own", " \t1\t "]] },
    origin: { fields: [["x-own", "1"]] },
    differs: { "h2 client": { why: "left out by framing", origin: { fields: [] } } },
  },
  {
    what: "crumbs of a cookie are one field",
    request: {
      fields: [
        ["cookie", "one=1"],
        ["cookie", "two=2"],
      ],
    },
    origin: { fields: [["cookie", "one=1; two=2"]] },
    notOver: { "h1 client": "no lines" },
  },
  {
    what: "that trailers are understood is said to who can send them",
    request: { fields: [["te", "trailers"]] },
    origin: { fields: [["te", "trailers"]] },
    differs: { "h1 origin": { why: "no trailers", origin: { fields: [] } } },
  },
  {
    what: "a request id that is sane is kept",
    request: { fields: [["x-request-id", "sane-1"]] },
    origin: { fields: [] },
  },
  ...["OPTIONS", "DELETE", "PUT", "PATCH", "PROPFIND", "QUERY"].map((method): Case => ({
    what: `the method ${method} without a body`,
    request: { method },
  })),
];

export const HEADS: readonly Case[] = [
  ...FRAMING,
  ...LINES,
  ...VERSIONS,
  ...BLOCKS,
  ...REFUSED,
  ...FORWARDED,
];
