// In what two versions' answers to one request differ. The reason that they give is no part of what they
// decide; everything else is.

import type { DecisionData } from "./decision.ts";
import type { Said } from "./witness.ts";

/** What can differ. */
export type Difference =
  | "failure"
  | "action"
  | "status"
  | "body"
  | "headers"
  | "path"
  | "request_headers"
  | "response_headers"
  | "values";

/** Empty when they decide the same. `null` is a version that takes no part: it changes nothing. */
export function differencesOf(a: Said | null, b: Said | null): Difference[] {
  if (a?.kind === "failed" || b?.kind === "failed") {
    return a?.kind === b?.kind ? [] : ["failure"];
  }
  const one = a?.decision ?? NOTHING;
  const other = b?.decision ?? NOTHING;
  if ((one.status === 0) !== (other.status === 0)) return ["action"];
  const found: Difference[] = [];
  const compare = (what: Difference, pick: (decision: DecisionData) => unknown) => {
    if (JSON.stringify(pick(one)) !== JSON.stringify(pick(other))) found.push(what);
  };
  compare("response_headers", ({ responseEdits }) => linesOf(responseEdits, ({ name }) => name));
  compare("values", ({ values }) => lastOf(values));
  if (one.status !== 0) {
    compare("status", ({ status }) => status);
    compare("body", ({ body }) => body);
    compare("headers", ({ headers }) => linesOf(headers, ([name]) => name));
  } else {
    compare("path", ({ path }) => path);
    compare("request_headers", ({ requestEdits }) => lastOf(requestEdits));
  }
  return found;
}

const NOTHING: DecisionData = {
  status: 0,
  body: "",
  reason: "",
  path: null,
  headers: [],
  requestEdits: [],
  responseEdits: [],
  values: [],
};

// The order of names means nothing; that of one name's lines does.
function linesOf<T>(lines: readonly T[], nameOf: (line: T) => string): readonly T[] {
  return lines.toSorted((a, b) => (nameOf(a) < nameOf(b) ? -1 : nameOf(a) > nameOf(b) ? 1 : 0));
}

// The last word on each name counts; the order of names does not.
function lastOf(edits: readonly (readonly [name: string, value: string | null])[]): unknown {
  return [...new Map(edits)].sort(([a], [b]) => (a < b ? -1 : 1));
}
