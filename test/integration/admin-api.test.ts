// The admin API over HTTP, against a running gateway: who may ask, what a write answers, what is
// refused and with which code, and what is remembered.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { gunzipSync } from "node:zlib";
import { Profile } from "pprof-format";
import { API_ROUTES } from "../../admin/api/server.ts";
import type { Config } from "../../gateway/config/schema.ts";
import { startGateway } from "../support/gateway.ts";
import { startLoad } from "../support/load.ts";
import { exchangeRaw, statusOf } from "../support/raw.ts";
import { versionedPlugins } from "../support/versioned-plugin.ts";

const moduleOf = await versionedPlugins();
const SECRET = "0123456789abcdef0123456789abcdef";
const CONFIG: Config = {
  listeners: [{ name: "http", address: "127.0.0.1:0" }],
  upstreams: [{ name: "origin", targets: [{ address: "127.0.0.1:9" }] }],
  routes: [
    {
      name: "stamped",
      match: { paths: [{ prefix: "/s" }] },
      plugins: [{ plugin: "stamp" }],
      echo: true,
    },
    {
      name: "guarded",
      match: { paths: [{ prefix: "/jwt" }] },
      plugins: [{ plugin: "jwt", config: { keys: [{ alg: "HS256", secret: SECRET }] } }],
      echo: true,
    },
  ],
};

test("only holders of the key get in, and no page of another origin does", async (t) => {
  const gateway = await startGateway(t, { config: CONFIG, plugins: { stamp: moduleOf(0) } });
  const { adminUrl, key, dataDir } = gateway;
  const status = async (headers: Record<string, string>, path = "/admin/status") =>
    (await fetch(`${adminUrl}${path}`, { headers })).status;
  assert.equal(await status({}), 401);
  assert.equal(await status({ "x-api-key": `${key}x` }), 401);
  assert.equal(await status({ "x-api-key": key }), 200);
  assert.equal(await status({ authorization: `Bearer ${key}` }), 200);
  assert.equal(await status({ "x-api-key": key, origin: "https://evil.test" }), 403);
  assert.equal(await status({ "x-api-key": key, origin: adminUrl }), 200);
  for (const path of ["/livez", "/readyz", "/metrics"]) assert.equal(await status({}, path), 200);
  const rebound = `GET /admin/status HTTP/1.1\r\nhost: evil.test\r\nx-api-key: ${key}\r\nconnection: close\r\n\r\n`;
  const port = Number(new URL(adminUrl).port);
  assert.equal(statusOf((await exchangeRaw(t, port, rebound)).text), 403);
  assert.equal(statSync(join(dataDir, "admin.key")).mode & 0o777, 0o600);
});

test("a resource is created, replaced, merged, guarded by its revision, and removed", async (t) => {
  const gateway = await startGateway(t, { config: CONFIG, plugins: { stamp: moduleOf(0) } });
  const { admin, adminUrl, key } = gateway;
  const made = await admin("PUT", "/admin/routes/new", { respond: { body: "one" } });
  assert.deepEqual([made.status, made.body.revision, made.body.changed], [201, 2, true]);
  assert.equal(made.headers.get("etag"), '"2"');
  const same = await admin("PUT", "/admin/routes/new", { respond: { body: "one" } });
  assert.deepEqual([same.status, same.body.revision, same.body.changed], [200, 2, false]);
  const dry = await admin("PATCH", "/admin/routes/new?dry_run=true", { respond: { body: "two" } });
  assert.deepEqual([dry.body.revision, dry.body.dry_run], [2, true]);
  assert.deepEqual(dry.body.diff, [
    { op: "change", path: "/routes/new/respond/body", from: "one", to: "two" },
  ]);
  const merged = await admin("PATCH", "/admin/routes/new", {
    priority: 5,
    respond: { status: 202 },
  });
  assert.equal(merged.body.revision, 3);
  const shown = await admin("GET", "/admin/routes/new");
  assert.deepEqual(shown.body, { name: "new", respond: { body: "one", status: 202 }, priority: 5 });
  const write = (ifMatch: string) =>
    fetch(`${adminUrl}/admin/routes/new`, {
      method: "DELETE",
      headers: { "x-api-key": key, "if-match": ifMatch },
    });
  const stale = await write('"2"');
  assert.equal(stale.status, 412);
  assert.equal(((await stale.json()) as { code: string }).code, "revision_mismatch");
  assert.equal((await write('"3"')).status, 200);
  assert.equal((await admin("GET", "/admin/routes/new")).body.code, "unknown_route");
  const used = await admin("DELETE", "/admin/upstreams/origin");
  assert.equal(used.status, 200, "nothing refers to it");
});

