// The PROXY protocol: headers row by row, refused ones with the exact byte at which they are
// refused, every bound at n and n + 1. Properties over good and mangled headers: cuts make no
// difference, a refusal is neither late nor early, what is written is read back. SEED repeats a run.

import assert from "node:assert/strict";
import net from "node:net";
import { test } from "node:test";
import fc from "fast-check";
import { LIMITS } from "../../../gateway/base/limits.ts";
import {
  ProxyHeaderReader,
  proxyHeaderV1,
  proxyHeaderV2,
} from "../../../gateway/wire/proxy-protocol.ts";
import type { ProxyHeader, ProxyRead } from "../../../gateway/wire/proxy-protocol.ts";
import { SEED } from "../../support/random.ts";

const LINE_BYTES_MAX = 107;
const NEXT = "GET / HTTP/1.1\r\n\r\n";
const SIGNATURE = "\r\n\r\n\0\r\nQUIT\n";
// Version, command, family and protocol: bytes 13 and 14 of version 2.
const LOCAL = 0x2000;
const UNSPEC = 0x2100;
const IPV4 = 0x2111;
const IPV6 = 0x2121;

const latin1 = (text: string) => Buffer.from(text, "latin1");
const hex = (text: string) => Buffer.from(text.replaceAll(" ", ""), "hex");
const at = (address: string, port: number) => ({ address, port });

/** Reads the bytes in pieces that end at the given offsets, until the reader says something. */
function read(bytes: Buffer, cuts: readonly number[] = []): ProxyRead {
  const reader = new ProxyHeaderReader();
  let from = 0;
  for (const cut of [...cuts, bytes.length]) {
    const said = reader.push(bytes.subarray(from, cut));
    if (said.kind === "bad") return said;
    if (said.kind === "done") {
      return { ...said, rest: Buffer.concat([said.rest, bytes.subarray(cut)]) };
    }
    from = cut;
  }
  return { kind: "more" };
}

function headerOf(bytes: Buffer): ProxyHeader {
  const said = read(bytes);
  assert.ok(said.kind === "done", JSON.stringify({ said, bytes: bytes.latin1Slice() }));
  return said.header;
}

/** "address port > address port", or "unknown". */
function shown({ source, destination }: ProxyHeader): string {
  if (source === null || destination === null) return "unknown";
  return `${source.address} ${source.port} > ${destination.address} ${destination.port}`;
}

/** Nothing is wrong before the last byte, and all is lost with it. */
function assertRefusedAtLastByte(bytes: Buffer, what: string): void {
  assert.equal(read(bytes.subarray(0, -1)).kind, "more", `${what}: refused early`);
  assert.equal(read(bytes).kind, "bad", `${what}: not refused`);
}

/** A version 2 header; `length` is what it says its length were. */
function binary(kind: number, block = Buffer.alloc(0), length = block.length): Buffer {
  const fixed = Buffer.alloc(4);
  fixed.writeUInt16BE(kind, 0);
  fixed.writeUInt16BE(length, 2);
  return Buffer.concat([latin1(SIGNATURE), fixed, block]);
}

function tlv(type: number, valueBytes: number): Buffer {
  const head = Buffer.from([type, valueBytes >> 8, valueBytes & 0xff]);
  return Buffer.concat([head, Buffer.alloc(valueBytes, "v")]);
}

const V4_BLOCK = hex("c0000201 c6336402 dc04 01bb");
const V6_BLOCK = hex(`20010db8${"0".repeat(23)}1 20010db8${"0".repeat(23)}2 dc04 01bb`);
const MAPPED_BLOCK = hex(`${"0".repeat(20)}ffffc0000201 ${"0".repeat(31)}1 0000 0001`);
const V4 = "192.0.2.1 56324 > 198.51.100.2 443";
const V6 = "2001:db8::1 56324 > 2001:db8::2 443";
const FROM_V4 = at("192.0.2.1", 56324);
const TO_V4 = at("198.51.100.2", 443);
const FROM_V6 = at("2001:db8::1", 56324);
const TO_V6 = at("2001:db8::2", 443);

