// Uploads under load: a new version is live in every worker when the upload returns, no request fails
// meanwhile, and none sees two versions. The origin is the echo, so the request's side can be seen too.

import assert from "node:assert/strict";
import { test } from "node:test";
import { startGateway } from "../support/gateway.ts";
import { startLoad } from "../support/load.ts";
import { versionText, versionedPlugins } from "../support/versioned-plugin.ts";

const SWAPS = 200;
const RATE = 500;

test("200 uploads in a row under load: none fails a request, none is seen half", async (t) => {
  const moduleOf = await versionedPlugins();
  const size = moduleOf(0).length;
  assert.ok(size > 14_000 && size < 17_000, `the module has ${size} bytes`);
  const gateway = await startGateway(t, {
    workers: 2,
    plugins: { stamp: moduleOf(0) },
    config: {
      listeners: [{ name: "http", address: "127.0.0.1:0" }],
      routes: [{ name: "all", plugins: [{ plugin: "stamp" }], echo: true }],
    },
  });
  const seen = new Set<string>();
  let live = versionText(0);
  const load = startLoad(t, {
    port: gateway.port(),
    rate: RATE,
    mark: () => live,
    check: ({ status, head, body, mark }) => {
      if (status !== 200) return `status ${status}`;
      const sent = /\r\nx-version: (v\d+)/.exec(head)?.[1] ?? "none";
      const received = /"x-version": "(v\d+)"/.exec(body)?.[1] ?? "none";
      seen.add(sent);
      if (sent !== received) return `saw ${received} and ${sent}`;
      return sent < mark ? `${sent} was seen by a request that began after ${mark} was live` : null;
    },
  });
  const tookMs: number[] = [];
  for (let version = 1; version <= SWAPS; version++) {
    const beganMs = performance.now();
    const answer = await gateway.admin("POST", "/admin/plugins/load?name=stamp", moduleOf(version));
    tookMs.push(performance.now() - beganMs);
    assert.equal(answer.status, 201, answer.text);
    live = versionText(version);
    await load.answered(20);
  }
  const { answered, failures } = await load.stop();
  assert.deepEqual(failures.slice(0, 5), [], `${failures.length} of ${answered} failed`);
  assert.ok(seen.size > SWAPS * 0.9, `only ${seen.size} versions were seen`);
  tookMs.sort((a, b) => a - b);
  const at = (share: number) => tookMs[Math.floor(tookMs.length * share)].toFixed(1);
  t.diagnostic(`${answered} requests; upload to live: p50 ${at(0.5)}, p99 ${at(0.99)} ms`);
});
