// Configuration changes under load: none fails a request, and a large one neither takes long nor holds
// up a worker. Durations are printed; what is asserted of time is what the gateway itself measured.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { Config, RouteConfig } from "../../gateway/config/schema.ts";
import { startGateway } from "../support/gateway.ts";
import type { RunningGateway } from "../support/gateway.ts";
import { startLoad } from "../support/load.ts";
import { answerWith, ok, rawOrigin } from "../support/raw.ts";

const CHANGES = 200;
const RATE = 500;
const ROUTES = 10_000;
// Far above what a quiet machine shows (35 ms): a busy one preempts a worker for longer than that.
const STALL_MS_MAX = 250;

function route(name: string, path: string): RouteConfig {
  return { name, match: { paths: [{ prefix: path }] }, respond: { status: 200, body: name } };
}

test("200 changes under load fail no request, and each is live when it is acknowledged", async (t) => {
  const origin = await rawOrigin(t, answerWith(ok("from the origin")));
  const base: Config = {
    listeners: [{ name: "http", address: "127.0.0.1:0" }],
    upstreams: [{ name: "origin", targets: [{ address: origin.address }] }],
    routes: [{ name: "all", upstream: "origin" }],
  };
  const gateway = await startGateway(t, { workers: 2, config: base });
  const url = `http://127.0.0.1:${gateway.port()}`;
  const load = startLoad(t, { port: gateway.port(), rate: RATE });
  for (let i = 1; i <= CHANGES; i++) {
    const answer = await gateway.admin("PUT", "/admin/routes/extra", route("extra", `/extra-${i}`));
    assert.ok(answer.status === 200 || answer.status === 201, answer.text);
    assert.equal(answer.body.revision, i + 1);
    // A new connection each time, so that the kernel may give it to either worker.
    const seen = await fetch(`${url}/extra-${i}`, { headers: { connection: "close" } });
    assert.equal(await seen.text(), "extra", `change ${i} is acknowledged but not live`);
    await load.answered(10);
  }
  const { answered, failures } = await load.stop();
  assert.deepEqual(failures.slice(0, 5), [], `${failures.length} of ${answered} failed`);
  assert.ok(origin.received.length <= 64, "the upstream's connections outlive changes elsewhere");
  t.diagnostic(`${answered} requests during ${CHANGES} changes`);
});

test("10,000 routes are applied without holding up a worker", async (t) => {
  const gateway = await startGateway(t, {
    workers: 2,
    config: {
      listeners: [{ name: "http", address: "127.0.0.1:0" }],
      routes: [route("first", "/")],
    },
  });
  const routes = Array.from({ length: ROUTES }, (_, i) => route(`route-${i}`, `/service-${i}`));
  const live = (await gateway.admin("GET", "/admin/config")).body as Config;
  const load = startLoad(t, { port: gateway.port(), rate: RATE, path: "/service-77/x" });
  await load.answered(100);
  const beganMs = performance.now();
  const body = JSON.stringify({ ...live, routes: [route("first", "/"), ...routes] });
  const answer = await gateway.admin("PUT", "/admin/config", body);
  const tookMs = performance.now() - beganMs;
  assert.equal(answer.status, 200, answer.text.slice(0, 500));
  await load.answered(500);
  const { failures } = await load.stop();
  assert.deepEqual(failures.slice(0, 5), []);
  const stallMs = await longestStallMs(gateway);
  t.diagnostic(`applied in ${tookMs.toFixed(0)} ms (${answer.body.took_ms} in the gateway)`);
  t.diagnostic(`longest stall of a worker ${stallMs.toFixed(1)} ms`);
  assert.ok(stallMs < STALL_MS_MAX, `a worker stood still for ${stallMs} ms`);
  const last = await fetch(`http://127.0.0.1:${gateway.port()}/service-9999/x`);
  assert.equal(await last.text(), "route-9999");
});

async function longestStallMs(gateway: RunningGateway): Promise<number> {
  const { text } = await gateway.admin("GET", "/metrics");
  const samples = [...text.matchAll(/^sallyport_event_loop_delay_max_seconds\{[^}]*\} (\S+)$/gm)];
  assert.equal(samples.length, 2, "one sample a worker");
  return Math.max(...samples.map(([, value]) => Number(value) * 1000));
}
