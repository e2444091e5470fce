// Every bound of the HTTP/1.1 path, over the wire, at n and at n + 1: at n the message passes whole,
// at n + 1 it is refused with its own status and nothing is cut off. Bounds of both sides are those of
// gateway/base/limits.ts; the decoders' own rows are in test/unit/wire.
//
// Bounds that are held elsewhere:
// - interimResponsesMax: test/integration/origin-edge-cases.test.ts.
// - the h2 bounds: test/integration/http2.test.ts; proxyHeaderBytesMax:
//   test/unit/wire/proxy-protocol.test.ts.
// - sockets, waiters and waiting time of a pool: test/unit/upstream/pool-h1.test.ts.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { LIMITS } from "../../gateway/base/limits.ts";
import {
  answersTo,
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
import { connectRaw, exchangeRaw, rawOrigin, statusOf } from "../support/raw.ts";
import type { RawClient } from "../support/raw.ts";
import type { Meant } from "../support/recording-origin.ts";

const START = "GET /meant HTTP/1.1\r\nHost: a\r\n";
const POST = "POST /meant HTTP/1.1\r\nHost: a\r\n";

/** A message that uses a bound to this extent, and what is forwarded of it. */
type Bounded = {
  readonly what: string;
  readonly max: number;
  readonly status: number;
  message(n: number): { readonly bytes: string; readonly meant: Meant };
};

const HEADS: readonly Bounded[] = [
  {
    what: "headBytesMax",
    max: LIMITS.headBytesMax,
    status: 431,
    message: (n) => {
      const fields = `X: ${"a".repeat(n - START.length - 7)}\r\n`;
      return { bytes: `${START}${fields}\r\n`, meant: { line: "GET /meant", fields } };
    },
  },
  {
    what: "requestLineBytesMax",
    max: LIMITS.requestLineBytesMax,
    status: 414,
    message: (n) => {
      const line = `GET /${"a".repeat(n - 1)}`;
      return { bytes: `${line} HTTP/1.1\r\nHost: a\r\n\r\n`, meant: { line } };
    },
  },
  {
    what: "headersMax",
    max: LIMITS.headersMax,
    status: 431,
    message: (n) => {
      const fields = Array.from({ length: n - 1 }, (_, i) => `X-${i}: y\r\n`).join("");
      return { bytes: `${START}${fields}\r\n`, meant: { line: "GET /meant", fields } };
    },
  },
  {
    what: "contentLengthDigitsMax",
    max: LIMITS.contentLengthDigitsMax,
    status: 400,
    message: (n) => ({
      bytes: `${POST}Content-Length: ${"3".padStart(n, "0")}\r\n\r\nabc`,
      meant: { line: "POST /meant", body: "abc" },
    }),
  },
];

async function boundedTarget(t: TestContext): Promise<Target> {
  return await startTarget(t, [
    {
      name: "meant",
      match: { paths: [{ exact: "/meant" }] },
      body_bytes_max: 1_000,
      upstream: "origin",
    },
  ]);
}

for (const { what, max, status, message } of HEADS) {
  test(`${what}: ${max} pass, one more is refused with ${status}, and nothing is cut off`, async (t) => {
    const target = await boundedTarget(t);
    const { bytes, meant } = message(max);
    await assertForwarded(t, target, { bytes, meant: [meant] });
    await assertRefused(t, target, { bytes: message(max + 1).bytes, statuses: [status] });
  });
}

test("body_bytes_max of a declared length: one byte more reaches nobody", async (t) => {
  const target = await boundedTarget(t);
  const bytesOf = (n: number) => `${POST}Content-Length: ${n}\r\n\r\n${"a".repeat(n)}`;
  const meant = [{ line: "POST /meant", body: "a".repeat(1_000) }];
  await assertForwarded(t, target, { bytes: bytesOf(1_000), meant });
  // The body was there when the answer was made: it is passed over, and the connection goes on.
  assert.deepEqual(statusesOf(await answersTo(t, target, bytesOf(1_001))), [413, 200]);
  assertRecorded(target.origin, [{ line: "GET /last" }]);
});

const CHUNKED = "Transfer-Encoding: chunked\r\n\r\n";

/** Bodies in chunks: what is too much is seen when a part may have left already. */
const BODIES: readonly Bounded[] = [
  {
    what: "chunkSizeDigitsMax",
    max: LIMITS.chunkSizeDigitsMax,
    status: 400,
    message: (n) => ({
      bytes: `${POST}${CHUNKED}${"1".padStart(n, "0")}\r\na\r\n0\r\n\r\n`,
      meant: { line: "POST /meant", chunks: ["a"] },
    }),
  },
  {
    what: "chunkExtensionBytesMax",
    max: LIMITS.chunkExtensionBytesMax,
    status: 400,
    message: (n) => ({
      bytes: `${POST}${CHUNKED}1;${"x".repeat(n - 2)}\r\na\r\n0;yz\r\n\r\n`,
      meant: { line: "POST /meant", chunks: ["a"] },
    }),
  },
  {
    what: "trailerBytesMax",
    max: LIMITS.trailerBytesMax,
    status: 400,
    message: (n) => ({
      bytes: `${POST}${CHUNKED}1\r\na\r\n0\r\nT:${"x".repeat(n - 6)}\r\n\r\n`,
      meant: { line: "POST /meant", chunks: ["a"] },
    }),
  },
  {
    what: "body_bytes_max of a body in chunks",
    max: 1_000,
    status: 413,
    message: (n) => ({
      bytes: `${POST}${CHUNKED}1\r\na\r\n${(n - 1).toString(16)}\r\n${"b".repeat(n - 1)}\r\n0\r\n\r\n`,
      meant: { line: "POST /meant", chunks: ["a", "b".repeat(n - 1)] },
    }),
  },
];

for (const { what, max, status, message } of BODIES) {
  test(`${what}: ${max} pass, one more is refused with ${status}, and the origin's request is not completed`, async (t) => {
    const target = await boundedTarget(t);
    const { bytes, meant } = message(max);
    await assertForwarded(t, target, { bytes, meant: [meant] });
    const text = await answersTo(t, target, message(max + 1).bytes);
    assert.deepEqual(statusesOf(text), [status]);
    const { requests, texts } = target.origin.take();
    assert.deepEqual(requests, []);
    for (const received of texts) assert.doesNotMatch(received, /\r\n0\r\n\r\n$/);
  });
}

/** A response that uses a bound to this extent. */
const RESPONSES: readonly (readonly [
  what: string,
  max: number,
  beyond: "refused" | "cut",
  response: (n: number) => string,
])[] = [
  [
    "responseHeadBytesMax",
    LIMITS.responseHeadBytesMax,
    "refused",
    (n) => {
      const start = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx: ";
      return `${start}${"a".repeat(n - start.length - 4)}\r\n\r\nhi`;
    },
  ],
  [
    "responseHeadersMax",
    LIMITS.responseHeadersMax,
    "refused",
    (n) => `HTTP/1.1 200 OK\r\n${"x: y\r\n".repeat(n - 1)}content-length: 2\r\n\r\nhi`,
  ],
  [
    "contentLengthDigitsMax",
    LIMITS.contentLengthDigitsMax,
    "refused",
    (n) => `HTTP/1.1 200 OK\r\ncontent-length: ${"2".padStart(n, "0")}\r\n\r\nhi`,
  ],
  [
    "chunkSizeDigitsMax",
    LIMITS.chunkSizeDigitsMax,
    "cut",
    (n) => `HTTP/1.1 200 OK\r\n${CHUNKED}${"2".padStart(n, "0")}\r\nhi\r\n0\r\n\r\n`,
  ],
  [
    "chunkExtensionBytesMax",
    LIMITS.chunkExtensionBytesMax,
    "cut",
    (n) => `HTTP/1.1 200 OK\r\n${CHUNKED}2\r\nhi\r\n0;${"x".repeat(n)}\r\n\r\n`,
  ],
  [
    "trailerBytesMax",
    LIMITS.trailerBytesMax,
    "cut",
    (n) => `HTTP/1.1 200 OK\r\n${CHUNKED}2\r\nhi\r\n0\r\nt:${"x".repeat(n - 6)}\r\n\r\n`,
  ],
];

for (const [what, max, beyond, response] of RESPONSES) {
  test(`${what} of a response: ${max} pass, with one more it is ${beyond}`, async (t) => {
    for (const n of [max, max + 1]) {
      const origin = await rawOrigin(t, (socket) => socket.write(response(n)));
      const edge = await startEdge(t, {
        config: {
          upstreams: [{ name: "origin", targets: [{ address: origin.address }] }],
          routes: [{ name: "all", upstream: "origin" }],
        },
      });
      const answer = await exchangeRaw(t, edge.port, `${START}Connection: close\r\n\r\n`);
      if (n === max) {
        assert.equal(statusOf(answer.text), 200);
        assert.match(answer.text, /hi(\r\n0\r\n\r\n)?$/);
        assert.equal(answer.reset, false);
      } else if (beyond === "refused") {
        assert.equal(statusOf(answer.text), 502);
        assert.doesNotMatch(answer.text, /hi$|x: /);
      } else {
        assert.equal(answer.reset, true);
        assert.doesNotMatch(answer.text, /\r\n0\r\n\r\n$/);
      }
    }
  });
}

const SIZES = [LIMITS.smallBodyBytesMax, LIMITS.bodyHighWaterBytes, LIMITS.pipelinedBytesMax];

test("bodies around every bound of copying and queueing pass whole, in both directions", async (t) => {
  const edge = await startEdge(t, { config: { routes: [{ name: "echo", echo: true }] } });
  const target = await startTarget(t, [], {});
  for (const size of SIZES.flatMap((n) => [n - 1, n, n + 1])) {
    const body = Buffer.alloc(size, "0123456789abcde\n").latin1Slice();
    const head = `${POST}Content-Length: ${size}\r\n`;
    await assertForwarded(t, target, {
      bytes: `${head}\r\n${body}`,
      meant: [{ line: "POST /meant", body }],
    });
    // The echo keeps 64 KiB of it, and says how much there was.
    const { text } = await exchangeRaw(t, edge.port, `${head}Connection: close\r\n\r\n${body}`);
    const said = JSON.parse(text.slice(text.indexOf("\r\n\r\n") + 4)) as Record<string, unknown>;
    assert.deepEqual([said.body_bytes, said.body], [size, body.slice(0, 65_536)]);
  }
});

test("connectionsMax: n are served, one more is told so and closed, and a place is given again", async (t) => {
  const edge = await startEdge(t, {
    connectionsMax: 2,
    config: { routes: [{ name: "all", respond: {} }] },
  });
  const serve = async (client: RawClient, count: number) => {
    client.send(`${START}\r\n`);
    await client.until((text) => statusesOf(text).length === count);
  };
  const [first, second] = [await connectRaw(t, edge.port), await connectRaw(t, edge.port)];
  await serve(first, 1);
  await serve(second, 1);
  const { text } = await (await connectRaw(t, edge.port)).closed();
  assert.match(text, /^HTTP\/1\.1 503 [^]*\r\nconnection: close\r\n[^]*"code":"OVERLOADED"/);
  await serve(first, 2);
  second.socket.destroy();
  await until(() => edge.host.connectionCount === 1, "a free place");
  await serve(await connectRaw(t, edge.port), 1);
});

test("pipelinedBytesMax: what waits behind a running request is bounded, and nothing is lost", async (t) => {
  const { promise, resolve: release } = Promise.withResolvers<null>();
  const edge = await startEdge(t, {
    plugins: new Map([["wait", onRequest(async () => await promise)]]),
    config: {
      routes: [
        {
          name: "held",
          match: { paths: [{ exact: "/held" }] },
          plugins: [{ plugin: "wait" }],
          respond: {},
        },
        { name: "all", respond: { status: 299 } },
      ],
    },
  });
  const others = await connectRaw(t, edge.port);
  const turns = async (count: number) => {
    const answered = statusesOf(await others.until(() => true)).length;
    for (let i = 1; i <= count; i++) {
      others.send(`${START}\r\n`);
      await others.until((text) => statusesOf(text).length === answered + i);
    }
  };
  const client = await connectRaw(t, edge.port);
  const filler = `${START}X: ${"a".repeat(30_000)}\r\n\r\n`;
  client.send("GET /held HTTP/1.1\r\nHost: a\r\n\r\n");
  const count = 1_000;
  client.send(filler.repeat(count));
  await turns(50);
  // The kernel's buffers hold some megabytes; the rest is still the client's.
  assert.ok(client.socket.writableLength > (filler.length * count) / 2);
  assert.equal(edge.finished.filter(({ path }) => path === "/held").length, 0);
  release(null);
  const text = await client.until((seen) => statusesOf(seen).length === count + 1);
  assert.deepEqual(statusesOf(text), [200, ...Array.from({ length: count }, () => 299)]);
});

for (const [dropped, isWithin] of [
  [LIMITS.drainBodyBytesMax, true],
  [LIMITS.drainBodyBytesMax + 1, false],
] as const) {
  test(`drainBodyBytesMax, lingerMs: after ${dropped} bytes behind a refusal the connection ${
    isWithin ? "lingers its time" : "is ended at once"
  }`, async (t) => {
    const edge = await startEdge(t, { config: { routes: [{ name: "all", respond: {} }] } });
    const client = await connectRaw(t, edge.port);
    const startMs = performance.now();
    client.send("GET / HTTP/1.1\r\n\r\n");
    await client.closed();
    client.send(Buffer.alloc(dropped, "a"));
    await until(() => edge.host.connectionCount === 0, "the end of the connection");
    const tookMs = performance.now() - startMs;
    // The wheel's tick is the grain of every deadline.
    const leastMs = LIMITS.lingerMs - LIMITS.timerTickMs;
    assert.equal(tookMs >= leastMs, isWithin, `${tookMs} ms`);
  });
}
