// What operators do with rollouts, and what a configuration does to them: ends with their reasons, what a
// promotion and an abort leave behind, commands that undo, the audit log, and several operators at once.

import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate as nextTurn } from "node:timers/promises";
import type { TestContext } from "node:test";
import { hashOfKey, makeKey } from "../../gateway/config/admin-keys.ts";
import { callAll } from "../support/callers.ts";
import { runCommand } from "../support/gateway.ts";
import type { RunningGateway } from "../support/gateway.ts";
import {
  act,
  ask,
  auditOf,
  guarded,
  rolloutOf,
  startRollout,
  startRolloutGateway,
  store,
  untilRollout,
} from "../support/rollout-gateway.ts";
import { rolloutPlugin } from "../support/rollout-plugin.ts";

const MODULES = { stable: rolloutPlugin({ mark: "s" }), candidate: rolloutPlugin({ mark: "c" }) };
const PLACE = "/admin/routes/all/rollouts/guard";
const OTHER = { ...guarded(), name: "other", match: { paths: [{ prefix: "/other" }] } };

async function served(gateway: RunningGateway, path = "/"): Promise<string | null> {
  return (await ask(gateway, { "x-user": "me" }, path)).headers.get("x-version");
}

async function revisionOf(gateway: RunningGateway): Promise<number> {
  const { headers } = await gateway.admin("GET", "/admin/config");
  return Number(headers.get("etag")?.replaceAll('"', ""));
}

async function attachedOf(gateway: RunningGateway, route = "all"): Promise<string | undefined> {
  const { body } = await gateway.admin("GET", "/admin/config");
  const found = body.routes.find(({ name }: { name: string }) => name === route);
  return found.plugins[0].version as string | undefined;
}

async function currentOf(gateway: RunningGateway): Promise<string> {
  return (await gateway.admin("GET", "/admin/plugins/guard")).body.current as string;
}

/** Runs a command that an answer proposes. */
async function run(t: TestContext, gateway: RunningGateway, command: string): Promise<void> {
  const [name, ...args] = command.split(" ");
  assert.equal(name, "sallyport");
  const env = { SALLYPORT_ADMIN: gateway.adminUrl, SALLYPORT_KEY: gateway.key };
  const { code, stdout, stderr } = await runCommand(t, args, { env });
  assert.equal(code, 0, `${command}: ${stdout}${stderr}`);
}

const ENDS: readonly {
  readonly what: string;
  change(gateway: RunningGateway): Promise<{ status: number; text: string }>;
  readonly state: string;
  readonly reason: RegExp;
  readonly serves: string | null;
}[] = [
  {
    what: "detaches the plugin",
    change: (gateway) => gateway.admin("PATCH", "/admin/routes/all", { plugins: [] }),
    state: "aborted",
    reason: /^the route does not attach guard any more$/,
    serves: null,
  },
  {
    what: "says the stable version",
    change: (gateway) => gateway.admin("PATCH", "/admin/routes/all", guarded({ version: "1.0.0" })),
    state: "aborted",
    reason: /^the configuration says version 1\.0\.0$/,
    serves: "s",
  },
  {
    what: "says the candidate",
    change: (gateway) => gateway.admin("PATCH", "/admin/routes/all", guarded({ version: "2.0.0" })),
    state: "promoted",
    reason: /^the configuration says version 2\.0\.0$/,
    serves: "c",
  },
  {
    what: "removes the route",
    change: (gateway) => gateway.admin("DELETE", "/admin/routes/all"),
    state: "aborted",
    reason: /^the route does not attach guard any more$/,
    serves: null,
  },
];

test("a configuration that contradicts a rollout ends it, and one that does not leaves it alone", async (t) => {
  const gateway = await startRolloutGateway(t, {
    ...MODULES,
    config: { routes: [guarded(), OTHER] as never },
  });
  const first = (await gateway.admin("GET", "/admin/config")).body;
  for (const { what, change, state, reason, serves } of ENDS) {
    await startRollout(gateway, { steps: [100] });
    assert.equal(await served(gateway), "c", what);
    const other = { ...OTHER, respond: { body: what } };
    assert.equal((await gateway.admin("PUT", "/admin/routes/other", other)).status, 200);
    assert.equal((await rolloutOf(gateway)).state, "running", "another route was changed");
    const changed = await change(gateway);
    assert.equal(Math.floor(changed.status / 100), 2, `${what}: ${changed.text}`);
    const { state: found, events } = await rolloutOf(gateway);
    assert.equal(found, state, what);
    assert.match(events.at(-1).reason, reason, what);
    assert.equal(await served(gateway), serves, what);
    assert.equal((await act(gateway, "promote")).status, 409, what);
    const back = await gateway.admin("PUT", "/admin/config", first);
    assert.equal(back.status, 200, back.text);
  }
});

