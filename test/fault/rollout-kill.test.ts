// kill -9 in the middle of rollouts: of the primary at random moments while steps are taken, and of a worker
// under load. What was acknowledged is there after the restart, the rollout goes on from it, callers keep
// their version, and counts go on. KILLS and SEED in the environment make it longer and repeatable.

import assert from "node:assert/strict";
import { test } from "node:test";
import { callAll, headerOf } from "../support/callers.ts";
import { temporaryFolder } from "../support/gateway.ts";
import type { RunningGateway } from "../support/gateway.ts";
import { SEED, seededRandom } from "../support/random.ts";
import {
  act,
  rolloutOf,
  startRollout,
  startRolloutGateway,
  untilRollout,
} from "../support/rollout-gateway.ts";
import { rolloutPlugin } from "../support/rollout-plugin.ts";

const KILLS = Number(process.env["KILLS"] ?? 8);
const STEP_MS_MAX = 400;
const WAIT_MS = 15_000;
const CALLERS = 400;
const STEPS = Array.from({ length: 20 }, (_, i) => (i + 1) * 5);
const MODULES = { stable: rolloutPlugin({ mark: "s" }), candidate: rolloutPlugin({ mark: "c" }) };

/** The version that each caller got. */
async function sidesOf(gateway: RunningGateway): Promise<string[]> {
  const sides: string[] = [];
  await callAll(
    {
      ...{ port: gateway.port(), connections: 8 },
      request: (index) => ({ headers: `x-user: caller-${index}\r\n` }),
      onAnswer: (answer) => (sides[answer.index] = headerOf(answer, "x-version") ?? "none"),
    },
    CALLERS,
  );
  return sides;
}

async function untilSo(isSo: () => Promise<boolean>): Promise<void> {
  const endMs = performance.now() + WAIT_MS;
  while (!(await isSo())) assert.ok(performance.now() < endMs, "it did not come to that");
}

/** What was acknowledged last, and what may have become durable after it. */
type Ledger = { state: string; weight: number; asked: { state: string; weight: number } | null };

// Starts one where none is under way, else takes a step, pauses or resumes; kept in the ledger.
async function actOnce(gateway: RunningGateway, ledger: Ledger, random: () => number) {
  const { state, weight } = ledger;
  const isActive = state === "running" || state === "paused";
  const isLast = weight === STEPS.at(-1);
  const draw = random();
  let answer;
  if (!isActive || (draw < 0.1 && isLast)) {
    if (isActive) {
      ledger.asked = { state: "aborted", weight: 0 };
      answer = await act(gateway, "abort");
    } else {
      ledger.asked = { state: "running", weight: STEPS[0] };
      answer = await startRollout(gateway, { steps: STEPS });
    }
  } else if (draw < 0.8 && !isLast) {
    ledger.asked = { state, weight: weight + 5 };
    answer = await act(gateway, "next");
  } else {
    ledger.asked = { state: state === "paused" ? "running" : "paused", weight };
    answer = await act(gateway, state === "paused" ? "resume" : "pause");
  }
  assert.equal(Math.floor(answer.status / 100), 2, answer.text);
  assert.deepEqual(
    [answer.body.state, answer.body.weight],
    [ledger.asked.state, ledger.asked.weight],
  );
  Object.assign(ledger, ledger.asked, { asked: null });
}

test(`kill -9 of the primary ${KILLS} times: a rollout goes on from its last step`, async (t) => {
  t.diagnostic(`seed ${SEED}`);
  const random = seededRandom(SEED);
  const folder = temporaryFolder(t);
  const ledger: Ledger = { state: "none", weight: 0, asked: null };
  let sides: string[] = [];
  let steps = 0;
  for (let kill = 0; kill < KILLS; kill++) {
    const gateway = await startRolloutGateway(t, { ...MODULES, folder });
    if (ledger.state !== "none" || kill > 0) {
      const found = await gateway.admin("GET", "/admin/routes/all/rollouts/guard");
      const now =
        found.status === 404
          ? { state: "none", weight: 0 }
          : { state: found.body.state as string, weight: found.body.weight as number };
      const { state, weight, asked } = ledger;
      const possible = [{ state, weight }, ...(asked === null ? [] : [asked])];
      const isKnown = possible.some((one) => one.state === now.state && one.weight === now.weight);
      assert.ok(isKnown, `${JSON.stringify(now)} is none of ${JSON.stringify(possible)}`);
      Object.assign(ledger, now, { asked: null });
    }
    const after = await sidesOf(gateway);
    const share = (after.filter((side) => side === "c").length / CALLERS) * 100;
    assert.ok(Math.abs(share - ledger.weight) < 8, `${share} % at ${ledger.weight} %`);
    if (ledger.weight > 0 && sides.length > 0) {
      const before = sides.filter((side) => side === "c").length;
      const lost = sides.filter((side, i) => side === "c" && after[i] !== "c").length;
      if (before <= after.filter((side) => side === "c").length) assert.equal(lost, 0);
    }
    sides = after;
    const timer = setTimeout(() => gateway.process.kill("SIGKILL"), random() * STEP_MS_MAX);
    try {
      for (; ; steps++) await actOnce(gateway, ledger, random);
    } catch (error) {
      // The connection breaks with the primary: anything else is a failure of its own.
      assert.ok(error instanceof TypeError, String(error));
    }
    clearTimeout(timer);
    assert.equal(await gateway.exited, "SIGKILL");
  }
  t.diagnostic(`${steps} steps were acknowledged`);
  assert.ok(steps > 0, `only ${steps} steps in ${KILLS} lives`);
});

test("kill -9 of a worker: no caller changes sides, and what was counted still counts", async (t) => {
  const gateway = await startRolloutGateway(t, MODULES);
  await startRollout(gateway, { steps: [50] });
  const before = await sidesOf(gateway);
  const counted = await untilRollout(
    gateway,
    ({ numbers }) => numbers.stable.calls + numbers.candidate.calls === 2 * CALLERS,
  );
  const pids = await gateway.workerPids();
  process.kill(pids[0], "SIGKILL");
  await untilSo(async () => {
    const now = await gateway.workerPids();
    const { status } = await gateway.admin("GET", "/readyz");
    return now.length === 2 && !now.includes(pids[0]) && status === 200;
  });
  assert.deepEqual(await sidesOf(gateway), before);
  const { numbers } = await rolloutOf(gateway);
  assert.equal(numbers.candidate.calls, 2 * counted.numbers.candidate.calls);
  assert.equal(numbers.stable.calls, 2 * counted.numbers.stable.calls);
});

test("a rollout that was under way steps on by itself after kill -9 of the primary", async (t) => {
  const folder = temporaryFolder(t);
  const first = await startRolloutGateway(t, { ...MODULES, folder });
  const steps = [25, 50, 75, 100];
  await startRollout(first, { steps, interval_ms: 300, analysis: { min_requests: 50 } });
  await sidesOf(first);
  await untilRollout(first, ({ weight }) => weight >= 50);
  first.process.kill("SIGKILL");
  await first.exited;
  const second = await startRolloutGateway(t, { ...MODULES, folder });
  const { state, weight } = await rolloutOf(second);
  assert.ok(state === "running" && weight >= 50, `${state} at ${weight} %`);
  await untilSo(async () => {
    await sidesOf(second);
    return (await rolloutOf(second)).state === "promoted";
  });
  assert.deepEqual([...new Set(await sidesOf(second))], ["c"]);
  const plugin = await second.admin("GET", "/admin/plugins/guard");
  assert.equal(plugin.body.current, "2.0.0");
});
