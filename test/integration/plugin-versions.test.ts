// Ranges of versions in attachments: what they come to when a configuration is applied, that nothing but a
// configuration moves it, and what goes back to it. Real gateways; the served version says its number.

import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import type { TestContext } from "node:test";
import type { Config } from "../../gateway/config/schema.ts";
import { cli, configText, startGateway, temporaryFolder } from "../support/gateway.ts";
import type { RunningGateway } from "../support/gateway.ts";
import { versionText, versionedPlugins } from "../support/versioned-plugin.ts";

const moduleOf = await versionedPlugins();
const ROUTE = "/admin/routes/orders";

const configOf = (...versions: (string | undefined)[]): Config => ({
  listeners: [{ name: "http", address: "127.0.0.1:0" }],
  routes: versions.map((version, i) => ({
    name: ["orders", "other"][i],
    match: { paths: [{ prefix: ["/orders", "/other"][i] }] },
    plugins: [version === undefined ? { plugin: "stamp" } : { plugin: "stamp", version }],
    echo: true,
  })),
});

/** A number that tells versions apart: 1.2.10 is 10210. */
function markOf(version: string): number {
  const [major, minor, patch] = version.split(/[.-]/).map(Number);
  return major * 10_000 + minor * 100 + patch;
}

async function store(gateway: RunningGateway, ...versions: string[]): Promise<void> {
  for (const version of versions) {
    const path = `/admin/plugins/stamp/versions/${version}`;
    const answer = await gateway.admin("POST", path, moduleOf(markOf(version)));
    assert.equal(answer.status, 201, answer.text);
  }
}

async function served(gateway: RunningGateway, path = "/orders"): Promise<string | null> {
  const response = await fetch(`http://127.0.0.1:${gateway.port()}${path}`);
  return response.headers.get("x-version");
}

async function assertServed(gateway: RunningGateway, version: string, path?: string) {
  assert.equal(await served(gateway, path), versionText(markOf(version)));
}

/** Applies the live configuration with these versions of `stamp`. */
async function attach(gateway: RunningGateway, query: string, ...versions: (string | undefined)[]) {
  const { body } = await gateway.admin("GET", "/admin/config");
  const { routes } = configOf(...versions);
  return await gateway.admin("PUT", `/admin/config${query}`, { ...(body as Config), routes });
}

/** A gateway with versions in store, whose route asks for a range. */
async function ranged(t: TestContext, range: string, ...versions: string[]) {
  const gateway = await startGateway(t, { config: { ...configOf(), routes: [] } });
  await store(gateway, ...versions);
  const answer = await attach(gateway, "", range);
  assert.equal(answer.status, 200, answer.text);
  return gateway;
}

test("a range is the newest version in store that satisfies it, and stays so", async (t) => {
  const gateway = await ranged(t, "^1.2", "1.1.0", "1.2.9", "1.3.0-rc.1", "2.0.0");
  await assertServed(gateway, "1.2.9");
  const attached = await gateway.admin("GET", `${ROUTE}/plugins`);
  const entry = { plugin: "stamp", version: "^1.2", resolved: "1.2.9", current: false };
  assert.deepEqual(attached.body, [entry]);

  await t.test("the range is shown as it was written", async () => {
    const route = await gateway.admin("GET", ROUTE);
    assert.equal(route.body.plugins[0].version, "^1.2");
    const config = await gateway.admin("GET", "/admin/config");
    assert.equal(config.body.routes[0].plugins[0].version, "^1.2");
    const explained = await cli(t, gateway)("explain", "GET", "http://a/orders", "--live");
    assert.match(explained.stdout, /plugins {2}stamp@\^1\.2 \(1\.2\.9\)/);
  });

  await t.test("a version lists the routes whose range came to it", async () => {
    const { body } = await gateway.admin("GET", "/admin/plugins/stamp");
    const routes = (body.versions as { version: string; routes: string[] }[])
      .filter((each) => each.routes.length > 0)
      .map((each) => [each.version, each.routes]);
    assert.deepEqual(routes, [["1.2.9", ["orders"]]]);
  });

  await t.test("what is uploaded or made current moves nothing", async () => {
    await store(gateway, "1.2.10");
    await assertServed(gateway, "1.2.9");
    const put = await gateway.admin("PUT", "/admin/plugins/stamp/current", { version: "1.2.10" });
    assert.equal(put.status, 200, put.text);
    await assertServed(gateway, "1.2.9");
    const { body } = await gateway.admin("GET", `${ROUTE}/plugins`);
    assert.deepEqual([body[0].resolved, body[0].current], ["1.2.9", false]);
  });

  await t.test("the same configuration again is a change that says what moved", async () => {
    const line = {
      op: "change",
      path: "/routes/orders/plugins/0/version",
      from: "1.2.9",
      to: "1.2.10",
      range: "^1.2",
    };
    const dry = await attach(gateway, "?dry_run=true", "^1.2");
    assert.deepEqual([dry.body.changed, dry.body.diff], [true, [line]]);
    await assertServed(gateway, "1.2.9");
    const file = join(gateway.folder, "sallyport.yaml");
    const live = (await gateway.admin("GET", "/admin/config")).body as Config;
    writeFileSync(join(gateway.folder, "again.json"), JSON.stringify(live));
    const run = cli(t, gateway);
    const applied = await run("config", "apply", file.replace("sallyport.yaml", "again.json"));
    assert.match(
      applied.stdout,
      /^~ \/routes\/orders\/plugins\/0\/version: \^1\.2 \(1\.2\.9 -> 1\.2\.10\)\napplied as revision 3/,
    );
    await assertServed(gateway, "1.2.10");
    const same = await attach(gateway, "", "^1.2");
    assert.deepEqual([same.body.changed, same.body.revision], [false, 3]);
    const diff = await gateway.admin("GET", "/admin/revisions/2..3/diff");
    assert.deepEqual(diff.body, [line]);
  });

  await t.test("a rollback takes the revision's own version again", async () => {
    const back = await gateway.admin("POST", "/admin/rollback", { revision: 2 });
    assert.deepEqual([back.status, back.body.revision, back.body.notes], [200, 4, []], back.text);
    await assertServed(gateway, "1.2.9");
    const { body } = await gateway.admin("GET", "/admin/revisions/4");
    assert.deepEqual(body.versions, { "stamp@^1.2": "1.2.9" });
    const kept = JSON.parse(readFileSync(join(gateway.dataDir, "revisions/4.json"), "utf8"));
    assert.deepEqual(kept.versions, { "stamp@^1.2": "1.2.9" });
  });
});

