// Headers that say who asks and through whom: what a client writes into them, nominates away, spells
// otherwise or names after a method of Object. Judged by the bytes at the origin, by what a policy saw,
// by the echo, and by the line of the access log.
//
// Families of the catalogue that do not apply here:
// - cache poisoning and deception: there is no cache.
// - decompression: bodies are passed on as they come and never inflated.
// - ReDoS: no regular expression of the configuration meets a client's bytes, and those of the source
//   that do are anchored and without repetition inside a repetition.
// - JWT forgeries: test/unit/plugins/builtin/jwt.test.ts.

import assert from "node:assert/strict";
import { test } from "node:test";
import { SignJWT } from "jose";
import type { RouteConfig } from "../../gateway/config/schema.ts";
import { LINE_BYTES_MAX, writeLine } from "../../gateway/telemetry/log-line.ts";
import type { Exchange } from "../../gateway/exchange.ts";
import {
  answersTo,
  assertForwarded,
  assertRecorded,
  assertRefused,
  onRequest,
  startTarget,
  statusesOf,
} from "../support/attack.ts";
import { startEdge } from "../support/edge.ts";
import { connectRaw, exchangeRaw } from "../support/raw.ts";

const SECRET = "a-shared-secret-of-at-least-32-bytes";
const GET = "GET /meant HTTP/1.1\r\nHost: a\r\n";
const MEANT = { line: "GET /meant" };

async function tokenOf(claims: Record<string, unknown>): Promise<string> {
  const signer = new SignJWT(claims).setProtectedHeader({ alg: "HS256" });
  return await signer.sign(Buffer.from(SECRET));
}

/** A route to the origin for tokens whose claims become headers. */
function tokenRoute(claimsToHeaders: Record<string, string>): RouteConfig {
  const config = { keys: [{ secret: SECRET }], claims_to_headers: claimsToHeaders };
  return { name: "token", plugins: [{ plugin: "jwt", config }], upstream: "origin" };
}

/** A policy that notes what it is told of these headers, and where it notes it. */
function watch(names: readonly string[]) {
  const seen: (string | null)[] = [];
  const plugin = onRequest((exchange) => {
    seen.push(...names.map((name) => exchange.header(name)));
    return null;
  });
  const route: RouteConfig = { name: "seen", plugins: [{ plugin: "watch" }], upstream: "origin" };
  return { seen, route, plugins: new Map([["watch", plugin]]) };
}

test("hop-by-hop: credentials and what describes the body cannot be nominated away", async (t) => {
  const target = await startTarget(t);
  const names = ["authorization", "cookie", "content-type", "x-api-key", "date", "host"];
  for (const name of names) {
    for (const spelled of [name, name.toUpperCase(), `close, ${name}`, `,${name},x-other`]) {
      const fields = name === "host" ? "" : `${name}: kept\r\n`;
      const bytes = `${GET}Connection: ${spelled}\r\n${fields}\r\n`;
      if (spelled.startsWith("close")) {
        const text = await answersTo(t, target, bytes);
        assert.deepEqual(statusesOf(text), [200]);
        assertRecorded(target.origin, [{ ...MEANT, fields }]);
      } else {
        await assertForwarded(t, target, { bytes, meant: [{ ...MEANT, fields }] });
      }
    }
  }
});

test("hop-by-hop: what is nominated away is gone for policies as for the origin", async (t) => {
  const { seen, route, plugins } = watch(["x-tenant", "x-kept"]);
  const target = await startTarget(t, [route], { plugins });
  for (const [connection, fields] of [
    ["x-tenant", "X-Tenant: other\r\n"],
    ["close , X-TENANT", "x-tenant: other\r\nx-Tenant: more\r\n"],
    ["keep-alive,\tx-tenant ,", "x-tenant:\r\n"],
  ]) {
    const bytes = `${GET}Connection: ${connection}\r\n${fields}X-Kept: 1\r\nconnection: close\r\n\r\n`;
    assert.deepEqual(statusesOf(await answersTo(t, target, bytes)), [200]);
    assertRecorded(target.origin, [{ ...MEANT, fields: "X-Kept: 1\r\n" }]);
    assert.deepEqual(seen.splice(0), [null, "1"]);
  }
});

