// Rollouts when something beside them goes wrong: their file is damaged or cannot be written, the gateway
// cannot start or has to end, or what was true when one began is not true any more when it is promoted.

import assert from "node:assert/strict";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { once } from "node:events";
import net from "node:net";
import { join } from "node:path";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { withManifestText } from "../../plugins-src/manifest-section.ts";
import type { Config } from "../../gateway/config/schema.ts";
import { configText, spawnCommand, startGateway, temporaryFolder } from "../support/gateway.ts";
import type { RunningGateway } from "../support/gateway.ts";
import {
  act,
  ask,
  guarded,
  rolloutOf,
  startRollout,
  startRolloutGateway,
  untilRollout,
} from "../support/rollout-gateway.ts";
import { rolloutPlugin } from "../support/rollout-plugin.ts";
import { TEXT, TEXT_IMPORTS, watAssembler } from "../support/wat.ts";
import { makeKeys, trustedKeys } from "../support/signature-cases.ts";

const PLACE = "/admin/routes/all/rollouts/guard";
const MODULES = { stable: rolloutPlugin({ mark: "s" }), candidate: rolloutPlugin({ mark: "c" }) };
const ALL = { steps: [100] };
const START_MS = 20_000;
const RECORD_MS = 6_000;
const EXIT_MS = 8_000;
const listeners = [{ name: "http", address: "127.0.0.1:0" }];

async function versionOf(gateway: RunningGateway): Promise<string | null> {
  return (await ask(gateway)).headers.get("x-version");
}

async function stop(gateway: RunningGateway): Promise<void> {
  gateway.process.kill("SIGTERM");
  assert.equal(await gateway.exited, 0, gateway.stderr());
}

/** Fails when it does not end by itself. */
async function endOf(exited: Promise<number | string>, waitMs: number): Promise<number | string> {
  const { promise, resolve } = Promise.withResolvers<string>();
  const timer = setTimeout(() => resolve("it goes on"), waitMs);
  try {
    return await Promise.race([exited, promise]);
  } finally {
    clearTimeout(timer);
  }
}

/** A folder with a rollout that gives the candidate everything. */
async function folderWithRollout(t: TestContext) {
  const folder = temporaryFolder(t);
  const gateway = await startRolloutGateway(t, { ...MODULES, folder });
  await startRollout(gateway, ALL);
  assert.equal(await versionOf(gateway), "c");
  await stop(gateway);
  return { folder, file: join(folder, "var/plugins/rollouts.json") };
}

test("a damaged file of rollouts is set aside, and the gateway serves the stable version", async (t) => {
  const { folder, file } = await folderWithRollout(t);
  const cut = readFileSync(file, "utf8").slice(0, 100);
  writeFileSync(file, cut);
  const gateway = await startRolloutGateway(t, { ...MODULES, folder });
  assert.equal(await versionOf(gateway), "s");
  assert.match(gateway.stderr(), /rollouts were damaged on disk/);
  assert.equal(readFileSync(`${file}.damaged`, "utf8"), cut);
  assert.equal((await gateway.admin("GET", PLACE)).status, 404);
  await startRollout(gateway, ALL);
  assert.equal(await versionOf(gateway), "c");
});

test("a gateway that cannot start ends, also with a rollout under way", async (t) => {
  const { folder } = await folderWithRollout(t);
  const holder = net.createServer().listen(0, "127.0.0.1");
  await once(holder, "listening");
  t.after(() => holder.close());
  const { port } = holder.address() as net.AddressInfo;
  const config: Config = {
    admin: { listen: `127.0.0.1:${port}` },
    listeners,
    routes: [guarded() as never],
  };
  const file = join(folder, "sallyport.yaml");
  writeFileSync(file, configText(config));
  const args = ["run", "-c", file, "--data-dir", join(folder, "var"), "--workers", "1"];
  const started = spawnCommand(t, args);
  assert.equal(await endOf(started.exited, START_MS), 1, started.stderr());
  assert.match(started.stderr(), /is taken by/);
});

