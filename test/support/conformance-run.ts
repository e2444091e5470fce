// Runs a case of the conformance suite through a gateway between a scripted client and a scripted origin,
// and says what both saw and what they should have seen, as two values to compare. Behind every case a
// second request goes the same way: it must be answered, and be alone, whatever came before it.

import assert from "node:assert/strict";
import type { TestContext } from "node:test";
import { ERRORS, isErrorCode } from "../../gateway/base/errors.ts";
import type { ErrorCode } from "../../gateway/base/errors.ts";
import { UPSTREAM_ROW } from "../../gateway/telemetry/metrics.ts";
import { Progress, differenceOf } from "./conformance-case.ts";
import type { Answer, Case, Field, Meant, Pair, Wanted, WantedAnswer } from "./conformance-case.ts";
import { HOST, connectClient, methodOf } from "./conformance-clients.ts";
import type { Seen } from "./conformance-clients.ts";
import { HELLO, startScripted } from "./conformance-origins.ts";
import type { Origin, Received } from "./conformance-origins.ts";
import { startEdge } from "./edge.ts";
import type { Edge } from "./edge.ts";

const ASIDE = ["/before", "/next"];
const PATIENT_MS = 10_000;
/** What differs from run to run, or is the connection's own. */
const UNSTABLE = ["date", "x-request-id", "connection", "transfer-encoding"];

type AnswerOutcome = {
  readonly status: number;
  readonly interims: NonNullable<WantedAnswer["interims"]>;
  readonly fields: readonly Field[];
  readonly body: string;
  readonly trailers: readonly Field[];
  readonly isCut: boolean;
};

export type Outcome = {
  readonly client: ErrorCode | "reset" | AnswerOutcome;
  readonly origin: "nothing" | "unfinished" | readonly Required<Meant>[];
  readonly closes: boolean;
  readonly isOpenAfter: boolean;
  /** As the gateway counted them. */
  readonly cuts: number;
  readonly retries: number;
};

export type Observed = Outcome & {
  /** The answer without what differs from run to run. */
  readonly stable: unknown;
};

/** Runs a case over one pair of protocols. */
export async function observe(t: TestContext, row: Case, pair: Pair): Promise<Observed> {
  const { origin, edge, onSeen } = await start(t, row, pair);
  let client = await connectClient(t, pair.client, edge.port);
  if (row.isReused === true) await assertServed(await client.ask({ target: "/before" }));
  const seen = await client.ask(row.request ?? {}, onSeen);
  const isOpenAfter = client.isOpen;
  const [cuts, retries] = [counted(edge, "cut"), counted(edge, "retries")];
  if (!isOpenAfter) client = await connectClient(t, pair.client, edge.port);
  await assertServed(await client.ask({ target: "/next" }));
  const received = ownOf(origin, edge);
  const nexts = received.filter(({ target }) => target === "/next");
  assert.deepEqual(
    nexts.map((next) => meantOf(next)),
    [{ method: "GET", target: "/next", host: HOST, fields: [], body: "" }],
  );
  const own = received.filter(({ target }) => !ASIDE.includes(target));
  const id = seen.fields.find(([name]) => name === "x-request-id")?.[1];
  return {
    client: clientOutcome(seen),
    origin: originOutcome(row, pair, own, id),
    closes: seen.closes,
    isOpenAfter,
    cuts,
    retries,
    stable: stableOf(seen),
  };
}

// Of ports that are used again others may not know: on a connection of theirs already the first request is
// none of this gateway's. Whatever follows one of ours is ours.
function ownOf(origin: Origin, edge: Edge): readonly Received[] {
  const ids = new Set(edge.finished.map(({ requestId }) => requestId));
  const received = origin.received();
  const firsts = new Map(received.map((each) => [each.connection, each] as const).reverse());
  const isOwn = ({ connection }: { readonly connection: number }) =>
    firsts.get(connection)?.fields.some(([name, id]) => name === "x-request-id" && ids.has(id)) ===
    true;
  assert.deepEqual(origin.faults.filter(isOwn), []);
  return received.filter(isOwn);
}

