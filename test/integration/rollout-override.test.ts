// Choosing a version by headers: who holds a deploy key may, nobody else does, over HTTP/1.1 and HTTP/2;
// and neither the choice nor the key is ever seen by a plugin or an origin.

import assert from "node:assert/strict";
import { once } from "node:events";
import http2 from "node:http2";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { hashOfKey, makeKey } from "../../gateway/config/admin-keys.ts";
import type { RunningGateway } from "../support/gateway.ts";
import { ok, rawOrigin } from "../support/raw.ts";
import type { RawOrigin } from "../support/raw.ts";
import {
  STABLE,
  CANDIDATE,
  act,
  ask,
  guarded,
  startRollout,
  startRolloutGateway,
} from "../support/rollout-gateway.ts";
import { rolloutPlugin } from "../support/rollout-plugin.ts";

const KEYS = { read: makeKey(), deploy: makeKey(), admin: makeKey() };
const READS = "x-plugin-version-key";

type Started = { readonly gateway: RunningGateway; readonly origin: RawOrigin };

async function start(t: TestContext, mode: "canary" | "shadow" = "canary"): Promise<Started> {
  const origin = await rawOrigin(t, (socket, received) => {
    if (received.endsWith("\r\n\r\n")) socket.write(ok("from the origin"));
  });
  const keys = (["read", "deploy", "admin"] as const).map((role) => ({
    ...{ name: `the-${role}`, role, hash: hashOfKey(KEYS[role]) },
  }));
  const gateway = await startRolloutGateway(t, {
    workers: 1,
    stable: rolloutPlugin({ mark: "s", reads: READS }),
    candidate: rolloutPlugin({ mark: "c", reads: READS }),
    config: {
      admin: { listen: "127.0.0.1:0", keys },
      listeners: [{ name: "http", address: "127.0.0.1:0", http2: true }] as never,
      routes: [guarded({}, { upstream: "origin" })] as never,
      upstreams: [{ name: "origin", targets: [{ address: origin.address }] }] as never,
    },
  });
  await startRollout(gateway, mode === "shadow" ? { mode } : { steps: [0.01] });
  return { gateway, origin };
}

type Row = {
  readonly name: string;
  readonly wanted: string;
  readonly key: (gateway: RunningGateway) => string | null;
  readonly serves: "s" | "c";
};

const ROWS: readonly Row[] = [
  { name: "a deploy key", wanted: "guard=2.0.0", key: () => KEYS.deploy, serves: "c" },
  { name: "an admin key", wanted: "guard=2.0.0", key: () => KEYS.admin, serves: "c" },
  { name: "the first key", wanted: "guard=2.0.0", key: ({ key }) => key, serves: "c" },
  { name: "a read key", wanted: "guard=2.0.0", key: () => KEYS.read, serves: "s" },
  { name: "an unknown key", wanted: "guard=2.0.0", key: () => makeKey(), serves: "s" },
  { name: "an empty key", wanted: "guard=2.0.0", key: () => "", serves: "s" },
  { name: "no key", wanted: "guard=2.0.0", key: () => null, serves: "s" },
  {
    name: "several choices",
    wanted: "other=1.0.0, guard=2.0.0",
    key: () => KEYS.deploy,
    serves: "c",
  },
  { name: "the stable version", wanted: "guard=1.0.0", key: () => KEYS.deploy, serves: "s" },
  { name: "a version of neither", wanted: "guard=3.0.0", key: () => KEYS.deploy, serves: "s" },
  { name: "another plugin's version", wanted: "other=2.0.0", key: () => KEYS.deploy, serves: "s" },
  { name: "no version", wanted: "guard", key: () => KEYS.deploy, serves: "s" },
];

async function askH2(t: TestContext, port: number, headers: Record<string, string>) {
  const session = http2.connect(`http://127.0.0.1:${port}`);
  t.after(() => session.destroy());
  const stream = session.request({ ":path": "/", ...headers });
  const [answer] = (await once(stream, "response")) as [http2.IncomingHttpHeaders];
  stream.resume();
  await once(stream, "close");
  session.close();
  return answer["x-version"];
}

test("a version is chosen with a key that may deploy, and leaves no trace behind the gateway", async (t) => {
  const { gateway, origin } = await start(t);
  for (const { name, wanted, key, serves } of ROWS) {
    const own = key(gateway);
    const headers = {
      "x-plugin-version": wanted,
      ...(own === null ? {} : { "x-plugin-version-key": own }),
    };
    const answer = await ask(gateway, headers);
    await answer.text();
    assert.equal(answer.headers.get("x-version"), serves, name);
    assert.equal(answer.headers.get("x-asked"), serves, name);
    const isHolder = own !== null && [KEYS.deploy, KEYS.admin, gateway.key].includes(own);
    const told = `guard=${serves === "c" ? CANDIDATE : STABLE}`;
    assert.equal(answer.headers.get("x-plugin-version"), isHolder ? told : null, name);
    assert.equal(await askH2(t, gateway.port(), headers), serves, `${name} over HTTP/2`);
  }
  const told = origin.received.join("");
  assert.match(told, /x-asked: c/);
  assert.ok(!/x-plugin-version/i.test(told), "an origin was told");
  for (const secret of [KEYS.deploy, KEYS.read, KEYS.admin, gateway.key]) {
    assert.ok(!told.includes(secret), "an origin was told a key");
  }
  assert.match(told, /x-read: \r\n/, "plugins were told a key");
});

test("a choice holds for its request alone, and none is left when the rollout is over", async (t) => {
  const { gateway, origin } = await start(t);
  const chosen = { "x-plugin-version": "guard=2.0.0", "x-plugin-version-key": KEYS.deploy };
  const versions: (string | null)[] = [];
  for (const headers of [chosen, {}, chosen, {}] as Record<string, string>[]) {
    versions.push((await ask(gateway, headers)).headers.get("x-version"));
  }
  assert.deepEqual(versions, ["c", "s", "c", "s"]);
  await act(gateway, "abort");
  assert.equal((await ask(gateway, chosen)).headers.get("x-version"), "s");
  assert.ok(!/x-plugin-version/i.test(origin.received.join("")), "nor without a rollout");
});

test("what only a shadow sees can be chosen to serve", async (t) => {
  const { gateway } = await start(t, "shadow");
  const chosen = { "x-plugin-version": "guard=2.0.0", "x-plugin-version-key": KEYS.deploy };
  assert.equal((await ask(gateway, chosen)).headers.get("x-version"), "c");
  assert.equal((await ask(gateway)).headers.get("x-version"), "s");
});
