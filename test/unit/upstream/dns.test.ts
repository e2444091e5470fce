// A name that is resolved again and again, by a scripted resolver on a mocked timer: changes are
// announced once, errors keep what was known, and after the close nothing is said any more.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { createResolver } from "../../../gateway/upstream/dns.ts";

const REFRESH_MS = 5_000;

/** Lets promises settle that need no timer. */
async function settle(): Promise<void> {
  for (let i = 0; i < 10; i++) await Promise.resolve();
}

function setup(t: TestContext) {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const asked: string[] = [];
  const waiting: PromiseWithResolvers<readonly string[]>[] = [];
  const changes: (readonly string[])[] = [];
  const errors: unknown[] = [];
  const resolver = createResolver({
    host: "origin.example",
    refreshMs: REFRESH_MS,
    lookup: (host) => {
      asked.push(host);
      const answer = Promise.withResolvers<readonly string[]>();
      waiting.push(answer);
      return answer.promise;
    },
    onChange: (addresses) => changes.push(addresses),
    onError: (error) => errors.push(error),
  });
  t.after(() => resolver.close());
  const answer = async (addresses: readonly string[] | Error) => {
    const pending = waiting.shift();
    assert.ok(pending !== undefined, "a lookup is under way");
    if (addresses instanceof Error) pending.reject(addresses);
    else pending.resolve(addresses);
    await settle();
  };
  const tick = (ms = REFRESH_MS) => t.mock.timers.tick(ms);
  return { resolver, asked, waiting, changes, errors, answer, tick };
}

test("the name is resolved at once; addresses come sorted and without doubles", async (t) => {
  const { asked, changes, answer } = setup(t);
  assert.deepEqual(asked, ["origin.example"]);
  await answer(["192.0.2.2", "192.0.2.1", "192.0.2.2"]);
  assert.deepEqual(changes, [["192.0.2.1", "192.0.2.2"]]);
});

test("it asks again so long after the last answer, never twice at a time", async (t) => {
  const { asked, answer, tick } = setup(t);
  tick(REFRESH_MS * 10);
  assert.equal(asked.length, 1, "the first lookup is still under way");
  await answer(["192.0.2.1"]);
  tick(REFRESH_MS - 1);
  assert.equal(asked.length, 1);
  tick(1);
  assert.equal(asked.length, 2);
});

test("only changes are announced, whatever the order of the answer", async (t) => {
  const { changes, answer, tick } = setup(t);
  await answer(["192.0.2.1", "192.0.2.2"]);
  tick();
  await answer(["192.0.2.2", "192.0.2.1"]);
  assert.equal(changes.length, 1);
  tick();
  await answer(["192.0.2.2", "2001:db8::1"]);
  assert.deepEqual(changes.at(-1), ["192.0.2.2", "2001:db8::1"]);
  tick();
  await answer(["192.0.2.2"]);
  assert.deepEqual(changes.at(-1), ["192.0.2.2"]);
  assert.equal(changes.length, 3);
});

test("an error keeps the addresses, is told, and does not stop the asking", async (t) => {
  const { changes, errors, answer, tick } = setup(t);
  await answer(["192.0.2.1"]);
  tick();
  const failure = new Error("SERVFAIL");
  await answer(failure);
  assert.deepEqual(errors, [failure]);
  tick();
  await answer(["192.0.2.1"]);
  assert.equal(changes.length, 1, "what comes back is what was known");
  tick();
  await answer(["192.0.2.9"]);
  assert.deepEqual(changes.at(-1), ["192.0.2.9"]);
});

test("an empty answer is no answer", async (t) => {
  const { changes, errors, answer, tick } = setup(t);
  await answer(["192.0.2.1"]);
  tick();
  await answer([]);
  assert.equal(changes.length, 1);
  assert.deepEqual(errors, []);
});

test("an error before any answer is told, and the next answer announced", async (t) => {
  const { changes, errors, answer, tick } = setup(t);
  await answer(new Error("ENOTFOUND"));
  assert.equal(errors.length, 1);
  tick();
  await answer(["192.0.2.1"]);
  assert.deepEqual(changes, [["192.0.2.1"]]);
});

test("more addresses than the bound are cut off, the same ones every time", async (t) => {
  const { changes, answer, tick } = setup(t);
  const many = Array.from({ length: 300 }, (_, i) => `192.0.${Math.floor(i / 100)}.${i % 100}`);
  await answer(many);
  assert.equal(changes[0].length, 64);
  tick();
  await answer(many.toReversed());
  assert.equal(changes.length, 1);
});

test("after the close nothing is asked and nothing is said", async (t) => {
  const { resolver, asked, changes, errors, answer, tick } = setup(t);
  await answer(["192.0.2.1"]);
  resolver.close();
  tick(REFRESH_MS * 3);
  assert.equal(asked.length, 1);
  assert.equal(changes.length, 1);
  resolver.close();
  assert.deepEqual(errors, []);
});

for (const [what, late] of [
  ["an answer", ["192.0.2.1"]],
  ["an error", new Error("late")],
] as const) {
  test(`${what} that comes after the close is dropped`, async (t) => {
    const { resolver, asked, changes, errors, answer, tick } = setup(t);
    resolver.close();
    await answer(late);
    tick(REFRESH_MS * 3);
    assert.deepEqual([asked.length, changes.length, errors.length], [1, 0, 0]);
  });
}

test("the system's resolver is asked when no other is given", async (t) => {
  const changed = Promise.withResolvers<readonly string[]>();
  const resolver = createResolver({
    host: "localhost",
    refreshMs: REFRESH_MS,
    onChange: changed.resolve,
    onError: changed.reject,
  });
  t.after(() => resolver.close());
  const addresses = await changed.promise;
  assert.ok(addresses.includes("127.0.0.1") || addresses.includes("::1"), String(addresses));
});