async function start(t: TestContext, row: Case, pair: Pair) {
  const answers: readonly Answer[] = [row.answer ?? {}].flat();
  const progress = new Progress();
  let bodyBytes = 0;
  let headSeen = false;
  let asked = 0;
  const origin = await startScripted(t, pair.origin, {
    answerTo: (target) => {
      if (ASIDE.includes(target)) return { body: { text: target, as: "length" } };
      return answers[Math.min(asked++, answers.length - 1)];
    },
    untilSeen: (bytes) =>
      progress.until(() => bytes === 0 || (headSeen && bodyBytes >= bytes), "body so far"),
  });
  const targets = [{ address: origin.address }];
  const protocol = PROTOCOL_NAMES[pair.origin];
  // Nothing but what a case is about may run out of time, however busy the machine is.
  const timeouts = { connect_ms: PATIENT_MS, first_byte_ms: PATIENT_MS };
  const upstream = { name: "origin", protocol, targets, timeouts };
  // The request behind it goes over the same connections, but where the case makes them bad.
  const aside = row.upstream === undefined ? "origin" : "aside";
  const edge: Edge = await startEdge(t, {
    http2: true,
    timeouts: { body_idle_ms: PATIENT_MS, ...row.timeouts },
    config: {
      upstreams: [
        { ...upstream, ...row.upstream, timeouts: { ...timeouts, ...row.upstream?.timeouts } },
        { ...upstream, name: "aside" },
      ],
      routes: [
        {
          name: "aside",
          match: { paths: ASIDE.map((exact) => ({ exact })) },
          upstream: aside,
          timeout_ms: PATIENT_MS,
        },
        row.route?.respond === undefined
          ? { name: "all", upstream: "origin", ...row.route }
          : { name: "all", ...row.route },
      ],
    },
  });
  const onSeen = ({ status, body }: Seen) => {
    headSeen = status !== 0;
    bodyBytes = body.length;
    progress.changed();
  };
  return { origin, edge, onSeen };
}

function counted(edge: Edge, counter: "cut" | "retries"): number {
  // The upstream has no row before its first request.
  return edge.metrics.snapshot().upstreams.rows[UPSTREAM_ROW[counter]] ?? 0;
}

const PROTOCOL_NAMES = { h1: "http1", h2: "http2" } as const;

function assertServed({ status, body, isWhole }: Seen): void {
  assert.deepEqual([status, isWhole], [200, true], "the request beside it");
  assert.ok(ASIDE.includes(body), body);
}

function clientOutcome(seen: Seen): Outcome["client"] {
  // Whether the head of a cut answer left before the cut is a matter of chance.
  if (!seen.isWhole && seen.body === "") return "reset";
  const { status, interims, body, trailers, isWhole } = seen;
  const type = seen.fields.find(([name]) => name === "content-type")?.[1];
  if (type === "application/problem+json" && isWhole && body !== "") {
    const problem = JSON.parse(body) as Record<string, unknown>;
    const code = String(problem["code"]);
    assert.ok(isErrorCode(code), body);
    assert.deepEqual([status, problem["status"]], [ERRORS[code].status, ERRORS[code].status]);
    assert.deepEqual([interims, trailers], [[], []]);
    return code;
  }
  return { status, interims, fields: stableFields(seen), body, trailers, isCut: !isWhole };
}

function originOutcome(row: Case, pair: Pair, own: readonly Received[], id?: string) {
  const complete = own.filter(({ isComplete }) => isComplete);
  if (complete.length > 0) return complete.map((each) => meantOf(each, id));
  // A fault that comes with the head can be seen before the head has left.
  return own.length === 0 && wantedOf(row, pair).origin !== "unfinished" ? "nothing" : "unfinished";
}

function stableFields({ fields }: Seen): readonly Field[] {
  return fields.filter(([name]) => !UNSTABLE.includes(name));
}

function stableOf(seen: Seen): unknown {
  const { closes: _closes, trailers: _trailers, ...rest } = seen;
  const body = seen.body.replace(/"request_id":"[^"]*"/, "");
  return { ...rest, body, fields: stableFields(seen) };
}

