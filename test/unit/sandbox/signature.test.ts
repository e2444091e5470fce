// Signatures of modules: what minisign and OpenSSL wrote is verified, and whatever one changes of it is
// refused. The files in test/golden/signatures were made once, for authz.wasm:
//   minisign -S -s m.sec -m authz.wasm -x words.minisig -t "timestamp:1700000000	plugin:authz@1.2.0"
//   (bytes.minisig without -t, legacy.minisig with -l)
//   openssl dgst -sha256 -sign p.key authz.wasm | base64 -w0        cosign.sig, as cosign sign-blob does
//   openssl pkeyutl -sign -rawin -inkey e.key -in statement         sallyport.sig

import assert from "node:assert/strict";
import { createPrivateKey, generateKeyPairSync, sign } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { parseTrustedKey } from "../../../gateway/base/trusted-key.ts";
import {
  parseSignature,
  parseSignatureField,
  readManifest,
  signModule,
  verifySignature,
} from "../../../sandbox/sandbox.ts";
import type { NamedKey } from "../../../sandbox/sandbox.ts";
import {
  cosignPair,
  manifestPlugin,
  minisignPair,
  namelessPlugin,
  sallyportPair,
} from "../../support/signed-plugin.ts";

const FOLDER = join(import.meta.dirname, "../../golden/signatures");
const MODULE: Uint8Array = new Uint8Array(readFileSync(join(FOLDER, "authz.wasm")));
const textOf = (file: string) => readFileSync(join(FOLDER, file), "utf8");
const KEYS = [
  named("release", textOf("ed25519.pub")),
  named("laptop", textOf("minisign.pub").split("\n")[1]),
  named("pipeline", textOf("p256.pub")),
];

function named(name: string, text: string): NamedKey {
  const key = parseTrustedKey(text);
  if ("reason" in key) throw new Error(key.reason);
  return { ...key, name };
}

/** Who signed it, or the code of the refusal. */
function judge(
  text: string,
  { bytes = MODULE, name = "authz", version = "1.2.0", keys = KEYS } = {},
): string {
  const parsed = parseSignature(text);
  if (!parsed.ok) return parsed.code;
  const module = { bytes, name, version, manifest: readManifest(bytes) };
  const verdict = verifySignature(parsed.signature, module, keys);
  return verdict.ok ? verdict.by : verdict.code;
}

test("what the other programs wrote is verified, by the key that did it", () => {
  const found = ["sallyport.sig", "words.minisig", "bytes.minisig", "cosign.sig"].map((file) => {
    const parsed = parseSignature(textOf(file));
    return [file, parsed.ok ? parsed.signature.format : "", judge(textOf(file))];
  });
  assert.deepEqual(found, [
    ["sallyport.sig", "sallyport", "release"],
    ["words.minisig", "minisign", "laptop"],
    ["bytes.minisig", "minisign", "laptop"],
    ["cosign.sig", "cosign", "pipeline"],
  ]);
  assert.equal(judge(textOf("legacy.minisig")), "signature_legacy");
});

test("a key's number is the one that minisign shows", () => {
  const [, id] = /public key ([0-9A-F]+)/.exec(textOf("minisign.pub")) ?? [];
  assert.equal(KEYS[1].id, id);
});

test("what is signed here is verified here, and by OpenSSL's bytes for the same key", () => {
  const { key, privateKey } = sallyportPair();
  const text = signModule({ name: "authz", version: "1.2.0", bytes: MODULE }, privateKey);
  assert.match(text, /^sallyport-v1 [0-9a-f]{16} authz@1\.2\.0 [A-Za-z0-9+/]{86}==\n$/);
  assert.equal(judge(text, { keys: [named("mine", key)] }), "mine");
  for (const [name, version] of [
    ["authz", "1.2"],
    ["authz\nversion 9.9.9", "1.2.0"],
    ["Authz", "1.2.0"],
    ["authz", "1.2.0 "],
    ["", "1.2.0"],
  ]) {
    assert.throws(
      () => signModule({ name, version, bytes: MODULE }, privateKey),
      /cannot be signed/,
    );
  }
});

test("every signature is for one module, one name and one version", () => {
  const other = manifestPlugin("authz", "1.2.0", "another one");
  for (const file of ["sallyport.sig", "words.minisig", "bytes.minisig", "cosign.sig"]) {
    const text = textOf(file);
    assert.equal(judge(text, { bytes: other }), "signature_invalid", file);
    assert.equal(judge(text, { name: "other" }), "signature_wrong_name", file);
    assert.equal(judge(text, { version: "1.2.1" }), "signature_wrong_version", file);
  }
});

test("what signs bytes alone needs a manifest within them, and words of a comment do not", () => {
  const bytes = namelessPlugin();
  const [mini, cosign] = [minisignPair(), cosignPair()];
  const keys = [named("mini", mini.key), named("cosign", cosign.key)];
  assert.equal(judge(mini.sign(bytes), { bytes, keys }), "signature_unbound");
  assert.equal(judge(cosign.sign(bytes), { bytes, keys }), "signature_unbound");
  const comment = "plugin:authz@1.2.0";
  assert.equal(judge(mini.sign(bytes, { comment }), { bytes, keys }), "mini");
});

