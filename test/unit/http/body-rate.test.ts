// The least rate of a body on a clock that the test moves: what is judged, and what is not held
// against a client.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { TimerWheel } from "../../../gateway/base/timer-wheel.ts";
import { RateWatch } from "../../../gateway/http/body-rate.ts";

const TICK_MS = 10;
const WINDOW_MS = 1_000;
const RATE = { bytesPerSecondMin: 100, windowMs: WINDOW_MS };
const DUE = 100;

/** Bodies of one connection, and a clock. */
class Bench {
  readonly bodies = { bytes: 0, count: 0 };
  /** Bodies that were found slow, in order. */
  readonly slow: number[] = [];
  #nowMs = 0;
  readonly #wheel = new TimerWheel(() => this.#nowMs, TICK_MS);
  #made = 0;

  constructor(t: TestContext) {
    t.after(() => this.#wheel.close());
  }

  get deadlines(): number {
    return this.#wheel.count;
  }

  watch(): RateWatch {
    const id = this.#made++;
    return new RateWatch(
      this.#wheel,
      this.bodies,
      () => void this.slow.push(id),
      () => this.#nowMs,
    );
  }

  /** Lets windows go by, with one tick more; so many bytes come in the middle of each. */
  windows(count: number, watch: RateWatch, bytes: number): void {
    for (let i = 0; i < count; i++) {
      this.pass(WINDOW_MS / 2);
      if (bytes > 0) watch.add(bytes);
      this.pass(WINDOW_MS / 2 + TICK_MS);
    }
  }

  pass(ms: number): void {
    for (const endMs = this.#nowMs + ms; this.#nowMs < endMs;) {
      this.#nowMs += TICK_MS;
      this.#wheel.tick();
    }
  }
}

test("the first window is grace, and the second is judged", (t) => {
  const bench = new Bench(t);
  const watch = bench.watch();
  watch.start(RATE);
  bench.windows(1, watch, 0);
  assert.deepEqual(bench.slow, []);
  bench.windows(1, watch, DUE - 1);
  assert.deepEqual(bench.slow, [0]);
});

test("a body that brings what is due goes on, however long; one window of less ends it", (t) => {
  const bench = new Bench(t);
  const watch = bench.watch();
  watch.start(RATE);
  bench.windows(20, watch, DUE);
  assert.deepEqual(bench.slow, []);
  bench.windows(1, watch, DUE - 1);
  assert.deepEqual(bench.slow, [0]);
  bench.windows(3, watch, 0);
  assert.deepEqual(bench.slow, [0], "told once");
});

test("bytes of the window before, or of the grace, buy no time", (t) => {
  const bench = new Bench(t);
  const watch = bench.watch();
  watch.start(RATE);
  bench.windows(2, watch, 50 * DUE);
  bench.windows(1, watch, 0);
  assert.deepEqual(bench.slow, [0]);
});

test("time in which the body is not read does not count, and bytes do not get lost by it", (t) => {
  const bench = new Bench(t);
  const watch = bench.watch();
  watch.start(RATE);
  bench.windows(1, watch, 0);
  watch.add(DUE - 1);
  bench.pass(WINDOW_MS / 2);
  watch.hold();
  watch.hold();
  bench.pass(10 * WINDOW_MS);
  watch.resume();
  watch.resume();
  watch.add(1);
  bench.pass(WINDOW_MS - TICK_MS);
  assert.deepEqual(bench.slow, [], "and the rest of that window was enough");
  bench.pass(WINDOW_MS);
  assert.deepEqual(bench.slow, [0]);
});

test("to be held again and again is no new grace", (t) => {
  const bench = new Bench(t);
  const watch = bench.watch();
  watch.start(RATE);
  for (let i = 0; i < 20; i++) {
    bench.pass(WINDOW_MS / 5);
    watch.hold();
    watch.resume();
  }
  assert.deepEqual(bench.slow, [0]);
});

for (const [what, end] of [
  ["stopped", (watch) => watch.stop()],
  ["held", (watch) => watch.hold()],
  ["stopped while it is held", (watch) => (watch.hold(), watch.stop(), watch.resume())],
  ["closed", (watch) => watch.close()],
] as const satisfies readonly (readonly [string, (watch: RateWatch) => void])[]) {
  test(`a watch that is ${what} finds nothing and is no body that is read`, (t) => {
    const bench = new Bench(t);
    const watch = bench.watch();
    watch.start(RATE);
    assert.equal(bench.bodies.count, 1);
    end(watch);
    assert.equal(bench.bodies.count, 0);
    bench.windows(3, watch, 0);
    assert.deepEqual(bench.slow, []);
    assert.equal(bench.deadlines, 0);
  });
}

test("the next body of a connection has a grace of its own", (t) => {
  const bench = new Bench(t);
  const watch = bench.watch();
  watch.start(RATE);
  bench.windows(2, watch, DUE);
  watch.stop();
  watch.start(RATE);
  bench.windows(1, watch, 0);
  assert.deepEqual([bench.slow, bench.bodies.count], [[], 1]);
});

test("a rate of 0 watches nothing", (t) => {
  const bench = new Bench(t);
  const watch = bench.watch();
  watch.start({ ...RATE, bytesPerSecondMin: 0 });
  bench.windows(3, watch, 0);
  assert.deepEqual([bench.slow, bench.bodies.count, bench.deadlines], [[], 0, 0]);
});

test("a body that waits for others of its connection is not slow while they bring its share", (t) => {
  for (const [bytes, slow] of [
    [3 * DUE, []],
    // What is too little for three is enough for two.
    [3 * DUE - 1, [1]],
  ] as const) {
    const bench = new Bench(t);
    const [busy] = [bench.watch(), bench.watch(), bench.watch()].map((watch) => {
      watch.start(RATE);
      return watch;
    });
    bench.windows(1, busy, 0);
    bench.windows(1, busy, bytes);
    assert.deepEqual(bench.slow, slow);
  }
});

test("a connection is owed for each body that is read", (t) => {
  const bench = new Bench(t);
  const watches = [bench.watch(), bench.watch()];
  for (const watch of watches) watch.start(RATE);
  watches[1].hold();
  bench.windows(1, watches[0], 0);
  bench.windows(5, watches[0], DUE);
  assert.deepEqual(bench.slow, []);
});
