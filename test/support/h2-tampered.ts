// A connection of node:http2 that says other header blocks than node:http2 thinks: frames, windows and
// bodies are its business, and the fields, sound or not, are the test's, byte by byte. Replaced blocks
// are literals that enter no table, so that the peer's decoder needs none of the encoder's.

import type { Socket } from "node:net";
import { Duplex } from "node:stream";
import { END_HEADERS, FRAME, frame, literals } from "./h2-raw.ts";
import type { Field } from "./conformance-case.ts";

const PREFACE_BYTES = 24;
const FRAME_HEAD_BYTES = 9;
const FRAME_BYTES_MAX = 16_384;
const END_STREAM = 1;

export class Tampered extends Duplex {
  readonly socket: Socket;
  /** Streams that the peer has ended by a frame, and not by a reset, which looks the same above. */
  readonly endedStreams = new Set<number>();
  readonly #blocks = new Map<number, Buffer[]>();
  readonly #sent: Frames;
  readonly #received: Frames;

  constructor(socket: Socket, side: "client" | "server") {
    super();
    this.socket = socket;
    this.#sent = new Frames(side === "client" ? PREFACE_BYTES : 0);
    this.#received = new Frames(side === "server" ? PREFACE_BYTES : 0);
    this.on("error", () => {});
    socket.on("data", (chunk: Buffer) => {
      for (const bytes of this.#received.take(chunk)) this.#note(bytes);
      if (!this.push(chunk)) socket.pause();
    });
    socket.on("end", () => this.push(null));
    socket.on("error", () => this.destroy());
    socket.on("close", () => this.destroy());
  }

  /** The fields of the stream's next header block: head, informational head or trailers. */
  say(stream: number, fields: readonly Field[]): void {
    const blocks = this.#blocks.get(stream) ?? [];
    blocks.push(literals(fields));
    this.#blocks.set(stream, blocks);
  }

  override _read(): void {
    this.socket.resume();
  }

  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    const bytes = this.#rewrite(chunk);
    if (bytes.length === 0 || this.socket.destroyed) done();
    else this.socket.write(bytes, () => done());
  }

  override _final(done: () => void): void {
    this.socket.end(() => done());
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.socket.destroy();
    done(error);
  }

  #note(bytes: Buffer): void {
    const mayEnd = bytes[3] === FRAME.HEADERS || bytes[3] === FRAME.DATA;
    if (mayEnd && (bytes[4] & END_STREAM) !== 0) this.endedStreams.add(bytes.readUInt32BE(5));
  }

  #rewrite(chunk: Buffer): Buffer {
    const out = this.#sent.take(chunk).map((bytes) => {
      const isHead = bytes[3] === FRAME.HEADERS;
      return isHead ? this.#headersOf(bytes.readUInt32BE(5), bytes[4]) : bytes;
    });
    return Buffer.concat(out);
  }

  #headersOf(stream: number, flags: number): Buffer {
    const block = this.#blocks.get(stream)?.shift();
    if (block === undefined) throw new Error(`nothing to say on stream ${stream}`);
    const frames: Buffer[] = [];
    for (let at = 0; at === 0 || at < block.length; at += FRAME_BYTES_MAX) {
      const payload = block.subarray(at, at + FRAME_BYTES_MAX);
      const last = at + FRAME_BYTES_MAX >= block.length ? END_HEADERS : 0;
      const type = at === 0 ? FRAME.HEADERS : FRAME.CONTINUATION;
      const end = at === 0 ? flags & END_STREAM : 0;
      frames.push(frame(type, { stream, flags: last | end, payload }));
    }
    return Buffer.concat(frames);
  }
}

/** Cuts one direction of a connection into its preface and its frames. */
class Frames {
  #bytes = Buffer.alloc(0);
  #prefaceLeft: number;

  constructor(prefaceBytes: number) {
    this.#prefaceLeft = prefaceBytes;
  }

  take(chunk: Buffer): Buffer[] {
    let bytes = this.#bytes.length === 0 ? chunk : Buffer.concat([this.#bytes, chunk]);
    const taken: Buffer[] = [];
    if (this.#prefaceLeft > 0 && bytes.length >= this.#prefaceLeft) {
      taken.push(bytes.subarray(0, this.#prefaceLeft));
      bytes = bytes.subarray(this.#prefaceLeft);
      this.#prefaceLeft = 0;
    }
    while (this.#prefaceLeft === 0 && bytes.length >= FRAME_HEAD_BYTES) {
      const end = FRAME_HEAD_BYTES + bytes.readUIntBE(0, 3);
      if (bytes.length < end) break;
      taken.push(bytes.subarray(0, end));
      bytes = bytes.subarray(end);
    }
    this.#bytes = Buffer.from(bytes);
    return taken;
  }
}
