// What a manifest says of its plugin's configuration, over a running gateway: a configuration that does
// not fit is refused with the places of its faults, and so is a version that would not take what is
// attached; what was serving serves on.

import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { withManifestText } from "../../plugins-src/manifest-section.ts";
import type { Config } from "../../gateway/config/schema.ts";
import {
  configText,
  runCommand,
  spawnCommand,
  startGateway,
  temporaryFolder,
} from "../support/gateway.ts";
import type { RunningGateway } from "../support/gateway.ts";
import { TEXT, TEXT_IMPORTS, watAssembler } from "../support/wat.ts";

const wat = await watAssembler();

/** A policy that answers with its version, and what it says of its configuration. */
function policyWith(version: string, schema: object | undefined): Uint8Array {
  const code = wat(`(module ${TEXT_IMPORTS}
    (import "extism:host/user" "respond" (func $respond (param i32 i64)))
    (memory 1) (data (i32.const 0) "${version}") ${TEXT}
    (func (export "on_request") (result i32)
      (call $respond (i32.const 200) (call $text (i32.const 0) (i32.const ${version.length})))
      (i32.const 0)))`);
  const manifest = { name: "policy", version, abi: 1, input: "lazy", config_schema: schema };
  return withManifestText(code, JSON.stringify(manifest));
}

/** One whose configuration needs a `role` among these. */
function policy(version: string, roles: readonly string[]): Uint8Array {
  return policyWith(version, {
    type: "object",
    properties: { role: { enum: roles }, key: { type: "string", minLength: 8, writeOnly: true } },
    required: ["role"],
    additionalProperties: false,
  });
}

const START_MS = 20_000;
const listeners = [{ name: "http", address: "127.0.0.1:0" }];
const configOf = (attachment: object): Config => ({
  listeners,
  routes: [
    { name: "checked", plugins: [{ plugin: "policy", ...attachment }], echo: true },
    { name: "other", match: { paths: [{ prefix: "/other" }] }, echo: true },
  ],
});

async function served(gateway: RunningGateway): Promise<string> {
  return await (await fetch(`http://127.0.0.1:${gateway.port()}/`)).text();
}

const PATH = "/routes/0/plugins/0/config";

test("a configuration that its plugin's schema refuses is not applied", async (t) => {
  const gateway = await startGateway(t, {
    plugins: { policy: policy("1.0.0", ["buyer"]) },
    config: configOf({ config: { role: "buyer" } }),
    env: { SHORT_KEY: "do-not", LONG_KEY: "do-not-show" },
  });
  const before = await gateway.admin("GET", "/admin/config");
  const rows: [config: object, ...paths: string[]][] = [
    [{}, PATH],
    [{ role: "seller" }, `${PATH}/role`],
    [{ role: "buyer", rolle: "x" }, `${PATH}/rolle`],
    [{ role: "buyer", key: "$env:SHORT_KEY" }, `${PATH}/key`],
    [{ role: 1, key: 1 }, `${PATH}/role`, `${PATH}/key`],
  ];
  for (const [config, ...paths] of rows) {
    const text = configText(configOf({ config }));
    const answer = await gateway.admin("PUT", "/admin/config", text);
    assert.equal(answer.status, 422, answer.text);
    assert.equal(answer.body.code, "invalid_config");
    const faults = answer.body.faults as { path: string; line: number }[];
    assert.deepEqual(
      faults.map(({ path }) => path),
      paths,
    );
    assert.ok(
      faults.every(({ line }) => line > 0),
      answer.text,
    );
    assert.doesNotMatch(answer.text, /do-not/);
    assert.equal((await gateway.admin("GET", "/admin/config")).text, before.text);
  }
  assert.equal(await served(gateway), "1.0.0");
  const good = configOf({ config: { role: "buyer", key: "$env:LONG_KEY" } });
  assert.equal((await gateway.admin("PUT", "/admin/config", configText(good))).status, 200);
  assert.equal(await served(gateway), "1.0.0");
});

