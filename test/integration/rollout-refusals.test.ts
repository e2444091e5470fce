// Rollouts that must not begin, with every fault named and nothing started; and rollouts that cannot go on
// as they should: neither may one of them hold up the others, nor may a bad candidate go on serving.

import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { withManifestText } from "../../plugins-src/manifest-section.ts";
import { callAll } from "../support/callers.ts";
import { temporaryFolder } from "../support/gateway.ts";
import type { RunningGateway } from "../support/gateway.ts";
import {
  CANDIDATE,
  act,
  ask,
  guarded,
  rolloutOf,
  startRollout,
  startRolloutGateway,
  store,
  untilRollout,
} from "../support/rollout-gateway.ts";
import { rolloutPlugin } from "../support/rollout-plugin.ts";
import type { RolloutPluginOptions } from "../support/rollout-plugin.ts";

const MODULES = { stable: rolloutPlugin({ mark: "s" }), candidate: rolloutPlugin({ mark: "c" }) };
const PLACE = "/admin/routes/all/rollouts/guard";

/** A version whose configuration may only have this role. */
function choosy(version: string, role: string, options: RolloutPluginOptions): Uint8Array {
  const config_schema = { type: "object", properties: { role: { enum: [role] } } };
  const manifest = { name: "guard", version, abi: 1, input: "lazy", config_schema };
  return withManifestText(rolloutPlugin(options), JSON.stringify(manifest));
}

/** A body, and what is said about it: of each fault a piece. */
const FAULTS: readonly (readonly [body: object, ...said: RegExp[]])[] = [
  [{}, /candidate is/],
  [{ candidate: 7 }, /candidate is/],
  [{ candidate: "2.0.0", mode: "blue" }, /mode is canary or shadow/],
  [{ candidate: "2.0.0", steps: [] }, /steps are/],
  [{ candidate: "2.0.0", steps: 5 }, /steps are/],
  [{ candidate: "2.0.0", steps: [5, 5] }, /steps are/],
  [{ candidate: "2.0.0", steps: [50, 5] }, /steps are/],
  [{ candidate: "2.0.0", steps: [0] }, /steps are/],
  [{ candidate: "2.0.0", steps: [101] }, /steps are/],
  [{ candidate: "2.0.0", steps: [-1, 5] }, /steps are/],
  [{ candidate: "2.0.0", steps: ["5"] }, /steps are/],
  [{ candidate: "2.0.0", steps: [null, 5] }, /steps are/],
  [{ candidate: "2.0.0", steps: Array.from({ length: 33 }, (_, i) => i + 1) }, /steps are/],
  [{ candidate: "2.0.0", mode: "shadow", steps: [5] }, /a shadow has no steps/],
  [{ candidate: "2.0.0", interval_ms: 99 }, /interval_ms is/],
  [{ candidate: "2.0.0", interval_ms: "1s" }, /interval_ms is/],
  [{ candidate: "2.0.0", interval_ms: 1e15 }, /interval_ms is/],
  [{ candidate: "2.0.0", sticky: "ip" }, /sticky is/],
  [{ candidate: "2.0.0", sticky: { by: "luck" } }, /sticky is/],
  [{ candidate: "2.0.0", sticky: { by: "header" } }, /sticky is/],
  [{ candidate: "2.0.0", sticky: { by: "ip", name: "x" } }, /sticky is/],
  [{ candidate: "2.0.0", sticky: { by: "cookie", name: "a b" } }, /sticky is/],
  [{ candidate: "2.0.0", sticky: { by: "header", name: "a\r\nb: c" } }, /sticky is/],
  [{ candidate: "2.0.0", sticky: { by: "ip", salt: "x" } }, /sticky is/],
  [{ candidate: "2.0.0", sticky: ["ip"] }, /sticky is/],
  [{ candidate: "2.0.0", analysis: [] }, /analysis is/],
  [{ candidate: "2.0.0", analysis: { min_requests: 0 } }, /analysis\.min_requests is/],
  [{ candidate: "2.0.0", analysis: { error_rate_max: 2 } }, /analysis\.error_rate_max is/],
  [{ candidate: "2.0.0", analysis: { p99_ratio_max: null } }, /analysis\.p99_ratio_max is/],
  [{ candidate: "2.0.0", analysis: { errors: 1 } }, /analysis has no errors/],
  [JSON.parse('{"candidate":"2.0.0","analysis":{"__proto__":1}}'), /analysis has no __proto__/],
  [JSON.parse('{"candidate":"2.0.0","__proto__":{}}'), /__proto__ is not a key/],
  [{ candidate: "2.0.0", intervall_ms: 1 }, /intervall_ms is not a key/],
  [
    { mode: "x", steps: "x", interval_ms: 0, sticky: 1, analysis: 1, more: 1 },
    ...[/candidate is/, /mode is/, /steps are/, /interval_ms is/, /sticky is/, /analysis is/],
    /more is not a key/,
  ],
];