test("promoted where it alone follows, the candidate becomes current; undone, the stable version", async (t) => {
  const gateway = await startRolloutGateway(t, MODULES);
  const before = await revisionOf(gateway);
  await startRollout(gateway, { steps: [50] });
  const { body } = await act(gateway, "promote");
  assert.deepEqual([body.state, body.from, body.to, body.revision], ["promoted", 50, 100, before]);
  assert.deepEqual([await currentOf(gateway), await attachedOf(gateway)], ["2.0.0", undefined]);
  assert.equal(await served(gateway), "c");
  await run(t, gateway, body.undo);
  assert.deepEqual([await currentOf(gateway), await served(gateway)], ["1.0.0", "s"]);
});

test("promoted where others follow too, the candidate is pinned; undone, all is as before", async (t) => {
  const gateway = await startRolloutGateway(t, {
    ...MODULES,
    config: { routes: [guarded(), OTHER] as never },
  });
  const before = await revisionOf(gateway);
  await startRollout(gateway, { steps: [50] });
  const { body } = await act(gateway, "promote");
  assert.equal(body.revision, before + 1);
  assert.deepEqual([await currentOf(gateway), await attachedOf(gateway)], ["1.0.0", "2.0.0"]);
  assert.deepEqual([await served(gateway), await served(gateway, "/other")], ["c", "s"]);
  const revisions = (await gateway.admin("GET", "/admin/revisions")).body;
  const newest = revisions.find(({ revision }: { revision: number }) => revision === before + 1);
  assert.equal(newest.message, "rollout of guard promoted: 2.0.0 on all");
  await run(t, gateway, body.undo);
  assert.equal(await attachedOf(gateway), undefined);
  assert.deepEqual([await served(gateway), await served(gateway, "/other")], ["s", "s"]);
});

test("promoted where a version was said, the candidate is said instead", async (t) => {
  const gateway = await startRolloutGateway(t, { ...MODULES, attachment: { version: "1.0.0" } });
  await startRollout(gateway, { steps: [50] });
  const { body } = await act(gateway, "promote");
  assert.deepEqual([await currentOf(gateway), await attachedOf(gateway)], ["1.0.0", "2.0.0"]);
  assert.equal(await served(gateway), "c");
  await run(t, gateway, body.undo);
  assert.deepEqual([await attachedOf(gateway), await served(gateway)], ["1.0.0", "s"]);
});

test("aborted after another version became current, the route keeps its stable one", async (t) => {
  const gateway = await startRolloutGateway(t, {
    ...MODULES,
    config: { routes: [guarded(), OTHER] as never },
  });
  await startRollout(gateway, { steps: [100] });
  await store(gateway, "3.0.0", rolloutPlugin({ mark: "n" }));
  const moved = await gateway.admin("PUT", "/admin/plugins/guard/current", { version: "3.0.0" });
  assert.equal(moved.status, 200, moved.text);
  assert.deepEqual([await served(gateway), await served(gateway, "/other")], ["c", "n"]);
  assert.equal((await act(gateway, "abort")).status, 200);
  assert.deepEqual([await served(gateway), await served(gateway, "/other")], ["s", "n"]);
  assert.equal(await attachedOf(gateway), "1.0.0");
});

test("every answer tells the command that undoes it", async (t) => {
  const gateway = await startRolloutGateway(t, MODULES);
  const started = await startRollout(gateway, { steps: [50, 100] });
  await run(t, gateway, started.body.undo);
  assert.equal((await rolloutOf(gateway)).state, "aborted");
  await startRollout(gateway, { steps: [50, 100] });
  const paused = await act(gateway, "pause");
  assert.equal(paused.body.state, "paused");
  await run(t, gateway, paused.body.undo);
  assert.equal((await rolloutOf(gateway)).state, "running");
  const resumed = await act(gateway, "resume");
  await run(t, gateway, resumed.body.undo);
  assert.equal((await rolloutOf(gateway)).state, "paused");
  const aborted = await act(gateway, "abort");
  await run(t, gateway, aborted.body.undo);
  const { state, candidate } = await rolloutOf(gateway);
  assert.deepEqual([state, candidate], ["running", "2.0.0"]);
});

