// What a handshake said about a client, once per connection: for plugins, and for origins that ask for
// it. Of a client's certificate only what was verified against the listener's authorities.

import type { PeerCertificate, TLSSocket } from "node:tls";
import type { ClientCertificate, TlsFacts } from "../exchange.ts";

/** Reads them after the handshake. */
export function tlsFacts(socket: TLSSocket): TlsFacts {
  const { servername } = socket as { servername?: string | false };
  return {
    version: socket.getProtocol() ?? "",
    cipher: socket.getCipher().name,
    serverName: typeof servername === "string" ? servername.toLowerCase() : "",
    client: socket.authorized ? clientOf(socket.getPeerCertificate()) : null,
  };
}

function clientOf(certificate: PeerCertificate): ClientCertificate | null {
  if (certificate.fingerprint256 === undefined) return null;
  return {
    subject: distinguishedName(certificate.subject),
    issuer: distinguishedName(certificate.issuer),
    serial: certificate.serialNumber.toLowerCase(),
    fingerprint: certificate.fingerprint256.replaceAll(":", "").toLowerCase(),
    san: certificate.subjectaltname ?? "",
  };
}

function distinguishedName(name: PeerCertificate["subject"]): string {
  return Object.entries(name as Readonly<Record<string, string | string[] | undefined>>)
    .flatMap(([key, value]) => [value ?? []].flat().map((one) => `${key}=${escapeName(one)}`))
    .join(",");
}

// RFC 4514, 2.4: what would read as another attribute is escaped.
function escapeName(text: string): string {
  return text.replaceAll(/[,+"\\<>;=]/g, (char) => `\\${char}`);
}

const URIS = /(?:^|, )URI:([^,]+)/g;
const DNS_NAMES = /(?:^|, )DNS:([^,]+)/g;

/** The value of X-Forwarded-Client-Cert, in the form that Envoy made common. */
export function forwardedClientCert({ fingerprint, san, subject }: ClientCertificate): string {
  let text = `Hash=${fingerprint};Subject=${quoted(subject)}`;
  for (const [, uri] of san.matchAll(URIS)) text += `;URI=${value(uri)}`;
  for (const [, name] of san.matchAll(DNS_NAMES)) text += `;DNS=${value(name)}`;
  // A name may hold any text: what cannot stand in a field is shown as its UTF-8 bytes or a question mark.
  return Buffer.from(text, "utf8")
    .latin1Slice()
    .replaceAll(/[^\t\x20-\x7e\x80-\xff]/g, "?");
}

// Quoted where it would read as more than a value. A comma is in none: node:tls escapes it.
function value(text: string): string {
  return /[;="\\]/.test(text) ? quoted(text) : text;
}

function quoted(text: string): string {
  return `"${text.replaceAll(/["\\]/g, (char) => `\\${char}`)}"`;
}
