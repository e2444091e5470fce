// Faults of the HTTP/1.1 path that an attack found once: bodies in one read, cuts at a bound, what a policy
// may believe, half-closed clients. Each test was seen to fail.

import assert from "node:assert/strict";
import { test } from "node:test";
import { LIMITS } from "../../gateway/base/limits.ts";
import { onRequest, startTarget, statusesOf } from "../support/attack.ts";
import { startEdge } from "../support/edge.ts";
import { until } from "../support/origin-user.ts";
import { connectRaw, exchangeRaw, statusOf } from "../support/raw.ts";

// A refusal within the body, whose end comes with the same read: the connection must still end.
test("a body in chunks over its bound that comes whole does not leave its connection behind", async (t) => {
  for (const path of ["/", "/echo"]) {
    const { edge } = await startTarget(
      t,
      [
        { name: "echo", match: { paths: [{ exact: "/echo" }] }, body_bytes_max: 10, echo: true },
        { name: "small", body_bytes_max: 10, upstream: "origin" },
      ],
      { timeouts: { body_idle_ms: 100, idle_ms: 100, head_ms: 100 } },
    );
    const client = await connectRaw(t, edge.port);
    client.send(
      `POST ${path} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n14\r\n${"a".repeat(20)}\r\n0\r\n\r\n`,
    );
    assert.equal(statusOf((await client.closed()).text), 413);
    await until(() => edge.host.connectionCount === 0, "the end of the connection");
  }
});

// The bound is the target's, not the line's.
test("requestLineBytesMax: a target of n bytes passes however it is cut", async (t) => {
  const { edge } = await startTarget(t);
  const client = await connectRaw(t, edge.port);
  client.socket.setNoDelay(true);
  client.send(`GET /${"a".repeat(LIMITS.requestLineBytesMax - 1)} HTTP/1.1\r`);
  const other = await exchangeRaw(
    t,
    edge.port,
    "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
  );
  assert.equal(statusOf(other.text), 200);
  client.send("\nHost: a\r\nConnection: close\r\n\r\n");
  assert.equal(statusOf((await client.closed()).text), 200);
});

// What a policy, a route's condition, a hash or a rate limit sees of Host and of the gateway's own headers.
test("a policy sees the host and the forwarding headers that the origin sees, never a stranger's", async (t) => {
  const names = ["host", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "forwarded"];
  names.push(
    "x-forwarded-client-cert",
    "x-real-ip",
    "x-forwarded-port",
    "x-request-id",
    "traceparent",
  );
  const seen: (string | null)[] = [];
  const watch = onRequest((exchange) => {
    seen.push(...names.map((name) => exchange.header(name)));
    return null;
  });
  const { edge } = await startTarget(
    t,
    [
      {
        name: "secure",
        match: { headers: [{ name: "x-forwarded-proto", exact: "spoofed" }] },
        respond: { status: 299 },
      },
      { name: "seen", plugins: [{ plugin: "watch" }], upstream: "origin" },
    ],
    { plugins: new Map([["watch", watch]]) },
  );
  const own = names
    .slice(1)
    .map((name) => `${name}: spoofed\r\n`)
    .join("")
    .replace("x-request-id: spoofed", "x-request-id: spoofed id");
  const { text } = await exchangeRaw(
    t,
    edge.port,
    `GET http://inner/ HTTP/1.1\r\nHost: spoofed\r\n${own}Connection: close\r\n\r\n`,
  );
  assert.deepEqual(statusesOf(text), [200]);
  for (const [i, value] of seen.entries()) assert.doesNotMatch(value ?? "", /spoofed/, names[i]);
});

// RFC 9112, 3.2, on HTTP/1.0 as well.
test("an absolute target without a host, and an invalid Host beside one, are refused", async (t) => {
  const { edge, origin } = await startTarget(t);
  for (const bytes of [
    "GET http:///x HTTP/1.0\r\nHost: a\r\n\r\n",
    "GET http://?a HTTP/1.0\r\nHost: a\r\n\r\n",
    "GET http://a/x HTTP/1.1\r\nHost: a/b@c\r\nConnection: close\r\n\r\n",
    "GET http://a/x HTTP/1.1\r\nHost:\r\nConnection: close\r\n\r\n",
  ]) {
    const { text } = await exchangeRaw(t, edge.port, bytes);
    assert.equal(statusOf(text), 400, bytes);
  }
  assert.deepEqual(origin.take().texts, []);
});

// JSON leaves DEL and C1 as they are; 0x9B is CSI to a terminal.
test("the gateway's own log has no control character of either set", async (t) => {
  const fails = onRequest((exchange) => {
    throw new Error(exchange.header("x-fail") ?? "");
  });
  const edge = await startEdge(t, {
    plugins: new Map([["fails", fails]]),
    config: { routes: [{ name: "all", plugins: [{ plugin: "fails" }], respond: {} }] },
  });
  await exchangeRaw(
    t,
    edge.port,
    "GET / HTTP/1.1\r\nHost: a\r\nX-Fail: \x85\x9b2J\r\nConnection: close\r\n\r\n",
  );
  assert.ok(edge.logLines.length > 0);
  for (const line of edge.logLines) assert.doesNotMatch(line, /[\x7f-\x9f]/);
});

// The echo shows what would be forwarded, which has more fields than the client's.
test("the echo shows every header of a head that was accepted", async (t) => {
  const edge = await startEdge(t, { config: { routes: [{ name: "echo", echo: true }] } });
  const fields = Array.from({ length: LIMITS.headersMax - 2 }, (_, i) => `X-${i}: y\r\n`).join("");
  const { text } = await exchangeRaw(
    t,
    edge.port,
    `GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n${fields}\r\n`,
  );
  const { headers } = JSON.parse(text.slice(text.indexOf("\r\n\r\n"))) as { headers: object };
  assert.equal(Object.keys(headers).length >= LIMITS.headersMax - 2, true);
});

// Whole requests that are parked count, though nothing more will come.
test("pipelined requests before a half-close are all answered", async (t) => {
  const { edge } = await startTarget(t);
  const client = await connectRaw(t, edge.port);
  client.socket.end("GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n");
  assert.deepEqual(statusesOf((await client.closed()).text), [200, 200]);
});

// U+00A0 is blank to trim(), and a byte of text to HTTP.
test("an address in X-Forwarded-For with a byte beyond ASCII is none", async (t) => {
  const edge = await startEdge(t, {
    config: { trusted_proxies: ["127.0.0.1"], routes: [{ name: "all", respond: {} }] },
  });
  await exchangeRaw(
    t,
    edge.port,
    "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: \xa06.6.6.6\r\nConnection: close\r\n\r\n",
  );
  assert.equal(edge.finished[0].clientIp, "127.0.0.1");
});
