// Clients of TLS whose records are changed on their way: ClientHellos with odd names, protocols and
// lengths, records cut, doubled, swapped, of other types, junk, and ends within a handshake. Nobody
// but who finished a handshake may be served; what reaches the origin is what was sent inside; the
// gateway must not crash, hang or keep a connection; the client beside it is served all along. TLS
// draws its own keys: a seed makes the same changes, not the same bytes.

import net from "node:net";
import type { Socket } from "node:net";
import { Duplex } from "node:stream";
import tls from "node:tls";
import { Authority } from "../support/certificates.ts";
import type { Chance } from "../support/chance.ts";
import { tlsOptions } from "../support/edge.ts";
import type { Edge } from "../support/edge.ts";
import { until } from "../support/origin-user.ts";
import { startRoutes } from "./edges.ts";
import type { Fuzzer } from "./fuzzing.ts";
import { Grammar } from "./grammar.ts";
import { HonestClient, isHonest } from "./honest-client.ts";
import { HonestOrigin } from "./honest-origin.ts";
import { liveFuzzer, turns, writeInPieces } from "./live.ts";
import type { Lane } from "./live.ts";

const RECORD_HEAD_BYTES = 5;
const HANDSHAKE = 22;
const CLIENT_HELLO = 1;
const RECORD_EDITS = [
  ...["byte", "byte", "cut", "double", "drop", "swap", "type", "version", "length", "junk"],
] as const;
const NAMES = [
  ...["a", "b.example", "A.EXAMPLE.", "a..b", "*", "*.a", "-", "_", "xn--a", "x".repeat(250)],
  ...["a\0b", "a b", "a/b", "\x80\xff", "\r\n", "__proto__", "constructor", "1.2.3.4"],
];
const PROTOCOLS = [["h2"], ["http/1.1"], ["h2", "http/1.1"], ["h3"], ["HTTP/1.1"], ["x", "h2"], []];
const VERSIONS = [
  { minVersion: "TLSv1.3", maxVersion: "TLSv1.3" },
  { minVersion: "TLSv1.2", maxVersion: "TLSv1.2" },
  { minVersion: "TLSv1.2", maxVersion: "TLSv1.3" },
  { minVersion: "TLSv1", maxVersion: "TLSv1.1" },
] as const;
const CLEAR = [
  "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
  "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
  "PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\n",
  "\x16\x03\x01\x00\x00",
  "\x16\x03\x01\xff\xff",
  "\x15\x03\x03\x00\x02\x02\x28",
  "\x80\x2e\x01\x00\x02",
  "\x14\x03\x03\x00\x01\x01",
];
/** Longer than a handshake takes: whoever has not ended one by then waits for what will not come. */
const TURNS_MAX = 400;

export function liveTls(name: string): Fuzzer {
  return liveFuzzer(name, async (t, chance, count) => {
    const origin = await HonestOrigin.open(t, chance);
    const authority = new Authority("fuzz");
    const certificates = [["a"], ["b.example"], ["*.example"]].map((dns) =>
      authority.make({ dns }),
    );
    const asksForOne = chance.oneIn(4);
    const edge = await startRoutes(t, origin.port, {
      http2: true,
      connectionsMax: 16,
      tls: tlsOptions(certificates, {
        clientAuth: asksForOne ? "optional" : "none",
        clientCa: asksForOne ? authority.cert : null,
      }),
    });
    return new TlsLane({ edge, origin, count });
  });
}

type LaneParts = {
  readonly edge: Edge;
  readonly origin: HonestOrigin;
  readonly count: (name: string) => void;
};

class TlsLane implements Lane {
  readonly edge: Edge;
  input = "";
  readonly #origin: HonestOrigin;
  readonly #count: (name: string) => void;

  constructor({ edge, origin, count }: LaneParts) {
    this.edge = edge;
    this.#origin = origin;
    this.#count = count;
  }

