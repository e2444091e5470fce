// HTTP/2 frame by frame over a plain socket, for what no honest client would send: frames are made as
// bytes, those of the server are gathered, and how much was sent before the end is known.

import { once } from "node:events";
import net from "node:net";
import type { Socket } from "node:net";
import type { TestContext } from "node:test";

const WAIT_MS = 15_000;
const PREFACE = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

export const FRAME = {
  DATA: 0,
  HEADERS: 1,
  RST_STREAM: 3,
  SETTINGS: 4,
  PING: 6,
  GOAWAY: 7,
  WINDOW_UPDATE: 8,
  CONTINUATION: 9,
} as const;
export const END_STREAM = 1;
export const END_HEADERS = 4;
export const SETTINGS_INITIAL_WINDOW = 4;

export type RawFrame = {
  readonly type: number;
  readonly flags: number;
  readonly stream: number;
  readonly payload: Buffer;
};

/** A frame (RFC 9113, 4.1); what is not given is zero or empty. */
export function frame(type: number, given: Partial<Omit<RawFrame, "type">> = {}): Buffer {
  const payload = given.payload ?? Buffer.alloc(0);
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = given.flags ?? 0;
  head.writeUInt32BE(given.stream ?? 0, 5);
  return Buffer.concat([head, payload]);
}

/** Payload of SETTINGS: identifiers and values in turn. */
export function settings(...pairs: number[]): Buffer {
  const payload = Buffer.alloc(pairs.length * 3);
  for (let i = 0; i < pairs.length; i += 2) {
    payload.writeUInt16BE(pairs[i], i * 3);
    payload.writeUInt32BE(pairs[i + 1], i * 3 + 2);
  }
  return payload;
}

/** A payload that is one number of 32 bits: an error code, an increment. */
export function uint32(value: number): Buffer {
  const payload = Buffer.alloc(4);
  payload.writeUInt32BE(value);
  return payload;
}

/** Fields as literals that enter no table (RFC 7541, 6.2.2). */
export function literals(fields: readonly (readonly [name: string, value: string])[]): Buffer {
  const text = (value: string) =>
    Buffer.concat([integer(value.length, 7, 0), Buffer.from(value, "latin1")]);
  return Buffer.concat(fields.flatMap(([name, value]) => [Buffer.of(0), text(name), text(value)]));
}

/** A field as a literal that enters the dynamic table (RFC 7541, 6.2.1). */
export function indexed(name: string, value: string): Buffer {
  const bytes = literals([[name, value]]);
  bytes[0] = 0x40;
  return bytes;
}

/** The newest entry of the dynamic table, so many times (RFC 7541, 6.1). */
export function references(count: number): Buffer {
  return Buffer.alloc(count, 0x80 | 62);
}

// RFC 7541, 5.1.
function integer(value: number, prefixBits: number, high: number): Buffer {
  const most = (1 << prefixBits) - 1;
  if (value < most) return Buffer.of(high | value);
  const bytes = [high | most];
  let rest = value - most;
  for (; rest >= 128; rest >>= 7) bytes.push((rest & 127) | 128);
  return Buffer.of(...bytes, rest);
}

/** The header block of a request that is complete with its head. */
export function request(path: string, rest: readonly (readonly [string, string])[] = []): Buffer {
  const pseudo = [
    [":method", "GET"],
    [":scheme", "http"],
    [":path", path],
    [":authority", "a.test"],
  ] as const;
  return literals([...pseudo, ...rest]);
}

export class RawH2 {
  readonly socket: Socket;
  readonly frames: RawFrame[] = [];
  bytesSent = 0;
  isClosed = false;
  #bytes = Buffer.alloc(0);

  constructor(socket: Socket) {
    this.socket = socket;
    socket.on("error", () => {});
    socket.on("close", () => (this.isClosed = true));
    socket.on("data", (chunk: Buffer) => this.#take(chunk));
  }

  /** Error code of the server's GOAWAY; -1 when there was none. */
  get goawayCode(): number {
    const goaway = this.frames.find(({ type }) => type === FRAME.GOAWAY);
    return goaway === undefined ? -1 : goaway.payload.readUInt32BE(4);
  }

  send(...bytes: Uint8Array[]): void {
    if (this.socket.destroyed) return;
    const whole = Buffer.concat(bytes);
    this.bytesSent += whole.length;
    this.socket.write(whole);
  }

  /** Sends the same again and again, as fast as it is taken, until the end or so many bytes. */
  async flood(bytes: Buffer, bytesMax: number): Promise<void> {
    while (!this.isClosed && this.bytesSent < bytesMax) {
      this.send(bytes);
      // One round trip of the event loop: the gateway is in this process.
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  /** Resolves once a frame has come that fits; rejects when none does within bounds of time. */
  async until(fits: (frame: RawFrame) => boolean): Promise<RawFrame> {
    const deadlineMs = performance.now() + WAIT_MS;
    for (;;) {
      const found = this.frames.find(fits);
      if (found !== undefined) return found;
      if (this.isClosed || performance.now() > deadlineMs) {
        const types = this.frames.map(({ type }) => type).join(" ");
        throw new Error(`the frame did not come, only ${types}`);
      }
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  async closed(): Promise<void> {
    if (!this.isClosed) await once(this.socket, "close", { signal: AbortSignal.timeout(WAIT_MS) });
  }

  #take(chunk: Buffer): void {
    let bytes = Buffer.concat([this.#bytes, chunk]);
    while (bytes.length >= 9) {
      const length = bytes.readUIntBE(0, 3);
      if (bytes.length < 9 + length) break;
      const payload = Buffer.from(bytes.subarray(9, 9 + length));
      const stream = bytes.readUInt32BE(5);
      this.frames.push({ type: bytes[3], flags: bytes[4], stream, payload });
      bytes = bytes.subarray(9 + length);
    }
    this.#bytes = bytes;
  }
}

/** Connects and says the preface; `own` are the settings, identifiers and values in turn. */
export async function connectRawH2(
  t: TestContext,
  port: number,
  own: readonly number[] = [],
): Promise<RawH2> {
  const socket = net.connect({ port, host: "127.0.0.1" });
  t.after(() => socket.destroy());
  await once(socket, "connect", { signal: AbortSignal.timeout(WAIT_MS) });
  const client = new RawH2(socket);
  client.send(Buffer.from(PREFACE), frame(FRAME.SETTINGS, { payload: settings(...own) }));
  await client.until(({ type, flags }) => type === FRAME.SETTINGS && flags === 1);
  client.send(frame(FRAME.SETTINGS, { flags: 1 }));
  return client;
}
