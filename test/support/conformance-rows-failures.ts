// Origins that fail before they answer, requests that are sent once more, and refusals that gRPC clients
// understand.

import { ERRORS } from "../../gateway/base/errors.ts";
import type { Answer, Case, Field } from "./conformance-case.ts";

const SHORT_MS = 150;
/** Long enough for the request to reach the origin. */
const ROUTE_MS = 500;
const GONE: Answer = { status: null, then: "gone" };
const RESET: Answer = { status: null, then: "reset" };
const SILENT: Answer = { status: null, then: "nothing" };
const SECOND: Answer = { body: { text: "second", as: "length" } };
const TWICE = [{}, {}] as const;

const UNANSWERED: readonly Case[] = [
  {
    what: "an origin that is not there",
    upstream: { targets: [{ address: "127.0.0.1:1" }] },
    client: "UPSTREAM_CONNECT",
    origin: "nothing",
  },
  { what: "nothing, and no origin", answer: GONE, client: "UPSTREAM_RESET" },
  { what: "nothing, and a reset", answer: RESET, client: "UPSTREAM_RESET" },
  {
    what: "100 alone, and no origin",
    answer: { ...GONE, interims: [{ status: 100 }] },
    client: "UPSTREAM_RESET",
  },
  {
    what: "an origin that does not begin to answer",
    answer: SILENT,
    upstream: { timeouts: { first_byte_ms: SHORT_MS } },
    client: "UPSTREAM_TIMEOUT",
  },
  {
    what: "an origin that does not begin to answer within the route's time",
    isReused: true,
    answer: SILENT,
    route: { timeout_ms: ROUTE_MS },
    client: "ROUTE_TIMEOUT",
  },
  {
    what: "an origin that stops within its body",
    answer: { body: { text: "part", as: "length", length: 9 }, then: "nothing" },
    upstream: { timeouts: { idle_ms: SHORT_MS } },
    client: { isCut: true },
  },
];

const STALE: readonly Case[] = [GONE, RESET].flatMap((end): Case[] => {
  const how = end === GONE ? "lost" : "reset";
  return [
    ...["GET", "HEAD", "DELETE", "OPTIONS", "PUT"].map((method): Case => ({
      what: `a reused connection that is ${how} under ${method}: it is sent once more`,
      request: { method },
      isReused: true,
      answer: [end, SECOND],
      origin: TWICE,
    })),
    ...["POST", "PATCH"].map((method): Case => ({
      what: `a reused connection that is ${how} under ${method}: it is not sent twice`,
      request: { method },
      isReused: true,
      answer: [end, SECOND],
      client: "UPSTREAM_RESET",
    })),
    {
      what: `a reused connection that is ${how} under a body: it is not sent twice`,
      request: { method: "PUT", body: { text: "body", length: 4 } },
      isReused: true,
      answer: [end, SECOND],
      client: "UPSTREAM_RESET",
    },
    {
      what: `a new connection that is ${how}: the request is not sent again`,
      answer: [end, SECOND],
      client: "UPSTREAM_RESET",
    },
    {
      what: `a reused connection that is ${how}, and the new one as well`,
      isReused: true,
      answer: [end, end, SECOND],
      client: "UPSTREAM_RESET",
      origin: TWICE,
    },
    {
      what: `a route that tries again when the connection is ${how}`,
      route: { retries: { attempts: 1, on: ["reset-before-headers"] } },
      answer: [end, SECOND],
      origin: TWICE,
    },
  ];
});

const RETRIED: readonly Case[] = [
  {
    what: "a route that tries again on 503",
    route: { retries: { attempts: 1, on: ["503"] } },
    answer: [{ status: 503 }, SECOND],
    origin: TWICE,
  },
  {
    what: "503 of a request that may not be repeated",
    request: { method: "POST" },
    route: { retries: { attempts: 1, on: ["503"] } },
    answer: [{ status: 503 }, SECOND],
    client: { status: 503, body: "hello", fields: [["content-length", "5"]] },
  },
  {
    what: "503 of a request with a body",
    request: { method: "PUT", body: { text: "body" } },
    route: { retries: { attempts: 1, on: ["503"] } },
    answer: [{ status: 503 }, SECOND],
    client: { status: 503, body: "hello", fields: [["content-length", "5"]] },
  },
];

const GRPC: Field = ["content-type", "application/grpc"];
function refusedCall(row: Omit<Case, "client">, status: number, message: string): Case {
  const fields: Field[] = [
    GRPC,
    ["grpc-status", String(status)],
    ["grpc-message", encodeURIComponent(message)],
    ["content-length", "0"],
  ];
  return {
    request: { method: "POST", fields: [GRPC] },
    ...row,
    client: { status: 200, fields, body: "", isCut: false },
  };
}

const CALLS: readonly Case[] = [
  {
    what: "a call of gRPC and its trailers",
    request: {
      method: "POST",
      fields: [GRPC, ["te", "trailers"]],
      body: { text: "\0\0\0\0\x02hi" },
    },
    answer: {
      fields: [GRPC],
      body: { text: "\0\0\0\0\x02ho", as: "open" },
      trailers: [
        ["grpc-status", "0"],
        ["grpc-message", "fine"],
      ],
    },
    differs: {
      "h1 origin": { why: "no trailers", client: { trailers: [] }, origin: { fields: [GRPC] } },
    },
  },
  refusedCall(
    { what: "a call of gRPC without an origin", answer: GONE },
    14,
    ERRORS.UPSTREAM_RESET.say,
  ),
  refusedCall(
    {
      what: "a call of gRPC without an answer",
      isReused: true,
      answer: SILENT,
      route: { timeout_ms: ROUTE_MS },
    },
    4,
    ERRORS.ROUTE_TIMEOUT.say,
  ),
  refusedCall(
    {
      what: "a call of gRPC without a route",
      route: { match: { hosts: ["other.test"] } },
      origin: "nothing",
    },
    12,
    ERRORS.NO_ROUTE.say,
  ),
];

export const FAILURES: readonly Case[] = [...UNANSWERED, ...STALE, ...RETRIED, ...CALLS];
