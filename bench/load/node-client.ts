// The load generator for machines without wrk: raw sockets, one request at a time on each, answers
// that say their length. A process of its own; its one argument is LoadOptions as JSON, and the
// result goes to standard output as wrk.lua writes it.

import { readFileSync } from "node:fs";
import net from "node:net";
import tls from "node:tls";
import { percentile } from "../measure.ts";
import type { LoadOptions } from "./client.ts";

const LOST_MAX = 1_000;
const EMPTY_LINE = "\r\n\r\n";

class Load {
  readonly heads: readonly Buffer[];
  readonly body: Buffer;
  readonly latenciesUs: number[] = [];
  bytes = 0;
  refused = 0;
  lost = 0;
  isOver = false;
  #next = 0;

  constructor(heads: readonly Buffer[], body: Buffer) {
    this.heads = heads;
    this.body = body;
  }

  nextHead(): Buffer {
    return this.heads[this.#next++ % this.heads.length];
  }
}

class Connection {
  readonly #load: Load;
  readonly #url: URL;
  #socket: net.Socket;
  #head = "";
  /** Body bytes still to come; -1 while the head is not complete. */
  #remaining = -1;
  #sentMs = 0;

  constructor(load: Load, url: URL) {
    this.#load = load;
    this.#url = url;
    this.#socket = this.#connect();
  }

  close(): void {
    this.#socket.destroy();
  }

  #connect(): net.Socket {
    const isTls = this.#url.protocol === "https:";
    const at = { host: this.#url.hostname, port: Number(this.#url.port) };
    // A self-signed certificate is as much work as any other.
    const socket = isTls
      ? tls.connect({ ...at, servername: at.host, rejectUnauthorized: false })
      : net.connect(at);
    socket.setNoDelay(true);
    socket.once(isTls ? "secureConnect" : "connect", () => this.#send());
    socket.on("data", (chunk: Buffer) => this.#onData(chunk));
    socket.on("error", () => {}); // "close" follows.
    socket.on("close", () => this.#onClose());
    return socket;
  }

  #send(): void {
    this.#head = "";
    this.#remaining = -1;
    this.#sentMs = performance.now();
    this.#socket.write(this.#load.nextHead());
    if (this.#load.body.length > 0) this.#socket.write(this.#load.body);
  }

  #onData(chunk: Buffer): void {
    if (this.#load.isOver) return;
    this.#load.bytes += chunk.length;
    if (this.#remaining >= 0) {
      this.#remaining -= chunk.length;
    } else {
      this.#head += chunk.latin1Slice();
      const end = this.#head.indexOf(EMPTY_LINE);
      if (end === -1) return;
      const length = /\r\ncontent-length: *(\d+)/i.exec(this.#head.slice(0, end))?.[1];
      if (length === undefined) throw new Error(`a response without a length: ${this.#head}`);
      if (this.#head.charCodeAt(9) >= 0x34) this.#load.refused++; // "HTTP/1.1 4.."
      this.#remaining = Number(length) - (this.#head.length - end - EMPTY_LINE.length);
    }
    if (this.#remaining < 0) throw new Error("a response that is longer than it says");
    if (this.#remaining > 0) return;
    this.#load.latenciesUs.push((performance.now() - this.#sentMs) * 1000);
    this.#send();
  }

  #onClose(): void {
    if (this.#load.isOver) return;
    if (++this.#load.lost > LOST_MAX) throw new Error(`${LOST_MAX} connections were lost`);
    this.#socket = this.#connect();
  }
}

function buildHeads(options: LoadOptions & { host: string }): Buffer[] {
  const { url, host, method, bodyBytes, tokensFile } = options;
  const { pathname } = new URL(url);
  const length = bodyBytes > 0 ? `Content-Length: ${bodyBytes}\r\n` : "";
  const start = `${method} ${pathname} HTTP/1.1\r\nHost: ${host}\r\n${length}`;
  if (tokensFile === null) return [Buffer.from(`${start}\r\n`)];
  const tokens = readFileSync(tokensFile, "utf8").trimEnd().split("\n");
  return tokens.map((token) => Buffer.from(`${start}Authorization: Bearer ${token}\r\n\r\n`));
}

const options = JSON.parse(process.argv[2]) as LoadOptions & { host: string };
const load = new Load(buildHeads(options), Buffer.alloc(options.bodyBytes, "x"));
const startedMs = performance.now();
const connections = Array.from(
  { length: options.connections },
  () => new Connection(load, new URL(options.url)),
);
setTimeout(() => {
  load.isOver = true;
  const durationUs = (performance.now() - startedMs) * 1000;
  for (const connection of connections) connection.close();
  const latencies = Float64Array.from(load.latenciesUs);
  const { bytes, refused, lost } = load;
  const [p50Us, p99Us] = [50, 99].map((percent) => percentile(latencies, percent));
  const requests = latencies.length;
  console.log(JSON.stringify({ requests, durationUs, bytes, p50Us, p99Us, refused, lost }));
}, options.seconds * 1000);
