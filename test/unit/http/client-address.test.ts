// Whom a request is from, behind proxies that are trusted and others: a table of chains.

import assert from "node:assert/strict";
import { test } from "node:test";
import { buildTrustedProxies, resolveClient } from "../../../gateway/http/client-address.ts";
import { RequestHead, parseRequestHead } from "../../../gateway/wire/request-head.ts";

const TRUSTED = buildTrustedProxies(["10.0.0.0/8", "2001:db8::/32"]) ?? assert.fail();

const CHAINS: readonly (readonly [what: string, chain: string, peer: string, client: string])[] = [
  ["no chain", "", "10.0.0.1", "10.0.0.1"],
  ["a stranger's chain is not believed", "203.0.113.1", "203.0.113.9", "203.0.113.9"],
  ["the last that is not a proxy", "203.0.113.1, 203.0.113.2, 10.1.1.1", "10.0.0.1", "203.0.113.2"],
  ["all are proxies: the first", "10.1.1.1, 10.2.2.2", "10.0.0.1", "10.1.1.1"],
  ["nothing before what is no address", "203.0.113.1, unknown, 10.2.2.2", "10.0.0.1", "10.2.2.2"],
  ["blanks around it", "\t203.0.113.1 ", "10.0.0.1", "203.0.113.1"],
  ["a byte that only looks blank", "\xa0203.0.113.1", "10.0.0.1", "10.0.0.1"],
  ["a port beside it is no address", "203.0.113.1:80", "10.0.0.1", "10.0.0.1"],
  ["IPv4 in IPv6 is IPv4", "::ffff:203.0.113.1", "10.0.0.1", "203.0.113.1"],
  ["in hexadecimal as well", "::FFFF:cb00:7101", "10.0.0.1", "203.0.113.1"],
  ["IPv6 has one spelling", "2001:DB9:0:0::0001", "10.0.0.1", "2001:db9::1"],
  ["and no zone", "fe80::1%eth0", "10.0.0.1", "fe80::1"],
  ["a proxy of IPv6", "203.0.113.1, 2001:0db8::7", "10.0.0.1", "203.0.113.1"],
];

for (const [what, chain, address, client] of CHAINS) {
  test(`${what}: ${JSON.stringify(chain)}`, () => {
    const field = chain === "" ? "" : `x-forwarded-for: ${chain}\r\n`;
    const head = parseRequestHead(`GET / HTTP/1.1\r\nhost: a\r\n${field}\r\n`);
    assert.ok(head instanceof RequestHead);
    const resolved = resolveClient(head, { address, scheme: "http" }, TRUSTED);
    assert.equal(resolved.clientIp, client);
    assert.ok(resolved.forwardedFor.endsWith(address));
  });
}
