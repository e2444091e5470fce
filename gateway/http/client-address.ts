// Who the client is. The socket's peer, unless that is a trusted proxy: then what the chain of
// X-Forwarded-For says, read from its end and only as far as trust goes. A stranger's header is never
// believed and never passed on.

import net from "node:net";
import type { RequestHead } from "../wire/request-head.ts";

const CHAIN_MAX = 32;

export type ClientAddress = {
  readonly clientIp: string;
  /** What to send as X-Forwarded-For. */
  readonly forwardedFor: string;
  readonly scheme: "http" | "https";
};

/** The trusted addresses and ranges of `trusted_proxies`; null when there are none. */
export function buildTrustedProxies(entries: readonly string[]): net.BlockList | null {
  if (entries.length === 0) return null;
  const list = new net.BlockList();
  for (const entry of entries) {
    const [address, bits] = entry.split("/");
    const family = net.isIPv6(address) ? "ipv6" : "ipv4";
    if (bits === undefined) list.addAddress(address, family);
    else list.addSubnet(address, Number(bits), family);
  }
  return list;
}

/** IPv4 in IPv6 is shown as IPv4, so that one client has one address. */
export function plainAddress(address: string): string {
  return address.startsWith("::ffff:") && address.includes(".") ? address.slice(7) : address;
}

/** The client behind a trusted peer; for any other peer the peer itself. */
export function resolveClient(
  head: RequestHead,
  peer: { address: string; scheme: "http" | "https" },
  trusted: net.BlockList,
): ClientAddress {
  if (!isListed(trusted, peer.address)) {
    return { clientIp: peer.address, forwardedFor: peer.address, scheme: peer.scheme };
  }
  const chain: string[] = [];
  let proto: string | null = null;
  head.fields.forEach((name, value) => {
    if (name === "x-forwarded-for") chain.push(...value.split(",").map(trimBlanks));
    else if (name === "x-forwarded-proto") proto = value.toLowerCase();
  });
  const scheme = proto === "https" || proto === "http" ? proto : peer.scheme;
  let clientIp = peer.address;
  const kept: string[] = [];
  for (let i = chain.length - 1; i >= 0 && chain.length - i <= CHAIN_MAX; i--) {
    // What is not an address was not written by a proxy: neither it nor anything before it counts.
    if (net.isIP(chain[i]) === 0) break;
    const address = canonicalAddress(chain[i]);
    kept.unshift(address);
    clientIp = address;
    if (!isListed(trusted, address)) break;
  }
  return { clientIp, forwardedFor: [...kept, peer.address].join(", "), scheme };
}

/** Whether the address is one of the list's. */
export function isListed(list: net.BlockList, address: string): boolean {
  return list.check(address, net.isIPv6(address) ? "ipv6" : "ipv4");
}

// Blanks of HTTP only: trim() would take U+00A0 away too, which is a byte of somebody's text.
function trimBlanks(text: string): string {
  return text.replaceAll(/^[ \t]+|[ \t]+$/g, "");
}

// However it was spelt: as a socket would show it, and without the zone of a link-local address.
function canonicalAddress(text: string): string {
  const [address] = text.split("%");
  const family = net.isIPv6(address) ? "ipv6" : "ipv4";
  return plainAddress(new net.SocketAddress({ address, family }).address);
}
