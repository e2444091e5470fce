// The rate limiter against a sliding-window model and under a flood of keys. Time is a variable.

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { Limiter, addressKey, rateLimit } from "../../../../gateway/plugins/builtin/rate-limit.ts";
import { makeExchange } from "../../../support/made-exchange.ts";
import type { MadeRequest } from "../../../support/made-exchange.ts";
import { headerOf, makeServices, responseOf } from "../../../support/plugin-services.ts";

function setup(config: Record<string, unknown>) {
  const services = makeServices();
  const plugin = rateLimit.create(config, services);
  const ask = (request: MadeRequest = {}, consumer: string | null = null) => {
    const exchange = makeExchange(request);
    exchange.consumer = consumer;
    const verdict = plugin.onRequest?.(exchange) ?? null;
    assert.ok(!(verdict instanceof Promise));
    return { exchange, verdict };
  };
  return { services, ask };
}

test("the limit passes, the next request is told when to come back, and may then", () => {
  const { services, ask } = setup({ limit: 3, window_ms: 6000, by: "ip" });
  for (const remaining of ["2", "1", "0"]) {
    const { exchange, verdict } = ask();
    assert.equal(verdict, null);
    assert.equal(exchange.responseEdits?.get("ratelimit-limit"), "3");
    assert.equal(exchange.responseEdits?.get("ratelimit-remaining"), remaining);
  }
  const response = responseOf(ask().verdict);
  assert.equal(response.status, 429);
  assert.equal(headerOf(response, "retry-after"), "2");
  assert.equal(headerOf(response, "ratelimit-remaining"), "0");
  assert.equal(headerOf(response, "ratelimit-policy"), "3;w=6");
  services.ms += 1999;
  assert.notEqual(ask().verdict, null);
  services.ms += 1;
  assert.equal(ask().verdict, null);
  assert.notEqual(ask().verdict, null);
});

test("a refused request does not lengthen the wait", () => {
  const { services, ask } = setup({ limit: 1, window_ms: 1000 });
  assert.equal(ask().verdict, null);
  for (let i = 0; i < 50; i++) assert.notEqual(ask().verdict, null);
  services.ms += 1000;
  assert.equal(ask().verdict, null);
});

test("over any stretch no more than burst and rate pass, and a patient client always does", () => {
  const step = fc.record({ waitMs: fc.integer({ min: 0, max: 400 }) });
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 20 }),
      fc.integer({ min: 1, max: 10 }),
      fc.array(step, { maxLength: 200 }),
      (limit, burst, steps) => {
        const intervalMs = 1000 / limit;
        const limiter = new Limiter({ intervalMs, burst, entriesMax: 10 });
        const passed: number[] = [];
        let ms = 0;
        for (const { waitMs } of steps) {
          ms += waitMs;
          if (limiter.take("k", ms) === 0) passed.push(ms);
        }
        for (const [i, from] of passed.entries()) {
          for (let j = i; j < passed.length; j++) {
            const most = burst + (passed[j] - from) / intervalMs;
            assert.ok(j - i + 1 <= most + 1e-6);
          }
        }
        assert.equal(limiter.take("k", ms + burst * intervalMs), 0);
      },
    ),
  );
});

test("keys are apart by what the limit counts, and no key never means no limit", () => {
  const byConsumer = setup({ limit: 1, window_ms: 1000, by: "consumer" });
  assert.equal(byConsumer.ask({}, "acme").verdict, null);
  assert.equal(byConsumer.ask({}, "other").verdict, null);
  assert.notEqual(byConsumer.ask({}, "acme").verdict, null);
  assert.equal(byConsumer.ask({}, null).verdict, null);
  assert.notEqual(byConsumer.ask({}, null).verdict, null);

  const byHeader = setup({ limit: 1, window_ms: 1000, by: "header", header: "X-Tenant" });
  const tenant = (value: string): MadeRequest => ({ headers: [["x-tenant", value]] });
  assert.equal(byHeader.ask(tenant("a")).verdict, null);
  assert.equal(byHeader.ask(tenant("b")).verdict, null);
  assert.notEqual(byHeader.ask(tenant("a")).verdict, null);
  assert.equal(byHeader.ask(tenant("192.0.2.1")).verdict, null);
  assert.equal(byHeader.ask().verdict, null);
  assert.notEqual(byHeader.ask().verdict, null);
  const long = "x".repeat(5000);
  assert.equal(byHeader.ask(tenant(`${long}1`)).verdict, null);
  assert.equal(byHeader.ask(tenant(`${long}2`)).verdict, null);
  assert.notEqual(byHeader.ask(tenant(`${long}1`)).verdict, null);

  const byRoute = setup({ limit: 1, window_ms: 1000, by: "route" });
  assert.equal(byRoute.ask({ clientIp: "192.0.2.1" }).verdict, null);
  assert.notEqual(byRoute.ask({ clientIp: "192.0.2.2" }).verdict, null);
});

test("IPv6 clients count by their first 64 bits, mapped IPv4 as IPv4", () => {
  assert.equal(addressKey("192.0.2.1"), "192.0.2.1");
  assert.equal(addressKey("::ffff:192.0.2.1"), "192.0.2.1");
  assert.equal(addressKey("2001:db8:0:7::1"), addressKey("2001:db8:0:7:ffff::2"));
  assert.equal(addressKey("2001:db8::7:0:0:0:1"), addressKey("2001:db8:0:7::9"));
  assert.notEqual(addressKey("2001:db8::1"), addressKey("2001:db8:0:1::1"));
  assert.equal(addressKey("::1"), "0:0:0:0");
  assert.equal(addressKey("2001:db8::"), addressKey("2001:db8::5"));
});

test("a flood of fresh keys is bounded and does not free the one that is held back", () => {
  const limiter = new Limiter({ intervalMs: 100, burst: 10, entriesMax: 1000 });
  for (let i = 0; i < 10; i++) assert.equal(limiter.take("held", 0), 0);
  assert.ok(limiter.take("held", 0) > 0);
  for (let i = 0; i < 20_000; i++) limiter.take(`fresh-${i}`, 1);
  assert.equal(limiter.size, 1000);
  assert.ok(limiter.take("held", 1) > 0);
});

test("a limit that still has room does not overwrite the one that is nearer its end", () => {
  const tight = setup({ limit: 2, window_ms: 1000 });
  const { exchange } = tight.ask();
  const wide = rateLimit.create({ limit: 100, window_ms: 1000 }, makeServices());
  assert.equal(wide.onRequest?.(exchange), null);
  assert.equal(exchange.responseEdits?.get("ratelimit-limit"), "2");
  assert.equal(exchange.responseEdits?.get("ratelimit-remaining"), "1");
});
