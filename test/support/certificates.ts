// Certificates made in this process, for tests of TLS: an authority, what it signs, of either kind of
// key, of any names and any dates. X.509 v3 (RFC 5280), written down in DER.

import { generateKeyPairSync, randomBytes, sign } from "node:crypto";
import type { KeyObject } from "node:crypto";
import { certificatePem, oid, sequence, set, tagged, utcTime } from "../../gateway/cluster/der.ts";

const DAY_MS = 86_400_000;

export type Made = { readonly cert: string; readonly key: string };

export type Wanted = {
  /** Attributes of the subject, by their OID; a common name when it is a text. */
  readonly subject?: string | readonly (readonly [oid: string, text: string])[];
  readonly dns?: readonly string[];
  readonly uris?: readonly string[];
  readonly kind?: "ec" | "rsa";
  /** From now; negative: it has ended. */
  readonly validDays?: number;
};

/** Signs certificates with one key of its own. */
export class Authority {
  /** Its own certificate, as PEM text. */
  readonly cert: string;
  readonly #name: string;
  readonly #key: KeyObject;

  constructor(name: string) {
    this.#name = name;
    const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
    this.#key = privateKey;
    this.cert = this.#sign({ subject: name }, publicKey, [
      extension("2.5.29.19", sequence(tagged(0x01, Buffer.from([0xff])))),
    ]);
  }

  make(wanted: Wanted): Made {
    const { dns = [], uris = [] } = wanted;
    const { privateKey, publicKey } =
      wanted.kind === "rsa"
        ? generateKeyPairSync("rsa", { modulusLength: 2048 })
        : generateKeyPairSync("ec", { namedCurve: "P-256" });
    const names = [
      ...dns.map((name) => tagged(0x82, Buffer.from(name))),
      ...uris.map((uri) => tagged(0x86, Buffer.from(uri))),
    ];
    const extensions = names.length === 0 ? [] : [extension("2.5.29.17", sequence(...names))];
    return {
      cert: this.#sign(wanted, publicKey, extensions),
      key: String(privateKey.export({ type: "pkcs8", format: "pem" })),
    };
  }

  #sign(wanted: Wanted, publicKey: KeyObject, extensions: readonly Buffer[]): string {
    const { subject = "test", validDays = 30 } = wanted;
    const algorithm = sequence(oid("1.2.840.10045.4.3.2"));
    const endMs = Date.now() + validDays * DAY_MS;
    const startMs = Math.min(Date.now(), endMs) - DAY_MS;
    const body = sequence(
      tagged(0xa0, tagged(0x02, Buffer.from([2]))),
      tagged(0x02, Buffer.concat([Buffer.from([0x40]), randomBytes(15)])),
      algorithm,
      distinguishedName(this.#name),
      sequence(utcTime(startMs), utcTime(endMs)),
      distinguishedName(subject),
      publicKey.export({ type: "spki", format: "der" }),
      ...(extensions.length === 0 ? [] : [tagged(0xa3, sequence(...extensions))]),
    );
    const signature = sign("sha256", body, this.#key);
    return certificatePem(
      sequence(body, algorithm, tagged(0x03, Buffer.concat([Buffer.of(0), signature]))),
    );
  }
}

function distinguishedName(of: Wanted["subject"] & {}): Buffer {
  const attributes = typeof of === "string" ? [["2.5.4.3", of] as const] : of;
  return sequence(
    ...attributes.map(([id, text]) => set(sequence(oid(id), tagged(0x0c, Buffer.from(text))))),
  );
}

function extension(id: string, value: Buffer): Buffer {
  return sequence(oid(id), tagged(0x04, value));
}
