// PROXY headers of both versions, right and wrong, in front of HTTP/1.1, of TLS and of HTTP/2. A header
// that cannot be right costs the connection and reaches nobody; behind one that is right the request
// is served whole, and the origin is told of the client that the header names and of no other. What is
// right is read here once more, from the document, and from the whole header at once.

import net from "node:net";
import type { Socket } from "node:net";
import { Authority } from "../support/certificates.ts";
import type { Chance } from "../support/chance.ts";
import { tlsOptions } from "../support/edge.ts";
import type { Edge } from "../support/edge.ts";
import type { ReadMessage } from "../support/llhttp-reader.ts";
import { until } from "../support/origin-user.ts";
import { startRoutes } from "./edges.ts";
import type { Fuzzer } from "./fuzzing.ts";
import { Grammar } from "./grammar.ts";
import { HonestClient, askOnce, isHonest } from "./honest-client.ts";
import { HonestOrigin } from "./honest-origin.ts";
import { liveFuzzer, turns, writeInPieces } from "./live.ts";
import type { Lane } from "./live.ts";

const KINDS = [
  { h2: false, tls: false },
  { h2: true, tls: false },
  { h2: false, tls: true },
  { h2: true, tls: true },
] as const;
type Kind = (typeof KINDS)[number];

const SIGNATURE = "\r\n\r\n\0\r\nQUIT\n";
/** Of both versions, as the gateway bounds them. */
const HEADER_BYTES_MAX = 552;
const LINE = /^PROXY (TCP4|TCP6) (\S+) (\S+) (0|[1-9]\d{0,4}) (0|[1-9]\d{0,4})\r\n/;
const LINE_UNKNOWN = /^PROXY UNKNOWN(?: [^\r\n]*)?\r\n/;
const LINE_CHARS_MAX = 107;
const V4 = ["203.0.113.7", "192.0.2.1", "0.0.0.0", "255.255.255.255"];
const V6 = ["2001:db8::7", "::1", "::ffff:203.0.113.7", "fe80::1", "1:2:3:4:5:6:7:8"];
const ODD = ["", "1.2.3", "1.2.3.4.5", "01.2.3.4", "fe80::1%eth0", "::g", "256.1.1.1", "a"];
const PORTS = ["0", "80", "4711", "65535"];
const PORTS_ODD = ["", "65536", "080", "-1", "1e3", " 80"];
const HONEST_HEADER = "PROXY TCP4 198.51.100.9 192.0.2.1 999 80\r\n";
/** A few, since an end takes its time: an address that is counted too often is soon shut out. */
const PER_ADDRESS_MAX = 6;

export function liveProxy(name: string): Fuzzer {
  return liveFuzzer(name, async (t, chance, count) => {
    const kind = chance.pick(KINDS);
    const origin = await HonestOrigin.open(t, chance);
    const certificate = kind.tls ? new Authority("fuzz").make({ dns: ["a"] }) : null;
    const edge = await startRoutes(t, origin.port, {
      http2: kind.h2,
      tls: certificate === null ? undefined : tlsOptions([certificate]),
      proxyProtocol: ["127.0.0.0/8"],
      connectionsMax: 16,
      connectionsPerAddressMax: PER_ADDRESS_MAX,
    });
    return new ProxyLane({ edge, origin, count, kind });
  });
}

type LaneParts = {
  readonly edge: Edge;
  readonly origin: HonestOrigin;
  readonly count: (name: string) => void;
  readonly kind: Kind;
};

/** What a header says: whom it speaks of (null: whoever sends it) and where it ends. */
type Read = { readonly source: string | null; readonly end: number } | null;

class ProxyLane implements Lane {
  readonly edge: Edge;
  input = "";
  readonly #origin: HonestOrigin;
  readonly #count: (name: string) => void;
  readonly #kind: Kind;

  constructor({ edge, origin, count, kind }: LaneParts) {
    this.edge = edge;
    this.#origin = origin;
    this.#count = count;
    this.#kind = kind;
  }

