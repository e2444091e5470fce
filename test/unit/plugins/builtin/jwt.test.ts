// The jwt plugin with configured keys: which tokens pass, what the exchange then says, and what a
// forger tries. Tokens are signed by jose or, where no honest signer would, by hand.

import assert from "node:assert/strict";
import { createHmac, generateKeyPairSync } from "node:crypto";
import type { KeyObject } from "node:crypto";
import { test } from "node:test";
import { SignJWT, exportJWK, generateKeyPair, jwtVerify } from "jose";
import type { CryptoKey, JWTPayload } from "jose";
import type { Exchange } from "../../../../gateway/exchange.ts";
import { jwt } from "../../../../gateway/plugins/builtin/jwt.ts";
import { makeExchange } from "../../../support/made-exchange.ts";
import type { MadeRequest } from "../../../support/made-exchange.ts";
import { headerOf, makeServices, responseOf } from "../../../support/plugin-services.ts";

const SECRET = "a-shared-secret-of-at-least-32-bytes";
const RSA = generateKeyPairSync("rsa", { modulusLength: 2048 });
const RSA_PEM = String(RSA.publicKey.export({ type: "spki", format: "pem" }));
const EC = generateKeyPairSync("ec", { namedCurve: "P-256" });
const ED = generateKeyPairSync("ed25519");

function setup(config: Record<string, unknown>) {
  const services = makeServices();
  const plugin = jwt.create(config, services);
  const ask = async (exchange: Exchange) => (await plugin.onRequest?.(exchange)) ?? null;
  return { services, plugin, ask };
}

type Claims = JWTPayload & Record<string, unknown>;

/** Signed by jose, valid for an hour of the test's clock. */
function sign(key: KeyObject | CryptoKey | string, alg: string, claims: Claims = {}, kid?: string) {
  const nowS = makeServices().wall / 1000;
  const body = { sub: "alice", exp: nowS + 3600, ...claims };
  const bytes = typeof key === "string" ? Buffer.from(key) : key;
  return new SignJWT(body).setProtectedHeader({ alg, kid }).sign(bytes);
}

const base64url = (value: unknown) => Buffer.from(JSON.stringify(value)).toString("base64url");

/** An HMAC token with whatever header. */
function forge(header: Record<string, unknown>, claims: Claims, secret: string): string {
  const input = `${base64url(header)}.${base64url(claims)}`;
  return `${input}.${createHmac("sha256", secret).update(input).digest("base64url")}`;
}

const bearer = (token: string): MadeRequest => ({
  headers: [["Authorization", `Bearer ${token}`]],
});

async function refusalOf(config: Record<string, unknown>, request: MadeRequest): Promise<string> {
  const { ask } = setup(config);
  const exchange = makeExchange(request);
  const response = responseOf(await ask(exchange));
  assert.equal(response.status, 401);
  assert.equal(exchange.claims, null);
  assert.equal(exchange.consumer, null);
  assert.equal(headerOf(response, "content-type"), "application/problem+json");
  assert.equal(JSON.parse(String(response.body)).code, "UNAUTHORIZED");
  const challenge = headerOf(response, "www-authenticate") ?? "";
  assert.match(challenge, /^Bearer ([a-z_]+="[^"\\]*")(, [a-z_]+="[^"\\]*")*$/);
  return challenge;
}

test("a valid token passes with each kind of key, and sets claims and consumer", async () => {
  const pairs: [string, KeyObject | string, Record<string, unknown>][] = [
    ["HS256", SECRET, { secret: SECRET }],
    ["RS256", RSA.privateKey, { public_key: RSA_PEM }],
    ["PS256", RSA.privateKey, { public_key: RSA_PEM, alg: "PS256" }],
    ["ES256", EC.privateKey, { jwk: EC.publicKey.export({ format: "jwk" }) }],
    ["EdDSA", ED.privateKey, { jwk: ED.publicKey.export({ format: "jwk" }) }],
  ];
  for (const [alg, signingKey, key] of pairs) {
    const { ask } = setup({ keys: [key], consumer_claim: "sub" });
    const exchange = makeExchange(bearer(await sign(signingKey, alg)));
    assert.equal(await ask(exchange), null, alg);
    assert.equal(exchange.claims?.sub, "alice");
    assert.equal(exchange.consumer, "alice");
  }
});