test("a restart serves what a range came to, and only a changed file moves it", async (t) => {
  const folder = temporaryFolder(t);
  const plugins = { stamp: moduleOf(markOf("1.0.0")) };
  let gateway = await startGateway(t, { folder, plugins, config: configOf("^1.0") });
  await assertServed(gateway, "1.0.0");
  await store(gateway, "1.0.1");
  gateway.process.kill("SIGKILL");
  await gateway.exited;
  gateway = await startGateway(t, { folder, plugins, config: configOf("^1.0") });
  await assertServed(gateway, "1.0.0");
  gateway.process.kill("SIGKILL");
  await gateway.exited;
  const config = `# another text\n${configText(configOf("^1.0"))}`;
  gateway = await startGateway(t, { folder, plugins, config });
  await assertServed(gateway, "1.0.1");
});

test("a range that nothing satisfies, and one that is none, are faults at their place", async (t) => {
  const gateway = await ranged(t, "*", "1.0.0", "1.2.0");
  for (const [version, code, allowed] of [
    ["^3", "unknown_reference", "1.2.0, 1.0.0"],
    ["9.0.0", "unknown_reference", "1.2.0, 1.0.0"],
    ["^^1", "out_of_range", "a version like 1.2.0 or a range like ^1.2, ~1.2.3, >=1.2 <2 or 1.x"],
    ["latest", "out_of_range", undefined],
    [" ", "out_of_range", undefined],
    [`1.2 ${"|| 1.2 ".repeat(30)}`, "out_of_range", undefined],
  ] as const) {
    const refused = await attach(gateway, "", version);
    assert.equal(refused.status, 422, refused.text);
    const [fault, ...more] = refused.body.faults;
    assert.deepEqual([fault.code, fault.path, more], [code, "/routes/0/plugins/0/version", []]);
    if (allowed !== undefined) assert.equal(fault.allowed, allowed);
  }
  await assertServed(gateway, "1.2.0");
  await t.test("config check looks at the grammar only", async () => {
    const file = join(gateway.folder, "checked.yaml");
    const run = cli(t, gateway);
    writeFileSync(file, configText(configOf("^3", ">=1.2 <2 || ~4.1")));
    assert.equal((await run("config", "check", file)).code, 0);
    writeFileSync(file, configText(configOf("^^3")));
    const { code, stdout } = await run("config", "check", file);
    assert.deepEqual([code, /error\[out_of_range\]: "\^\^3"/.test(stdout)], [1, true], stdout);
  });
});

test("a prerelease is taken only by a range that names one", async (t) => {
  const gateway = await ranged(
    t,
    ">=2.0.0-beta.1 <2.0.0",
    "1.9.0",
    "2.0.0-beta.2",
    "2.0.0-beta.10",
  );
  const { body } = await gateway.admin("GET", `${ROUTE}/plugins`);
  assert.equal(body[0].resolved, "2.0.0-beta.10");
  assert.equal((await attach(gateway, "", "^2")).status, 422);
  const { body: plugin } = await gateway.admin("GET", "/admin/plugins/stamp");
  const order = (plugin.versions as { version: string }[]).map(({ version }) => version);
  assert.deepEqual(order, ["2.0.0-beta.10", "2.0.0-beta.2", "1.9.0"]);
});

