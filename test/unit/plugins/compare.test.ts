// In what two versions' decisions differ, as a table: each part of a decision by itself, what does not
// count as a difference, and versions that fail or take no part.

import assert from "node:assert/strict";
import { test } from "node:test";
import { differencesOf } from "../../../gateway/plugins/compare.ts";
import type { Difference } from "../../../gateway/plugins/compare.ts";
import type { DecisionData } from "../../../gateway/plugins/decision.ts";
import type { Said } from "../../../gateway/plugins/witness.ts";

const NOTHING: DecisionData = {
  ...{ status: 0, body: "", reason: "", path: null },
  ...{ headers: [], requestEdits: [], responseEdits: [], values: [] },
};

function said(decision: Partial<DecisionData> = {}): Said {
  return { kind: "decided", decision: { ...NOTHING, ...decision } };
}

function set(name: string, value: string | null, adds = false) {
  return { name, value, adds };
}

const TRAP: Said = { kind: "failed", fault: "trap", detail: "unreachable" };
const LATE: Said = { kind: "failed", fault: "deadline", detail: "too long" };
const DENIED = { status: 403, body: "no", headers: [["x-why", "role"]] } as const;

const ROWS: readonly (readonly [string, Said | null, Said | null, readonly Difference[]])[] = [
  ["both let pass", said(), said(), []],
  ["both answer the same", said(DENIED), said(DENIED), []],
  ["only the reason differs", said({ reason: "a" }), said({ reason: "b" }), []],
  ["one lets pass what the other denies", said(), said(DENIED), ["action"]],
  ["one denies what the other lets pass", said(DENIED), said(), ["action"]],
  ["another status", said(DENIED), said({ ...DENIED, status: 401 }), ["status"]],
  ["another body", said(DENIED), said({ ...DENIED, body: "No" }), ["body"]],
  ["a header less", said(DENIED), said({ ...DENIED, headers: [] }), ["headers"]],
  [
    "the same headers in another order of names",
    said({
      status: 403,
      headers: [
        ["a", "1"],
        ["b", "2"],
      ],
    }),
    said({
      status: 403,
      headers: [
        ["b", "2"],
        ["a", "1"],
      ],
    }),
    [],
  ],
  [
    "the same lines of one name in another order",
    said({
      status: 403,
      headers: [
        ["a", "1"],
        ["a", "2"],
      ],
    }),
    said({
      status: 403,
      headers: [
        ["a", "2"],
        ["a", "1"],
      ],
    }),
    ["headers"],
  ],
  ["another path", said({ path: "/a" }), said({ path: "/b" }), ["path"]],
  ["a path where there was none", said(), said({ path: "/b" }), ["path"]],
  ["another value", said({ values: [["a", "1"]] }), said({ values: [["a", "2"]] }), ["values"]],
  [
    "the same last values of each name, in another order",
    said({
      values: [
        ["a", "0"],
        ["b", "2"],
        ["a", "1"],
      ],
    }),
    said({
      values: [
        ["a", "1"],
        ["b", "2"],
      ],
    }),
    [],
  ],
  [
    "a request header that one sets and the other takes out",
    said({ requestEdits: [["a", "1"]] }),
    said({ requestEdits: [["a", null]] }),
    ["request_headers"],
  ],
  [
    "names of the prototype",
    said({ requestEdits: [["__proto__", "1"]] }),
    said({ requestEdits: [["constructor", "1"]] }),
    ["request_headers"],
  ],
  [
    "edits of a request that neither lets through",
    said({ ...DENIED, requestEdits: [["a", "1"]] }),
    said(DENIED),
    [],
  ],
  [
    "a response header that is added and not set",
    said({ responseEdits: [set("a", "1")] }),
    said({ responseEdits: [set("a", "1", true)] }),
    ["response_headers"],
  ],
  [
    "response headers of other names in another order",
    said({ responseEdits: [set("a", "1"), set("b", "2")] }),
    said({ responseEdits: [set("b", "2"), set("a", "1")] }),
    [],
  ],
  [
    "lines of one response header in another order",
    said({ responseEdits: [set("a", "1", true), set("a", "2", true)] }),
    said({ responseEdits: [set("a", "2", true), set("a", "1", true)] }),
    ["response_headers"],
  ],
  [
    "several things at once",
    said({ path: "/a", values: [["a", "1"]] }),
    said({ requestEdits: [["a", "1"]] }),
    ["values", "path", "request_headers"],
  ],
  ["one fails", said(), TRAP, ["failure"]],
  ["the other fails", TRAP, said(DENIED), ["failure"]],
  ["both fail, each in its way", TRAP, LATE, []],
  ["one takes no part where the other changes nothing", said(), null, []],
  ["one takes no part where the other answers", said(DENIED), null, ["action"]],
  [
    "one takes no part where the other sets a value",
    null,
    said({ values: [["a", ""]] }),
    ["values"],
  ],
  ["one takes no part where the other fails", null, TRAP, ["failure"]],
  ["neither takes part", null, null, []],
];

for (const [name, a, b, differs] of ROWS) {
  test(`${name}: ${differs.join(", ") || "no difference"}`, () => {
    assert.deepEqual(differencesOf(a, b), differs);
    assert.deepEqual(differencesOf(b, a), differs, "whoever is asked first");
  });
}
