// A gateway with a plugin `guard` on a route `all`, version 1.0.0 in service and 2.0.0 in store, and what
// tests of rollouts do with it: start one, look at it, wait until it has come to something.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { TestContext } from "node:test";
import type { Config } from "../../gateway/config/schema.ts";
import { startGateway } from "./gateway.ts";
import type { AdminAnswer, GatewayOptions, RunningGateway } from "./gateway.ts";

export const STABLE = "1.0.0";
export const CANDIDATE = "2.0.0";
const PLACE = "/admin/routes/all/rollouts/guard";
const WAIT_MS = 15_000;

export type RolloutGatewayOptions = {
  readonly stable: Uint8Array;
  readonly candidate: Uint8Array;
  /** Beside the plugin's name. */
  readonly attachment?: object;
  /** In place of the one route, or beside its parts. */
  readonly config?: Partial<Config>;
  readonly workers?: number;
  readonly folder?: string;
};

/** The route `all`, which answers itself. */
export function guarded(attachment: object = {}, action: object = { respond: { body: "ok" } }) {
  return { name: "all", plugins: [{ plugin: "guard", ...attachment }], ...action };
}

/** Starts it and stores the candidate. */
export async function startRolloutGateway(
  t: TestContext,
  options: RolloutGatewayOptions,
): Promise<RunningGateway> {
  const { stable, candidate, attachment, config, workers = 2, folder } = options;
  const started: GatewayOptions = {
    workers,
    plugins: { guard: stable },
    config: {
      listeners: [{ name: "http", address: "127.0.0.1:0" }],
      routes: [guarded(attachment)],
      ...config,
    } as Config,
    ...(folder === undefined ? {} : { folder }),
  };
  const gateway = await startGateway(t, started);
  await store(gateway, CANDIDATE, candidate);
  return gateway;
}

/** Stores a version and leaves the current one where it is. */
export async function store(
  gateway: RunningGateway,
  version: string,
  bytes: Uint8Array,
): Promise<void> {
  const answer = await gateway.admin("POST", `/admin/plugins/guard/versions/${version}`, bytes);
  assert.ok(answer.status === 201 || answer.status === 200, answer.text);
}

export type StartOptions = {
  readonly candidate?: string;
  readonly mode?: "canary" | "shadow";
  readonly steps?: readonly number[];
  readonly interval_ms?: number;
  readonly sticky?: object;
  readonly analysis?: object;
  readonly place?: string;
};

/** An hour to a step: only what is asked for happens. */
export const BY_HAND = { interval_ms: 3_600_000 };

/** Callers are known by `x-user`. */
export const BY_USER = { by: "header", name: "x-user" };

/** Starts a rollout that must be accepted. */
export async function startRollout(
  gateway: RunningGateway,
  { place = PLACE, ...options }: StartOptions = {},
): Promise<AdminAnswer> {
  const body = { candidate: CANDIDATE, sticky: BY_USER, ...BY_HAND, ...options };
  const answer = await gateway.admin("PUT", place, body);
  assert.ok(answer.status === 201 || answer.status === 200, answer.text);
  return answer;
}

/** Does something to the rollout: promote, next, pause, resume, abort. */
export async function act(
  gateway: RunningGateway,
  action: "promote" | "next" | "pause" | "resume" | "abort",
  place = PLACE,
): Promise<AdminAnswer> {
  if (action !== "next") return await gateway.admin("POST", `${place}/${action}`);
  return await gateway.admin("POST", `${place}/promote`, { to: "next" });
}

/** The rollout as the API shows it. */
export async function rolloutOf(
  gateway: RunningGateway,
  place = PLACE,
): Promise<AdminAnswer["body"]> {
  const answer = await gateway.admin("GET", place);
  assert.equal(answer.status, 200, answer.text);
  return answer.body;
}

/** Decisions that a shadow took differently. */
export async function differencesOf(gateway: RunningGateway): Promise<AdminAnswer["body"]> {
  const answer = await gateway.admin("GET", `${PLACE}/differences`);
  assert.equal(answer.status, 200, answer.text);
  return answer.body;
}

/** Looks at the rollout until it is as it should be. */
export async function untilRollout(
  gateway: RunningGateway,
  isSo: (body: AdminAnswer["body"]) => boolean,
  waitMs = WAIT_MS,
): Promise<AdminAnswer["body"]> {
  const endMs = performance.now() + waitMs;
  for (;;) {
    const body = await rolloutOf(gateway);
    if (isSo(body)) return body;
    assert.ok(performance.now() < endMs, `it did not come to that: ${JSON.stringify(body)}`);
  }
}

/** What the audit log says of rollouts. */
export function auditOf({ dataDir }: RunningGateway): Record<string, unknown>[] {
  const lines = readFileSync(join(dataDir, "audit.log"), "utf8").trim().split("\n");
  return lines.map((line) => JSON.parse(line) as Record<string, unknown>);
}

/** One request; headers of the answer by name. */
export async function ask(
  gateway: RunningGateway,
  headers: Readonly<Record<string, string>> = {},
  path = "/",
): Promise<Response> {
  return await fetch(`http://127.0.0.1:${gateway.port()}${path}`, { headers });
}
