// Which certificate a TLS client gets: the one for the name it asks for, exact before wildcard, else
// the first configured. Contexts are made when the configuration is applied, never per connection.

import { X509Certificate } from "node:crypto";
import tls from "node:tls";

/** A certificate chain and its key, as PEM text. */
export type CertificatePem = { readonly cert: string; readonly key: string };

export class CertificateSet {
  readonly #byName = new Map<string, tls.SecureContext>();
  readonly first: CertificatePem;

  /** Throws on a certificate or key that cannot be read. `certificates` is not empty. */
  constructor(certificates: readonly CertificatePem[]) {
    this.first = certificates[0];
    for (const pem of certificates) {
      const context = tls.createSecureContext({ ...pem, minVersion: "TLSv1.2" });
      for (const name of dnsNames(pem.cert)) {
        if (!this.#byName.has(name)) this.#byName.set(name, context);
      }
    }
  }

  /** The context for a name of SNI; undefined: the first certificate answers. */
  find(serverName: string): tls.SecureContext | undefined {
    const name = serverName.toLowerCase();
    const exact = this.#byName.get(name);
    if (exact !== undefined) return exact;
    const dot = name.indexOf(".");
    return dot === -1 ? undefined : this.#byName.get(`*${name.slice(dot)}`);
  }
}

function dnsNames(pem: string): string[] {
  const names = new X509Certificate(pem).subjectAltName ?? "";
  return names
    .split(", ")
    .filter((name) => name.startsWith("DNS:"))
    .map((name) => name.slice(4).toLowerCase());
}
