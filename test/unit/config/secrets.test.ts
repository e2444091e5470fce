// Secrets by reference and literal ones: resolved only for the workers, masked wherever a
// configuration is shown, and never part of a fault, of its text or of a difference, however broken
// the configuration around them is.

import assert from "node:assert/strict";
import { test } from "node:test";
import { stringify } from "yaml";
import { diffConfigs, formatDiff } from "../../../gateway/config/diff.ts";
import { formatFaults } from "../../../gateway/config/fault-text.ts";
import { checkConfigText } from "../../../gateway/config/parse.ts";
import type { Config } from "../../../gateway/config/schema.ts";
import { MASK, isReference, maskSecrets, resolveSecrets } from "../../../gateway/config/secrets.ts";
import { placesIn, replaceAt, valueAt } from "./corpus.ts";
import { GOOD_HASH, LONG_SECRET, makeContext } from "./made-context.ts";

const SECRET = "Tr0ub4dor-and-3-more-characters!";

function withJwtKeys(...keys: Record<string, unknown>[]): Config {
  const jwt = { plugin: "jwt", config: { keys, issuer: "$env:LONG_SECRET" } };
  return { routes: [{ name: "a", echo: true, plugins: [jwt] }] };
}

function withHashes(...hashes: string[]): Config {
  const credentials = hashes.map((hash) => ({ type: "api-key" as const, hash }));
  return { consumers: [{ name: "acme", credentials }] };
}

test("references are resolved where the schema says secret, and nowhere else", () => {
  const config = withJwtKeys(
    { secret: "$env:LONG_SECRET" },
    { secret: "$file:secrets/long" },
    { secret: SECRET },
    { jwk: { kty: "oct", k: "$env:LONG_SECRET", kid: "$env:LONG_SECRET" } },
    { kid: "$env:LONG_SECRET", public_key: "$env:LONG_SECRET" },
  );
  const before = structuredClone(config);
  const resolved = resolveSecrets(config, makeContext());
  assert.deepEqual(resolved.faults, []);
  const expected = structuredClone(before);
  Object.assign(expected.routes?.[0].plugins?.[0] ?? {}, {
    config: {
      issuer: "$env:LONG_SECRET",
      keys: [
        { secret: LONG_SECRET },
        { secret: LONG_SECRET.repeat(2) },
        { secret: SECRET },
        { jwk: { kty: "oct", k: LONG_SECRET, kid: "$env:LONG_SECRET" } },
        { kid: "$env:LONG_SECRET", public_key: "$env:LONG_SECRET" },
      ],
    },
  });
  assert.deepEqual(resolved.config, expected);
  assert.deepEqual(config, before, "what is kept still has the references");
});

test("references anywhere in the configuration of an uploaded plugin are resolved", () => {
  const withPlugin = (secret: string): Config => ({
    routes: [
      {
        name: "a",
        echo: true,
        plugins: [
          { plugin: "bare" },
          {
            plugin: "request-signature",
            config: {
              keys: [{ id: "k1", secret }],
              "a/b": { text: "plain $env:LONG_SECRET" },
              n: 5,
            },
          },
        ],
      },
    ],
  });
  const config = withPlugin("$env:LONG_SECRET");
  const resolved = resolveSecrets(config, makeContext());
  assert.deepEqual(resolved, { config: withPlugin(LONG_SECRET), faults: [] });
  assert.deepEqual(config, withPlugin("$env:LONG_SECRET"), "what is kept has the reference");
  assert.deepEqual(maskSecrets(config), config);
  const checked = checkConfigText(stringify(withPlugin("$env:NOT_SET")), makeContext());
  const faults = checked.ok ? [] : checked.faults;
  const places = faults.map(({ code, path }) => ({ code, path }));
  const path = "/routes/0/plugins/1/config/keys/0/secret";
  assert.ok(places.some((place) => place.code === "secret_unreadable" && place.path === path));
});

test("a credential's hash may be a reference, and only to a hash", () => {
  const source = makeContext({
    "secrets/crlf": `${GOOD_HASH}\r\n`,
    "secrets/two": `${GOOD_HASH}\n\n`,
  });
  const table: [reference: string, hash: string | null][] = [
    [GOOD_HASH, GOOD_HASH],
    ["$env:GOOD_HASH", GOOD_HASH],
    ["$file:secrets/good-hash", GOOD_HASH],
    ["$file:/etc/made-up/secrets/good-hash", GOOD_HASH],
    ["$file:secrets/crlf", GOOD_HASH],
    ["$file:secrets/two", null],
    ["$env:NOT_A_HASH", null],
    ["$env:LONG_SECRET", null],
  ];
  for (const [reference, hash] of table) {
    const { config, faults } = resolveSecrets(withHashes(reference), source);
    assert.equal(config.consumers?.[0].credentials[0].hash, hash ?? reference);
    const path = "/consumers/0/credentials/0/hash";
    const expected = hash === null ? [{ code: "secret_unreadable", path }] : [];
    assert.deepEqual(
      faults.map((fault) => ({ code: fault.code, path: fault.path })),
      expected,
    );
  }
});

