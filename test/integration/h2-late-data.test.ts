// Data with more padding than frame: it ends the connection of a stream that is open, and is not looked
// into on one that was answered early and reset. Which of the two it is depends on when it comes, so the
// second reader, which knows no times, must not stop there: what it left unread would be taken for a
// request that nobody sent.

import assert from "node:assert/strict";
import http2 from "node:http2";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { startEdge } from "../support/edge.ts";
import {
  END_HEADERS,
  END_STREAM,
  FRAME,
  connectRawH2,
  frame,
  literals,
  settings,
} from "../support/h2-raw.ts";
import type { RawH2 } from "../support/h2-raw.ts";
import { H2Reader, PADDED, PREFACE } from "../support/h2-reader.ts";
import { until } from "../support/origin-user.ts";
import { ok, rawOrigin } from "../support/raw.ts";
import type { RawOrigin } from "../support/raw.ts";

const BODY = "0\r\n\r\n";
const OVERPADDED = frame(FRAME.DATA, { stream: 1, flags: PADDED, payload: Buffer.of(1) });

function post(stream: number, path: string): Buffer {
  const payload = literals([
    [":method", "POST"],
    [":scheme", "http"],
    [":path", path],
    [":authority", "a"],
  ]);
  return frame(FRAME.HEADERS, { stream, flags: END_HEADERS, payload });
}

const WHOLE = Buffer.concat([
  post(3, "/all"),
  frame(FRAME.DATA, { stream: 3, flags: END_STREAM, payload: Buffer.from(BODY) }),
]);

async function open(t: TestContext): Promise<{ client: RawH2; origin: RawOrigin }> {
  const origin = await rawOrigin(t, (socket, received) => {
    if (received.includes("/all") && received.endsWith(BODY)) socket.write(ok("here"));
  });
  const { port } = await startEdge(t, {
    http2: true,
    config: {
      upstreams: [{ name: "origin", targets: [{ address: origin.address }] }],
      routes: [
        { name: "early", match: { paths: [{ exact: "/early" }] }, respond: { body: "early" } },
        { name: "all", upstream: "origin" },
      ],
    },
  });
  return { client: await connectRawH2(t, port), origin };
}

test("behind an early answer it is passed over, and the next request is served", async (t) => {
  const { client, origin } = await open(t);
  client.send(post(1, "/early"));
  await client.until(({ type, stream }) => type === FRAME.RST_STREAM && stream === 1);
  client.send(OVERPADDED, WHOLE);
  await client.until(({ type, stream }) => type === FRAME.DATA && stream === 3);
  assert.ok(origin.received.join("").includes(BODY));
  assert.equal(client.goawayCode, -1);
});

test("on a stream that is open it ends the connection, and nothing behind it counts", async (t) => {
  const { client, origin } = await open(t);
  client.send(post(1, "/first"));
  await until(() => origin.received.join("").includes("/first"), "the head at the origin");
  client.send(OVERPADDED, WHOLE);
  await client.closed();
  assert.equal(client.goawayCode, http2.constants.NGHTTP2_PROTOCOL_ERROR);
  assert.ok(!origin.received.join("").includes("/all"));
});

test("the second reader holds it against its message, and reads on", () => {
  const reader = new H2Reader({ kind: "request" });
  const opening = frame(FRAME.SETTINGS, { payload: settings() });
  reader.push(Buffer.concat([Buffer.from(PREFACE), opening, post(1, "/early"), OVERPADDED, WHOLE]));
  const messages = [...reader.messages.values()].map(({ isGood, body }) => [isGood, body]);
  assert.deepEqual(messages, [
    [false, ""],
    [true, BODY],
  ]);
  assert.equal(reader.fault, "");
});