const withTlvs = (...tlvs: Buffer[]) => binary(IPV4, Buffer.concat([V4_BLOCK, ...tlvs]));

const LINES: [line: string, header: string][] = [
  ["PROXY TCP4 192.0.2.1 198.51.100.2 56324 443", V4],
  ["PROXY TCP4 0.0.0.0 255.255.255.255 0 65535", "0.0.0.0 0 > 255.255.255.255 65535"],
  ["PROXY TCP6 2001:db8::1 2001:DB8:0:0:0:0:0:2 56324 443", V6],
  ["PROXY TCP6 :: ::1 1 2", ":: 1 > ::1 2"],
  ["PROXY TCP6 1:2:3:4:5:6:7:: 00a:0:0:0:1:0:0:1 1 2", "1:2:3:4:5:6:7:0 1 > a::1:0:0:1 2"],
  ["PROXY TCP6 ::ffff:192.0.2.1 ::FFFF:c633:6402 56324 443", V4],
  ["PROXY TCP6 0:0:0:0:0:ffff:1.2.3.4 a::b 5 6", "1.2.3.4 5 > a::b 6"],
  ["PROXY UNKNOWN", "unknown"],
  ["PROXY UNKNOWN ", "unknown"],
  ["PROXY UNKNOWN 192.0.2.1 198.51.100.2 56324 443", "unknown"],
  ["PROXY UNKNOWN  \0\t\xff PROXY TCP4", "unknown"],
];

const BINARIES: [what: string, bytes: Buffer, header: string][] = [
  ["TCP over IPv4", binary(IPV4, V4_BLOCK), V4],
  ["TCP over IPv6", binary(IPV6, V6_BLOCK), V6],
  ["IPv4 mapped into IPv6", binary(IPV6, MAPPED_BLOCK), "192.0.2.1 0 > ::1 1"],
  ["a header with TLVs", withTlvs(tlv(4, 0), tlv(1, 2), tlv(255, 256), tlv(32, 200)), V4],
  ["a TLV after IPv6", binary(IPV6, Buffer.concat([V6_BLOCK, tlv(2, 9)])), V6],
  ["LOCAL", binary(LOCAL), "unknown"],
  ["LOCAL with addresses that do not count", binary(LOCAL | 0x11, V4_BLOCK), "unknown"],
  ["LOCAL with bytes of no form", binary(LOCAL | 0x21, hex("ffff")), "unknown"],
  ["an unspecified family", binary(UNSPEC), "unknown"],
  ["an unspecified family with any bytes", binary(UNSPEC, Buffer.alloc(216, 255)), "unknown"],
];

const GOOD: typeof BINARIES = [
  ...LINES.map(([line, header]): (typeof BINARIES)[0] => [line, latin1(`${line}\r\n`), header]),
  ...BINARIES,
];

for (const [what, bytes, header] of GOOD) {
  test(`${JSON.stringify(what)} is read, and what follows is left`, () => {
    for (const rest of ["", NEXT]) {
      const said = read(Buffer.concat([bytes, latin1(rest)]));
      assert.ok(said.kind === "done", JSON.stringify(said));
      assert.equal(shown(said.header), header);
      assert.equal(said.rest.latin1Slice(), rest);
    }
    for (let cut = 0; cut < bytes.length; cut++) {
      assert.deepEqual(read(bytes.subarray(0, cut)), { kind: "more" }, `${cut} bytes are enough`);
    }
  });
}

const TO = "PROXY TCP4 1.2.3.4 5.6.7.8 ";

