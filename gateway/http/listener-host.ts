// One listener in one worker: accepts connections, bounds them, serves their requests, and drains.
// The listening socket belongs to the primary; here it is only accepted from.

import net from "node:net";
import tls from "node:tls";
import { problem } from "../plugins/problem.ts";
import type { ErrorCode } from "../base/errors.ts";
import type { ReadBuffers } from "../base/read-buffers.ts";
import type { TimerWheel } from "../base/timer-wheel.ts";
import type { RequestHead } from "../wire/request-head.ts";
import { CertificateSet } from "./certificates.ts";
import type { CertificatePem } from "./certificates.ts";
import { beginTurn } from "../base/clock.ts";
import { Deadline } from "../base/timer-wheel.ts";
import { H1Connection } from "./h1/connection.ts";
import { H2Session } from "./h2/session.ts";
import type { H2Host } from "./h2/session.ts";
import type { H2Stream } from "./h2/stream.ts";
import type { ConnectionHost, ConnectionTimeouts, SocketReader } from "./h1/host.ts";
import { Handling } from "./handle.ts";
import type { Core } from "./handle.ts";
import { localFields } from "./respond.ts";

const HANDSHAKE_MS = 10_000;

export type ListenerOptions = {
  readonly name: string;
  readonly timeouts: ConnectionTimeouts;
  readonly connectionsMax: number;
  /** Empty: clear text. */
  readonly certificates: readonly CertificatePem[];
  /** By ALPN, or with prior knowledge on clear text. */
  readonly http2: boolean;
};

/** What a listener counts. */
export interface ListenerCounters {
  opened(): void;
  closed(): void;
  refused(): void;
  handshake(ok: boolean): void;
  /** A request was refused before it had an exchange. */
  malformed(code: ErrorCode): void;
}

/** An open connection, of whichever protocol. */
type Connection = H1Connection | H2Session;

export class ListenerHost implements ConnectionHost, H2Host {
  readonly wheel: TimerWheel;
  readonly buffers: ReadBuffers;
  readonly scheme: "http" | "https";
  timeouts: ConnectionTimeouts;
  draining = false;
  readonly #core: Core;
  readonly #counters: ListenerCounters;
  readonly #connections = new Set<Connection>();
  readonly #server: net.Server;
  readonly #http2: boolean;
  #connectionsMax: number;
  #certificates: CertificateSet | null = null;
  #onEmpty: (() => void) | null = null;

  constructor(
    options: ListenerOptions,
    parts: { core: Core; wheel: TimerWheel; buffers: ReadBuffers; counters: ListenerCounters },
  ) {
    this.#core = parts.core;
    this.buffers = parts.buffers;
    this.#counters = parts.counters;
    this.wheel = parts.wheel;
    this.timeouts = options.timeouts;
    this.#connectionsMax = options.connectionsMax;
    this.scheme = options.certificates.length === 0 ? "http" : "https";
    this.#http2 = options.http2;
    this.#server = this.scheme === "http" ? this.#plainServer() : this.#tlsServer(options);
  }

  get connectionCount(): number {
    return this.#connections.size;
  }

  /** Where it listens. */
  address(): net.AddressInfo | string | null {
    return this.#server.address();
  }

