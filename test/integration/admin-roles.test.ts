// Who may do what through the admin API of a running gateway: every operation of the table with a key of
// each role, with a wrong one and without one; keys that come and go while it runs; and what is
// remembered of them, which is a name and a hash and never the key.

import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import type { ApiRoute } from "../../admin/api/route.ts";
import { API_ROUTES } from "../../admin/api/server.ts";
import { allows, hashOfKey, makeKey } from "../../gateway/config/admin-keys.ts";
import type { Access } from "../../gateway/config/admin-keys.ts";
import type { Config } from "../../gateway/config/schema.ts";
import { startGateway } from "../support/gateway.ts";
import type { RunningGateway } from "../support/gateway.ts";
import { connectRaw, statusOf } from "../support/raw.ts";
import { versionedPlugins } from "../support/versioned-plugin.ts";

const moduleOf = await versionedPlugins();
const KEYS = { read: makeKey(), deploy: makeKey(), admin: makeKey() };
const NAMES = { read: "eyes", deploy: "ci", admin: "boss" } as const;
const ADMIN_KEYS = (["read", "deploy", "admin"] as const).map((role) => ({
  name: NAMES[role],
  role,
  hash: hashOfKey(KEYS[role]),
}));
const CONFIG: Config = {
  admin: { listen: "127.0.0.1:0", keys: ADMIN_KEYS },
  listeners: [{ name: "http", address: "127.0.0.1:0" }],
  routes: [{ name: "stamped", plugins: [{ plugin: "stamp" }], respond: { body: "one" } }],
};

type Answer = { readonly status: number; readonly text: string; readonly code: string };

async function ask(
  { adminUrl }: RunningGateway,
  key: string | null,
  request: { method: string; path: string; body?: string | Uint8Array },
): Promise<Answer> {
  const response = await fetch(`${adminUrl}${request.path}`, {
    method: request.method,
    headers: key === null ? {} : { "x-api-key": key },
    body: request.body as string | undefined,
  });
  const text = await response.text();
  const isProblem = response.headers.get("content-type") === "application/problem+json";
  const code = isProblem ? (JSON.parse(text) as { code: string }).code : "";
  return { status: response.status, text, code };
}

/** What an operation must need: a rule and not the table, which is judged by it. */
function neededFor({ method, path }: ApiRoute): Access {
  if (["/livez", "/readyz", "/metrics"].includes(path)) return "none";
  if (path.startsWith("/debug/pprof/")) return "admin";
  if (method === "GET") return "read";
  return /^\/admin\/plugins\/|\/rollouts\//.test(path) ? "deploy" : "admin";
}

/** A request that reaches the operation and changes nothing there: it names nothing that exists. */
function harmless({ method, path, body }: ApiRoute) {
  const asked = path.replaceAll(/\{\w+\}/g, "nothing");
  const url = path.startsWith("/debug/pprof/") ? `${asked}?seconds=0` : asked;
  return { method, path: url, ...(body === undefined ? {} : { body: "{" }) };
}

function auditOf({ dataDir }: RunningGateway): Record<string, unknown>[] {
  const lines = readFileSync(join(dataDir, "audit.log"), "utf8").trim().split("\n");
  return lines.map((line) => JSON.parse(line) as Record<string, unknown>);
}

test("every operation needs the role that the rule says, and no other", () => {
  for (const route of API_ROUTES) {
    assert.equal(route.role, neededFor(route), `${route.method} ${route.path}`);
  }
});

test("every operation is granted to its role and those above, and to nobody else", async (t) => {
  const gateway = await startGateway(t, { config: CONFIG, plugins: { stamp: moduleOf(0) } });
  const before = await gateway.admin("GET", "/admin/config");
  // It ends the gateway: granted last, and refused with all the others.
  const isDrain = ({ path }: ApiRoute) => path === "/admin/drain";
  const refusedWrites: unknown[] = [];
  for (const route of API_ROUTES) {
    const what = `${route.method} ${route.path}`;
    for (const key of [null, makeKey(), `${KEYS.admin}x`]) {
      const { status, code } = await ask(gateway, key, harmless(route));
      if (route.role === "none") assert.equal(status, 200, what);
      else assert.deepEqual([status, code], [401, "unauthorized"], `${what} with ${key}`);
    }
    for (const role of ["read", "deploy", "admin"] as const) {
      const isGranted = allows(role, neededFor(route));
      if (isGranted && isDrain(route)) continue;
      const { status, code, text } = await ask(gateway, KEYS[role], harmless(route));
      assert.equal(code !== "forbidden", isGranted, `${what} as ${role}: ${text}`);
      assert.equal(status !== 403 && status !== 401, isGranted, `${what} as ${role}`);
      if (isGranted || route.method === "GET") continue;
      refusedWrites.push([NAMES[role], role, route.method, harmless(route).path, 403]);
    }
  }
  const after = await gateway.admin("GET", "/admin/config");
  assert.equal(after.headers.get("etag"), before.headers.get("etag"));
  assert.deepEqual(after.body, before.body);
  const forbidden = auditOf(gateway).filter(({ code }) => code === "forbidden");
  assert.deepEqual(
    forbidden.map(({ actor, role, method, path, status }) => [actor, role, method, path, status]),
    refusedWrites,
  );
  const drained = API_ROUTES.find(isDrain);
  assert.ok(drained);
  assert.equal((await ask(gateway, KEYS.admin, harmless(drained))).status, 202);
  assert.equal(await gateway.exited, 0);
});