  async run(chance: Chance): Promise<void> {
    this.input = makeHeader(chance);
    const { port } = this.edge;
    const before = Buffer.from(HONEST_HEADER);
    const honest = new HonestClient({ port, ...this.#kind, before });
    const served = honest.run(chance);
    try {
      await this.#visit(chance);
    } finally {
      honest.stop();
      await served;
    }
    await until(() => this.edge.host.connectionCount === 0, "the end of its connection");
    await turns(2);
  }

  async #visit(chance: Chance): Promise<void> {
    const read = readHeader(this.input);
    const socket = net.connect({ port: this.edge.port, host: "127.0.0.1", noDelay: true });
    socket.on("error", () => {});
    const body = `visit ${chance.seed()}`;
    try {
      await until(() => !socket.connecting, "a connection");
      await writeInPieces(socket, this.input, chance);
      if (read === null) await this.#mustBeRefused(socket);
      // What is left over would be a part of the request.
      else if (read.end === this.input.length) await this.#mustBeServed(socket, read, body);
      else this.#count("with a rest");
    } finally {
      socket.destroy();
    }
    for (const fault of this.#origin.faults) throw new Error(`at the origin: ${fault}`);
    this.#origin.requests = [];
  }

  async #mustBeRefused(socket: Socket): Promise<void> {
    let got = 0;
    socket.on("data", (bytes: Buffer) => (got += bytes.length));
    // What may still become a header waits for it, within a bound of its own.
    socket.end();
    await until(() => socket.destroyed, "the end of a connection with a bad header");
    if (got > 0) throw new Error("an answer behind a bad header");
    if (this.#origin.requests.some((request) => !isHonest(request))) {
      throw new Error("a request behind a bad header");
    }
    this.#count("refused");
  }

  async #mustBeServed(socket: Socket, { source }: Read & {}, body: string): Promise<void> {
    const got = await askOnce(socket, this.#kind, body);
    if (got !== `200 ${body}`) throw new Error(`behind a good header: ${got.slice(0, 500)}`);
    const request = this.#origin.requests.find((each) => each.body === body);
    const told = request === undefined ? null : clientOf(request);
    const expected = source ?? "127.0.0.1";
    if (told !== expected) throw new Error(`the origin was told of ${told}, not of ${expected}`);
    this.#count("served");
  }
}

function clientOf(request: ReadMessage): string | null {
  return request.get("x-forwarded-for");
}

// As the document has them.

function readHeader(text: string): Read {
  return text.startsWith(SIGNATURE) ? readBinary(Buffer.from(text, "latin1")) : readLine(text);
}

function readLine(text: string): Read {
  const unknown = LINE_UNKNOWN.exec(text)?.[0].length;
  if (unknown !== undefined)
    return unknown <= LINE_CHARS_MAX ? { source: null, end: unknown } : null;
  const line = LINE.exec(text);
  if (line === null) return null;
  const [whole, protocol, source, destination, ...ports] = line;
  const family = protocol === "TCP4" ? 4 : 6;
  const isGood = [source, destination].every(
    (address) => net.isIP(address) === family && !address.includes("%") && address.length <= 39,
  );
  if (!isGood || ports.some((port) => Number(port) > 65_535)) return null;
  return { source: shown(source), end: whole.length };
}

function readBinary(bytes: Buffer): Read {
  if (bytes.length < 16) return null;
  const [command, family] = [bytes[12], bytes[13]];
  const end = 16 + bytes.readUInt16BE(14);
  if (![0x20, 0x21].includes(command) || end > HEADER_BYTES_MAX || bytes.length < end) return null;
  if (command === 0x20 || family === 0) return { source: null, end };
  const addressBytes = new Map([
    [0x11, 4],
    [0x21, 16],
  ]).get(family);
  if (addressBytes === undefined) return null;
  let at = 16 + 2 * addressBytes + 4;
  if (at > end) return null;
  while (at < end) at += at + 3 > end ? Infinity : 3 + bytes.readUInt16BE(at + 1);
  if (at !== end) return null;
  const address = bytes.subarray(16, 16 + addressBytes);
  if (addressBytes === 4) return { source: address.join("."), end };
  const groups = Array.from({ length: 8 }, (_, i) => address.readUInt16BE(2 * i).toString(16));
  return { source: shown(groups.join(":")), end };
}

// As a socket would show it.
function shown(address: string): string {
  if (net.isIPv4(address)) return address;
  const text = new net.SocketAddress({ address, family: "ipv6" }).address;
  return /^::ffff:([\d.]+)$/.exec(text)?.[1] ?? text;
}

// By chance.

function makeHeader(chance: Chance): string {
  const header = chance.oneIn(2) ? makeLine(chance) : makeBinary(chance);
  if (chance.oneIn(3)) return header;
  if (chance.oneIn(6)) return header.slice(0, chance.below(header.length + 1));
  if (chance.oneIn(6)) return header + header;
  return new Grammar(chance).mutate(header);
}

function makeLine(chance: Chance): string {
  const mostly = (usual: readonly string[], odd: readonly string[]) =>
    chance.pick(chance.oneIn(12) ? odd : usual);
  if (chance.oneIn(6)) {
    const rest = chance.pick(["", " ", " a b c", ` ${"f".repeat(chance.between(85, 100))}`]);
    return `PROXY UNKNOWN${rest}\r\n`;
  }
  const isV4 = chance.oneIn(2);
  const [usual, other] = isV4 ? [V4, [...V6, ...ODD]] : [V6, [...V4, ...ODD]];
  const protocol = mostly([isV4 ? "TCP4" : "TCP6"], ["TCP5", "UDP4", "tcp4", ""]);
  const parts = [mostly(usual, other), mostly(usual, other)];
  const ports = [mostly(PORTS, PORTS_ODD), mostly(PORTS, PORTS_ODD)];
  return `${["PROXY", protocol, ...parts, ...ports].join(" ")}\r\n`;
}

function makeBinary(chance: Chance): string {
  const command = chance.oneIn(10) ? chance.below(256) : chance.pick([0x20, 0x21, 0x21, 0x21]);
  const family = chance.oneIn(10) ? chance.below(256) : chance.pick([0, 0x11, 0x11, 0x21, 0x21]);
  const size = family === 0x11 ? 12 : family === 0x21 ? 36 : chance.below(20);
  let block = String.fromCharCode(...Array.from({ length: size }, () => chance.below(256)));
  for (let left = chance.oneIn(3) ? chance.between(1, 3) : 0; left > 0; left--) {
    const value = "v".repeat(chance.pick([0, 1, 30, chance.oneIn(10) ? 600 : 3]));
    block += `${String.fromCharCode(chance.below(256))}${uint16(value.length)}${value}`;
  }
  const length = chance.oneIn(12) ? chance.pick([0, 11, 12, 36, 537, 65_535]) : block.length;
  return `${SIGNATURE}${String.fromCharCode(command, family)}${uint16(length)}${block}`;
}

function uint16(value: number): string {
  return String.fromCharCode(value >> 8, value & 255);
}
