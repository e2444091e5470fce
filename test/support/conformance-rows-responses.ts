// Responses: which are relayed and as what, which are a bad gateway, which are cut. The bytes that
// HTTP/1.1 makes of them are in test/integration/origin-edge-cases.test.ts.

import { LIMITS } from "../../gateway/base/limits.ts";
import type { Answer, Case, Field } from "./conformance-case.ts";

const LARGE = "0123456789abcde\n".repeat(65_536);
const LINK: Field = ["link", "</a.css>; rel=preload"];
const HI = { text: "hi", as: "length" } as const;
const OPEN = { text: "hi", as: "open" } as const;

const RELAYED: readonly Case[] = [
  { what: "a declared length", answer: { body: HI } },
  { what: "a declared length of 0", answer: { body: { text: "", as: "length" } } },
  { what: "a body without a length", answer: { body: OPEN } },
  { what: "an empty answer without a length", answer: { body: { text: "", as: "open" } } },
  { what: "a large body with its length", answer: { body: { text: LARGE, as: "length" } } },
  { what: "a large body without its length", answer: { body: { text: LARGE, as: "open" } } },
  {
    what: "a body ended by close",
    answer: { body: { text: "hi", as: "close" } },
    closes: true,
    notOver: { "h2 origin": "no end by close" },
  },
  ...[200, 201, 206, 301, 404, 418, 500, 503, 599].map((status): Case => ({
    what: `status ${status}`,
    answer: { status, body: HI },
  })),
  {
    what: "fields, in order and however often",
    answer: {
      fields: [
        ["set-cookie", "a=1"],
        ["x-own", ""],
        ["set-cookie", "b=2"],
        ["server", "origin"],
        ["x-latin", "\xfcber"],
        ["x_own", "1"],
      ],
    },
  },
  {
    what: "an origin's request id is not the client's",
    answer: {
      fields: [
        ["x-request-id", "its-own"],
        ["x-own", "1"],
      ],
    },
    client: {
      fields: [
        ["x-own", "1"],
        ["content-length", "5"],
      ],
    },
  },
  ...(
    [
      ["connection", "close"],
      ["keep-alive", "timeout=5"],
      ["proxy-connection", "close"],
      ["upgrade", "h2c"],
    ] as const
  ).map(([name, value]): Case => ({
    what: `an origin's ${name} stays on its connection`,
    answer: { fields: [[name, value]] },
    client: { fields: [["content-length", "5"]] },
    differs: {
      "h2 origin": { why: "no connection fields", client: "UPSTREAM_BAD_RESPONSE" },
    },
  })),
  {
    what: "what an origin's Connection nominates stays",
    answer: {
      fields: [
        ["connection", "x-mine"],
        ["x-mine", "1"],
        ["x-own", "1"],
      ],
    },
    client: {
      fields: [
        ["x-own", "1"],
        ["content-length", "5"],
      ],
    },
    differs: {
      "h2 origin": { why: "no connection fields", client: "UPSTREAM_BAD_RESPONSE" },
    },
  },
  {
    what: "trailers of a response",
    request: { fields: [["te", "trailers"]] },
    answer: { body: OPEN, trailers: [["x-sum", "2"]] },
    origin: { fields: [["te", "trailers"]] },
    differs: {
      "h1 origin": { why: "no trailers", client: { trailers: [] }, origin: { fields: [] } },
    },
  },
  {
    what: "trailers that nobody asked for",
    answer: { body: OPEN, trailers: [["x-sum", "2"]] },
  },
];

const INTERIM: readonly Case[] = [
  { what: "100 is not passed on", answer: { interims: [{ status: 100 }] } },
  { what: "102 is not passed on", answer: { interims: [{ status: 102 }] } },
  {
    what: "103 is passed on",
    answer: { interims: [{ status: 103, fields: [LINK] }] },
  },
  {
    what: "of 103 only the links",
    answer: { interims: [{ status: 103, fields: [LINK, ["set-cookie", "a=b"], LINK] }] },
    client: { interims: [[103, [LINK, LINK]]] },
  },
  {
    what: "as many informational responses as are borne",
    answer: {
      interims: Array.from({ length: LIMITS.interimResponsesMax }, () => ({ status: 102 })),
    },
  },
  {
    what: "one informational response too many",
    answer: {
      interims: Array.from({ length: LIMITS.interimResponsesMax + 1 }, () => ({ status: 102 })),
    },
    client: "UPSTREAM_BAD_RESPONSE",
  },
  {
    what: "101 that nobody asked for",
    answer: {
      interims: [{ status: 101, fields: [["x-own", "1"]] }],
      status: null,
      then: "nothing",
    },
    client: "UPSTREAM_BAD_RESPONSE",
  },
];

const BODILESS: readonly Case[] = [
  ...[204, 304].flatMap((status): Case[] => [
    { what: `${status}`, answer: { status, body: null } },
    {
      what: `${status} with a body`,
      answer: { status, body: OPEN },
      client: { body: "" },
      notOver: { "h2 origin": "no body by status" },
    },
  ]),
  {
    what: "204 that declares a length",
    answer: { status: 204, fields: [["content-length", "0"]], body: null },
    client: { fields: [] },
  },
  {
    what: "304 with the length of what it stands for",
    answer: { status: 304, fields: [["content-length", "9"]], body: null },
  },
  {
    what: "an answer to HEAD with a length",
    request: { method: "HEAD" },
    answer: { fields: [["content-length", "9"]], body: null },
  },
  {
    what: "an answer to HEAD without any framing",
    request: { method: "HEAD" },
    answer: { body: null },
  },
  {
    what: "an answer to HEAD with a body",
    request: { method: "HEAD" },
    answer: { body: HI },
    notOver: { "h2 origin": "no body by status" },
  },
  {
    what: "an answer to HEAD that is made here",
    request: { method: "HEAD" },
    route: { respond: { status: 403, body: "no" } },
    client: { status: 403, fields: [["content-length", "2"]], body: "" },
    origin: "nothing",
  },
];

