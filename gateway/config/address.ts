// Addresses as they are configured: what to listen on, where a target is, who is a trusted proxy.

import net from "node:net";

/** Host without brackets, and port. */
export type Address = { readonly host: string; readonly port: number };

/** What a listener may be given, in words. */
export const LISTEN_WORDS = "an IP address and a port, like 127.0.0.1:8080 or [::]:8080";

/** What a target may be given, in words. */
export const TARGET_WORDS = "a host and a port, like 10.0.0.1:9001 or orders.internal:9001";

/** An address to listen on: an IP address, and a port that may be 0 for any free one; or null. */
export function parseListenAddress(text: string): Address | null {
  const address = splitHostPort(text);
  return address !== null && net.isIP(address.host) !== 0 ? address : null;
}

/** An address to connect to: an IP address or a name, and a port from 1; or null. */
export function parseTargetAddress(text: string): Address | null {
  const address = splitHostPort(text);
  if (address === null || address.port === 0) return null;
  return net.isIP(address.host) !== 0 || isHostName(address.host) ? address : null;
}

/** True for a DNS name. Digits and dots that are no address are a typo and not a name. */
export function isHostName(host: string): boolean {
  if (host.length > 253 || /^[\d.]+$/.test(host)) return false;
  return /^(?!-)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?$/.test(host);
}

/** True for an IP address or a range such as 10.0.0.0/8. */
export function isAddressRange(text: string): boolean {
  const [address, bits, more] = text.split("/");
  const family = net.isIP(address);
  if (family === 0 || more !== undefined || address.includes("%")) return false;
  if (bits === undefined) return true;
  return /^(0|[1-9]\d{0,2})$/.test(bits) && Number(bits) <= (family === 4 ? 32 : 128);
}

/** True when listening on both at once would fail: the same, or one of them on every address. */
export function isSameSocket(a: Address, b: Address): boolean {
  if (a.port !== b.port || a.port === 0) return false;
  if (isEverywhere(a) || isEverywhere(b)) {
    // "::" takes IPv4 as well.
    return net.isIP(a.host) === net.isIP(b.host) || a.host === "::" || b.host === "::";
  }
  return normalIp(a.host) === normalIp(b.host);
}

function splitHostPort(text: string): Address | null {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]\s/%]+)):(0|[1-9]\d{0,4})$/.exec(text);
  if (match === null) return null;
  const [, v6, name, digits] = match;
  const port = Number(digits);
  if (port > 65_535 || (v6 !== undefined && !net.isIPv6(v6))) return null;
  return { host: v6 ?? name, port };
}

function isEverywhere({ host }: Address): boolean {
  return host === "0.0.0.0" || normalIp(host) === normalIp("::");
}

function normalIp(host: string): string {
  return net.isIPv6(host) ? new URL(`http://[${host}]`).hostname : host;
}
