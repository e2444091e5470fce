// kill -9 of the primary at random moments while configurations and plugins are written: what was
// acknowledged is there after the restart, nothing half written is, and no worker outlives its primary.
// KILLS and SEED in the environment make it longer and repeatable.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { Config } from "../../gateway/config/schema.ts";
import { startGateway, temporaryFolder } from "../support/gateway.ts";
import type { RunningGateway } from "../support/gateway.ts";
import { versionedPlugins } from "../support/versioned-plugin.ts";

const KILLS = Number(process.env["KILLS"] ?? 20);
const SEED = Number(process.env["SEED"] ?? Date.now() % 2 ** 31);
/** The longest time from the first write to the kill. */
const WRITE_MS_MAX = 400;
const GONE_MS = 5_000;

/** What the gateway has acknowledged so far, and what it was asked last. */
type Ledger = {
  /** Writes so far, the ones that were cut short included. */
  count: number;
  revision: number;
  body: string;
  asked: string;
  plugin: number;
  askedPlugin: number;
};

test(`kill -9 of the primary ${KILLS} times during writes loses nothing acknowledged`, async (t) => {
  t.diagnostic(`seed ${SEED}`);
  const random = mulberry32(SEED);
  const moduleOf = await versionedPlugins();
  const folder = temporaryFolder(t);
  const ledger: Ledger = {
    count: 0,
    revision: 1,
    body: "0",
    asked: "0",
    plugin: 0,
    askedPlugin: 0,
  };
  for (let kill = 0; kill < KILLS; kill++) {
    const gateway = await startGateway(t, {
      folder,
      config: startConfig(),
      plugins: { stamp: moduleOf(0) },
    });
    await checkKept(gateway, ledger);
    const workers = await gateway.workerPids();
    const timer = setTimeout(() => gateway.process.kill("SIGKILL"), random() * WRITE_MS_MAX);
    try {
      for (;;) await writeOnce(gateway, { ledger, moduleOf, random });
    } catch (error) {
      // The connection breaks with the primary: anything else is a failure of its own.
      assert.ok(error instanceof TypeError, String(error));
    }
    clearTimeout(timer);
    assert.equal(await gateway.exited, "SIGKILL");
    await allGone(workers);
  }
  t.diagnostic(
    `${ledger.count} writes, revision ${ledger.revision}, plugin version ${ledger.plugin}`,
  );
});

function startConfig(): Config {
  return {
    listeners: [{ name: "http", address: "127.0.0.1:0" }],
    routes: [
      {
        name: "stamped",
        match: { paths: [{ exact: "/stamp" }] },
        plugins: [{ plugin: "stamp" }],
        echo: true,
      },
      { name: "answer", respond: { body: "0" } },
    ],
  };
}

type Writer = {
  readonly ledger: Ledger;
  moduleOf(version: number): Uint8Array;
  random(): number;
};

async function writeOnce(gateway: RunningGateway, writer: Writer): Promise<void> {
  const { ledger, moduleOf, random } = writer;
  const count = ++ledger.count;
  if (random() < 0.5) {
    ledger.asked = String(count);
    const change = { respond: { body: ledger.asked } };
    const answer = await gateway.admin("PATCH", "/admin/routes/answer", change);
    assert.equal(answer.status, 200, answer.text);
    ledger.revision = answer.body.revision as number;
    ledger.body = ledger.asked;
  } else {
    ledger.askedPlugin = count;
    const query = `name=stamp&version=2.0.${count}`;
    const answer = await gateway.admin("POST", `/admin/plugins/load?${query}`, moduleOf(count));
    assert.equal(answer.status, 201, answer.text);
    ledger.plugin = count;
  }
}

// What was acknowledged, or what was asked last and had become durable before its answer was sent.
async function checkKept(gateway: RunningGateway, ledger: Ledger): Promise<void> {
  const config = await gateway.admin("GET", "/admin/config");
  const revision = Number(config.headers.get("etag")?.replaceAll('"', ""));
  const live = config.body as Config;
  const body = live.routes?.find(({ name }) => name === "answer")?.respond?.body ?? "";
  assert.ok(revision === ledger.revision || revision === ledger.revision + 1, `at ${revision}`);
  assert.equal(body, revision === ledger.revision ? ledger.body : ledger.asked);
  ledger.revision = revision;
  ledger.body = body;

  const plugin = await gateway.admin("GET", "/admin/plugins/stamp");
  const current = plugin.body.current as string;
  const version = current === "1.0.0" ? 0 : Number(current.split(".")[2]);
  assert.ok([ledger.plugin, ledger.askedPlugin].includes(version), `stamp is at ${current}`);
  assert.ok(version >= ledger.plugin, `stamp is at ${current}, ${ledger.plugin} was acknowledged`);
  ledger.plugin = version;

  const port = gateway.port();
  const served = await fetch(`http://127.0.0.1:${port}/x`);
  assert.equal(await served.text(), ledger.body, "what is shown is what is served");
  const stamped = await fetch(`http://127.0.0.1:${port}/stamp`);
  const stamp = Number(stamped.headers.get("x-version")?.slice(1));
  assert.equal(stamp, ledger.plugin, "the version that is current is the one that runs");
}

async function allGone(pids: readonly number[]): Promise<void> {
  const deadlineMs = performance.now() + GONE_MS;
  for (const pid of pids) {
    while (isAlive(pid)) {
      assert.ok(performance.now() < deadlineMs, `worker ${pid} outlives its primary`);
      await new Promise((resolve) => setImmediate(resolve));
    }
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

function mulberry32(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}