test("what is refused has a stable code, and misspelt parameters are not ignored", async (t) => {
  const { admin } = await startGateway(t, { config: CONFIG, plugins: { stamp: moduleOf(0) } });
  const cases: readonly (readonly [
    status: number,
    code: string,
    method: string,
    path: string,
    body?: string,
  ])[] = [
    [404, "unknown_path", "GET", "/admin/rutes"],
    [405, "method_not_allowed", "POST", "/admin/routes"],
    [400, "unknown_parameter", "PUT", "/admin/routes/x?dryrun=true", "{}"],
    [400, "bad_parameter", "PUT", "/admin/routes/x?dry_run=maybe", "{}"],
    [400, "bad_json", "PUT", "/admin/routes/x", "{"],
    [400, "bad_json", "PUT", "/admin/routes/x", "[]"],
    [422, "name_differs", "PUT", "/admin/routes/x", '{"name":"y","echo":true}'],
    [422, "invalid_config", "PUT", "/admin/routes/x", '{"echo":true,"colour":"red"}'],
    [422, "invalid_config", "PUT", "/admin/routes/..", '{"echo":true}'],
    [404, "unknown_route", "PATCH", "/admin/routes/x", "{}"],
    [404, "unknown_upstream", "DELETE", "/admin/upstreams/x"],
    [404, "unknown_revision", "GET", "/admin/revisions/99"],
    [400, "bad_revision", "GET", "/admin/revisions/one"],
    [400, "bad_range", "GET", "/admin/revisions/1/diff"],
    [400, "bad_request", "POST", "/admin/rollback", '{"revision":"1"}'],
    [404, "unknown_plugin", "GET", "/admin/plugins/nobody"],
    [404, "unknown_plugin", "PUT", "/admin/plugins/stamp/current", '{"version":"9.0.0"}'],
    [400, "missing_name", "POST", "/admin/plugins/load", "MODULE"],
    [400, "bad_version", "POST", "/admin/plugins/load?name=stamp&version=two", "MODULE"],
    [400, "bad_name", "POST", "/admin/plugins/load?name=..%2fx", "MODULE"],
    [409, "reserved_name", "POST", "/admin/plugins/load?name=jwt", "MODULE"],
    [409, "plugin_referenced", "DELETE", "/admin/plugins/stamp/versions/1.0.0"],
    [400, "bad_sample", "POST", "/admin/plugins/stamp/versions/1.0.0/test", '{"metod":"GET"}'],
  ];
  for (const [status, code, method, path, text] of cases) {
    const body = text === "MODULE" ? moduleOf(1) : text;
    // The platform's client resolves ".." itself; escaped it stays a name.
    const answer = await admin(method, path.replace("/..", "/%2e%2e%2f"), body);
    const what = `${method} ${path}: ${answer.text}`;
    assert.equal(answer.body.code, code, what);
    assert.equal(answer.status, status, what);
    assert.equal(answer.headers.get("content-type"), "application/problem+json");
    assert.ok((answer.body.detail as string).length > 10, what);
  }
});