test("a key that deploys uploads a plugin and cannot change a route", async (t) => {
  const gateway = await startGateway(t, { config: CONFIG, plugins: { stamp: moduleOf(0) } });
  const served = async () => {
    const response = await fetch(`http://127.0.0.1:${gateway.port()}/`);
    return [response.headers.get("x-version"), await response.text()];
  };
  assert.deepEqual(await served(), ["v00000", "one"]);
  const load = { method: "POST", path: "/admin/plugins/load?name=stamp", body: moduleOf(1) };
  assert.equal((await ask(gateway, KEYS.read, load)).status, 403);
  assert.deepEqual(await served(), ["v00000", "one"]);
  assert.equal((await ask(gateway, KEYS.deploy, load)).status, 201);
  assert.deepEqual(await served(), ["v00001", "one"]);
  const revisions = await gateway.admin("GET", "/admin/revisions");
  const body = JSON.stringify({ respond: { body: "mine" } });
  const grab = JSON.stringify({
    ...CONFIG,
    admin: { keys: [{ ...ADMIN_KEYS[1], role: "admin" }] },
  });
  for (const [method, path, sent] of [
    ["PUT", "/admin/routes/stamped", body],
    ["PATCH", "/admin/routes/stamped", body],
    ["DELETE", "/admin/routes/stamped", undefined],
    ["PUT", "/admin/routes/stamped?dry_run=true", body],
    ["PUT", "/admin/config", grab],
    ["POST", "/admin/rollback", '{"revision":1}'],
  ] as const) {
    const request = { method, path, ...(sent === undefined ? {} : { body: sent }) };
    const { status, text } = await ask(gateway, KEYS.deploy, request);
    assert.equal(status, 403, `${method} ${path}`);
    const { detail, needed, role } = JSON.parse(text) as Record<string, string>;
    assert.deepEqual([needed, role], ["admin", "deploy"]);
    assert.match(detail, /a key of the role admin; the key ci has the role deploy/);
  }
  assert.deepEqual(await served(), ["v00001", "one"]);
  assert.deepEqual((await gateway.admin("GET", "/admin/revisions")).body, revisions.body);
  const asked = JSON.parse(
    (await ask(gateway, KEYS.deploy, { method: "GET", path: "/admin/whoami" })).text,
  ) as unknown;
  assert.deepEqual(asked, { name: "ci", role: "deploy" });
});

test("a key is live as soon as it is added, changed or removed, and the first one stays", async (t) => {
  const gateway = await startGateway(t, { config: { ...CONFIG, routes: [] } });
  const added = makeKey();
  const roleOf = async (key: string) => {
    const answer = await ask(gateway, key, { method: "GET", path: "/admin/whoami" });
    return answer.status === 200 ? (JSON.parse(answer.text) as { role: string }).role : "refused";
  };
  const keep = async (...keys: NonNullable<NonNullable<Config["admin"]>["keys"]>) => {
    const config = { ...CONFIG, routes: [], admin: { ...CONFIG.admin, keys } };
    const answer = await gateway.admin("PUT", "/admin/config", config);
    assert.equal(answer.status, 200, answer.text);
  };
  assert.equal(await roleOf(added), "refused");
  const entry = { name: "new", role: "read", hash: hashOfKey(added) } as const;
  await keep(...ADMIN_KEYS, entry);
  assert.equal(await roleOf(added), "read");
  await keep(...ADMIN_KEYS, { ...entry, role: "deploy" });
  assert.equal(await roleOf(added), "deploy");
  await keep();
  assert.equal(await roleOf(added), "refused");
  for (const key of Object.values(KEYS)) assert.equal(await roleOf(key), "refused");
  assert.equal(await roleOf(gateway.key), "admin");
  await gateway.admin("POST", "/admin/rollback", { revision: 2 });
  assert.equal(await roleOf(added), "read");
  const moved = { ...CONFIG, routes: [], admin: { listen: "127.0.0.1:1", keys: ADMIN_KEYS } };
  const refused = await gateway.admin("PUT", "/admin/config", moved);
  assert.deepEqual([refused.status, refused.body.code], [422, "restart_needed"]);
});

test("who may not upload is refused before a byte of the body was taken", async (t) => {
  const gateway = await startGateway(t, { config: CONFIG, plugins: { stamp: moduleOf(0) } });
  const port = Number(new URL(gateway.adminUrl).port);
  for (const [key, status] of [
    [KEYS.read, 403],
    [makeKey(), 401],
  ] as const) {
    const client = await connectRaw(t, port);
    client.send(
      `POST /admin/plugins/load?name=stamp HTTP/1.1\r\nhost: localhost\r\nx-api-key: ${key}\r\n` +
        "content-length: 1000000\r\n\r\n",
    );
    assert.equal(statusOf(await client.until((text) => text.includes("\r\n\r\n"))), status);
  }
});

