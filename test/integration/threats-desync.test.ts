// What follows an answer: a body that was not asked for, came late or not at all, and answers that came
// before the body's end. However a request is answered, here or by an origin, the bytes behind it are
// passed over, up to a bound, or the connection is closed: they are never taken for a request, and an
// origin's connection is never left with half of one.
//
// Families of the catalogue that do not apply here:
// - answers from a cache: there is no cache.
// - bytes on an idle connection to an origin, an answer before the end of a declared upload:
//   test/integration/origin-edge-cases.test.ts.

import assert from "node:assert/strict";
import { once } from "node:events";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { LIMITS } from "../../gateway/base/limits.ts";
import type { RouteConfig } from "../../gateway/config/schema.ts";
import { problem } from "../../gateway/plugins/problem.ts";
import {
  assertForwarded,
  assertRecorded,
  assertRefused,
  onRequest,
  startTarget,
  statusesOf,
} from "../support/attack.ts";
import type { Target } from "../support/attack.ts";
import { startEdge } from "../support/edge.ts";
import { until } from "../support/origin-user.ts";
import { connectRaw, ok, rawOrigin } from "../support/raw.ts";

const SMUGGLED = "GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n";
const LAST = "GET /last HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
const at = (path: string) => ({ paths: [{ exact: path }] });
const SECRET = "a-shared-secret-of-at-least-32-bytes";

/** Policies that decide later and at once. */
const PLUGINS = new Map([
  [
    "later",
    onRequest(async ({ requestId }) => {
      await new Promise((resolve) => setImmediate(() => setImmediate(resolve)));
      return { kind: "respond", response: problem("FORBIDDEN", requestId), reason: "later" };
    }),
  ],
]);

const RESPOND: RouteConfig = {
  name: "respond",
  match: at("/respond"),
  respond: { body: "local" },
};
/** Routes that the gateway answers itself; `upstream` is where a request must not get. */
const ROUTES: readonly RouteConfig[] = [
  RESPOND,
  { name: "redirect", match: at("/redirect"), redirect: { to: "/elsewhere" } },
  { name: "echo", match: at("/echo"), echo: true },
  { name: "key", match: at("/key"), plugins: [{ plugin: "key-auth" }], upstream: "origin" },
  {
    name: "token",
    match: at("/token"),
    plugins: [{ plugin: "jwt", config: { keys: [{ secret: SECRET }] } }],
    upstream: "origin",
  },
  { name: "later", match: at("/later"), plugins: [{ plugin: "later" }], upstream: "origin" },
  {
    name: "cors",
    match: at("/cors"),
    plugins: [{ plugin: "cors", config: { origins: ["https://b"] } }],
    upstream: "origin",
  },
  { name: "get", match: { ...at("/get"), methods: ["PATCH"] }, upstream: "origin" },
  { name: "small", match: at("/small"), body_bytes_max: 5, upstream: "origin" },
  { name: "last", match: at("/last"), respond: { status: 299 } },
  { name: "none", match: { ...at("/none"), hosts: ["another"] }, upstream: "origin" },
  { name: "bait", match: at("/smuggled"), respond: { body: "smuggled" } },
];

type Local = {
  readonly path: string;
  readonly status: number;
  readonly methods?: readonly string[];
  readonly fields?: string;
};

const PREFLIGHT = "origin: https://b\r\naccess-control-request-method: PUT\r\n";
const LOCALS: readonly Local[] = [
  { path: "/respond", status: 200 },
  { path: "/redirect", status: 302 },
  { path: "/key", status: 401 },
  { path: "/token", status: 401 },
  { path: "/later", status: 403 },
  { path: "/cors", status: 204, methods: ["OPTIONS"], fields: PREFLIGHT },
  { path: "/get", status: 405 },
  { path: "/none", status: 404 },
  { path: "/small", status: 413 },
];

async function setup(t: TestContext): Promise<Target> {
  // Any other path is a 404, and the origin is to stay without a byte.
  const origin = await rawOrigin(t, () => {});
  const edge = await startEdge(t, {
    plugins: PLUGINS,
    timeouts: { body_idle_ms: 10_000 },
    config: {
      upstreams: [{ name: "origin", targets: [{ address: origin.address }] }],
      routes: [...ROUTES],
    },
  });
  const take = () => ({ texts: [...origin.received], requests: [], faults: [] });
  return { edge, origin: { address: origin.address, take } };
}

const headOf = (method: string, { path, fields = "" }: Local, framing: string) =>
  `${method} ${path} HTTP/1.1\r\nhost: a\r\n${fields}${framing}\r\n`;
