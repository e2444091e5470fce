// API keys: which requests pass, and that the origin never sees a key that is to be hidden.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { keyAuth } from "../../../../gateway/plugins/builtin/key-auth.ts";
import { makeExchange } from "../../../support/made-exchange.ts";
import { headerOf, makeServices, responseOf } from "../../../support/plugin-services.ts";

const hashOf = (key: string | Buffer) => createHash("sha256").update(key).digest("hex");

function setup(config: Record<string, unknown> = {}) {
  const services = makeServices([
    [hashOf("good-key"), "acme"],
    [hashOf(Buffer.from("gr\xfcn", "latin1")), "bytes"],
    [hashOf(Buffer.from("grün", "utf8")), "text"],
  ]);
  const plugin = keyAuth.create(config, services);
  return (exchange: ReturnType<typeof makeExchange>) => {
    assert.ok(plugin.onRequest);
    const verdict = plugin.onRequest(exchange);
    assert.ok(!(verdict instanceof Promise));
    return verdict;
  };
}

test("a known key names the consumer and is hidden from the origin", () => {
  const check = setup();
  const exchange = makeExchange({ headers: [["X-API-Key", "good-key"]] });
  assert.equal(check(exchange), null);
  assert.equal(exchange.consumer, "acme");
  assert.equal(exchange.header("x-api-key"), null);
});

test("with hide off the key is forwarded", () => {
  const check = setup({ hide: false });
  const exchange = makeExchange({ headers: [["x-api-key", "good-key"]] });
  assert.equal(check(exchange), null);
  assert.equal(exchange.header("x-api-key"), "good-key");
});

test("no key, an unknown one, an empty one and two keys are refused alike", () => {
  const check = setup({ query: "key" });
  const refused: [string, Parameters<typeof makeExchange>[0]][] = [
    ["none", {}],
    ["unknown", { headers: [["x-api-key", "other"]] }],
    ["the hash itself", { headers: [["x-api-key", hashOf("good-key")]] }],
    ["empty", { headers: [["x-api-key", ""]] }],
    ["too long", { headers: [["x-api-key", "k".repeat(2000)]] }],
    [
      "twice",
      {
        headers: [
          ["x-api-key", "good-key"],
          ["X-API-KEY", "good-key"],
        ],
      },
    ],
    ["header and query", { headers: [["x-api-key", "good-key"]], query: "key=good-key" }],
    ["twice in the query", { query: "key=good-key&%6bey=good-key" }],
    ["an underscore instead of a dash", { headers: [["x_api_key", "good-key"]] }],
  ];
  for (const [name, request] of refused) {
    const exchange = makeExchange(request);
    const response = responseOf(check(exchange));
    assert.equal(response.status, 401, name);
    assert.equal(exchange.consumer, null, name);
    assert.match(headerOf(response, "www-authenticate") ?? "", /^ApiKey /, name);
    assert.equal(headerOf(response, "content-type"), "application/problem+json");
    assert.equal(JSON.parse(String(response.body)).code, "UNAUTHORIZED");
  }
});

test("a key in the query is taken out in every spelling, the rest stays byte for byte", () => {
  const check = setup({ query: "key" });
  const exchange = makeExchange({ query: "a=%41&%6b%65y=good%2Dkey&b=1+2&&c" });
  assert.equal(check(exchange), null);
  assert.equal(exchange.consumer, "acme");
  assert.equal(exchange.query, "a=%41&b=1+2&&c");
});

test("a header's key is hashed as bytes, a parameter's as UTF-8 text", () => {
  const check = setup({ query: "key" });
  const inHeader = makeExchange({ headers: [["x-api-key", "gr\xfcn"]] });
  assert.equal(check(inHeader), null);
  assert.equal(inHeader.consumer, "bytes");
  const inQuery = makeExchange({ query: "key=gr%C3%BCn" });
  assert.equal(check(inQuery), null);
  assert.equal(inQuery.consumer, "text");
});