// What comes first is right; of each ending the byte after the mark is the first that is not.
const REFUSED: [begin: string, endings: string[]][] = [
  ["", ["|G", "|p", "|\n", "|\0", "| PROXY", "\r|P", "\r\n\r|\r", "P|r", "PROXY|\t", "PROXY|\r"]],
  ["PROXY ", ["| ", "|t", "|\r", "U|DP4", "UN|I", "UNK|\r"]],
  ["PROXY TCP", ["|5", "|\r", "6|\t", "4|\t", "4|\r"]],
  ["PROXY UNKNOWN", ["|S", "|\t", "|\n", "|\0", " x|\n", "\r|\r", "\r| ", " x\r|x"]],
  ["PROXY TCP4 ", ["| ", "|:", "|-", "|\r", "|\xb9", "0|1", "25|6", "1|x", "1|:", "1.|.", "1.2| "]],
  ["PROXY TCP4 1.2.3.", ["25|6", "4|.", "4|\t", "4|\r", "4|\n", "4|,", "4 | ", "4 |:", "4 5| "]],
  ["PROXY TCP6 ", ["|.", "1|.", ":| ", ":|1", "::|:", "1::2:|:", "abcd|e", "|g", "|["]],
  ["PROXY TCP6 1", [":2:3:4:5:6:7:8|:", ":2:3:4:5:6:7| ", "::2:3:4:5:6:7|:"]],
  ["PROXY TCP6 ::1", [".2.3.4|:", ".2.3|:", "234|.", "|%eth0", " 1|."]],
  [TO, ["|x", "|-", "|+", "| ", "|\r", "0|0", "0|x", "6553|6", "65535|0", "65|.", "1|\r", "1|\n"]],
  [`${TO}1`, ["|e", " | ", " |\r", " 0|1", " 6553|6", " 2| ", " 2|\n", " 2|\0", " 2|\x85"]],
  [`${TO}1 2\r`, ["|\r", "| ", "|\0"]],
];

test("a line is refused at the first byte that cannot be right", () => {
  for (const [begin, endings] of REFUSED) {
    for (const ending of endings) {
      const bytes = latin1(begin + ending.replace("|", ""));
      const wrongAt = begin.length + ending.indexOf("|");
      assertRefusedAtLastByte(bytes.subarray(0, wrongAt + 1), JSON.stringify(begin + ending));
    }
  }
});

test("version 2 is refused at the first byte that cannot be right", () => {
  for (let byte = 0; byte < SIGNATURE.length; byte++) {
    const signature = latin1(SIGNATURE).subarray(0, byte + 1);
    signature[byte] ^= 1;
    assertRefusedAtLastByte(signature, `signature byte ${byte}`);
  }
  for (let byte = 0; byte < 256; byte++) {
    const command = binary(byte << 8).subarray(0, 13);
    if (byte === 0x20 || byte === 0x21) assert.equal(read(command).kind, "more");
    else assertRefusedAtLastByte(command, `version and command ${byte}`);

    const kind = 0x2100 | byte;
    const family = binary(kind).subarray(0, 14);
    if ([UNSPEC, IPV4, IPV6].includes(kind)) assert.equal(read(family).kind, "more");
    else assertRefusedAtLastByte(family, `family and protocol ${byte}`);

    assert.equal(shown(headerOf(binary(LOCAL | byte))), "unknown", "LOCAL ignores the family");
  }
});

test("the bounds of version 1: n is taken, n + 1 is refused", () => {
  const unknown = (bytes: number) => latin1(`${"PROXY UNKNOWN ".padEnd(bytes - 2, "f")}\r\n`);
  assert.equal(shown(headerOf(unknown(LINE_BYTES_MAX))), "unknown");
  const tooLong = unknown(LINE_BYTES_MAX + 1);
  assert.equal(read(tooLong).kind, "bad");
  // Without CR as its last byte but one it cannot end in time.
  assertRefusedAtLastByte(tooLong.subarray(0, LINE_BYTES_MAX - 1), "a line");

  const longest = "ffff:".repeat(8).slice(0, -1);
  const line = latin1(`PROXY TCP6 ${longest} ${longest} 65535 65535\r\n`);
  assert.equal(shown(headerOf(line)), `${longest} 65535 > ${longest} 65535`);
  const zeros = `PROXY TCP6 ${"0000:".repeat(5)}ffff:`;
  assert.equal(shown(headerOf(latin1(`${zeros}1.2.3.255 :: 1 1\r\n`))), "1.2.3.255 1 > :: 1");
  assertRefusedAtLastByte(latin1(`${zeros}1.22.33.25`), "an address of 40 characters");
});

