// The PROXY protocol, versions 1 and 2 (proxy-protocol.txt of HAProxy, 2020/03/05): who a connection
// is made for, said in front of its first byte. It decides whose request it is, so there is no guess:
// a connection without a header is refused, and a header at the first byte that cannot be right.
// Section numbers are those of the document.

import net from "node:net";
import { LIMITS } from "../base/limits.ts";

/** One end of a TCP connection; the address is an IP address. */
export type SocketAddress = { readonly address: string; readonly port: number };

/** The ends of the connection that is passed on; null: unknown, those of the socket count. */
export type ProxyHeader = {
  readonly source: SocketAddress | null;
  readonly destination: SocketAddress | null;
};

/** `rest` is what follows the header: a view of the bytes that were pushed last. */
export type ProxyRead =
  | { readonly kind: "more" }
  | { readonly kind: "done"; readonly header: ProxyHeader; readonly rest: Buffer }
  | { readonly kind: "bad"; readonly reason: string };

// What the bytes so far amount to; `end` is the header's length.
type Judgement =
  | Exclude<ProxyRead, { kind: "done" }>
  | { readonly kind: "done"; readonly header: ProxyHeader; readonly end: number };

const MORE = { kind: "more" } as const;
const UNKNOWN: ProxyHeader = { source: null, destination: null };

/** Reader of one header. Once it has said "done" or "bad" it must not be used again. */
export class ProxyHeaderReader {
  #held = Buffer.alloc(0);

