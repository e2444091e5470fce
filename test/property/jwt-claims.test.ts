// Claims are judged as jose judges them: random claims and random rules, with values near the limits of
// time, of every JSON type and under names of the prototype, go to both.

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { UnsecuredJWT } from "jose";
import { readClaims, refuseClaims } from "../../gateway/plugins/builtin/jwt-claims.ts";
import { SEED, Tally, searchMs, untilTime } from "../support/random.ts";

const WALL_MS = 1_800_000_000_500;
const NOW_S = Math.floor(WALL_MS / 1000);
const HEADER = Buffer.from('{"alg":"none"}').toString("base64url");
const WORDS = ["a", "b", "https://id.example.com", "", "constructor"];

const time = fc.oneof(
  fc.integer({ min: -40, max: 40 }).map((delta) => NOW_S + delta),
  fc.constantFrom<unknown>(
    NOW_S + 0.5,
    NOW_S - 30.5,
    0,
    -1,
    1e300,
    "1800000000",
    null,
    true,
    [],
    {},
  ),
);
const word = fc.constantFrom(...WORDS);
const audience = fc.oneof(word, fc.array(word, { maxLength: 3 }), fc.constantFrom(1, null, {}));
const claims = fc.record(
  {
    iss: fc.oneof(word, fc.constantFrom(1, null, [], ["a"])),
    aud: audience,
    exp: time,
    nbf: time,
    iat: time,
    sub: fc.oneof(word, fc.constant(null)),
    scope: fc.jsonValue(),
  },
  { requiredKeys: [] },
);
const rules = fc.record({
  issuer: fc.oneof(fc.constant(undefined), word),
  audience: fc.oneof(fc.constant(undefined), word, fc.array(word, { minLength: 1, maxLength: 3 })),
  required: fc.subarray(["sub", "scope", "iat", "exp"]),
  skewS: fc.constantFrom(0, 30),
});
const payload = fc.oneof(
  { weight: 20, arbitrary: claims.map((value) => JSON.stringify(value)) },
  { weight: 1, arbitrary: fc.constantFrom("null", "[]", "1", '"a"', "{", "", '{"exp":1e999}') },
);

test("random claims are accepted and refused as jose does", (t) => {
  const tally = new Tally();
  fc.assert(
    fc.property(payload, rules, (text, { issuer, audience, required, skewS }) => {
      const segment = Buffer.from(text).toString("base64url");
      let expected: unknown = null;
      try {
        expected = UnsecuredJWT.decode(`${HEADER}.${segment}.`, {
          issuer,
          audience,
          requiredClaims: required,
          clockTolerance: skewS,
          currentDate: new Date(WALL_MS),
        }).payload;
      } catch {
        // Refused.
      }
      const found = readClaims(segment);
      const refusal = refuseClaims(found, { issuer, audience, required, skewS }, WALL_MS);
      assert.equal(refusal === null, expected !== null, `${text}: ${refusal}`);
      if (expected !== null) assert.deepEqual({ ...found }, { ...expected });
      tally.add(refusal ?? "accepted");
    }),
    { ...untilTime(searchMs(1 / 4, 4)), seed: SEED },
  );
  tally.report(t);
  assert.ok(tally.of("accepted") > 0);
});
