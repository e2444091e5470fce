// Revisions on disk. Every byte of a small store is flipped and every file torn at every length, one
// at a time: the newest sound revision must be live afterwards, whole and unchanged. What a crash
// leaves behind is laid out as files, since every step of a change is one rename.

import assert from "node:assert/strict";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { LIMITS } from "../../../gateway/base/limits.ts";
import type { Config } from "../../../gateway/config/schema.ts";
import { openStore } from "../../../gateway/config/store.ts";
import type { RevisionStore } from "../../../gateway/config/store.ts";
import { SEED, seededRandom } from "../../support/random.ts";

const MARKED = 3;

function scratch(t: TestContext): string {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "revisions-"));
  t.after(() => fs.rmSync(folder, { recursive: true }));
  return folder;
}

function configOf(drainMs: number): Config {
  return {
    drain_ms: drainMs,
    routes: [{ name: `r${drainMs}`, respond: { body: "é\u2028\u0000" } }],
  };
}

async function append(store: RevisionStore, drainMs: number, message = "") {
  return await store.append({ config: configOf(drainMs), actor: "me", message });
}

/** A store with revisions 1 to 3, closed again, as a map of its files. */
async function threeRevisions(t: TestContext) {
  const dataDir = scratch(t);
  const store = await openStore(dataDir);
  for (let i = 1; i <= MARKED; i++) await append(store, i);
  const folder = path.join(dataDir, "revisions");
  const files = new Map(fs.readdirSync(folder).map((name) => [name, read(folder, name)]));
  assert.deepEqual([...files.keys()].sort(), ["1.json", "2.json", "3.json", "current"]);
  const lay = (changed: Readonly<Record<string, Buffer>> = {}) => {
    for (const name of fs.readdirSync(folder)) fs.rmSync(path.join(folder, name));
    for (const [name, bytes] of [...files, ...Object.entries(changed)]) {
      fs.writeFileSync(path.join(folder, name), bytes);
    }
  };
  return { dataDir, folder, files, lay };
}

function read(folder: string, name: string): Buffer {
  return fs.readFileSync(path.join(folder, name));
}

test("the first store is empty and lists nothing", async (t) => {
  const store = await openStore(scratch(t));
  assert.equal(await store.current(), null);
  assert.deepEqual(await store.list(), []);
  assert.equal(await store.read(1), null);
  assert.deepEqual(store.notes, []);
});

test("revisions are numbered from 1, read as written, listed newest first, and survive reopening", async (t) => {
  const dataDir = scratch(t);
  const store = await openStore(dataDir);
  const first = await append(store, 1, "first");
  const second = await append(store, 2, 'with ","config":{ in it');
  assert.deepEqual([first.revision, second.revision], [1, 2]);
  assert.ok(Math.abs(Date.parse(second.at) - Date.now()) < 60_000);
  for (const one of [store, await openStore(dataDir)]) {
    assert.deepEqual(await one.current(), { ...second, config: configOf(2), resolution: {} });
    assert.deepEqual(await one.read(1), { ...first, config: configOf(1), resolution: {} });
    assert.deepEqual(await one.list(), [second, first]);
    for (const unknown of [0, 3, -1, 1.5, NaN]) assert.equal(await one.read(unknown), null);
    assert.deepEqual(one.notes, []);
  }
});

test("what ranges came to is kept beside the configuration, under its checksum", async (t) => {
  const dataDir = scratch(t);
  const resolution = { "authz@^1.2": "1.2.9" };
  const entry = { config: configOf(1), actor: "me", message: "" };
  await (await openStore(dataDir)).append({ ...entry, resolution });
  assert.deepEqual((await (await openStore(dataDir)).current())?.resolution, resolution);
  const file = path.join(dataDir, "revisions", "1.json");
  const text = fs.readFileSync(file, "utf8");
  assert.ok(text.includes('"versions":{"authz@^1.2":"1.2.9"}'), text);
  fs.writeFileSync(file, text.replace("1.2.9", "1.2.8"));
  assert.equal(await (await openStore(dataDir)).read(1), null);
});

test("revisions are found by what is in them, damaged ones are not", async (t) => {
  const { dataDir, folder } = await threeRevisions(t);
  fs.writeFileSync(path.join(folder, "2.json"), "{}");
  const store = await openStore(dataDir);
  assert.deepEqual(await store.numbersOf(() => true), [3, 1]);
  assert.deepEqual(await store.numbersOf(({ config }) => config.drain_ms === 1), [1]);
});

