// What people may see of a request and of decisions about it: names that are secrets wherever they stand,
// texts that are too long, and names that clients choose to do harm with.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { DecisionData } from "../../../gateway/plugins/decision.ts";
import {
  DEFAULT_REDACTION,
  redactWitnessed,
  redactionOf,
  showDifference,
  showSaid,
} from "../../../gateway/plugins/redact.ts";
import type { Redaction } from "../../../gateway/plugins/redact.ts";
import type { Said, Witnessed } from "../../../gateway/plugins/witness.ts";

const HIDDEN = "(redacted)";
const SECRET = "hunter2";

const NOTHING: DecisionData = {
  ...{ status: 0, body: "", reason: "", path: null },
  ...{ headers: [], requestEdits: [], responseEdits: [], values: [] },
};

function said(decision: Partial<DecisionData> = {}): Said {
  return { kind: "decided", decision: { ...NOTHING, ...decision } };
}

type Parts = { headers?: [string, string][]; query?: string; path?: string; said?: Said };

function witnessed({
  headers = [],
  query = "",
  path = "/a",
  said: what = said(),
}: Parts): Witnessed {
  return {
    phase: "on_request",
    atMs: 1,
    bodyBytes: 0,
    calls: [],
    said: what,
    context: {
      request: {
        ...{ method: "GET", path, query, host: "a.example", scheme: "https" },
        ...{ clientIp: "192.0.2.1", requestId: "r1", routeName: "orders", consumer: "acme" },
        ...{ tls: null, params: null, claims: { sub: "7", session_id: SECRET } },
        values: new Map([["access_token", SECRET]]),
        body: { bytes: Buffer.from(SECRET), whole: true },
        headers: new Map(headers),
      },
      response: { status: 200, headers: new Map([["set-cookie", [SECRET, SECRET]]]) },
      bodyBytesMax: null,
    },
  };
}

function shown(parts: Parts, redaction: Redaction = DEFAULT_REDACTION) {
  return showDifference(witnessed(parts), said(), ["values"], redaction);
}

const SECRETS = [
  ...["authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key", "apikey"],
  ...["x-auth-user", "x-csrf-token", "x-amz-security-token", "client_secret", "password"],
  ...["passwd", "x-session", "sessionid", "x-hub-signature-256", "credentials", "jwt"],
];
const ORDINARY = ["host", "user-agent", "accept", "x-request-id", "content-type", "x-monkey"];

for (const name of SECRETS) {
  test(`${name} is a secret in headers, query, values and edits, in any case`, () => {
    for (const each of [name, name.toUpperCase()]) {
      const { request } = shown({
        headers: [[each.toLowerCase(), SECRET]],
        query: `a=1&${each}=${SECRET}&b=2`,
      });
      assert.equal(request.headers[each.toLowerCase()], HIDDEN);
      assert.equal(request.query, `a=1&${each}=${HIDDEN}&b=2`);
      const what = showSaid(
        said({
          headers: [[each, SECRET]],
          requestEdits: [[each, SECRET]],
          responseEdits: [{ name: `${each}2`, value: SECRET, adds: true }],
          values: [[each, SECRET]],
        }),
        DEFAULT_REDACTION,
      );
      assert.ok(!JSON.stringify(what).includes(SECRET), JSON.stringify(what));
      assert.equal(what.requestHeaders[each], HIDDEN);
    }
  });
}

for (const name of ORDINARY) {
  test(`${name} is shown`, () => {
    const { request } = shown({ headers: [[name, "yes"]], query: `${name}=yes` });
    assert.equal(request.headers[name], "yes");
    assert.equal(request.query, `${name}=yes`);
  });
}

const QUERIES: readonly (readonly [string, string])[] = [
  ["", ""],
  ["token", "token"],
  ["=x", "=x"],
  [`token=${SECRET}`, `token=${HIDDEN}`],
  [`token=a=b=${SECRET}`, `token=${HIDDEN}`],
  [`%74oken=${SECRET}`, `%74oken=${HIDDEN}`],
  [`%54%6f%4B%45n=${SECRET}`, `%54%6f%4B%45n=${HIDDEN}`],
  [`%ff%74oken=${SECRET}`, `%ff%74oken=${HIDDEN}`],
  [`%zztoken=${SECRET}`, `%zztoken=${HIDDEN}`],
  [`user[token]=${SECRET}`, `user[token]=${HIDDEN}`],
  [`a=1;token=${SECRET};b=2`, `a=1;token=${HIDDEN};b=2`],
  [`a=1&&token=${SECRET}&`, `a=1&&token=${HIDDEN}&`],
];

