// A certificate for a first start: self-signed, for this machine's own names, kept in the data
// directory and made again shortly before it ends. Browsers and curl will warn, as they should.

import {
  X509Certificate,
  createPrivateKey,
  generateKeyPairSync,
  randomBytes,
  sign,
} from "node:crypto";
import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { writeFileDurably } from "../base/write-file.ts";
import type { CertificatePem } from "../http/certificates.ts";
import { certificatePem, oid, sequence, set, tagged, utcTime } from "./der.ts";

const VALID_MS = 365 * 86_400_000;
const RENEW_MS = 7 * 86_400_000;

/** The certificate in the data directory, made when there is none that still lasts a week. */
export async function selfSignedCertificate(dataDir: string): Promise<CertificatePem> {
  const directory = join(dataDir, "tls");
  const certFile = join(directory, "self-signed.crt");
  const keyFile = join(directory, "self-signed.key");
  const kept = await readKept(certFile, keyFile);
  if (kept !== null) return kept;
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const made = makeCertificate(Date.now());
  await writeFileDurably(keyFile, made.key, 0o600);
  await writeFileDurably(certFile, made.cert, 0o644);
  return made;
}

async function readKept(certFile: string, keyFile: string): Promise<CertificatePem | null> {
  try {
    const cert = await readFile(certFile, "utf8");
    const key = await readFile(keyFile, "utf8");
    const parsed = new X509Certificate(cert);
    const lasts = Date.parse(parsed.validTo) - Date.now() > RENEW_MS;
    return lasts && parsed.checkPrivateKey(createPrivateKey(key)) ? { cert, key } : null;
  } catch {
    return null;
  }
}

// X.509 v3 (RFC 5280) in DER, for one fixed kind of certificate: ECDSA P-256 with SHA-256.
function makeCertificate(nowMs: number): CertificatePem {
  const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const algorithm = sequence(oid("1.2.840.10045.4.3.2"));
  const name = sequence(set(sequence(oid("2.5.4.3"), tagged(0x0c, Buffer.from("sallyport")))));
  const serial = randomBytes(16);
  serial[0] = (serial[0] & 0x7f) | 0x40;
  const extensions = sequence(
    extension("2.5.29.19", true, sequence(tagged(0x01, Buffer.from([0xff])))),
    extension("2.5.29.17", false, subjectNames()),
    extension("2.5.29.37", false, sequence(oid("1.3.6.1.5.5.7.3.1"))),
  );
  const body = sequence(
    tagged(0xa0, tagged(0x02, Buffer.from([2]))),
    tagged(0x02, serial),
    algorithm,
    name,
    sequence(utcTime(nowMs - 3_600_000), utcTime(nowMs + VALID_MS)),
    name,
    publicKey.export({ type: "spki", format: "der" }),
    tagged(0xa3, extensions),
  );
  const signature = sign("sha256", body, privateKey);
  const der = sequence(body, algorithm, tagged(0x03, Buffer.concat([Buffer.from([0]), signature])));
  return {
    cert: certificatePem(der),
    key: String(privateKey.export({ type: "pkcs8", format: "pem" })),
  };
}

function subjectNames(): Buffer {
  const v6 = Buffer.alloc(16);
  v6[15] = 1;
  return sequence(
    tagged(0x82, Buffer.from("localhost")),
    tagged(0x87, Buffer.from([127, 0, 0, 1])),
    tagged(0x87, v6),
  );
}

function extension(id: string, critical: boolean, value: Buffer): Buffer {
  const flag = critical ? [tagged(0x01, Buffer.from([0xff]))] : [];
  return sequence(oid(id), ...flag, tagged(0x04, value));
}