test("a key verifies its own format only, though the mathematics are the same", () => {
  const { privateKey, key, id } = minisignPair();
  const raw = Buffer.from(key, "base64").subarray(10).toString("base64");
  const asSallyport = named("raw", raw);
  const text = signModule({ name: "authz", version: "1.2.0", bytes: MODULE }, privateKey);
  assert.equal(judge(text, { keys: [asSallyport] }), "raw");
  assert.equal(judge(text, { keys: [named("mini", key)] }), "signature_unknown_key");
  const { sign: signs } = minisignPair(id);
  assert.equal(judge(signs(MODULE), { keys: [asSallyport] }), "signature_unknown_key");
  assert.equal(judge(textOf("cosign.sig"), { keys: KEYS.slice(0, 2) }), "signature_unknown_key");
  assert.equal(judge(textOf("words.minisig"), { keys: [] }), "signature_unknown_key");
});

test("two keys with one number are both tried", () => {
  const [first, second] = [minisignPair(), minisignPair()];
  const keys = [named("first", first.key), named("second", second.key)];
  assert.equal(judge(second.sign(MODULE), { keys }), "second");
  const curves = [cosignPair(), cosignPair()];
  const pair = [named("one", curves[0].key), named("two", curves[1].key)];
  assert.equal(judge(curves[1].sign(MODULE), { keys: pair }), "two");
});

test("a signature is one text: each character that is changed, added or left out refuses it", () => {
  for (const file of ["sallyport.sig", "words.minisig", "bytes.minisig", "cosign.sig"]) {
    const text = textOf(file);
    // The first line of minisign is signed by nobody.
    const from = text.startsWith("untrusted") ? text.indexOf("\n") : 0;
    for (let at = from; at < text.length; at++) {
      const isLastEnd = at === text.length - 1 && text[at] === "\n";
      for (const put of ["", "A", "b", "0", "/", "=", " ", "\n", "\r", "\0", "ä", "\u0085"]) {
        if (put === text[at] || (put === "" && isLastEnd)) continue;
        const changed = text.slice(0, at) + put + text.slice(at + 1);
        const found = judge(changed);
        assert.match(found, /^signature_/, `${file}: ${JSON.stringify(put)} at ${at}`);
      }
      if (at === from && from > 0) continue;
      const longer = `${text.slice(0, at)}A${text.slice(at)}`;
      assert.match(judge(longer), /^signature_/, `${file}: one more at ${at}`);
    }
  }
});

test("an Ed25519 signature whose number was raised by the group's order is another text, and refused", () => {
  const order = 2n ** 252n + 27742317777372353535851937790883648493n;
  const [word, id, as, base64] = textOf("sallyport.sig").trimEnd().split(" ");
  const bytes = Buffer.from(base64, "base64");
  const s = BigInt(`0x${Buffer.from(bytes.subarray(32)).reverse().toString("hex")}`) + order;
  Buffer.from(s.toString(16).padStart(64, "0"), "hex").reverse().copy(bytes, 32);
  assert.equal(judge(`${word} ${id} ${as} ${bytes.toString("base64")}`), "signature_invalid");
});

test("an ECDSA signature has one encoding, and no number in it is zero or negative", () => {
  const der = Buffer.from(textOf("cosign.sig"), "base64");
  const integer = (hex: string) =>
    Buffer.from(`02${(hex.length / 2).toString(16).padStart(2, "0")}${hex}`, "hex");
  const sequence = (...parts: Buffer[]) => {
    const body = Buffer.concat(parts);
    return Buffer.concat([Buffer.from([0x30, body.length]), body]);
  };
  const one = integer("01");
  const cases: [string, Buffer, string][] = [
    ["small numbers", sequence(one, one), "signature_invalid"],
    ["zero", sequence(integer("00"), one), "signature_malformed"],
    ["negative", sequence(one, integer("ff")), "signature_malformed"],
    ["a zero too many", sequence(integer("0001"), one), "signature_malformed"],
    ["an empty number", sequence(integer(""), one), "signature_malformed"],
    ["33 bytes", sequence(integer(`01${"00".repeat(32)}`), one), "signature_malformed"],
    ["three numbers", sequence(one, one, one), "signature_malformed"],
    ["one number", sequence(one), "signature_malformed"],
    ["something behind", Buffer.concat([der, Buffer.from([0])]), "signature_malformed"],
    [
      "a long length",
      Buffer.concat([Buffer.from([0x30, 0x81, der.length - 2]), der.subarray(2)]),
      "signature_malformed",
    ],
    ["cut", der.subarray(0, -1), "signature_malformed"],
    ["a bit string", sequence(Buffer.from("030101", "hex"), one), "signature_malformed"],
  ];
  for (const [what, bytes, code] of cases)
    assert.equal(judge(bytes.toString("base64")), code, what);
});

