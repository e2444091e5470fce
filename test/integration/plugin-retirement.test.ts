// Versions that are taken out of use: nothing may use a retired one, its name never means other bytes, and
// there is always a way back, until a purge forgets it. Real gateways, over the admin API.

import assert from "node:assert/strict";
import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { LIMITS } from "../../gateway/base/limits.ts";
import type { Config } from "../../gateway/config/schema.ts";
import { digestOf } from "../../sandbox/sandbox.ts";
import { startGateway, temporaryFolder } from "../support/gateway.ts";
import type { RunningGateway } from "../support/gateway.ts";
import { versionText, versionedPlugins } from "../support/versioned-plugin.ts";

const moduleOf = await versionedPlugins();
const PATH = "/admin/plugins/stamp";

const CONFIG: Config = {
  listeners: [{ name: "http", address: "127.0.0.1:0" }],
  routes: [{ name: "all", plugins: [{ plugin: "stamp" }], echo: true }],
};

/** A gateway whose route follows stamp 1.0.0, the first of three versions; 1.x.0 is module x. */
async function threeVersions(t: TestContext, options: { readonly folder?: string } = {}) {
  const plugins = { stamp: moduleOf(0) };
  const gateway = await startGateway(t, { ...options, plugins, config: CONFIG });
  for (const minor of [1, 2]) {
    const answer = await gateway.admin("POST", `${PATH}/versions/1.${minor}.0`, moduleOf(minor));
    assert.equal(answer.status, 201, answer.text);
  }
  return gateway;
}

async function ok(answer: ReturnType<RunningGateway["admin"]>) {
  const { status, body, text } = await answer;
  assert.ok(status === 200 || status === 201, text);
  return body;
}

async function refused(
  answer: ReturnType<RunningGateway["admin"]>,
  [status, code]: readonly [number, string],
) {
  const { body, text, status: found } = await answer;
  assert.deepEqual([found, body.code], [status, code], text);
  return body;
}

async function assertServed(gateway: RunningGateway, mark: number) {
  const response = await fetch(`http://127.0.0.1:${gateway.port()}/`);
  assert.equal(response.headers.get("x-version"), versionText(mark));
}

async function versionsOf(gateway: RunningGateway, query = ""): Promise<string[]> {
  const body = await ok(gateway.admin("GET", `${PATH}${query}`));
  return (body.versions as { version: string }[]).map(({ version }) => version);
}

/** Attaches a version of `stamp` to the route; a revision of its own. */
async function attach(gateway: RunningGateway, version?: string): Promise<number> {
  const plugins = [version === undefined ? { plugin: "stamp" } : { plugin: "stamp", version }];
  const body = await ok(gateway.admin("PATCH", "/admin/routes/all", { plugins }));
  return body.revision as number;
}

function modulesOf({ dataDir }: RunningGateway): string[] {
  return readdirSync(join(dataDir, "plugins/modules"));
}

function hasModule(gateway: RunningGateway, mark: number): boolean {
  return modulesOf(gateway).includes(`${digestOf(moduleOf(mark)).slice("sha256:".length)}.wasm`);
}

test("a retired version is in no list and of no use, and survives a restart as that", async (t) => {
  const folder = temporaryFolder(t);
  let gateway = await threeVersions(t, { folder });
  await ok(gateway.admin("DELETE", `${PATH}/versions/1.1.0`));
  await ok(gateway.admin("DELETE", `${PATH}/versions/1.1.0`));
  for (const round of ["before", "after"]) {
    await t.test(`${round} a restart`, async () => {
      assert.deepEqual(await versionsOf(gateway), ["1.2.0", "1.0.0"]);
      assert.deepEqual(await versionsOf(gateway, "?retired=true"), ["1.2.0", "1.0.0", "1.1.0"]);
      const one = await ok(gateway.admin("GET", `${PATH}/versions/1.1.0`));
      assert.ok(Date.parse(one.retired_at) > 0);
      const retired = [409, "version_retired"] as const;
      await refused(gateway.admin("PUT", `${PATH}/current`, { version: "1.1.0" }), retired);
      await refused(gateway.admin("POST", `${PATH}/versions/1.1.0/test`, {}), retired);
      const rollout = "/admin/routes/all/rollouts/stamp";
      await refused(gateway.admin("PUT", rollout, { candidate: "1.1.0" }), retired);
      for (const version of ["1.1.0", "~1.1"]) {
        const patch = { plugins: [{ plugin: "stamp", version }] };
        const { faults } = await refused(gateway.admin("PATCH", "/admin/routes/all", patch), [
          422,
          "invalid_config",
        ]);
        assert.equal(faults[0].allowed, "1.2.0, 1.0.0");
      }
      assert.ok(hasModule(gateway, 1));
    });
    gateway.process.kill("SIGKILL");
    await gateway.exited;
    gateway = await startGateway(t, { folder, plugins: { stamp: moduleOf(0) }, config: CONFIG });
  }
});

