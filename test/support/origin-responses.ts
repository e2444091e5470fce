// What origins answer, sound and unsound, as texts over the wire: rows of the test of the origin's
// edge cases. Texts are Latin-1.

import { LIMITS } from "../../gateway/base/limits.ts";
import { ok } from "./raw.ts";

/** How an origin ends its connection after the response. */
export type Ending = "end" | "resetAndDestroy";

/** A response that is relayed. */
export type RelayedRow = {
  readonly what: string;
  readonly response: string;
  readonly then?: Ending;
  readonly method?: string;
  /** The client's HTTP version. */
  readonly minor?: 0 | 1;
  /** What the client gets, but for date and request id. */
  readonly client: string;
  /** The next request of this client goes over the same connection. */
  readonly isClientKept: boolean;
  /** It reaches the origin over the same connection. */
  readonly isOriginKept: boolean;
};

const KEPT = { isClientKept: true, isOriginKept: true } as const;
const CLIENT_KEPT = { isClientKept: true, isOriginKept: false } as const;
const LINK = "link: </a.css>; rel=preload\r\n";

/** 204 and 304 whatever they say of a body, and with one. */
const BODILESS: readonly RelayedRow[] = [204, 304].flatMap((status): RelayedRow[] => {
  const head = `HTTP/1.1 ${status} x\r\n`;
  return [
    { what: `${status}`, response: `${head}\r\n`, client: `${head}\r\n`, ...KEPT },
    {
      what: `${status} that announces chunks`,
      response: `${head}transfer-encoding: chunked\r\n\r\n`,
      client: `${head}\r\n`,
      ...KEPT,
    },
    {
      what: `${status} with a body in chunks`,
      response: `${head}transfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n`,
      client: `${head}\r\n`,
      ...CLIENT_KEPT,
    },
    {
      what: `${status} with a response for a body`,
      response: `${head}\r\n${ok("forged")}`,
      client: `${head}\r\n`,
      ...CLIENT_KEPT,
    },
  ];
});

/** Responses that are relayed, and as what. */
export const RELAYED: readonly RelayedRow[] = [
  { what: "a declared length", response: ok("hi"), client: ok("hi"), ...KEPT },
  { what: "an empty body", response: ok(""), client: ok(""), ...KEPT },
  {
    what: "a reason of its own",
    response: "HTTP/1.1 599 \xfcber\r\ncontent-length: 0\r\n\r\n",
    client: "HTTP/1.1 599 \xfcber\r\ncontent-length: 0\r\n\r\n",
    ...KEPT,
  },
  {
    what: "fields of the connection",
    response:
      "HTTP/1.1 200 OK\r\nconnection: x-mine\r\nx-mine: 1\r\nkeep-alive: 5\r\nupgrade: h2c\r\n" +
      `x-a: b\r\n${ok("hi").slice(17)}`,
    client: `HTTP/1.1 200 OK\r\nx-a: b\r\n${ok("hi").slice(17)}`,
    ...KEPT,
  },
  // Informational responses.
  { what: "100", response: `HTTP/1.1 100 Continue\r\n\r\n${ok("hi")}`, client: ok("hi"), ...KEPT },
  { what: "102", response: `HTTP/1.1 102 Wait\r\n\r\n${ok("hi")}`, client: ok("hi"), ...KEPT },
  {
    what: "103, of which the links are passed on",
    response: `HTTP/1.1 103 Early Hints\r\n${LINK}set-cookie: a=b\r\n\r\n${ok("hi")}`,
    client: `HTTP/1.1 103 Early Hints\r\n${LINK}\r\n${ok("hi")}`,
    ...KEPT,
  },
  {
    what: "103 for a client that cannot know it",
    response: `HTTP/1.1 103 Early Hints\r\n${LINK}\r\n${ok("hi")}`,
    client: ok("hi").replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n"),
    minor: 0,
    isClientKept: false,
    isOriginKept: true,
  },
  {
    what: "as many of them as are borne",
    response: "HTTP/1.1 100 Continue\r\n\r\n".repeat(LIMITS.interimResponsesMax) + ok("hi"),
    client: ok("hi"),
    ...KEPT,
  },
  // No body, whatever the fields say.
  ...BODILESS,
  {
    what: "304 with the length of what it stands for",
    response: "HTTP/1.1 304 x\r\ncontent-length: 9\r\n\r\n",
    client: "HTTP/1.1 304 x\r\ncontent-length: 9\r\n\r\n",
    ...KEPT,
  },
  {
    what: "an answer to HEAD with a length",
    method: "HEAD",
    response: "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n",
    client: "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n",
    ...KEPT,
  },
  {
    what: "an answer to HEAD that announces chunks",
    method: "HEAD",
    response: "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
    client: "HTTP/1.1 200 OK\r\n\r\n",
    ...KEPT,
  },
  {
    what: "an answer to HEAD without any framing",
    method: "HEAD",
    response: "HTTP/1.1 200 OK\r\n\r\n",
    client: "HTTP/1.1 200 OK\r\n\r\n",
    ...KEPT,
  },
  {
    what: "an answer to HEAD with a body",
    method: "HEAD",
    response: ok("hi"),
    client: "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n",
    ...CLIENT_KEPT,
  },
  // Chunks.
  {
    what: "chunks, their extensions and trailers dropped",
    response:
      "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-a\r\n\r\n" +
      "1;a=b\r\nh\r\n001\r\ni\r\n0\r\nx-a: b\r\n\r\n",
    client: `HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nh\r\n1\r\ni\r\n0\r\n\r\n`,
    ...KEPT,
  },
  {
    what: "chunks for a client that cannot know them",
    response: `HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nh\r\n1\r\ni\r\n0\r\n\r\n`,
    client: `HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nhi`,
    minor: 0,
    isClientKept: false,
    isOriginKept: true,
  },
  // The end of the connection as the end of the body, or beside it.
  {
    what: "a body ended by close",
    response: "HTTP/1.1 200 OK\r\n\r\nhi",
    then: "end",
    client: "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nhi",
    isClientKept: false,
    isOriginKept: false,
  },
  {
    what: "an origin that closes after it",
    response: ok("hi"),
    then: "end",
    client: ok("hi"),
    ...CLIENT_KEPT,
  },
  {
    what: "Connection: close",
    response: `HTTP/1.1 200 OK\r\nconnection: close\r\n${ok("hi").slice(17)}`,
    client: ok("hi"),
    ...CLIENT_KEPT,
  },
  { what: "HTTP/1.0", response: ok("hi").replace("1.1", "1.0"), client: ok("hi"), ...CLIENT_KEPT },
  // Bytes after the response.
  { what: "a byte too many", response: `${ok("hi")}x`, client: ok("hi"), ...CLIENT_KEPT },
  {
    what: "a response too many",
    response: ok("hi") + ok("forged"),
    client: ok("hi"),
    ...CLIENT_KEPT,
  },
  {
    what: "a response after the last chunk",
    response: `HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n${ok("forged")}`,
    client: "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    ...CLIENT_KEPT,
  },
];

