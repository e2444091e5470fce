// Clients that have nothing to do with a flood: requests at a fixed rate over connections that are kept,
// half of them HTTP/1.1 and half HTTP/2. A latency counts from when the request was due, so that a
// gateway that stands still is charged for all that waited meanwhile.

import http2 from "node:http2";
import net from "node:net";
import { percentile } from "../measure.ts";
import { HOST } from "../peers/peer.ts";
import { PATH } from "../load/check.ts";

const H1_CONNECTIONS = 16;
const H2_SESSIONS = 4;
const LATE_MS = 10_000;

export type Latency = {
  readonly p99Ms: number;
  readonly answered: number;
  readonly failed: number;
};
export type Protocol = "h1" | "h2";

type Ask = () => Promise<boolean>;

export class Bystanders implements Disposable {
  readonly #asks: Readonly<Record<Protocol, readonly Ask[]>>;
  readonly #close: () => void;

  private constructor(asks: Readonly<Record<Protocol, readonly Ask[]>>, close: () => void) {
    this.#asks = asks;
    this.#close = close;
  }

  /** Connects to a listener that speaks both protocols. */
  static connect(port: number): Bystanders {
    const h1 = Array.from({ length: H1_CONNECTIONS }, () => new H1Client(port));
    const h2 = Array.from({ length: H2_SESSIONS }, () => new H2Client(port));
    const asks = {
      h1: h1.map((client) => () => client.ask()),
      h2: h2.map((client) => () => client.ask()),
    };
    return new Bystanders(asks, () => {
      for (const client of [...h1, ...h2]) client.close();
    });
  }

  /** Asks so often a second with each protocol, for so long. */
  async measure(rate: number, seconds: number): Promise<Record<Protocol, Latency>> {
    const [h1, h2] = await Promise.all([
      measureOne(this.#asks.h1, rate, seconds),
      measureOne(this.#asks.h2, rate, seconds),
    ]);
    return { h1, h2 };
  }

  [Symbol.dispose](): void {
    this.#close();
  }
}

async function measureOne(asks: readonly Ask[], rate: number, seconds: number): Promise<Latency> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const startMs = performance.now();
  const total = Math.trunc(rate * seconds);
  const latencies = new Float64Array(total);
  const pending: Promise<void>[] = [];
  let failed = 0;
  const timer = setInterval(() => {
    while (pending.length < total) {
      const index = pending.length;
      const dueMs = startMs + (index / rate) * 1_000;
      if (dueMs > performance.now()) return;
      const settled = asks[index % asks.length]().then((ok) => {
        latencies[index] = performance.now() - dueMs;
        if (!ok) failed++;
      });
      pending.push(settled);
    }
    clearInterval(timer);
    resolve();
  }, 1);
  await promise;
  await Promise.all(pending);
  return { p99Ms: percentile(latencies, 99), answered: total - failed, failed };
}

/** One connection; what is asked meanwhile waits for its turn. */
class H1Client {
  readonly #port: number;
  readonly #waiting: ((ok: boolean) => void)[] = [];
  #socket: net.Socket | null = null;

  constructor(port: number) {
    this.#port = port;
  }

  ask(): Promise<boolean> {
    const { promise, resolve } = Promise.withResolvers<boolean>();
    this.#waiting.push(resolve);
    if (this.#waiting.length === 1) this.#send();
    return promise;
  }

  close(): void {
    this.#socket?.destroy();
  }

  #send(): void {
    this.#socket ??= this.#connect();
    this.#socket.write(`GET ${PATH} HTTP/1.1\r\nhost: ${HOST}\r\n\r\n`);
  }

  #connect(): net.Socket {
    const socket = net.connect(this.#port, "127.0.0.1").setTimeout(LATE_MS).setNoDelay();
    let text = "";
    socket.on("timeout", () => socket.destroy());
    socket.on("error", () => {});
    socket.on("close", () => {
      this.#socket = null;
      for (const settle of this.#waiting.splice(0)) settle(false);
    });
    socket.on("data", (chunk: Buffer) => {
      text += chunk.latin1Slice();
      const head = text.indexOf("\r\n\r\n");
      if (head === -1) return;
      const length = Number(/content-length: (\d+)/i.exec(text)?.[1] ?? 0);
      if (text.length < head + 4 + length) return;
      const ok = text.startsWith("HTTP/1.1 200 ");
      text = "";
      this.#waiting.shift()?.(ok);
      if (this.#waiting.length > 0) this.#send();
    });
    return socket;
  }
}

/** One session, with as many streams at a time as are asked for. */
class H2Client {
  readonly #port: number;
  #session: http2.ClientHttp2Session | null = null;

  constructor(port: number) {
    this.#port = port;
  }

  ask(): Promise<boolean> {
    const { promise, resolve } = Promise.withResolvers<boolean>();
    const headers = { ":path": PATH, ":authority": HOST };
    const stream = this.#open().request(headers, { endStream: true });
    let status = 0;
    stream.setTimeout(LATE_MS, () => stream.destroy());
    stream.on("response", (answer) => (status = Number(answer[":status"])));
    stream.on("error", () => {});
    stream.on("close", () => resolve(status === 200));
    stream.resume();
    return promise;
  }

  close(): void {
    this.#session?.destroy();
  }

  #open(): http2.ClientHttp2Session {
    if (this.#session !== null && !this.#session.closed) return this.#session;
    const session = http2.connect(`http://127.0.0.1:${this.#port}`);
    session.on("error", () => {});
    this.#session = session;
    return session;
  }
}