/** Places and versions that are not there. */
const ABSENT: readonly (readonly [path: string, body: object, status: number, code: string])[] = [
  ["/admin/routes/none/rollouts/guard", { candidate: "2.0.0" }, 404, "unknown_route"],
  ["/admin/routes/all/rollouts/none", { candidate: "2.0.0" }, 422, "not_attached"],
  ["/admin/routes/all/rollouts/guard", { candidate: "9.9.9" }, 404, "unknown_plugin"],
  ["/admin/routes/all/rollouts/guard", { candidate: "" }, 404, "unknown_plugin"],
  ["/admin/routes/all/rollouts/guard", { candidate: "1.0.0" }, 422, "same_version"],
  ["/admin/routes/both/rollouts/guard", { candidate: "2.0.0" }, 422, "not_attached"],
  ["/admin/routes/all/rollouts/cors", { candidate: "2.0.0" }, 422, "not_attached"],
];

test("what a rollout gets wrong is told all at once, and nothing is started", async (t) => {
  const both = {
    ...{ name: "both", match: { paths: [{ prefix: "/both" }] }, respond: { body: "" } },
    plugins: [{ plugin: "guard", version: "1.0.0" }, { plugin: "guard" }],
  };
  const gateway = await startRolloutGateway(t, {
    ...MODULES,
    workers: 1,
    config: { routes: [guarded(), both] as never },
  });
  for (const [body, ...said] of FAULTS) {
    const { status, body: refusal, text } = await gateway.admin("PUT", PLACE, body);
    const what = JSON.stringify(body);
    assert.deepEqual([status, refusal.code], [422, "bad_rollout"], `${what}: ${text}`);
    assert.equal(refusal.faults_found.length, said.length, `${what}: ${text}`);
    for (const each of said) assert.match(refusal.detail, each, what);
  }
  for (const [path, body, status, code] of ABSENT) {
    const answer = await gateway.admin("PUT", path, body);
    assert.deepEqual([answer.status, answer.body.code], [status, code], answer.text);
  }
  for (const body of ["", "{", "[]", "null", '"x"']) {
    const { status, text } = await gateway.admin("PUT", PLACE, body);
    assert.equal(status, 400, `${body}: ${text}`);
  }
  for (const body of [{ to: "half" }, { to: 50 }]) {
    assert.equal((await gateway.admin("POST", `${PLACE}/promote`, body)).status, 400);
  }
  assert.deepEqual((await gateway.admin("GET", "/admin/rollouts")).body, []);
  for (const action of ["promote", "next", "pause", "resume", "abort"] as const) {
    assert.deepEqual((await act(gateway, action)).body.code, "unknown_rollout");
  }
});

test("a candidate that refuses to start, or whose schema refuses the configuration, is not begun", async (t) => {
  const gateway = await startRolloutGateway(t, {
    ...MODULES,
    workers: 1,
    attachment: { config: { role: "buyer" } },
  });
  await store(gateway, "3.0.0", rolloutPlugin({ mark: "k", counts: "hits" }));
  await store(gateway, "4.0.0", choosy("4.0.0", "seller", { mark: "k" }));
  const ungranted = await gateway.admin("PUT", PLACE, { candidate: "3.0.0" });
  assert.deepEqual([ungranted.status, ungranted.body.code], [422, "refused_by_worker"]);
  assert.match(ungranted.text, /it needs kv/);
  const unfit = await gateway.admin("PUT", PLACE, { candidate: "4.0.0" });
  assert.deepEqual([unfit.status, unfit.body.code], [422, "invalid_config"], unfit.text);
  assert.match(unfit.text, /role/);
  assert.deepEqual((await gateway.admin("GET", "/admin/rollouts")).body, []);
  assert.equal((await ask(gateway)).headers.get("x-version"), "s");
});

test("a version that a rollout names cannot be removed, a second rollout cannot begin", async (t) => {
  const gateway = await startRolloutGateway(t, { ...MODULES, workers: 1 });
  await startRollout(gateway, { steps: [50] });
  for (const version of ["1.0.0", "2.0.0"]) {
    const { status, body } = await gateway.admin(
      "DELETE",
      `/admin/plugins/guard/versions/${version}`,
    );
    assert.deepEqual([status, body.code], [409, "plugin_referenced"]);
  }
  await store(gateway, "3.0.0", rolloutPlugin({ mark: "n" }));
  const second = await gateway.admin("PUT", PLACE, { candidate: "3.0.0" });
  assert.deepEqual([second.status, second.body.code], [409, "rollout_running"]);
  await act(gateway, "abort");
  assert.equal((await gateway.admin("DELETE", "/admin/plugins/guard/versions/2.0.0")).status, 200);
});