test("only the owner may read what may hold secrets", async (t) => {
  const { folder, files } = await threeRevisions(t);
  assert.equal(fs.statSync(folder).mode & 0o777, 0o700);
  for (const name of files.keys()) {
    assert.equal(fs.statSync(path.join(folder, name)).mode & 0o777, 0o600, name);
  }
});

test("a flipped bit in any byte leaves the newest sound revision live", async (t) => {
  const { dataDir, files, lay } = await threeRevisions(t);
  const random = seededRandom(SEED);
  t.diagnostic(`seed ${SEED}`);
  for (const [name, bytes] of files) {
    for (let at = 0; at < bytes.length; at++) {
      // All bits of the pointer: one that names another revision would be believed.
      const bits = name === "current" ? [0, 1, 2, 3, 4, 5, 6, 7] : [Math.floor(random() * 8)];
      for (const bit of bits) {
        const flipped = Buffer.from(bytes);
        flipped[at] ^= 1 << bit;
        lay({ [name]: flipped });
        await assertNewestSound(dataDir, { name, what: `bit ${bit} of byte ${at} of ${name}` });
      }
    }
  }
});

test("a file torn at any length leaves the newest sound revision live", async (t) => {
  const { dataDir, files, lay } = await threeRevisions(t);
  for (const [name, bytes] of files) {
    // Those that are not the newest are read only when they are asked for.
    const step = name === "3.json" || name === "current" ? 1 : 25;
    for (let length = 0; length < bytes.length; length += step) {
      lay({ [name]: bytes.subarray(0, length) });
      await assertNewestSound(dataDir, { name, what: `${name} cut to ${length} bytes` });
    }
  }
});

// The damaged file is either still read as it was written, or not at all.
async function assertNewestSound(
  dataDir: string,
  { name, what }: { readonly name: string; readonly what: string },
): Promise<void> {
  const store = await openStore(dataDir);
  const damaged = Number.parseInt(name, 10);
  for (let revision = 1; revision <= MARKED; revision++) {
    const found = await store.read(revision);
    if (found === null) assert.equal(revision, damaged, `${what}: revision ${revision} is lost`);
    else assert.deepEqual(found.config, configOf(revision), what);
  }
  const current = await store.current();
  const isLost = damaged === MARKED && (await store.read(MARKED)) === null;
  assert.equal(current?.revision, isLost ? MARKED - 1 : MARKED, what);
  assert.equal(store.notes.length > 0, isLost || name === "current", `${what}: ${store.notes}`);
}

test("after damage the next revision has a number that was never used", async (t) => {
  const { dataDir, files, lay } = await threeRevisions(t);
  lay({ "3.json": Buffer.from("{") });
  const store = await openStore(dataDir);
  assert.equal((await append(store, 4)).revision, 4);
  assert.deepEqual(
    (await store.list()).map(({ revision }) => revision),
    [4, 2, 1],
  );
  const again = await openStore(dataDir);
  assert.deepEqual((await again.current())?.config, configOf(4));
  assert.deepEqual(again.notes, []);
  // With everything damaged there is no live revision, and the numbers go on all the same.
  lay(Object.fromEntries([...files.keys()].map((name) => [name, Buffer.from("?")])));
  const ruined = await openStore(dataDir);
  assert.equal(await ruined.current(), null);
  assert.equal(ruined.notes.length, 3);
  assert.equal((await append(ruined, 5)).revision, 4);
});

test("one revision's file in another's place is not taken for it", async (t) => {
  const { dataDir, files, lay } = await threeRevisions(t);
  lay({ "3.json": files.get("1.json") ?? Buffer.alloc(0) });
  const store = await openStore(dataDir);
  assert.equal((await store.current())?.revision, 2);
});

test("what a crash left is healed: half-written files, and a revision that was never acknowledged", async (t) => {
  const { dataDir, folder, files, lay } = await threeRevisions(t);
  const third = files.get("3.json") ?? Buffer.alloc(0);
  const pointer = files.get("current") ?? Buffer.alloc(0);
  lay({ "4.json.0011.tmp": third.subarray(0, 20), "current.22.tmp": Buffer.alloc(0) });
  let store = await openStore(dataDir);
  assert.equal((await store.current())?.revision, 3);
  assert.deepEqual(fs.readdirSync(folder).sort(), ["1.json", "2.json", "3.json", "current"]);
  // The crash came between a revision's file and the pointer to it.
  lay();
  await append(await openStore(dataDir), 4);
  fs.writeFileSync(path.join(folder, "current"), pointer);
  store = await openStore(dataDir);
  assert.equal((await store.current())?.revision, 3);
  assert.equal(await store.read(4), null);
  assert.ok(!fs.existsSync(path.join(folder, "4.json")));
  assert.deepEqual(store.notes, []);
  assert.equal((await append(store, 5)).revision, 4);
  assert.deepEqual((await (await openStore(dataDir)).current())?.config, configOf(5));
});

