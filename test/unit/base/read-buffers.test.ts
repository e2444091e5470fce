// Read buffers without sockets: a buffer goes from one connection to another only when its socket has
// taken another one to read into and no write refers to it, in whatever order the two happen.

import assert from "node:assert/strict";
import { test } from "node:test";
import { LIMITS } from "../../../gateway/base/limits.ts";
import { Intake, ReadBuffers } from "../../../gateway/base/read-buffers.ts";
import type { Loan } from "../../../gateway/base/read-buffers.ts";

const LARGE = LIMITS.smallBodyBytesMax + 1;

/** An intake that has read a large run, and was given a buffer of its own for it. */
function setup() {
  const buffers = new ReadBuffers();
  const intake = new Intake(buffers);
  assert.equal(intake.nextBuffer(), buffers.shared);
  buffers.shared.fill("a");
  const own = intake.lasting(buffers.shared, 0, LARGE);
  assert.notEqual(own, buffers.shared);
  /** True when another connection would be given the buffer. */
  const isFree = () => {
    const taken = buffers.take();
    buffers.giveUp(taken);
    return taken.buffer === own;
  };
  return { buffers, intake, own, isFree };
}

test("runs that are copied on their way stay in the shared buffer, larger ones leave it", () => {
  const { buffers } = setup();
  const intake = new Intake(buffers);
  buffers.shared.write("run", 7);
  const small = intake.lasting(buffers.shared, 0, LIMITS.smallBodyBytesMax);
  assert.equal(small, buffers.shared);
  assert.equal(intake.nextBuffer(), buffers.shared);
  const large = intake.lasting(buffers.shared, 7, 7 + LARGE);
  buffers.shared.fill(0);
  assert.equal(large.latin1Slice(7, 10), "run");
  assert.equal(intake.nextBuffer(), large);
  const others = Buffer.alloc(LARGE);
  assert.equal(intake.lasting(others, 0, LARGE), others);
});

test("a body that comes in small runs gets no buffer of its own", () => {
  const { buffers } = setup();
  const intake = new Intake(buffers);
  intake.expectMore(buffers.shared, 1_000);
  assert.equal(intake.nextBuffer(), buffers.shared);
  intake.expectMore(Buffer.alloc(LARGE), LARGE);
  assert.equal(intake.nextBuffer(), buffers.shared);
  intake.expectMore(buffers.shared, LARGE);
  assert.notEqual(intake.nextBuffer(), buffers.shared);
});

test("a buffer is not free while its socket may read into it", () => {
  const { buffers, intake, own, isFree } = setup();
  assert.equal(intake.nextBuffer(), own);
  intake.giveUp();
  assert.equal(isFree(), false);
  assert.equal(intake.nextBuffer(), buffers.shared);
  assert.equal(isFree(), true);
});

test("a buffer that its socket was never told of is free at once", () => {
  const { intake, isFree } = setup();
  intake.giveUp();
  assert.equal(isFree(), true);
});

test("a closed socket reads no more", () => {
  for (const body of ["over", "cut"]) {
    const { intake, isFree } = setup();
    intake.nextBuffer();
    if (body === "over") intake.giveUp();
    intake.close();
    intake.close();
    assert.equal(isFree(), true, body);
  }
});

test("a buffer is not free while writes refer to it, whichever end is last", () => {
  for (const first of ["reader", "writers"]) {
    const { buffers, intake, own, isFree } = setup();
    const writes = [own.subarray(3, 9), own].map((part) => buffers.onWrite(part) as Loan);
    const steps = [() => intake.giveUp(), ...writes.map((loan) => () => buffers.onWritten(loan))];
    if (first === "writers") steps.push(steps.shift() as () => void);
    for (const step of steps) {
      assert.equal(isFree(), false, first);
      step();
    }
    assert.equal(isFree(), true, first);
  }
});

test("bytes that are still being written are not written over by the next run", () => {
  const { buffers, intake, own } = setup();
  const loan = buffers.onWrite(own) as Loan;
  buffers.shared.fill("b");
  const next = intake.lasting(buffers.shared, 0, LARGE);
  assert.notEqual(next, own);
  assert.equal(own.latin1Slice(0, 1), "a");
  buffers.onWritten(loan);
});

test("parked bytes stay while the socket reads on, and their buffer is the body's when asked for", () => {
  const buffers = new ReadBuffers();
  const intake = new Intake(buffers);
  intake.nextBuffer();
  buffers.shared.fill("p");
  const parked = intake.park(buffers.shared.subarray(0, LARGE));
  assert.equal(intake.nextBuffer(), buffers.shared);
  buffers.shared.fill("x");
  assert.equal(parked.equals(Buffer.alloc(LARGE, "p")), true);
  intake.unpark();
  assert.equal(intake.nextBuffer().buffer, parked.buffer);
});

test("nobody's bytes are no loan, and no buffer is given up twice", () => {
  const buffers = new ReadBuffers();
  assert.equal(buffers.onWrite(Buffer.alloc(LARGE)), null);
  assert.equal(buffers.onWrite(buffers.shared), null);
  const loan = buffers.take();
  buffers.giveUp(loan);
  assert.throws(() => buffers.giveUp(loan));
});