test("revisions are listed, compared and rolled back to; secrets never leave", async (t) => {
  const gateway = await startGateway(t, { config: CONFIG, plugins: { stamp: moduleOf(0) } });
  const { admin, dataDir } = gateway;
  await admin("PUT", "/admin/routes/a", { respond: { body: "a" } });
  await admin("DELETE", "/admin/routes/a");
  const list = await admin("GET", "/admin/revisions");
  assert.deepEqual(
    (list.body as { revision: number }[]).map(({ revision }) => revision),
    [3, 2, 1],
  );
  const diff = await admin("GET", "/admin/revisions/1..2/diff");
  assert.deepEqual(
    (diff.body as { op: string; path: string }[]).map(({ op, path }) => [op, path]),
    [["add", "/routes/a"]],
  );
  const back = await admin("POST", "/admin/rollback", { revision: 2 });
  assert.deepEqual([back.body.revision, back.body.changed], [4, true]);
  const served = await fetch(`http://127.0.0.1:${gateway.port()}/anything`);
  assert.equal(await served.text(), "a");
  for (const path of [
    "/admin/config",
    "/admin/routes",
    "/admin/revisions/1",
    "/admin/routes/guarded",
  ]) {
    const answer = await admin("GET", path);
    assert.equal(answer.text.includes(SECRET), false, `${path} shows a secret`);
  }
  const masked = await admin("GET", "/admin/routes/guarded");
  const written = await admin("PUT", "/admin/routes/guarded", masked.body as object);
  assert.equal(written.body.code, "masked_secret", "a mask is never taken for the secret");
  assert.equal(readFileSync(join(dataDir, "audit.log"), "utf8").includes(SECRET), false);
});

test("versions are immutable, one is current, and a version can be tried without being used", async (t) => {
  const gateway = await startGateway(t, { config: CONFIG, plugins: { stamp: moduleOf(0) } });
  const { admin, adminUrl, key } = gateway;
  const path = "/admin/plugins/stamp/versions/2.0.0";
  const stored = await admin("POST", path, moduleOf(2));
  assert.deepEqual([stored.status, stored.body.current, stored.body.routes], [201, false, []]);
  const digest = `sha256:${createHash("sha256").update(moduleOf(2)).digest("hex")}`;
  assert.equal(stored.body.digest, digest);
  assert.equal((await admin("POST", path, moduleOf(2))).status, 200);
  assert.equal((await admin("POST", path, moduleOf(3))).body.code, "version_exists");
  const wrong = await fetch(`${adminUrl}/admin/plugins/load?name=stamp`, {
    method: "POST",
    headers: { "x-api-key": key, "x-plugin-sha256": "0".repeat(64) },
    body: moduleOf(4) as Uint8Array<ArrayBuffer>,
  });
  assert.equal(((await wrong.json()) as { code: string }).code, "hash_mismatch");
  const tried = await admin("POST", `${path}/test`, {
    method: "GET",
    path: "/s",
    headers: { a: "b" },
  });
  assert.equal(tried.body.action, "continue", tried.text);
  assert.deepEqual(tried.body.request_headers, { "x-version": "v00002" });
  const url = `http://127.0.0.1:${gateway.port()}/s`;
  assert.equal((await fetch(url)).headers.get("x-version"), "v00000", "stored is not live");
  const moved = await admin("PUT", "/admin/plugins/stamp/current", { version: "2.0.0" });
  const { took_ms: tookMs, ...move } = moved.body;
  assert.deepEqual(move, { name: "stamp", from: "1.0.0", to: "2.0.0" });
  assert.ok(tookMs > 0);
  assert.equal((await fetch(url)).headers.get("x-version"), "v00002");
  assert.equal((await admin("DELETE", "/admin/plugins/stamp/versions/1.0.0")).status, 200);
  const next = await admin("POST", "/admin/plugins/load?name=stamp", moduleOf(5));
  assert.deepEqual(
    [next.body.version, next.body.current, next.body.routes],
    ["2.0.1", true, ["stamped"]],
  );
});

