// When a plugin that had to be stopped is not called any more: after so many kills within the window,
// not after as many spread over a longer time, and for longer at each relapse.

import assert from "node:assert/strict";
import { test } from "node:test";
import { LIMITS } from "../../../gateway/base/limits.ts";
import { KillSwitch } from "../../../gateway/plugins/kill-switch.ts";

const {
  pluginKillsMax: KILLS,
  pluginKillWindowMs: WINDOW_MS,
  pluginQuarantineMs: HOLD_MS,
} = LIMITS;

function killAll(killSwitch: KillSwitch, fromMs: number, stepMs: number): boolean[] {
  return Array.from({ length: KILLS }, (_, i) => killSwitch.onKill(fromMs + i * stepMs));
}

test("the last of so many kills within the window sets the plugin aside", () => {
  const killSwitch = new KillSwitch();
  const trips = killAll(killSwitch, 0, WINDOW_MS / (KILLS - 1));
  assert.deepEqual(trips, [...Array<boolean>(KILLS - 1).fill(false), true]);
  assert.equal(killSwitch.isOpen(WINDOW_MS + HOLD_MS - 1), true);
  assert.equal(killSwitch.isOpen(WINDOW_MS + HOLD_MS), false);
});

test("kills that are further apart do not", () => {
  const killSwitch = new KillSwitch();
  for (let i = 0; i < 10 * KILLS; i++) {
    assert.equal(killSwitch.onKill((i * WINDOW_MS) / (KILLS - 1) + i), false);
  }
  assert.equal(killSwitch.isOpen(0), false);
});

test("a relapse lasts twice as long, and begins with no kills counted", () => {
  const killSwitch = new KillSwitch();
  killAll(killSwitch, 0, 0);
  assert.deepEqual(killAll(killSwitch, HOLD_MS, 0).filter(Boolean), [true]);
  assert.equal(killSwitch.isOpen(HOLD_MS + 2 * HOLD_MS - 1), true);
  assert.equal(killSwitch.isOpen(HOLD_MS + 2 * HOLD_MS), false);
});