test("every step that the gateway takes by itself is in the audit log, and in the rollout's events", async (t) => {
  const gateway = await startRolloutGateway(t, MODULES);
  const analysis = { min_requests: 20, p99_ratio_max: 1_000_000 };
  await startRollout(gateway, { steps: [20, 60, 100], interval_ms: 200, analysis });
  const callers = callUntil(gateway);
  const { events } = await untilRollout(gateway, ({ state }) => state === "promoted");
  await callers.stop();
  const taken = events.map(({ actor, what, weight }: Record<string, unknown>) => [
    ...[actor, what, weight],
  ]);
  assert.deepEqual(taken, [
    ["admin", "started", 20],
    ["gateway", "step", 60],
    ["gateway", "step", 100],
    ["gateway", "promoted", 100],
  ]);
  const written = auditOf(gateway).filter((line) =>
    String(line["path"] ?? "").includes("rollouts"),
  );
  const ownLines = () => auditOf(gateway).filter(({ actor }) => actor === "gateway");
  // A line is written after its step counts.
  const endMs = performance.now() + 10_000;
  while (ownLines().length < 3 && performance.now() < endMs) await nextTurn();
  const own = ownLines();
  assert.deepEqual(
    own.map(({ what, weight, route, plugin }) => [what, weight, route, plugin]),
    [
      ["step", 60, "all", "guard"],
      ["step", 100, "all", "guard"],
      ["promoted", 100, "all", "guard"],
    ],
  );
  assert.ok(written.some(({ actor, method }) => actor === "admin" && method === "PUT"));
});

// Traffic without an end, from callers of every kind.
function callUntil(gateway: RunningGateway): { stop(): Promise<void> } {
  let isStopped = false;
  const done = (async () => {
    for (let round = 0; !isStopped; round++) {
      const request = (i: number) => ({ headers: `x-user: ${round}-${i}\r\n` });
      const options = { port: gateway.port(), connections: 4, request, onAnswer: () => {} };
      await callAll(options, 200);
    }
  })();
  return {
    stop: async () => {
      isStopped = true;
      await done;
    },
  };
}

test("of operators who act at once one is heard, and all workers agree with what they are told", async (t) => {
  const gateway = await startRolloutGateway(t, MODULES);
  for (let round = 0; round < 4; round++) {
    const body = { candidate: "2.0.0", steps: [100], interval_ms: 3_600_000 };
    const starts = await Promise.all(
      Array.from({ length: 5 }, () => gateway.admin("PUT", PLACE, body)),
    );
    const codes = starts.map(({ status }) => status).sort();
    assert.deepEqual(codes.slice(1), [409, 409, 409, 409]);
    assert.ok(starts.some(({ status }) => status === 200 || status === 201));
    const ends = await Promise.all([
      act(gateway, "abort"),
      act(gateway, "promote"),
      act(gateway, "pause"),
      act(gateway, "abort"),
      gateway.admin("DELETE", PLACE),
    ]);
    const ended = ends.filter(
      ({ status, body: { state } }) => status === 200 && state !== "paused",
    );
    assert.equal(ended.length, 1, ends.map(({ text }) => text).join("\n"));
    for (const { status, body: refused } of ends) {
      if (status !== 200) assert.deepEqual([status, refused.code], [409, "rollout_over"]);
    }
    const { state } = await rolloutOf(gateway);
    assert.equal(state, ended[0].body.state);
    const expected = state === "promoted" ? "c" : "s";
    const seen = await Promise.all(Array.from({ length: 30 }, () => served(gateway)));
    assert.deepEqual([...new Set(seen)], [expected]);
    if (state === "promoted") {
      const back = await gateway.admin("PUT", "/admin/plugins/guard/current", { version: "1.0.0" });
      assert.equal(back.status, 200, back.text);
    }
  }
});

test("a key that deploys runs rollouts, also one that pins, and cannot change the route", async (t) => {
  const key = makeKey();
  const gateway = await startRolloutGateway(t, {
    ...MODULES,
    config: {
      admin: {
        listen: "127.0.0.1:0",
        keys: [{ name: "ci", role: "deploy", hash: hashOfKey(key) }],
      },
      routes: [guarded(), OTHER] as never,
    },
  });
  const call = async (method: string, path: string, body?: object) => {
    const response = await fetch(`${gateway.adminUrl}${path}`, {
      ...{ method, headers: { "x-api-key": key } },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    return { status: response.status, body: (await response.json()) as Record<string, unknown> };
  };
  const started = await call("PUT", PLACE, { candidate: "2.0.0", steps: [50, 100] });
  assert.equal(started.status, 201);
  const refused = await call("PATCH", "/admin/routes/all", { plugins: [] });
  assert.deepEqual([refused.status, refused.body["code"]], [403, "forbidden"]);
  const promoted = await call("POST", `${PLACE}/promote`);
  assert.deepEqual([promoted.status, promoted.body["state"]], [200, "promoted"]);
  assert.deepEqual([await served(gateway), await attachedOf(gateway)], ["c", "2.0.0"]);
  const lines = auditOf(gateway).filter(({ actor }) => actor === "ci");
  assert.deepEqual(
    lines.map(({ method, status }) => [method, status]),
    [
      ["PUT", 201],
      ["PATCH", 403],
      ["POST", 200],
    ],
  );
});
