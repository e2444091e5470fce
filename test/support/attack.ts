// One attack over the wire and its judgement: the gateway before a recording origin, bytes sent as
// they are, and two ways to be right. Either refused, with a status, the end of the connection and not
// a byte at the origin; or forwarded as exactly what was meant, byte by byte, and read so by llhttp.

import assert from "node:assert/strict";
import type { TestContext } from "node:test";
import type { RouteConfig } from "../../gateway/config/schema.ts";
import type { Plugin } from "../../gateway/plugins/phases.ts";
import { startEdge } from "./edge.ts";
import type { Edge, EdgeOptions } from "./edge.ts";
import { connectRaw } from "./raw.ts";
import { forwardedText, recordingOrigin, withoutIds } from "./recording-origin.ts";
import type { Meant, RecordingOrigin } from "./recording-origin.ts";

export type Target = { readonly edge: Edge; readonly origin: RecordingOrigin };

/** Sent behind the attack, to see what the gateway takes for the next request. */
const LAST: Meant = { line: "GET /last" };
const LAST_BYTES = "GET /last HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";

/** The gateway with a route to an origin for everything that `routes` do not answer. */
export async function startTarget(
  t: TestContext,
  routes: readonly RouteConfig[] = [],
  rest: Partial<EdgeOptions> = {},
): Promise<Target> {
  const origin = await recordingOrigin(t);
  const edge = await startEdge(t, {
    ...rest,
    config: {
      upstreams: [{ name: "origin", targets: [{ address: origin.address }] }],
      routes: [...routes, { name: "all", upstream: "origin" }],
    },
  });
  return { edge, origin };
}

/** A plugin that only runs this before the request goes on. */
export function onRequest(run: NonNullable<Plugin["onRequest"]>): Plugin {
  return { name: "test", version: "test", onRequest: run, onResponse: null, close: () => {} };
}

/** Sends the bytes and a last request behind them; all that comes back until the end. */
export async function answersTo(t: TestContext, { edge }: Target, bytes: string): Promise<string> {
  const client = await connectRaw(t, edge.port);
  client.send(bytes + LAST_BYTES);
  const { text, reset } = await client.closed();
  assert.equal(reset, false, JSON.stringify(bytes));
  client.socket.destroy();
  return text;
}

/** The status codes of responses one after the other, informational ones left out. */
export function statusesOf(text: string): number[] {
  return [...text.matchAll(/HTTP\/1\.1 ([2-5]\d\d) /g)].map(([, status]) => Number(status));
}

/** Refused with one of the statuses, and nothing reached the origin. */
export async function assertRefused(
  t: TestContext,
  target: Target,
  attack: { readonly bytes: string; readonly statuses?: readonly number[] },
): Promise<void> {
  const { bytes, statuses = [400, 501] } = attack;
  const text = await answersTo(t, target, bytes);
  const seen = statusesOf(text);
  assert.equal(seen.length, 1, `${JSON.stringify(bytes)} was answered by ${seen.join()}`);
  assert.ok(statuses.includes(seen[0]), `${JSON.stringify(bytes)} was answered by ${seen[0]}`);
  assert.match(text, /\r\nconnection: close\r\n/);
  assert.deepEqual(target.origin.take(), { texts: [], requests: [], faults: [] });
}

/** Forwarded as these requests; `then`, when given, is the status that refuses what follows them. */
export async function assertForwarded(
  t: TestContext,
  target: Target,
  attack: { readonly bytes: string; readonly meant: readonly Meant[]; readonly then?: number },
): Promise<void> {
  const { bytes, then } = attack;
  const text = await answersTo(t, target, bytes);
  const meant = then === undefined ? [...attack.meant, LAST] : attack.meant;
  const statuses = meant.map(() => 200);
  if (then !== undefined) statuses.push(then);
  assert.deepEqual(statusesOf(text), statuses, JSON.stringify(bytes));
  assertRecorded(target.origin, meant);
}

/** The origin got these requests on one connection and nothing else. */
export function assertRecorded(origin: RecordingOrigin, meant: readonly Meant[]): void {
  const { texts, requests, faults } = origin.take();
  assert.deepEqual(texts.map(withoutIds), [meant.map(forwardedText).join("")]);
  assert.deepEqual(faults, []);
  assert.deepEqual(
    requests.map(({ method, target, body }) => ({ line: `${method} ${target}`, body })),
    meant.map(({ line, body, chunks }) => ({ line, body: body ?? chunks?.join("") ?? "" })),
  );
}