// Judges what the gateway says of itself and takes it out.
function meantOf(received: Received, requestId?: string): Required<Meant> {
  const { method, target, host, body } = received;
  const own: Field[] = [
    ["x-forwarded-for", "127.0.0.1"],
    ["x-forwarded-proto", "http"],
    ["x-forwarded-host", host ?? ""],
    ["forwarded", `for=127.0.0.1;host="${host}";proto=http`],
  ];
  const isOwn = (name: string) => own.some((field) => field[0] === name);
  assert.deepEqual(
    received.fields.filter(([name]) => isOwn(name)),
    own,
  );
  const ids = received.fields.filter(([name]) => name === "x-request-id");
  assert.equal(ids.length, 1);
  if (requestId !== undefined) assert.equal(ids[0][1], requestId);
  const traces = received.fields.filter(([name]) => name === "traceparent");
  assert.match(traces.map(([, value]) => value).join(), /^00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]$/);
  const fields = received.fields.filter(
    ([name]) => !isOwn(name) && name !== "x-request-id" && name !== "traceparent",
  );
  return { method, target, host: host ?? "", fields, body };
}

/** What both ends should see over this pair of protocols. */
export function wantedOf(row: Case, pair: Pair): Outcome {
  const difference: Wanted = differenceOf(row, pair) ?? {};
  const client = difference.client ?? row.client ?? {};
  const answer = wantedAnswer(row, client, pair);
  const origin = difference.origin ?? row.origin ?? (isRefusal(client) ? "nothing" : {});
  const closes = pair.client === "h1" && (difference.closes ?? row.closes ?? isFatal(client));
  const isLost = answer === "reset" || (typeof answer === "object" && answer.isCut);
  const isHalfClosed = row.request?.halfClose === true;
  const endsH1 = closes || isLost || isHalfClosed;
  const atOrigin = wantedAtOrigin(row, origin);
  return {
    client: answer,
    origin: atOrigin,
    closes,
    cuts: isLost && typeof atOrigin !== "string" ? 1 : 0,
    retries: typeof atOrigin === "string" ? 0 : atOrigin.length - 1,
    isOpenAfter: !(pair.client === "h1" ? endsH1 : row.losesSession === true),
  };
}

function wantedAnswer(
  row: Case,
  client: NonNullable<Wanted["client"]>,
  pair: Pair,
): Outcome["client"] {
  if (typeof client === "string") return client;
  const answer: Answer = [row.answer ?? {}].flat().at(-1) ?? {};
  const { status = 200, body = HELLO, interims = [] } = answer;
  const fields: Field[] = [...(answer.fields ?? [])];
  const length = body?.length ?? body?.text.length ?? 0;
  if (body?.as === "length") fields.push(["content-length", String(length)]);
  const hints = interims.filter((each) => each.status === 103);
  const isHeard = row.request?.fields?.some(([name]) => name === "te") === true;
  return {
    status: Number(status),
    interims: hints.map((each) => [each.status, each.fields ?? []] as const),
    fields,
    body: row.request?.method === "HEAD" ? "" : (body?.text ?? ""),
    trailers: pair.origin === "h2" && isHeard ? (answer.trailers ?? []) : [],
    isCut: answer.then !== undefined && answer.then !== "nothing",
    ...client,
  };
}

function wantedAtOrigin(row: Case, origin: NonNullable<Wanted["origin"]>): Outcome["origin"] {
  if (typeof origin === "string") return origin;
  const { target = "/a", host, fields = [], body, ...rest } = row.request ?? {};
  const kept: Field[] = [...fields];
  if (body?.length !== undefined) kept.push(["content-length", String(body.length)]);
  const sent = {
    method: methodOf({ ...rest, ...(body === undefined ? {} : { body }) }),
    target,
    host: host ?? HOST,
    fields: kept,
    body: body?.text ?? "",
  };
  return [origin].flat().map((meant) => ({ ...sent, ...meant }));
}

function isRefusal(client: NonNullable<Wanted["client"]>): boolean {
  if (typeof client !== "string") return false;
  return client === "reset" || ERRORS[client].blame === "client";
}

// What is doubtful ends its connection: nobody knows where the next request begins.
function isFatal(client: NonNullable<Wanted["client"]>): boolean {
  if (typeof client !== "string" || client === "reset") return false;
  return [400, 414, 417, 431, 501, 505].includes(ERRORS[client].status);
}
