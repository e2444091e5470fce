// A watched file, replaced in every way that files are replaced. The folder's events are tested with
// polling out of reach, polling with a file whose folder tells nothing. Each wait is for the next
// change and has a bound.

import assert from "node:assert/strict";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { watchFile } from "../../../gateway/config/source-file.ts";

const NEVER_MS = 3_600_000;
const WAIT_MS = 5_000;
const EVENTS_ONLY = { debounceMs: 5, pollMs: NEVER_MS };
const POLLS_ONLY = { debounceMs: NEVER_MS, pollMs: 2 };

function scratch(t: TestContext): string {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "source-file-"));
  t.after(() => fs.rmSync(folder, { recursive: true }));
  return folder;
}

/** What came out of a watcher, to be waited for one by one. */
class Seen {
  readonly all: string[] = [];
  #wake = () => {};

  add(text: string): void {
    this.all.push(text);
    this.#wake();
  }

  /** Waits for the entry with this number, from 0. */
  async at(index: number): Promise<string> {
    const lateMs = Date.now() + WAIT_MS;
    while (this.all.length <= index) {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#wake = resolve;
      const timer = setTimeout(resolve, Math.max(0, lateMs - Date.now()));
      await promise;
      clearTimeout(timer);
      assert.ok(this.all.length > index || Date.now() < lateMs, "nothing was seen in time");
    }
    return this.all[index];
  }
}

function watch(
  t: TestContext,
  file: string,
  options: { knownText?: string; debounceMs?: number; pollMs?: number },
) {
  const changes = new Seen();
  const errors = new Seen();
  const watcher = watchFile(file, {
    ...options,
    onChange: (text) => changes.add(text),
    onError: (error) => errors.add((error as NodeJS.ErrnoException).code ?? String(error)),
  });
  t.after(() => watcher.close());
  return { changes, errors, watcher };
}

function replaceByRename(file: string, text: string): void {
  fs.writeFileSync(`${file}.new`, text);
  fs.renameSync(`${file}.new`, file);
}

test("a file that another is renamed into the place of is seen, every time", async (t) => {
  const file = path.join(scratch(t), "gateway.yaml");
  fs.writeFileSync(file, "0");
  const { changes } = watch(t, file, { ...EVENTS_ONLY, knownText: "0" });
  for (let i = 1; i <= 5; i++) {
    replaceByRename(file, `${i}`);
    assert.equal(await changes.at(i - 1), `${i}`);
  }
});

test("a file that is written in place is seen, whole", async (t) => {
  const file = path.join(scratch(t), "gateway.yaml");
  fs.writeFileSync(file, "0");
  // Long enough to outlast the pauses between the parts.
  const { changes } = watch(t, file, { debounceMs: 200, pollMs: NEVER_MS, knownText: "0" });
  for (const round of ["first", "second"]) {
    const expected = changes.all.length;
    await using handle = await fs.promises.open(file, "w");
    for (const part of ["a: 1\n", "b: 2\n", round]) await handle.write(part);
    // The first look may have met it half-written; what the events bring is whole.
    if (round === "first") await changes.at(expected);
    else assert.equal(await changes.at(changes.all.length), "a: 1\nb: 2\nsecond");
  }
});

test("a mounted folder of files, switched by one link, is seen", async (t) => {
  const folder = scratch(t);
  const publish = (version: string) => {
    fs.mkdirSync(path.join(folder, `..${version}`));
    fs.writeFileSync(path.join(folder, `..${version}`, "gateway.yaml"), version);
    fs.symlinkSync(`..${version}`, path.join(folder, "..data.new"));
    fs.renameSync(path.join(folder, "..data.new"), path.join(folder, "..data"));
  };
  publish("v1");
  const file = path.join(folder, "gateway.yaml");
  fs.symlinkSync("..data/gateway.yaml", file);
  const { changes } = watch(t, file, { ...EVENTS_ONLY, knownText: "v1" });
  publish("v2");
  assert.equal(await changes.at(0), "v2");
  publish("v3");
  assert.equal(await changes.at(1), "v3");
});

test("a link to a file elsewhere is polled, since its folder tells nothing", async (t) => {
  const folder = scratch(t);
  fs.mkdirSync(path.join(folder, "elsewhere"));
  const target = path.join(folder, "elsewhere", "real.yaml");
  fs.writeFileSync(target, "0");
  const file = path.join(folder, "gateway.yaml");
  fs.symlinkSync(target, file);
  const { changes } = watch(t, file, { ...POLLS_ONLY, knownText: "0" });
  for (let i = 1; i <= 3; i++) {
    replaceByRename(target, `${i}`);
    assert.equal(await changes.at(i - 1), `${i}`);
  }
});

