// The outbox against a recording socket: what leaves in which write, what is copied and what is
// not, and when it says that the peer has caught up.

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { LIMITS } from "../../../gateway/base/limits.ts";
import { ReadBuffers } from "../../../gateway/base/read-buffers.ts";
import { Outbox } from "../../../gateway/wire/outbox.ts";
import type { OutboxSocket } from "../../../gateway/wire/outbox.ts";
import { SEED } from "../../support/random.ts";

const SMALL = LIMITS.smallBodyBytesMax;

/** Holds what is written until `drain`; writes that would be one system call are one flight. */
class RecordingSocket implements OutboxSocket {
  readonly flights: (string | Uint8Array)[][] = [];
  writableLength = 0;
  /** A fast peer: everything leaves at once. */
  isFast = true;
  #corked = 0;
  #gathered: (string | Uint8Array)[] = [];
  #callbacks: ((error?: Error | null) => void)[] = [];

  cork(): void {
    this.#corked++;
  }

  uncork(): void {
    this.#corked--;
    if (this.#corked === 0) this.#fly();
  }

  write(
    chunk: string | Uint8Array,
    _encoding?: BufferEncoding,
    done?: (error?: Error | null) => void,
  ): boolean {
    if (chunk.length > 0) this.#gathered.push(chunk);
    this.writableLength += chunk.length;
    if (done !== undefined) this.#callbacks.push(done);
    if (this.#corked === 0) this.#fly();
    return this.writableLength === 0;
  }

  #fly(): void {
    if (this.#gathered.length > 0) this.flights.push(this.#gathered);
    this.#gathered = [];
    if (this.isFast) this.writableLength = 0;
  }

  /** The peer has taken what was written, but for the bytes that are left, or is gone. */
  drain({ left = 0, error = null }: { left?: number; error?: Error | null } = {}): void {
    this.writableLength = left;
    const callbacks = this.#callbacks;
    this.#callbacks = [];
    for (const done of callbacks) done(error);
  }

  get text(): string {
    return this.flights
      .flat()
      .map((chunk) => (typeof chunk === "string" ? chunk : Buffer.from(chunk).latin1Slice()))
      .join("");
  }

  /** Nothing may stay behind a cork. */
  get isCorked(): boolean {
    return this.#corked !== 0;
  }
}

function setup() {
  const socket = new RecordingSocket();
  const drains: string[] = [];
  const buffers = new ReadBuffers();
  const outbox = new Outbox(socket, buffers, () => drains.push("drain"));
  return { socket, outbox, drains, buffers };
}

test("a head and a small body leave as one string", () => {
  const { socket, outbox } = setup();
  outbox.addText("head\xe9\r\n\r\n");
  outbox.addBytes(Buffer.from("xbody\xffx", "latin1"), 1, 6);
  assert.deepEqual(socket.flights, []);
  assert.equal(outbox.flush(), true);
  assert.deepEqual(socket.flights, [["head\xe9\r\n\r\nbody\xff"]]);
});

test("flushing nothing writes nothing", () => {
  const { socket, outbox } = setup();
  assert.equal(outbox.flush(), true);
  assert.deepEqual(socket.flights, []);
});

test("bytes up to the bound are copied; one more and they are passed on as they are", () => {
  const { socket, outbox } = setup();
  const bytes = Buffer.alloc(SMALL + 2, "a");
  outbox.addBytes(bytes, 0, SMALL);
  outbox.flush();
  assert.equal(typeof socket.flights[0][0], "string");
  outbox.addBytes(bytes, 0, SMALL + 1);
  outbox.addBytes(bytes, 0, bytes.length);
  outbox.flush();
  const [part, whole] = socket.flights[1] as Buffer[];
  assert.equal(part.buffer, bytes.buffer);
  assert.equal(part.byteOffset, bytes.byteOffset);
  assert.equal(part.length, SMALL + 1);
  assert.equal(whole, bytes);
});

test("a read buffer is held until everything has left", () => {
  for (const isFast of [true, false]) {
    const { socket, outbox, buffers } = setup();
    socket.isFast = isFast;
    const loan = buffers.take();
    outbox.addBytes(loan.buffer, 0, SMALL);
    buffers.giveUp(loan);
    assert.equal(loan.writes, 1);
    assert.equal(outbox.flush(), isFast);
    if (!isFast) {
      assert.equal(loan.writes, 1);
      socket.drain({ left: 1 });
      assert.equal(loan.writes, 1);
      socket.drain();
    }
    assert.equal(loan.writes, 0);
    assert.equal(buffers.take(), loan);
  }
});

test("a read buffer whose writer broke is never used again", () => {
  const { socket, outbox, buffers } = setup();
  socket.isFast = false;
  const loan = buffers.take();
  outbox.addBytes(loan.buffer, 0, SMALL);
  outbox.flush();
  buffers.giveUp(loan);
  socket.drain({ error: new Error("reset") });
  assert.notEqual(buffers.take(), loan);
});

test("text, large bytes and text leave in order, in one gathered write", () => {
  const { socket, outbox } = setup();
  const large = Buffer.alloc(SMALL + 1, "b");
  outbox.addText("head");
  outbox.addBytes(large, 0, large.length);
  outbox.addText("tail");
  assert.equal(outbox.flush(), true);
  assert.deepEqual(socket.flights, [["head", large, "tail"]]);
  assert.equal(socket.isCorked, false);
});

test("small bytes do not gather without bound", () => {
  const { socket, outbox } = setup();
  const bytes = Buffer.alloc(SMALL, "a");
  let longest = 0;
  for (let i = 0; i < 10; i++) outbox.addBytes(bytes, 0, bytes.length);
  outbox.flush();
  for (const chunk of socket.flights.flat()) longest = Math.max(longest, chunk.length);
  assert.ok(longest <= LIMITS.bodyHighWaterBytes + SMALL);
  assert.equal(socket.text.length, 10 * SMALL);
});

test("a chunk carries its size in hexadecimal and ends with CRLF", () => {
  const { socket, outbox } = setup();
  const bytes = Buffer.alloc(SMALL + 26, "c");
  outbox.addChunk(bytes, 3, 29);
  outbox.addChunk(bytes, 0, bytes.length);
  outbox.flush();
  const size = bytes.length.toString(16);
  assert.equal(socket.text, `1a\r\n${"c".repeat(26)}\r\n${size}\r\n${bytes.latin1Slice()}\r\n`);
});

test("whatever is added, the same bytes leave in the same order", () => {
  const bytes = Buffer.alloc(SMALL * 2, "0123456789");
  const length = fc.oneof(fc.nat(40), fc.integer({ min: SMALL - 1, max: SMALL + 2 }));
  const step = fc.record({ kind: fc.constantFrom("text", "bytes", "chunk", "flush"), length });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 12 }), (steps) => {
      const { socket, outbox } = setup();
      let wanted = "";
      for (const { kind, length: count } of steps) {
        const body = bytes.latin1Slice(1, 1 + count);
        if (kind === "text") {
          outbox.addText(`t${count}`);
          wanted += `t${count}`;
        } else if (kind === "bytes") {
          outbox.addBytes(bytes, 1, 1 + count);
          wanted += body;
        } else if (kind === "chunk") {
          outbox.addChunk(bytes, 1, 1 + count);
          wanted += `${count.toString(16)}\r\n${body}\r\n`;
        } else {
          assert.equal(outbox.flush(), true);
          assert.equal(socket.text, wanted);
        }
      }
      outbox.flush();
      assert.equal(socket.text, wanted);
      assert.equal(socket.isCorked, false);
    }),
    { seed: SEED },
  );
});

