// The outer form of tokens, against what Node's own decoder gives back: a segment is good exactly
// when decoding and encoding it again yields the same text.

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { isCompactJws, readJoseHeader } from "../../../../gateway/plugins/builtin/jwt-compact.ts";

const DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

const isCanonical = (segment: string) =>
  segment !== "" && Buffer.from(segment, "base64url").toString("base64url") === segment;

test("a token is compact exactly when its three segments are canonical base64url", () => {
  const segment = fc.oneof(
    {
      weight: 3,
      arbitrary: fc.uint8Array({ maxLength: 8 }).map((b) => Buffer.from(b).toString("base64url")),
    },
    { weight: 2, arbitrary: fc.string({ unit: fc.constantFrom(...DIGITS), maxLength: 8 }) },
    {
      weight: 1,
      arbitrary: fc.string({
        unit: fc.constantFrom("A", "=", "+", "/", " ", "\xff", "."),
        maxLength: 4,
      }),
    },
  );
  let good = 0;
  fc.assert(
    fc.property(fc.array(segment, { minLength: 2, maxLength: 4 }), (segments) => {
      const token = segments.join(".");
      const parts = token.split(".");
      const expected = parts.length === 3 && parts.every(isCanonical);
      if (expected) good++;
      assert.equal(isCompactJws(token), expected, token);
    }),
    { numRuns: 5000 },
  );
  assert.ok(good > 100, `only ${good} good ones were tried`);
});

test("headers that are no objects, or name no algorithm, are not read", () => {
  const token = (header: string) => `${Buffer.from(header).toString("base64url")}.e30.AA`;
  const bad = ["[]", "null", '"x"', "{", "{}", '{"alg":1}', '{"alg":"HS256","kid":1}'];
  for (const header of bad) assert.equal(readJoseHeader(token(header)), null, header);
  assert.deepEqual(readJoseHeader(token('{"alg":"HS256","kid":"a"}')), { alg: "HS256", kid: "a" });
  assert.deepEqual(readJoseHeader(token('{"alg":"HS256"}')), { alg: "HS256", kid: null });
});