test("a reference that cannot be read says why and where", () => {
  const source = makeContext({ "secrets/huge": "x".repeat(65_537) });
  const table: [reference: string, why: RegExp][] = [
    ["$env:NOT_SET", /variable is not set/],
    ["$env:EMPTY", /variable is not set/],
    ["$env:", /variable is not set/],
    ["$env:toString", /variable is not set/],
    ["$env:__proto__", /variable is not set/],
    ["$file:secrets/nowhere", /no such file/],
    ["$file:secrets/locked", /permission is denied/],
    ["$file:certs", /it is a folder/],
    ["$file:secrets/empty", /empty or larger/],
    ["$file:secrets/huge", /empty or larger/],
  ];
  for (const [secret, why] of table) {
    const { faults } = resolveSecrets(withJwtKeys({ secret }), source);
    assert.equal(faults.length, 1, secret);
    assert.equal(faults[0].path, "/routes/0/plugins/0/config/keys/0/secret");
    assert.match(faults[0].message, why);
    assert.equal(faults[0].found, secret);
  }
});

test("literal secrets are masked; references, hashes and what plugins are given are not", () => {
  const config = {
    ...withJwtKeys(
      { secret: SECRET },
      { secret: "$env:A" },
      { jwk: { kty: "oct", k: SECRET } },
      { jwk: { kty: "EC", x: "x" } },
    ),
    ...withHashes(GOOD_HASH, "$env:B"),
  };
  const uploaded = { plugin: "geo-block", config: { secret: SECRET, keys: [{ secret: SECRET }] } };
  config.routes?.[0].plugins?.push(uploaded);
  const before = structuredClone(config);
  const masked = maskSecrets(config);
  const expected = structuredClone(before);
  Object.assign(expected.routes?.[0].plugins?.[0] ?? {}, {
    config: {
      issuer: "$env:LONG_SECRET",
      keys: [
        { secret: MASK },
        { secret: "$env:A" },
        { jwk: { kty: "oct", k: MASK } },
        { jwk: { kty: "EC", x: "x" } },
      ],
    },
  });
  assert.deepEqual(masked, expected);
  assert.deepEqual(config, before);
  assert.deepEqual(
    [isReference(SECRET), isReference("$file:a"), isReference("$other:a")],
    [false, true, false],
  );
});

test("a changed secret is a difference that shows neither the old nor the new one", () => {
  const [before, after] = [SECRET, `${SECRET}2`].map((secret) => withJwtKeys({ secret }));
  const place = "/routes/a/plugins/0/config/keys/0/secret";
  const lines = diffConfigs(before, after);
  assert.deepEqual(lines, [{ op: "change", path: place, from: MASK, to: MASK }]);
  const pairs: [Config, Config][] = [
    [before, after],
    [before, {}],
    [{}, after],
    [before, { routes: [{ name: "a", redirect: { to: "/" } }] }],
    [before, withJwtKeys({ secret: SECRET, alg: "HS256" })],
  ];
  for (const [a, b] of pairs) {
    const text = formatDiff(diffConfigs(a, b), { color: false });
    assert.ok(text !== "" && !text.includes(SECRET), text);
  }
});

test("no secret is in a fault or its text, whatever one thing around it is broken", (t) => {
  let broken = 0;
  for (const { path } of placesIn(secretConfig()).slice(1)) {
    for (const spoil of SPOILERS) {
      const config = secretConfig();
      if (!spoil(config, path)) continue;
      for (const text of [
        JSON.stringify(config, null, 1),
        stringify(config),
        stringify(config, { collectionStyle: "flow", lineWidth: 0 }),
      ]) {
        const checked = checkConfigText(text, makeContext());
        assert.ok(!checked.ok);
        broken++;
        const output = formatFaults(checked.faults, { file: "a.yaml", text, color: false });
        for (const shown of [JSON.stringify(checked.faults), output]) {
          assert.ok(!shown.includes(SECRET.slice(0, 12)), `${path}: ${shown}\n${text}`);
        }
      }
    }
  }
  t.diagnostic(`${broken} broken configurations`);
  assert.ok(broken > 500);
});

type Spoiler = (config: object, path: string) => boolean;

const replaceBy =
  (make: (value: unknown) => unknown): Spoiler =>
  (config, path) => {
    replaceAt(config, path, make(valueAt(config, path)));
    return true;
  };

const misspell =
  (at: number): Spoiler =>
  (config, path) => {
    const end = path.lastIndexOf("/");
    const parent = valueAt(config, path.slice(0, end)) as Record<string, unknown>;
    const key = path.slice(end + 1);
    if (Array.isArray(parent)) return false;
    parent[`${key.slice(0, at)}x${key.slice(at)}`] = parent[key];
    return delete parent[key];
  };

const addKey: Spoiler = (config, path) => {
  const value = valueAt(config, path);
  if (typeof value !== "object" || value === null || Array.isArray(value)) return false;
  return Object.assign(value, { zzzzzz: 1 }) === value;
};

// Of a secret too: it may stand in a list or a map where it does not belong.
const SPOILERS: readonly Spoiler[] = [
  replaceBy(() => null),
  replaceBy(() => 5),
  replaceBy((value) => [value]),
  replaceBy((value) => ({ zzzzzz: value })),
  misspell(0),
  misspell(1),
  misspell(2),
  addKey,
];

// Even as it is it has faults: what is no hash, and private keys.
function secretConfig(): object {
  return {
    consumers: [{ name: "acme", credentials: [{ type: "api-key", hash: SECRET }] }],
    routes: [
      {
        name: "a",
        echo: true,
        plugins: [
          {
            plugin: "jwt",
            config: {
              algorithms: ["HS256"],
              keys: [
                { kid: "one", alg: "HS256", secret: SECRET },
                { kid: "two", jwk: { kty: "oct", k: SECRET } },
                { kid: "three", jwk: { kty: "EC", crv: "P-256", x: "x", y: "y", d: SECRET } },
                { kid: "four", public_key: `-----BEGIN PRIVATE KEY-----\n${SECRET}` },
              ],
            },
          },
        ],
      },
    ],
  };
}
