// The jwt plugin with a JWK set behind a real server: rotation, floods of unknown key ids, servers
// that fail, lie or stall. The clock is the test's, the sockets are real.

import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { createServer } from "node:http";
import type { RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { SignJWT } from "jose";
import { jwt } from "../../../../gateway/plugins/builtin/jwt.ts";
import { JWKS_LIMITS } from "../../../../gateway/plugins/builtin/jwks.ts";
import { makeExchange } from "../../../support/made-exchange.ts";
import { makeServices, responseOf } from "../../../support/plugin-services.ts";

const REFRESH_MS = 300_000;

class Signer {
  readonly kid: string;
  readonly #pair = generateKeyPairSync("ec", { namedCurve: "P-256" });

  constructor(kid: string) {
    this.kid = kid;
  }

  get jwk(): Record<string, unknown> {
    const { publicKey } = this.#pair;
    return { ...publicKey.export({ format: "jwk" }), kid: this.kid, use: "sig", alg: "ES256" };
  }

  token(claims: Record<string, unknown> = {}): Promise<string> {
    return new SignJWT({ sub: "alice", exp: 4_000_000_000, ...claims })
      .setProtectedHeader({ alg: "ES256", kid: this.kid })
      .sign(this.#pair.privateKey);
  }
}

async function setup(t: TestContext, first: readonly Signer[]) {
  const origin = { keys: first.map((signer) => signer.jwk), fetches: 0 };
  let answer: RequestListener = (_, response) => {
    response.end(JSON.stringify({ keys: origin.keys }));
  };
  const server = createServer((request, response) => {
    origin.fetches++;
    answer(request, response);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const services = makeServices();
  const plugin = jwt.create(
    { jwks_uri: `http://127.0.0.1:${port}/jwks`, jwks_refresh_ms: REFRESH_MS },
    services,
  );
  t.after(() => {
    plugin.close();
    server.closeAllConnections();
    server.close();
  });
  const start = (token: string) => {
    const headers = [["authorization", `Bearer ${token}`]] as const;
    const verdict = plugin.onRequest?.(makeExchange({ headers, startedMs: services.ms }));
    assert.notEqual(verdict, undefined);
    return verdict as Awaited<typeof verdict> | Promise<Awaited<typeof verdict>>;
  };
  const ask = async (token: string) => ((await start(token)) ?? null)?.response.status ?? 200;
  const answerBy = (listener: RequestListener) => (answer = listener);
  return { answerBy, ask, origin, plugin, services, start };
}

test("keys are fetched at the first token and not again for the next", async (t) => {
  const signer = new Signer("k1");
  const { ask, origin } = await setup(t, [signer]);
  assert.equal(origin.fetches, 0);
  const tokens = await Promise.all([1, 2, 3].map((n) => signer.token({ n })));
  const statuses = await Promise.all(tokens.map((token) => ask(token)));
  assert.deepEqual(statuses, [200, 200, 200]);
  assert.equal(origin.fetches, 1);
});

test("a new key is found with its first token, and a withdrawn one stops to count", async (t) => {
  const [old, young] = [new Signer("old"), new Signer("young")];
  const { ask, origin, services, start } = await setup(t, [old]);
  const oldToken = await old.token();
  assert.equal(await ask(oldToken), 200);
  assert.equal(start(oldToken), null, "the token should be known by now");
  origin.keys = [young.jwk];
  services.ms += JWKS_LIMITS.cooldownMs;
  assert.equal(await ask(await young.token()), 200);
  assert.equal(origin.fetches, 2);
  // The old token is still in the cache, but its keys' generation is over.
  assert.equal(await ask(oldToken), 401);
});

test("a flood of unknown key ids costs one fetch per cooldown", async (t) => {
  const signer = new Signer("k1");
  const { ask, origin, services } = await setup(t, [signer]);
  assert.equal(await ask(await signer.token()), 200);
  const flood = async (from: number) => {
    const strangers = Array.from({ length: 50 }, (_, i) => new Signer(`x${from + i}`));
    const tokens = await Promise.all(strangers.map((stranger) => stranger.token()));
    const statuses = await Promise.all(tokens.map((token) => ask(token)));
    assert.ok(statuses.every((status) => status === 401));
  };
  await flood(0);
  assert.equal(origin.fetches, 1);
  services.ms += JWKS_LIMITS.cooldownMs;
  await flood(100);
  await flood(200);
  assert.equal(origin.fetches, 2);
});

test("without any keys the answer is 503, and the next try waits for a second", async (t) => {
  const signer = new Signer("k1");
  const { answerBy, ask, origin, services } = await setup(t, [signer]);
  const token = await signer.token();
  answerBy((_, response) => response.writeHead(500).end());
  await assert.rejects(ask(token), { code: "PLUGIN_UNAVAILABLE" });
  await assert.rejects(ask(token), { code: "PLUGIN_UNAVAILABLE" });
  assert.equal(origin.fetches, 1);
  answerBy((_, response) => response.end(JSON.stringify({ keys: [signer.jwk] })));
  services.ms += JWKS_LIMITS.keylessCooldownMs;
  assert.equal(await ask(token), 200);
});

test("answers that are no JWK set count as failures and keep the keys there are", async (t) => {
  const signer = new Signer("k1");
  const { answerBy, ask, origin, services } = await setup(t, [signer]);
  assert.equal(await ask(await signer.token()), 200);
  const bad: RequestListener[] = [
    (_, response) => response.writeHead(503).end("{}"),
    (_, response) => response.end("<html>"),
    (_, response) => response.end("[]"),
    (_, response) => response.end(JSON.stringify({ keys: Array(101).fill(signer.jwk) })),
    (_, response) => response.end(" ".repeat(JWKS_LIMITS.bytesMax + 1)),
    (_, response) => response.writeHead(302, { location: "http://127.0.0.1:1/" }).end(),
    (request) => request.socket.destroy(),
  ];
  for (const [i, listener] of bad.entries()) {
    answerBy(listener);
    services.ms += 3 * REFRESH_MS;
    const before = origin.fetches;
    assert.equal(await ask(await signer.token({ i })), 200, `answer ${i}`);
    assert.equal(origin.fetches, before + 1, `answer ${i}`);
  }
  assert.equal(services.warnings.length, bad.length);
});

test("keys that could not be renewed for a day are not believed any more", async (t) => {
  const signer = new Signer("k1");
  const { answerBy, ask, services } = await setup(t, [signer]);
  const token = await signer.token();
  assert.equal(await ask(token), 200);
  answerBy((request) => request.socket.destroy());
  services.ms += JWKS_LIMITS.staleMsMax;
  assert.equal(await ask(token), 200);
  services.ms += JWKS_LIMITS.cooldownMs + 1;
  await assert.rejects(ask(token), { code: "PLUGIN_UNAVAILABLE" });
});

test("a due refresh does not hold up known tokens; a long overdue one does", async (t) => {
  const [old, young] = [new Signer("old"), new Signer("young")];
  const { answerBy, ask, origin, services, start } = await setup(t, [old]);
  const token = await old.token();
  assert.equal(await ask(token), 200);
  const held: (() => void)[] = [];
  const arrived = Promise.withResolvers<void>();
  answerBy((_, response) => {
    held.push(() => response.end(JSON.stringify({ keys: [young.jwk] })));
    arrived.resolve();
  });
  services.ms += REFRESH_MS;
  assert.equal(start(token), null);
  await arrived.promise;
  assert.equal(start(token), null);
  // Unused for so long that the key may be withdrawn by now: wait for the answer.
  services.ms += REFRESH_MS;
  const waiting = start(token);
  assert.ok(waiting instanceof Promise);
  for (const release of held) release();
  assert.equal(responseOf((await waiting) ?? null).status, 401);
  assert.equal(origin.fetches, 2);
});

test("members of a set that are no public signature keys are passed over", async (t) => {
  const signer = new Signer("k1");
  const { ask, origin, services } = await setup(t, [signer]);
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  origin.keys = [
    { kty: "oct", k: Buffer.alloc(32).toString("base64url"), kid: "oct", alg: "HS256" },
    { ...privateKey.export({ format: "jwk" }), kid: "private" },
    { ...signer.jwk, kid: "encryption", use: "enc" },
    { ...signer.jwk, kid: "wrong", alg: "RS256" },
    null as never,
    signer.jwk,
  ];
  assert.equal(await ask(await signer.token()), 200);
  assert.equal(services.warnings.length, 1);
  const forged = await new SignJWT({ exp: 4_000_000_000 })
    .setProtectedHeader({ alg: "HS256", kid: "oct" })
    .sign(Buffer.alloc(32));
  assert.equal(await ask(forged), 401);
});

test("closing the plugin ends a fetch that is under way", async (t) => {
  const signer = new Signer("k1");
  const { answerBy, ask, plugin } = await setup(t, [signer]);
  const arrived = Promise.withResolvers<void>();
  answerBy(() => arrived.resolve());
  const waiting = assert.rejects(ask(await signer.token()), { code: "PLUGIN_UNAVAILABLE" });
  await arrived.promise;
  plugin.close();
  await waiting;
});
