// Host functions that are noted while one version runs and answered again for the other: the same answers
// in any order, each once, and nobody is asked, told or counted twice.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { CallRequest, Grants } from "../../../gateway/plugins/grants.ts";
import { UNRECORDED, notingGrants, replayedGrants } from "../../../gateway/plugins/host-calls.ts";
import type { HostCall } from "../../../gateway/plugins/host-calls.ts";

const ALL = { kv: true, http: true, body: 7 };

/** Grants that remember what was done. */
function hosts() {
  const done: string[] = [];
  let count = 0;
  const grants: Grants = {
    kv: {
      get: async (key) => (done.push(`get ${key}`), key === "none" ? null : `value of ${key}`),
      set: async (key, value) => void done.push(`set ${key} ${value}`),
      increment: async (key, by) => (done.push(`incr ${key} ${by}`), (count += by)),
    },
    http: {
      refusal: () => null,
      call: async ({ url }) => {
        done.push(`call ${url.href}`);
        if (url.pathname === "/down") throw new Error("refused");
        return { status: 200, error: "", headers: {}, body: `from ${url.pathname}` };
      },
      close: () => {},
    },
    body: 7,
  };
  return { grants, done };
}

function request(path: string, parts: Partial<CallRequest> = {}): CallRequest {
  const url = new URL(`http://id.example${path}`);
  return { method: "GET", headers: {}, body: null, timeoutMs: 200, ...parts, url } as CallRequest;
}

type Held = Required<Grants> & { kv: NonNullable<Grants["kv"]>; http: NonNullable<Grants["http"]> };

test("another version gets the answers of the first one, in its own order, and nobody is asked", async () => {
  const { grants, done } = hosts();
  const calls: HostCall[] = [];
  const noting = notingGrants(grants, calls) as Held;
  const first = {
    a: await noting.kv.get("a"),
    none: await noting.kv.get("none"),
    count: await noting.kv.increment("hits", 1, 0),
    again: await noting.kv.increment("hits", 1, 0),
    answer: await noting.http.call(request("/x")),
  };
  await noting.kv.set("b", "kept", 0);
  const asked = [...done];
  const again = replayedGrants(ALL, structuredClone(calls)) as Held;
  assert.deepEqual(await again.http.call(request("/x")), first.answer);
  assert.equal(await again.kv.increment("hits", 1, 0), first.count);
  assert.equal(await again.kv.increment("hits", 1, 0), first.again);
  assert.equal(await again.kv.get("none"), null);
  assert.equal(await again.kv.get("a"), first.a);
  await again.kv.set("b", "changed", 0);
  assert.deepEqual(done, asked, "the hosts heard of the first version only");
  assert.deepEqual(asked, [
    ...[
      "get a",
      "get none",
      "incr hits 1",
      "incr hits 1",
      "call http://id.example/x",
      "set b kept",
    ],
  ]);
});

const ELSE: readonly (readonly [string, (grants: Held) => Promise<unknown>])[] = [
  ["another key", ({ kv }) => kv.get("b")],
  ["the same key once more", async ({ kv }) => (await kv.get("a"), kv.get("a"))],
  ["another step", ({ kv }) => kv.increment("hits", 2, 0)],
  ["another function", ({ kv }) => kv.increment("a", 1, 0)],
  ["another path", ({ http }) => http.call(request("/y"))],
  ["another query", ({ http }) => http.call(request("/x?a=b"))],
  ["another method", ({ http }) => http.call(request("/x", { method: "POST" }))],
  ["another body", ({ http }) => http.call(request("/x", { body: "b" } as never))],
  ["another header", ({ http }) => http.call(request("/x", { headers: { a: "b" } } as never))],
];

for (const [what, ask] of ELSE) {
  test(`${what} was not recorded, and is not answered`, async () => {
    const { grants } = hosts();
    const calls: HostCall[] = [];
    const noting = notingGrants(grants, calls) as Held;
    await noting.kv.get("a");
    await noting.kv.increment("hits", 1, 0);
    await noting.http.call(request("/x"));
    await assert.rejects(ask(replayedGrants(ALL, calls) as Held), new RegExp(UNRECORDED));
  });
}

test("a call that failed leaves no answer, and a secret in a question is not noted", async () => {
  const { grants } = hosts();
  const calls: HostCall[] = [];
  const noting = notingGrants(grants, calls) as Held;
  await assert.rejects(noting.http.call(request("/down")), /refused/);
  assert.equal(calls.length, 0);
  const headers = { authorization: "Bearer hunter2" };
  await noting.http.call(request("/x?token=hunter2", { headers, body: "hunter2" } as never));
  assert.ok(!calls[0].question.includes("hunter2"), calls[0].question);
});

test("what is not granted is not there, noted or not", () => {
  const none = { kv: null, http: null, body: null };
  assert.deepEqual(notingGrants(none, []), none);
  assert.deepEqual(replayedGrants({ kv: false, http: false, body: null }, []), none);
  assert.equal(replayedGrants(ALL, []).body, 7);
});
