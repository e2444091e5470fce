// Several lines of one header through a plugin and the whole gateway: the cookies of an origin, hardened
// one by one, and the security headers on whatever the gateway itself answers.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { ROOT, startGateway } from "../support/gateway.ts";

const MODULE = readFileSync(join(ROOT, "plugins-src/build/response-hardening.wasm"));

async function originWithCookies(t: TestContext): Promise<string> {
  const origin = createServer((_request, response) => {
    response.writeHead(200, [
      ...["set-cookie", "a=1; Path=/"],
      ...["server", "origin/1.0"],
      ...["set-cookie", "b=2; HttpOnly"],
      ...["set-cookie", "a=1; Path=/"],
    ]);
    response.end("ok");
  });
  await new Promise<void>((listening) => origin.listen(0, "127.0.0.1", listening));
  t.after(() => {
    origin.closeAllConnections();
    origin.close();
  });
  return `127.0.0.1:${(origin.address() as AddressInfo).port}`;
}

test("every cookie of an origin arrives, hardened, in its order", async (t) => {
  const address = await originWithCookies(t);
  const gateway = await startGateway(t, {
    plugins: { "response-hardening": MODULE },
    config: {
      listeners: [{ name: "http", address: "127.0.0.1:0" }],
      upstreams: [{ name: "origin", targets: [{ address }] }],
      routes: [
        {
          name: "all",
          plugins: [
            {
              plugin: "response-hardening",
              config: {
                cookies: { secure: "always" },
                content_security_policy: "default-src 'self'",
              },
            },
          ],
          upstream: "origin",
        },
      ],
    },
  });
  const { status, headers } = await fetch(`http://127.0.0.1:${gateway.port()}/`);
  assert.equal(status, 200);
  assert.deepEqual(headers.getSetCookie(), [
    "a=1; Path=/; Secure; HttpOnly; SameSite=Lax",
    "b=2; HttpOnly; Secure; SameSite=Lax",
    "a=1; Path=/; Secure; HttpOnly; SameSite=Lax",
  ]);
  assert.equal(headers.get("server"), null);
  assert.equal(headers.get("x-content-type-options"), "nosniff");
  assert.equal(headers.get("content-security-policy"), "default-src 'self'");
  assert.equal(headers.get("strict-transport-security"), null);
});

test("what the gateway answers itself has the headers too", async (t) => {
  const gateway = await startGateway(t, {
    plugins: { "response-hardening": MODULE },
    config: {
      listeners: [{ name: "http", address: "127.0.0.1:0" }],
      upstreams: [{ name: "nobody", targets: [{ address: "127.0.0.1:1" }] }],
      routes: [{ name: "all", plugins: [{ plugin: "response-hardening" }], upstream: "nobody" }],
    },
  });
  const { status, headers } = await fetch(`http://127.0.0.1:${gateway.port()}/`);
  assert.equal(status, 502);
  assert.equal(headers.get("x-frame-options"), "DENY");
  assert.equal(headers.get("content-type"), "application/problem+json");
});
