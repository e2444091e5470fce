// The connection pool against raw origins: what is reused and what never is, the three bounds
// (connections, waiters, waiting time), and that every way out gives its place to the next in line.

import assert from "node:assert/strict";
import net from "node:net";
import type { AddressInfo, Socket } from "node:net";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { nowMs } from "../../../gateway/base/clock.ts";
import { TimerWheel } from "../../../gateway/base/timer-wheel.ts";
import { OriginPool } from "../../../gateway/upstream/pool-h1.ts";
import type { OriginPoolOptions } from "../../../gateway/upstream/pool-h1.ts";
import { ReadBuffers } from "../../../gateway/base/read-buffers.ts";
import { RecordingUser, until, withinDeadline } from "../../support/origin-user.ts";
import { answerWith, ok, rawOrigin } from "../../support/raw.ts";

function openPool(t: TestContext, port: number, given: Partial<OriginPoolOptions> = {}) {
  const wheel = new TimerWheel(nowMs);
  const connects: boolean[] = [];
  const pool = new OriginPool({
    host: "127.0.0.1",
    port,
    tls: null,
    proxyProtocol: null,
    socketsMax: 10,
    waitersMax: 10,
    waitMs: 5_000,
    connectMs: 5_000,
    timeouts: { firstByteMs: 5_000, idleMs: 5_000 },
    wheel,
    buffers: new ReadBuffers(),
    onConnect: (isOk) => connects.push(isOk),
    ...given,
  });
  t.after(() => {
    pool.close();
    wheel.close();
  });
  const ask = (path = "/", fresh = false) => {
    const user = new RecordingUser(path);
    pool.acquire(user, fresh);
    return user;
  };
  return { pool, connects, ask };
}

/** An origin that answers nothing by itself: `next` gives the socket of the next request. */
async function heldOrigin(t: TestContext) {
  const asked: Socket[] = [];
  const takers: ((socket: Socket) => void)[] = [];
  const origin = await rawOrigin(t, (socket) => {
    const taker = takers.shift();
    if (taker === undefined) asked.push(socket);
    else taker(socket);
  });
  const next = () => {
    const socket = asked.shift();
    const promise =
      socket === undefined
        ? new Promise<Socket>((resolve) => takers.push(resolve))
        : Promise.resolve(socket);
    return withinDeadline(promise, "the next request");
  };
  return { ...origin, next };
}

const ANSWERED = { kind: "answered", status: 200, body: "hi" } as const;

test("a connection is reused for the next request, and says so", async (t) => {
  const origin = await rawOrigin(t, answerWith(ok("hi")));
  const { pool, connects, ask } = openPool(t, origin.port);
  for (let i = 0; i < 3; i++) {
    const user = ask(`/${i}`);
    assert.deepEqual(await user.outcome(), ANSWERED);
    assert.equal(user.reused, i > 0);
  }
  assert.deepEqual([pool.socketCount, pool.idleCount], [1, 1]);
  assert.equal(origin.received.length, 1);
  assert.deepEqual(connects, [true]);
});

test("the connection that was used last is reused first", async (t) => {
  const origin = await heldOrigin(t);
  const { pool, ask } = openPool(t, origin.port);
  const users = [ask("/1"), ask("/2")];
  for (let i = 0; i < 2; i++) (await origin.next()).write(ok("hi"));
  await Promise.all(users.map((user) => user.outcome()));
  assert.deepEqual([pool.socketCount, pool.idleCount], [2, 2]);
  for (let i = 0; i < 3; i++) {
    const user = ask("/again");
    (await origin.next()).write(ok("hi"));
    await user.outcome();
  }
  const counts = origin.received.map((text) => text.split("/again").length - 1);
  assert.deepEqual(counts.sort(), [0, 3]);
});

test("a fresh connection is made on demand, though an idle one is there", async (t) => {
  const origin = await rawOrigin(t, answerWith(ok("hi")));
  const { pool, ask } = openPool(t, origin.port);
  await ask().outcome();
  const user = ask("/", true);
  await user.outcome();
  assert.equal(user.reused, false);
  assert.deepEqual([pool.socketCount, pool.idleCount], [2, 2]);
});

test("never more connections than the bound; who waits is served in order", async (t) => {
  const origin = await heldOrigin(t);
  const { pool, ask } = openPool(t, origin.port, { socketsMax: 2 });
  const users = Array.from({ length: 6 }, (_, i) => ask(`/${i}`));
  assert.equal(pool.socketCount, 2);
  const served: number[] = [];
  for (const [i, user] of users.entries()) {
    void user.outcome().then(() => served.push(i));
  }
  for (let i = 0; i < 6; i++) (await origin.next()).write(ok("hi"));
  for (const user of users) assert.deepEqual(await user.outcome(), ANSWERED);
  assert.equal(origin.received.length, 2);
  assert.deepEqual(served, [0, 1, 2, 3, 4, 5]);
  assert.deepEqual(
    users.map(({ reused }) => reused),
    [false, false, true, true, true, true],
  );
  assert.deepEqual([pool.socketCount, pool.idleCount], [2, 2]);
});