test("a replay under way does not keep a gateway from ending", async (t) => {
  const gateway = await startGateway(t, {
    plugins: { guard: rolloutPlugin({ mark: "s", rounds: 20_000_000 }) },
    config: {
      listeners,
      routes: [{ ...guarded({ limits: { cpu_ms: 1_000 } }), record: {} } as never],
    },
  });
  const candidate = rolloutPlugin({ mark: "c", rounds: 20_000_001 });
  await gateway.admin("POST", "/admin/plugins/guard/versions/2.0.0", candidate);
  // The replay runs two versions over them: it takes twice as long.
  const endMs = performance.now() + RECORD_MS;
  while (performance.now() < endMs) await ask(gateway);
  const replayed = gateway.admin("POST", "/admin/plugins/guard/versions/2.0.0/replay", {
    route: "all",
  });
  const broken = replayed.then(
    () => "answered",
    () => "broken",
  );
  const { body } = await gateway.admin("GET", "/admin/routes/all/recordings");
  assert.ok(body.length > 0);
  gateway.process.kill("SIGTERM");
  assert.equal(await endOf(gateway.exited, EXIT_MS), 0, gateway.stderr());
  assert.equal(await broken, "broken", "the replay was over before");
});

test("a change is applied whole when the file of rollouts cannot be written", async (t) => {
  const { folder, file } = await folderWithRollout(t);
  const gateway = await startRolloutGateway(t, { ...MODULES, folder });
  const before = readFileSync(file, "utf8");
  rmSync(file);
  mkdirSync(file);
  const routes = [guarded({ version: "1.0.0" })];
  const changed = await gateway.admin(
    "PUT",
    "/admin/config",
    configText({ listeners, routes } as never),
  );
  assert.equal(changed.status, 200, changed.text);
  assert.equal(await versionOf(gateway), "s");
  const { body: status } = await gateway.admin("GET", "/admin/status");
  const { body: revisions } = await gateway.admin("GET", "/admin/revisions");
  assert.equal(revisions[0].revision, status.revision);
  assert.match(gateway.stderr(), /rollouts could not be written/);
  gateway.process.kill("SIGKILL");
  await gateway.exited;
  rmSync(file, { recursive: true });
  writeFileSync(file, before);
  const second = await startRolloutGateway(t, {
    ...MODULES,
    folder,
    config: { routes: routes as never },
  });
  assert.equal(await versionOf(second), "s");
  assert.equal((await rolloutOf(second)).state, "aborted");
});

/** One whose configuration has a `role` among these. */
function policy(mark: string, roles: readonly string[]): Uint8Array {
  const schema = { type: "object", properties: { role: { enum: roles } } };
  const manifest = {
    name: "guard",
    version: "9.0.0",
    abi: 1,
    input: "lazy",
    config_schema: schema,
  };
  return withManifestText(rolloutPlugin({ mark }), JSON.stringify(manifest));
}

test("a candidate is not promoted whose schema refuses what the route has become", async (t) => {
  const gateway = await startGateway(t, {
    plugins: { guard: policy("s", ["buyer", "seller"]) },
    config: { listeners, routes: [guarded({ config: { role: "buyer" } }) as never] },
  });
  await gateway.admin("POST", "/admin/plugins/guard/versions/9.1.0", policy("c", ["buyer"]));
  await startRollout(gateway, { candidate: "9.1.0", ...ALL });
  const patch = { plugins: [{ plugin: "guard", config: { role: "seller" } }] };
  const changed = await gateway.admin("PATCH", "/admin/routes/all", patch);
  assert.equal(changed.status, 200, changed.text);
  const promoted = await act(gateway, "promote");
  assert.deepEqual([promoted.status, promoted.body.code], [422, "invalid_config"], promoted.text);
  assert.equal((await rolloutOf(gateway)).state, "running");
  const { body } = await gateway.admin("GET", "/admin/plugins/guard");
  assert.equal(body.current, "9.0.0");
});

