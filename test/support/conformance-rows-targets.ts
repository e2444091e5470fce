// Targets and hosts of requests: one normal form is matched, shown to policies and forwarded; what two
// readers could take for different ones is refused. All spellings of HTTP/1.1 are in
// test/integration/threats-paths.test.ts; here are those of each kind.

import { LIMITS } from "../../gateway/base/limits.ts";
import type { Case } from "./conformance-case.ts";

/** Paths, and what is forwarded of them; null: refused. */
const PATHS: readonly (readonly [sent: string, forwarded: string | null])[] = [
  ["/things/1", "/things/1"],
  ["/x/../a", "/a"],
  ["/x/%2e%2e/a", "/a"],
  ["/./a/.", "/a/"],
  ["/a/..", "/"],
  ["//a", "/a"],
  ["/a//b///c", "/a/b/c"],
  ["/%7Ejoe/%61", "/~joe/a"],
  ["/%c3%bc", "/%C3%BC"],
  ["/a%252fb", "/a%252fb"],
  ["/a|b", "/a%7Cb"],
  ["/a;x=1", "/a;x=1"],
  ["/a%23b", "/a%23b"],
  ["/?", "/"],
  ["/a?x=%2e%2e/%2F//", "/a?x=%2e%2e/%2F//"],
  ["/../a", null],
  ["/x/../../a", null],
  ["/%2e%2e/a", null],
  ["/a%2fb", null],
  ["/a%5cb", null],
  ["/a\\b", null],
  ["/..;/a", null],
  ["/a#b", null],
  ["/a?b#c", null],
  ["/%00", null],
  ["/%0d%0aa", null],
  ["/%zz", null],
  ["/%4", null],
];

const PATH_CASES = PATHS.map(([target, forwarded]): Case => {
  const request = { target };
  if (forwarded === null) {
    return { what: `${target} is refused`, request, client: "BAD_TARGET" };
  }
  return { what: `${target} is ${forwarded}`, request, origin: { target: forwarded } };
});

/** nghttp2 knows it for no path or no authority. */
const RESET = { "h2 client": { why: "reset by framing", client: "reset" } } as const;

const FORMS: readonly Case[] = [
  {
    what: "the host of an absolute target wins over the Host field",
    request: { target: "http://inner.test/a?b", host: "outer.test" },
    origin: { target: "/a?b", host: "inner.test" },
    differs: {
      "h2 client": { why: "one name form", client: "reset", origin: "nothing" },
    },
  },
  ...(["a", "*", "ftp://a/b", "http:/a"] as const).map((target): Case => ({
    what: `the target ${target}`,
    request: { target },
    client: "BAD_TARGET",
    differs: RESET,
  })),
  {
    what: "OPTIONS * is about the gateway itself",
    request: { method: "OPTIONS", target: "*" },
    client: { status: 204, fields: [], body: "" },
    origin: "nothing",
  },
  {
    what: "a target over the limit",
    request: { target: `/${"a".repeat(LIMITS.requestLineBytesMax)}` },
    client: "TARGET_TOO_LONG",
  },
  {
    what: "a target at the limit",
    request: { target: `/${"a".repeat(LIMITS.requestLineBytesMax - 1)}` },
  },
];

const HOSTS_SOUND = ["api.test", "API.Test", "api.test.", "api.test:8080", "127.0.0.1", "[::1]:80"];
const HOSTS_UNSOUND = [
  ...["api.test:", "api.test:0", "api.test:65536", "api.test:80:80", "a..test", ".test"],
  ...["[::1", "::1", "a%2eb"],
];
/** Of characters that no authority has. */
const HOSTS_FOREIGN = [
  ...["user@api.test", "api.test/a", "api.test?a", "api.test#a", "a, b", "a b", "a\\b"],
  ...["\xe4.test", "http://api.test", ""],
];

const HOSTS: readonly Case[] = [
  ...HOSTS_SOUND.map((host): Case => ({ what: `the host ${host}`, request: { host } })),
  ...HOSTS_UNSOUND.map((host): Case => ({
    what: `the host ${host} is none`,
    request: { host },
    client: "BAD_HOST",
  })),
  ...HOSTS_FOREIGN.map((host): Case => ({
    what: `the host ${JSON.stringify(host)} is none`,
    request: { host },
    client: "BAD_HOST",
    differs: RESET,
  })),
  { what: "no host", request: { host: null }, client: "BAD_HOST", differs: RESET },
  {
    what: "a second, other host",
    request: { fields: [["host", "b.test"]] },
    client: "BAD_HOST",
  },
  {
    what: "the same host twice",
    request: { fields: [["host", "api.test"]] },
    client: "BAD_HOST",
    differs: { "h2 client": { why: "host beside authority", client: {}, origin: { fields: [] } } },
  },
  {
    what: "two fields of the host",
    request: {
      host: null,
      fields: [
        ["host", "a.test"],
        ["host", "b.test"],
      ],
    },
    client: "BAD_HOST",
    differs: RESET,
  },
  {
    what: "a route of another host",
    request: { host: "other.test" },
    route: { match: { hosts: ["api.test"] } },
    client: "NO_ROUTE",
  },
  {
    what: "a host that is matched in its normal form",
    request: { host: "API.Test.:81" },
    route: { match: { hosts: ["api.test"] } },
  },
  {
    what: "a method that the route does not have",
    request: { method: "PUT" },
    route: { match: { methods: ["GET"] } },
    client: "METHOD_NOT_ALLOWED",
  },
];

export const TARGETS: readonly Case[] = [...PATH_CASES, ...FORMS, ...HOSTS];