test("of eight shadows each can be replaced, and a ninth is refused", async (t) => {
  const routes = Array.from({ length: 9 }, (_, i) => ({
    ...{ name: `r${i}`, match: { paths: [{ prefix: `/r${i}` }] }, respond: { body: "" } },
    plugins: [{ plugin: "guard" }],
  }));
  const gateway = await startRolloutGateway(t, {
    ...MODULES,
    workers: 1,
    config: { routes: routes as never },
  });
  const shadow = { candidate: "2.0.0", mode: "shadow" };
  const start = async (i: number) =>
    await gateway.admin("PUT", `/admin/routes/r${i}/rollouts/guard`, shadow);
  for (let i = 0; i < 8; i++) assert.equal((await start(i)).status, 201);
  const ninth = await start(8);
  assert.deepEqual([ninth.status, ninth.body.code], [409, "too_many_rollouts"]);
  assert.equal((await start(3)).status, 200, "a shadow under way is replaced");
});

async function callersOf(gateway: RunningGateway, path: string): Promise<void> {
  const request = (index: number) => ({ path, headers: `x-user: ${index}\r\nx-chance: 01\r\n` });
  await callAll({ port: gateway.port(), connections: 8, request, onAnswer: () => {} }, 300);
}

const EAGER = { interval_ms: 200, analysis: { min_requests: 20, p99_ratio_max: 1_000_000 } };

test("a bad candidate is taken back although another rollout cannot go on", async (t) => {
  const folder = temporaryFolder(t);
  const secret = join(folder, "secret");
  writeFileSync(secret, "buyer");
  const other = {
    ...{ name: "other", match: { paths: [{ prefix: "/other" }] }, respond: { body: "" } },
    plugins: [{ plugin: "guard", config: { role: `$file:${secret}` } }],
  };
  const gateway = await startRolloutGateway(t, {
    folder,
    stable: rolloutPlugin({ mark: "s" }),
    candidate: rolloutPlugin({ mark: "c", fails: { below: 100, text: "no" } }),
    config: { routes: [other, guarded()] as never },
  });
  await store(gateway, "3.0.0", rolloutPlugin({ mark: "n" }));
  const place = "/admin/routes/other/rollouts/guard";
  await startRollout(gateway, { ...EAGER, place, candidate: "3.0.0", steps: [100] });
  // Two follow: a promotion writes a configuration, and that cannot be read any more.
  writeFileSync(secret, "");
  await callersOf(gateway, "/other");
  const endMs = performance.now() + 10_000;
  while (!gateway.stderr().includes("a rollout could not go on")) {
    assert.ok(performance.now() < endMs, "the promotion went through");
    await rolloutOf(gateway, place);
  }
  await startRollout(gateway, { ...EAGER, steps: [50] });
  await callersOf(gateway, "/");
  const { events } = await untilRollout(gateway, ({ state }) => state === "aborted");
  assert.match(events.at(-1).reason, /^calls failed/);
  assert.equal((await rolloutOf(gateway, place)).state, "running");
});

/** A rollout at 100 %, and a secret of another route: without it no configuration is accepted. */
async function startBesideSecret(t: TestContext) {
  const folder = temporaryFolder(t);
  const secret = join(folder, "secret");
  writeFileSync(secret, "buyer");
  const other = {
    ...{ name: "other", match: { paths: [{ prefix: "/other" }] }, respond: { body: "" } },
    plugins: [{ plugin: "guard", config: { role: `$file:${secret}` } }],
  };
  const gateway = await startRolloutGateway(t, {
    ...MODULES,
    folder,
    config: { routes: [other, guarded()] as never },
  });
  await startRollout(gateway, { steps: [100] });
  return { gateway, secret };
}

test("an abort takes the candidate back although the configuration cannot be written", async (t) => {
  const { gateway, secret } = await startBesideSecret(t);
  await store(gateway, "3.0.0", rolloutPlugin({ mark: "n" }));
  const moved = await gateway.admin("PUT", "/admin/plugins/guard/current", { version: "3.0.0" });
  assert.equal(moved.status, 200, moved.text);
  writeFileSync(secret, "");
  const aborted = await act(gateway, "abort");
  assert.equal(aborted.status, 200, aborted.text);
  assert.equal((await rolloutOf(gateway)).state, "aborted");
  assert.notEqual((await ask(gateway)).headers.get("x-version"), "c");
  assert.match(gateway.stderr(), /could not be pinned/);
});

test("a candidate that is current as well is given to nobody until the stable one can be pinned", async (t) => {
  const { gateway, secret } = await startBesideSecret(t);
  const moved = await gateway.admin("PUT", "/admin/plugins/guard/current", { version: CANDIDATE });
  assert.equal(moved.status, 200, moved.text);
  writeFileSync(secret, "");
  const refused = await act(gateway, "abort");
  assert.equal(refused.status, 422, refused.text);
  assert.equal((await ask(gateway)).headers.get("x-version"), "s");
  const held = await rolloutOf(gateway);
  assert.deepEqual([held.state, held.weight], ["paused", 0]);
  assert.match(held.events.at(-1).reason, /cannot be pinned yet/);
  writeFileSync(secret, "buyer");
  const aborted = await act(gateway, "abort");
  assert.equal(aborted.status, 200, aborted.text);
  assert.equal((await rolloutOf(gateway)).state, "aborted");
  assert.equal((await ask(gateway)).headers.get("x-version"), "s");
});