test("no token gets a bare challenge, whatever else Authorization holds", async () => {
  const config = { keys: [{ secret: SECRET }] };
  const none = 'Bearer realm="gateway"';
  assert.equal(await refusalOf(config, {}), none);
  assert.equal(await refusalOf(config, { headers: [["authorization", "Basic YTpi"]] }), none);
  assert.equal(await refusalOf(config, { headers: [["authorization", "Bearer"]] }), none);
  assert.equal(await refusalOf(config, { headers: [["authorization", "Bear"]] }), none);
});

test("expired, early, misdirected and incomplete tokens are refused by name", async () => {
  const config = {
    keys: [{ secret: SECRET }],
    issuer: "https://id.example.com",
    audience: ["orders", "billing"],
    required_claims: ["tenant"],
    consumer_claim: "sub",
  };
  const nowS = makeServices().wall / 1000;
  const good = { iss: "https://id.example.com", aud: "billing", tenant: "t1" };
  const cases: [Claims, RegExp][] = [
    [{ ...good, exp: nowS - 31 }, /expired/],
    [{ ...good, nbf: nowS + 31 }, /not valid yet/],
    [{ ...good, iss: "https://evil.example" }, /issuer/],
    [{ ...good, aud: "other" }, /audience/],
    [{ ...good, tenant: undefined }, /missing/],
    [{ ...good, sub: undefined }, /consumer/],
    [{ ...good, exp: "never" as never }, /not accepted/],
  ];
  for (const [claims, wanted] of cases) {
    const token = forge({ alg: "HS256" }, { sub: "alice", exp: nowS + 60, ...claims }, SECRET);
    assert.match(await refusalOf(config, bearer(token)), wanted);
  }
  const { ask } = setup(config);
  const inSkew = { ...good, exp: nowS - 29, nbf: nowS + 29 };
  assert.equal(await ask(makeExchange(bearer(await sign(SECRET, "HS256", inSkew)))), null);
});

test("a public key never serves as an HMAC secret, and none is no algorithm", async () => {
  const claims = { sub: "admin", exp: 4_000_000_000 };
  const config = { keys: [{ public_key: RSA_PEM }], algorithms: ["RS256", "HS256"] };
  for (const secret of [RSA_PEM, RSA_PEM.slice(0, -1)]) {
    await refusalOf(config, bearer(forge({ alg: "HS256" }, claims, secret)));
  }
  for (const alg of ["none", "None", "", "HS256 ", "hs256", "constructor", "__proto__"]) {
    await refusalOf(config, bearer(forge({ alg }, claims, SECRET)));
  }
  const unsigned = `${base64url({ alg: "none" })}.${base64url(claims)}.`;
  await refusalOf(config, bearer(unsigned));
  assert.throws(() => setup({ keys: [{ public_key: RSA_PEM, alg: "HS256" }] }), {
    code: "PLUGIN_UNAVAILABLE",
  });
});

test("a token signed by another algorithm than the key's is refused", async () => {
  const config = { keys: [{ public_key: RSA_PEM, alg: "RS256" }] };
  await refusalOf(config, bearer(await sign(RSA.privateKey, "PS256")));
  await refusalOf(config, bearer(await sign(RSA.privateKey, "RS512")));
  await refusalOf(config, bearer(await sign(EC.privateKey, "ES256")));
});