test("a retired name and version never mean other bytes, and its own bring it back", async (t) => {
  const gateway = await threeVersions(t);
  await ok(gateway.admin("DELETE", `${PATH}/versions/1.2.0`));
  const other = gateway.admin("POST", `${PATH}/versions/1.2.0`, moduleOf(7));
  const { detail } = await refused(other, [409, "version_exists"]);
  assert.match(
    detail,
    /^stamp@1\.2\.0 is retired, and was with other bytes; versions are immutable/,
  );
  const next = await ok(gateway.admin("POST", "/admin/plugins/load?name=stamp", moduleOf(8)));
  assert.equal(next.version, "1.2.1", "its number is taken");
  for (const path of [`${PATH}/versions/1.2.0`, "/admin/plugins/load?name=stamp"]) {
    const back = await ok(gateway.admin("POST", path, moduleOf(2)));
    assert.deepEqual([back.version, back.created, back.restored], ["1.2.0", false, true]);
    assert.deepEqual(await versionsOf(gateway), ["1.2.1", "1.2.0", "1.1.0", "1.0.0"]);
    await ok(gateway.admin("PUT", `${PATH}/current`, { version: "1.2.1" }));
    await ok(gateway.admin("DELETE", `${PATH}/versions/1.2.0`));
  }
});

test("what is in use is not retired: the refusal says by whom", async (t) => {
  const gateway = await threeVersions(t);
  const busy = [409, "plugin_referenced"] as const;
  const retire = (version: string) => gateway.admin("DELETE", `${PATH}/versions/${version}`);
  const current = await refused(retire("1.0.0"), busy);
  assert.deepEqual([current.routes, current.current], [["all"], true]);
  await attach(gateway, "1.1.0");
  const pinned = await refused(retire("1.1.0"), busy);
  assert.deepEqual([pinned.routes, pinned.current], [["all"], false]);
  const unused = await refused(retire("1.0.0"), busy);
  assert.deepEqual([unused.routes, unused.current], [[], true]);
  await attach(gateway, "~1.1");
  assert.match((await refused(retire("1.1.0"), busy)).detail, /used by route all \(detach it\)/);
  const place = "/admin/routes/all/rollouts/stamp";
  await ok(gateway.admin("PUT", place, { candidate: "1.2.0", interval_ms: 600_000 }));
  assert.deepEqual((await refused(retire("1.2.0"), busy)).rollouts, ["all"]);
  await ok(gateway.admin("DELETE", place));
  await ok(retire("1.2.0"));
  await assertServed(gateway, 1);
});

test("going back to a revision brings back what it names, and says so", async (t) => {
  const gateway = await threeVersions(t);
  const pinned = await attach(gateway, "1.1.0");
  const ranged = await attach(gateway, "~1.2");
  await attach(gateway);
  for (const version of ["1.1.0", "1.2.0"]) {
    await ok(gateway.admin("DELETE", `${PATH}/versions/${version}`));
  }
  for (const [revision, version, mark] of [
    [pinned, "1.1.0", 1],
    [ranged, "1.2.0", 2],
  ] as const) {
    const note = `stamp@${version} was retired and is back`;
    const dry = await ok(gateway.admin("POST", "/admin/rollback?dry_run=true", { revision }));
    assert.deepEqual(dry.notes, [note]);
    assert.ok(!(await versionsOf(gateway)).includes(version), "a dry run brings nothing back");
    const back = await ok(gateway.admin("POST", "/admin/rollback", { revision }));
    assert.deepEqual(back.notes, [note]);
    const [{ message }] = await ok(gateway.admin("GET", "/admin/revisions"));
    assert.equal(message, `roll back to revision ${revision}; ${note}`);
    await assertServed(gateway, mark);
    assert.ok((await versionsOf(gateway)).includes(version));
  }
});

