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
import { H1Connection } from "./h1/connection.ts";
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

export class ListenerHost implements ConnectionHost {
  readonly wheel: TimerWheel;
  readonly buffers: ReadBuffers;
  readonly scheme: "http" | "https";
  timeouts: ConnectionTimeouts;
  draining = false;
  readonly #core: Core;
  readonly #counters: ListenerCounters;
  readonly #connections = new Set<H1Connection>();
  readonly #server: net.Server;
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

  refusal(code: ErrorCode): string {
    this.#counters.malformed(code);
    const requestId = this.#core.ids.requestId();
    const response = problem(code, requestId);
    const body = String(response.body);
    const fields = localFields(response, requestId, null, Buffer.byteLength(body));
    return `${fields}connection: close\r\n\r\n${body}`;
  }

  onClosed(connection: H1Connection): void {
    if (!this.#connections.delete(connection)) return;
    this.#counters.closed();
    if (this.#connections.size === 0) this.#onEmpty?.();
  }

  #plainServer(): net.Server {
    const options = { allowHalfOpen: true, noDelay: true, pauseOnConnect: true };
    return net.createServer(options, (socket) =>
      this.#accept(socket, (reader) => readInto(socket, reader)),
    );
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
      ALPNProtocols: ["http/1.1"],
      minVersion: "TLSv1.2",
    });
    server.on("secureConnection", (socket) => {
      this.#counters.handshake(true);
      this.#accept(socket, (reader) => socket.on("data", reader.onData));
    });
    server.on("tlsClientError", (_error, socket) => {
      this.#counters.handshake(false);
      socket.destroy();
    });
    return server;
  }

  #accept(socket: net.Socket, open: (reader: SocketReader) => net.Socket): void {
    if (this.#connections.size >= this.#connectionsMax) {
      this.#counters.refused();
      socket.on("error", () => {});
      socket.end(this.refusal("OVERLOADED"), "latin1", () => socket.destroy());
      return;
    }
    this.#counters.opened();
    this.#connections.add(new H1Connection(this, open));
  }
}

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
