// The access log: one JSON object a line, gathered in memory and appended in one write, so that a
// request pays for a string and nothing else. Whatever a client sends, a line stays one line of
// printable ASCII, and credentials in the query are masked. A slow or full disk costs log lines,
// which are counted, and never requests.

import fs from "node:fs";
import type { Exchange } from "../exchange.ts";
import { maskQuery } from "./mask-query.ts";

const FLUSH_MS_DEFAULT = 200;
const BYTES_MAX_DEFAULT = 8 * 1024 * 1024;
const FLUSH_CHARS = 65_536;
// A full pipe (standard output) says EAGAIN; asked again for five seconds, then the lines are lost.
const AGAIN_MS = 20;
const AGAIN_TRIES_MAX = 250;
const TEXT_CHARS_MAX = 2048;
const SHORT_CHARS_MAX = 512;
const VALUES_MAX = 32;
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

/** One worker's access log. Several workers append whole lines to one file. */
export class AccessLog {
  /** Lines that were lost: the queue was full, or a write failed. */
  dropped = 0;
  readonly #path: string;
  readonly #flushMs: number;
  readonly #bytesMax: number;
  readonly #onTrouble: (error: Error) => void;
  #fd: number;
  #text = "";
  #lines = 0;
  #timer: NodeJS.Timeout | null = null;
  #writing: Promise<void> | null = null;
  #isTroubled = false;
  #isClosed = false;

  /** Opens the file (mode 0640). Throws when that fails. */
  constructor(options: AccessLogOptions) {
    this.#path = options.path;
    this.#flushMs = options.flushMs ?? FLUSH_MS_DEFAULT;
    this.#bytesMax = options.bytesMax ?? BYTES_MAX_DEFAULT;
    this.#onTrouble = options.onTrouble ?? (() => {});
    this.#fd = this.#path === "-" ? STDOUT_FD : fs.openSync(this.#path, "a", 0o640);
  }

