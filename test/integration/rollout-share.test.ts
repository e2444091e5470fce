// Who gets the candidate, over a real gateway with two workers: 100,000 callers with keys of their own at
// three weights, none of whom changes sides, in whichever worker, and after a restart.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { callAll, headerOf } from "../support/callers.ts";
import { temporaryFolder } from "../support/gateway.ts";
import type { RunningGateway } from "../support/gateway.ts";
import { act, rolloutOf, startRollout, startRolloutGateway } from "../support/rollout-gateway.ts";
import { rolloutPlugin } from "../support/rollout-plugin.ts";

const MODULES = { stable: rolloutPlugin({ mark: "s" }), candidate: rolloutPlugin({ mark: "c" }) };
const CALLERS = 33_334;

/** Which version each of so many callers gets, by number; what is not one whole decision is a failure. */
async function sidesOf(gateway: RunningGateway, callers: number): Promise<string[]> {
  const sides: string[] = [];
  const wrong: string[] = [];
  await callAll(
    {
      port: gateway.port(),
      request: (index) => ({ headers: `x-user: caller-${index}\r\n` }),
      onAnswer: (answer) => {
        const side = headerOf(answer, "x-version") ?? "";
        if (answer.status !== 200 || headerOf(answer, "x-asked") !== side) wrong.push(answer.head);
        sides[answer.index] = side;
      },
    },
    callers,
  );
  assert.deepEqual(wrong.slice(0, 3), [], `${wrong.length} of ${callers}`);
  return sides;
}

function shareOf(sides: readonly string[]): number {
  return (sides.filter((side) => side === "c").length / sides.length) * 100;
}

test("100,000 callers get the candidate by its weight, and keep what they got", async (t) => {
  const folder = temporaryFolder(t);
  const gateway = await startRolloutGateway(t, { ...MODULES, folder });
  await startRollout(gateway, { steps: [5, 25, 50] });
  const pidsBefore = await gateway.workerPids();
  let before: string[] = [];
  for (const weight of [5, 25, 50]) {
    const sides = await sidesOf(gateway, CALLERS);
    const share = shareOf(sides);
    t.diagnostic(`${share.toFixed(2)} % at ${weight} %`);
    assert.ok(Math.abs(share - weight) < 1, `${share} % at ${weight} %`);
    const sentBack = before.filter((side, i) => side === "c" && sides[i] !== "c");
    assert.equal(sentBack.length, 0, "callers of the candidate that lost it at the next step");
    before = sides;
    if (weight < 50) assert.equal((await act(gateway, "next")).status, 200);
  }
  assert.deepEqual(await sidesOf(gateway, 10_000), before.slice(0, 10_000), "on other connections");
  const { numbers } = await rolloutOf(gateway);
  const calls = (numbers.stable.calls as number) + (numbers.candidate.calls as number);
  assert.equal(calls, 2 * (3 * CALLERS + 10_000), "two calls of each request were counted");
  assert.equal(numbers.candidate.errors + numbers.stable.errors, 0);

  await requestsInBoth(gateway, pidsBefore);
  gateway.process.kill("SIGTERM");
  assert.equal(await gateway.exited, 0);
  const again = await startRolloutGateway(t, { ...MODULES, folder });
  assert.equal((await rolloutOf(again)).weight, 50);
  assert.deepEqual(await sidesOf(again, 10_000), before.slice(0, 10_000), "after a restart");
});

// Otherwise one worker would have answered all.
async function requestsInBoth(gateway: RunningGateway, pids: readonly number[]): Promise<void> {
  const { body } = await gateway.admin("GET", "/admin/workers");
  const workers = body as { pid: number; requests: number }[];
  assert.deepEqual(
    workers.map(({ pid }) => pid),
    pids,
  );
  for (const { requests } of workers) assert.ok(requests > 10_000, JSON.stringify(workers));
}

async function versionsOf(
  gateway: RunningGateway,
  lines: readonly string[],
): Promise<(string | null)[]> {
  const seen: (string | null)[] = [];
  await callAll(
    {
      port: gateway.port(),
      connections: 8,
      request: (index) => ({ headers: lines[index] }),
      onAnswer: (answer) => (seen[answer.index] = headerOf(answer, "x-version")),
    },
    lines.length,
  );
  return seen;
}

function repeated(lines: readonly string[], times: number): string[] {
  return Array.from({ length: times }, () => lines).flat();
}

/** What a caller is known by: lines that all belong to one, and lines of many. */
const STICKY: readonly (readonly [string, object, readonly string[], (i: number) => string])[] = [
  [
    "a cookie",
    { by: "cookie", name: "sid" },
    ["cookie: sid=one\r\n", "cookie: a=b; sid=one\r\n", "cookie: sid=one; sid=two\r\n"],
    (i) => `cookie: sid=${i}\r\n`,
  ],
  [
    "a header in any case",
    { by: "header", name: "X-Tenant" },
    ["x-tenant: one\r\n", "X-TENANT: one\r\n"],
    (i) => `x-tenant: t${i}\r\n`,
  ],
  [
    "the address, where the header is missing",
    { by: "header", name: "x-tenant" },
    ["", "x-other: 1\r\n", "x-other: 2\r\n"],
    (i) => `x-tenant: t${i}\r\n`,
  ],
];

test("callers are known by what the rollout says", async (t: TestContext) => {
  const gateway = await startRolloutGateway(t, MODULES);
  for (const [what, sticky, ofOne, ofMany] of STICKY) {
    await startRollout(gateway, { steps: [50], sticky });
    const one = await versionsOf(gateway, repeated(ofOne, 20));
    assert.equal(new Set(one).size, 1, `${what}: one caller got ${[...new Set(one)].join()}`);
    const many = await versionsOf(
      gateway,
      Array.from({ length: 400 }, (_, i) => ofMany(i)),
    );
    const share = many.filter((version) => version === "c").length / many.length;
    assert.ok(share > 0.35 && share < 0.65, `${what}: ${share}`);
    assert.equal((await act(gateway, "abort")).status, 200);
  }
});