test("a trusted comment names at most one plugin, in a form that has one reading", () => {
  const { key, sign: signs } = minisignPair();
  const keys = [named("mini", key)];
  for (const [comment, found] of [
    ["plugin:authz@1.2.0", "mini"],
    ["timestamp:1 plugin:authz@1.2.0\tfile:x", "mini"],
    // The manifest says it then.
    ["myplugin:other@1.2.0", "mini"],
    ["", "mini"],
    ["plugin:other@1.2.0", "signature_wrong_name"],
    ["plugin:authz@1.2.1", "signature_wrong_version"],
    ["plugin:authz@1.2.0 plugin:authz@1.2.0", "signature_malformed"],
    ["plugin:authz@1.2.0 plugin:other@9.0.0", "signature_malformed"],
    ["plugin:authz", "signature_malformed"],
    ["plugin:", "signature_malformed"],
    ["plugin:authz@1.2.0@2.0.0", "signature_malformed"],
    ["plugin:authz@v1.2.0", "signature_malformed"],
    ["plugin:Authz@1.2.0", "signature_malformed"],
    ["plugin:authz@1.2.0\u00a0x", "signature_malformed"],
    ["plugin:authz@1.2.0\0", "signature_malformed"],
  ]) {
    assert.equal(judge(signs(MODULE, { comment }), { keys }), found, JSON.stringify(comment));
  }
});

test("a comment of another signature by the same key is refused", () => {
  const { key, sign: signs } = minisignPair();
  const mine = signs(MODULE, { comment: "plugin:authz@1.2.0" }).split("\n");
  const other = signs(namelessPlugin(), { comment: "plugin:authz@2.0.0" }).split("\n");
  const grafted = [...mine.slice(0, 2), ...other.slice(2)].join("\n");
  const found = judge(grafted, { version: "2.0.0", keys: [named("mini", key)] });
  assert.equal(found, "signature_comment_invalid");
});

test("minisign's hash is BLAKE2b, and no other signature of the same key passes for it", () => {
  const { key, sign: signs, privateKey } = minisignPair();
  const keys = [named("mini", key)];
  assert.equal(judge(signs(MODULE, { hash: "sha512" }), { keys }), "signature_invalid");
  const unhashed = signs(MODULE, { algorithm: "Ed" }).split("\n");
  const bytes = Buffer.from(unhashed[1], "base64");
  bytes.write("ED", "latin1");
  const renamed = [unhashed[0], bytes.toString("base64"), ...unhashed.slice(2)].join("\n");
  assert.equal(judge(renamed, { keys }), "signature_invalid");
  assert.equal(sign(null, MODULE, privateKey).length, 64);
});

test("what is no signature at all is malformed, and nothing throws", () => {
  for (const text of [
    "",
    "\n",
    " ",
    "\ufeffsallyport-v1",
    "sallyport-v2 0123456789abcdef authz@1.2.0 AAAA",
    "untrusted comment: only",
    "untrusted comment: a\nb\ntrusted comment: c\nd\n",
    "-----BEGIN PGP SIGNATURE-----",
    '{"base64Signature":"MEUC"}',
    "MEUCIQ",
    "x".repeat(4096),
    textOf("sallyport.sig") + textOf("sallyport.sig"),
    textOf("words.minisig") + textOf("words.minisig"),
    textOf("words.minisig").replaceAll("\n", "\r\n"),
  ]) {
    assert.equal(judge(text), "signature_malformed", JSON.stringify(text.slice(0, 60)));
  }
  assert.equal(judge("x".repeat(4097)), "signature_too_large");
});

test("the header takes a file in base64, or a signature of one line as it is", () => {
  const base64 = (text: string) => Buffer.from(text).toString("base64");
  const found = (field: string) => {
    const parsed = parseSignatureField(field);
    return parsed.ok ? parsed.signature.format : parsed.code;
  };
  const [line, cosign] = [textOf("sallyport.sig").trimEnd(), textOf("cosign.sig").trimEnd()];
  for (const [field, expected] of [
    [line, "sallyport"],
    [cosign, "cosign"],
    [base64(`${line}\n`), "sallyport"],
    [base64(cosign), "cosign"],
    [base64(`${cosign}\n`), "cosign"],
    [base64(textOf("words.minisig")), "minisign"],
    ["", "signature_malformed"],
    [base64(base64(line)), "signature_malformed"],
    [base64(line).replace(/=*$/, ""), "signature_malformed"],
    [`${base64(line)}=`, "signature_malformed"],
    [`${base64(line)} `, "signature_malformed"],
    [Buffer.from([0xff, 0xfe]).toString("base64"), "signature_malformed"],
    [`${line}, ${line}`, "signature_repeated"],
    [`${base64(line)}, ${base64(line)}`, "signature_repeated"],
    [base64("x".repeat(4096)), "signature_malformed"],
    [base64("x".repeat(4097)), "signature_too_large"],
    ["A".repeat(100_000), "signature_too_large"],
  ]) {
    assert.equal(found(field), expected, field.slice(0, 60));
  }
});

test("a private key of another kind signs nothing", () => {
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: "prime256v1" });
  const pem = privateKey.export({ format: "pem", type: "pkcs8" });
  const key = createPrivateKey(pem);
  const module = { name: "authz", version: "1.2.0", bytes: MODULE };
  assert.throws(() => signModule(module, key), /an Ed25519 key is needed/);
});
