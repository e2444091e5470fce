// A candidate in the shadow: every request is decided by the stable version and shown to the candidate, and
// every decision that it would have taken differently is counted and listed. What it asks its host for is
// answered from what the stable version was told; nothing is done twice, and nobody waits for it.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { once } from "node:events";
import { readFileSync, readdirSync } from "node:fs";
import http from "node:http";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import { setImmediate as nextTurn } from "node:timers/promises";
import { callAll, headerOf, startCallers } from "../support/callers.ts";
import type { Answer } from "../support/callers.ts";
import type { Config } from "../../gateway/config/schema.ts";
import type { RunningGateway } from "../support/gateway.ts";
import {
  ask,
  differencesOf,
  guarded,
  startRollout,
  startRolloutGateway,
  untilRollout,
} from "../support/rollout-gateway.ts";
import { rolloutPlugin } from "../support/rollout-plugin.ts";
import { TEXT, TEXT_IMPORTS, watAssembler } from "../support/wat.ts";

const wat = await watAssembler();
const STABLE_DENIES = 10;
const CANDIDATE_DENIES = 30;
const REQUESTS = 1_000;
/** Fewer calls than may wait for the thread, which a busy machine leaves no time for a while. */
const REQUESTS_AT_ONCE = 100;
const SHADOW = { mode: "shadow" } as const;

function chanceOf(index: number): string {
  return String(index % 100).padStart(2, "0");
}

/** All that the shadow was shown, whatever it came to. */
function shownTo({ shadow }: { shadow: Record<string, number> }): number {
  return shadow["same"] + shadow["different"] + shadow["incomparable"] + shadow["skipped"];
}

test("every decision that differs is counted and listed, and no answer is another one", async (t) => {
  const gateway = await startRolloutGateway(t, {
    stable: rolloutPlugin({ mark: "x", denies: STABLE_DENIES }),
    candidate: rolloutPlugin({ mark: "x", denies: CANDIDATE_DENIES }),
  });
  await startRollout(gateway, SHADOW);
  const wrong: string[] = [];
  let sent = 0;
  const options = (from: number) => ({
    port: gateway.port(),
    request: (index: number) => ({
      path: `/orders/${from + index}?token=hunter2&n=${from + index}`,
      headers: `x-chance: ${chanceOf(from + index)}\r\nauthorization: Bearer hunter2\r\n`,
    }),
    onAnswer: (answer: Answer) => {
      const status = Number(chanceOf(from + answer.index)) >= 100 - STABLE_DENIES ? 403 : 200;
      if (answer.status !== status || headerOf(answer, "x-version") !== "x") {
        wrong.push(answer.head);
      }
    },
  });
  while (sent < REQUESTS) {
    const callers = startCallers(t, options(sent), 200);
    const enough = 2 * (sent + REQUESTS_AT_ONCE);
    await untilRollout(gateway, ({ numbers }) => numbers.stable.calls >= enough);
    sent += await callers.stop();
    // Two calls a request: asked, and shown the response.
    await untilRollout(gateway, (body) => shownTo(body) === 2 * sent);
  }
  assert.deepEqual(wrong.slice(0, 3), [], `${wrong.length} of ${sent}`);
  const { shadow, numbers, weight } = await untilRollout(gateway, () => true);
  const indexes = Array.from({ length: sent }, (_, i) => i);
  const expected = indexes.filter((i) => {
    const chance = Number(chanceOf(i));
    return chance >= 100 - CANDIDATE_DENIES && chance < 100 - STABLE_DENIES;
  });
  assert.deepEqual(shadow, {
    ...{ same: 2 * sent - expected.length, different: expected.length },
    ...{ incomparable: 0, skipped: 0, by: { action: expected.length } },
  });
  assert.equal(weight, 0);
  assert.equal(numbers.candidate.errors, 0);
  const listed = await differencesOf(gateway);
  assert.equal(listed.length, expected.length);
  const paths = new Set(listed.map(({ request }: { request: { path: string } }) => request.path));
  assert.deepEqual(paths, new Set(expected.map((i) => `/orders/${i}`)));
  const [{ request, stable, candidate, ...facts }] = listed;
  assert.deepEqual([facts.route, facts.phase, facts.differs], ["all", "on_request", ["action"]]);
  assert.deepEqual([stable.action, stable.status], ["continue", null]);
  assert.deepEqual(
    [candidate.action, candidate.status, candidate.reason],
    [...["respond", 403, "no luck"]],
  );
  assert.equal(request.headers.authorization, "(redacted)");
  assert.match(request.query, /^token=\(redacted\)&n=\d+$/);
  assert.ok(!JSON.stringify(listed).includes("hunter2"));
});

