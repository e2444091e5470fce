// Text that goes straight to a socket's handle, beside what goes through its stream: bytes leave in the
// order in which they were given, back-pressure is told, and failures end the socket. Over real
// sockets, with a reader that stops and goes.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { once } from "node:events";
import net from "node:net";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { ReadBuffers } from "../../../gateway/base/read-buffers.ts";
import { DirectWriter } from "../../../gateway/wire/direct-write.ts";
import { Outbox } from "../../../gateway/wire/outbox.ts";
import { Chance } from "../../support/chance.ts";

type Pair = { readonly near: net.Socket; readonly far: net.Socket };

async function connectPair(t: TestContext): Promise<Pair> {
  const server = net.createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const accepted = once(server, "connection") as Promise<[net.Socket]>;
  const far = net.connect((server.address() as net.AddressInfo).port, "127.0.0.1");
  const [near] = await accepted;
  await once(far, "connect");
  for (const socket of [near, far]) socket.on("error", () => {});
  t.after(() => {
    near.destroy();
    far.destroy();
    server.close();
  });
  return { near, far };
}

test("a socket of clear text has a direct writer on this Node", async (t) => {
  const { near } = await connectPair(t);
  assert.notEqual(
    DirectWriter.of(near, () => {}),
    null,
  );
  assert.equal(
    DirectWriter.of({}, () => {}),
    null,
  );
});

test("whatever is written leaves in order, and each flush that waited is told of its end", async (t) => {
  const { near, far } = await connectPair(t);
  const seed = Number(process.env["SEED"] ?? Math.floor(Math.random() * 2 ** 31));
  const random = new Chance(seed);
  t.diagnostic(`SEED=${seed}`);
  const sent = createHash("sha256");
  const received = createHash("sha256");
  let sentBytes = 0;
  let receivedBytes = 0;
  let drained: (() => void) | null = null;
  const outbox = new Outbox(near, new ReadBuffers(), () => {
    drained?.();
    drained = null;
  });
  far.on("data", (chunk) => {
    received.update(chunk);
    receivedBytes += chunk.length;
    // A reader that stops now and then fills both sockets' buffers.
    if (random.below(20) === 0) {
      far.pause();
      setImmediate(() => far.resume());
    }
  });
  let waits = 0;
  for (let i = 0; i < 2_000; i++) {
    const size = [1, 300, 20_000, 40_000, 200_000][random.below(5)];
    const bytes = Buffer.alloc(size, 97 + (i % 26));
    sent.update(bytes);
    sentBytes += size;
    if (size < 30_000 && random.below(2) === 0) outbox.addText(bytes.toString("latin1"));
    else outbox.addBytes(bytes, 0, size);
    if (random.below(3) === 0) continue;
    const wait = new Promise<void>((resolve) => (drained = resolve));
    if (outbox.flush()) {
      drained = null;
      continue;
    }
    waits += 1;
    // Now and then more is written while it waits.
    if (random.below(2) === 0) await wait;
  }
  outbox.flush();
  near.end();
  await once(far, "end");
  assert.equal(receivedBytes, sentBytes);
  assert.equal(received.digest("hex"), sent.digest("hex"));
  assert.ok(waits > 10, `only ${waits} flushes had to wait`);
});

test("a flush that had to wait is not told done before all has left", async (t) => {
  const { near, far } = await connectPair(t);
  far.pause();
  let drains = 0;
  const outbox = new Outbox(near, new ReadBuffers(), () => (drains += 1));
  const text = "x".repeat(10_000);
  let given = 0;
  do {
    outbox.addText(text);
    given += text.length;
  } while (outbox.flush());
  assert.equal(outbox.flush(), false, "nothing has left since");
  assert.equal(drains, 0);
  let read = 0;
  far.on("data", (chunk) => (read += chunk.length));
  far.resume();
  while (drains === 0) await new Promise((resolve) => setImmediate(resolve));
  assert.equal(outbox.flush(), true);
  near.end();
  await once(far, "end");
  assert.equal(read, given);
});

test("a peer that reset the connection ends the socket with an error, not the process", async (t) => {
  const { near, far } = await connectPair(t);
  const outbox = new Outbox(near, new ReadBuffers(), () => {});
  const closed = new Promise((resolve) => near.once("close", resolve));
  far.resetAndDestroy();
  while (!near.destroyed) {
    outbox.addText("x".repeat(1_000));
    outbox.flush();
    await new Promise((resolve) => setImmediate(resolve));
  }
  await closed;
  outbox.addText("after the end");
  outbox.flush();
  assert.equal(near.destroyed, true);
});
