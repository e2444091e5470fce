// Which certificate a TLS client gets: the one for the name it asks for, exact before wildcard, else
// the first configured. Of two with different kinds of key for one name (ECDSA beside RSA) it gets the
// one it can verify. Contexts are made when the configuration is applied, never per connection.

import { X509Certificate } from "node:crypto";
import tls from "node:tls";

/** A certificate chain and its key, as PEM text. */
export type CertificatePem = { readonly cert: string; readonly key: string };

/** What all certificates of a listener share. */
export type TlsPolicy = {
  readonly minVersion: "TLSv1.2" | "TLSv1.3";
  /** PEM text of the authorities that clients' certificates must come from; null: none is asked for. */
  readonly clientCa: string | null;
};

/** Forward secrecy and authenticated encryption only; TLS 1.3 has nothing else. */
const CIPHERS = [
  "TLS_AES_128_GCM_SHA256",
  "TLS_AES_256_GCM_SHA384",
  "TLS_CHACHA20_POLY1305_SHA256",
  "ECDHE-ECDSA-AES128-GCM-SHA256",
  "ECDHE-RSA-AES128-GCM-SHA256",
  "ECDHE-ECDSA-AES256-GCM-SHA384",
  "ECDHE-RSA-AES256-GCM-SHA384",
  "ECDHE-ECDSA-CHACHA20-POLY1305",
  "ECDHE-RSA-CHACHA20-POLY1305",
].join(":");

/** How the signatures that each kind of key makes begin in `getSharedSigalgs`. */
const SIGNATURES: Readonly<Record<string, string>> = {
  ec: "ECDSA+",
  rsa: "RSA",
  "rsa-pss": "RSA-PSS+",
  ed25519: "Ed25519+",
  ed448: "Ed448+",
};

type Loaded = { readonly pem: CertificatePem; readonly kind: string; readonly names: string[] };

/** One certificate as an answer to a name. */
type Offer = { readonly signatures: string; readonly context: tls.SecureContext };

export class CertificateSet {
  /** By name, one offer for each kind of key; null: what answers when no name fits. */
  readonly #byName = new Map<string, readonly Offer[] | null>();
  /** Options of the context that answers when no name fits. */
  readonly fallback: tls.SecureContextOptions;

  /** Throws on a certificate or key that cannot be read. `certificates` is not empty. */
  constructor(certificates: readonly CertificatePem[], policy: TlsPolicy) {
    const loaded = certificates.map(load);
    const [first] = loaded;
    const [firstName] = first.names;
    const answering = firstName === undefined ? [first] : companions(loaded, firstName);
    this.fallback = contextOptions(answering, policy);
    // Fails here for a key that is not its certificate's, and not at the first handshake.
    tls.createSecureContext(this.fallback);
    // A context that SNI chose is good for one certificate only, whatever it holds.
    const offers = loaded.map((each) => ({
      signatures: SIGNATURES[each.kind] ?? "",
      context: tls.createSecureContext(contextOptions([each], policy)),
    }));
    for (const name of new Set(loaded.flatMap(({ names }) => names))) {
      const group = companions(loaded, name);
      const isFallback =
        group.length === answering.length && group.every((each, i) => each === answering[i]);
      this.#byName.set(name, isFallback ? null : group.map((each) => offers[loaded.indexOf(each)]));
    }
  }

  /**
   * The context for a name of SNI; undefined: the first certificate answers. `signatures` are those
   * that both sides know, best first. Never throws.
   */
  find(serverName: string, signatures: readonly string[]): tls.SecureContext | undefined {
    const offers = this.#offersFor(serverName.toLowerCase());
    if (offers === null) return undefined;
    for (const signature of signatures) {
      for (const offer of offers) if (signature.startsWith(offer.signatures)) return offer.context;
    }
    return offers[0].context;
  }

  #offersFor(name: string): readonly Offer[] | null {
    const exact = this.#byName.get(name);
    if (exact !== undefined) return exact;
    const dot = name.indexOf(".");
    return dot === -1 ? null : (this.#byName.get(`*${name.slice(dot)}`) ?? null);
  }
}

// The first certificate of each kind of key for a name.
function companions(loaded: readonly Loaded[], name: string): readonly Loaded[] {
  const kinds = new Map<string, Loaded>();
  for (const each of loaded) {
    if (each.names.includes(name) && !kinds.has(each.kind)) kinds.set(each.kind, each);
  }
  return [...kinds.values()];
}

function contextOptions(group: readonly Loaded[], policy: TlsPolicy): tls.SecureContextOptions {
  return {
    cert: group.map(({ pem }) => pem.cert),
    key: group.map(({ pem }) => pem.key),
    ca: policy.clientCa ?? undefined,
    minVersion: policy.minVersion,
    ciphers: CIPHERS,
    honorCipherOrder: true,
  };
}

function load(pem: CertificatePem): Loaded {
  const certificate = new X509Certificate(pem.cert);
  const names = (certificate.subjectAltName ?? "")
    .split(", ")
    .filter((name) => name.startsWith("DNS:"))
    .map((name) => name.slice(4).toLowerCase());
  return { pem, kind: certificate.publicKey.asymmetricKeyType ?? "", names };
}