test("hop-by-hop: a nominated identity is still the policy's, and only that", async (t) => {
  const target = await startTarget(t, [tokenRoute({ sub: "x-user", role: "x-role" })]);
  const authorization = `Authorization: Bearer ${await tokenOf({ sub: "alice" })}\r\n`;
  const own = "X-User: root\r\nx-role: admin\r\nX_User: root\r\n";
  const text = await answersTo(
    t,
    target,
    `${GET}Connection: authorization, x-user, x-role, close\r\n${own}${authorization}\r\n`,
  );
  assert.deepEqual(statusesOf(text), [200]);
  const [{ fields }] = target.origin.take().requests;
  const valuesOf = (name: string) =>
    fields.filter((_, i) => i % 2 === 1 && fields[i - 1].toLowerCase() === name);
  assert.deepEqual(valuesOf("x-user"), ["alice"]);
  assert.deepEqual(valuesOf("authorization"), [authorization.slice(15, -2)]);
  // The token has no role: then nobody says one.
  assert.deepEqual([valuesOf("x-role"), valuesOf("x_user")], [[], []]);
});

test("aliases: a name with an underscore reaches neither a policy nor the origin", async (t) => {
  const names = [
    "x_user",
    "x_forwarded_for",
    "x-forwarded_for",
    "authorization_",
    "_",
    "__proto__",
  ];
  const { seen, route, plugins } = watch(names);
  const target = await startTarget(t, [route], { plugins });
  for (const name of names) {
    for (const spelled of [name, name.toUpperCase()]) {
      const bytes = `${GET}${spelled}: root\r\nX-Kept: 1\r\nconnection: close\r\n\r\n`;
      assert.deepEqual(statusesOf(await answersTo(t, target, bytes)), [200]);
      assertRecorded(target.origin, [{ ...MEANT, fields: "X-Kept: 1\r\n" }]);
      assert.deepEqual(
        seen.splice(0),
        names.map(() => null),
      );
    }
  }
});

/** Every header that the gateway writes towards an origin, or lets nobody write. */
const GATEWAYS = [
  ...["X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Port", "Forwarded"],
  ...["X-Forwarded-Client-Cert", "X-Real-IP", "Traceparent", "Keep-Alive", "Proxy-Connection"],
  ...["Proxy-Authorization", "Proxy-Authenticate", "TE", "Trailer", "Upgrade", "HTTP2-Settings"],
];

test("client's copies of the gateway's own headers are replaced, however often they come", async (t) => {
  const target = await startTarget(t);
  for (const name of GATEWAYS) {
    for (const spelled of [name, name.toUpperCase(), name.toLowerCase()]) {
      for (const value of ["6.6.6.6", "trailers", "", "for=6.6.6.6;proto=https"]) {
        const bytes = `${GET}${spelled}: ${value}\r\nX: y\r\n${name}: ${value}\r\n\r\n`;
        await assertForwarded(t, target, { bytes, meant: [{ ...MEANT, fields: "X: y\r\n" }] });
      }
    }
  }
});

test("client's request ids are kept when they are sane, and never twice", async (t) => {
  const target = await startTarget(t);
  const long = "x".repeat(129);
  for (const value of ["", "a b", "a\tb", "a\xe9", 'a"', "<a>", "a,b", long, "a;b", "%0d%0a"]) {
    const fields = `X-Request-Id: ${value}\r\n`;
    const bytes = `${GET}${fields}\r\n`;
    await assertForwarded(t, target, { bytes, meant: [MEANT] });
  }
  const text = await answersTo(
    t,
    target,
    `${GET}X-Request-Id: sane-1\r\nx-request-id: sane-2\r\nconnection: close\r\n\r\n`,
  );
  assert.match(text, /\r\nx-request-id: sane-1\r\n/);
  const [received] = target.origin.take().texts;
  assert.match(received, /\r\nx-request-id: sane-1\r\n/);
  assert.doesNotMatch(received, /sane-2/);
});

