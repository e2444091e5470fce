// Nanoseconds of the jwt plugin per request: a token seen before, and a new one by algorithm.
// Run: node bench/micro/jwt.bench.ts
//
// What is measured: onRequest over requests whose heads are parsed anew, so that the token is a
// fresh string without a cached hash, as on a connection; for hits the parsing's own time is taken
// off. Misses run 32 at a time, as a worker under load has them. "signature only" is node:crypto's
// synchronous check of the same tokens, the floor for a miss. Medians of rounds are printed, since
// a shared machine drifts.

import { createHmac, generateKeyPairSync, timingSafeEqual, verify } from "node:crypto";
import type { KeyObject } from "node:crypto";
import { SignJWT } from "jose";
import { Exchange } from "../../gateway/exchange.ts";
import { jwt } from "../../gateway/plugins/builtin/jwt.ts";
import type { Plugin, PluginServices } from "../../gateway/plugins/phases.ts";
import { RequestHead, parseRequestHead } from "../../gateway/wire/request-head.ts";

const HIT_TOKENS = 1000;
const HIT_REQUESTS = 20_000;
const MISS_TOKENS = 2000;
const PARALLEL = 32;
const ROUNDS = 9;
const SECRET = "a-shared-secret-of-at-least-32-bytes";

const SERVICES: PluginServices = {
  consumersByKeyHash: new Map(),
  nowMs: () => performance.now(),
  wallMs: () => Date.now(),
  warn: () => {},
};

function headText(token: string): string {
  return (
    `GET /orders/12345 HTTP/1.1\r\nHost: api.example.com\r\nUser-Agent: bench/1.0\r\n` +
    `Accept: */*\r\nAccept-Encoding: gzip\r\nAuthorization: Bearer ${token}\r\n\r\n`
  );
}

function makeExchange(bytes: Buffer): Exchange {
  const head = parseRequestHead(bytes.latin1Slice());
  if (!(head instanceof RequestHead)) throw new Error(head);
  return new Exchange({
    head,
    host: "api.example.com",
    path: "/orders/12345",
    query: "",
    scheme: "https",
    tls: null,
    authority: "api.example.com",
    clientIp: "192.0.2.1",
    forwardedFor: "192.0.2.1",
    requestId: "0",
    traceparent: "",
    startedMs: performance.now(),
  });
}

function sign(key: KeyObject | Buffer, alg: string, sub: string): Promise<string> {
  const claims = { sub, scope: "orders:read orders:write", roles: ["buyer", "seller"] };
  return new SignJWT(claims)
    .setProtectedHeader({ alg, kid: "key-1" })
    .setIssuer("https://id.example.com")
    .setAudience("orders")
    .setIssuedAt()
    .setExpirationTime("2h")
    .sign(key);
}

async function signAll(key: KeyObject | Buffer, alg: string, count: number): Promise<string[]> {
  return Promise.all(Array.from({ length: count }, (_, i) => sign(key, alg, `user-${i}`)));
}

function median(values: number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];
}

function report(name: string, ns: number[]): void {
  console.log(`${name.padEnd(34)} ${median(ns).toFixed(0).padStart(8)} ns`);
}

function makePlugin(key: Record<string, unknown>, cacheMax: number): Plugin {
  const limits = { issuer: "https://id.example.com", audience: "orders", cache_max: cacheMax };
  return jwt.create({ keys: [{ kid: "key-1", ...key }], ...limits }, SERVICES);
}

async function benchHits(tokens: readonly string[]): Promise<void> {
  const plugin = makePlugin({ secret: SECRET }, 10_000);
  const heads = tokens.map((token) => Buffer.from(headText(token), "latin1"));
  for (const bytes of heads) {
    if ((await plugin.onRequest?.(makeExchange(bytes))) !== null) throw new Error("refused");
  }
  const hits: number[] = [];
  for (let round = 0; round < ROUNDS + 2; round++) {
    const headsNs = hitPass(null, heads);
    const bothNs = hitPass(plugin, heads);
    if (round >= 2) hits.push(bothNs - headsNs);
  }
  report(`hit, ${tokens.length} tokens of ${tokens[0].length} chars`, hits);
}

