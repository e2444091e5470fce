// One listener in one worker: accepts connections, bounds them, serves their requests, and drains.
// The listening socket belongs to the primary; here it is only accepted from.

import { createHash } from "node:crypto";
import net from "node:net";
import tls from "node:tls";
import { problem } from "../plugins/problem.ts";
import type { ErrorCode } from "../base/errors.ts";
import type { ReadBuffers } from "../base/read-buffers.ts";
import type { TimerWheel } from "../base/timer-wheel.ts";
import { ProxyHeaderReader } from "../wire/proxy-protocol.ts";
import type { RequestHead } from "../wire/request-head.ts";
import { CertificateSet } from "./certificates.ts";
import type { CertificatePem, TlsPolicy } from "./certificates.ts";
import { buildTrustedProxies, isListed, plainAddress } from "./client-address.ts";
import type { Peer } from "./downstream.ts";
import { H1Connection } from "./h1/connection.ts";
import { FloodWatch } from "./h2/flood-watch.ts";
import { H2Session } from "./h2/session.ts";
import type { H2Host } from "./h2/session.ts";
import type { H2Stream } from "./h2/stream.ts";
import type { ConnectionHost, ConnectionTimeouts, SocketReader } from "./h1/host.ts";
import { Handling } from "./handle.ts";
import type { Core } from "./handle.ts";
import { readAhead } from "./read-ahead.ts";
import type { Ahead } from "./read-ahead.ts";
import { localFields } from "./respond.ts";
import { tlsFacts } from "./tls-facts.ts";

const HANDSHAKE_MS = 10_000;

export type TlsOptions = TlsPolicy & {
  /** Not empty. */
  readonly certificates: readonly CertificatePem[];
  readonly clientAuth: "none" | "optional" | "required";
  /** 48 bytes that all workers share, so that a session is resumed in any of them. */
  readonly ticketKeys: Uint8Array;
};

export type ListenerOptions = {
  readonly name: string;
  readonly timeouts: ConnectionTimeouts;
  /** Of this listener in one worker, those in their handshake included. */
  readonly connectionsMax: number;
  /** The same, of one client address; null: no bound of its own. */
  readonly connectionsPerAddressMax: number | null;
  /** Addresses and ranges that may, and must, begin with a PROXY header; null: nobody does. */
  readonly proxyProtocol: readonly string[] | null;
  /** null: clear text. */
  readonly tls: TlsOptions | null;
  /** By ALPN, or with prior knowledge on clear text. */
  readonly http2: boolean;
};

/** What a listener counts. */
export interface ListenerCounters {
  opened(): void;
  closed(): void;
  refused(): void;
  abused(): void;
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
  readonly floods: FloodWatch;
  timeouts: ConnectionTimeouts;
  draining = false;
  readonly #core: Core;
  readonly #counters: ListenerCounters;
  readonly #connections = new Set<Connection>();
  readonly #server: net.Server;
  readonly #addresses = new Map<string, number>();
  /** By the socket's own address and port: whom its PROXY header speaks of. */
  readonly #proxied = new Map<string, string>();
  #options: ListenerOptions;
  #sources: net.BlockList | null;
  /** Handshakes happen here; it does not listen itself, and is made anew when its options change. */
  #secure: tls.Server | null;
  #open = 0;
  #onEmpty: (() => void) | null = null;

  constructor(
    options: ListenerOptions,
    parts: { core: Core; wheel: TimerWheel; buffers: ReadBuffers; counters: ListenerCounters },
  ) {
    this.#core = parts.core;
    this.buffers = parts.buffers;
    this.#counters = parts.counters;
    this.wheel = parts.wheel;
    this.floods = new FloodWatch(parts.wheel);
    this.timeouts = options.timeouts;
    this.scheme = options.tls === null ? "http" : "https";
    this.#options = options;
    this.#sources = sourcesOf(options);
    this.#secure = this.#secureServer(options);
    const accepting = { allowHalfOpen: true, noDelay: true, pauseOnConnect: true };
    this.#server = net.createServer(accepting, (socket) => this.#onAccepted(socket));
  }

  get connectionCount(): number {
    return this.#connections.size;
  }

  /** Where it listens. */
  address(): net.AddressInfo | string | null {
    return this.#server.address();
  }