test("a header that a route sets is sent once, also where the gateway writes its own", async (t) => {
  const names = ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "forwarded"];
  const set = Object.fromEntries([...names, "traceparent", "x-other"].map((name) => [name, "set"]));
  const target = await startTarget(t, [
    { name: "set", request_headers: { set, remove: ["x-request-id"] }, upstream: "origin" },
  ]);
  const own = [...Object.keys(set), "x-request-id"].map((name) => `${name}: own\r\n`).join("");
  const text = await answersTo(t, target, `${GET}${own}connection: close\r\n\r\n`);
  assert.deepEqual(statusesOf(text), [200]);
  const [{ fields }] = target.origin.take().requests;
  const sent = fields.map((_, i) => (i % 2 === 0 ? `${fields[i]}: ${fields[i + 1]}` : ""));
  assert.deepEqual(
    sent.filter((line) => line !== "").toSorted(),
    ["host: a", ...Object.keys(set).map((name) => `${name}: set`)].toSorted(),
  );
});

const NAMES = ["__proto__", "constructor", "prototype", "toString", "valueOf", "hasOwnProperty"];

/** What the echo says; its keys must be its own. */
async function echoed(port: number, t: Parameters<typeof connectRaw>[0], bytes: string) {
  const { text } = await exchangeRaw(t, port, bytes);
  assert.match(text, /^HTTP\/1\.1 200 /);
  return JSON.parse(text.slice(text.indexOf("\r\n\r\n") + 4)) as Record<
    "headers" | "params" | "query",
    Record<string, string>
  >;
}

test("prototype pollution: names of Object's own are names like others, all the way", async (t) => {
  const paths = [{ pattern: "/{__proto__}/{constructor}/{toString}" }];
  const edge = await startEdge(t, {
    config: {
      routes: [
        ...NAMES.map((name): RouteConfig => {
          const query = [{ name, exact: "polluted" }];
          const headers = [
            { name: `x-${name}`, present: false },
            { name: "x-ask", exact: name },
          ];
          return { name: `by-${name}`, match: { query, headers }, respond: { body: name } };
        }),
        { name: "params", match: { paths }, echo: true },
        { name: "all", echo: true },
      ],
    },
  });
  const lines = NAMES.map((name) => `${name}: polluted\r\n`).join("");
  const start = `GET /own/two/three?${NAMES.map((name) => `${name}[polluted]=1`).join("&")}`;
  const seen = await echoed(
    edge.port,
    t,
    `${start} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n${lines}\r\n`,
  );
  // The one with underscores is dropped like every name with one.
  assert.deepEqual(
    NAMES.map((name) => Object.getOwnPropertyDescriptor(seen.headers, name.toLowerCase())?.value),
    [undefined, ...NAMES.slice(1).map(() => "polluted")],
  );
  assert.deepEqual(Object.entries(seen.params), [
    ["__proto__", "own"],
    ["constructor", "two"],
    ["toString", "three"],
  ]);
  for (const name of NAMES) {
    const ask = (query: string) =>
      exchangeRaw(
        t,
        edge.port,
        `GET /${query} HTTP/1.1\r\nHost: a\r\nx-ask: ${name}\r\nConnection: close\r\n\r\n`,
      );
    assert.match((await ask(`?${name}=polluted`)).text, new RegExp(`\\r\\n\\r\\n${name}$`));
    assert.doesNotMatch((await ask("")).text, new RegExp(`\\r\\n\\r\\n${name}$`));
  }
  for (const exchange of edge.finished) assert.ok(JSON.parse(lineOf(exchange)));
  assert.deepEqual(Object.keys(Object.prototype), []);
  assert.equal("polluted" in {}, false);
});

