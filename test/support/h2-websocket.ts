// A WebSocket client over a stream of HTTP/2 (RFC 8441), so plain that a test says and sees each frame:
// opens with an extended CONNECT, sends one masked frame at a time, gathers the frames that come.

import assert from "node:assert/strict";
import { once } from "node:events";
import http2 from "node:http2";
import type {
  ClientHttp2Session,
  ClientHttp2Stream,
  IncomingHttpHeaders,
  OutgoingHttpHeaders,
} from "node:http2";
import type { TestContext } from "node:test";

const WAIT_MS = 10_000;
const MASK = Buffer.from([0x5a, 0x11, 0xf0, 0x0f]);

export const TEXT = 1;
export const BINARY = 2;
export const CLOSE = 8;

export type Frame = { readonly opcode: number; readonly payload: Buffer };

/** A session of a client that knows the server's settings; it is gone when the test ends. */
export async function h2Session(t: TestContext, port: number): Promise<ClientHttp2Session> {
  const session = http2.connect(`http://127.0.0.1:${port}`);
  session.on("error", () => {});
  t.after(() => session.destroy());
  await once(session, "remoteSettings", { signal: AbortSignal.timeout(WAIT_MS) });
  return session;
}

/** What an extended CONNECT for WebSocket says; fields of null are left out. */
export function connectHeaders(
  edits: Readonly<Record<string, string | null>> = {},
): OutgoingHttpHeaders {
  const headers: Record<string, string | null> = {
    ":method": "CONNECT",
    ":protocol": "websocket",
    ":scheme": "http",
    ":path": "/chat",
    ":authority": "a.test",
    "sec-websocket-version": "13",
    ...edits,
  };
  return Object.fromEntries(
    Object.entries(headers).filter(([, value]) => value !== null),
  ) as OutgoingHttpHeaders;
}

/** Turns of the event loop until it holds, for ten seconds at most. */
export async function until(holds: () => boolean): Promise<void> {
  const deadlineMs = performance.now() + WAIT_MS;
  while (!holds()) {
    assert.ok(performance.now() < deadlineMs, "it did not come about");
    await new Promise((resolve) => setImmediate(resolve));
  }
}

export class H2WebSocket {
  readonly stream: ClientHttp2Stream;
  headers: IncomingHttpHeaders = {};
  /** The server said that nothing more comes. */
  hasEnded = false;
  readonly #frames: Frame[] = [];
  #chunks: Buffer[] = [];
  #length = 0;
  /** Bytes that must be there before it is worth to look again. */
  #wanted = 2;

  /** Asks; `status` is 0 until the answer is there. Reads nothing before `read`. */
  constructor(session: ClientHttp2Session, edits: Readonly<Record<string, string | null>> = {}) {
    this.stream = session.request(connectHeaders(edits), { endStream: false });
    this.stream.on("error", () => {});
    this.stream.on("response", (headers) => (this.headers = headers));
    this.stream.on("end", () => (this.hasEnded = true));
  }

  get status(): number {
    return Number(this.headers[":status"] ?? 0);
  }

  /** Resolves with the answer's status; 0: the stream was closed without one. */
  async answered(): Promise<number> {
    await until(() => this.status !== 0 || this.stream.closed);
    return this.status;
  }

  /** Starts to take what comes. */
  read(): void {
    this.stream.on("data", (chunk: Buffer) => {
      this.#chunks.push(chunk);
      this.#length += chunk.length;
      while (this.#length >= this.#wanted) this.#take();
    });
  }

  send(opcode: number, payload: Buffer | string): void {
    this.stream.write(maskedFrame(opcode, Buffer.from(payload)));
  }

  /** The next frame, within bounds of time. */
  async next(): Promise<Frame> {
    await until(() => this.#frames.length > 0 || this.stream.closed);
    const frame = this.#frames.shift();
    assert.ok(frame !== undefined, "the stream was closed before another frame came");
    return frame;
  }

  /** Resolves with the code with which the stream was closed. */
  async closed(): Promise<number> {
    await until(() => this.stream.closed);
    return this.stream.rstCode ?? 0;
  }

  // Takes a frame from the gathered bytes, or learns how many it wants.
  #take(): void {
    const bytes = Buffer.concat(this.#chunks);
    this.#chunks = [bytes];
    const short = bytes[1];
    assert.ok(short < 0x80, "a server's frame is not masked");
    const start = short === 127 ? 10 : short === 126 ? 4 : 2;
    this.#wanted = start;
    if (bytes.length < start) return;
    let length = short;
    if (short === 126) length = bytes.readUInt16BE(2);
    if (short === 127) length = Number(bytes.readBigUInt64BE(2));
    this.#wanted = start + length;
    if (bytes.length < this.#wanted) return;
    const payload = bytes.subarray(start, this.#wanted);
    this.#frames.push({ opcode: bytes[0] & 0x0f, payload });
    this.#chunks = [bytes.subarray(this.#wanted)];
    this.#length -= this.#wanted;
    this.#wanted = 2;
  }
}

/** A whole frame as a client sends it (RFC 6455, 5.2). */
function maskedFrame(opcode: number, payload: Buffer): Buffer {
  const head = Buffer.alloc(payload.length > 65_535 ? 10 : payload.length > 125 ? 4 : 2);
  head[0] = 0x80 | opcode;
  if (head.length === 10) head.writeBigUInt64BE(BigInt(payload.length), 2);
  if (head.length === 4) head.writeUInt16BE(payload.length, 2);
  head[1] = 0x80 | (head.length === 10 ? 127 : head.length === 4 ? 126 : payload.length);
  const masked = payload.map((byte, i) => byte ^ MASK[i % 4]);
  return Buffer.concat([head, MASK, masked]);
}

/** Payload of a close frame. */
export function closePayload(code: number, reason: string): Buffer {
  const payload = Buffer.alloc(2 + Buffer.byteLength(reason));
  payload.writeUInt16BE(code);
  payload.write(reason, 2);
  return payload;
}
