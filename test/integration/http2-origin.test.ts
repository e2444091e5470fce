// HTTP/2 origins, and what only they can do: many streams on few connections, windows, streams that are
// refused, reset, or told goodbye. That the rules are those for HTTP/1.1 origins is in
// test/integration/conformance.test.ts.

import assert from "node:assert/strict";
import { once } from "node:events";
import http2 from "node:http2";
import { test } from "node:test";
import type { TestContext } from "node:test";
import type { RouteConfig, UpstreamConfig } from "../../gateway/config/schema.ts";
import { startEdge } from "../support/edge.ts";
import type { Edge } from "../support/edge.ts";
import { h2Origin } from "../support/h2-origin.ts";
import type { H2Handler, H2Origin } from "../support/h2-origin.ts";
import { connectRaw, exchangeRaw } from "../support/raw.ts";

type Setup = { origin: H2Origin; edge: Edge };

async function through(
  t: TestContext,
  handle: H2Handler,
  rest: {
    upstream?: Partial<UpstreamConfig>;
    route?: Partial<RouteConfig>;
    settings?: http2.Settings;
  } = {},
): Promise<Setup> {
  const origin = await h2Origin(t, handle, rest.settings ?? {});
  const targets = [{ address: origin.address }];
  const edge = await startEdge(t, {
    http2: true,
    config: {
      upstreams: [{ name: "origin", protocol: "http2", targets, ...rest.upstream }],
      routes: [{ name: "all", upstream: "origin", ...rest.route }],
    },
  });
  return { origin, edge };
}

const GET = "GET /a?b=c HTTP/1.1\r\nhost: api.test\r\nx-own: 1\r\nconnection: close\r\n\r\n";

test("many requests share one connection", async (t) => {
  const { origin, edge } = await through(t, (stream) => {
    stream.respond({ ":status": 200 });
    stream.end("x");
  });
  const answers = await Promise.all(
    Array.from({ length: 300 }, () =>
      fetch(`http://127.0.0.1:${edge.port}/`).then((r) => r.text()),
    ),
  );
  assert.ok(answers.every((text) => text === "x"));
  assert.equal(origin.requests.length, 300);
  assert.ok(origin.sessions.length <= 4, `${origin.sessions.length} connections`);
});

test("bodies pass in both directions with back-pressure", async (t) => {
  const large = Buffer.alloc(5_000_000, "abcdefgh");
  const { edge } = await through(t, (stream) => {
    stream.respond({ ":status": 200 });
    stream.pipe(stream);
  });
  const answer = await fetch(`http://127.0.0.1:${edge.port}/`, { method: "POST", body: large });
  assert.ok(Buffer.from(await answer.arrayBuffer()).equals(large));
  let sent = 0;
  const endless = await through(t, (stream) => {
    stream.respond({ ":status": 200 });
    const more = () => {
      do sent += 65_536;
      while (stream.write(Buffer.alloc(65_536)) && sent < 512 * 1024 * 1024);
    };
    stream.on("drain", more);
    more();
  });
  const client = await connectRaw(t, endless.edge.port);
  client.send(GET);
  await client.until((text) => text.includes("200"));
  client.socket.pause();
  for (let i = 0; i < 500; i++) await new Promise((resolve) => setImmediate(resolve));
  assert.ok(sent < 64 * 1024 * 1024, `${sent} bytes were sent to a client that does not read`);
});

test("a refused stream is tried again, since the origin did not look at it", async (t) => {
  let count = 0;
  const { edge } = await through(
    t,
    (stream) => {
      count++;
      if (count === 1) {
        stream.close(http2.constants.NGHTTP2_REFUSED_STREAM);
        return;
      }
      stream.respond({ ":status": 200 });
      stream.end("second");
    },
    { route: { retries: { attempts: 1, on: ["connect-failure"] } } },
  );
  const { text } = await exchangeRaw(t, edge.port, GET);
  assert.match(text, /second/);
  assert.equal(count, 2);
});

test("a connection that says goodbye ends its streams and gets no new ones", async (t) => {
  const held: http2.ServerHttp2Stream[] = [];
  const { origin, edge } = await through(t, (stream) => {
    held.push(stream);
    if (held.length === 1) return;
    stream.respond({ ":status": 200 });
    stream.end("new connection");
  });
  const first = exchangeRaw(t, edge.port, GET);
  while (held.length === 0) await new Promise((resolve) => setImmediate(resolve));
  const left = once(origin.sessions[0], "close");
  origin.sessions[0].close();
  // The gateway has seen the goodbye once a second request goes elsewhere.
  while (origin.sessions.length === 1) {
    assert.match((await exchangeRaw(t, edge.port, GET)).text, /new connection/);
  }
  held[0].respond({ ":status": 200 });
  held[0].end("old connection");
  assert.match((await first).text, /old connection/);
  await left;
});

test("the origin's bound on streams is kept: the others wait", async (t) => {
  let open = 0;
  let most = 0;
  const { edge, origin } = await through(
    t,
    (stream) => {
      most = Math.max(most, ++open);
      stream.once("close", () => open--);
      setImmediate(() => {
        stream.respond({ ":status": 200 });
        stream.end("x");
      });
    },
    {
      settings: { maxConcurrentStreams: 2 },
      upstream: { pool: { sockets_max: 1, wait_ms: 5_000 } },
    },
  );
  const url = `http://127.0.0.1:${edge.port}/`;
  const answers = await Promise.all(
    Array.from({ length: 50 }, () => fetch(url).then((r) => r.status)),
  );
  assert.deepEqual(new Set(answers), new Set([200]));
  assert.equal(origin.sessions.length, 1);
  assert.ok(most <= 2, `${most} at once`);
});

test("a client that leaves resets the stream", async (t) => {
  const { origin, edge } = await through(t, () => {});
  const client = await connectRaw(t, edge.port);
  client.send(GET);
  while (origin.requests.length === 0) await new Promise((resolve) => setImmediate(resolve));
  const [session] = origin.sessions;
  client.socket.resetAndDestroy();
  while (edge.finished.length === 0) await new Promise((resolve) => setImmediate(resolve));
  assert.equal(session.destroyed, false, "the connection is kept");
});
