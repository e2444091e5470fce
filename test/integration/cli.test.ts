// The command line as scripts and people use it: exit codes, plain text and JSON, errors that say what,
// why and how to mend, and help that fits on a screen.

import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import type { Config } from "../../gateway/config/schema.ts";
import { cli, configText, runCommand, startGateway, temporaryFolder } from "../support/gateway.ts";
import { versionedPlugins } from "../support/versioned-plugin.ts";

const moduleOf = await versionedPlugins();
const CONFIG: Config = {
  admin: { listen: "127.0.0.1:0" },
  listeners: [{ name: "http", address: "127.0.0.1:0" }],
  routes: [{ name: "answer", respond: { body: "one" } }],
};

test("config check: 0 for a good file, 1 with place and suggestion for a bad one, 2 without one", async (t) => {
  const folder = temporaryFolder(t);
  const file = join(folder, "a.yaml");
  writeFileSync(file, configText(CONFIG));
  const good = await runCommand(t, ["config", "check", file]);
  assert.deepEqual([good.code, good.stdout], [0, `${file} is valid\n`]);
  writeFileSync(file, "routes:\n  - name: a\n    ehco: true\n");
  const bad = await runCommand(t, ["config", "check", file]);
  assert.equal(bad.code, 1);
  assert.match(bad.stdout, /a\.yaml:3:5: error\[unknown_key\]/);
  assert.match(bad.stdout, / {2}3 \| {5}ehco: true\n {10}\^/);
  assert.match(bad.stdout, /did you mean echo\?/);
  assert.equal(bad.stdout.includes("\u001b"), false, "no colour off a terminal");
  const json = await runCommand(t, ["config", "check", file, "--json"]);
  const report = JSON.parse(json.stdout) as { valid: boolean; faults: { line: number }[] };
  assert.deepEqual([json.code, report.valid, report.faults[0].line], [1, false, 3]);
  const missing = await runCommand(t, ["config", "check", join(folder, "none.yaml")]);
  assert.equal(missing.code, 2);
  assert.match(missing.stderr, /none\.yaml cannot be read: ENOENT/);
});

test("diff, apply, sync, dump, revisions and rollback work on the live configuration", async (t) => {
  const gateway = await startGateway(t, { config: CONFIG });
  const run = cli(t, gateway);
  const served = async () => await (await fetch(`http://127.0.0.1:${gateway.port()}/`)).text();
  const file = join(gateway.folder, "next.yaml");
  const routes = [{ name: "extra", match: { paths: [{ exact: "/x" }] }, respond: { body: "x" } }];
  writeFileSync(file, configText({ ...CONFIG, routes }));
  const diff = await run("config", "diff", file);
  assert.equal(diff.code, 1, diff.stderr);
  assert.match(diff.stdout, /^- \/routes\/answer/m);
  const dry = await run("config", "apply", file, "--dry-run");
  assert.match(dry.stdout, /would change; live is revision 1/);
  const applied = await run("config", "apply", file);
  assert.equal(applied.code, 0, applied.stderr);
  assert.match(applied.stdout, /kept, though the file does not name it .*: routes\/answer/);
  assert.match(applied.stdout, /\nundo: sallyport config rollback 1\n$/);
  assert.equal(await served(), "one");
  const synced = await run("config", "sync", file);
  assert.match(synced.stdout, /applied as revision 3/);
  assert.equal((await run("config", "diff", file)).code, 0);
  const back = await run("config", "rollback", "1");
  assert.match(back.stdout, /revision 3 -> 1, live as revision 4/);
  assert.match(back.stdout, /undo: sallyport config rollback 3/);
  assert.equal(await served(), "one");
  const dumped = await run("config", "dump");
  writeFileSync(file, dumped.stdout);
  assert.equal((await run("config", "diff", file)).code, 0, "what is dumped can be applied");
  const revisions = await run("config", "revisions", "--json");
  assert.equal((JSON.parse(revisions.stdout) as unknown[]).length, 4);
  writeFileSync(file, "routes: [{ name: a, ehco: true }]\n");
  const refused = await run("config", "sync", file);
  assert.equal(refused.code, 1);
  assert.match(refused.stderr, /next\.yaml:1:21: error\[unknown_key\]/);
});