  /** Logs a finished request. `wallMs`: when it ended, milliseconds since the epoch. */
  write(exchange: Exchange, durationMs: number, wallMs: number = Date.now()): void {
    if (this.#isClosed || this.#text.length >= this.#bytesMax) {
      this.dropped++;
      return;
    }
    this.#text += formatLine(exchange, durationMs, wallMs);
    this.#lines++;
    if (this.#text.length >= FLUSH_CHARS) this.#begin();
    else if (this.#timer === null && this.#writing === null) {
      this.#timer = setTimeout(() => this.#begin(), this.#flushMs).unref();
    }
  }

  /** Resolves when every line so far is written or counted as dropped. */
  async flush(): Promise<void> {
    // Lines that come in during the first write go with the second, which is not waited for twice.
    if (this.#writing !== null) await this.#writing;
    this.#begin();
    if (this.#writing !== null) await this.#writing;
  }

  /**
   * Opens the path anew, after it was moved away; resolves when nothing is written to the old file
   * any more. When the path cannot be opened the old file is written on.
   */
  async reopen(): Promise<void> {
    if (this.#path === "-" || this.#isClosed) return;
    const old = this.#fd;
    try {
      this.#fd = fs.openSync(this.#path, "a", 0o640);
    } catch (error) {
      this.#trouble(error as Error);
      return;
    }
    if (this.#writing !== null) await this.#writing;
    fs.closeSync(old);
  }

  /** Writes what waits and closes the file; lines after that are dropped. Idempotent. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    await this.flush();
    this.#isClosed = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    if (this.#writing !== null) await this.#writing;
    if (this.#fd !== STDOUT_FD) fs.closeSync(this.#fd);
  }

  #begin(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    if (this.#writing !== null || this.#text === "") return;
    const bytes = Buffer.from(this.#text, "latin1");
    const lines = this.#lines;
    this.#text = "";
    this.#lines = 0;
    this.#writing = this.#append(this.#fd, bytes, lines).finally(() => {
      this.#writing = null;
      if (this.#text.length >= FLUSH_CHARS) this.#begin();
      else if (this.#text !== "") {
        this.#timer ??= setTimeout(() => this.#begin(), this.#flushMs).unref();
      }
    });
  }

  async #append(fd: number, bytes: Buffer, lines: number): Promise<void> {
    let written = 0;
    let tries = 0;
    while (written < bytes.length) {
      try {
        written += await writeSome(fd, bytes, written);
        this.#isTroubled = false;
      } catch (error) {
        const isFull = (error as NodeJS.ErrnoException).code === "EAGAIN";
        if (isFull && ++tries <= AGAIN_TRIES_MAX) {
          await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
          continue;
        }
        this.dropped += lines;
        // A line cut in the middle must not swallow the first one of the next write.
        if (written > 0 && bytes[written - 1] !== 10) this.#text = `\n${this.#text}`;
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

function writeSome(fd: number, bytes: Buffer, from: number): Promise<number> {
  return new Promise((resolve, reject) => {
    fs.write(fd, bytes, from, bytes.length - from, null, (error, written) => {
      if (error) reject(error);
      else resolve(written);
    });
  });
}

/** One line with its newline: JSON of printable ASCII; optional fields are left out when empty. */
export function formatLine(exchange: Exchange, durationMs: number, wallMs: number): string {
  const userAgent = exchange.head.get("user-agent");
  let line = `{"time":"${new Date(wallMs).toISOString()}","id":${quote(exchange.requestId, SHORT_CHARS_MAX)}`;
  line += `,"trace_id":${quote(exchange.traceparent.slice(3, 35), SHORT_CHARS_MAX)}`;
  line += `,"client":${quote(exchange.clientIp, SHORT_CHARS_MAX)}`;
  line += `,"method":${quote(exchange.method, SHORT_CHARS_MAX)}`;
  line += `,"host":${quote(exchange.host, SHORT_CHARS_MAX)}`;
  line += `,"path":${quote(exchange.path, TEXT_CHARS_MAX)}`;
  if (exchange.query !== "") line += `,"query":${quote(maskQuery(exchange.query), TEXT_CHARS_MAX)}`;
  line += `,"status":${exchange.status},"bytes_in":${exchange.bytesReceived}`;
  line += `,"bytes_out":${exchange.bytesSent},"duration_ms":${Math.round(durationMs * 1000) / 1000}`;
  line += `,"route":${quote(exchange.routeName, SHORT_CHARS_MAX)}`;
  if (exchange.upstreamName !== "") {
    line += `,"upstream":${quote(exchange.upstreamName, SHORT_CHARS_MAX)}`;
    line += `,"upstream_address":${quote(exchange.upstreamAddress, SHORT_CHARS_MAX)}`;
    line += `,"attempts":${exchange.attempts}`;
  }
  if (exchange.consumer !== null)
    line += `,"consumer":${quote(exchange.consumer, SHORT_CHARS_MAX)}`;
  if (exchange.decidedBy !== null) {
    const { name, version } = exchange.decidedBy;
    line += `,"decided_by":${quote(`${name}@${version}`, SHORT_CHARS_MAX)}`;
  }
  if (exchange.reason !== "") line += `,"reason":${quote(exchange.reason, SHORT_CHARS_MAX)}`;
  if (userAgent !== null) line += `,"user_agent":${quote(userAgent, SHORT_CHARS_MAX)}`;
  if (exchange.values !== null) line += `,"values":${quoteValues(exchange.values)}`;
  return `${line}}\n`;
}

function quoteValues(values: ReadonlyMap<string, string>): string {
  let text = "";
  let count = 0;
  for (const [name, value] of values) {
    if (count++ === VALUES_MAX) break;
    const comma = text === "" ? "" : ",";
    text += `${comma}${quote(name, SHORT_CHARS_MAX)}:${quote(value, SHORT_CHARS_MAX)}`;
  }
  return `{${text}}`;
}

/** A JSON string of printable ASCII; beyond `charsMax` cut, which three dots at its end show. */
export function quote(text: string, charsMax: number): string {
  const shown = text.length <= charsMax ? text : `${text.slice(0, charsMax)}...`;
  for (let i = 0; i < shown.length; i++) {
    const code = shown.charCodeAt(i);
    if (code < 32 || code > 126 || code === 0x22 || code === 0x5c) return quoteSlowly(shown);
  }
  return `"${shown}"`;
}

// Controls of both sets, line separators and lone surrogates could end a line for some reader or
// move a terminal's cursor: everything that is not printable ASCII becomes an escape.
function quoteSlowly(text: string): string {
  let quoted = '"';
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code === 0x22 || code === 0x5c) quoted += `\\${text[i]}`;
    else if (code >= 32 && code <= 126) quoted += text[i];
    else quoted += `\\u${code.toString(16).padStart(4, "0")}`;
  }
  return `${quoted}"`;
}
