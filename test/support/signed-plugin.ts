// Modules with a manifest, and signatures of them as other programs write them: minisign's and cosign's,
// made here with node:crypto from their descriptions. Keys are new at each start.

import { createHash, createPublicKey, generateKeyPairSync, sign } from "node:crypto";
import type { KeyObject } from "node:crypto";
import { rawEd25519 } from "../../gateway/base/trusted-key.ts";

// (module (func (export "on_request") (result i32) (i32.const 0)))
const MODULE = Buffer.concat([
  Buffer.from("0061736d010000000105016000017f03020100070e010a", "hex"),
  Buffer.from("on_request"),
  Buffer.from("00000a0601040041000b", "hex"),
]);

/** A module that lets everything pass and says what it is; `mark` makes it another one. */
export function manifestPlugin(name: string, version: string, mark = ""): Uint8Array {
  const manifest = { name, version, abi: 1, input: "lazy", description: mark };
  return customSection(MODULE, "sallyport", JSON.stringify(manifest));
}

/** The same without a manifest. */
export function namelessPlugin(mark = ""): Uint8Array {
  return customSection(MODULE, "mark", mark);
}

function customSection(module: Uint8Array, name: string, content: string): Uint8Array {
  const body = Buffer.from(`${String.fromCharCode(name.length)}${name}${content}`);
  const length = Buffer.from([(body.length & 127) | 128, body.length >> 7]);
  return new Uint8Array(Buffer.concat([module, Buffer.from([0]), length, body]));
}

/** A pair of Ed25519 as the configuration and `plugin sign` have it. */
export function sallyportPair() {
  const { privateKey, publicKey } = generateKeyPairSync("ed25519");
  return { privateKey, key: rawEd25519(publicKey).toString("base64") };
}

type MinisignOptions = {
  readonly comment?: string;
  /** `ED` unless it is given. */
  readonly algorithm?: string;
  /** What is hashed and signed in place of the bytes' BLAKE2b. */
  readonly hash?: string;
};

/** A pair of minisign. */
export function minisignPair(
  id: Buffer = Buffer.from("0102030405060708", "hex"),
  privateKey: KeyObject = generateKeyPairSync("ed25519").privateKey,
) {
  const publicKey = createPublicKey(privateKey);
  const key = Buffer.concat([Buffer.from("Ed"), id, rawEd25519(publicKey)]).toString("base64");
  const signs = (bytes: Uint8Array, options: MinisignOptions = {}): string => {
    const { comment = "timestamp:1700000000", algorithm = "ED", hash = "blake2b512" } = options;
    const digest = createHash(hash).update(bytes).digest();
    const signature = sign(null, algorithm === "Ed" ? bytes : digest, privateKey);
    const global = sign(null, Buffer.concat([signature, Buffer.from(comment)]), privateKey);
    return minisignText({ algorithm, id, signature, comment, global });
  };
  return { privateKey, key, id, sign: signs };
}

// The four lines.
function minisignText(parts: {
  readonly algorithm: string;
  readonly id: Buffer;
  readonly signature: Uint8Array;
  readonly comment: string;
  readonly global: Uint8Array;
}): string {
  const { algorithm, id, signature, comment, global } = parts;
  const first = Buffer.concat([Buffer.from(algorithm), id, signature]).toString("base64");
  const second = Buffer.from(global).toString("base64");
  return `untrusted comment: made\n${first}\ntrusted comment: ${comment}\n${second}\n`;
}

/** A pair of cosign. */
export function cosignPair(namedCurve = "prime256v1") {
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve });
  return {
    privateKey,
    key: spkiPem(publicKey),
    sign: (bytes: Uint8Array) => cosignText(bytes, privateKey),
  };
}

// What `cosign sign-blob --key` prints.
function cosignText(bytes: Uint8Array, privateKey: KeyObject): string {
  return `${sign("sha256", bytes, privateKey).toString("base64")}\n`;
}

function spkiPem(key: KeyObject): string {
  return key.export({ format: "pem", type: "spki" }).toString();
}
