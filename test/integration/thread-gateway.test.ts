// `isolation: thread` in a running gateway: a loop costs its own request and no other's, responses wait
// for their policies without losing a byte, and a plugin's threads end with its last attachment.

import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import http from "node:http";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import type { TestContext } from "node:test";
import type { Config } from "../../gateway/config/schema.ts";
import { startGateway } from "../support/gateway.ts";
import type { RunningGateway } from "../support/gateway.ts";
import { MISDEEDS, misbehavingPlugin } from "../support/misbehaving-plugin.ts";

const CPU_MS = 500;
const BODY = Buffer.alloc(3_000_000, "0123456789abcdef");
const ENDING_MS = 10_000;

/** Its plugin sets the response header `get` to the path of the request. */
const ATTACHED = {
  plugin: "odd",
  isolation: "thread" as const,
  limits: { cpu_ms: CPU_MS, threads: 2 },
};

function config(origin: string): Config {
  return {
    listeners: [{ name: "http", address: "127.0.0.1:0" }],
    upstreams: [{ name: "origin", targets: [{ address: origin }] }],
    routes: [
      { name: "plain", match: { paths: [{ prefix: "/plain" }] }, respond: { status: 200 } },
      {
        name: "local",
        match: { paths: [{ exact: "/x/local" }] },
        plugins: [ATTACHED],
        respond: { status: 418, body: "tea" },
      },
      { name: "all", plugins: [ATTACHED], upstream: "origin" },
    ],
  };
}

/** Answers with BODY, its length declared or not; below /x/cut with a part of it, and a cut. */
async function startOrigin(t: TestContext): Promise<string> {
  const server = http.createServer((request, response) => {
    request.resume();
    if (request.url === "/x/length") response.setHeader("content-length", BODY.length);
    if (request.url === "/x/empty") return void response.writeHead(204).end();
    if (request.url !== "/x/cut") return void response.end(BODY);
    response.writeHead(200, { "content-length": BODY.length });
    response.write(BODY.subarray(0, 1_000), () => response.destroy());
  });
  t.after(() => server.closeAllConnections());
  t.after(() => server.close());
  await new Promise<void>((ready) => server.listen(0, "127.0.0.1", ready));
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

async function start(t: TestContext): Promise<RunningGateway> {
  return await startGateway(t, {
    plugins: { odd: await misbehavingPlugin() },
    config: config(await startOrigin(t)),
  });
}

async function ask(gateway: RunningGateway, path: string, init: RequestInit = {}) {
  const response = await fetch(`http://127.0.0.1:${gateway.port()}${path}`, init);
  return { status: response.status, mark: response.headers.get("get"), response };
}

test("a response waits for its policies, and arrives whole", async (t) => {
  const gateway = await start(t);
  for (const path of ["/x/length", "/x/chunked", "/x/length"]) {
    const { status, mark, response } = await ask(gateway, path);
    assert.deepEqual([status, mark], [200, path]);
    assert.ok(BODY.equals(Buffer.from(await response.arrayBuffer())), path);
  }
  const empty = await ask(gateway, "/x/empty");
  assert.deepEqual([empty.status, empty.mark], [204, "/x/empty"]);
  const local = await ask(gateway, "/x/local");
  assert.deepEqual(
    [local.status, local.mark, await local.response.text()],
    [418, "/x/local", "tea"],
  );
  // The origin was cut while its head waited, or behind it: never a whole response.
  const cut = await ask(gateway, "/x/cut");
  if (cut.status === 200) await assert.rejects(cut.response.arrayBuffer());
  else assert.equal(cut.status, 502);
  const after = await ask(gateway, "/x/length", { method: "HEAD" });
  assert.equal(after.status, 200);
});

test("a loop is ended at its deadline; other requests go on, and the next one works", async (t) => {
  const gateway = await start(t);
  assert.equal((await ask(gateway, MISDEEDS.fine)).status, 200);
  const beganMs = performance.now();
  let isLooping = true;
  const loop = ask(gateway, MISDEEDS.loop).finally(() => (isLooping = false));
  let [plain, guarded] = [0, 0];
  while (isLooping) {
    const both = await Promise.all([ask(gateway, "/plain"), ask(gateway, "/x/local")]);
    assert.deepEqual(
      both.map(({ status }) => status),
      [200, 418],
    );
    await both[1].response.text();
    if (isLooping) [plain, guarded] = [plain + 1, guarded + 1];
  }
  const { status, response } = await loop;
  const tookMs = performance.now() - beganMs;
  assert.equal(status, 504);
  assert.equal(((await response.json()) as { code: string }).code, "PLUGIN_DEADLINE");
  assert.ok(tookMs >= CPU_MS, `after ${tookMs} ms`);
  assert.ok(plain > 2 && guarded > 2, `${plain} and ${guarded} others went through meanwhile`);
  const againMs = performance.now();
  assert.equal((await ask(gateway, MISDEEDS.fine)).status, 200);
  t.diagnostic(
    `ended after ${tookMs.toFixed(0)} ms; ${plain} others meanwhile; the next call took ` +
      `${(performance.now() - againMs).toFixed(1)} ms`,
  );
});

test("loops beside one another cost their own requests and no others", async (t) => {
  const gateway = await start(t);
  const loops = [MISDEEDS.loop, MISDEEDS.loop, MISDEEDS.loop].map((path) => ask(gateway, path));
  const fine = Array.from({ length: 20 }, () => ask(gateway, "/x/local"));
  for (const { status } of await Promise.all(loops)) assert.equal(status, 504);
  for (const { status } of await Promise.all(fine)) assert.equal(status, 418);
});

test("a bomb of memory is held to its bound, and counted as what it was", async (t) => {
  const gateway = await start(t);
  assert.equal((await ask(gateway, MISDEEDS.memory)).status, 200);
  const blocks = await ask(gateway, MISDEEDS.blocks);
  assert.equal(blocks.status, 500);
  const { text } = await gateway.admin("GET", "/metrics");
  assert.match(text, /kernel_memory/);
});

test("the threads of a plugin end when nothing is attached any more", async (t) => {
  const gateway = await start(t);
  const [pid] = await gateway.workerPids();
  const threads = () => readdirSync(`/proc/${pid}/task`).length;
  const before = threads();
  const [route] = config("127.0.0.1:9").routes ?? [];
  const { body } = await gateway.admin("GET", "/admin/config");
  const bare = { ...(body as Config), routes: [route] };
  const answer = await gateway.admin("PUT", "/admin/config", bare);
  assert.equal(answer.status, 200, answer.text);
  const endsMs = performance.now() + ENDING_MS;
  // Two and one that stands by.
  while (threads() > before - 3) {
    assert.ok(performance.now() < endsMs, `${threads()} threads of ${before} are left`);
    await ask(gateway, "/plain");
  }
});

const REFUSED: readonly [sentence: string, attachment: object, message: RegExp][] = [
  ["threads without isolation: thread", { limits: { threads: 3 } }, /does nothing without/],
  [
    "a grant that threads do not serve",
    { isolation: "thread", grants: { kv: true } },
    /isolation: thread does not serve kv/,
  ],
];

for (const [sentence, attachment, message] of REFUSED) {
  test(`the configuration is refused: ${sentence}`, async (t) => {
    const gateway = await start(t);
    const plugins = [{ plugin: "odd", ...attachment }];
    const routes = [{ name: "all", plugins, echo: true }];
    const refused = await gateway.admin("POST", "/admin/config/validate", {
      listeners: [{ name: "http", address: "127.0.0.1:0" }],
      routes,
    });
    assert.match(refused.text, message);
  });
}