test("plugin push, list, versions, rollback and rm", async (t) => {
  const gateway = await startGateway(t, { config: CONFIG });
  const run = cli(t, gateway);
  const file = join(gateway.folder, "stamp.wasm");
  writeFileSync(file, moduleOf(1));
  const inspected = await run("plugin", "inspect", file);
  assert.match(inspected.stdout, /^ {2}on_request +\(\) -> i32 +for each request of the route/m);
  const pushed = await run("plugin", "push", file, "--name", "stamp", "--attach", "answer");
  assert.equal(pushed.code, 0, pushed.stderr);
  assert.match(
    pushed.stdout,
    /stamp@1\.0\.0 stored and live in [\d.]+ ms\nattached to route answer, revision 2\nundo: sallyport config rollback 1\n/,
  );
  const version = async () =>
    (await fetch(`http://127.0.0.1:${gateway.port()}/`)).headers.get("x-version");
  assert.equal(await version(), "v00001");
  writeFileSync(file, moduleOf(2));
  const misspelt = await run("plugin", "push", file, "--name", "stamp", "--attach", "anwser");
  assert.match(misspelt.stderr, /unknown_route: There is no route anwser/);
  assert.equal(await version(), "v00001", "nothing was stored");
  await run("plugin", "push", file, "--name", "stamp");
  assert.equal(await version(), "v00002");
  const back = await run("plugin", "rollback", "stamp");
  assert.match(
    back.stdout,
    /stamp 1\.0\.1 -> 1\.0\.0 \([\d.]+ ms\)\nundo: sallyport plugin rollback stamp 1\.0\.1/,
  );
  assert.equal(await version(), "v00001");
  assert.match((await run("plugin", "list")).stdout, /^stamp +1\.0\.0 +2 +- +answer$/m);
  assert.match((await run("plugin", "versions", "stamp")).stdout, /^1\.0\.0 +\* /m);
  assert.equal((await run("plugin", "rm", "stamp@1.0.0")).code, 1, "it is in use");
  const retired = await run("plugin", "rm", "stamp@1.0.1");
  assert.match(retired.stdout, /^stamp@1\.0\.1 is retired\nundo: push the same module again, or /);
  assert.doesNotMatch((await run("plugin", "versions", "stamp")).stdout, /^1\.0\.1 /m);
  const all = await run("plugin", "versions", "stamp", "--retired");
  assert.match(all.stdout, /^1\.0\.1 +retired /m);
  const restored = await run("plugin", "rollback", "stamp");
  assert.match(
    restored.stdout,
    /^stamp 1\.0\.0 -> 1\.0\.1 \([\d.]+ ms\)\nstamp@1\.0\.1 was retired and is back\n/,
  );
  assert.equal(await version(), "v00002");
  assert.equal((await run("plugin", "rm", "stamp@1.0.0")).code, 0);
  assert.equal((await run("plugin", "rm", "stamp@1.0.1", "--purge")).code, 1, "it is in use");
  assert.match((await run("plugin", "rm", "stamp@1.0.0", "--purge")).stdout, /is forgotten/);
  writeFileSync(file, "no module");
  const refused = await run("plugin", "inspect", file);
  assert.equal(refused.code, 1);
  assert.match(refused.stderr, /would be refused: invalid_module/);
});

test("status and top show the gateway, drain ends it, and then nobody answers", async (t) => {
  const gateway = await startGateway(t, { config: CONFIG });
  const run = cli(t, gateway);
  const status = await run("status");
  assert.equal(status.code, 0, status.stderr);
  assert.match(status.stdout, /running; revision 1, 1 routes, 0 plugins/);
  const timer = setInterval(() => void fetch(`http://127.0.0.1:${gateway.port()}/`), 50);
  t.after(() => clearInterval(timer));
  const top = await run("top", "--interval", "1", "--json");
  clearInterval(timer);
  const rates = JSON.parse(top.stdout) as { requests_per_s: number; routes: { route: string }[] };
  assert.ok(rates.requests_per_s > 0, top.stdout);
  assert.equal(rates.routes[0].route, "answer");
  assert.equal((await run("drain")).code, 0);
  assert.equal(await gateway.exited, 0);
  const gone = await run("status");
  assert.equal(gone.code, 2);
  assert.match(gone.stderr, /does not answer .*; is the gateway running\?/);
});

test("help fits on a screen with an example and exit codes; unknown words get one suggestion", async (t) => {
  const words = [
    [],
    ["run"],
    ["config"],
    ["config", "apply"],
    ["plugin"],
    ["plugin", "push"],
    ["explain"],
  ];
  for (const path of words) {
    const { code, stdout } = await runCommand(t, [...path, "--help"]);
    assert.equal(code, 0);
    assert.ok(stdout.trimEnd().split("\n").length <= 25, `${path.join(" ")} --help is too long`);
    assert.match(stdout, /Exit codes: 0 done, 1 no/);
    if (path.length !== 1 || path[0] === "run") assert.match(stdout, /^Example: sallyport /m);
  }
  const typo = await runCommand(t, ["confg"]);
  assert.equal(typo.code, 2);
  assert.match(typo.stderr, /unknown command 'confg'\n\(Did you mean config\?\)/);
  for (const shell of ["bash", "zsh", "fish"]) {
    const script = await runCommand(t, ["completion", shell]);
    assert.equal(script.code, 0);
    assert.match(script.stdout, /rollback/);
  }
  const schema = await runCommand(t, ["config", "schema"]);
  assert.equal((JSON.parse(schema.stdout) as { type: string }).type, "object");
  const version = await runCommand(t, ["version", "--json"]);
  const { version: own } = JSON.parse(
    readFileSync(new URL("../../package.json", import.meta.url), "utf8"),
  ) as { version: string };
  assert.equal((JSON.parse(version.stdout) as { version: string }).version, own);
});