test("a revision whose version is gone comes to another one, and says so", async (t) => {
  const folder = temporaryFolder(t);
  let gateway = await threeVersions(t, { folder });
  const revision = await attach(gateway, "^1.0");
  await attach(gateway, "1.1.0");
  gateway.process.kill("SIGKILL");
  await gateway.exited;
  const file = join(gateway.dataDir, "plugins/registry.json");
  const registry = JSON.parse(readFileSync(file, "utf8"));
  registry.plugins[0].versions.shift();
  writeFileSync(file, JSON.stringify(registry));
  gateway = await startGateway(t, { folder, plugins: { stamp: moduleOf(0) }, config: CONFIG });
  const back = await ok(gateway.admin("POST", "/admin/rollback", { revision }));
  assert.deepEqual(back.notes, ["stamp@^1.0 was 1.2.0, which is gone, and is 1.1.0 now"]);
  const { versions, message } = await ok(gateway.admin("GET", `/admin/revisions/${back.revision}`));
  assert.deepEqual(versions, { "stamp@^1.0": "1.1.0" });
  assert.match(message, /^roll back to revision \d; stamp@\^1\.0 was 1\.2\.0, which is gone/);
  await assertServed(gateway, 1);
});

test("a plugin goes back to what was current, also when that is retired", async (t) => {
  const gateway = await threeVersions(t);
  const nowhere = await refused(gateway.admin("POST", `${PATH}/rollback`, {}), [409, "no_history"]);
  assert.match(nowhere.detail, /stamp@1\.0\.0 is the only version/);
  await refused(gateway.admin("POST", "/admin/plugins/none/rollback", {}), [404, "unknown_plugin"]);
  await ok(gateway.admin("PUT", `${PATH}/current`, { version: "1.2.0" }));
  await ok(gateway.admin("DELETE", `${PATH}/versions/1.0.0`));
  const back = await ok(gateway.admin("POST", `${PATH}/rollback`, {}));
  assert.deepEqual([back.from, back.to, back.restored], ["1.2.0", "1.0.0", true]);
  await assertServed(gateway, 0);
  const again = await ok(gateway.admin("POST", `${PATH}/rollback`, { version: "1.2.0" }));
  assert.deepEqual([again.from, again.to, again.restored], ["1.0.0", "1.2.0", false]);
});

test("a plugin of which all is retired is gone from the lists, and its seed brings it back", async (t) => {
  const folder = temporaryFolder(t);
  const config = { ...CONFIG, routes: [] };
  const plugins = { stamp: moduleOf(0) };
  let gateway = await startGateway(t, { folder, plugins, config });
  await ok(gateway.admin("DELETE", `${PATH}/versions/1.0.0`));
  assert.deepEqual(await ok(gateway.admin("GET", "/admin/plugins")), []);
  await refused(gateway.admin("GET", PATH), [404, "unknown_plugin"]);
  gateway.process.kill("SIGKILL");
  await gateway.exited;
  gateway = await startGateway(t, { folder, plugins, config });
  assert.deepEqual(await versionsOf(gateway), ["1.0.0"]);
});