  /** Accepts from a socket that the primary bound, or from one of its own. */
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

  /** Serves a connection that was accepted elsewhere: node's own handle of it. */
  adopt(handle: unknown): void {
    const options = { handle, allowHalfOpen: true, pauseOnCreate: true };
    const socket = new net.Socket(options as net.SocketConstructorOpts);
    socket.setNoDelay(true);
    this.#onAccepted(socket);
  }

  /** Takes over new options, but for the scheme; open connections keep theirs. */
  update(options: ListenerOptions): void {
    this.timeouts = options.timeouts;
    this.#options = options;
    this.#sources = sourcesOf(options);
    this.#secure = this.#secureServer(options);
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

  onAbused(): void {
    this.#counters.abused();
  }

  onSessionClosed(session: H2Session): void {
    this.#forget(session);
  }

  #forget(connection: Connection): void {
    if (!this.#connections.delete(connection)) return;
    this.#counters.closed();
    if (this.#connections.size === 0) this.#onEmpty?.();
  }

  #onAccepted(socket: net.Socket): void {
    const address = plainAddress(socket.remoteAddress ?? "");
    if (this.#open >= this.#options.connectionsMax) {
      this.#refuse(socket);
      return;
    }
    this.#open++;
    socket.once("close", () => this.#open--);
    if (this.#sources === null) this.#admit(socket, address);
    else if (isListed(this.#sources, address)) this.#readProxyHeader(socket, address);
    else {
      // Whoever is not known to speak for others could claim to be anybody.
      this.#counters.refused();
      socket.destroy();
    }
  }

  #readProxyHeader(socket: net.Socket, own: string): void {
    const reader = new ProxyHeaderReader();
    const key = socketKey(socket);
    let address = own;
    const judge = (chunk: Buffer) => {
      const read = reader.push(chunk);
      if (read.kind === "done") address = read.header.source?.address ?? own;
      else if (read.kind === "bad") this.#counters.refused();
      return read;
    };
    const onDone = () => {
      this.#proxied.set(key, address);
      this.#admit(socket, address);
    };
    socket.once("close", () => this.#proxied.delete(key));
    readAhead(socket, judge, { wheel: this.wheel, withinMs: this.timeouts.headMs, onDone });
  }

  #admit(socket: net.Socket, address: string): void {
    const { connectionsPerAddressMax } = this.#options;
    if (connectionsPerAddressMax !== null) {
      const count = this.#addresses.get(address) ?? 0;
      if (count >= connectionsPerAddressMax) {
        this.#refuse(socket);
        return;
      }
      this.#addresses.set(address, count + 1);
      socket.once("close", () => this.#leave(address));
    }
    if (this.#secure !== null) {
      // Until it has shaken hands, a client that ended its half is gone: what it waits for cannot come.
      socket.allowHalfOpen = false;
      this.#secure.emit("connection", socket);
    } else if (this.#options.http2) this.#sniff(socket, { address, tls: null });
    else {
      const open = this.#sources === null ? readInto : readFrom;
      this.#add(new H1Connection(this, (reader) => open(socket, reader), { address, tls: null }));
    }
  }

  #leave(address: string): void {
    const count = (this.#addresses.get(address) ?? 1) - 1;
    if (count === 0) this.#addresses.delete(address);
    else this.#addresses.set(address, count);
  }

  #refuse(socket: net.Socket): void {
    this.#counters.refused();
    socket.on("error", () => {});
    // Before a handshake there is no way to say why.
    if (this.#secure !== null) socket.destroy();
    else socket.end(this.refusal("OVERLOADED"), "latin1", () => socket.destroy());
  }

  #secureServer({ tls: options, http2, name }: ListenerOptions): tls.Server | null {
    if (options === null) return null;
    const certificates = new CertificateSet(options.certificates, options);
    const server = tls.createServer({
      ...certificates.fallback,
      requestCert: options.clientAuth !== "none",
      rejectUnauthorized: options.clientAuth === "required",
      ticketKeys: Buffer.from(options.ticketKeys),
      sessionIdContext: sessionContext(name, options),
      // Called with the socket as `this`, which alone knows what its client can verify.
      SNICallback(this: tls.TLSSocket, asked, done) {
        done(null, certificates.find(asked, this.getSharedSigalgs()));
      },
      allowHalfOpen: true,
      noDelay: true,
      handshakeTimeout: HANDSHAKE_MS,
      ALPNProtocols: http2 ? ["h2", "http/1.1"] : ["http/1.1"],
    });
    server.on("secureConnection", (socket) => this.#onSecure(socket, options));
    server.on("tlsClientError", (_error, socket) => {
      this.#counters.handshake(false);
      socket.destroy();
    });
    return server;
  }

  #onSecure(socket: tls.TLSSocket, { clientAuth }: TlsOptions): void {
    // A certificate that is optional but not good is no anonymity: its holder is told so.
    if (clientAuth === "optional" && !socket.authorized && hasCertificate(socket)) {
      this.#counters.handshake(false);
      socket.destroy();
      return;
    }
    this.#counters.handshake(true);
    socket.allowHalfOpen = true;
    // A record that is none: node:tls tells, and closes no socket that may be half open.
    socket.on("error", () => socket.destroy());
    const address =
      this.#proxied.get(socketKey(socket)) ?? plainAddress(socket.remoteAddress ?? "");
    const peer: Peer = { address, tls: tlsFacts(socket) };
    if (socket.alpnProtocol === "h2") this.#add(new H2Session(this, socket, peer));
    else this.#add(new H1Connection(this, (reader) => readFrom(socket, reader), peer));
  }

  #add(connection: Connection): void {
    this.#counters.opened();
    this.#connections.add(connection);
  }

  // Clear text on which a client may speak HTTP/2 with prior knowledge (RFC 9113, 3.3): its first bytes
  // tell. They are put back, so that whoever serves the connection reads it from its beginning.
  #sniff(socket: net.Socket, peer: Peer): void {
    let seen = Buffer.alloc(0);
    let isPreface = false;
    const judge = (chunk: Buffer): Ahead => {
      seen = Buffer.concat([seen, chunk]);
      const length = Math.min(seen.length, H2_PREFACE.length);
      isPreface = seen.subarray(0, length).equals(H2_PREFACE.subarray(0, length));
      if (isPreface && length < H2_PREFACE.length) return { kind: "more" };
      return { kind: "done", rest: seen };
    };
    const onDone = () => {
      if (isPreface) this.#add(new H2Session(this, socket, peer));
      else this.#add(new H1Connection(this, (reader) => readFrom(socket, reader), peer));
    };
    readAhead(socket, judge, { wheel: this.wheel, withinMs: this.timeouts.headMs, onDone });
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
  const socket = new net.Socket(options as net.SocketConstructorOpts);
  socket.once("close", () => accepted.destroy());
  return socket;
}

function readFrom(socket: net.Socket, { onData }: SocketReader): net.Socket {
  return socket.on("data", onData);
}

function socketKey({ remoteAddress, remotePort }: net.Socket): string {
  return `${remoteAddress}:${remotePort}`;
}

function sourcesOf({ proxyProtocol }: ListenerOptions): net.BlockList | null {
  return proxyProtocol === null ? null : buildTrustedProxies(proxyProtocol);
}

// What a session is good for: this listener, while it asks the same of its clients. Any other session
// would pass a client whose certificate was never asked for, or was believed by others.
function sessionContext(name: string, { clientAuth, clientCa }: TlsOptions): string {
  const asked = JSON.stringify([name, clientAuth, clientCa]);
  return createHash("sha256").update(asked).digest("hex").slice(0, 32);
}

function hasCertificate(socket: tls.TLSSocket): boolean {
  return Object.keys(socket.getPeerCertificate()).length > 0;
}

/** Lines up the bounds of a listener's configuration. */
export function connectionTimeouts(configured: {
  head_ms?: number;
  body_idle_ms?: number;
  body_bytes_per_second_min?: number;
  body_window_ms?: number;
  idle_ms?: number;
}): ConnectionTimeouts {
  return {
    headMs: configured.head_ms ?? 10_000,
    bodyIdleMs: configured.body_idle_ms ?? 30_000,
    bodyRate: {
      bytesPerSecondMin: configured.body_bytes_per_second_min ?? 240,
      windowMs: configured.body_window_ms ?? 10_000,
    },
    idleMs: configured.idle_ms ?? 75_000,
  };
}