test("what a route's recordings leave out is left out of differences, also when that changes", async (t) => {
  const gateway = await startRolloutGateway(t, {
    stable: rolloutPlugin({ mark: "x" }),
    candidate: rolloutPlugin({ mark: "x", denies: 100 }),
    config: { routes: [{ ...guarded(), record: { redact: ["X-First"] } }] } as Partial<Config>,
  });
  await startRollout(gateway, SHADOW);
  const headers = { "x-first": "hush", "x-second": "hush2" };
  const shown: unknown[] = [];
  for (const redact of [["X-Second"], []]) {
    await ask(gateway, headers);
    const seen = shown.length + 1;
    await untilRollout(gateway, (body) => body.shadow.different >= seen);
    const { request } = (await differencesOf(gateway)).at(-1);
    shown.push([request.headers["x-first"], request.headers["x-second"]]);
    const changed = await gateway.admin("PATCH", "/admin/routes/all", { record: { redact } });
    assert.equal(changed.status, 200, changed.text);
  }
  assert.deepEqual(shown, [
    ["(redacted)", "hush2"],
    ["hush", "(redacted)"],
  ]);
});

test("what the candidate does to responses is compared too, and never done", async (t) => {
  const gateway = await startRolloutGateway(t, {
    stable: rolloutPlugin({ mark: "s", phases: "on_response" }),
    candidate: rolloutPlugin({ mark: "c", phases: "on_response" }),
  });
  await startRollout(gateway, SHADOW);
  for (let i = 0; i < 20; i++) {
    assert.equal((await ask(gateway)).headers.get("x-version"), "s");
  }
  const { shadow } = await untilRollout(gateway, (body) => shownTo(body) === 20);
  assert.deepEqual([shadow.different, shadow.by], [20, { response_headers: 20 }]);
  const [{ phase, stable, candidate }] = await differencesOf(gateway);
  assert.equal(phase, "on_response");
  assert.deepEqual(
    [stable.response_headers, candidate.response_headers],
    [{ "x-version": "s" }, { "x-version": "c" }],
  );
});

test("values of kv are counted once, and the candidate is told what the stable version was", async (t) => {
  const counts = "hits";
  const gateway = await startRolloutGateway(t, {
    stable: rolloutPlugin({ mark: "x", counts }),
    candidate: rolloutPlugin({ mark: "x", counts, denies: 50 }),
    attachment: { grants: { kv: true } },
  });
  await startRollout(gateway, SHADOW);
  for (let i = 1; i <= 20; i++) {
    const { headers, status } = await ask(gateway, { "x-chance": i % 2 === 0 ? "99" : "01" });
    assert.deepEqual([status, headers.get("x-hits")], [200, String.fromCharCode(96 + i)]);
  }
  const { shadow } = await untilRollout(gateway, (body) => shownTo(body) === 40);
  assert.deepEqual(
    [shadow.same, shadow.different, shadow.incomparable, shadow.by],
    [30, 10, 0, { action: 10 }],
  );
});

test("a candidate that counts another value cannot be compared, and nothing is counted", async (t) => {
  const gateway = await startRolloutGateway(t, {
    stable: rolloutPlugin({ mark: "x", counts: "hits" }),
    candidate: rolloutPlugin({ mark: "x", counts: "other" }),
    attachment: { grants: { kv: true } },
  });
  await startRollout(gateway, SHADOW);
  for (let i = 0; i < 10; i++) await ask(gateway);
  const { shadow, numbers } = await untilRollout(gateway, (body) => shownTo(body) === 20);
  assert.deepEqual([shadow.same, shadow.different, shadow.incomparable], [10, 0, 10]);
  assert.equal(numbers.candidate.errors, 0);
});