  async run(chance: Chance): Promise<void> {
    this.input = "";
    const h2 = chance.oneIn(2);
    const honest = new HonestClient({ port: this.edge.port, h2, tls: true });
    const served = honest.run(chance);
    try {
      await this.#visit(chance);
    } finally {
      honest.stop();
      await served;
    }
    await until(() => this.edge.host.connectionCount === 0, "the end of its connection");
    await turns(2);
    for (const fault of this.#origin.faults) throw new Error(`at the origin: ${fault}`);
    this.#origin.requests = [];
  }

  async #visit(chance: Chance): Promise<void> {
    const socket = net.connect({ port: this.edge.port, host: "127.0.0.1", noDelay: true });
    socket.on("error", () => {});
    try {
      await until(() => !socket.connecting, "a connection");
      if (chance.oneIn(3)) await this.#sayJunk(socket, chance);
      else await this.#shakeHands(socket, chance);
      await this.#leave(socket, chance);
    } finally {
      socket.destroy();
    }
  }

  // Without any handshake, or with its first message only.
  async #sayJunk(socket: Socket, chance: Chance): Promise<void> {
    let text = chance.pick(CLEAR);
    if (chance.oneIn(2)) text = (await clientHello(chance)).latin1Slice();
    if (chance.oneIn(4)) {
      text = String.fromCharCode(...Array.from({ length: 300 }, () => chance.below(256)));
    }
    this.input = chance.oneIn(4) ? text : new Grammar(chance).mutate(text);
    socket.resume();
    await writeInPieces(socket, this.input, chance);
    await turns(chance.below(40));
    this.#mustHaveNobody();
    this.#count("without a handshake");
  }

  async #shakeHands(under: Socket, chance: Chance): Promise<void> {
    const wire = new BadWire(under, chance);
    const secure = connectOver(wire, chance);
    let got = "";
    secure.on("data", (bytes: Buffer) => (got += bytes.latin1Slice()));
    let isSecure = false;
    secure.once("secureConnect", () => (isSecure = true));
    const body = `visit ${chance.seed()}`;
    const head = `POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: ${body.length}\r\n`;
    secure.write(`${head}connection: close\r\n\r\n${body}`, "latin1");
    for (let left = TURNS_MAX; left > 0 && !secure.destroyed && !secure.readableEnded; left--) {
      await turns(1);
    }
    this.input = wire.said.latin1Slice();
    const isH1 = secure.alpnProtocol !== "h2";
    secure.destroy();
    if (!isSecure) this.#count("refused");
    else if (got.startsWith("HTTP/1.1 200 ")) this.#count("served");
    else this.#count("cut");
    const isWhole = isSecure && isH1 && !wire.isChanged && secure.alpnProtocol !== null;
    if (isWhole && !got.includes(body))
      throw new Error(`a client that did nothing wrong got: ${got}`);
    this.#mustHaveNobody();
  }

  // The others ask for what needs no origin, and no record that was changed can be a request.
  #mustHaveNobody(): void {
    const stranger = this.#origin.requests.find((request) => !isHonest(request));
    if (stranger !== undefined) throw new Error(`the origin got ${JSON.stringify(stranger)}`);
  }

  async #leave(socket: Socket, chance: Chance): Promise<void> {
    const ending = chance.pick(["end", "vanish", "reset"] as const);
    if (ending === "vanish" || socket.destroyed) return;
    if (ending === "reset") {
      socket.resetAndDestroy();
      return;
    }
    socket.resume();
    socket.end();
    await until(() => socket.destroyed, "the gateway's end of the connection");
  }
}

function connectOver(wire: Duplex, chance: Chance): tls.TLSSocket {
  const secure = tls.connect({
    socket: wire,
    rejectUnauthorized: false,
    servername: nameToAsk(chance),
    ALPNProtocols: chance.oneIn(2) ? ["http/1.1"] : [...chance.pick(PROTOCOLS)],
    ...chance.pick(VERSIONS),
    ciphers: "DEFAULT:@SECLEVEL=0",
  });
  secure.on("error", () => {});
  return secure;
}

// An address may not be asked for.
function nameToAsk(chance: Chance): string {
  const name = chance.pick(NAMES);
  return net.isIP(name) === 0 ? name : "";
}

