// Which callers get the candidate of a canary. A caller has a fixed place between 0 and 100; the
// candidate's share is all places below its weight. So a caller never flaps, the next step only adds
// callers, and every worker and machine agrees without asking.

import { hashText } from "../base/hash-text.ts";

/** What a caller is known by. */
export type Sticky = {
  readonly by: "ip" | "header" | "cookie" | "consumer";
  /** Of the header (lower-case) or cookie; empty for the others. */
  readonly name: string;
};

/**
 * True when this caller is in the candidate's share. `salt` is the rollout's: other callers come first
 * in the next one. `weight` is in percent, 0 for nobody and 100 for all.
 */
export function isInShare(salt: string, caller: string, weight: number): boolean {
  return (hashText(salt + caller) / 2 ** 32) * 100 < weight;
}

/**
 * What an address is known by: an IPv6 host changes the lower half of its address at will (RFC 8981), so
 * it is known by its network of 64 bits.
 */
export function callerOfAddress(address: string): string {
  // An IPv4 address in the clothes of IPv6 is known as what it is.
  if (address.startsWith("::ffff:")) return address.slice("::ffff:".length);
  if (!address.includes(":")) return address;
  const [head, tail = ""] = address.split("::");
  const groups = head === "" ? [] : head.split(":");
  if (address.includes("::")) {
    const rest = tail === "" ? [] : tail.split(":");
    while (groups.length + rest.length < 8) groups.push("0");
    groups.push(...rest);
  }
  return groups.slice(0, 4).join(":");
}
