// Whose key a request carries: judged by the configuration that is live at that moment, from a made-up
// one that counts how often its keys are read.

import assert from "node:assert/strict";
import type { IncomingHttpHeaders } from "node:http";
import { test } from "node:test";
import { Keyring, NOBODY, checkAccess } from "../../../admin/api/auth.ts";
import { ControlError } from "../../../admin/api/control.ts";
import { hashOfKey, makeKey } from "../../../gateway/config/admin-keys.ts";
import type { Access, Role } from "../../../gateway/config/admin-keys.ts";
import type { Config } from "../../../gateway/config/schema.ts";

const FIRST = makeKey();
const CI = makeKey();
const EYES = makeKey();
const KEYS = { ci: [CI, "deploy"], eyes: [EYES, "read"] } as const;

type Keys = Readonly<Record<string, readonly [key: string, role: Role]>>;

/** A ring over a configuration that can be replaced; `reads` counts who looked at its keys. */
function ringOver(keys: Keys) {
  let revision = 1;
  let reads = 0;
  let live = keys;
  const config = {
    get admin(): Config["admin"] {
      reads++;
      const entries = Object.entries(live);
      return { keys: entries.map(([name, [key, role]]) => ({ name, role, hash: hashOfKey(key) })) };
    },
  };
  return {
    ring: new Keyring({ config: () => ({ revision, config }) }, FIRST),
    reads: () => reads,
    replace: (next: Keys) => {
      revision++;
      live = next;
    },
  };
}

function refused(act: () => unknown): string {
  try {
    act();
  } catch (error) {
    assert.ok(error instanceof ControlError);
    return `${error.status} ${error.code}`;
  }
  return "granted";
}

test("a key names its holder, in either header; nothing else does", () => {
  const { ring } = ringOver(KEYS);
  const table: readonly [headers: IncomingHttpHeaders, holder: string | null][] = [
    [{ "x-api-key": FIRST }, "admin admin"],
    [{ "x-api-key": CI }, "ci deploy"],
    [{ "x-api-key": EYES }, "eyes read"],
    [{ authorization: `Bearer ${CI}` }, "ci deploy"],
    [{ authorization: `bearer   ${CI}` }, "ci deploy"],
    [{ authorization: `Basic ${CI}` }, null],
    [{ authorization: CI }, null],
    // What is given first is what counts.
    [{ "x-api-key": "", authorization: `Bearer ${CI}` }, null],
    [{ "x-api-key": EYES, authorization: `Bearer ${FIRST}` }, "eyes read"],
    [{ "x-api-key": [FIRST, CI] as unknown as string }, null],
    [{ "x-api-key": `${CI}, ${FIRST}` }, null],
    [{ "x-api-key": hashOfKey(CI) }, null],
    [{ "x-api-key": hashOfKey(CI).slice("sha256:".length) }, null],
    [{ "x-api-key": CI.slice(0, -1) }, null],
    [{ "x-api-key": CI.toLowerCase() }, null],
    [{}, null],
  ];
  for (const [headers, expected] of table) {
    const what = JSON.stringify(headers);
    if (expected === null) {
      assert.equal(
        refused(() => ring.holderOf(headers)),
        "401 unauthorized",
        what,
      );
    } else {
      const { name, role } = ring.holderOf(headers);
      assert.equal(`${name} ${role}`, expected, what);
    }
  }
});

test("an empty key is nobody's, not even where its hash is configured", () => {
  const { ring } = ringOver({ ...KEYS, empty: ["", "admin"] });
  for (const headers of [{ "x-api-key": "" }, { authorization: "Bearer " }]) {
    assert.equal(
      refused(() => ring.holderOf(headers)),
      "401 unauthorized",
    );
  }
});

test("a change of keys holds for the next request, and keys are read once for each revision", () => {
  const { ring, reads, replace } = ringOver(KEYS);
  const roleOf = (key: string) => ring.holderOf({ "x-api-key": key }).role;
  for (let i = 0; i < 100; i++) assert.equal(roleOf(CI), "deploy");
  assert.equal(reads(), 1);
  replace({ ci: [CI, "read"] });
  assert.equal(roleOf(CI), "read");
  assert.equal(
    refused(() => roleOf(EYES)),
    "401 unauthorized",
  );
  replace({});
  assert.equal(
    refused(() => roleOf(CI)),
    "401 unauthorized",
  );
  assert.equal(roleOf(FIRST), "admin");
  assert.equal(reads(), 3);
});

test("the first key keeps its role, whatever the configuration says of it", () => {
  const { ring } = ringOver({ lesser: [FIRST, "read"] });
  assert.deepEqual(ring.holderOf({ "x-api-key": FIRST }), { name: "admin", role: "admin" });
});

test("what a role does not allow is refused with the role that is needed and the one there is", () => {
  const holders = (["read", "deploy", "admin"] as const).map((role) => ({ name: role, role }));
  const granted: Readonly<Record<Access, readonly string[]>> = {
    none: ["nobody", "read", "deploy", "admin"],
    read: ["read", "deploy", "admin"],
    deploy: ["deploy", "admin"],
    admin: ["admin"],
  };
  for (const [needed, names] of Object.entries(granted) as [Access, readonly string[]][]) {
    for (const holder of [NOBODY, ...holders]) {
      const expected = names.includes(holder.name) ? "granted" : "403 forbidden";
      assert.equal(
        refused(() => checkAccess(holder, needed)),
        expected,
        `${holder.name} where ${needed} is needed`,
      );
    }
  }
  assert.throws(() => checkAccess({ name: "ci", role: "deploy" }, "admin"), {
    message: "This needs a key of the role admin; the key ci has the role deploy.",
    fields: { needed: "admin", role: "deploy" },
  });
});