test("prototype pollution: a claim is only what the token says itself", async (t) => {
  const mapping = Object.fromEntries(NAMES.map((name, i) => [name, `x-claim-${i}`]));
  // A literal would set the prototype.
  Object.defineProperty(mapping, "__proto__", { value: "x-claim-0", enumerable: true });
  const target = await startTarget(t, [tokenRoute(mapping)]);
  const claimed = JSON.parse(`{${NAMES.map((name) => `"${name}":"said"`).join()}}`) as object;
  for (const [claims, count] of [
    [claimed, NAMES.length],
    [{}, 0],
  ] as const) {
    const token = await tokenOf(claims as Record<string, unknown>);
    const bytes = `${GET}Authorization: Bearer ${token}\r\nConnection: close\r\n\r\n`;
    assert.deepEqual(statusesOf(await answersTo(t, target, bytes)), [200]);
    const { fields } = target.origin.take().requests[0];
    const told = fields.filter((name) => name.startsWith("x-claim-"));
    assert.equal(told.length, count);
  }
});

function lineOf(exchange: Exchange): string {
  const sink = { bytes: Buffer.alloc(LINE_BYTES_MAX), used: 0 };
  writeLine(sink, exchange, 1, "2026-11-24T00:00:00.000Z");
  return sink.bytes.latin1Slice(0, sink.used);
}

/** Places where a client writes what comes to a log, each with a byte in it. */
const PLACES: readonly (readonly [what: string, bytes: (byte: string) => string])[] = [
  ["the method", (byte) => `GE${byte}T / HTTP/1.1\r\nHost: a\r\n`],
  ["the path", (byte) => `GET /a${byte}b HTTP/1.1\r\nHost: a\r\n`],
  ["the path, escaped", (byte) => `GET /a%${hexOf(byte)}b HTTP/1.1\r\nHost: a\r\n`],
  ["the query", (byte) => `GET /?a=${byte}b HTTP/1.1\r\nHost: a\r\n`],
  ["the query, escaped", (byte) => `GET /?tok%${hexOf(byte)}en=b HTTP/1.1\r\nHost: a\r\n`],
  ["the host", (byte) => `GET / HTTP/1.1\r\nHost: a${byte}b\r\n`],
  ["the absolute host", (byte) => `GET http://a${byte}b/ HTTP/1.1\r\nHost: a\r\n`],
  ["the user agent", (byte) => `GET / HTTP/1.1\r\nHost: a\r\nUser-Agent: a${byte}b\r\n`],
  ["the request id", (byte) => `GET / HTTP/1.1\r\nHost: a\r\nX-Request-Id: a${byte}b\r\n`],
  ["the trace", (byte) => `GET / HTTP/1.1\r\nHost: a\r\nTraceparent: 00-${byte}b\r\n`],
  ["what a policy notes", (byte) => `GET / HTTP/1.1\r\nHost: a\r\nX-Note: a${byte}b\r\n`],
  ["what a policy fails with", (byte) => `GET / HTTP/1.1\r\nHost: a\r\nX-Fail: a${byte}b\r\n`],
];

function hexOf(byte: string): string {
  return byte.charCodeAt(0).toString(16).padStart(2, "0");
}

