// Rollouts of every kind of plugin, at every kind of place: one phase or both, versions that wait for their
// host, every isolation, places that share an attachment, responses that outlive a step. A phase is one
// version's alone: when the candidate fails, the stable one does it as if it had never been asked.

import assert from "node:assert/strict";
import { once } from "node:events";
import http from "node:http";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import type { TestContext } from "node:test";
import type { RunningGateway } from "../support/gateway.ts";
import { connectRaw } from "../support/raw.ts";
import {
  act,
  ask,
  guarded,
  rolloutOf,
  startRollout,
  startRolloutGateway,
} from "../support/rollout-gateway.ts";
import { rolloutPlugin } from "../support/rollout-plugin.ts";
import type { RolloutPluginOptions } from "../support/rollout-plugin.ts";

type Shape = {
  readonly name: string;
  readonly stable?: Partial<RolloutPluginOptions>;
  readonly candidate?: Partial<RolloutPluginOptions>;
  readonly attachment?: object;
  /** The headers of a request to each version, and of one at which the candidate fails. */
  readonly says: Readonly<Record<"s" | "c" | "failed", readonly (string | null)[]>>;
  /** A chance at which the candidate fails. */
  readonly failing: string;
};

const BOTH = { s: ["s", "s"], c: ["c", "c"], failed: ["s", "s"] } as const;
const KV = { grants: { kv: true } };

const SHAPES: readonly Shape[] = [
  { name: "both phases", candidate: { traps: 5 }, says: BOTH, failing: "01" },
  {
    name: "the request phase only",
    stable: { phases: "on_request" },
    candidate: { phases: "on_request", traps: 5 },
    says: { s: ["s", null], c: ["c", null], failed: ["s", null] },
    failing: "01",
  },
  {
    name: "the response phase only",
    stable: { phases: "on_response" },
    candidate: { phases: "on_response", trapsResponse: 5 },
    says: { s: [null, "s"], c: [null, "c"], failed: [null, "s"] },
    failing: "01",
  },
  {
    name: "a candidate that has one phase more",
    stable: { phases: "on_request" },
    candidate: { trapsResponse: 5 },
    says: { s: ["s", null], c: ["c", "c"], failed: ["c", null] },
    failing: "01",
  },
  {
    name: "a candidate that has one phase less",
    candidate: { phases: "on_response", trapsResponse: 5 },
    says: { s: ["s", "s"], c: [null, "c"], failed: [null, "s"] },
    failing: "01",
  },
  {
    name: "a candidate that waits for its host",
    candidate: { counts: "hits", traps: 5 },
    attachment: KV,
    says: BOTH,
    failing: "01",
  },
  {
    name: "a stable version that waits for its host",
    stable: { counts: "hits" },
    candidate: { traps: 5 },
    attachment: KV,
    says: BOTH,
    failing: "01",
  },
  {
    name: "both waiting for their host",
    stable: { counts: "hits" },
    candidate: { counts: "hits", traps: 5 },
    attachment: KV,
    says: BOTH,
    failing: "01",
  },
  {
    name: "an attachment that fails open: the stable version decides all the same",
    candidate: { traps: 5 },
    attachment: { fail_mode: "open" },
    says: BOTH,
    failing: "01",
  },
  {
    name: "a fresh instance for each call",
    candidate: { loops: 5 },
    attachment: { isolation: "fresh" },
    says: BOTH,
    failing: "01",
  },
  {
    name: "threads",
    candidate: { traps: 5 },
    attachment: { isolation: "thread", limits: { threads: 1 } },
    says: BOTH,
    failing: "01",
  },
];

async function saidTo(gateway: RunningGateway, chance = "50", path = "/") {
  const answer = await ask(gateway, { "x-user": "me", "x-chance": chance }, path);
  await answer.body?.cancel();
  assert.equal(answer.status, 200, `${chance}: ${answer.status}`);
  return [answer.headers.get("x-asked"), answer.headers.get("x-version")];
}

for (const { name, stable, candidate, attachment, says, failing } of SHAPES) {
  test(`a rollout of ${name}`, async (t) => {
    const gateway = await startRolloutGateway(t, {
      workers: 1,
      stable: rolloutPlugin({ mark: "s", ...stable }),
      candidate: rolloutPlugin({ mark: "c", ...candidate }),
      ...(attachment === undefined ? {} : { attachment }),
    });
    assert.deepEqual(await saidTo(gateway), says.s, "before");
    await startRollout(gateway, { steps: [100] });
    for (let i = 0; i < 3; i++) {
      assert.deepEqual(await saidTo(gateway), says.c, "at 100 %");
      assert.deepEqual(await saidTo(gateway, failing), says.failed, "when the candidate fails");
    }
    const { numbers } = await rolloutOf(gateway);
    assert.equal(numbers.candidate.errors, 3);
    assert.equal(numbers.stable.errors, 0);
    assert.equal((await act(gateway, "abort")).status, 200);
    assert.deepEqual(await saidTo(gateway, failing), says.s, "after");
  });
}