test("the bounds of version 2: n is taken, n + 1 is refused", () => {
  const lengthMax = LIMITS.proxyHeaderBytesMax - 16;
  const longest = withTlvs(tlv(4, lengthMax - 12 - 3));
  assert.equal(longest.length, LIMITS.proxyHeaderBytesMax);
  assert.equal(shown(headerOf(longest)), V4);
  for (const kind of [LOCAL, UNSPEC, IPV4]) {
    assertRefusedAtLastByte(binary(kind, undefined, lengthMax + 1), "one byte too long");
    assertRefusedAtLastByte(binary(kind, undefined, 0x300).subarray(0, 15), "by the first byte");
  }
  for (const kind of [IPV4, IPV6]) {
    const bytes = kind === IPV4 ? 12 : 36;
    assert.equal(read(binary(kind, Buffer.alloc(bytes))).kind, "done");
    assertRefusedAtLastByte(binary(kind, undefined, bytes - 1), "one byte too few");
    assertRefusedAtLastByte(binary(kind, undefined, bytes + 1), "no room for a TLV");
    assertRefusedAtLastByte(binary(kind, undefined, bytes + 2), "no room for a TLV");
    assert.equal(read(binary(kind, undefined, bytes + 3)).kind, "more");
  }
});

test("TLVs end where the header ends: a length that leads elsewhere is refused at once", () => {
  const cut = (header: Buffer, tlvs: string) => Buffer.concat([header.subarray(0, 28), hex(tlvs)]);
  const five = withTlvs(tlv(4, 2));
  assertRefusedAtLastByte(cut(five, "04 0003"), "one byte beyond the end");
  assertRefusedAtLastByte(cut(five, "04 0001"), "one byte left over");
  assertRefusedAtLastByte(cut(five, "04 0000"), "two bytes left over");
  assertRefusedAtLastByte(cut(five, "04 01"), "beyond the end by the first byte of a length");
  const two = withTlvs(tlv(4, 0), tlv(5, 1));
  assertRefusedAtLastByte(cut(two, "04 0000 05 0002"), "the second one beyond the end");
  // Bytes of the next protocol are no part of a TLV.
  const leftover = binary(IPV4, Buffer.concat([V4_BLOCK, hex("00")]));
  assert.equal(read(Buffer.concat([leftover, Buffer.alloc(9)])).kind, "bad");
});

test("bytes that wait may be overwritten, and the rest is a view of the last ones", () => {
  const reader = new ProxyHeaderReader();
  const shared = latin1("PROXY TCP4 192.0.2.1 ");
  assert.equal(reader.push(shared).kind, "more");
  shared.fill("x");
  assert.equal(reader.push(Buffer.alloc(0)).kind, "more");
  const last = latin1(`198.51.100.2 56324 443\r\n${NEXT}`);
  const said = reader.push(last);
  assert.ok(said.kind === "done");
  assert.equal(shown(said.header), V4);
  assert.equal(said.rest.latin1Slice(), NEXT);
  last.fill("y");
  assert.equal(said.rest.latin1Slice(), "y".repeat(NEXT.length));
});

// Zeros often, or the spellings would hardly differ.
const octets = fc
  .array(fc.oneof(fc.nat(255), fc.constant(0)), { minLength: 16, maxLength: 16 })
  .map((values) => Buffer.from(values));
const spellFull = (bytes: Buffer) => bytes.toString("hex").replace(/(....)(?=.)/g, "$1:");
const spellShort = (bytes: Buffer) => spellFull(bytes).replace(/\b0+(?=[0-9a-f])/g, "");
const addresses = fc.oneof(
  fc.ipV4(),
  fc.ipV4().map((address) => `::ffff:${address}`),
  fc.ipV6(),
  octets.map(spellFull),
  octets.map((bytes) => spellShort(bytes).toUpperCase()),
  octets.map((bytes) => `${spellShort(bytes.subarray(0, 12))}:${bytes.subarray(12).join(".")}`),
);
const ports = fc.oneof(fc.nat(65535), fc.constantFrom(0, 65535));
const anyEnd = fc.record({ address: addresses, port: ports });
const ends = fc.tuple(anyEnd, anyEnd);

