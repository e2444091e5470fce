// The access log: one JSON object a line, gathered in memory and appended in one write, so that a
// request pays for a string and nothing else. Whatever a client sends, a line stays one line of
// printable ASCII, and credentials in the query are masked. A slow or full disk costs log lines,
// which are counted, and never requests.

import fs from "node:fs";
import type { Exchange } from "../exchange.ts";
import { LINE_BYTES_MAX, writeLine } from "./log-line.ts";
import type { LineSink } from "./log-line.ts";

const FLUSH_MS_DEFAULT = 200;
const BYTES_MAX_DEFAULT = 8 * 1024 * 1024;
const CHUNK_BYTES = 65_536; // Written when there are that many, or when the time is up.
// A full pipe (standard output) says EAGAIN; asked again for five seconds, then the lines are lost.
const AGAIN_MS = 20;
const AGAIN_TRIES_MAX = 250;
const STDOUT_FD = 1;

export type AccessLogOptions = {
  /** A file, or `-` for standard output. */
  readonly path: string;
  /** A line waits at most that long. */
  readonly flushMs?: number;
  /** Bytes waiting for the disk at most; lines beyond are dropped and counted. */
  readonly bytesMax?: number;
  /** Called once when writing begins to fail, not for each failure. */
  readonly onTrouble?: (error: Error) => void;
};

/** Lines on their way to the file. */
class Chunk implements LineSink {
  // One more line always fits in a chunk that is not full.
  readonly bytes: Buffer = Buffer.allocUnsafeSlow(CHUNK_BYTES + LINE_BYTES_MAX);
  used = 0;
  lines = 0;
}

/** One worker's access log. Several workers append whole lines to one file. */
export class AccessLog {
  /** Lines that were lost: the queue was full, or a write failed. */
  dropped = 0;
  readonly #path: string;
  readonly #flushMs: number;
  readonly #chunksMax: number;
  readonly #onTrouble: (error: Error) => void;
  readonly #time = new TimeText();
  #fd: number;
  /** Being filled. Bytes and not text: text would keep the heads alive that it was cut out of. */
  #chunk: Chunk | null = null;
  #spare: Chunk | null = null;
  #queue: Chunk[] = [];
  #timer: NodeJS.Timeout | null = null;
  #writing: Promise<void> | null = null;
  /** The last write ended in the middle of a line. */
  #isTorn = false;
  #isTroubled = false;
  #isClosed = false;

  /** Opens the file (mode 0640). Throws when that fails. */
  constructor(options: AccessLogOptions) {
    this.#path = options.path;
    this.#flushMs = options.flushMs ?? FLUSH_MS_DEFAULT;
    const bytesMax = options.bytesMax ?? BYTES_MAX_DEFAULT;
    this.#chunksMax = Math.max(1, Math.floor(bytesMax / CHUNK_BYTES));
    this.#onTrouble = options.onTrouble ?? (() => {});
    this.#fd = this.#path === "-" ? STDOUT_FD : fs.openSync(this.#path, "a", 0o640);
  }

  /** Logs a finished request. `wallMs`: when it ended, milliseconds since the epoch. */
  write(exchange: Exchange, durationMs: number, wallMs: number = Date.now()): void {
    if (this.#isClosed) {
      this.dropped++;
      return;
    }
    let chunk = this.#chunk;
    if (chunk === null) {
      if (this.#queue.length >= this.#chunksMax) {
        this.dropped++;
        return;
      }
      this.#chunk = chunk = this.#spare ?? new Chunk();
      this.#spare = null;
      this.#timer ??= setTimeout(() => this.#onTimer(), this.#flushMs).unref();
    }
    writeLine(chunk, exchange, durationMs, this.#time.at(wallMs));
    chunk.lines++;
    if (chunk.used >= CHUNK_BYTES) this.#endChunk();
  }

  /** Resolves when every line so far is written or counted as dropped. */
  async flush(): Promise<void> {
    this.#endChunk();
    if (this.#writing !== null) await this.#writing;
  }

  /**
   * Opens the path anew, after it was moved away; resolves when nothing is written to the old file
   * any more. When the path cannot be opened the old file is written on.
   */
  async reopen(): Promise<void> {
    if (this.#path === "-" || this.#isClosed) return;
    const old = this.#fd;
    let fd: number;
    try {
      fd = fs.openSync(this.#path, "a", 0o640);
    } catch (error) {
      this.#trouble(error as Error);
      return;
    }
    this.#fd = fd;
    // The write under way has taken the old descriptor; those after it take the new one.
    if (this.#writing !== null) await this.#writing;
    fs.closeSync(old);
  }

  /** Writes what waits and closes the file; lines after that are dropped. Idempotent. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    await this.flush();
    if (this.#fd !== STDOUT_FD) fs.closeSync(this.#fd);
  }

  #onTimer(): void {
    this.#timer = null;
    this.#endChunk();
  }

  #endChunk(): void {
    if (this.#chunk !== null) this.#queue.push(this.#chunk);
    this.#chunk = null;
    this.#begin();
  }

  #begin(): void {
    if (this.#writing !== null || this.#queue.length === 0) return;
    this.#writing = this.#writeQueue();
  }

  async #writeQueue(): Promise<void> {
    try {
      for (let chunk = this.#queue.at(0); chunk !== undefined; chunk = this.#queue.at(0)) {
        await this.#append(this.#fd, chunk);
        // Only now: a chunk on its way counts as waiting.
        this.#queue.shift();
        chunk.used = 0;
        chunk.lines = 0;
        this.#spare = chunk;
      }
    } finally {
      // In one step with seeing the queue empty, so that no chunk comes in between.
      this.#writing = null;
    }
  }

  async #append(fd: number, { bytes, lines, used }: Chunk): Promise<void> {
    let written = 0;
    let tries = 0;
    while (written < used) {
      try {
        // A line cut in the middle must not swallow the first one after it.
        if (this.#isTorn) await writeSome(fd, Buffer.from("\n"), 0, 1);
        this.#isTorn = false;
        written += await writeSome(fd, bytes, written, used);
        this.#isTroubled = false;
      } catch (error) {
        const isFull = (error as NodeJS.ErrnoException).code === "EAGAIN";
        if (isFull && ++tries <= AGAIN_TRIES_MAX) {
          await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
          continue;
        }
        this.dropped += lines;
        this.#isTorn ||= written > 0 && bytes[written - 1] !== 10;
        this.#trouble(error as Error);
        return;
      }
    }
  }

  #trouble(error: Error): void {
    if (this.#isTroubled) return;
    this.#isTroubled = true;
    this.#onTrouble(error);
  }
}

/** Times as ISO 8601 text; the text of a second is made once, since making it costs 0.8 us. */
class TimeText {
  #second = Number.NaN;
  #prefix = "";

  at(wallMs: number): string {
    const second = Math.floor(wallMs / 1000);
    if (second !== this.#second) {
      this.#second = second;
      this.#prefix = new Date(second * 1000).toISOString().slice(0, 20);
    }
    const ms = Math.floor(wallMs - second * 1000);
    return `${this.#prefix}${ms < 10 ? "00" : ms < 100 ? "0" : ""}${ms}Z`;
  }
}

function writeSome(fd: number, bytes: Buffer, from: number, end: number): Promise<number> {
  return new Promise((resolve, reject) => {
    fs.write(fd, bytes, from, end - from, null, (error, written) => {
      if (error) reject(error);
      else resolve(written);
    });
  });
}
