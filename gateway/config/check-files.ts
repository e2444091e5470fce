// The files that a configuration names: certificates, keys, authorities. They are read here, so that
// a missing or wrong one is a fault of the candidate and not of the handshake after it went live.

import { X509Certificate, createPrivateKey } from "node:crypto";
import { readField } from "./context.ts";
import type { CheckContext } from "./context.ts";
import type { FaultList } from "./fault-list.ts";

type World = { readonly context: CheckContext; readonly faults: FaultList };

/** A certificate and its key: both must be readable, parse and belong together. */
export function checkCertificate(
  files: { readonly cert_file?: string; readonly key_file?: string },
  path: string,
  world: World,
): void {
  const { cert_file: certFile, key_file: keyFile } = files;
  const cert = certFile === undefined ? null : readField(certFile, `${path}/cert_file`, world);
  const key = keyFile === undefined ? null : readField(keyFile, `${path}/key_file`, world);
  const certificate = cert === null ? null : attempt(() => new X509Certificate(cert));
  const privateKey = key === null ? null : attempt(() => createPrivateKey(key));
  if (cert !== null && certificate === null) {
    world.faults.outOfRange(`${path}/cert_file`, certFile, "a file with a PEM certificate");
  }
  if (key !== null && privateKey === null) {
    const allowed = "a file with a PEM private key that has no passphrase";
    world.faults.outOfRange(`${path}/key_file`, keyFile, allowed);
  }
  if (certificate === null || privateKey === null) return;
  if (certificate.checkPrivateKey(privateKey)) return;
  world.faults.add({
    code: "conflict",
    message: "the key does not belong to the certificate",
    path: `${path}/key_file`,
    found: String(keyFile),
    allowed: `the key of ${certFile}`,
    at: "value",
  });
}

/** A file of authorities must be readable and hold a certificate. */
export function checkAuthorities(file: string, path: string, world: World): void {
  const text = readField(file, path, world);
  if (text === null || attempt(() => new X509Certificate(text)) !== null) return;
  world.faults.outOfRange(path, file, "a file with PEM certificates");
}

function attempt<T>(make: () => T): T | null {
  try {
    return make();
  } catch {
    return null;
  }
}