  /** Takes bytes, cut anywhere; they may be overwritten afterwards, unless they hold the rest. */
  push(bytes: Buffer): ProxyRead {
    const heldBytes = this.#held.length;
    const room = LIMITS.proxyHeaderBytesMax - heldBytes;
    const all = Buffer.concat([this.#held, bytes.subarray(0, room)]);
    const judgement = judge(all);
    if (judgement.kind === "done") {
      const { header, end } = judgement;
      return { kind: "done", header, rest: bytes.subarray(end - heldBytes) };
    }
    this.#held = all;
    return judgement;
  }
}

// A function of all bytes so far, so that it makes no difference how they were cut. Its reasons
// depend on nothing behind the first wrong byte.
function judge(bytes: Buffer): Judgement {
  if (bytes.length === 0) return MORE;
  return bytes[0] === SIGNATURE[0]
    ? judgeBinary(bytes)
    : judgeLine(bytes.subarray(0, LINE_BYTES_MAX).latin1Slice());
}

function bad(reason: string): Judgement {
  return { kind: "bad", reason };
}

// Version 1 (section 2.1).

/** With CR and LF: "PROXY UNKNOWN", the two longest addresses and ports. */
const LINE_BYTES_MAX = 107;
/** Eight groups of four. With this bound on addresses only UNKNOWN reaches that of the line. */
const ADDRESS_CHARS_MAX = 39;
const TCP4 = "PROXY TCP4 ";
const TCP6 = "PROXY TCP6 ";
const UNKNOWN_LINE = "PROXY UNKNOWN";
const OPENINGS = [TCP4, TCP6, UNKNOWN_LINE];
const FIELDS = ["source address", "destination address", "source port", "destination port"];

/**
 * What makes an address or a port of every beginning of one, in the fewest characters: a dotted
 * address lacks some of "0.0.0.0", any other needs at most a double colon, a port one digit.
 */
const ENDINGS = ["", "0", ".0", "0.0", ".0.0", "0.0.0", ".0.0.0", "0.0.0.0", ":", "::"];

function judgeLine(text: string): Judgement {
  const opening = OPENINGS.find((known) => text.startsWith(known) || known.startsWith(text));
  if (opening === undefined) {
    return bad(text.startsWith("PROXY ") ? "unknown protocol in a PROXY line" : "no PROXY header");
  }
  if (text.length < opening.length) return MORE;
  if (opening === UNKNOWN_LINE) return judgeUnknownLine(text);
  return judgeTcpLine(text, opening === TCP4 ? net.isIPv4 : isUnscopedIpv6);
}

// Whatever follows the word is ignored up to CR LF.
function judgeUnknownLine(text: string): Judgement {
  const start = UNKNOWN_LINE.length;
  const crMax = LINE_BYTES_MAX - 2;
  for (let i = start; i < text.length && i <= crMax; i++) {
    const char = text[i];
    if (char === "\r") return closeLine(text, i + 1, UNKNOWN);
    if (char === "\n") return bad("a PROXY line ends with a bare LF");
    if (i === start && char !== " ") return bad("unknown protocol in a PROXY line");
  }
  return text.length <= crMax ? MORE : bad("a PROXY line is too long");
}

function judgeTcpLine(text: string, isAddress: (text: string) => boolean): Judgement {
  const values: string[] = [];
  let start = TCP4.length;
  for (const [index, name] of FIELDS.entries()) {
    const isRight = index < 2 ? isAddress : isPort;
    const end = text.indexOf(index < 3 ? " " : "\r", start);
    if (end === -1) {
      const begun = text.slice(start);
      const canBeRight = ENDINGS.some((ending) => isRight(begun + ending));
      return canBeRight ? MORE : bad(`malformed ${name} in a PROXY line`);
    }
    const value = text.slice(start, end);
    if (!isRight(value)) return bad(`malformed ${name} in a PROXY line`);
    values.push(value);
    start = end + 1;
  }
  const [source, destination, sourcePort, destinationPort] = values;
  return closeLine(text, start, {
    source: plainAddress({ address: source, port: Number(sourcePort) }),
    destination: plainAddress({ address: destination, port: Number(destinationPort) }),
  });
}

function closeLine(text: string, lfAt: number, header: ProxyHeader): Judgement {
  if (text.length === lfAt) return MORE;
  if (text[lfAt] !== "\n") return bad("a CR without LF in a PROXY line");
  return { kind: "done", header, end: lfAt + 1 };
}

// An interface of the sender ("fe80::1%eth0") means nothing here, yet net.isIPv6 takes it.
function isUnscopedIpv6(text: string): boolean {
  return text.length <= ADDRESS_CHARS_MAX && net.isIPv6(text) && !text.includes("%");
}

function isPort(text: string): boolean {
  return /^(0|[1-9][0-9]{0,4})$/.test(text) && Number(text) <= 65_535;
}

// Version 2 (section 2.2).

const SIGNATURE = Buffer.from("\r\n\r\n\0\r\nQUIT\n", "latin1");
const FIXED_BYTES = 16;
// The version, 2, and the command.
const LOCAL = 0x20;
const PROXY = 0x21;
// Address family and transport protocol.
const UNSPEC = 0x00;
const TCP_IPV4 = 0x11;
const TCP_IPV6 = 0x21;

/** Both addresses and both ports. */
const ADDRESS_BLOCK_BYTES: ReadonlyMap<number, number> = new Map([
  [UNSPEC, 0],
  [TCP_IPV4, 2 * 4 + 2 * 2],
  [TCP_IPV6, 2 * 16 + 2 * 2],
]);

function judgeBinary(bytes: Buffer): Judgement {
  const signed = Math.min(bytes.length, SIGNATURE.length);
  if (!bytes.subarray(0, signed).equals(SIGNATURE.subarray(0, signed))) {
    return bad("no PROXY header");
  }
  if (bytes.length < 13) return MORE;
  const command = bytes[12];
  if (command !== LOCAL && command !== PROXY) return bad("unknown version or command of PROXY");
  if (bytes.length < 14) return MORE;
  // The sender speaks for itself, for a health check perhaps: then its family means nothing.
  const family = command === LOCAL ? UNSPEC : bytes[13];
  const blockBytes = ADDRESS_BLOCK_BYTES.get(family);
  if (blockBytes === undefined) return bad("the PROXY header is not about TCP over IP");
  const length = leastLengthAt(bytes, 14);
  if (length > LIMITS.proxyHeaderBytesMax - FIXED_BYTES) return bad("a PROXY header is too long");
  if (bytes.length < FIXED_BYTES) return MORE;
  if (length < blockBytes) return bad("a PROXY header is too short for its addresses");
  const end = FIXED_BYTES + length;
  // What an unspecified family brings has no form that could be checked: it is ignored.
  if (family !== UNSPEC && !canEndAt(bytes, FIXED_BYTES + blockBytes, end)) {
    return bad("malformed TLVs in a PROXY header");
  }
  if (bytes.length < end) return MORE;
  return { kind: "done", header: readAddresses(bytes, family), end };
}

// Two bytes; those that have not come yet count as 0, which is the least they can be.
function leastLengthAt(bytes: Buffer, at: number): number {
  return ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);
}

// True as long as TLVs from `start` may come to the end exactly; each is a type, two bytes of length
// and a value.
function canEndAt(bytes: Buffer, start: number, end: number): boolean {
  let at = start;
  while (at < end) {
    const valueAt = at + 3;
    const next = valueAt + leastLengthAt(bytes, at + 1);
    if (next > end) return false;
    if (bytes.length < valueAt) return true;
    at = next;
  }
  return true;
}

function readAddresses(bytes: Buffer, family: number): ProxyHeader {
  if (family === UNSPEC) return UNKNOWN;
  const addressBytes = family === TCP_IPV4 ? 4 : 16;
  const destinationAt = FIXED_BYTES + addressBytes;
  const portsAt = destinationAt + addressBytes;
  const source = addressText(bytes.subarray(FIXED_BYTES, destinationAt));
  const destination = addressText(bytes.subarray(destinationAt, portsAt));
  return {
    source: plainAddress({ address: source, port: bytes.readUInt16BE(portsAt) }),
    destination: plainAddress({ address: destination, port: bytes.readUInt16BE(portsAt + 2) }),
  };
}

// Outgoing headers.

/**
 * The line to send in front of everything else. Ends of two families cannot be told: UNKNOWN.
 * Throws for what is no address or port.
 */
export function proxyHeaderV1(source: SocketAddress, destination: SocketAddress): string {
  const from = plainAddress(source);
  const to = plainAddress(destination);
  const version = net.isIP(from.address);
  if (version !== net.isIP(to.address)) return `${UNKNOWN_LINE}\r\n`;
  const opening = version === 4 ? TCP4 : TCP6;
  return `${opening}${from.address} ${to.address} ${from.port} ${to.port}\r\n`;
}

/**
 * The bytes to send in front of everything else. Of ends of two families the IPv4 one is mapped into
 * IPv6. Throws for what is no address or port.
 */
export function proxyHeaderV2(source: SocketAddress, destination: SocketAddress): Buffer {
  const from = plainAddress(source);
  const to = plainAddress(destination);
  const isIpv4 = net.isIPv4(from.address) && net.isIPv4(to.address);
  const toBytes = isIpv4 ? ipv4Bytes : ipv6Bytes;
  const ports = Buffer.alloc(4);
  ports.writeUInt16BE(from.port, 0);
  ports.writeUInt16BE(to.port, 2);
  const block = Buffer.concat([toBytes(from.address), toBytes(to.address), ports]);
  const fixed = [PROXY, isIpv4 ? TCP_IPV4 : TCP_IPV6, 0, block.length];
  return Buffer.concat([SIGNATURE, Buffer.from(fixed), block]);
}

// Addresses.

// The one spelling that sockets show their peers in, so that a client has one address however it
// comes. IPv4 in IPv6 is shown as IPv4; the interface of a link-local peer ("fe80::1%eth0"), which
// nobody else knows, is left out. Throws for what is no address or port.
function plainAddress({ address, port }: SocketAddress): SocketAddress {
  const family = net.isIPv4(address) ? "ipv4" : "ipv6";
  const shown = new net.SocketAddress({ address, family, port }).address;
  const isMapped = shown.startsWith("::ffff:") && shown.includes(".");
  return { address: isMapped ? shown.slice("::ffff:".length) : shown, port };
}

function addressText(bytes: Buffer): string {
  if (bytes.length === 4) return bytes.join(".");
  const groups = Array.from({ length: 8 }, (_, i) => bytes.readUInt16BE(2 * i).toString(16));
  return groups.join(":");
}

function ipv4Bytes(address: string): Buffer {
  return Buffer.from(address.split(".").map(Number));
}

function ipv6Bytes(address: string): Buffer {
  const full = net.isIPv4(address) ? `::ffff:${address}` : address;
  // A URL's host has no dotted ending any more, but groups only.
  const shown = new URL(`http://[${full}]`).hostname.slice(1, -1);
  const [head, tail = []] = shown
    .split("::")
    .map((part) => part.split(":").filter((group) => group !== ""));
  const zeros = Array.from({ length: 8 - head.length - tail.length }, () => "0");
  const groups = [...head, ...zeros, ...tail];
  return Buffer.from(groups.map((group) => group.padStart(4, "0")).join(""), "hex");
}