test("a key that is removed while its request still comes changes nothing", async (t) => {
  const gateway = await startGateway(t, { config: CONFIG, plugins: { stamp: moduleOf(0) } });
  const client = await connectRaw(t, Number(new URL(gateway.adminUrl).port));
  const body = JSON.stringify({ respond: { body: "late" } });
  client.send(
    `PUT /admin/routes/late HTTP/1.1\r\nhost: localhost\r\nx-api-key: ${KEYS.admin}\r\n` +
      `content-length: ${body.length}\r\nexpect: 100-continue\r\nconnection: close\r\n\r\n`,
  );
  // Said by the server when it takes the request up, which begins with the key.
  const CONTINUE = "HTTP/1.1 100 Continue\r\n\r\n";
  await client.until((text) => text.includes(CONTINUE));
  const keyless = { ...CONFIG, admin: { ...CONFIG.admin, keys: [] } };
  assert.equal((await gateway.admin("PUT", "/admin/config", keyless)).status, 200);
  client.send(body);
  const { text } = await client.closed();
  assert.equal(statusOf(text.slice(text.indexOf(CONTINUE) + CONTINUE.length)), 401, text);
  assert.equal((await gateway.admin("GET", "/admin/routes/late")).status, 404);
  const last = auditOf(gateway).at(-1);
  assert.deepEqual([last?.["actor"], last?.["code"]], ["boss", "unauthorized"]);
});

test("revisions and the audit log name who acted, and no key is in anything that is kept", async (t) => {
  const gateway = await startGateway(t, { config: CONFIG, plugins: { stamp: moduleOf(0) } });
  const { dataDir, key } = gateway;
  const route = { body: JSON.stringify({ respond: { body: "a" } }), path: "/admin/routes/a" };
  await ask(gateway, KEYS.admin, { method: "PUT", ...route });
  await gateway.admin("DELETE", "/admin/routes/a");
  await ask(gateway, KEYS.read, { method: "PUT", ...route });
  const load = { method: "POST", path: "/admin/plugins/load?name=stamp", body: moduleOf(1) };
  await ask(gateway, KEYS.deploy, load);
  // A key where its hash belongs.
  const entry = { name: "clumsy", role: "read", hash: KEYS.read };
  const clumsy = { ...CONFIG, admin: { ...CONFIG.admin, keys: [entry] } };
  const body = JSON.stringify(clumsy);
  const answers = [await ask(gateway, KEYS.admin, { method: "PUT", path: "/admin/config", body })];
  assert.equal(answers[0].code, "invalid_config");
  assert.deepEqual(
    auditOf(gateway).map(({ actor, role, status }) => [actor, role, status]),
    [
      ["boss", "admin", 201],
      ["admin", "admin", 200],
      ["eyes", "read", 403],
      ["ci", "deploy", 201],
      ["boss", "admin", 422],
    ],
  );
  const revisions = await gateway.admin("GET", "/admin/revisions");
  const actors = (revisions.body as { actor: string }[]).map(({ actor }) => actor);
  assert.deepEqual(actors, ["admin", "boss", "file"]);
  answers.push(await ask(gateway, KEYS.read, { method: "GET", path: "/admin/config" }));
  const folder = join(dataDir, "revisions");
  const kept = readdirSync(folder).map((name) => readFileSync(join(folder, name), "utf8"));
  assert.ok(kept.some((text) => text.includes(hashOfKey(KEYS.read))));
  const shown = answers.map(({ text }) => text);
  assert.ok(shown[1].includes(hashOfKey(KEYS.read)), "a hash is no secret");
  const said = [gateway.stdout(), gateway.stderr()];
  const all = [...kept, ...shown, ...said, readFileSync(join(dataDir, "audit.log"), "utf8")];
  for (const text of all) {
    for (const each of [key, ...Object.values(KEYS)]) assert.equal(text.includes(each), false);
  }
});

test("the OpenAPI document says which role each operation needs", async (t) => {
  const gateway = await startGateway(t, { config: { ...CONFIG, routes: [] } });
  const { text } = await ask(gateway, null, { method: "GET", path: "/admin/openapi.json" });
  type Operation = { "x-role": string; description: string; security: unknown[] };
  const { paths } = JSON.parse(text) as { paths: Record<string, Record<string, Operation>> };
  for (const route of API_ROUTES) {
    const operation = paths[route.path][route.method.toLowerCase()];
    assert.equal(operation["x-role"], route.role);
    assert.equal(operation.security.length === 0, route.role === "none");
  }
  const said = (path: string, method: string) => paths[path][method].description;
  assert.equal(said("/livez", "get"), "Needs no key.");
  assert.equal(said("/admin/config", "get"), "Needs a key of the role read or deploy or admin.");
  assert.equal(said("/admin/config", "put"), "Needs a key of the role admin.");
  assert.equal(paths["/admin/openapi.json"].get["x-role"], "none");
});