const DECLARED = `content-length: ${SMUGGLED.length}\r\n`;
const CHUNKED = "transfer-encoding: chunked\r\n";
const IN_CHUNKS = `${SMUGGLED.length.toString(16)}\r\n${SMUGGLED}\r\n0\r\n\r\n`;

for (const local of LOCALS) {
  const { path, status, methods = ["POST", "GET", "HEAD", "OPTIONS", "DELETE"] } = local;
  test(`CL.0, TE.0: a body that ${path} (${status}) did not want is passed over`, async (t) => {
    const target = await setup(t);
    for (const method of methods) {
      for (const [framing, body] of [
        [DECLARED, SMUGGLED],
        [CHUNKED, IN_CHUNKS],
      ]) {
        // An announced body that is too large is not read even when it is there; one in chunks is.
        if (path === "/small" && framing === CHUNKED) continue;
        target.edge.finished.length = 0;
        const client = await connectRaw(t, target.edge.port);
        client.send(headOf(method, local, framing) + body + LAST);
        const { text } = await client.closed();
        client.socket.destroy();
        assert.deepEqual(statusesOf(text), [status, 299], `${method} ${framing}`);
        const paths = target.edge.finished.map((exchange) => exchange.path);
        assert.deepEqual(paths.toSorted(), [path, "/last"].toSorted());
      }
    }
    assert.deepEqual(target.origin.take().texts, []);
  });

  test(`CL.0, 0.CL: what follows an answer before the body, by ${path}, is dropped`, async (t) => {
    const target = await setup(t);
    for (const method of methods) {
      for (const framing of [DECLARED, CHUNKED]) {
        if (path === "/small" && framing === CHUNKED) continue;
        for (const begun of ["", framing === DECLARED ? "GET" : "3\r\nGET\r\n"]) {
          target.edge.finished.length = 0;
          const client = await connectRaw(t, target.edge.port);
          client.send(headOf(method, local, framing) + begun);
          const answer = await client.until((text) => text.includes("\r\n\r\n"));
          assert.match(answer, /\r\nconnection: close\r\n/);
          client.send(SMUGGLED + LAST);
          const { text, reset } = await client.closed();
          client.socket.destroy();
          assert.deepEqual([statusesOf(text), reset], [[status], false], method + framing);
          const paths = target.edge.finished.map((exchange) => exchange.path);
          assert.deepEqual(paths, [path]);
        }
      }
    }
    assert.deepEqual(target.origin.take().texts, []);
  });
}

test("0.CL: a route that reads its body reads the next request as that, and no further", async (t) => {
  const { edge } = await setup(t);
  const client = await connectRaw(t, edge.port);
  client.send(`POST /echo HTTP/1.1\r\nhost: a\r\n${DECLARED}\r\n${SMUGGLED}${LAST}`);
  const { text } = await client.closed();
  assert.deepEqual(statusesOf(text), [200, 299]);
  assert.ok(text.includes(`"body": ${JSON.stringify(SMUGGLED)}`));
  assert.deepEqual(
    edge.finished.map((exchange) => exchange.path),
    ["/echo", "/last"],
  );
});

type Expectation = readonly [
  lines: string,
  verdict: "continue" | "ignored" | "refused",
  version?: string,
];

const EXPECTATIONS: readonly Expectation[] = [
  ["Expect: 100-continue\r\n", "continue"],
  ["Expect:100-Continue\r\n", "continue"],
  ["Expect: \t100-continue \r\n", "continue"],
  ["Expect: 100-continue\r\n", "ignored", "HTTP/1.0"],
  ["Expect_: 100-continue\r\n", "ignored"],
  ["X-Expect: 100-continue\r\n", "ignored"],
  ["Expect: 100-continue\r\nExpect: 100-continue\r\n", "refused"],
  ["Expect: 100-continue, 100-continue\r\n", "refused"],
  ["Expect: y 100-continue\r\n", "refused"],
  ["Expect: 100-continue;q=1\r\n", "refused"],
  ['Expect: "100-continue"\r\n', "refused"],
  ["Expect: 100\r\n", "refused"],
  ["Expect:\r\n", "refused"],
  ["Expect: \xa0100-continue\r\n", "refused"],
  ["Expect: 100-continue\v\r\n", "refused"],
  ["Expect: 100-continue\r\n \r\n", "refused"],
  ["Expect:\r\n 100-continue\r\n", "refused"],
  [" Expect: 100-continue\r\n", "refused"],
  ["Expect : 100-continue\r\n", "refused"],
];

/** Some requests of somebody else's, answered one after the other. */
async function passTime(t: TestContext, { edge }: Target): Promise<void> {
  const other = await connectRaw(t, edge.port);
  for (let count = 1; count <= 10; count++) {
    other.send("GET /respond HTTP/1.1\r\nhost: a\r\n\r\n");
    await other.until((text) => statusesOf(text).length === count);
  }
}

