// Another version tried on what a route has recorded, over a real gateway: what is kept, what is left out,
// what a replay tells, and the gate that it makes before a rollout. Requests are sent one by one, so that
// every count is known.

import assert from "node:assert/strict";
import test from "node:test";
import type { TestContext } from "node:test";
import { runCommand, startGateway } from "../support/gateway.ts";
import type { RunningGateway } from "../support/gateway.ts";
import { rolloutPlugin } from "../support/rollout-plugin.ts";

const CALLS = 20;

async function start(t: TestContext, record: object | undefined): Promise<RunningGateway> {
  const gateway = await startGateway(t, {
    workers: 2,
    plugins: { policy: rolloutPlugin({ mark: "one", phases: "on_request" }) },
    config: {
      listeners: [{ name: "http", address: "127.0.0.1:0" }],
      routes: [
        {
          name: "shop",
          match: { paths: [{ prefix: "/" }] },
          ...(record === undefined ? {} : { record }),
          plugins: [{ plugin: "policy" }],
          respond: { status: 200, body: "ok\n" },
        },
      ],
    },
  });
  const stored = [
    await store(gateway, "2.0.0", rolloutPlugin({ mark: "one", phases: "on_request", denies: 50 })),
    await store(gateway, "3.0.0", rolloutPlugin({ mark: "one", phases: "on_request", traps: 10 })),
    await store(gateway, "4.0.0", rolloutPlugin({ mark: "one", phases: "on_request", rounds: 9 })),
  ];
  assert.deepEqual(stored, [201, 201, 201]);
  return gateway;
}

async function store(gateway: RunningGateway, version: string, bytes: Uint8Array) {
  return (await gateway.admin("POST", `/admin/plugins/policy/versions/${version}`, bytes)).status;
}

// Chances 00, 05, 10 ... 95: what a version does to a share of them is known.
async function sendAll(gateway: RunningGateway): Promise<void> {
  for (let i = 0; i < CALLS; i++) {
    const url = `http://127.0.0.1:${gateway.port()}/orders?token=t0psecret&page=${i}`;
    const response = await fetch(url, {
      headers: {
        "x-chance": String(i * 5).padStart(2, "0"),
        authorization: "Bearer s3cret",
        "x-mine": "hush",
      },
    });
    assert.equal(response.status, 200, await response.text());
  }
}

function replay(gateway: RunningGateway, version: string) {
  return gateway.admin("POST", `/admin/plugins/policy/versions/${version}/replay`, {
    route: "shop",
  });
}

test("a route keeps its last calls without what is secret", async (t) => {
  const gateway = await start(t, { redact: ["X-Mine", "page"] });
  await sendAll(gateway);
  const { status, body, text } = await gateway.admin("GET", "/admin/routes/shop/recordings");
  assert.equal(status, 200);
  assert.equal(body.length, CALLS);
  for (const secret of ["s3cret", "t0psecret", "hush", "page=1"]) {
    assert.ok(!text.includes(secret), `${secret} was kept`);
  }
  const [first] = body;
  assert.equal(first.plugin, "policy");
  assert.equal(first.version, "1.0.0");
  assert.equal(first.phase, "on_request");
  assert.equal(first.request.path, "/orders");
  assert.equal(first.request.query, "token=(redacted)&page=(redacted)");
  assert.equal(first.request.headers["x-chance"], "00");
  assert.equal(first.request.headers["authorization"], "(redacted)");
  assert.equal(first.said.action, "continue");
  assert.equal(first.said.request_headers["x-asked"], "one");
  const last = await gateway.admin("GET", "/admin/routes/shop/recordings?last=3");
  assert.deepEqual(
    last.body.map(
      (each: { request: { headers: object } }) => Object(each.request.headers)["x-chance"],
    ),
    ["85", "90", "95"],
  );
  for (const bad of ["0", "x", "10001", "1e3"]) {
    const refused = await gateway.admin("GET", `/admin/routes/shop/recordings?last=${bad}`);
    assert.equal(refused.body.code, "bad_parameter", bad);
  }
});

test("a bound on the records is kept by each worker, the oldest go", async (t) => {
  const gateway = await start(t, { requests: 2 });
  await sendAll(gateway);
  const { body } = await gateway.admin("GET", "/admin/routes/shop/recordings");
  assert.ok(body.length >= 2 && body.length <= 4, `${body.length} of two workers`);
  const chances = body.map((each: { request: { headers: object } }) =>
    Number(Object(each.request.headers)["x-chance"]),
  );
  assert.equal(Math.max(...chances), 95);
});