const FIELDS_UNSOUND: readonly (readonly [what: string, field: Field])[] = [
  ["a NUL in a value", ["x-own", "\0"]],
  ["a bare CR in a value", ["x-own", "a\rb"]],
  ["a bare LF in a value", ["x-own", "a\nb"]],
  ["a folded line", ["x-own", "a\r\n b"]],
  ["a space before a colon", ["x-own ", "a"]],
  ["a name of nothing", ["", "a"]],
];

const HEADS_UNSOUND: readonly (readonly [what: string, fields: readonly Field[]])[] = [
  ["too many fields", Array.from({ length: LIMITS.responseHeadersMax }, (): Field => ["x", ""])],
  ["a head over the limit", [["x", "a".repeat(LIMITS.responseHeadBytesMax)]]],
  ["an unknown coding", [["transfer-encoding", "gzip, chunked"]]],
];

const LENGTHS_UNSOUND: readonly (readonly [what: string, values: readonly string[]])[] = [
  ["two equal lengths", ["2", "2"]],
  ["two different lengths", ["2", "3"]],
  ["a list of lengths", ["2, 2"]],
  ["a negative length", ["-2"]],
  ["a length with a sign", ["+2"]],
  ["a length of nothing", [""]],
  ["a length over 2^53", ["9007199254740993"]],
];

const BAD: readonly Case[] = [
  ...FIELDS_UNSOUND.map(([what, field]): Case => ({
    what: `a response with ${what}`,
    answer: { fields: [field], body: HI },
    client: "UPSTREAM_BAD_RESPONSE",
    differs: {
      "h2 origin": {
        why: "left out by framing",
        client: { fields: [["content-length", "2"]] },
      },
    },
  })),
  ...HEADS_UNSOUND.map(([what, fields]): Case => ({
    what: `a response with ${what}`,
    answer: { fields, body: HI },
    client: "UPSTREAM_BAD_RESPONSE",
  })),
  ...LENGTHS_UNSOUND.map(([what, values]): Case => ({
    what: `a response with ${what}`,
    answer: {
      fields: values.map((value): Field => ["content-length", value]),
      body: { text: "hi", as: "close" },
    },
    client: "UPSTREAM_BAD_RESPONSE",
  })),
  ...["2000", "000", "20", "2x0", "600"].map((status): Case => ({
    what: `the status ${status}`,
    answer: { status, body: HI },
    client: "UPSTREAM_BAD_RESPONSE",
  })),
  {
    what: "a response with a length and in chunks",
    answer: { fields: [["transfer-encoding", "chunked"]], body: HI },
    client: "UPSTREAM_BAD_RESPONSE",
  },
  {
    what: "a response without a status",
    answer: { status: "", fields: [["x-own", "1"]], body: HI },
    client: "UPSTREAM_BAD_RESPONSE",
  },
  {
    what: "a name in upper case in a response",
    answer: { fields: [["X-Own", "1"]] },
    client: {
      fields: [
        ["x-own", "1"],
        ["content-length", "5"],
      ],
    },
    differs: { "h2 origin": { why: "lower case only", client: "UPSTREAM_BAD_RESPONSE" } },
  },
  ...(
    [
      ["HTTP/2.0 of a response", "HTTP/2.0 200 x\r\ncontent-length: 0\r\n\r\n"],
      ["a bare LF in the head of a response", "HTTP/1.1 200 x\nx: y\r\n\r\n"],
      ["another protocol", "SSH-2.0-OpenSSH_9.2\r\n"],
      ["chunks on HTTP/1.0", "HTTP/1.0 200 x\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"],
    ] as const
  ).map(([what, bytes]): Case => ({
    what,
    answer: { bytes },
    client: "UPSTREAM_BAD_RESPONSE",
    notOver: { "h2 origin": "no lines" },
  })),
];

/** Bodies that end before they should. */
const CUT: readonly (readonly [what: string, answer: Answer])[] = [
  ["shorter than its length", { body: { text: "part", as: "length", length: 9 }, then: "end" }],
  [
    "with a length, and a reset",
    { body: { text: "part", as: "length", length: 9 }, then: "reset" },
  ],
  [
    "with a length, and no origin",
    { body: { text: "part", as: "length", length: 9 }, then: "gone" },
  ],
  ["without a length, and a reset", { body: { text: "part", as: "open" }, then: "reset" }],
  ["without a length, and no origin", { body: { text: "part", as: "open" }, then: "gone" }],
  ["ended by close, and a reset", { body: { text: "part", as: "close" }, then: "reset" }],
];

const ENDS: readonly Case[] = [
  ...CUT.map(([what, answer]): Case => ({
    what: `a body ${what}, is never passed off as whole`,
    answer,
    ...(answer.body?.as === "close"
      ? { closes: true, notOver: { "h2 origin": "no end by close" } }
      : {}),
  })),
  {
    what: "a body of chunks without the last one is never passed off as whole",
    answer: { body: { text: "part", as: "open" }, then: "end" },
    notOver: { "h2 origin": "no chunks" },
  },
  {
    what: "bytes after a response go no further",
    answer: { body: { text: "hi!", as: "length", length: 2 } },
    client: { body: "hi" },
    differs: { "h2 origin": { why: "reset by framing", client: "reset", origin: {} } },
  },
];

export const RESPONSES: readonly Case[] = [...RELAYED, ...INTERIM, ...BODILESS, ...BAD, ...ENDS];