test("one more than may wait is refused at once", async (t) => {
  const origin = await heldOrigin(t);
  const { ask } = openPool(t, origin.port, { socketsMax: 1, waitersMax: 2 });
  const [first, second, third, refused] = [ask(), ask(), ask(), ask()];
  assert.equal(refused.outcomes, 1);
  const outcome = await refused.outcome();
  assert.ok(outcome.kind === "unavailable");
  assert.equal(outcome.code, "UPSTREAM_BUSY");
  for (const user of [first, second, third]) {
    (await origin.next()).write(ok("hi"));
    assert.deepEqual(await user.outcome(), ANSWERED);
  }
  // Their places are free again.
  const later = ask();
  (await origin.next()).write(ok("hi"));
  assert.deepEqual(await later.outcome(), ANSWERED);
});

test("who waits too long is refused, and not served afterwards", async (t) => {
  const origin = await heldOrigin(t);
  const { pool, ask } = openPool(t, origin.port, { socketsMax: 1, waitMs: 100 });
  const first = ask("/first");
  const startMs = performance.now();
  const waiter = ask("/waiter");
  const outcome = await waiter.outcome();
  assert.ok(outcome.kind === "unavailable");
  assert.equal(outcome.code, "UPSTREAM_BUSY");
  assert.match(outcome.detail, /100 ms/);
  assert.ok(performance.now() - startMs >= 99);
  (await origin.next()).write(ok("hi"));
  await first.outcome();
  assert.equal(pool.idleCount, 1, "the connection went to nobody");
  assert.equal(waiter.outcomes, 1);
  assert.doesNotMatch(origin.received[0], /waiter/);
});

test("a waiter that is cancelled hears nothing, and its place is free", async (t) => {
  const origin = await heldOrigin(t);
  const { pool, ask } = openPool(t, origin.port, { socketsMax: 1, waitersMax: 1 });
  const first = ask("/first");
  const cancelled = ask("/cancelled");
  pool.cancel(cancelled);
  const second = ask("/second");
  for (const user of [first, second]) {
    (await origin.next()).write(ok("hi"));
    assert.deepEqual(await user.outcome(), ANSWERED);
  }
  assert.equal(cancelled.outcomes, 0);
  assert.doesNotMatch(origin.received[0], /cancelled/);
});

test("a connection whose user went away while it was made goes to the next", async (t) => {
  const origin = await heldOrigin(t);
  const { pool, ask } = openPool(t, origin.port, { socketsMax: 1 });
  const cancelled = ask("/cancelled");
  pool.cancel(cancelled);
  const next = ask("/next");
  (await origin.next()).write(ok("hi"));
  assert.deepEqual(await next.outcome(), ANSWERED);
  assert.match(origin.received[0], /^GET \/next /);
  assert.equal(cancelled.outcomes, 0);
  assert.equal(pool.socketCount, 1);
});

test("a connection that nobody wants any more is kept", async (t) => {
  const origin = await heldOrigin(t);
  const { pool, ask } = openPool(t, origin.port);
  pool.cancel(ask());
  await until(() => pool.idleCount === 1, "the idle connection");
  const user = ask();
  (await origin.next()).write(ok("hi"));
  await user.outcome();
  assert.equal(origin.received.length, 1);
});

