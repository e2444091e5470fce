// One behaviour, whatever protocols are spoken on either side: every case runs over HTTP/1.1 and HTTP/2
// from the client, to an HTTP/1.1 and an HTTP/2 origin, over real sockets. Judged by all that the client
// saw, by all that the origin got, and by a request behind it that must find nothing left over. Where the
// protocols differ, the case says why.

import assert from "node:assert/strict";
import { suite, test } from "node:test";
import type { TestContext } from "node:test";
import { REASONS, differenceOf, pairsOf, sidesOf } from "../support/conformance-case.ts";
import type { Case, Reason } from "../support/conformance-case.ts";
import { BODIES } from "../support/conformance-rows-bodies.ts";
import { FAILURES } from "../support/conformance-rows-failures.ts";
import { HEADS } from "../support/conformance-rows-heads.ts";
import { RESPONSES } from "../support/conformance-rows-responses.ts";
import { TARGETS } from "../support/conformance-rows-targets.ts";
import { observe, wantedOf } from "../support/conformance-run.ts";

const ROWS: Readonly<Record<string, readonly Case[]>> = {
  "request head": HEADS,
  "target and host": TARGETS,
  "request body": BODIES,
  response: RESPONSES,
  failure: FAILURES,
};
const ALL = Object.values(ROWS).flat();

for (const [kind, rows] of Object.entries(ROWS)) {
  suite(kind, { concurrency: 4 }, () => {
    for (const row of rows) test(row.what, (t) => assertConforms(t, row));
  });
}

async function assertConforms(t: TestContext, row: Case): Promise<void> {
  const alike: unknown[] = [];
  await Promise.all(
    pairsOf(row).map(async (pair) => {
      const over = sidesOf(pair).join(", ");
      const { stable, ...outcome } = await observe(t, row, pair).catch((error: unknown) => {
        throw new Error(over, { cause: error });
      });
      assert.deepEqual(outcome, wantedOf(row, pair), over);
      if (differenceOf(row, pair) === null) alike.push(stable);
    }),
  );
  // Whatever the case does not speak of is the same as well.
  for (const each of alike) assert.deepEqual(each, alike[0]);
}

test("every case has a name of its own and exists somewhere, and every difference is one", () => {
  const names = new Set(ALL.map(({ what }) => what));
  assert.equal(names.size, ALL.length);
  for (const row of ALL) {
    assert.ok(pairsOf(row).length > 0, row.what);
    const { differs: _differs, ...plain } = row;
    for (const pair of pairsOf(row)) {
      if (differenceOf(row, pair) === null) continue;
      assert.notDeepEqual(wantedOf(row, pair), wantedOf(plain, pair), row.what);
    }
  }
});

test("every reason for a difference is used", () => {
  const used = new Set<Reason>();
  for (const { notOver = {}, differs = {} } of ALL) {
    for (const why of Object.values(notOver)) used.add(why);
    for (const { why } of Object.values(differs)) used.add(why);
  }
  assert.deepEqual(
    Object.keys(REASONS).filter((reason) => !used.has(reason as Reason)),
    [],
  );
});
