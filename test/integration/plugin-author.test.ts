// The plugin author's way, as a script goes it: from nothing to a plugin that answers requests, in four
// commands and without a question, in both languages; and the same at every save, with a gateway that
// keeps what is good. Times are printed and not judged: a busy machine is no fault.

import assert from "node:assert/strict";
import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { performance } from "node:perf_hooks";
import { test } from "node:test";
import type { TestContext } from "node:test";
import type { Config } from "../../gateway/config/schema.ts";
import { RUST_INSTALL, findRustc } from "../../plugins-src/compile-rust.ts";
import { runCommand, spawnCommand, startGateway, temporaryFolder } from "../support/gateway.ts";
import type { RunningGateway } from "../support/gateway.ts";

const CONFIG: Config = {
  listeners: [{ name: "http", address: "127.0.0.1:0" }],
  routes: [{ name: "hello", respond: { body: "hello\n" } }],
};
const ROUND_MS = 120_000;

function edit(file: string, from: string, to: string): void {
  const before = readFileSync(file, "utf8");
  assert.ok(before.includes(from), `${file} has no ${from}`);
  writeFileSync(file, before.replace(from, to));
}

/** Commands of an author on the gateway's host, counted. */
function author(t: TestContext, gateway: RunningGateway) {
  const options = { cwd: gateway.folder, env: { SALLYPORT_ADMIN: gateway.adminUrl } };
  let count = 0;
  return {
    count: () => count,
    run: async (...args: string[]) => {
      count += 1;
      const { code, stdout, stderr } = await runCommand(t, ["plugin", ...args], options);
      assert.equal(code, 0, `${args.join(" ")}\n${stdout}${stderr}`);
      return stdout;
    },
    start: (...args: string[]) => spawnCommand(t, ["plugin", ...args], options),
  };
}

const statusOf = async (gateway: RunningGateway, tier: string) => {
  const headers = { "x-tier": tier };
  return (await fetch(`http://127.0.0.1:${gateway.port()}/`, { headers })).status;
};

for (const { lang, source, filesMax, skip } of [
  { lang: "as", source: "index.ts", filesMax: 6, skip: false },
  {
    lang: "rust",
    source: "plugin.rs",
    filesMax: 6,
    skip: findRustc() === null && `no rustc for Wasm: ${RUST_INSTALL}`,
  },
]) {
  test(
    `${lang}: new, an edit, test and push --attach decide about requests`,
    { skip },
    async (t) => {
      const gateway = await startGateway(t, { config: CONFIG });
      const { run, count } = author(t, gateway);
      const beganMs = performance.now();
      await run("new", "tier", "--lang", lang);
      const folder = join(gateway.folder, "tier");
      const files = readdirSync(folder, { recursive: true, withFileTypes: true });
      assert.ok(files.filter((each) => each.isFile()).length <= filesMax);
      edit(join(folder, source), "403", "451");
      edit(join(folder, "cases/deny.json"), "403", "451");
      const tested = await run("test", "tier");
      assert.match(
        tested,
        /^tier\/tier\.wasm: \d+ bytes in \d+ ms\nok {4}allow\.json\nok {4}deny\.json\n2 passed, 0 failed$/m,
      );
      await run("push", "tier/tier.wasm", "--attach", "hello");
      assert.equal(await statusOf(gateway, "tin"), 451);
      assert.equal(await statusOf(gateway, "gold"), 200);
      assert.ok(count() <= 4);
      t.diagnostic(`${count()} commands, ${Math.round(performance.now() - beganMs)} ms in all`);
    },
  );
}

test("dev makes every good save live, and keeps what serves when a save is not", async (t) => {
  const gateway = await startGateway(t, { config: CONFIG });
  const { run, start } = author(t, gateway);
  await run("new", "tier");
  const source = join(gateway.folder, "tier/index.ts");
  const dev = start("dev", "tier", "--route", "hello");
  await dev.until(/live: tier@0\.1\.0 on hello, 2 cases passed/, ROUND_MS);
  assert.equal(await statusOf(gateway, "tin"), 403);

  edit(source, "403", "402");
  await dev.until(/- status: 403\n +\+ status: 402[^]*1 of 2 cases failed/, ROUND_MS);
  assert.equal(await statusOf(gateway, "tin"), 403, "a failed case keeps what was live");

  edit(source, "Decision.deny", "Decision.refuse");
  await dev.until(/index\.ts:\d+:\d+: error\[TS\d+\]: .*refuse.*\n.*\n +\^\n1 error/, ROUND_MS);
  assert.equal(await statusOf(gateway, "tin"), 403, "what does not compile keeps what was live");
  assert.match(dev.stderr(), /kept: tier@0\.1\.0 serves on/);

  edit(join(gateway.folder, "tier/cases/deny.json"), "403", "402");
  edit(source, "Decision.refuse", "Decision.deny");
  const [, ms] = await dev.until(
    /live: tier@0\.1\.1 on hello, .* (\d+) ms after the save/,
    ROUND_MS,
  );
  assert.equal(await statusOf(gateway, "tin"), 402);
  t.diagnostic(`live ${ms} ms after the save was seen, tested in between`);
});

test("dev says at once that there is no such route", async (t) => {
  const gateway = await startGateway(t, { config: CONFIG });
  const { run, start } = author(t, gateway);
  await run("new", "tier");
  const dev = start("dev", "tier", "--route", "helo");
  assert.equal(await dev.exited, 1);
  assert.match(dev.stderr(), /helo/);
});

test("test --watch runs the cases again at a save", async (t) => {
  const folder = temporaryFolder(t);
  assert.equal((await runCommand(t, ["plugin", "new", "tier"], { cwd: folder })).code, 0);
  const watching = spawnCommand(t, ["plugin", "test", "tier", "--watch"], { cwd: folder });
  await watching.until(/2 passed, 0 failed/, ROUND_MS);
  edit(join(folder, "tier/cases/deny.json"), "403", "404");
  await watching.until(/- status: 404\n +\+ status: 403[^]*1 passed, 1 failed/, ROUND_MS);
});