function assertHolds<T>(property: fc.IProperty<T>): void {
  fc.assert(property, { seed: SEED, numRuns: 1000 });
}

function isSameAddress(a: string, b: string): boolean {
  const family = (address: string) => (net.isIPv4(address) ? "ipv4" : "ipv6");
  const list = new net.BlockList();
  list.addAddress(a, family(a));
  return list.check(b, family(b));
}

test("what is written is read back, the same from both versions", () => {
  const search = fc.property(ends, ([from, to]) => {
    const { source, destination } = headerOf(proxyHeaderV2(from, to));
    assert.ok(source !== null && destination !== null);
    assert.ok(isSameAddress(from.address, source.address), `${source.address} is another`);
    assert.ok(isSameAddress(to.address, destination.address), `${destination.address} is another`);
    assert.deepEqual([source.port, destination.port], [from.port, to.port]);
    assert.ok(!/^::ffff:.*\./.test(source.address), "IPv4 in IPv6 is shown as IPv4");
    const isMixed = net.isIP(source.address) !== net.isIP(destination.address);
    const line = headerOf(latin1(proxyHeaderV1(from, to)));
    assert.equal(shown(line), isMixed ? "unknown" : shown({ source, destination }));
  });
  assertHolds(search);
});

test("outgoing headers, byte by byte", () => {
  assert.deepEqual(proxyHeaderV2(FROM_V4, TO_V4), binary(IPV4, V4_BLOCK));
  assert.deepEqual(proxyHeaderV2(FROM_V6, TO_V6), binary(IPV6, V6_BLOCK));
  const mixed = proxyHeaderV2(FROM_V4, TO_V6).subarray(16, 48).toString("hex");
  assert.equal(mixed, `${"0".repeat(20)}ffffc000020120010db8${"0".repeat(23)}2`);
  assert.equal(proxyHeaderV1(FROM_V4, TO_V4), "PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n");
  // A socket on [::] shows its IPv4 peers in IPv6, and a link-local peer with its interface.
  const mapped = at("::ffff:192.0.2.1", 56324);
  assert.equal(proxyHeaderV1(mapped, TO_V4), proxyHeaderV1(FROM_V4, TO_V4));
  const scoped = proxyHeaderV1(at("fe80::1%eth0", 1), TO_V6);
  assert.equal(scoped, "PROXY TCP6 fe80::1 2001:db8::2 1 443\r\n");
  assert.equal(proxyHeaderV1(FROM_V4, TO_V6), "PROXY UNKNOWN\r\n");
  for (const wrong of [at("localhost", 1), at("", 1), at("1.2.3.4", 65536), at("::1", -1)]) {
    assert.throws(() => proxyHeaderV1(wrong, TO_V4), { name: /Error$/ });
    assert.throws(() => proxyHeaderV2(TO_V4, wrong), { name: /Error$/ });
  }
});

const tlvs = fc.array(fc.tuple(fc.nat(255), fc.nat(160)), { maxLength: 3 });
const goodHeaders = fc.oneof(
  fc.constantFrom(...GOOD.map(([, bytes]) => bytes)),
  ends.map(([from, to]) => latin1(proxyHeaderV1(from, to))),
  ends.map(([from, to]) => proxyHeaderV2(from, to)),
  tlvs.map((list) => withTlvs(...list.map(([type, bytes]) => tlv(type, bytes)))),
);
const sharpBytes = fc.constantFrom(...latin1(" \r\n\0:.%/0159afF\x02\x10\x11\x20\x21\xff"));
const edit = fc.record({
  where: fc.nat(LIMITS.proxyHeaderBytesMax),
  drop: fc.nat(2),
  add: fc.array(sharpBytes, { maxLength: 2 }),
});

