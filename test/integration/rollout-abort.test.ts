// Candidates that are worse, under load and over two workers: each is taken back within two intervals, all
// workers are on the stable version again within a second, and no request notices. Then the same for
// versions that run away, and for what the gateway says and writes down about it.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { headerOf, startCallers } from "../support/callers.ts";
import type { Answer } from "../support/callers.ts";
import type { AdminAnswer, RunningGateway } from "../support/gateway.ts";
import {
  ask,
  auditOf,
  startRollout,
  startRolloutGateway,
  untilRollout,
} from "../support/rollout-gateway.ts";
import type { StartOptions } from "../support/rollout-gateway.ts";
import { rolloutPlugin } from "../support/rollout-plugin.ts";
import type { RolloutPluginOptions } from "../support/rollout-plugin.ts";

const INTERVAL_MS = 2_000;
const BACK_MS = 1_000;
const WAIT_MS = 10_000;
const RATE = 600;
/** Of the stable version, in percent. */
const DENIES = 10;

type Seen = { readonly version: string; readonly askedMs: number };

/** What a whole rollout under load came to. */
type Run = {
  readonly rollout: AdminAnswer["body"];
  readonly seen: readonly Seen[];
  readonly failures: readonly string[];
  readonly gateway: RunningGateway;
  /** When the API first said that it is over. */
  readonly overMs: number;
};

/** Every caller draws another chance; all chances come equally often. */
function chanceOf(index: number): number {
  return (index * 37) % 100;
}

async function runUntilOver(
  t: TestContext,
  stable: Partial<RolloutPluginOptions>,
  candidate: Partial<RolloutPluginOptions>,
  options: StartOptions & { readonly attachment?: object } = {},
): Promise<Run> {
  const { attachment = {}, ...start } = options;
  const gateway = await startRolloutGateway(t, {
    stable: rolloutPlugin({ mark: "s", denies: DENIES, ...stable }),
    candidate: rolloutPlugin({ mark: "c", denies: DENIES, ...candidate }),
    attachment,
  });
  const sent = new Map<number, number>();
  const seen: Seen[] = [];
  const failures: string[] = [];
  const onAnswer = (answer: Answer) => {
    const { index, status } = answer;
    const version = headerOf(answer, "x-version") ?? "";
    const { denies = DENIES } = version === "c" ? candidate : stable;
    const expected = chanceOf(index) >= 100 - denies ? 403 : 200;
    if (status !== expected || headerOf(answer, "x-asked") !== version) failures.push(answer.head);
    seen.push({ version, askedMs: sent.get(index) ?? 0 });
  };
  const callers = startCallers(
    t,
    {
      port: gateway.port(),
      request: (index) => {
        sent.set(index, performance.now());
        const chance = String(chanceOf(index)).padStart(2, "0");
        return { headers: `x-user: caller-${index}\r\nx-chance: ${chance}\r\n` };
      },
      onAnswer,
    },
    RATE,
  );
  await startRollout(gateway, { interval_ms: INTERVAL_MS, steps: [50, 100], ...start });
  await untilRollout(gateway, ({ state }) => state !== "running");
  const overMs = performance.now();
  // A few more than a second's, to see who answers then.
  const goal = seen.length + RATE * 1.3;
  await untilRollout(gateway, () => seen.length > goal);
  await callers.stop();
  const rollout = await untilRollout(gateway, () => true);
  return { rollout, seen, failures, gateway, overMs };
}

const WORSE: readonly {
  readonly what: string;
  readonly stable?: Partial<RolloutPluginOptions>;
  readonly candidate: Partial<RolloutPluginOptions>;
  readonly reason: RegExp;
  readonly options?: Parameters<typeof runUntilOver>[3];
}[] = [
  {
    what: "traps on 2 % of its requests",
    candidate: { traps: 2 },
    // Whichever comes first: each trap costs an instance.
    reason: /stopped too often: trap: unreachable$|^calls failed: /,
  },
  {
    what: "fails 3 % of its requests",
    candidate: { fails: { below: 3, text: "no reason" } },
    reason: /^calls failed: candidate \d+\.\d\d %, stable 0\.00 %, allowed at most 1\.00 %/,
  },
  {
    what: "denies 10 points more",
    candidate: { denies: 20 },
    reason: /^requests denied: candidate .* %, stable .* %, allowed at most /,
  },
  {
    what: "denies 10 points less",
    candidate: { denies: 0 },
    reason: /^requests denied: candidate .* %, stable .* %, allowed at least /,
  },
  {
    what: "is 10 times slower",
    stable: { rounds: 400_000 },
    candidate: { rounds: 4_000_000 },
    reason: /^p9[09] of a call: candidate \d+ us, stable \d+ us, allowed at most /,
    options: { steps: [25, 100], attachment: { limits: { cpu_ms: 100 } } },
  },
];