/** Nanoseconds per request of parsing heads, and of the plugin when there is one. */
function hitPass(plugin: Plugin | null, heads: readonly Buffer[]): number {
  const started = process.hrtime.bigint();
  let bad = 0;
  for (let i = 0; i < HIT_REQUESTS; i++) {
    const exchange = makeExchange(heads[i % heads.length]);
    if (plugin !== null && plugin.onRequest?.(exchange) !== null) bad++;
  }
  if (bad > 0) throw new Error("a hit was not synchronous");
  return Number(process.hrtime.bigint() - started) / HIT_REQUESTS;
}

async function benchMisses(alg: string, key: Record<string, unknown>, tokens: readonly string[]) {
  const heads = tokens.map((token) => Buffer.from(headText(token), "latin1"));
  const wall: number[] = [];
  const cpu: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const plugin = makePlugin(key, 10_000);
    const exchanges = heads.map(makeExchange);
    const cpuBefore = process.cpuUsage();
    const started = process.hrtime.bigint();
    for (let i = 0; i < exchanges.length; i += PARALLEL) {
      const batch = exchanges.slice(i, i + PARALLEL);
      const verdicts = await Promise.all(batch.map((exchange) => plugin.onRequest?.(exchange)));
      if (verdicts.some((verdict) => verdict !== null)) throw new Error("refused");
    }
    wall.push(Number(process.hrtime.bigint() - started) / tokens.length);
    const used = process.cpuUsage(cpuBefore);
    cpu.push(((used.user + used.system) * 1000) / tokens.length);
    plugin.close();
  }
  report(`miss ${alg}, wall`, wall);
  report(`miss ${alg}, CPU of all threads`, cpu);
}

function benchSignatures(alg: string, tokens: readonly string[], check: (t: string) => boolean) {
  const rounds: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const started = process.hrtime.bigint();
    for (const token of tokens) if (!check(token)) throw new Error("bad signature");
    rounds.push(Number(process.hrtime.bigint() - started) / tokens.length);
  }
  report(`signature only ${alg}, synchronous`, rounds);
}

function splitToken(token: string): [Buffer, Buffer] {
  const dot = token.lastIndexOf(".");
  return [Buffer.from(token.slice(0, dot)), Buffer.from(token.slice(dot + 1), "base64url")];
}

async function main(): Promise<void> {
  const rsa = generateKeyPairSync("rsa", { modulusLength: 2048 });
  const ec = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const hs = await signAll(Buffer.from(SECRET), "HS256", MISS_TOKENS);
  const rs = await signAll(rsa.privateKey, "RS256", MISS_TOKENS);
  const es = await signAll(ec.privateKey, "ES256", MISS_TOKENS);
  await benchHits(hs.slice(0, 1));
  await benchHits(hs.slice(0, HIT_TOKENS));
  await benchMisses("HS256", { secret: SECRET }, hs);
  await benchMisses("RS256", { jwk: rsa.publicKey.export({ format: "jwk" }) }, rs);
  await benchMisses("ES256", { jwk: ec.publicKey.export({ format: "jwk" }) }, es);
  benchSignatures("HS256", hs, (token) => {
    const [input, signature] = splitToken(token);
    return timingSafeEqual(createHmac("sha256", SECRET).update(input).digest(), signature);
  });
  benchSignatures("RS256", rs, (token) => {
    const [input, signature] = splitToken(token);
    return verify("sha256", input, rsa.publicKey, signature);
  });
  benchSignatures("ES256", es, (token) => {
    const [input, signature] = splitToken(token);
    return verify("sha256", input, { key: ec.publicKey, dsaEncoding: "ieee-p1363" }, signature);
  });
}

await main();