  /** Accepts from a listening socket that the primary bound. */
  listen(handle: unknown): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#server.once("error", reject);
      this.#server.listen(handle, () => {
        this.#server.off("error", reject);
        this.#server.on("error", (error) =>
          this.#core.log.error("a listener failed", { error: String(error) }),
        );
        resolve();
      });
    });
  }

  /** Takes over new timeouts, bounds and certificates; open connections keep theirs. */
  update(options: ListenerOptions): void {
    this.timeouts = options.timeouts;
    this.#connectionsMax = options.connectionsMax;
    if (!(this.#server instanceof tls.Server)) return;
    const certificates = new CertificateSet(options.certificates);
    this.#server.setSecureContext({ ...certificates.first, minVersion: "TLSv1.2" });
    this.#certificates = certificates;
  }

  /** Stops accepting and closes what is idle; resolves when the last request has ended. */
  drain(): Promise<void> {
    this.draining = true;
    this.#server.close();
    for (const connection of this.#connections) connection.drain();
    return new Promise((resolve) => {
      if (this.#connections.size === 0) resolve();
      else this.#onEmpty = resolve;
    });
  }

  /** Ends every connection at once. */
  destroy(): void {
    this.#server.close();
    for (const connection of [...this.#connections]) connection.destroy();
  }

  serve(connection: H1Connection, head: RequestHead): Handling {
    return new Handling(this.#core, connection, head);
  }

  serveStream(stream: H2Stream, head: RequestHead): Handling {
    return new Handling(this.#core, stream, head);
  }

  refusal(code: ErrorCode): string {
    const { head, body } = this.refusalParts(code);
    return `${head}connection: close\r\n\r\n${body}`;
  }

  refusalParts(code: ErrorCode): { head: string; body: string } {
    this.#counters.malformed(code);
    const requestId = this.#core.ids.requestId();
    const response = problem(code, requestId);
    const body = String(response.body);
    return { head: localFields(response, requestId, null, Buffer.byteLength(body)), body };
  }

  onClosed(connection: H1Connection): void {
    this.#forget(connection);
  }

  onSessionClosed(session: H2Session): void {
    this.#forget(session);
  }

  #forget(connection: Connection): void {
    if (!this.#connections.delete(connection)) return;
    this.#counters.closed();
    if (this.#connections.size === 0) this.#onEmpty?.();
  }

  #plainServer(): net.Server {
    const options = { allowHalfOpen: true, noDelay: true, pauseOnConnect: true };
    return net.createServer(options, (socket) => {
      if (!this.#admits(socket)) return;
      if (this.#http2) this.#sniff(socket);
      else this.#add(new H1Connection(this, (reader) => readInto(socket, reader)));
    });
  }

  #tlsServer(options: ListenerOptions): tls.Server {
    const certificates = new CertificateSet(options.certificates);
    this.#certificates = certificates;
    const server = tls.createServer({
      ...certificates.first,
      SNICallback: (name, done) => done(null, this.#certificates?.find(name)),
      allowHalfOpen: true,
      noDelay: true,
      handshakeTimeout: HANDSHAKE_MS,
      ALPNProtocols: options.http2 ? ["h2", "http/1.1"] : ["http/1.1"],
      minVersion: "TLSv1.2",
    });
    server.on("secureConnection", (socket) => {
      this.#counters.handshake(true);
      if (!this.#admits(socket)) return;
      if (socket.alpnProtocol === "h2") this.#add(new H2Session(this, socket));
      else this.#add(new H1Connection(this, (reader) => socket.on("data", reader.onData)));
    });
    server.on("tlsClientError", (_error, socket) => {
      this.#counters.handshake(false);
      socket.destroy();
    });
    return server;
  }

  #admits(socket: net.Socket): boolean {
    if (this.#connections.size < this.#connectionsMax) return true;
    this.#counters.refused();
    socket.on("error", () => {});
    socket.end(this.refusal("OVERLOADED"), "latin1", () => socket.destroy());
    return false;
  }

  #add(connection: Connection): void {
    this.#counters.opened();
    this.#connections.add(connection);
  }

  // Clear text on which a client may speak HTTP/2 with prior knowledge (RFC 9113, 3.3): its first bytes
  // tell. They are put back, so that whoever serves the connection reads it from its beginning.
  #sniff(socket: net.Socket): void {
    const { headMs } = this.timeouts;
    const deadline = new Deadline(() => socket.destroy());
    this.wheel.arm(deadline, beginTurn(), headMs);
    socket.on("error", () => {});
    socket.once("close", () => this.wheel.remove(deadline));
    let seen = Buffer.alloc(0);
    const look = () => {
      const chunk = socket.read() as Buffer | null;
      if (chunk === null) return;
      seen = Buffer.concat([seen, chunk]);
      const length = Math.min(seen.length, H2_PREFACE.length);
      const isPreface = seen.subarray(0, length).equals(H2_PREFACE.subarray(0, length));
      if (isPreface && length < H2_PREFACE.length) return;
      socket.off("readable", look);
      this.wheel.remove(deadline);
      socket.unshift(seen);
      if (isPreface) this.#add(new H2Session(this, socket));
      else this.#add(new H1Connection(this, (reader) => socket.on("data", reader.onData)));
    };
    socket.on("readable", look);
  }
}

/** What an HTTP/2 client says first (RFC 9113, 3.4); up to here no HTTP/1.1 request begins so. */
const H2_PREFACE = Buffer.from("PRI * HTTP/2.0\r\n");

// node:net makes accepted sockets that take a new buffer of 64 KiB for each read, and has no option for
// others; those it makes for outgoing connections may read into buffers of ours. So one of that kind is
// made over the accepted one's handle, which saves 2 us a request (bench: load, plain).
function readInto(accepted: net.Socket, { onread }: SocketReader): net.Socket {
  type WithHandle = { _handle: unknown };
  const { _handle: handle } = accepted as unknown as WithHandle;
  (accepted as unknown as WithHandle)._handle = null;
  const options = { handle, onread, allowHalfOpen: true };
  return new net.Socket(options as net.SocketConstructorOpts);
}

/** Lines up the bounds of a listener's configuration. */
export function connectionTimeouts(configured: {
  head_ms?: number;
  body_idle_ms?: number;
  idle_ms?: number;
}): ConnectionTimeouts {
  return {
    headMs: configured.head_ms ?? 10_000,
    bodyIdleMs: configured.body_idle_ms ?? 30_000,
    idleMs: configured.idle_ms ?? 75_000,
  };
}