for (const [query, expected] of QUERIES) {
  test(`the query ${query || "of nothing"} is shown as ${expected || "nothing"}`, () => {
    assert.equal(shown({ query }).request.query, expected);
  });
}

test("names of the operator's own are secrets too, in any case", () => {
  const redaction = redactionOf(["X-Patient", "q"]);
  const { request } = shown(
    {
      headers: [
        ["x-patient", SECRET],
        ["x-other", "yes"],
      ],
      query: `Q=${SECRET}&r=1`,
    },
    redaction,
  );
  assert.equal(request.headers["x-patient"], HIDDEN);
  assert.equal(request.headers["x-other"], "yes");
  assert.equal(request.query, `Q=${HIDDEN}&r=1`);
});

test("long texts are cut, and no more than 64 names are shown", () => {
  const long = "x".repeat(10_000);
  const headers = Array.from({ length: 200 }, (_, i): [string, string] => [`h${i}`, long]);
  const { request, stable } = shown({
    ...{ headers, query: `q=${long}`, path: `/${long}` },
    said: said({ reason: long, path: `/${long}`, values: [["a", long]] }),
  });
  assert.equal(Object.keys(request.headers).length, 64);
  const texts = [...Object.values(request.headers), request.query, request.path];
  for (const text of [...texts, stable.reason, stable.path, stable.values["a"]]) {
    assert.equal(text?.length, 259);
    assert.match(text ?? "", /\.\.\.$/);
  }
});

test("names of the prototype are names like any other", () => {
  const names = ["__proto__", "constructor", "tostring"];
  const { request, stable } = shown({
    headers: names.map((name): [string, string] => [name, "v"]),
    said: said({ values: names.map((name) => [name, "v"] as const) }),
  });
  for (const record of [request.headers, stable.values]) {
    assert.deepEqual(Object.keys(record), names);
    assert.equal(Object.getPrototypeOf(record), null);
  }
  assert.match(JSON.stringify(request.headers), /"__proto__":"v"/);
});

test("what a version said is told by its action", () => {
  const show = (what: Said | null) => showSaid(what, DEFAULT_REDACTION);
  assert.equal(show(null).action, "none");
  const failed = show({ kind: "failed", fault: "trap", detail: "at 7" });
  assert.deepEqual([failed.action, failed.reason], ["failed", "trap: at 7"]);
  const denied = show(said({ status: 403, reason: "role" }));
  assert.deepEqual([denied.action, denied.status, denied.reason], ["respond", 403, "role"]);
  const passed = show(said({ requestEdits: [["a", null]] }));
  assert.deepEqual([passed.action, passed.status], ["continue", null]);
  assert.deepEqual({ ...passed.requestHeaders }, { a: null });
});

test("what is recorded holds no secret of request, response and decision, and no body unasked", () => {
  const whole = witnessed({
    headers: [
      ["authorization", SECRET],
      ["accept", "yes"],
    ],
    query: `token=${SECRET}`,
    said: said({
      headers: [["set-cookie", SECRET]],
      requestEdits: [["Authorization", SECRET]],
      responseEdits: [{ name: "set-cookie", value: SECRET, adds: true }],
      values: [["jwt", SECRET]],
    }),
  });
  const kept = redactWitnessed(whole, DEFAULT_REDACTION, { body: false });
  const text = JSON.stringify(kept, (_, value: unknown) =>
    value instanceof Map ? [...value] : value,
  );
  assert.ok(!text.includes(SECRET), text);
  assert.equal(kept.context.request?.headers.get("accept"), "yes");
  assert.equal(kept.context.request?.body, null);
  const withBody = redactWitnessed(whole, DEFAULT_REDACTION, { body: true });
  assert.equal(Buffer.from(withBody.context.request?.body?.bytes ?? []).toString(), SECRET);
  assert.equal(whole.context.request?.headers.get("authorization"), SECRET, "the original stays");
});