for (const [lines, verdict, version = "HTTP/1.1"] of EXPECTATIONS) {
  test(`Expect is ${verdict}: ${JSON.stringify(lines)} on ${version}`, async (t) => {
    const target = await startTarget(t, [RESPOND]);
    const head = `PUT /meant ${version}\r\nHost: a\r\n${lines}${DECLARED}\r\n`;
    if (verdict === "refused") {
      await assertRefused(t, target, { bytes: head + SMUGGLED, statuses: [400, 417] });
      return;
    }
    const client = await connectRaw(t, target.edge.port);
    client.send(head);
    if (verdict === "continue") {
      await client.until((text) => text === "HTTP/1.1 100 Continue\r\n\r\n");
    } else {
      // The head is looked at before the body comes: whoever says 100 now says it unasked.
      await passTime(t, target);
    }
    client.send(SMUGGLED + LAST);
    const { text } = await client.closed();
    const fields = lines.startsWith("X-") ? lines : "";
    const put = { line: "PUT /meant", fields, body: SMUGGLED };
    const isOld = version === "HTTP/1.0";
    assert.deepEqual(statusesOf(text), isOld ? [200] : [200, 200]);
    assert.equal(text.includes("100 Continue"), verdict === "continue");
    assertRecorded(target.origin, isOld ? [put] : [put, { line: "GET /last" }]);
  });
}

test("Expect: an answer made here instead of the continue ends the connection", async (t) => {
  const { edge } = await setup(t);
  for (const { path, status, methods = ["PUT"], fields = "" } of LOCALS) {
    edge.finished.length = 0;
    const client = await connectRaw(t, edge.port);
    const head = `${methods[0]} ${path} HTTP/1.1\r\nhost: a\r\n${fields}expect: 100-continue\r\n`;
    client.send(`${head}${DECLARED}\r\n`);
    await client.until((text) => text.includes("\r\n\r\n"));
    client.send(SMUGGLED + LAST);
    const { text } = await client.closed();
    client.socket.destroy();
    assert.deepEqual(statusesOf(text), [status]);
    assert.doesNotMatch(text, /100 Continue/);
    assert.equal(edge.finished.length, 1);
  }
});

const UPLOAD_BYTES = 16 * 1024 * 1024;
const CHUNK = Buffer.from(`10000\r\n${"a".repeat(0x10000)}\r\n`);

test("early answers of the gateway to 16 MiB: whole, closed after lingering, bounded", async (t) => {
  const { edge, origin } = await setup(t);
  for (const [path, status] of [
    ["/none", 404],
    ["/key", 401],
    ["/later", 403],
    ["/small", 413],
  ] as const) {
    edge.finished.length = 0;
    const client = await connectRaw(t, edge.port);
    client.send(`POST ${path} HTTP/1.1\r\nhost: a\r\ncontent-length: ${UPLOAD_BYTES}\r\n\r\nbegin`);
    const answer = await client.until((text) => text.includes('"request_id"'));
    // As much as is passed over: the answer is not lost to a reset, and the gateway closes.
    client.send(SMUGGLED);
    client.send(Buffer.alloc(LIMITS.drainBodyBytesMax - SMUGGLED.length - 5, "a"));
    const { text, reset } = await client.closed();
    client.socket.destroy();
    assert.deepEqual([statusesOf(text), text, reset], [[status], answer, false]);
    assert.equal(edge.finished.length, 1);
  }
  assert.deepEqual(origin.take().texts, []);
});

test("an upload in chunks that grows over its bound is answered, taken back and dropped", async (t) => {
  const origin = await rawOrigin(t, () => {});
  const edge = await startEdge(t, {
    config: {
      upstreams: [{ name: "origin", targets: [{ address: origin.address }] }],
      routes: [{ name: "all", upstream: "origin", body_bytes_max: 1_000_000 }],
    },
  });
  const client = await connectRaw(t, edge.port);
  client.send(`POST / HTTP/1.1\r\nhost: a\r\n${CHUNKED}\r\n`);
  for (let sent = 0; sent < UPLOAD_BYTES; sent += CHUNK.length) client.send(CHUNK);
  const answer = await client.until((text) => text.includes('"code":"BODY_TOO_LARGE"'));
  assert.match(answer, /^HTTP\/1\.1 413 [^]*\r\nconnection: close\r\n/);
  await until(() => origin.sockets.every((socket) => socket.closed), "the end at the origin");
  assert.ok(origin.received.join("").length < 1_100_000);
  for (const received of origin.received) assert.doesNotMatch(received, /\r\n0\r\n\r\n$/);
  await until(() => edge.host.connectionCount === 0, "the end of the connection");
});