test("every write is in the audit log, refused ones too", async (t) => {
  const { admin, dataDir } = await startGateway(t, {
    config: CONFIG,
    plugins: { stamp: moduleOf(0) },
  });
  await admin("PUT", "/admin/routes/a", { respond: { body: "a" } });
  await admin("PUT", "/admin/routes/a", { respond: { body: 1 } });
  await admin("GET", "/admin/routes/a");
  const lines = readFileSync(join(dataDir, "audit.log"), "utf8").trim().split("\n");
  const entries = lines.map((line) => JSON.parse(line) as Record<string, unknown>);
  assert.deepEqual(
    entries.map(({ actor, method, path, status, code }) => [actor, method, path, status, code]),
    [
      ["admin", "PUT", "/admin/routes/a", 201, undefined],
      ["admin", "PUT", "/admin/routes/a", 422, "invalid_config"],
    ],
  );
  assert.ok(Array.isArray(entries[0]["diff"]));
});

test("the OpenAPI document has every operation, and metrics count what happened", async (t) => {
  const gateway = await startGateway(t, {
    config: CONFIG,
    plugins: { stamp: moduleOf(0) },
    workers: 2,
  });
  const { body } = await gateway.admin("GET", "/admin/openapi.json");
  const paths = body.paths as Record<string, Record<string, unknown>>;
  for (const { method, path } of API_ROUTES) {
    assert.ok(paths[path]?.[method.toLowerCase()], `${method} ${path} is not in the document`);
  }
  const url = `http://127.0.0.1:${gateway.port()}`;
  for (let i = 0; i < 10; i++) await (await fetch(`${url}/s`)).text();
  await (await fetch(`${url}/jwt`)).text();
  const { text } = await gateway.admin("GET", "/metrics");
  const sample = (name: string) => {
    const line = text.split("\n").find((each) => each.startsWith(name));
    return line === undefined ? null : Number(line.slice(line.lastIndexOf(" ")));
  };
  assert.equal(sample('sallyport_requests_total{route="stamped",code="200"}'), 10, text);
  assert.equal(sample('sallyport_requests_total{route="guarded",code="401"}'), 1);
  const calls = 'sallyport_plugin_calls_total{plugin="stamp",version="1.0.0",decision="continue"}';
  assert.equal(sample(calls), 20, "ten requests, two phases each");
  assert.equal(sample("sallyport_workers"), 2);
  assert.ok((sample("sallyport_connections_total") ?? 0) > 0);
});

test("profiles of all workers come in pprof's own format", async (t) => {
  const gateway = await startGateway(t, {
    config: CONFIG,
    plugins: { stamp: moduleOf(0) },
    workers: 2,
  });
  const { adminUrl, key, admin } = gateway;
  const load = startLoad(t, { port: gateway.port(), rate: 300, path: "/s" });
  for (const [name, types] of [
    ["profile", ["samples", "cpu"]],
    ["heap", ["inuse_space"]],
  ] as const) {
    const answer = await fetch(`${adminUrl}/debug/pprof/${name}?seconds=1`, {
      headers: { "x-api-key": key },
    });
    assert.equal(answer.status, 200);
    const profile = Profile.decode(gunzipSync(await answer.arrayBuffer()));
    const { strings } = profile.stringTable;
    assert.deepEqual(
      profile.sampleType.map(({ type }) => strings[Number(type)]),
      types,
    );
    const workers = new Set(profile.sample.map(({ label }) => Number(label[0].num)));
    // Which worker got connections is the kernel's choice: one of them may have done nothing.
    assert.ok(workers.size >= 1, `${name} has samples`);
    for (const { locationId, value } of profile.sample) {
      assert.equal(value.length, types.length);
      for (const id of locationId) assert.ok(profile.location[Number(id) - 1] !== undefined);
    }
  }
  await load.stop();
  const refused = await admin("GET", "/debug/pprof/profile?seconds=600");
  assert.equal(refused.body.code, "bad_parameter");
});