/** A port where nobody listens. */
async function closedPort(): Promise<number> {
  const server = net.createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

test("a refused connection is told, and everyone in line is told in turn", async (t) => {
  const { pool, connects, ask } = openPool(t, await closedPort(), { socketsMax: 1 });
  const users = [ask(), ask(), ask()];
  for (const user of users) {
    const outcome = await user.outcome();
    assert.ok(outcome.kind === "unavailable");
    assert.equal(outcome.code, "UPSTREAM_CONNECT");
    assert.match(outcome.detail, /ECONNREFUSED/);
    assert.equal(user.outcomes, 1);
  }
  assert.deepEqual([pool.socketCount, pool.idleCount], [0, 0]);
  assert.deepEqual(connects, [false, false, false]);
});

test("a connection that is not ready in time is given up", async (t) => {
  // A TLS handshake that nobody answers stands for every connection that stalls.
  const origin = await heldOrigin(t);
  const { pool, connects, ask } = openPool(t, origin.port, {
    connectMs: 100,
    tls: { serverName: "origin", verify: false, ca: null, cert: null, key: null },
  });
  const outcome = await ask().outcome();
  assert.ok(outcome.kind === "unavailable");
  assert.equal(outcome.code, "UPSTREAM_CONNECT");
  assert.match(outcome.detail, /not connected within 100 ms/);
  assert.equal(pool.socketCount, 0);
  assert.deepEqual(connects, [false]);
});

test("an idle connection that the origin closes is forgotten", async (t) => {
  const origin = await rawOrigin(t, answerWith(ok("hi")));
  const { pool, ask } = openPool(t, origin.port);
  await ask().outcome();
  origin.sockets[0].end();
  await until(() => pool.socketCount === 0, "the end of the connection");
  assert.equal(pool.idleCount, 0);
  const user = ask();
  assert.deepEqual(await user.outcome(), ANSWERED);
  assert.equal(user.reused, false);
});

test("a connection that dies under its second request says that no byte came", async (t) => {
  for (const end of ["end", "resetAndDestroy"] as const) {
    const origin = await heldOrigin(t);
    const { pool, ask } = openPool(t, origin.port);
    const first = ask();
    (await origin.next()).write(ok("hi"));
    await first.outcome();
    const stale = ask();
    (await origin.next())[end]();
    assert.deepEqual(await stale.outcome(), {
      kind: "failed",
      code: "UPSTREAM_RESET",
      received: false,
    });
    assert.equal(stale.reused, true);
    assert.equal(pool.socketCount, 0);
  }
});

test("bytes on an idle connection end it, for they could forge the next response", async (t) => {
  const origin = await rawOrigin(t, answerWith(ok("hi")));
  const { pool, ask } = openPool(t, origin.port);
  await ask().outcome();
  origin.sockets[0].write(ok("forged"));
  await until(() => pool.socketCount === 0, "the end of the connection");
  const user = ask();
  assert.deepEqual(await user.outcome(), ANSWERED);
  assert.equal(user.reused, false);
});

for (const [what, response] of [
  ["Connection: close", "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nhi"],
  ["HTTP/1.0", "HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nhi"],
  ["a byte after the body", `${ok("hi")}x`],
  ["a whole response after the body", ok("hi") + ok("forged")],
] as const) {
  test(`a connection is not reused after ${what}`, async (t) => {
    const origin = await rawOrigin(t, answerWith(response));
    const { pool, ask } = openPool(t, origin.port);
    for (let i = 0; i < 2; i++) {
      const user = ask();
      assert.deepEqual(await user.outcome(), ANSWERED);
      assert.equal(user.reused, false);
      assert.deepEqual([pool.socketCount, pool.idleCount], [0, 0]);
    }
  });
}

test("what a dying connection held goes to the next in line", async (t) => {
  const origin = await heldOrigin(t);
  const { ask } = openPool(t, origin.port, { socketsMax: 1 });
  const first = ask("/first");
  const second = ask("/second");
  (await origin.next()).destroy();
  assert.equal((await first.outcome()).kind, "failed");
  (await origin.next()).write(ok("hi"));
  assert.deepEqual(await second.outcome(), ANSWERED);
  assert.equal(second.reused, false);
});

test("an idle connection is closed after its time", async (t) => {
  const origin = await rawOrigin(t, answerWith(ok("hi")));
  const { pool, ask } = openPool(t, origin.port, {
    timeouts: { firstByteMs: 5_000, idleMs: 100 },
  });
  await ask().outcome();
  await until(() => pool.socketCount === 0, "the end of the connection");
  assert.equal(pool.idleCount, 0);
});

test("a closed pool ends what is idle, refuses who waits, and lets requests end", async (t) => {
  const origin = await heldOrigin(t);
  const { pool, ask } = openPool(t, origin.port, { socketsMax: 2 });
  const idle = ask("/idle");
  (await origin.next()).write(ok("hi"));
  await idle.outcome();
  const [running, other, waiter] = [ask("/running"), ask("/other"), ask("/waiter")];
  const held = [await origin.next(), await origin.next()];
  pool.close();
  const refused = await waiter.outcome();
  assert.ok(refused.kind === "unavailable");
  assert.equal(refused.code, "UPSTREAM_NO_TARGET");
  for (const socket of held) socket.write(ok("hi"));
  for (const user of [running, other]) assert.deepEqual(await user.outcome(), ANSWERED);
  assert.deepEqual([pool.socketCount, pool.idleCount], [0, 0]);
});

test("a closed pool keeps nothing that was idle", async (t) => {
  const origin = await rawOrigin(t, answerWith(ok("hi")));
  const { pool, ask } = openPool(t, origin.port);
  await ask().outcome();
  assert.equal(pool.idleCount, 1);
  pool.close();
  assert.deepEqual([pool.socketCount, pool.idleCount], [0, 0]);
});