test("an origin's early answer to an upload in chunks: relayed, closed, its connection ended", async (t) => {
  const enough = "HTTP/1.1 413 Enough\r\ncontent-length: 6\r\n\r\nenough";
  const origin = await rawOrigin(t, (socket, received) => {
    if (received.endsWith("begin\r\n")) socket.write(enough);
  });
  const edge = await startEdge(t, {
    config: {
      upstreams: [{ name: "origin", targets: [{ address: origin.address }] }],
      routes: [{ name: "all", upstream: "origin" }],
    },
  });
  const client = await connectRaw(t, edge.port);
  client.send(`POST / HTTP/1.1\r\nhost: a\r\n${CHUNKED}\r\n5\r\nbegin\r\n`);
  const answer = await client.until((text) => text.endsWith("enough"));
  // The body's end and a request behind it come too late.
  client.send(`0\r\n\r\n${SMUGGLED}`);
  const { text, reset } = await client.closed();
  assert.deepEqual([text, reset], [answer, false]);
  assert.match(text, /\r\nconnection: close\r\n/);
  await until(() => origin.sockets.every((socket) => socket.closed), "the end at the origin");
  assert.ok(origin.received[0].endsWith("5\r\nbegin\r\n"));
  assert.equal(edge.finished.length, 1);
});

test("pause-based: after a body's deadline its rest is no request, here or at the origin", async (t) => {
  const target = await startTarget(t, [], { timeouts: { body_idle_ms: 150 } });
  const client = await connectRaw(t, target.edge.port);
  client.send(`POST /meant HTTP/1.1\r\nhost: a\r\n${DECLARED}\r\nGET /`);
  const answer = await client.until((text) => text.includes('"code":"REQUEST_TIMEOUT"'));
  client.send(SMUGGLED.slice(5) + LAST);
  const { text } = await client.closed();
  assert.deepEqual([statusesOf(text), text], [[408], answer]);
  const [half, ...others] = target.origin.take().texts;
  assert.ok(half.startsWith("POST /meant") && half.endsWith("\r\n\r\nGET /"));
  assert.deepEqual(others, []);
  // The next request does not follow half a request.
  await assertForwarded(t, target, {
    bytes: "GET /next HTTP/1.1\r\nHost: a\r\n\r\n",
    meant: [{ line: "GET /next" }],
  });
});

test("response queue: an answer before the request's end is that request's, and the last on its connection", async (t) => {
  const origin = await rawOrigin(t, (socket, received, connection) => {
    if (connection > 0) socket.write(ok("clean"));
    else if (received.endsWith("half")) socket.write(ok("early") + ok("forged"));
    else if (received.endsWith("\r\n\r\n") && !received.includes("POST")) socket.write(ok("first"));
  });
  const edge = await startEdge(t, {
    config: {
      upstreams: [{ name: "origin", targets: [{ address: origin.address }] }],
      routes: [{ name: "all", upstream: "origin" }],
    },
  });
  const client = await connectRaw(t, edge.port);
  client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
  await client.until((text) => text.endsWith("first"));
  const ended = once(origin.sockets[0], "close");
  client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 8\r\n\r\nhalf");
  const { text } = await client.closed();
  assert.ok(text.endsWith("\r\nconnection: close\r\n\r\nearly"), text);
  await ended;
  const other = await connectRaw(t, edge.port);
  other.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
  assert.doesNotMatch(await other.until((seen) => seen.endsWith("clean")), /forged/);
  assert.equal(origin.received.length, 2);
});

for (const method of ["GET", "POST"]) {
  test(`response queue: bytes that were there before ${method} was sent are not its answer`, async (t) => {
    const origin = await rawOrigin(t, (socket, received, connection) => {
      if (received.endsWith("\r\n\r\n")) socket.write(ok(`from ${connection}`));
    });
    const edge = await startEdge(t, {
      config: {
        upstreams: [{ name: "origin", targets: [{ address: origin.address }] }],
        routes: [{ name: "all", upstream: "origin" }],
      },
    });
    const client = await connectRaw(t, edge.port);
    for (let round = 0; round < 10; round++) {
      client.send("GET /before HTTP/1.1\r\nhost: a\r\n\r\n");
      await client.until((text) => text.split(`from ${round}`).length === (round === 0 ? 2 : 3));
      // Both are in the kernel's buffers when the gateway looks; the request is looked at first.
      client.send(`${method} /next HTTP/1.1\r\nhost: a\r\n\r\n`);
      origin.sockets[round].setNoDelay(true).write(ok("forged"));
      const text = await client.until((seen) => statusesOf(seen).length === 2 * (round + 1));
      assert.doesNotMatch(text, /forged/);
    }
    assert.equal(origin.received.join("").split("/next").length, 11);
  });
}
