// CORS: preflights answered here, every response marked, the origin's own opinion replaced.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { Exchange } from "../../../../gateway/exchange.ts";
import { cors } from "../../../../gateway/plugins/builtin/cors.ts";
import type { Plugin, ResponseView } from "../../../../gateway/plugins/phases.ts";
import { makeExchange } from "../../../support/made-exchange.ts";
import { headerOf, makeServices, responseOf } from "../../../support/plugin-services.ts";

const SITE = "https://app.example.com";

function decide(plugin: Plugin, exchange: Exchange) {
  assert.ok(plugin.onRequest);
  const verdict = plugin.onRequest(exchange);
  assert.ok(!(verdict instanceof Promise));
  return verdict;
}

function mark(plugin: Plugin, exchange: Exchange, original: Record<string, string> = {}) {
  const headers = new Map(Object.entries(original));
  const view: ResponseView = {
    at: () => view,
    status: 200,
    header: (name) => headers.get(name) ?? null,
    values: (name) => (headers.has(name) ? [headers.get(name) ?? ""] : []),
    names: () => headers.keys(),
    set: (name, value) => void headers.set(name, value),
    append: (name, value) =>
      void headers.set(name, headers.has(name) ? `${headers.get(name)}, ${value}` : value),
    add: () => assert.fail("nothing is to be added"),
    remove: (name) => void headers.delete(name),
  };
  plugin.onResponse?.(exchange, view);
  return Object.fromEntries(headers);
}

const preflight = (origin: string, asked = "x-a, x-b") =>
  makeExchange({
    method: "OPTIONS",
    headers: [
      ["Origin", origin],
      ["Access-Control-Request-Method", "PUT"],
      ["Access-Control-Request-Headers", asked],
    ],
  });

test("a preflight of a listed origin is answered here with what is allowed", () => {
  const plugin = cors.create(
    {
      origins: [SITE],
      methods: ["GET", "PUT"],
      headers: ["x-a"],
      credentials: true,
      max_age_s: 60,
    },
    makeServices(),
  );
  const response = responseOf(decide(plugin, preflight(SITE)));
  assert.equal(response.status, 204);
  assert.equal(response.body, "");
  assert.deepEqual(Object.fromEntries(response.headers), {
    vary: "Origin, Access-Control-Request-Method, Access-Control-Request-Headers",
    "access-control-allow-origin": SITE,
    "access-control-allow-credentials": "true",
    "access-control-allow-methods": "GET, PUT",
    "access-control-allow-headers": "x-a",
    "access-control-max-age": "60",
  });
});

test("a preflight of another origin is answered without permission", () => {
  const plugin = cors.create({ origins: [SITE] }, makeServices());
  for (const origin of [
    "https://evil.example",
    "null",
    `${SITE}.evil.example`,
    "HTTPS://app.example.com",
  ]) {
    const response = responseOf(decide(plugin, preflight(origin)));
    assert.equal(response.status, 204);
    assert.equal(headerOf(response, "access-control-allow-origin"), null, origin);
    assert.match(headerOf(response, "vary") ?? "", /Origin/);
  }
});

test("requested headers are echoed only as a list of names", () => {
  const plugin = cors.create({ origins: [SITE] }, makeServices());
  const names = (asked: string) =>
    headerOf(responseOf(decide(plugin, preflight(SITE, asked))), "access-control-allow-headers");
  assert.equal(names("x-a,x-b"), "x-a, x-b");
  assert.equal(names("x-a; drop"), null);
  assert.equal(names("x".repeat(3000)), null);
});

test("an OPTIONS request that is no preflight goes on", () => {
  const plugin = cors.create({ origins: ["*"] }, makeServices());
  assert.equal(decide(plugin, makeExchange({ method: "OPTIONS" })), null);
  assert.equal(
    decide(plugin, makeExchange({ method: "OPTIONS", headers: [["origin", SITE]] })),
    null,
  );
});

test("a response says the origin that may read it, and never what the upstream thinks", () => {
  const plugin = cors.create({ origins: [SITE], expose_headers: ["x-total"] }, makeServices());
  const upstream = {
    "access-control-allow-origin": "*",
    "access-control-allow-credentials": "true",
  };
  const own = makeExchange({ headers: [["origin", SITE]] });
  assert.deepEqual(mark(plugin, own, upstream), {
    "access-control-allow-origin": SITE,
    "access-control-expose-headers": "x-total",
    vary: "Origin",
  });
  const other = makeExchange({ headers: [["origin", "https://evil.example"]] });
  assert.deepEqual(mark(plugin, other, upstream), { vary: "Origin" });
});

test("Vary names Origin once, even when the request has none, unless any origin may read", () => {
  const listed = cors.create({ origins: [SITE] }, makeServices());
  assert.equal(mark(listed, makeExchange()).vary, "Origin");
  assert.equal(mark(listed, makeExchange(), { vary: "accept" }).vary, "accept, Origin");
  assert.equal(mark(listed, makeExchange(), { vary: "Accept, ORIGIN" }).vary, "Accept, ORIGIN");
  const any = cors.create({ origins: ["*"] }, makeServices());
  const marked = mark(any, makeExchange({ headers: [["origin", SITE]] }));
  assert.deepEqual(marked, { "access-control-allow-origin": "*" });
});

test("the opaque origin is allowed only where it is listed", () => {
  const exchange = makeExchange({ headers: [["origin", "null"]] });
  const without = cors.create({ origins: [SITE] }, makeServices());
  assert.equal(mark(without, exchange)["access-control-allow-origin"], undefined);
  const listed = cors.create({ origins: [SITE, "null"] }, makeServices());
  assert.equal(mark(listed, exchange)["access-control-allow-origin"], "null");
});

test("two Origin fields get no permission", () => {
  const plugin = cors.create({ origins: [SITE] }, makeServices());
  const exchange = makeExchange({
    headers: [
      ["origin", SITE],
      ["origin", "https://evil.example"],
    ],
  });
  assert.deepEqual(mark(plugin, exchange), { vary: "Origin" });
});

test("credentials for any origin are refused when the plugin is made", () => {
  assert.throws(() => cors.create({ origins: ["*"], credentials: true }, makeServices()), {
    code: "PLUGIN_UNAVAILABLE",
  });
});