test("a replay counts and shows what another version decides otherwise, and changes nothing", async (t) => {
  const gateway = await start(t, {});
  await sendAll(gateway);
  const denies = await replay(gateway, "2.0.0");
  assert.equal(denies.status, 200, denies.text);
  assert.equal(denies.body.stable, "1.0.0");
  assert.equal(denies.body.calls, CALLS);
  assert.equal(denies.body.different, CALLS / 2);
  assert.equal(denies.body.same, CALLS / 2);
  assert.deepEqual(denies.body.by, { action: CALLS / 2 });
  assert.deepEqual(denies.body.faults, {});
  assert.equal(denies.body.drifted, 0);
  assert.equal(denies.body.differences.length, CALLS / 2);
  for (const difference of denies.body.differences) {
    assert.ok(Number(difference.request.headers["x-chance"]) >= 50);
    assert.equal(difference.stable.action, "continue");
    assert.equal(difference.candidate.action, "respond");
    assert.equal(difference.candidate.status, 403);
  }
  const traps = await replay(gateway, "3.0.0");
  assert.equal(traps.body.different, 2);
  assert.deepEqual(traps.body.by, { failure: 2 });
  assert.deepEqual(traps.body.faults, { trap: 2 });
  const alike = await replay(gateway, "4.0.0");
  assert.equal(alike.body.same, CALLS);
  assert.equal(alike.body.different, 0);
  const after = await gateway.admin("GET", "/admin/plugins/policy");
  assert.equal(after.body.current, "1.0.0");
});

test("the command says the same and exits 1 when decisions differ", async (t) => {
  const gateway = await start(t, {});
  await sendAll(gateway);
  const env = { SALLYPORT_ADMIN: gateway.adminUrl, SALLYPORT_KEY: gateway.key };
  const run = (...args: string[]) => runCommand(t, ["plugin", "replay", ...args], { env });
  const differs = await run("policy@2.0.0", "--route", "shop", "--last", "2");
  assert.equal(differs.code, 1, differs.stderr);
  assert.match(differs.stdout, /policy 1\.0\.0 -> 2\.0\.0 on 20 recorded calls of route shop/);
  assert.match(differs.stdout, /same 10, different 10 \(action 10\), incomparable 0/);
  assert.match(differs.stdout, /candidate {2}respond 403/);
  assert.match(differs.stdout, /8 more; --last N shows them/);
  const alike = await run("policy@4.0.0", "--route", "shop", "--json");
  assert.equal(alike.code, 0, alike.stderr);
  assert.equal(JSON.parse(alike.stdout).same, CALLS);
  const malformed = await run("policy", "--route", "shop");
  assert.equal(malformed.code, 2);
  assert.match(malformed.stderr, /NAME@VERSION is needed/);
});

test("a gate lets a rollout start only when the replay is within it", async (t) => {
  const gateway = await start(t, {});
  const begin = (candidate: string, gate: object) =>
    gateway.admin("PUT", "/admin/routes/shop/rollouts/policy", { candidate, replay: gate });
  const early = await begin("4.0.0", {});
  assert.equal(early.body.code, "nothing_recorded");
  await sendAll(gateway);
  const few = await begin("4.0.0", { min_requests: 21 });
  assert.equal(few.body.code, "gate_not_yet");
  const failed = await begin("2.0.0", { difference_rate_max: 0.49 });
  assert.equal(failed.status, 409);
  assert.equal(failed.body.code, "gate_failed");
  assert.equal(failed.body.replay.different, CALLS / 2);
  const none = await gateway.admin("GET", "/admin/routes/shop/rollouts/policy");
  assert.equal(none.status, 404, "a refused gate started a rollout");
  const passed = await begin("2.0.0", { difference_rate_max: 0.5 });
  assert.equal(passed.status, 201, `${passed.text}${gateway.stderr()}`);
});

test("what cannot be replayed is refused with its reason", async (t) => {
  const silent = await start(t, undefined);
  const refused = await replay(silent, "2.0.0");
  assert.equal(refused.status, 409);
  assert.equal(refused.body.code, "not_recording");
  const gateway = await start(t, {});
  const codes: [string, string, unknown][] = [
    ["2.0.0", "nothing_recorded", { route: "shop" }],
    ["9.0.0", "unknown_plugin", { route: "shop" }],
    ["1.0.0", "same_version", { route: "shop" }],
    ["2.0.0", "unknown_route", { route: "nowhere" }],
    ["2.0.0", "bad_request", {}],
    ["2.0.0", "bad_request", { route: "shop", more: 1 }],
  ];
  for (const [version, code, body] of codes) {
    const path = `/admin/plugins/policy/versions/${version}/replay`;
    const answer = await gateway.admin("POST", path, body as object);
    assert.equal(answer.body.code, code, answer.text);
  }
});

test("one replay at a time", async (t) => {
  const gateway = await start(t, {});
  await sendAll(gateway);
  const answers = await Promise.all([replay(gateway, "2.0.0"), replay(gateway, "4.0.0")]);
  assert.deepEqual(answers.map(({ status }) => status).toSorted(), [200, 409]);
  const refused = answers.find(({ status }) => status === 409);
  assert.equal(refused?.body.code, "replay_running");
  assert.equal((await replay(gateway, "4.0.0")).status, 200);
});
