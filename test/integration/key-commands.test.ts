// Keys from the command line: one is made offline, its hash goes into a configuration, and the key then
// does what its role allows and is told why not where it does not.

import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { parse } from "yaml";
import { hashOfKey } from "../../gateway/config/admin-keys.ts";
import type { Config } from "../../gateway/config/schema.ts";
import { configText, runCommand, startGateway } from "../support/gateway.ts";
import { versionedPlugins } from "../support/versioned-plugin.ts";

const moduleOf = await versionedPlugins();
const CONFIG: Config = {
  admin: { listen: "127.0.0.1:0" },
  listeners: [{ name: "http", address: "127.0.0.1:0" }],
  routes: [{ name: "answer", respond: { body: "one" } }],
};

test("a key that is made is shown once, and what is said of it can be added as it is", async (t) => {
  // A name that YAML would take for a number.
  const made = await runCommand(t, ["key", "new", "--role", "deploy", "--name", "1.0"]);
  assert.equal(made.code, 0, made.stderr);
  assert.match(made.stdout, /^sp_[A-Za-z0-9_-]{43}\n$/);
  assert.equal(made.stderr.includes(made.stdout.trim()), false);
  const added = parse(made.stderr.slice(made.stderr.indexOf("\nadmin:"))) as unknown;
  const entry = { name: "1.0", role: "deploy", hash: hashOfKey(made.stdout.trim()) };
  assert.deepEqual(added, { admin: { keys: [entry] } });
  const json = await runCommand(t, ["key", "new", "--role", "read", "--name", "b", "--json"]);
  const { key, ...rest } = JSON.parse(json.stdout) as { key: string };
  assert.deepEqual(rest, { name: "b", role: "read", hash: hashOfKey(key) });
});

test("what could not be added is not made", async (t) => {
  for (const [role, name, why] of [
    ["root", "ci", /error: --role: "root" is not one of read, deploy, admin\n/],
    ["read", "admin", /error: --name: "admin" is not allowed here: expected another name/],
    ["read", "Two Words", /error: --name: "Two Words" is not text \(a-z/],
    ["read", null, /required option '--name <name>' not specified/],
  ] as const) {
    const args = ["key", "new", "--role", role, ...(name === null ? [] : ["--name", name])];
    const { code, stdout, stderr } = await runCommand(t, args);
    assert.deepEqual([code, stdout], [2, ""], args.join(" "));
    assert.match(stderr, why);
  }
});

test("a key does what its role allows, and is told what it lacks", async (t) => {
  const gateway = await startGateway(t, { config: CONFIG });
  const { adminUrl, folder } = gateway;
  const made = await runCommand(t, ["key", "new", "--role", "deploy", "--name", "ci", "--json"]);
  const { key, ...entry } = JSON.parse(made.stdout) as { key: string; name: string; hash: string };
  const file = join(folder, "next.yaml");
  const keys = [{ ...entry, role: "deploy" as const }];
  writeFileSync(file, configText({ ...CONFIG, admin: { ...CONFIG.admin, keys } }));
  const own = { cwd: folder, env: { SALLYPORT_ADMIN: adminUrl } };
  assert.equal((await runCommand(t, ["config", "apply", file], own)).code, 0);
  const run = (...args: string[]) =>
    runCommand(t, args, { cwd: folder, env: { ...own.env, SALLYPORT_KEY: key } });
  assert.equal((await run("whoami")).stdout, "ci, role deploy\n");
  assert.deepEqual(JSON.parse((await run("whoami", "--json")).stdout), {
    name: "ci",
    role: "deploy",
  });
  assert.match((await runCommand(t, ["whoami"], own)).stdout, /^admin, role admin\n$/);
  const module = join(folder, "stamp.wasm");
  writeFileSync(module, moduleOf(1));
  const pushed = await run("plugin", "push", module, "--name", "stamp");
  assert.equal(pushed.code, 0, pushed.stderr);
  const half = await run("plugin", "push", module, "--name", "stamp", "--attach", "answer");
  assert.match(half.stderr, /^stamp@1\.0\.0 is stored and current, and not attached to answer:\n/);
  assert.match(half.stderr, /forbidden: This needs a key of the role admin/);
  writeFileSync(file, configText({ ...CONFIG, routes: [] }));
  const refused = await run("config", "sync", file);
  assert.deepEqual([refused.code, refused.stdout], [1, ""]);
  assert.match(
    refused.stderr,
    /^error: forbidden: This needs a key of the role admin; the key ci has the role deploy\.\n/,
  );
  assert.match(refused.stderr, /--key or SALLYPORT_KEY gives another key/);
  const wrong = await run("status", "--key", `${key}x`);
  assert.equal(wrong.code, 1);
  assert.match(wrong.stderr, /error: unauthorized: Nobody holds this key/);
});
