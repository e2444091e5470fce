// Keys of the admin API in the configuration: what each role may do, which of them may deploy, and that
// no two of them can be taken for one another, nor for who acts without one.

import assert from "node:assert/strict";
import { test } from "node:test";
import { allows, deployKeyHashes, hashOfKey, makeKey } from "../../../gateway/config/admin-keys.ts";
import type { Access, Role } from "../../../gateway/config/admin-keys.ts";
import { LIMITS } from "../../../gateway/base/limits.ts";
import { diffConfigs } from "../../../gateway/config/diff.ts";
import { checkConfigValue } from "../../../gateway/config/parse.ts";
import type { Config } from "../../../gateway/config/schema.ts";
import { maskSecrets } from "../../../gateway/config/secrets.ts";
import { makeContext } from "./made-context.ts";

const hashOf = (n: number) => `sha256:${n.toString(16).padStart(64, "0")}`;

function withKeys(...keys: readonly (readonly [name: string, role: Role, hash: string])[]): Config {
  return { admin: { keys: keys.map(([name, role, hash]) => ({ name, role, hash })) } };
}

test("a role may do what it is for and what those below it are for", () => {
  const table: Readonly<Record<Access, readonly Access[]>> = {
    none: ["none"],
    read: ["none", "read"],
    deploy: ["none", "read", "deploy"],
    admin: ["none", "read", "deploy", "admin"],
  };
  const all = Object.keys(table) as Access[];
  for (const has of all) {
    const may = all.filter((needed) => allows(has, needed));
    assert.deepEqual(may, table[has], has);
  }
});

test("those who may deploy are known by the hex digits of their hashes", () => {
  const config = withKeys(
    ["a", "read", hashOf(1)],
    ["b", "deploy", hashOf(2)],
    ["c", "admin", hashOf(3)],
  );
  const digits = [hashOf(2), hashOf(3)].map((hash) => hash.slice("sha256:".length));
  assert.deepEqual(deployKeyHashes(config), digits);
  assert.deepEqual(deployKeyHashes({}), []);
  assert.deepEqual(deployKeyHashes({ admin: { listen: "127.0.0.1:0" } }), []);
});

test("keys that are made differ, and their hashes are what the configuration takes", () => {
  const keys = Array.from({ length: 100 }, makeKey);
  assert.equal(new Set(keys).size, keys.length);
  for (const key of keys) assert.match(key, /^sp_[A-Za-z0-9_-]{43}$/);
  const [key] = keys;
  assert.ok(checkConfigValue(withKeys(["a", "read", hashOfKey(key)]), makeContext()).ok);
  // The digest of "abc" in FIPS 180-2.
  const known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
  assert.equal(hashOfKey("abc"), `sha256:${known}`);
});

test("names and hashes are used once, and nobody is called like who acts without a key", () => {
  const table: readonly [config: Config, faults: readonly string[]][] = [
    [withKeys(["a", "read", hashOf(1)], ["b", "read", hashOf(2)]), []],
    [
      withKeys(["a", "read", hashOf(1)], ["a", "admin", hashOf(2)]),
      ["duplicate /admin/keys/1/name"],
    ],
    [
      withKeys(["a", "read", hashOf(1)], ["b", "admin", hashOf(1)]),
      ["duplicate /admin/keys/1/hash"],
    ],
    [withKeys(["admin", "read", hashOf(1)]), ["out_of_range /admin/keys/0/name"]],
    [withKeys(["file", "read", hashOf(1)]), ["out_of_range /admin/keys/0/name"]],
    [withKeys(["gateway", "read", hashOf(1)]), ["out_of_range /admin/keys/0/name"]],
  ];
  for (const [config, expected] of table) assert.deepEqual(faultsOf(config), expected);
});

test("the number of keys is bounded", () => {
  const keys = (count: number) =>
    withKeys(...Array.from({ length: count }, (_, i) => [`k${i}`, "read", hashOf(i)] as const));
  assert.deepEqual(faultsOf(keys(LIMITS.adminKeysMax)), []);
  assert.deepEqual(faultsOf(keys(LIMITS.adminKeysMax + 1)), ["out_of_range /admin/keys"]);
});

test("a hash is shown, since who reads a configuration must be able to write it again", () => {
  const config = withKeys(["a", "read", hashOf(1)]);
  assert.deepEqual(maskSecrets(config), config);
  const next = withKeys(["a", "admin", hashOf(1)]);
  const line = { op: "change", path: "/admin/keys/a/role", from: "read", to: "admin" };
  assert.deepEqual(diffConfigs(config, next), [line]);
});

test("a key in the place of its hash is in no fault", () => {
  const key = makeKey();
  const checked = checkConfigValue(withKeys(["a", "read", key]), makeContext());
  assert.ok(!checked.ok);
  assert.equal(JSON.stringify(checked.faults).includes(key), false);
});

function faultsOf(config: Config): string[] {
  const checked = checkConfigValue(config, makeContext());
  return checked.ok ? [] : checked.faults.map(({ code, path }) => `${code} ${path}`);
}