test("keys that the token brings along, and extensions it asks for, are not believed", async () => {
  const claims = { sub: "admin", exp: 4_000_000_000 };
  const mine = generateKeyPairSync("rsa", { modulusLength: 2048 });
  const jwk = mine.publicKey.export({ format: "jwk" });
  const own = await new SignJWT(claims)
    .setProtectedHeader({ alg: "RS256", jwk, jku: "https://evil.example" })
    .sign(mine.privateKey);
  await refusalOf({ keys: [{ public_key: RSA_PEM }] }, bearer(own));
  const config = { keys: [{ secret: SECRET }] };
  for (const extra of [
    { crit: ["b64"], b64: false },
    { crit: ["exp"] },
    { crit: [] },
    { b64: true },
  ]) {
    const token = forge({ alg: "HS256", ...extra }, claims, SECRET);
    assert.match(await refusalOf(config, bearer(token)), /not supported/);
  }
});

test("ECDSA signatures of zeros are no signatures", async () => {
  const input = `${base64url({ alg: "ES256" })}.${base64url({ exp: 4_000_000_000 })}`;
  const zeros = Buffer.alloc(64).toString("base64url");
  const config = { keys: [{ jwk: EC.publicKey.export({ format: "jwk" }) }] };
  assert.match(await refusalOf(config, bearer(`${input}.${zeros}`)), /signature/);
});

test("every changed character makes a token invalid, also after the token was seen", async () => {
  const { ask } = setup({ keys: [{ secret: SECRET }] });
  const token = await sign(SECRET, "HS256");
  assert.equal(await ask(makeExchange(bearer(token))), null);
  for (let i = 0; i < token.length; i += 3) {
    if (token[i] === ".") continue;
    const changed = token.slice(0, i) + (token[i] === "A" ? "B" : "A") + token.slice(i + 1);
    assert.notEqual(await ask(makeExchange(bearer(changed))), null, `character ${i}`);
  }
});

test("other spellings of a valid token are refused before they are decoded", async () => {
  const config = { keys: [{ secret: SECRET }] };
  const token = await sign(SECRET, "HS256");
  const [header, payload, signature] = token.split(".");
  const last = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  const stray = last[last.indexOf(signature[42]) + 1];
  const spellings = [
    `${token}=`,
    `${header}.${payload} .${signature}`,
    `${header}.\t${payload}.${signature}`,
    `${token}.`,
    `${token}.x.y`,
    `.${payload}.${signature}`,
    `${header}.${payload}.${signature.slice(0, 42)}${stray}`,
    `${header}.${payload}.${signature}\xff`,
  ];
  for (const spelling of spellings) {
    assert.match(await refusalOf(config, bearer(spelling)), /compact/, spelling);
  }
  assert.match(await refusalOf(config, bearer("a".repeat(8193))), /too long/);
});

test("two tokens in one request are refused, wherever they are", async () => {
  const token = await sign(SECRET, "HS256");
  const config = { keys: [{ secret: SECRET }], cookie: "session" };
  const authorization = ["authorization", `Bearer ${token}`] as const;
  const several: MadeRequest[] = [
    { headers: [authorization, ["Authorization", `Bearer ${token}`]] },
    { headers: [authorization, ["cookie", `session=${token}`]] },
    { headers: [["cookie", `session=${token}; session=${token}`]] },
    {
      headers: [
        ["cookie", `session=${token}`],
        ["cookie", `session=${token}`],
      ],
    },
  ];
  for (const request of several) assert.match(await refusalOf(config, request), /several/);
});

test("a token may come in a cookie or another header, and be kept from the origin", async () => {
  const token = await sign(SECRET, "HS256");
  const { ask } = setup({ keys: [{ secret: SECRET }], cookie: "session", forward_token: false });
  const exchange = makeExchange({ headers: [["cookie", `a=1; session=${token} ; xsession=2`]] });
  assert.equal(await ask(exchange), null);
  assert.equal(exchange.header("cookie"), "a=1; xsession=2");
  const inHeader = makeExchange(bearer(token));
  assert.equal(await ask(inHeader), null);
  assert.equal(inHeader.header("authorization"), null);
  const raw = setup({ keys: [{ secret: SECRET }], header: "X-Token" });
  const other = makeExchange({ headers: [["x-token", token]] });
  assert.equal(await raw.ask(other), null);
  assert.equal(other.header("x-token"), token);
});

