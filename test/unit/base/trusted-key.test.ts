// The public keys that plugins may be signed with: which texts are keys, what each is good for, and that
// weak, foreign and private ones are refused with a reason.

import assert from "node:assert/strict";
import { generateKeyPairSync, randomBytes } from "node:crypto";
import type { KeyObject } from "node:crypto";
import { test } from "node:test";
import { decodeBase64 } from "../../../gateway/base/base64.ts";
import { isSoundEd25519Key } from "../../../gateway/base/ed25519-point.ts";
import { parseTrustedKey, rawEd25519, sallyportKeyId } from "../../../gateway/base/trusted-key.ts";

const P = 2n ** 255n - 19n;

const pem = (key: KeyObject) => key.export({ format: "pem", type: "spki" }).toString();

/** The format and number of a key, or why it is none. */
function read(text: string): string {
  const key = parseTrustedKey(text);
  return "reason" in key ? key.reason : `${key.format} ${key.id}`;
}

function littleEndian(y: bigint, sign = 0): Buffer {
  const bytes = Buffer.from(y.toString(16).padStart(64, "0"), "hex").reverse();
  bytes[31] |= sign << 7;
  return bytes;
}

// The eight points whose order divides eight, and every other way to write their y (with 2^255 - 19 added).
const Y8 = 55188659117513257062467267217118295137698188065244968500265048394206261417927n;
const SMALL = [0n, 1n, P - 1n, Y8, P - Y8, P, P + 1n, 2n ** 255n - 1n].flatMap((y) => [
  littleEndian(y),
  littleEndian(y, 1),
]);

test("a key is recognised by its form, and each form is good for one format", () => {
  const { publicKey } = generateKeyPairSync("ed25519");
  const raw = rawEd25519(publicKey);
  const id = sallyportKeyId(raw);
  assert.equal(read(raw.toString("base64")), `sallyport ${id}`);
  assert.equal(read(pem(publicKey)), `sallyport ${id}`);
  assert.equal(read(pem(publicKey).trimEnd()), `sallyport ${id}`);
  const number = Buffer.from("1122334455667788", "hex");
  const mini = Buffer.concat([Buffer.from("Ed"), number, raw]).toString("base64");
  assert.equal(read(mini), "minisign 8877665544332211");
  const { publicKey: p256 } = generateKeyPairSync("ec", { namedCurve: "prime256v1" });
  assert.match(read(pem(p256)), /^cosign [0-9a-f]{16}$/);
});

test("one key has one point, whatever its form", () => {
  const { publicKey } = generateKeyPairSync("ed25519");
  const raw = rawEd25519(publicKey);
  const mini = Buffer.concat([Buffer.from("Ed"), randomBytes(8), raw]).toString("base64");
  const points = [pem(publicKey), raw.toString("base64"), mini].map((text) => {
    const key = parseTrustedKey(text);
    return "point" in key ? key.point : "";
  });
  assert.deepEqual(points, Array(3).fill(raw.toString("hex")));
});

test("keys of other kinds are named and refused", () => {
  for (const [kind, key] of [
    ["rsa", generateKeyPairSync("rsa", { modulusLength: 2048 }).publicKey],
    ["ed448", generateKeyPairSync("ed448").publicKey],
    ["x25519", generateKeyPairSync("x25519").publicKey],
    ["ec secp384r1", generateKeyPairSync("ec", { namedCurve: "secp384r1" }).publicKey],
    ["ec secp256k1", generateKeyPairSync("ec", { namedCurve: "secp256k1" }).publicKey],
  ] as const) {
    assert.equal(
      read(pem(key)),
      `this is a key of ${kind}; Ed25519 and uncompressed P-256 are taken`,
    );
  }
});

test("what is not exactly one public key is none", () => {
  const { publicKey, privateKey } = generateKeyPairSync("ed25519");
  const good = pem(publicKey);
  const base64 = rawEd25519(publicKey).toString("base64");
  const none = /^this is (no public key|not one PEM block of a public key)$/;
  for (const text of [
    "",
    " ",
    "ssh-ed25519 AAAA",
    good + good,
    ` ${good}`,
    `${good}\n`,
    good.replaceAll("\n", "\r\n"),
    good.replace("PUBLIC", "EC PUBLIC"),
    good.replace("-----END PUBLIC KEY-----", ""),
    base64.replace("=", ""),
    `${base64}\n`,
    `${base64.slice(0, 42)}${base64[42] === "B" ? "C" : "B"}=`,
    Buffer.alloc(31, 9).toString("base64"),
    Buffer.alloc(33, 9).toString("base64"),
    `untrusted comment: x\nRW${base64}`,
    Buffer.concat([Buffer.from("ED"), Buffer.alloc(40, 9)]).toString("base64"),
    Buffer.concat([Buffer.from("EdXXXXXXXX"), Buffer.alloc(31, 9)]).toString("base64"),
  ]) {
    assert.match(read(text), none, JSON.stringify(text.slice(0, 60)));
  }
  const secret = privateKey.export({ format: "pem", type: "pkcs8" }).toString();
  assert.match(read(secret), /private key, and now a known one/);
});

test("a point that is not on its curve is refused, on P-256 as on Ed25519", () => {
  const { publicKey } = generateKeyPairSync("ec", { namedCurve: "prime256v1" });
  const der = publicKey.export({ format: "der", type: "spki" });
  der[der.length - 1] ^= 1;
  const text = `-----BEGIN PUBLIC KEY-----\n${der.toString("base64")}\n-----END PUBLIC KEY-----\n`;
  assert.equal(read(text), "this public key does not parse");
  const no = "these 32 bytes are no point of Ed25519, or one of small order";
  assert.equal(read(littleEndian(2n).toString("base64")), no);
});

test("points of small order are refused in every encoding", () => {
  assert.equal(new Set(SMALL.map((raw) => raw.toString("hex"))).size, 16);
  for (const raw of SMALL) {
    assert.equal(isSoundEd25519Key(raw), false, raw.toString("hex"));
    assert.match(read(raw.toString("base64")), /of small order$/);
  }
});

test("a number beyond the field and a y without an x are no points", () => {
  assert.equal(isSoundEd25519Key(littleEndian(P + 3n)), false);
  assert.equal(isSoundEd25519Key(littleEndian(2n)), false);
  assert.equal(isSoundEd25519Key(littleEndian(3n)), true);
  assert.equal(isSoundEd25519Key(new Uint8Array(31)), false);
});

test("every key that is made is sound, and of random bytes about half are on the curve", () => {
  for (let i = 0; i < 50; i++) {
    assert.ok(isSoundEd25519Key(rawEd25519(generateKeyPairSync("ed25519").publicKey)));
  }
  let sound = 0;
  for (let i = 0; i < 200; i++) if (isSoundEd25519Key(randomBytes(32))) sound += 1;
  assert.ok(sound > 50 && sound < 150, `${sound} of 200`);
});

test("base64 has one text for each sequence of bytes", () => {
  assert.deepEqual(decodeBase64("AAE="), Buffer.from([0, 1]));
  for (const text of [
    "",
    "AAE",
    "AAF=",
    "AAE==",
    "AA E=",
    "AAE=\n",
    "AAE=AAE=",
    "_-8=",
    "A",
    "====",
    "ÄAE=",
  ]) {
    assert.equal(decodeBase64(text), null, JSON.stringify(text));
  }
});