/** The first flight of a client. */
async function clientHello(chance: Chance): Promise<Buffer> {
  const said: Buffer[] = [];
  const wire = new Duplex({
    read() {},
    write(chunk: Buffer, _encoding, done) {
      said.push(chunk);
      done();
    },
  });
  const secure = connectOver(wire, chance);
  for (let left = TURNS_MAX; left > 0 && said.length === 0 && !secure.destroyed; left--)
    await turns(1);
  secure.destroy();
  wire.destroy();
  return Buffer.concat(said);
}

/** Carries what a client says to a socket, some of its records changed, and back all that comes. */
class BadWire extends Duplex {
  isChanged = false;
  said: Buffer = Buffer.alloc(0);
  readonly #under: Socket;
  readonly #chance: Chance;
  /** One record in this many is changed. */
  readonly #changedIn: number;
  #last: Buffer = Buffer.alloc(0);

  constructor(under: Socket, chance: Chance) {
    super({ allowHalfOpen: true });
    this.#under = under;
    this.#chance = chance;
    this.#changedIn = chance.pick([1, 2, 4, 1_000]);
    under.on("data", (chunk: Buffer) => this.push(chunk));
    under.on("end", () => this.push(null));
    under.on("close", () => this.destroy());
    this.on("error", () => {});
  }

  override _read(): void {}

  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    const records = recordsOf(chunk).map((record) => this.#change(record));
    const bytes = Buffer.concat(records);
    this.said = Buffer.concat([this.said, bytes]);
    if (!this.#under.writable) {
      done();
      return;
    }
    void this.#pass(bytes, done);
  }

  async #pass(bytes: Buffer, done: () => void): Promise<void> {
    await writeInPieces(this.#under, bytes.latin1Slice(), this.#chance).catch(() => {});
    done();
  }

  override _final(done: () => void): void {
    this.#under.end();
    done();
  }

  #change(record: Buffer): Buffer {
    const last = this.#last;
    this.#last = record;
    if (!this.#chance.oneIn(this.#changedIn)) return record;
    this.isChanged = true;
    return changeRecord(record, last, this.#chance);
  }
}

function recordsOf(bytes: Buffer): Buffer[] {
  const records: Buffer[] = [];
  for (let at = 0; at < bytes.length;) {
    const hasHead = bytes.length - at >= RECORD_HEAD_BYTES;
    const length = hasHead ? RECORD_HEAD_BYTES + bytes.readUInt16BE(at + 3) : bytes.length - at;
    records.push(bytes.subarray(at, at + length));
    at += length;
  }
  return records;
}

function changeRecord(record: Buffer, last: Buffer, chance: Chance): Buffer {
  const changed = Buffer.from(record);
  const at = chance.below(changed.length);
  switch (chance.pick(RECORD_EDITS)) {
    case "byte":
      // A length within a ClientHello now and then, which random bytes seldom hit.
      if (isClientHello(changed) && chance.oneIn(2)) changed[chance.between(5, 50)] ^= 1;
      else changed[at] = chance.below(256);
      return changed;
    case "cut":
      return changed.subarray(0, at);
    case "double":
      return Buffer.concat([changed, changed]);
    case "drop":
      return Buffer.alloc(0);
    case "swap":
      return Buffer.concat([changed, last]);
    case "type":
      changed[0] = chance.pick([0, 20, 21, 22, 23, 24, 25, 255]);
      return changed;
    case "version":
      changed[1] = chance.below(5);
      return changed;
    case "length":
      if (changed.length < RECORD_HEAD_BYTES) return changed;
      changed.writeUInt16BE(chance.pick([0, 1, changed.length - 6, 16_384, 65_535]) & 0xffff, 3);
      return changed;
    default:
      return Buffer.concat([changed, Buffer.alloc(chance.between(1, 300), chance.below(256))]);
  }
}

function isClientHello(record: Buffer): boolean {
  return record.length > 50 && record[0] === HANDSHAKE && record[5] === CLIENT_HELLO;
}