test("a host is called once for both versions", async (t) => {
  let asked = 0;
  const server = http.createServer((_, response) => {
    asked++;
    response.end(`answer ${asked}`);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  const call = `{\\22url\\22:\\22http://127.0.0.1:${port}/\\22,\\22timeout_ms\\22:5000}`;
  const module = (name: string) =>
    wat(`(module
      ${TEXT_IMPORTS}
      (import "extism:host/user" "http_call" (func $http (param i64) (result i64)))
      (import "extism:host/user" "respond" (func $respond (param i32 i64)))
      (memory 1)
      (data (i32.const 0) "${call}${name}")
      ${TEXT}
      (func (export "on_request") (result i32)
        (call $respond (i32.const 200) (call $http
          (call $text (i32.const 0) (i32.const ${call.replaceAll("\\22", '"').length}))))
        (i32.const 0)))`);
  const gateway = await startRolloutGateway(t, {
    stable: module("one"),
    candidate: module("two"),
    attachment: {
      grants: { http: { hosts: ["127.0.0.1"], private: true } },
      limits: { async_ms: 20_000 },
    },
  });
  await startRollout(gateway, SHADOW);
  for (let i = 1; i <= 10; i++) {
    const answer = (await (await ask(gateway)).json()) as { body: string };
    assert.equal(answer.body, `answer ${i}`);
  }
  const { shadow } = await untilRollout(gateway, (body) => shownTo(body) === 10);
  assert.deepEqual([shadow.same, shadow.different, shadow.incomparable], [10, 0, 0]);
  assert.equal(asked, 10);
});

test("a candidate that fails with a text of ours fails all the same, and is taken back", async (t) => {
  const gateway = await startRolloutGateway(t, {
    stable: rolloutPlugin({ mark: "x" }),
    candidate: rolloutPlugin({ mark: "x", fails: { below: 100, text: "not recorded" } }),
  });
  await startRollout(gateway, { ...SHADOW, interval_ms: 500, analysis: { min_requests: 50 } });
  await callAll(
    { port: gateway.port(), request: () => ({ headers: "x-chance: 01\r\n" }), onAnswer: () => {} },
    200,
  );
  const body = await untilRollout(gateway, ({ state }) => state === "aborted");
  assert.match(body.events.at(-1).reason, /^calls failed: /);
  assert.deepEqual(Object.keys(body.numbers.candidate.faults), ["guest_error"]);
});

async function callersOf(gateway: RunningGateway, count: number): Promise<number[]> {
  const statuses: number[] = [];
  await callAll(
    {
      ...{ port: gateway.port(), connections: 8, depth: 4 },
      request: () => ({ headers: "x-chance: 01\r\n" }),
      onAnswer: ({ index, status }) => (statuses[index] = status),
    },
    count,
  );
  return statuses;
}

test("a candidate that loops in the shadow fails no request, and its rollout ends with the fifth", async (t) => {
  const gateway = await startRolloutGateway(t, {
    stable: rolloutPlugin({ mark: "x" }),
    candidate: rolloutPlugin({ mark: "x", loops: 100 }),
    attachment: { limits: { cpu_ms: 50 } },
  });
  await startRollout(gateway, { ...SHADOW, analysis: { min_requests: 1_000_000 } });
  const count = 6_000;
  const statuses = await callersOf(gateway, count);
  assert.equal(statuses.filter((status) => status === 200).length, count);
  const body = await untilRollout(gateway, ({ state }) => state === "aborted");
  const { numbers, shadow, events } = body;
  assert.match(events.at(-1).reason, /stopped too often: deadline in the shadow/);
  assert.equal(numbers.stable.errors, 0);
  // What was with the thread already is told as well: at most one batch of each worker.
  assert.deepEqual(Object.keys(numbers.candidate.faults), ["deadline"]);
  assert.ok(shadow.different >= 5, JSON.stringify(shadow));
  const listed = await differencesOf(gateway);
  assert.equal(listed.length, shadow.different);
  assert.deepEqual(
    [
      ...new Set(
        listed.map(({ candidate }: { candidate: { action: string } }) => candidate.action),
      ),
    ],
    ["failed"],
  );
  assert.equal((await ask(gateway)).status, 200);
});

test("the thread of a shadow runs only where a CPU has nothing else to do", async (t) => {
  if (spawnSync("chrt", ["--version"]).status !== 0) return t.skip("there is no chrt");
  const gateway = await startRolloutGateway(t, {
    stable: rolloutPlugin({ mark: "x" }),
    candidate: rolloutPlugin({ mark: "x" }),
    workers: 1,
  });
  const [worker] = await gateway.workerPids();
  assert.deepEqual(idleThreads(worker), []);
  await startRollout(gateway, SHADOW);
  const endMs = performance.now() + 20_000;
  while (idleThreads(worker).length !== 1) {
    assert.ok(performance.now() < endMs, "none is");
    await nextTurn();
  }
});

/** Those under SCHED_IDLE: the 41st field of proc(5)'s stat is 5. */
function idleThreads(pid: number): string[] {
  return readdirSync(`/proc/${pid}/task`).filter((thread) => {
    const stat = readFileSync(`/proc/${pid}/task/${thread}/stat`, "utf8");
    return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[38] === "5";
  });
}