const STAMPS = { stable: rolloutPlugin({ mark: "s" }), candidate: rolloutPlugin({ mark: "c" }) };

test("of two routes with the same attachment one is rolled out, and the other sees nothing of it", async (t) => {
  const other = { ...guarded(), name: "other", match: { paths: [{ prefix: "/other" }] } };
  const gateway = await startRolloutGateway(t, {
    ...STAMPS,
    config: { routes: [guarded(), other] as never },
  });
  await startRollout(gateway, { steps: [100] });
  assert.deepEqual(await saidTo(gateway), ["c", "c"]);
  assert.deepEqual(await saidTo(gateway, "50", "/other"), ["s", "s"]);
  const { numbers } = await rolloutOf(gateway);
  assert.equal(numbers.stable.calls, 0, "calls of the other route are not the rollout's");
  assert.equal(numbers.candidate.calls, 2);
  assert.equal((await act(gateway, "promote")).status, 200);
  assert.deepEqual(await saidTo(gateway), ["c", "c"]);
  assert.deepEqual(await saidTo(gateway, "50", "/other"), ["s", "s"], "others follow still");
});

test("two attachments of one plugin on a route get the same version", async (t) => {
  const plugins = [{ plugin: "guard" }, { plugin: "guard", config: { again: true } }];
  const gateway = await startRolloutGateway(t, {
    ...STAMPS,
    config: { routes: [{ name: "all", plugins, respond: { body: "ok" } }] as never },
  });
  await startRollout(gateway, { steps: [50] });
  const seen = new Map<string, number>();
  for (let i = 0; i < 60; i++) {
    const answer = await ask(gateway, { "x-user": `user ${i}` });
    const said = `${answer.headers.get("x-asked")}${answer.headers.get("x-version")}`;
    seen.set(said, (seen.get(said) ?? 0) + 1);
  }
  assert.deepEqual([...seen.keys()].sort(), ["cc", "ss"]);
  const { numbers } = await rolloutOf(gateway);
  assert.equal(numbers.candidate.calls, 4 * (seen.get("cc") ?? 0), "four calls a request");
  assert.equal((await act(gateway, "promote")).status, 200);
  assert.deepEqual(await saidTo(gateway), ["c", "c"]);
});

/** An origin that streams events and talks WebSocket's handshake, and ends when it is told. */
async function streamingOrigin(t: TestContext): Promise<{ port: number; end(): void }> {
  const open: http.ServerResponse[] = [];
  const server = http.createServer((request, response) => {
    response.writeHead(200, { "content-type": "text/event-stream", "x-asked": "" });
    response.write(`data: asked ${request.headers["x-asked"]}\n\n`);
    open.push(response);
  });
  server.on("upgrade", (request: http.IncomingMessage, socket) => {
    const key = String(request.headers["sec-websocket-key"]);
    void crypto.subtle
      .digest("SHA-1", Buffer.from(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`))
      .then((digest) => {
        const accept = Buffer.from(digest).toString("base64");
        socket.write(
          "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n" +
            `sec-websocket-accept: ${accept}\r\n\r\nasked ${request.headers["x-asked"]}`,
        );
        socket.on("data", (bytes: Buffer) => socket.write(bytes));
        socket.on("error", () => {});
      });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return {
    port: (server.address() as AddressInfo).port,
    end: () => {
      for (const response of open) response.end("data: end\n\n");
    },
  };
}

test("a stream of events and a WebSocket go on across steps, an end and a promotion", async (t) => {
  const origin = await streamingOrigin(t);
  const gateway = await startRolloutGateway(t, {
    ...STAMPS,
    config: {
      routes: [guarded({}, { upstream: "origin" })] as never,
      upstreams: [{ name: "origin", targets: [{ address: `127.0.0.1:${origin.port}` }] }] as never,
    },
  });
  await startRollout(gateway, { steps: [50, 100] });
  await act(gateway, "next");
  const events = await ask(gateway, { "x-user": "me" });
  assert.equal(events.headers.get("x-version"), "c");
  const socket = await connectRaw(t, gateway.port());
  socket.send(
    "GET /ws HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\nx-user: me\r\n" +
      `sec-websocket-version: 13\r\nsec-websocket-key: ${Buffer.alloc(16, 7).toString("base64")}\r\n\r\n`,
  );
  await socket.until((text) => text.includes("asked c"));
  assert.equal((await act(gateway, "abort")).status, 200);
  await startRollout(gateway, { steps: [10] });
  assert.equal((await act(gateway, "promote")).status, 200);
  socket.send("still here");
  await socket.until((text) => text.endsWith("still here"));
  origin.end();
  assert.equal(await events.text(), "data: asked c\n\ndata: end\n\n");
});