test("a candidate is not promoted that no key vouches for any more", async (t) => {
  const { folder } = await folderWithRollout(t);
  const gateway = await startGateway(t, {
    folder,
    config: {
      listeners,
      routes: [guarded({ fail_mode: "open" }) as never],
      ...{ trusted_plugin_keys: trustedKeys(makeKeys()) ?? [] },
    },
  });
  const promoted = await act(gateway, "promote");
  const { status, body, text } = promoted;
  assert.deepEqual([status, body.code], [422, "signature_missing"], text);
  assert.equal((await rolloutOf(gateway)).state, "running");
});

test("a promotion with a word that nobody knows promotes nothing", async (t) => {
  const gateway = await startRolloutGateway(t, MODULES);
  await startRollout(gateway, { steps: [5, 100] });
  for (const body of [{ too: "next" }, { to: "next", by: 1 }, { to: "all" }]) {
    const answer = await gateway.admin("POST", `${PLACE}/promote`, body);
    assert.equal(answer.status, 400, answer.text);
  }
  const { state, weight } = await rolloutOf(gateway);
  assert.deepEqual([state, weight], ["running", 5]);
});

/** Starts only where its configuration begins with a y. */
const PICKY = `(module
  (import "extism:host/env" "config_get" (func $config (param i64) (result i64)))
  (import "extism:host/env" "load_u8" (func $load (param i64) (result i32)))
  ${TEXT_IMPORTS}
  (memory 1) (data (i32.const 0) "ok") ${TEXT}
  (func (export "on_config") (result i32)
    (i32.ne (i32.const 121) (call $load (call $config (call $text (i32.const 0) (i32.const 2))))))
  (func (export "on_request") (result i32) (i32.const 0)))`;

test("a candidate that does not start any more keeps no gateway from starting, and is taken back", async (t) => {
  const folder = temporaryFolder(t);
  const file = join(folder, "word");
  writeFileSync(file, "yes");
  const config = { routes: [guarded({ config: { ok: `$file:${file}` } })] as never };
  const candidate = (await watAssembler())(PICKY);
  const options = { stable: MODULES.stable, candidate, folder, config };
  const first = await startRolloutGateway(t, options);
  const analysis = { min_requests: 5 };
  await startRollout(first, { ...ALL, interval_ms: 200, analysis, sticky: { by: "ip" } });
  assert.equal((await rolloutOf(first)).state, "running");
  await stop(first);
  writeFileSync(file, "no");
  const second = await startRolloutGateway(t, options);
  for (let i = 0; i < 20; i++) {
    const answer = await ask(second);
    assert.equal(answer.status, 200);
    assert.equal(answer.headers.get("x-version"), "s");
  }
  await untilRollout(second, ({ state }) => state === "aborted");
  assert.match((await rolloutOf(second)).events.at(-1).reason, /calls failed/);
});

test("a stable version that has to be stopped ends the rollout, and the version before it serves", async (t) => {
  const gateway = await startRolloutGateway(t, MODULES);
  const loops = rolloutPlugin({ mark: "l", loops: 100 });
  const loaded = await gateway.admin("POST", "/admin/plugins/load?name=guard&version=1.5.0", loops);
  assert.equal(loaded.status, 201, loaded.text);
  await startRollout(gateway, { steps: [1] });
  for (let i = 0; i < 20; i++) await ask(gateway, { "x-user": `u${i}`, "x-chance": "00" });
  await untilRollout(gateway, ({ state }) => state === "aborted");
  assert.match((await rolloutOf(gateway)).events.at(-1).reason, /1\.5\.0 was stopped too often/);
  await untilVersion(gateway, "s");
});

async function untilVersion(gateway: RunningGateway, version: string): Promise<void> {
  const endsMs = performance.now() + START_MS;
  while ((await versionOf(gateway)) !== version) {
    assert.ok(performance.now() < endsMs, `${version} does not serve: ${gateway.stderr()}`);
  }
}