test("identity headers come from the token alone, also when it is refused", async () => {
  const config = {
    keys: [{ secret: SECRET }],
    claims_to_headers: { sub: "X-User", roles: "x-roles", name: "x-name", constructor: "x-none" },
  };
  const spoofed = ["x-user", "x-roles", "x-name", "x-none"].map((name) => [name, "root"] as const);
  const { ask } = setup(config);
  const claims = { roles: ["a", "b"], name: "Jürgen 漢" };
  const token = await sign(SECRET, "HS256", claims);
  const exchange = makeExchange({ headers: [["authorization", `Bearer ${token}`], ...spoofed] });
  assert.equal(await ask(exchange), null);
  assert.equal(exchange.header("x-user"), "alice");
  assert.equal(exchange.header("x-roles"), "a,b");
  const sentName = exchange.header("x-name") ?? "";
  assert.equal(Buffer.from(sentName, "latin1").toString("utf8"), "Jürgen 漢");
  assert.equal(exchange.header("x-none"), null);
  const refused = makeExchange({ headers: spoofed });
  assert.notEqual(await ask(refused), null);
  for (const [name] of spoofed) assert.equal(refused.header(name), null);
});

test("a claim that would split or bend a header is not sent", async () => {
  const { ask } = setup({ keys: [{ secret: SECRET }], claims_to_headers: { sub: "x-user" } });
  for (const sub of ["a\r\nx-admin: 1", "a\0b", { a: 1 }, ["a,b"], "x".repeat(5000), null]) {
    const claims = { sub, exp: 4_000_000_000 } as never;
    const exchange = makeExchange(bearer(forge({ alg: "HS256" }, claims, SECRET)));
    assert.equal(await ask(exchange), null);
    assert.equal(exchange.header("x-user"), null);
  }
  for (const header of ["content-length", "Host", "transfer-encoding", "a b", "authorization"]) {
    assert.throws(() => setup({ keys: [{ secret: SECRET }], claims_to_headers: { sub: header } }));
  }
});

test("a token seen before is not verified again, and at once refused when it expires", async () => {
  const { ask, plugin, services } = setup({ keys: [{ secret: SECRET }] });
  const nowS = services.wall / 1000;
  const token = await sign(SECRET, "HS256", { exp: nowS + 60, nbf: nowS - 60 });
  // Claims are made when a token is verified: the same object means that it was not verified again.
  const [first, second] = [makeExchange(bearer(token)), makeExchange(bearer(token))];
  assert.equal(await ask(first), null);
  assert.equal(await ask(second), null);
  assert.ok(first.claims !== null && first.claims === second.claims);
  const forgetful = setup({ keys: [{ secret: SECRET }], cache_max: 0 });
  const [third, fourth] = [makeExchange(bearer(token)), makeExchange(bearer(token))];
  assert.equal(await forgetful.ask(third), null);
  assert.equal(await forgetful.ask(fourth), null);
  assert.ok(third.claims !== null && third.claims !== fourth.claims);
  const challengeNow = async () => {
    const response = responseOf(await ask(makeExchange(bearer(token))));
    return headerOf(response, "www-authenticate") ?? "";
  };
  services.wall += 89_999;
  assert.equal(plugin.onRequest?.(makeExchange(bearer(token))), null);
  services.wall += 1;
  assert.match(await challengeNow(), /expired/);
  services.wall -= 1;
  assert.equal(await ask(makeExchange(bearer(token))), null);
  // A clock that jumps back before nbf does not find the token valid by memory.
  services.wall = (nowS - 3600) * 1000;
  assert.match(await challengeNow(), /not valid yet/);
});