test("a slow peer: flush says so, and the drain is told once, when all has left", () => {
  const { socket, outbox, drains } = setup();
  socket.isFast = false;
  outbox.addText("one");
  assert.equal(outbox.flush(), false);
  outbox.addText("two");
  assert.equal(outbox.flush(), false);
  assert.deepEqual(drains, []);
  socket.drain();
  assert.deepEqual(drains, ["drain"]);
  socket.drain();
  assert.deepEqual(drains, ["drain"]);
  assert.equal(socket.text, "onetwo");
});

test("what was written meanwhile is waited for as well", () => {
  const { socket, outbox, drains } = setup();
  socket.isFast = false;
  outbox.addText("one");
  outbox.flush();
  // The first part's callback comes while another is still queued.
  socket.drain({ left: 3 });
  assert.deepEqual(drains, []);
  socket.drain();
  assert.deepEqual(drains, ["drain"]);
});

test("after a drain the next slow flush waits anew", () => {
  const { socket, outbox, drains } = setup();
  socket.isFast = false;
  for (let i = 1; i <= 3; i++) {
    outbox.addText("x");
    assert.equal(outbox.flush(), false);
    socket.drain();
    assert.equal(drains.length, i);
  }
});

test("a peer that is gone is never said to have caught up", () => {
  const { socket, outbox, drains } = setup();
  socket.isFast = false;
  outbox.addText("x");
  assert.equal(outbox.flush(), false);
  socket.drain({ error: new Error("gone") });
  assert.deepEqual(drains, []);
});