for (const [what, bytesWith] of PLACES) {
  test(`log injection: with any byte in ${what} a line is one line and says it back`, async (t) => {
    const notes = onRequest((exchange) => {
      const fail = exchange.header("x-fail");
      if (fail !== null) throw new Error(fail);
      const note = exchange.header("x-note");
      if (note === null) return null;
      exchange.values = new Map([[note, note]]);
      exchange.consumer = note;
      exchange.reason = note;
      return null;
    });
    const edge = await startEdge(t, {
      plugins: new Map([["notes", notes]]),
      config: { routes: [{ name: "all", plugins: [{ plugin: "notes" }], respond: {} }] },
    });
    for (let code = 0; code < 256; code++) {
      const byte = String.fromCharCode(code);
      edge.finished.length = 0;
      await exchangeRaw(t, edge.port, `${bytesWith(byte)}Connection: close\r\n\r\n`);
      for (const exchange of edge.finished) {
        const line = lineOf(exchange);
        assert.match(line, /^[\x20-\x7e]+\n$/);
        const said = JSON.parse(line) as Record<string, string>;
        assert.equal(said.path, exchange.path);
        assert.equal(said.host, exchange.host);
        assert.equal(said.id, exchange.requestId);
        assert.equal(said.user_agent, exchange.head.get("user-agent") ?? undefined);
        assert.equal(said.consumer, exchange.consumer ?? undefined);
        assert.equal(said.reason ?? "", exchange.reason);
      }
    }
    for (const line of edge.logLines) {
      assert.match(line, /^[^\x00-\x1f]+\n?$/);
      assert.ok(JSON.parse(line));
    }
  });
}

test("log injection: secrets in a query are masked, in every spelling of their names", async (t) => {
  const edge = await startEdge(t, { config: { routes: [{ name: "all", respond: {} }] } });
  for (const name of ["token", "%74oken", "TOKEN", "api%5fkey", "x=1&password", "access_token"]) {
    const bytes = `GET /?${name}=s3cret&b=c HTTP/1.1\r\nHost: a\r\nAuthorization: s3cret\r\n`;
    await exchangeRaw(t, edge.port, `${bytes}Cookie: s3cret\r\nConnection: close\r\n\r\n`);
  }
  assert.equal(edge.finished.length, 6);
  for (const exchange of edge.finished) assert.doesNotMatch(lineOf(exchange), /s3cret/);
});

/** As many names as a target holds with room to spare; each target is one request. */
const NAMES_PER_TARGET = 1_000;
const TARGETS = 10;

test("hash flooding: 10,000 colliding integer-like names in queries cost as much as others", async (t) => {
  const edge = await startEdge(t, {
    config: {
      routes: [
        { name: "asked", match: { query: [{ name: "wanted" }] }, respond: {} },
        { name: "all", plugins: [{ plugin: "key-auth", config: { query: "key" } }], echo: true },
      ],
    },
  });
  // Equal in their lowest 14 bits: in a table of up to 16,384 places without a seed they all meet.
  const colliding = (i: number) => String(i * 16_384);
  const others = (i: number) => String(((i * 7_919 + 13) * 1_009) % 16_777_213);
  const costOf = async (nameOf: (i: number) => string): Promise<number> => {
    const query = Array.from({ length: NAMES_PER_TARGET }, (_, i) => `${nameOf(i)}=1`).join("&");
    const client = await connectRaw(t, edge.port);
    const startMs = performance.now();
    for (let i = 1; i <= TARGETS; i++) {
      client.send(`GET /?${query} HTTP/1.1\r\nHost: a\r\n\r\n`);
      await client.until((text) => statusesOf(text).length === i);
    }
    const tookMs = performance.now() - startMs;
    client.socket.destroy();
    for (const exchange of edge.finished.splice(0)) assert.ok(lineOf(exchange).length > 100);
    return tookMs;
  };
  const best = { colliding: Infinity, others: Infinity };
  for (let round = 0; round < 5; round++) {
    best.colliding = Math.min(best.colliding, await costOf(colliding));
    best.others = Math.min(best.others, await costOf(others));
  }
  assert.ok(best.colliding < best.others * 3, JSON.stringify(best));
});

test("the Connection field nominates at most as many names as a head may have fields", async (t) => {
  const target = await startTarget(t);
  const list = (count: number) => Array.from({ length: count }, (_, i) => `x-${i}`).join();
  const bytesOf = (count: number) => `${GET}Connection: ${list(count)}\r\nX-5: y\r\n\r\n`;
  await assertForwarded(t, target, { bytes: bytesOf(128), meant: [MEANT] });
  await assertRefused(t, target, { bytes: bytesOf(129), statuses: [431] });
});
