// kill -9 of the primary at random moments while versions are stored, retired and brought back, ranges are
// resolved and rollouts start and end: after the restart all is as it was acknowledged, or as the write
// says that was cut short, and never a half of it. KILLS and SEED make it longer and repeatable.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import type { Config } from "../../gateway/config/schema.ts";
import { digestOf } from "../../sandbox/sandbox.ts";
import { startGateway, temporaryFolder } from "../support/gateway.ts";
import type { RunningGateway } from "../support/gateway.ts";
import { seededRandom } from "../support/random.ts";
import { versionText, versionedPlugins } from "../support/versioned-plugin.ts";

const KILLS = Number(process.env["KILLS"] ?? 10);
const SEED = Number(process.env["SEED"] ?? Date.now() % 2 ** 31);
/** The longest time from the first write to the kill. */
const WRITE_MS_MAX = 400;
const PLACE = "/admin/routes/followed/rollouts/stamp";

/** What there is: version n is 1.0.n, and 1.0.0 is current. */
type World = {
  readonly kept: readonly number[];
  readonly retired: readonly number[];
  /** What the range ^1.0 came to. */
  readonly ranged: number;
  /** Of the rollout under way. */
  readonly candidate: number | null;
};

type Write = {
  readonly after: World;
  readonly method: string;
  readonly path: string;
  readonly body?: Uint8Array | object;
};

const CONFIG: Config = {
  listeners: [{ name: "http", address: "127.0.0.1:0" }],
  routes: [
    {
      name: "ranged",
      match: { paths: [{ exact: "/ranged" }] },
      plugins: [{ plugin: "stamp", version: "^1.0" }],
      echo: true,
    },
    { name: "followed", plugins: [{ plugin: "stamp" }], echo: true },
  ],
};

const moduleOf = await versionedPlugins();

test(`kill -9 of the primary ${KILLS} times loses nothing of plugins that was acknowledged`, async (t) => {
  t.diagnostic(`seed ${SEED}`);
  const random = seededRandom(SEED);
  const folder = temporaryFolder(t);
  let world: World = { kept: [0], retired: [], ranged: 0, candidate: null };
  let asked = world;
  let count = 0;
  for (let kill = 0; kill < KILLS; kill++) {
    const plugins = { stamp: moduleOf(0) };
    const gateway = await startGateway(t, { folder, config: CONFIG, plugins });
    const found = await worldOf(gateway);
    if (!isEqual(found, asked)) assert.deepEqual(found, world, JSON.stringify(asked));
    world = asked = found;
    await assertServes(gateway, world);
    const timer = setTimeout(() => gateway.process.kill("SIGKILL"), random() * WRITE_MS_MAX);
    try {
      for (;;) {
        const write = nextWrite(world, ++count, random);
        asked = write.after;
        const answer = await gateway.admin(write.method, write.path, write.body);
        assert.ok(answer.status === 200 || answer.status === 201, answer.text);
        world = asked;
      }
    } catch (error) {
      // The connection breaks with the primary: anything else is a failure of its own.
      assert.ok(error instanceof TypeError, String(error));
    }
    clearTimeout(timer);
    assert.equal(await gateway.exited, "SIGKILL");
  }
  t.diagnostic(`${count} writes, ${world.kept.length} kept, ${world.retired.length} retired`);
});

function nextWrite(world: World, count: number, random: () => number): Write {
  const { kept, retired, ranged, candidate } = world;
  const free = kept.filter((n) => n !== 0 && n !== ranged && n !== candidate);
  const version = (n: number) => `/admin/plugins/stamp/versions/1.0.${n}`;
  const pick = (from: readonly number[]) => from[Math.floor(random() * from.length)];
  const add = (n: number): Write => {
    const after = { ...world, kept: sorted([...kept, n]), retired: retired.filter((r) => r !== n) };
    return { method: "POST", path: version(n), body: moduleOf(n), after };
  };
  const plugins = [{ plugin: "stamp", version: "^1.0" }];
  const config: Config = { ...CONFIG, admin: { listen: "127.0.0.1:0" } };
  switch (Math.floor(random() * 5)) {
    case 0: {
      const n = free.length === 0 ? undefined : pick(free);
      if (n === undefined) return add(count);
      const after = {
        ...world,
        kept: kept.filter((k) => k !== n),
        retired: sorted([...retired, n]),
      };
      return { method: "DELETE", path: version(n), after };
    }
    case 1:
      return add(retired.length === 0 ? count : pick(retired));
    case 2: {
      if (candidate !== null) {
        return { method: "DELETE", path: PLACE, after: { ...world, candidate: null } };
      }
      if (free.length === 0) return add(count);
      const n = pick(free);
      const body = { candidate: `1.0.${n}`, steps: [50], interval_ms: 600_000 };
      return { method: "PUT", path: PLACE, body, after: { ...world, candidate: n } };
    }
    case 3: {
      const routes = [{ ...config.routes?.[0], plugins }, config.routes?.[1]];
      const after = { ...world, ranged: Math.max(...kept) };
      return { method: "PUT", path: "/admin/config", body: { ...config, routes }, after };
    }
    default:
      return add(count);
  }
}

async function worldOf(gateway: RunningGateway): Promise<World> {
  const { body } = await gateway.admin("GET", "/admin/plugins/stamp?retired=true");
  const versions = body.versions as {
    version: string;
    retired_at: string | null;
    digest: string;
  }[];
  assert.equal(body.current, "1.0.0");
  for (const { version, digest } of versions) {
    const file = join(gateway.dataDir, "plugins/modules", `${digest.slice(7)}.wasm`);
    assert.equal(digestOf(readFileSync(file)), digest, `the module of ${version}`);
    assert.equal(digest, digestOf(moduleOf(numberOf(version))), version);
  }
  const those = (isRetired: boolean) =>
    sorted(
      versions
        .filter((each) => (each.retired_at !== null) === isRetired)
        .map(({ version }) => numberOf(version)),
    );
  const attached = await gateway.admin("GET", "/admin/routes/ranged/plugins");
  const rollout = await gateway.admin("GET", PLACE);
  const isOn = rollout.status === 200 && rollout.body.state === "running";
  return {
    kept: those(false),
    retired: those(true),
    ranged: numberOf(attached.body[0].resolved),
    candidate: isOn ? numberOf(rollout.body.candidate) : null,
  };
}

async function assertServes(gateway: RunningGateway, { ranged, candidate }: World) {
  const url = `http://127.0.0.1:${gateway.port()}`;
  const stamp = async (path: string) => (await fetch(`${url}${path}`)).headers.get("x-version");
  assert.equal(await stamp("/ranged"), versionText(ranged));
  const followed = [0, ...(candidate === null ? [] : [candidate])].map(versionText);
  assert.ok(followed.includes((await stamp("/")) ?? ""), `one of ${followed.join(", ")}`);
}

function numberOf(version: string): number {
  return Number(version.split(".")[2]);
}

function sorted(numbers: readonly number[]): number[] {
  return [...numbers].sort((a, b) => a - b);
}

function isEqual(a: World, b: World): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}
