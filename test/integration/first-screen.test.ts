// The first screen: what the demonstration prints is run as it is printed, by a shell, and shows an
// allowed request, a refused one, a rate limit, and an upload that refuses from then on.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { ROOT, spawnCommand, temporaryFolder } from "../support/gateway.ts";

const START_MS = 20_000;

test("the commands that the first start prints work as they are printed", async (t) => {
  const folder = temporaryFolder(t);
  const config = join(folder, "demo.yaml");
  const demo = readFileSync(join(ROOT, "admin/deploy/demo.yaml"), "utf8");
  // Free ports instead of the well-known ones; nothing else is changed.
  writeFileSync(config, demo.replaceAll(/127\.0\.0\.1:\d+/g, "127.0.0.1:0"));
  const started = spawnCommand(t, ["run", "--demo", "-c", config], { cwd: folder });
  await started.until(/Ctrl-C stops it/, START_MS);
  const commands = [...started.stdout().matchAll(/^ +(curl .*)$/gm)].map(([, command]) => command);
  assert.equal(commands.length, 3, started.stdout());
  const run = (command: string) =>
    execFileSync("/bin/sh", ["-c", command], { cwd: folder, encoding: "utf8" });
  const [hello, limited, upload] = commands;
  const greeted = run(hello);
  assert.match(greeted, /^HTTP\/1\.1 200 OK/);
  assert.match(greeted, /^x-hello: hello from WebAssembly\r$/m);
  // One connection, hence one worker, which may have counted the request before.
  assert.match(run(limited), /^(200 ){4,5}(429 ){2,3}$/);

  const gate = `curl -si ${/(http:\/\/\S+\/gate)$/.exec(upload)?.[1]}`;
  assert.match(run(gate), /^HTTP\/1\.1 200 OK/, "the gate is open at first");
  const uploaded = run(upload);
  assert.match(uploaded, /"name": "gate"/);
  assert.match(uploaded, /^HTTP\/1\.1 403 Forbidden\r$/m);
  assert.match(uploaded, /The gate is closed/);
  const key = `curl -si -H 'x-demo-key: open sesame' ${gate.slice("curl -si ".length)}`;
  assert.match(run(key), /^HTTP\/1\.1 200 OK/, "the key that the guard asks for opens it");

  const plans = `curl -si ${gate.replace("/gate", "/private/plans").slice("curl -si ".length)}`;
  assert.match(run(plans), /^HTTP\/1\.1 403 Forbidden/, "the plugin in Rust refuses a path");
  const https = /https +(https:\S+)/.exec(started.stdout())?.[1];
  assert.match(run(`curl -ski ${https}/hello-not`), /^HTTP\/2 200/);
  started.process.kill("SIGINT");
  assert.equal(await started.exited, 0);
});