test("a version whose schema refuses what is attached does not become current", async (t) => {
  const gateway = await startGateway(t, {
    plugins: { policy: policy("1.0.0", ["buyer"]) },
    config: configOf({ config: { role: "buyer" } }),
  });
  const stricter = policy("2.0.0", ["seller"]);
  const before = await gateway.admin("GET", "/admin/plugins");
  const refused = async (method: string, path: string, body: Uint8Array | object) => {
    const answer = await gateway.admin(method, path, body);
    assert.equal(answer.status, 422, answer.text);
    assert.equal(answer.body.code, "invalid_config");
    assert.deepEqual(
      answer.body.faults.map((fault: { path: string }) => fault.path),
      [`${PATH}/role`],
    );
    assert.equal(await served(gateway), "1.0.0");
  };
  await refused("POST", "/admin/plugins/load", stricter);
  assert.equal((await gateway.admin("GET", "/admin/plugins")).text, before.text);

  // It may wait, and is refused again when it is to serve.
  const stored = await gateway.admin("POST", "/admin/plugins/policy/versions/2.0.0", stricter);
  assert.equal(stored.status, 201, stored.text);
  await refused("PUT", "/admin/plugins/policy/current", { version: "2.0.0" });

  // With a configuration that both take, or a version of its own, nothing stands in its way.
  const pinned = configOf({ version: "1.0.0", config: { role: "buyer" } });
  assert.equal((await gateway.admin("PUT", "/admin/config", configText(pinned))).status, 200);
  const current = await gateway.admin("PUT", "/admin/plugins/policy/current", {
    version: "2.0.0",
  });
  assert.equal(current.status, 200, current.text);
  assert.equal(await served(gateway), "1.0.0");
  const followed = configOf({ config: { role: "buyer" } });
  assert.equal((await gateway.admin("PUT", "/admin/config", configText(followed))).status, 422);
  const fits = configOf({ config: { role: "seller" } });
  assert.equal((await gateway.admin("PUT", "/admin/config", configText(fits))).status, 200);
  assert.equal(await served(gateway), "2.0.0");
  // One that says nothing takes anything.
  const open = await gateway.admin("POST", "/admin/plugins/load", policyWith("3.0.0", undefined));
  assert.equal(open.status, 201, open.text);
  assert.equal(await served(gateway), "3.0.0");
});

test("a schema beyond what can be checked is refused at upload", async (t) => {
  const gateway = await startGateway(t, { config: { listeners, routes: [] } });
  for (const schema of [
    { type: "object", $ref: "https://example.com/schema.json" },
    { type: "object", properties: { a: { type: "string", pattern: "^(a+)+$" } } },
  ]) {
    const module = policyWith("1.0.0", schema);
    const answer = await gateway.admin("POST", "/admin/plugins/load", module);
    assert.equal(answer.status, 422, answer.text);
    assert.equal(answer.body.code, "bad_config_schema");
  }
  assert.deepEqual((await gateway.admin("GET", "/admin/plugins")).body, []);
});

test("at start a file that does not fit ends the gateway, with the line", async (t) => {
  const folder = temporaryFolder(t);
  const configFile = join(folder, "sallyport.yaml");
  const module = join(folder, "policy.wasm");
  writeFileSync(module, policy("1.0.0", ["buyer"]));
  const text = configText(configOf({ config: { role: "none" } }));
  writeFileSync(configFile, text);
  const args = ["run", "-c", configFile, "--data-dir", join(folder, "var"), "--workers", "1"];
  const started = spawnCommand(t, [...args, "--plugin", `policy=${module}`]);
  // One that starts after all says so.
  await assert.rejects(started.until(/admin http/, START_MS), /ended early/);
  const said = started.stdout() + started.stderr();
  assert.match(said, /"none" is not one of buyer/);
  const line = text.split("\n").findIndex((each) => each.includes("none")) + 1;
  assert.match(said, new RegExp(`sallyport\\.yaml:${line}\\b`));
});

test("plugin inspect shows what a configuration may hold", async (t) => {
  const folder = temporaryFolder(t);
  const module = join(folder, "policy.wasm");
  writeFileSync(module, policy("1.0.0", ["buyer", "seller"]));
  const { code, stdout } = await runCommand(t, ["plugin", "inspect", module]);
  assert.equal(code, 0);
  assert.match(stdout, /role +needed +one of buyer, seller/);
  assert.match(stdout, /key +optional +text of at least 8 characters/);
});
