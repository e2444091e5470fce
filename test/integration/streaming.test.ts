// Bodies that flow, in lock step: each side sends the next piece only when the other has confirmed the
// last one out of band, so that a buffer anywhere between them is a deadlock and not a delay. For clients
// and origins of both protocols.

import assert from "node:assert/strict";
import { once } from "node:events";
import http from "node:http";
import type { IncomingMessage, ServerResponse } from "node:http";
import http2 from "node:http2";
import type { Http2ServerRequest, Http2ServerResponse, IncomingHttpHeaders } from "node:http2";
import type { AddressInfo } from "node:net";
import type { Readable, Writable } from "node:stream";
import { test } from "node:test";
import type { TestContext } from "node:test";
import type { RouteConfig } from "../../gateway/config/schema.ts";
import { startEdge } from "../support/edge.ts";
import type { Edge } from "../support/edge.ts";
import { until } from "../support/h2-websocket.ts";

const WAIT_MS = 10_000;
const EVENTS = 20;
const TIMEOUT_MS = 100;
const EVENT_STREAM = { "content-type": "text/event-stream" };

type Protocol = "http1" | "http2";
/** What an origin of either protocol does: node:http2 has requests and responses in the form of node:http. */
type Handler = (request: IncomingMessage, response: ServerResponse) => void;
type Http2Handler = (request: Http2ServerRequest, response: Http2ServerResponse) => void;

const PAIRS: readonly (readonly [client: Protocol, origin: Protocol])[] = [
  ["http1", "http1"],
  ["http1", "http2"],
  ["http2", "http1"],
  ["http2", "http2"],
];

/** A request whose body and answer are streams, over either protocol. */
type Asked = {
  readonly body: Writable;
  /** Statuses and links of the informational heads so far. */
  readonly interims: [status: number, link: unknown][];
  readonly trailers: () => NodeJS.Dict<string | string[]>;
  readonly response: Promise<{ status: number; headers: IncomingHttpHeaders; body: Readable }>;
  /** Goes, without a word. */
  leave(): void;
};