for (const { what, stable = {}, candidate, reason, options } of WORSE) {
  test(`a candidate that ${what} is taken back within two intervals, and no request fails`, async (t) => {
    const { rollout, seen, failures, gateway, overMs } = await runUntilOver(
      t,
      stable,
      candidate,
      options,
    );
    assert.equal(rollout.state, "aborted", JSON.stringify(rollout));
    assert.deepEqual(failures.slice(0, 3), [], `${failures.length} of ${seen.length}`);
    assert.equal(rollout.weight, 0);
    const [begun, ended] = [rollout.events[0], rollout.events.at(-1)];
    assert.deepEqual([ended.what, ended.actor, ended.weight], ["aborted", "gateway", 0]);
    assert.match(ended.reason, reason);
    const tookMs = Date.parse(ended.at) - Date.parse(begun.at);
    assert.ok(tookMs <= 2 * INTERVAL_MS, `it took ${tookMs} ms`);
    const versions = new Set(seen.map(({ version }) => version));
    assert.deepEqual([...versions].sort(), ["c", "s"]);
    const late = seen.filter(
      ({ version, askedMs }) => version === "c" && askedMs > overMs + BACK_MS,
    );
    assert.equal(late.length, 0, "answered by the candidate a second after its end");
    const { judged, numbers } = rollout;
    if (!ended.reason.includes("stopped too often")) {
      assert.equal(judged.verdict, "bad");
      assert.ok(judged.candidate_requests >= 100, `${judged.candidate_requests}`);
      assert.ok(judged.findings.some(({ passed }: { passed: boolean }) => !passed));
    }
    assert.ok(numbers.candidate.calls > 0 && numbers.stable.calls > 0);
    const line = auditOf(gateway).find(({ what: each }) => each === "aborted");
    assert.deepEqual([line?.actor, line?.reason], ["gateway", ended.reason]);
    t.diagnostic(`${tookMs} ms, ${numbers.candidate.calls} calls: ${ended.reason}`);
  });
}

test("a candidate that runs away is taken back, and every request is answered by the stable one", async (t) => {
  const { rollout, failures, seen } = await runUntilOver(
    t,
    {},
    { loops: 100, denies: 0 },
    { steps: [5, 100], attachment: { limits: { cpu_ms: 1 } } },
  );
  assert.deepEqual(failures.slice(0, 3), [], `${failures.length} of ${seen.length}`);
  assert.equal(rollout.state, "aborted");
  assert.match(rollout.events.at(-1).reason, /stopped too often|calls failed/);
  assert.deepEqual([...new Set(seen.map(({ version }) => version))], ["s"]);
});

test("what a candidate was stopped for is counted, however soon it ends", async (t) => {
  const gateway = await startRolloutGateway(t, {
    stable: rolloutPlugin({ mark: "s" }),
    candidate: rolloutPlugin({ mark: "c", traps: 100 }),
    workers: 1,
  });
  await startRollout(gateway, { steps: [100] });
  const headers = { "x-chance": "00" };
  for (let stops = 0; stops < 5; stops += 1) await ask(gateway, headers);
  // To look at the rollout would be to count.
  const endMs = performance.now() + WAIT_MS;
  while (!gateway.stderr().includes("a rollout: aborted")) {
    assert.ok(performance.now() < endMs, gateway.stderr());
    await ask(gateway, headers);
  }
  const { numbers } = await untilRollout(gateway, () => true);
  assert.ok(numbers.candidate.faults.trap >= 5, JSON.stringify(numbers.candidate));
});