test("build metadata is refused: versions that differ in it would be equal", async (t) => {
  const gateway = await ranged(t, "*", "1.0.0");
  const path = "/admin/plugins/stamp/versions/1.0.0+b";
  const refused = await gateway.admin("POST", path, moduleOf(7));
  assert.deepEqual([refused.status, refused.body.code], [400, "bad_version"]);
  assert.match(refused.body.detail, /build metadata/);
});

test("a rollout on a range goes from what it came to, and pins what it promotes", async (t) => {
  const gateway = await ranged(t, "^1.2", "1.2.9");
  await store(gateway, "1.2.10");
  const place = `${ROUTE}/rollouts/stamp`;
  const plan = { candidate: "1.2.10", steps: [1, 100], interval_ms: 600_000 };
  const started = await gateway.admin("PUT", place, plan);
  assert.equal(started.status, 201, started.text);
  const rollout = async () => (await gateway.admin("GET", place)).body;

  await t.test("a change of something else neither ends nor completes it", async () => {
    await store(gateway, "1.2.11");
    const answer = await attach(gateway, "", "^1.2", ">=1.2.11");
    assert.equal(answer.status, 200, answer.text);
    assert.equal((await rollout()).state, "running");
    const { body } = await gateway.admin("GET", `${ROUTE}/plugins`);
    assert.deepEqual([body[0].version, body[0].resolved], ["^1.2", "1.2.9"]);
  });

  await t.test("promoted, the route names the candidate, and no other route moves", async () => {
    await store(gateway, "1.2.12");
    const promoted = await gateway.admin("POST", `${place}/promote`, { to: "full" });
    assert.equal(promoted.status, 200, promoted.text);
    await assertServed(gateway, "1.2.10");
    await assertServed(gateway, "1.2.11", "/other");
    const route = await gateway.admin("GET", ROUTE);
    assert.equal(route.body.plugins[0].version, "1.2.10");
  });

  await t.test("and the way back is the range as it was", async () => {
    const revisions = (await gateway.admin("GET", "/admin/revisions")).body as {
      revision: number;
    }[];
    const { revision } = revisions[1];
    assert.equal((await gateway.admin("POST", "/admin/rollback", { revision })).status, 200);
    await assertServed(gateway, "1.2.9");
    await assertServed(gateway, "1.2.11", "/other");
  });
});

test("commands know what a range came to, and show a fault of one in the file", async (t) => {
  const gateway = await ranged(t, "^1.2", "1.2.8");
  await store(gateway, "1.2.9");
  const run = cli(t, gateway);
  const file = join(gateway.folder, "same.yaml");
  const { stdout: text } = await run("config", "dump");
  writeFileSync(file, text);
  const diff = await run("config", "diff", file);
  const moved = "~ /routes/orders/plugins/0/version: ^1.2 (1.2.8 -> 1.2.9)\n";
  assert.deepEqual([diff.code, diff.stdout], [1, moved], diff.stderr);
  const started = await run("rollout", "start", "orders", "stamp");
  assert.match(started.stdout, /canary of 1\.2\.9 running/, started.stderr);
  assert.equal((await run("config", "diff", file)).stdout, "no difference\n", "it is held");
  writeFileSync(file, text.replace("^1.2", "^3.0"));
  const refused = await run("config", "apply", file);
  assert.match(refused.stderr, /same\.yaml:\d+:\d+: error\[unknown_reference\]/);
  assert.match(refused.stderr, /\| +version: \^3\.0$/m);
});

test("a configuration that moves a range under a rollout ends it", async (t) => {
  const gateway = await ranged(t, "^1.2", "1.2.8");
  await store(gateway, "1.2.9");
  assert.equal((await attach(gateway, "", "^1.2")).body.revision, 3);
  await store(gateway, "1.2.10");
  const place = `${ROUTE}/rollouts/stamp`;
  const plan = { candidate: "1.2.10", steps: [1], interval_ms: 600_000 };
  assert.equal((await gateway.admin("PUT", place, plan)).status, 201);
  const back = await gateway.admin("POST", "/admin/rollback", { revision: 2 });
  assert.equal(back.status, 200, back.text);
  await assertServed(gateway, "1.2.8");
  const { body } = await gateway.admin("GET", place);
  assert.equal(body.state, "aborted");
  assert.match(JSON.stringify(body), /the configuration says version \^1\.2 \(1\.2\.8\)/);
});