test("the same content again is no change, however often it is written and looked at", async (t) => {
  const file = path.join(scratch(t), "gateway.yaml");
  fs.writeFileSync(file, "0");
  const { changes } = watch(t, file, { debounceMs: 1, pollMs: 1, knownText: "0" });
  const expected: string[] = [];
  for (let i = 1; i <= 10; i++) {
    const text = `${i}`;
    replaceByRename(file, text);
    expected.push(text);
    await changes.at(expected.length - 1);
    for (let again = 0; again < 3; again++) {
      replaceByRename(file, text);
      // Gives the watcher a turn.
      await fs.promises.readFile(file);
    }
  }
  assert.deepEqual(changes.all, expected);
});

test("what changed before the first look is a change; without a known text it is not", async (t) => {
  const file = path.join(scratch(t), "gateway.yaml");
  fs.writeFileSync(file, "new");
  const known = watch(t, file, { ...EVENTS_ONLY, knownText: "old" });
  const unknown = watch(t, file, EVENTS_ONLY);
  assert.equal(await known.changes.at(0), "new");
  // Its first look may come late and meet a newer text: that one is not news either.
  for (let i = 1; unknown.changes.all.length === 0; i++) {
    assert.ok(i < 100, "no change was news");
    replaceByRename(file, `newer ${i}`);
    await known.changes.at(i);
  }
  assert.match(await unknown.changes.at(0), /^newer/);
  assert.deepEqual(known.errors.all.concat(unknown.errors.all), []);
});

test("between removal and return of the file nothing is said", async (t) => {
  const file = path.join(scratch(t), "gateway.yaml");
  const { changes, errors } = watch(t, file, { debounceMs: 1, pollMs: 1, knownText: "0" });
  fs.writeFileSync(`${file}.new`, "1");
  fs.renameSync(`${file}.new`, file);
  assert.equal(await changes.at(0), "1");
  fs.rmSync(file);
  replaceByRename(file, "2");
  assert.equal(await changes.at(1), "2");
  assert.deepEqual(errors.all, []);
});

test("a file that cannot be read is said once and watched on", async (t) => {
  const file = path.join(scratch(t), "gateway.yaml");
  fs.mkdirSync(file);
  const { changes, errors } = watch(t, file, { debounceMs: 1, pollMs: 1, knownText: "0" });
  assert.equal(await errors.at(0), "EISDIR");
  // Turns for more looks at the same trouble.
  for (let i = 0; i < 50; i++) await fs.promises.readdir(file);
  fs.rmdirSync(file);
  replaceByRename(file, "1");
  assert.equal(await changes.at(0), "1");
  assert.deepEqual(errors.all, ["EISDIR"]);
  // A new reason is said again.
  fs.rmSync(file);
  fs.mkdirSync(file);
  assert.equal(await errors.at(1), "EISDIR");
});

test("a file beyond the bound of a configuration is not read", async (t) => {
  const file = path.join(scratch(t), "gateway.yaml");
  fs.writeFileSync(file, "");
  fs.truncateSync(file, 64 * 1024 * 1024 + 1);
  const { changes, errors } = watch(t, file, { ...EVENTS_ONLY, knownText: "0" });
  assert.match(await errors.at(0), /has over \d+ bytes/);
  replaceByRename(file, "1");
  assert.equal(await changes.at(0), "1");
});

test("a folder that is not there is said, and polling goes on", async (t) => {
  const folder = path.join(scratch(t), "later");
  const { changes, errors } = watch(t, path.join(folder, "gateway.yaml"), {
    ...POLLS_ONLY,
    knownText: "0",
  });
  assert.equal(await errors.at(0), "ENOENT");
  fs.mkdirSync(folder);
  replaceByRename(path.join(folder, "gateway.yaml"), "1");
  assert.equal(await changes.at(0), "1");
});

test("after close nothing is called, not even for what was seen before", async (t) => {
  const file = path.join(scratch(t), "gateway.yaml");
  fs.writeFileSync(file, "new");
  const unlooked = watch(t, file, { debounceMs: 1, pollMs: 1, knownText: "old" });
  unlooked.watcher.close();
  const closed = watch(t, file, { debounceMs: 1, pollMs: 1, knownText: "old" });
  // One turn of promises: its first look is under way, and waits for the disk.
  await Promise.resolve();
  closed.watcher.close();
  const other = watch(t, file, { debounceMs: 1, pollMs: 1, knownText: "old" });
  assert.equal(await other.changes.at(0), "new");
  replaceByRename(file, "newer");
  assert.equal(await other.changes.at(1), "newer");
  closed.watcher.close();
  for (const { changes, errors } of [unlooked, closed]) {
    assert.deepEqual([changes.all, errors.all], [[], []]);
  }
});