/** A response that is not relayed, or not to its end. */
export type UnsoundRow = readonly [what: string, response: string, then?: Ending];

const CHUNKED = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
/** Responses that cannot be trusted to any client. */
export const BAD: readonly UnsoundRow[] = [
  ["101 unasked", "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n"],
  [
    "one informational response too many",
    "HTTP/1.1 100 Continue\r\n\r\n".repeat(LIMITS.interimResponsesMax + 1) + ok("hi"),
  ],
  [
    "Content-Length and Transfer-Encoding",
    "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n" +
      "2\r\nhi\r\n0\r\n\r\n",
  ],
  ["two lengths", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nhi!"],
  ["two equal lengths", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\nhi"],
  ["a list of lengths", "HTTP/1.1 200 OK\r\ncontent-length: 2, 2\r\n\r\nhi"],
  ["a negative length", "HTTP/1.1 200 OK\r\ncontent-length: -2\r\n\r\nhi"],
  ["an unknown coding", "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n"],
  ["a coding on HTTP/1.0", CHUNKED.replace("1.1", "1.0")],
  ["a NUL in a header", `HTTP/1.1 200 OK\r\nx-a: \0\r\n${ok("hi").slice(17)}`],
  ["a bare CR in a header", `HTTP/1.1 200 OK\r\nx-a: a\rb\r\n${ok("hi").slice(17)}`],
  ["a bare LF in the head", `HTTP/1.1 200 OK\nx-a: b\r\n${ok("hi").slice(17)}`],
  ["a space before a colon", `HTTP/1.1 200 OK\r\nx-a : b\r\n${ok("hi").slice(17)}`],
  ["a folded line", `HTTP/1.1 200 OK\r\nx-a: b\r\n c\r\n${ok("hi").slice(17)}`],
  ["HTTP/2.0", ok("hi").replace("1.1", "2.0")],
  ["another protocol", "SSH-2.0-OpenSSH_9.2\r\n"],
  ["a status of four digits", ok("hi").replace("200", "2000")],
  ["status 0", ok("hi").replace("200", "000")],
  [
    "too many fields",
    `HTTP/1.1 200 OK\r\n${"x:\r\n".repeat(LIMITS.responseHeadersMax)}${ok("hi").slice(17)}`,
  ],
  ["a head without end", `HTTP/1.1 200 OK\r\nx: ${"a".repeat(LIMITS.responseHeadBytesMax)}`],
  ["nothing, and the end", "", "end"],
  ["nothing, and a reset", "", "resetAndDestroy"],
  ["half a head, and the end", "HTTP/1.1 200 OK\r\ncontent-le", "end"],
  ["100 alone, and the end", "HTTP/1.1 100 Continue\r\n\r\n", "end"],
];

/** Responses whose head is sound and whose body is not. */
export const CUT: readonly UnsoundRow[] = [
  ["a body shorter than its length", "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\npart", "end"],
  [
    "a reset within the body",
    "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\npart",
    "resetAndDestroy",
  ],
  ["chunks without the last one", `${CHUNKED}4\r\npart\r\n`, "end"],
  ["an end within a chunk", `${CHUNKED}9\r\npart`, "end"],
  ["an end within the trailers", `${CHUNKED}4\r\npart\r\n0\r\nx-a: b\r\n`, "end"],
  ["a chunk that is longer than its size", `${CHUNKED}4\r\npartial\r\n0\r\n\r\n`],
  ["a size that is none", `${CHUNKED}4\r\npart\r\n-1\r\n\r\n`],
  ["a bare LF after a size", `${CHUNKED}4\r\npart\r\n0\n\r\n`],
  ["a trailer that frames", `${CHUNKED}4\r\npart\r\n0\r\ncontent-length: 4\r\n\r\n`],
  ["a reset of a body that ends by close", "HTTP/1.1 200 OK\r\n\r\npart", "resetAndDestroy"],
];
