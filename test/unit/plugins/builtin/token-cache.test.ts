// The cache of verified tokens: its bounds, and that a flood of new tokens spares the used ones.

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { TokenCache, VerifiedToken } from "../../../../gateway/plugins/builtin/token-cache.ts";

const entry = () =>
  new VerifiedToken({
    claims: {},
    consumer: null,
    headers: [],
    notBeforeMs: -Infinity,
    expiresMs: Infinity,
    generation: 0,
  });

test("the cache never holds more entries or characters than it may, whatever happens", () => {
  const step = fc.record({
    name: fc.integer({ min: 0, max: 30 }),
    chars: fc.integer({ min: 4, max: 4000 }),
    what: fc.constantFrom("put", "get", "delete"),
  });
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 8 }), fc.array(step), (entriesMax, steps) => {
      const cache = new TokenCache(entriesMax);
      const held = new Map<string, VerifiedToken>();
      for (const { name, chars, what } of steps) {
        const token = String(name).padEnd(chars, "x");
        if (what === "put") {
          const made = entry();
          held.set(token, made);
          cache.put(token, made);
          if (chars <= entriesMax * 1024) assert.equal(cache.get(token), made);
        } else if (what === "delete") {
          cache.delete(token);
          held.delete(token);
        } else {
          const got = cache.get(token);
          assert.ok(got === undefined || got === held.get(token));
        }
        let charsKept = 0;
        for (const text of held.keys()) if (cache.get(text) !== undefined) charsKept += text.length;
        assert.ok(cache.size <= entriesMax);
        assert.ok(charsKept <= entriesMax * 1024);
      }
    }),
  );
});

test("tokens in use outlive a flood of tokens that are used once", () => {
  const cache = new TokenCache(100);
  for (let i = 0; i < 10; i++) cache.put(`used-${i}`, entry());
  for (let i = 0; i < 5000; i++) {
    cache.put(`once-${i}`, entry());
    assert.notEqual(cache.get(`used-${i % 10}`), undefined, `after ${i}`);
  }
  assert.equal(cache.size, 100);
});

test("a cache of none keeps none", () => {
  const cache = new TokenCache(0);
  cache.put("token", entry());
  assert.equal(cache.get("token"), undefined);
});