test("a crash at the very first change leaves an empty store", async (t) => {
  const dataDir = scratch(t);
  await append(await openStore(dataDir), 1);
  fs.rmSync(path.join(dataDir, "revisions", "current"));
  const store = await openStore(dataDir);
  assert.equal(await store.current(), null);
  assert.deepEqual(await store.list(), []);
  assert.equal((await append(store, 2)).revision, 1);
});

test("a lost pointer loses no acknowledged revision", async (t) => {
  const { dataDir, folder, lay } = await threeRevisions(t);
  lay();
  fs.rmSync(path.join(folder, "current"));
  const store = await openStore(dataDir);
  assert.equal((await store.current())?.revision, 3);
  assert.equal(store.notes.length, 1);
  assert.deepEqual((await openStore(dataDir)).notes, [], "it was mended");
});

test("changes at the same time get numbers one after the other, in the order of the calls", async (t) => {
  const dataDir = scratch(t);
  const store = await openStore(dataDir);
  const many = Array.from({ length: 20 }, (_, i) => i + 1);
  const facts = await Promise.all(many.map((drainMs) => append(store, drainMs)));
  assert.deepEqual(
    facts.map(({ revision }) => revision),
    many,
  );
  const again = await openStore(dataDir);
  for (const i of many) assert.deepEqual((await again.read(i))?.config, configOf(i));
  assert.equal((await again.current())?.revision, many.length);
});

test("a change that cannot be written changes nothing and does not hold up the next", async (t) => {
  const dataDir = scratch(t);
  const store = await openStore(dataDir);
  await append(store, 1);
  const circular: Config & { self?: unknown } = { routes: [] };
  circular.self = circular;
  const failing = store.append({ config: circular, actor: "me", message: "" });
  const following = append(store, 2);
  await assert.rejects(failing, TypeError);
  assert.equal((await following).revision, 2);
  // A folder in the place of the next file: the rename fails.
  fs.mkdirSync(path.join(dataDir, "revisions", "3.json"));
  await assert.rejects(append(store, 3));
  assert.equal((await store.current())?.revision, 2);
  fs.rmdirSync(path.join(dataDir, "revisions", "3.json"));
  assert.equal((await append(store, 4)).revision, 3);
});

test("what is said of a revision is cut to size and read back whatever it holds", async (t) => {
  const store = await openStore(scratch(t));
  const texts = [
    "\u0000".repeat(600),
    "\u2028é".repeat(300),
    "😀".repeat(300),
    '"\\\n'.repeat(200),
  ];
  for (const text of texts) await store.append({ config: {}, actor: text, message: text });
  const listed = (await store.list()).reverse();
  assert.equal(listed.length, texts.length);
  listed.forEach(({ actor, message, revision }, i) => {
    assert.deepEqual([actor, message], [texts[i].slice(0, 500), texts[i].slice(0, 500)]);
    assert.equal(revision, i + 1);
  });
});

test("beyond the bound the oldest revision goes, and never the live one", async (t) => {
  const folder = path.join(scratch(t), "revisions");
  fs.mkdirSync(folder);
  for (let i = 1; i <= LIMITS.revisionsKept; i++)
    fs.writeFileSync(path.join(folder, `${i}.json`), "");
  fs.writeFileSync(path.join(folder, "12.jsonx"), "not a revision");
  fs.writeFileSync(path.join(folder, "012.json"), "nor this");
  const store = await openStore(path.dirname(folder));
  assert.equal((await append(store, 1)).revision, LIMITS.revisionsKept + 1);
  assert.ok(!fs.existsSync(path.join(folder, "1.json")));
  assert.ok(fs.existsSync(path.join(folder, "2.json")));
  assert.ok(fs.existsSync(path.join(folder, "12.jsonx")));
  assert.equal((await store.current())?.revision, LIMITS.revisionsKept + 1);
});