async function startOrigin(t: TestContext, protocol: Protocol, handler: Handler): Promise<string> {
  const server =
    protocol === "http1"
      ? http.createServer(handler)
      : http2.createServer(handler as unknown as Http2Handler);
  const sockets = new Set<{ destroy(): void }>();
  server.on("connection", (socket: { destroy(): void }) => sockets.add(socket));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

async function startPair(
  t: TestContext,
  origin: Protocol,
  handler: Handler,
  route: Partial<RouteConfig> = {},
): Promise<Edge> {
  const address = await startOrigin(t, origin, handler);
  return await startEdge(t, {
    http2: true,
    config: {
      upstreams: [{ name: "origin", protocol: origin, targets: [{ address }] }],
      routes: [{ name: "all", upstream: "origin", ...route }],
    },
  });
}

type Ask = {
  readonly edge: Edge;
  readonly method?: string;
  readonly path?: string;
  readonly headers?: object;
};

function ask(t: TestContext, protocol: Protocol, given: Ask): Asked {
  return protocol === "http1" ? askHttp1(t, given) : askHttp2(t, given);
}

function askHttp1(t: TestContext, { edge, method = "GET", path = "/", headers }: Ask): Asked {
  const request = http.request({
    port: edge.port,
    method,
    path,
    agent: false,
    headers: { ...headers },
  });
  const interims: Asked["interims"] = [];
  let got: IncomingMessage | null = null;
  t.after(() => request.destroy());
  request.on("error", () => {});
  request.on("information", (info) => interims.push([info.statusCode, info.headers["link"]]));
  const response = once(request, "response", { signal: AbortSignal.timeout(WAIT_MS) }).then(
    ([message]) => {
      got = message as IncomingMessage;
      got.on("error", () => {});
      return { status: got.statusCode ?? 0, headers: got.headers, body: got };
    },
  );
  if (method === "GET") request.end();
  else request.flushHeaders();
  const trailers = () => got?.trailers ?? {};
  return { body: request, interims, trailers, response, leave: () => void request.destroy() };
}

function askHttp2(t: TestContext, { edge, method = "GET", path = "/", headers: own }: Ask): Asked {
  const session = http2.connect(`http://127.0.0.1:${edge.port}`);
  session.on("error", () => {});
  t.after(() => session.destroy());
  const stream = session.request(
    { ":method": method, ":path": path, ...own },
    { endStream: method === "GET" },
  );
  const interims: Asked["interims"] = [];
  let trailers: NodeJS.Dict<string | string[]> = {};
  stream.on("error", () => {});
  stream.on("headers", (info) => interims.push([Number(info[":status"]), info["link"]]));
  stream.on("trailers", (received) => (trailers = received));
  const response = once(stream, "response", { signal: AbortSignal.timeout(WAIT_MS) }).then(
    ([received]) => {
      const headers = received as IncomingHttpHeaders;
      return { status: Number(headers[":status"]), headers, body: stream };
    },
  );
  return {
    body: stream,
    interims,
    trailers: () => trailers,
    response,
    leave: () => session.destroy(),
  };
}

/** What a stream has given so far; grows. */
function gather(stream: Readable): { text: string; ended: boolean } {
  const gathered = { text: "", ended: false };
  stream.on("data", (chunk: Buffer) => (gathered.text += chunk.toString("latin1")));
  stream.on("end", () => (gathered.ended = true));
  return gathered;
}

/** A test for every pair of protocols. */
function forPairs(
  what: string,
  run: (t: TestContext, client: Protocol, origin: Protocol) => Promise<void>,
): void {
  for (const [client, origin] of PAIRS) {
    test(`${what} (${client} to ${origin})`, (t) => run(t, client, origin));
  }
}

forPairs("each event arrives before the next one is made", async (t, client, origin) => {
  let confirmed = -1;
  const edge = await startPair(t, origin, async (_request, response) => {
    response.writeHead(200, EVENT_STREAM);
    response.flushHeaders();
    // The head first: whoever waits for an event to send it would wait for ever.
    await until(() => confirmed === 0);
    for (let i = 1; i <= EVENTS; i++) {
      response.write(`data: ${i}\n\n`);
      await until(() => confirmed === i);
    }
    response.end();
  });
  const { status, headers, body } = await ask(t, client, { edge }).response;
  assert.deepEqual([status, headers["content-type"]], [200, "text/event-stream"]);
  const got = gather(body);
  confirmed = 0;
  for (let i = 1; i <= EVENTS; i++) {
    await until(() => got.text.endsWith(`data: ${i}\n\n`));
    confirmed = i;
  }
  await until(() => got.ended);
  assert.equal(got.text.match(/data:/g)?.length, EVENTS);
});

forPairs(
  "each piece of an upload arrives before the next one is sent",
  async (t, client, origin) => {
    let got = { text: "", ended: false };
    const edge = await startPair(t, origin, async (request, response) => {
      got = gather(request);
      await until(() => got.ended);
      response.end(got.text);
    });
    const asked = ask(t, client, { edge, method: "POST" });
    let sent = "";
    for (let i = 1; i <= EVENTS; i++) {
      sent += `piece ${i};`;
      asked.body.write(`piece ${i};`);
      await until(() => got.text === sent);
    }
    asked.body.end();
    const { status, body } = await asked.response;
    const echoed = gather(body);
    await until(() => echoed.ended);
    assert.deepEqual([status, echoed.text], [200, sent]);
  },
);

forPairs("question and answer alternate within one request", async (t, client, origin) => {
  const edge = await startPair(t, origin, (request, response) => {
    response.writeHead(200);
    response.flushHeaders();
    request.on("data", (chunk: Buffer) => response.write(`re: ${chunk}`));
    request.on("end", () => response.end());
  });
  const asked = ask(t, client, { edge, method: "POST" });
  const { body } = await asked.response;
  const got = gather(body);
  for (let i = 1; i <= EVENTS; i++) {
    asked.body.write(`${i};`);
    await until(() => got.text.endsWith(`re: ${i};`));
  }
  asked.body.end();
  await until(() => got.ended);
});

forPairs("events outlive the route's time, and other answers do not", async (t, client, origin) => {
  let mayGoOn = false;
  const handler: Handler = async (request, response) => {
    const type = request.url === "/events" ? "text/event-stream; charset=utf-8" : "text/plain";
    response.writeHead(200, { "content-type": type });
    response.write("first");
    await until(() => mayGoOn);
    response.end(" last");
  };
  const edge = await startPair(t, origin, handler, { timeout_ms: TIMEOUT_MS });
  const startMs = performance.now();
  const events = gather((await ask(t, client, { edge, path: "/events" }).response).body);
  const other = (await ask(t, client, { edge, path: "/other" }).response).body;
  const cut = gather(other);
  await until(() => other.destroyed);
  await until(() => performance.now() - startMs > 4 * TIMEOUT_MS);
  assert.deepEqual(cut, { text: "first", ended: false });
  assert.deepEqual(events, { text: "first", ended: false });
  mayGoOn = true;
  await until(() => events.ended);
  assert.equal(events.text, "first last");
  assert.deepEqual(
    edge.finished.map(({ path, reason }) => [path, reason]),
    [
      ["/other", "ROUTE_TIMEOUT"],
      ["/events", ""],
    ],
  );
});

forPairs("a client that leaves ends the stream at the origin", async (t, client, origin) => {
  let isOver = false;
  const edge = await startPair(t, origin, async (_request, response) => {
    response.on("close", () => (isOver = true));
    response.on("error", () => {});
    response.writeHead(200, EVENT_STREAM);
    // An end alone could be a client of HTTP/1.1 that only has no more to say: the next event tells.
    while (!isOver) {
      response.write("data: tick\n\n");
      await new Promise((resolve) => setImmediate(resolve));
    }
  });
  const asked = ask(t, client, { edge });
  const got = gather((await asked.response).body);
  await until(() => got.text !== "");
  asked.leave();
  await until(() => isOver);
  await until(() => edge.finished.length === 1);
  assert.equal(edge.finished[0].reason, "client gone");
});

forPairs(
  "a client of HTTP/2 or a reset is noticed without another event",
  async (t, client, origin) => {
    let isOver = false;
    const edge = await startPair(t, origin, (_request, response) => {
      response.on("close", () => (isOver = true));
      response.on("error", () => {});
      response.writeHead(200, EVENT_STREAM);
      response.write("data: only\n\n");
    });
    const asked = ask(t, client, { edge });
    const got = gather((await asked.response).body);
    await until(() => got.text !== "");
    if (asked.body instanceof http.ClientRequest) asked.body.socket?.resetAndDestroy();
    else asked.leave();
    await until(() => isOver);
  },
);

forPairs("early hints arrive before the answer is made", async (t, client, origin) => {
  let confirmed = false;
  const edge = await startPair(t, origin, async (_request, response) => {
    if (response instanceof http.ServerResponse) response.writeProcessing();
    response.writeEarlyHints({ link: "</a.css>; rel=preload" });
    await until(() => confirmed);
    response.end("late");
  });
  const asked = ask(t, client, { edge });
  await until(() => asked.interims.length > 0);
  confirmed = true;
  const { status, body } = await asked.response;
  const got = gather(body);
  await until(() => got.ended);
  assert.deepEqual([status, got.text], [200, "late"]);
  // Only these: what else is informational is between two neighbours.
  assert.deepEqual(asked.interims, [[103, "</a.css>; rel=preload"]]);
});

forPairs("a body that waits to be asked for is asked for once", async (t, client, origin) => {
  const edge = await startPair(t, origin, async (request, response) => {
    assert.equal(request.headers["expect"], undefined);
    const got = gather(request);
    await until(() => got.ended);
    response.end(got.text);
  });
  const asked = ask(t, client, { edge, method: "POST", headers: { expect: "100-continue" } });
  await until(() => asked.interims.length > 0);
  asked.body.end("asked for");
  const { body } = await asked.response;
  const got = gather(body);
  await until(() => got.ended);
  assert.equal(got.text, "asked for");
  assert.deepEqual(asked.interims, [[100, undefined]]);
});

forPairs("trailers pass where both sides can say them", async (t, client, origin) => {
  const edge = await startPair(t, origin, (request, response) => {
    assert.equal(request.headers["te"], origin === "http2" ? "trailers" : undefined);
    response.writeHead(200, { "content-type": "text/plain", trailer: "x-sum" });
    response.write("body");
    response.addTrailers({ "x-sum": "4" });
    response.end();
  });
  const headers =
    client === "http2" ? { te: "trailers" } : { te: "trailers", connection: "te, close" };
  const asked = ask(t, client, { edge, headers });
  const { status, body } = await asked.response;
  const got = gather(body);
  await until(() => got.ended);
  assert.deepEqual([status, got.text], [200, "body"]);
  // Of an origin of HTTP/1.1 they are not asked for, and dropped.
  assert.equal(asked.trailers()["x-sum"], origin === "http2" ? "4" : undefined);
});