test("a failure is not remembered, and takes nothing from what was verified before", async () => {
  const { ask } = setup({ keys: [{ secret: SECRET }] });
  const token = await sign(SECRET, "HS256");
  const before = makeExchange(bearer(token));
  assert.equal(await ask(before), null);
  const bad = `${token.slice(0, -10)}AAAAAAAAAA`.slice(0, -1) + token.slice(-1);
  for (let i = 0; i < 3; i++)
    assert.equal(responseOf(await ask(makeExchange(bearer(bad)))).status, 401);
  const after = makeExchange(bearer(token));
  assert.equal(await ask(after), null);
  assert.equal(after.claims, before.claims);
});

test("keys that cannot be meant are refused when the plugin is made, with the reason", () => {
  const weak = generateKeyPairSync("rsa", { modulusLength: 1024 }).publicKey;
  const faults: [Record<string, unknown>, RegExp][] = [
    [{}, /exactly one of jwks_uri and keys/],
    [{ keys: [{ secret: "short" }] }, /keys\[0\].*shorter than 32 bytes/],
    [{ keys: [{ secret: SECRET }, { secret: SECRET, public_key: RSA_PEM }] }, /keys\[1\]/],
    [{ keys: [{ jwk: weak.export({ format: "jwk" }) }] }, /1024 bits/],
    [{ keys: [{ jwk: RSA.privateKey.export({ format: "jwk" }) }] }, /private/],
    [{ keys: [{ public_key: "no key" }] }, /keys\[0\]/],
    [{ keys: [{ secret: SECRET, alg: "none" }] }, /unknown algorithm none/],
    [{ keys: [{ secret: SECRET }], algorithms: ["RS256"] }, /no permitted algorithm/],
    [{ jwks_uri: "file:///etc/passwd" }, /not http/],
  ];
  for (const [config, wanted] of faults) {
    assert.throws(
      () => setup(config),
      (error: Error & { code?: string }) => {
        assert.equal(error.code, "PLUGIN_UNAVAILABLE");
        assert.match(error.message, wanted);
        return true;
      },
    );
  }
});

test("what is accepted and refused is what jose accepts and refuses", async () => {
  const pairs = await Promise.all(
    (["RS256", "PS256", "ES256", "ES384", "ES512", "EdDSA"] as const).map(
      async (alg) => [alg, await generateKeyPair(alg, { extractable: true })] as const,
    ),
  );
  const other = await generateKeyPair("RS256");
  for (const [alg, { publicKey, privateKey }] of pairs) {
    const jwk = await exportJWK(publicKey);
    const { ask, services } = setup({ keys: [{ alg, jwk }], issuer: "here" });
    const good = await sign(privateKey, alg, { iss: "here" });
    const [header, payload, signature] = good.split(".");
    const flipped = Buffer.from(signature, "base64url");
    flipped[7] ^= 1;
    const zero = Buffer.alloc(flipped.length).toString("base64url");
    const tokens = [
      good,
      await sign(privateKey, alg, { iss: "elsewhere" }),
      `${header}.${payload}.${flipped.toString("base64url")}`,
      `${header}.${payload}.${zero}`,
      `${header}.${payload}.AAAA`,
      `${header}.${payload}.${signature}${"A".repeat(4)}`,
      await sign(other.privateKey, "RS256", { iss: "here" }),
    ];
    for (const token of tokens) {
      const isGood = await jwtVerify(token, publicKey, {
        algorithms: [alg],
        issuer: "here",
        currentDate: new Date(services.wall),
      }).then(
        () => true,
        () => false,
      );
      const verdict = await ask(makeExchange(bearer(token)));
      assert.equal(verdict === null, isGood, `${alg} ${token.slice(-20)}`);
    }
  }
});