test("a purge forgets what is retired, once no revision names it", async (t) => {
  const gateway = await threeVersions(t);
  const purge = (version: string) =>
    gateway.admin("DELETE", `${PATH}/versions/${version}?purge=true`);
  await refused(purge("1.1.0"), [409, "not_retired"]);
  await refused(purge("9.0.0"), [404, "unknown_plugin"]);
  const revision = await attach(gateway, "~1.2");
  await attach(gateway);
  for (const version of ["1.1.0", "1.2.0"]) {
    await ok(gateway.admin("DELETE", `${PATH}/versions/${version}`));
  }
  assert.deepEqual((await refused(purge("1.2.0"), [409, "plugin_referenced"])).revisions, [
    revision,
  ]);
  assert.ok(hasModule(gateway, 2));
  await ok(gateway.admin("POST", "/admin/plugins/other/versions/1.0.0", moduleOf(1)));
  await ok(purge("1.1.0"));
  assert.ok(hasModule(gateway, 1), "another plugin has the same bytes");
  assert.deepEqual(await versionsOf(gateway, "?retired=true"), ["1.0.0", "1.2.0"]);
  await ok(gateway.admin("DELETE", "/admin/plugins/other/versions/1.0.0"));
  await ok(gateway.admin("DELETE", "/admin/plugins/other/versions/1.0.0?purge=true"));
  assert.ok(!hasModule(gateway, 1));
  const anew = await ok(gateway.admin("POST", `${PATH}/versions/1.1.0`, moduleOf(9)));
  assert.equal(anew.created, true);
});

test("only an admin purges", async (t) => {
  const key = "k".repeat(32);
  const hash = digestOf(Buffer.from(key));
  const admin = { listen: "127.0.0.1:0", keys: [{ name: "ci", role: "deploy" as const, hash }] };
  const gateway = await startGateway(t, { config: { ...CONFIG, admin, routes: [] } });
  await ok(gateway.admin("POST", `${PATH}/versions/1.0.0`, moduleOf(0)));
  const call = async (query: string) => {
    const url = `${gateway.adminUrl}${PATH}/versions/1.0.0${query}`;
    const response = await fetch(url, { method: "DELETE", headers: { "x-api-key": key } });
    return response.status;
  };
  assert.deepEqual([await call(""), await call("?purge=true")], [200, 403]);
});

test("a plugin has so many versions and no more; forgetting some makes room", async (t) => {
  const folder = temporaryFolder(t);
  let gateway = await threeVersions(t, { folder });
  gateway.process.kill("SIGKILL");
  await gateway.exited;
  const file = join(gateway.dataDir, "plugins/registry.json");
  const registry = JSON.parse(readFileSync(file, "utf8"));
  const [entry] = registry.plugins;
  const [newest] = entry.versions;
  const { length } = entry.versions;
  const retiredAt = new Date().toISOString();
  entry.retired = Array.from({ length: LIMITS.pluginVersionsMax - length }, (_, i) => ({
    ...newest,
    digest: `sha256:${String(i).padStart(64, "0")}`,
    version: `0.0.${i}`,
    retiredAt,
  }));
  writeFileSync(file, JSON.stringify(registry));
  gateway = await startGateway(t, { folder, plugins: { stamp: moduleOf(0) }, config: CONFIG });
  const push = () => gateway.admin("POST", "/admin/plugins/load?name=stamp", moduleOf(99));
  const full = await refused(push(), [409, "too_many_versions"]);
  assert.match(full.detail, /stamp has 1000 versions, .* forget some: sallyport plugin rm stamp@/);
  await ok(gateway.admin("POST", "/admin/plugins/load?name=stamp", moduleOf(1)));
  await ok(gateway.admin("DELETE", `${PATH}/versions/0.0.0?purge=true`));
  assert.equal((await ok(push())).created, true);
});

test("a registry of before retirement is read", async (t) => {
  const folder = temporaryFolder(t);
  let gateway = await threeVersions(t, { folder });
  gateway.process.kill("SIGKILL");
  await gateway.exited;
  const file = join(gateway.dataDir, "plugins/registry.json");
  const registry = JSON.parse(readFileSync(file, "utf8"));
  for (const entry of registry.plugins) delete entry.retired;
  writeFileSync(file, JSON.stringify(registry));
  gateway = await startGateway(t, { folder, plugins: { stamp: moduleOf(0) }, config: CONFIG });
  await ok(gateway.admin("DELETE", `${PATH}/versions/1.1.0`));
  assert.deepEqual(await versionsOf(gateway), ["1.2.0", "1.0.0"]);
  await assertServed(gateway, 0);
});