function applyEdit(
  bytes: Buffer,
  { where, drop, add }: { where: number; drop: number; add: number[] },
): Buffer {
  const from = where % (bytes.length + 1);
  return Buffer.concat([bytes.subarray(0, from), Buffer.from(add), bytes.subarray(from + drop)]);
}

/** Good headers with up to two places changed, and something behind them. */
const mangledHeaders = fc
  .tuple(goodHeaders, fc.array(edit, { maxLength: 2 }), fc.constantFrom("", NEXT, " 1\r\n", "\n"))
  .map(([header, edits, next]) => Buffer.concat([edits.reduce(applyEdit, header), latin1(next)]));

test("every good header is taken", () => {
  assertHolds(fc.property(goodHeaders, (bytes) => void headerOf(bytes)));
});

test("cuts make no difference, and what was said of a beginning stands", () => {
  const search = fc.property(mangledHeaders, fc.array(fc.nat(600)), (bytes, offsets) => {
    const whole = read(bytes);
    assert.deepEqual(read(bytes, [...bytes.keys()]), whole);
    const cuts = offsets.map((offset) => offset % (bytes.length + 1)).sort((a, b) => a - b);
    assert.deepEqual(read(bytes, cuts), whole);
  });
  assertHolds(search);
});

test("no refusal is late: as long as it says more, some next byte is not refused", () => {
  const search = fc.property(mangledHeaders, (bytes) => {
    let length = bytes.length;
    while (read(bytes.subarray(0, length)).kind !== "more") length--;
    const begun = bytes.subarray(0, length);
    const withNext = (byte: number) => Buffer.concat([begun, Buffer.from([byte])]);
    const nexts = Array.from({ length: 256 }, (_, byte) => read(withNext(byte)).kind);
    assert.ok(nexts.some((kind) => kind !== "bad"));
  });
  assertHolds(search);
});

/** True for a whole line at the beginning, by another way. */
function beginsWithLine(text: string): boolean {
  const match = /^PROXY (UNKNOWN(?: [^\r\n]*)?|TCP([46]) (\S+) (\S+) (\d+) (\d+))\r\n/.exec(text);
  if (match === null || match[0].length > LINE_BYTES_MAX) return false;
  const [, , version, from, to, ...ports] = match;
  if (version === undefined) return true;
  const isAddress = (word: string) =>
    net.isIP(word) === Number(version) && word.length < 40 && !word.includes("%");
  const isPort = (word: string) => String(Number(word)) === word && Number(word) < 65536;
  return isAddress(from) && isAddress(to) && ports.every(isPort);
}

test("a line is taken exactly when it is one", () => {
  const taken = { yes: 0, no: 0 };
  const search = fc.property(mangledHeaders, (bytes) => {
    if (bytes[0] !== 0x50) return;
    const isLine = beginsWithLine(bytes.latin1Slice());
    taken[isLine ? "yes" : "no"]++;
    assert.equal(read(bytes).kind === "done", isLine, JSON.stringify(bytes.latin1Slice()));
  });
  assertHolds(search);
  assert.ok(taken.yes > 100 && taken.no > 100, "the search met both kinds");
});

test("any bytes come to an end within the bound, and nothing throws", () => {
  const begins = ["", "PROXY ", "PROXY UNKNOWN ", "PROXY TCP6 ", SIGNATURE, `${SIGNATURE}\x21`];
  const random = fc.uint8Array({ minLength: 600, maxLength: 600 });
  const tails = fc.oneof(
    random,
    sharpBytes.map((byte) => Buffer.alloc(600, byte)),
  );
  const search = fc.property(fc.constantFrom(...begins), tails, (begin, tail) => {
    const bytes = Buffer.concat([latin1(begin), tail]);
    const bytesMax = begin.startsWith("PROXY") ? LINE_BYTES_MAX : LIMITS.proxyHeaderBytesMax;
    assert.notEqual(read(bytes.subarray(0, bytesMax)).kind, "more");
  });
  assertHolds(search);
});
