// Which callers get a candidate: even shares for every form of key, callers that stay where they are, and
// rollouts that do not choose the same ones. Nothing here is random: the same keys come to the same places
// in every run.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { callerOfAddress, isInShare } from "../../../gateway/rollout/share.ts";
import { seededRandom } from "../../support/random.ts";

const KEYS = 100_000;
const SALT = "orders/guard@sha256:0123456789abcdef/";
const SHARE_FILE = new URL("../../../gateway/rollout/share.ts", import.meta.url).href;

function hex(random: () => number, digits: number): string {
  return Array.from({ length: digits }, () => Math.floor(random() * 16).toString(16)).join("");
}

/** Keys as callers have them: what tells them apart is in another place of each. */
const KINDS: Readonly<Record<string, (i: number, random: () => number) => string>> = {
  "sequential numbers": (i) => String(i),
  "padded numbers": (i) => `user-${String(i).padStart(12, "0")}`,
  "IPv4 addresses": (i) => `10.${(i >> 16) & 255}.${(i >> 8) & 255}.${i & 255}`,
  "IPv6 networks": (i) => `2001:db8:${(i >> 8).toString(16)}:${(i & 255).toString(16)}`,
  UUIDs: (_, random) =>
    `${hex(random, 8)}-${hex(random, 4)}-4${hex(random, 3)}-a${hex(random, 3)}-${hex(random, 12)}`,
  "email addresses": (i) => `someone.${i}@example${i % 7}.com`,
  "one letter apart": (i) => {
    const at = i % 50;
    return `${"k".repeat(at)}${String.fromCharCode(0x100 + Math.floor(i / 50))}${"k".repeat(50 - at)}`;
  },
  "the same end": (i) => `${i}${"-the-same-long-tail-of-every-key".repeat(4)}`,
};

for (const [kind, keyOf] of Object.entries(KINDS)) {
  test(`of 100,000 keys that are ${kind} each share is met within one point`, () => {
    const random = seededRandom(7);
    const keys = Array.from({ length: KEYS }, (_, i) => keyOf(i, random));
    assert.equal(new Set(keys).size, KEYS);
    for (const weight of [1, 5, 25, 50, 90]) {
      const share = (keys.filter((key) => isInShare(SALT, key, weight)).length / KEYS) * 100;
      assert.ok(Math.abs(share - weight) < Math.min(1, weight / 5), `${share} % at ${weight} %`);
    }
  });
}

test("a key that is in stays in at every larger weight", () => {
  const weights = [0, 0.01, 1, 5, 24.9, 25, 50, 75, 99, 99.99, 100];
  for (let i = 0; i < 2_000; i++) {
    const ins = weights.map((weight) => isInShare(SALT, `caller ${i}`, weight));
    const first = ins.indexOf(true);
    assert.ok(first !== -1 && ins.slice(first).every(Boolean), `caller ${i}: ${ins.join()}`);
  }
});

test("nobody is in at 0, everybody at 100", () => {
  for (let i = 0; i < 50_000; i++) {
    assert.equal(isInShare(SALT, `k${i}`, 0), false);
    assert.equal(isInShare(SALT, `k${i}`, 100), true);
  }
});

test("another process puts every key where this one does", () => {
  const program = `
    import { isInShare } from ${JSON.stringify(SHARE_FILE)};
    for (let i = 0; i < 20000; i++)
      process.stdout.write(isInShare(${JSON.stringify(SALT)}, "caller é " + i, 25) ? "1" : "0");`;
  const other = execFileSync(process.execPath, ["--input-type=module", "-e", program], {
    encoding: "utf8",
  });
  const own = Array.from({ length: 20_000 }, (_, i) =>
    isInShare(SALT, `caller é ${i}`, 25) ? "1" : "0",
  );
  assert.equal(other, own.join(""));
});

test("a key's place is the one it has always had", () => {
  const places = Array.from({ length: 4_000 }, (_, i) =>
    isInShare(SALT, `k${i}`, 50) ? "1" : "0",
  );
  const digest = createHash("sha256").update(places.join("")).digest("hex");
  // Of another hash: callers of a rollout that is under way would change sides with an update.
  assert.equal(digest.slice(0, 16), "0502775e6fbbf497");
});

test("two rollouts choose their callers without regard to each other", () => {
  const salts = [
    "orders/guard@sha256:0123456789abcdef/",
    "orders/guard@sha256:0123456789abcdee/",
    "orders/quota@sha256:0123456789abcdef/",
    "carts/guard@sha256:0123456789abcdef/",
    "b/guard@sha256:0123456789abcdef/",
  ];
  for (let a = 0; a < salts.length; a++) {
    for (let b = a + 1; b < salts.length; b++) {
      let both = 0;
      for (let i = 0; i < KEYS; i++) {
        const key = `user-${i}`;
        if (isInShare(salts[a], key, 25) && isInShare(salts[b], key, 25)) both++;
      }
      // A quarter of a quarter; five standard errors of so many keys are 0.4 points.
      const share = (both / KEYS) * 100;
      assert.ok(Math.abs(share - 6.25) < 0.4, `${share} % for ${salts[a]} and ${salts[b]}`);
    }
  }
});

const ADDRESSES: readonly (readonly [address: string, caller: string])[] = [
  ["192.0.2.1", "192.0.2.1"],
  ["::ffff:192.0.2.1", "192.0.2.1"],
  ["::ffff:c000:201", "c000:201"],
  ["2001:db8:1:2:3:4:5:6", "2001:db8:1:2"],
  ["2001:db8:1:2::1", "2001:db8:1:2"],
  ["2001:db8::1", "2001:db8:0:0"],
  ["2001:db8::", "2001:db8:0:0"],
  ["2001:db8:1::2:3", "2001:db8:1:0"],
  ["1:2:3:4:5:6:7::", "1:2:3:4"],
  ["::1", "0:0:0:0"],
  ["::", "0:0:0:0"],
  ["fe80::1%eth0", "fe80:0:0:0"],
  ["fe80::%lo", "fe80:0:0:0"],
  ["64:ff9b::192.0.2.1", "64:ff9b:0:0"],
];

for (const [address, caller] of ADDRESSES) {
  test(`a caller from ${address} is known as ${caller}`, () => {
    assert.equal(callerOfAddress(address), caller);
  });
}
