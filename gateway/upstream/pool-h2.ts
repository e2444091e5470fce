// HTTP/2 to one origin address, over node:http2: few connections with many streams each. Connections,
// streams, waiters and waiting time are bounded; a connection that the origin says goodbye to gets no
// further streams, and requests that it had not looked at are tried on another.

import http2 from "node:http2";
import type { ClientHttp2Session, ClientHttp2Stream } from "node:http2";
import tls from "node:tls";
import net from "node:net";
import { beginTurn, turnMs } from "../base/clock.ts";
import { LIMITS } from "../base/limits.ts";
import { Deadline } from "../base/timer-wheel.ts";
import type { ChannelPool, OriginUser } from "./channel.ts";
import { H2OriginStream } from "./origin-stream.ts";
import type { OriginPoolOptions } from "./pool-h1.ts";

type Waiter = { readonly user: OriginUser; readonly deadline: Deadline };

// The types do not know strictSingleValueFields yet: fields may repeat, as origins repeat them.
const OPTIONS: http2.ClientSessionOptions & { strictSingleValueFields: boolean } = {
  maxSessionMemory: 16,
  maxHeaderListPairs: LIMITS.responseHeadersMax,
  maxOutstandingPings: 4,
  maxReservedRemoteStreams: 0,
  strictSingleValueFields: false,
  settings: {
    enablePush: false,
    maxHeaderListSize: LIMITS.responseHeadBytesMax,
    initialWindowSize: LIMITS.h2WindowBytes,
  },
};

/**
 * Holds a session's native half until a stream of it was collected. An origin that breaks the protocol
 * within a header block leaves fields with the stream; node:http2 aborts the process when the session
 * is collected first ("current_nghttp2_memory_", in 26.10).
 */
const OUTLIVED = new FinalizationRegistry<unknown>(() => {});

/** A connection, and how many more streams it takes. */
class Session {
  readonly http2: ClientHttp2Session;
  readonly socket: net.Socket;
  streams = 0;
  isReady = false;
  /** No further streams: it said goodbye, or failed. */
  isLeaving = false;
  readonly idle: Deadline;
  #nativeHalf: unknown;

  constructor(session: ClientHttp2Session, socket: net.Socket, onIdle: () => void) {
    this.http2 = session;
    this.socket = socket;
    this.idle = new Deadline(onIdle);
  }

  /** Opens a stream, which the session's native half outlives. */
  request(headers: string[], endStream: boolean): ClientHttp2Stream {
    const stream = this.http2.request(headers, { endStream });
    this.#nativeHalf ??= nativeHalfOf(this.http2);
    OUTLIVED.register(stream, this.#nativeHalf);
    return stream;
  }

  get hasRoom(): boolean {
    const theirs = this.http2.remoteSettings?.maxConcurrentStreams ?? LIMITS.h2OriginStreamsMax;
    const room = Math.min(theirs, LIMITS.h2OriginStreamsMax);
    // Of a lost connection its streams hear first, and must not try again on it.
    return this.isReady && !this.isLeaving && !this.socket.destroyed && this.streams < room;
  }
}

// Known once the session is connected. Where node:http2 has none by this name, nothing is held.
function nativeHalfOf(session: ClientHttp2Session): unknown {
  const symbols = Object.getOwnPropertySymbols(session);
  const key = symbols.find(({ description }) => description === "kHandle");
  return key && (session as unknown as Record<symbol, unknown>)[key];
}

export class H2OriginPool implements ChannelPool {
  readonly #options: OriginPoolOptions;
  readonly #sessions = new Set<Session>();
  readonly #waiters = new Set<Waiter>();
  #closed = false;

  constructor(options: OriginPoolOptions) {
    this.#options = options;
  }

  get sessionCount(): number {
    return this.#sessions.size;
  }

  acquire(user: OriginUser, fresh: boolean): void {
    if (!fresh) {
      for (const session of this.#sessions) {
        if (!session.hasRoom) continue;
        this.#open(session, user, true);
        return;
      }
    }
    const { waitersMax } = this.#options;
    if (this.#waiters.size >= waitersMax) {
      user.onUnavailable("UPSTREAM_BUSY", "all streams and waiting places are taken");
      return;
    }
    this.#wait(user);
    const isConnecting = [...this.#sessions].some((each) => !each.isReady && !each.isLeaving);
    if (!isConnecting && this.#sessions.size < this.#sessionsMax) this.#connect();
  }

  cancel(user: OriginUser): void {
    for (const waiter of this.#waiters) if (waiter.user === user) this.#forget(waiter);
  }

  close(): void {
    this.#closed = true;
    for (const waiter of [...this.#waiters]) {
      this.#forget(waiter);
      waiter.user.onUnavailable("UPSTREAM_NO_TARGET", "the target was removed");
    }
    for (const session of this.#sessions) session.http2.close();
  }

  // As many sockets as HTTP/1.1 would have, each of them with many streams, would be too much.
  get #sessionsMax(): number {
    return Math.min(this.#options.socketsMax, LIMITS.h2OriginSessionsMax);
  }

  #open(session: Session, user: OriginUser, reused: boolean): void {
    session.streams++;
    this.#options.wheel.disarm(session.idle);
    const stream = new H2OriginStream({
      wheel: this.#options.wheel,
      timeouts: this.#options.timeouts,
      scheme: this.#options.tls === null ? "http" : "https",
      request: (headers, endStream) => session.request(headers, endStream),
      onClosed: () => this.#onStreamClosed(session),
    });
    stream.assign(user);
    user.onConnected(stream, reused);
  }

  #onStreamClosed(session: Session): void {
    session.streams--;
    if (session.streams === 0 && !session.isLeaving) {
      this.#options.wheel.arm(session.idle, turnMs(), this.#options.timeouts.idleMs);
    }
    this.#serveWaiters();
  }

  #serveWaiters(): void {
    for (const session of this.#sessions) {
      for (const waiter of this.#waiters) {
        if (!session.hasRoom) break;
        this.#forget(waiter);
        this.#open(session, waiter.user, false);
      }
    }
  }

  #wait(user: OriginUser): void {
    const { waitMs, connectMs, wheel } = this.#options;
    const waiter: Waiter = {
      user,
      deadline: new Deadline(() => {
        this.#waiters.delete(waiter);
        user.onUnavailable("UPSTREAM_BUSY", `no stream within ${waitMs} ms`);
      }),
    };
    this.#waiters.add(waiter);
    wheel.arm(waiter.deadline, turnMs(), Math.max(waitMs, connectMs));
  }

  #forget(waiter: Waiter): void {
    this.#waiters.delete(waiter);
    this.#options.wheel.remove(waiter.deadline);
  }

  #connect(): void {
    const { connectMs, wheel } = this.#options;
    const { url, socket } = this.#openSocket();
    const connected = http2.connect(url, { ...OPTIONS, createConnection: () => socket });
    const session = new Session(connected, socket, () => {
      session.isLeaving = true;
      session.http2.close();
    });
    this.#sessions.add(session);
    const deadline = new Deadline(() => fail(`not connected within ${connectMs} ms`));
    const fail = (reason: string) => {
      if (!session.isReady && !session.isLeaving) this.#onConnectFailed(reason);
      session.isLeaving = true;
      wheel.remove(deadline);
      session.http2.destroy();
    };
    wheel.arm(deadline, turnMs(), connectMs);
    // Only its settings say how many streams it takes.
    session.http2.once("remoteSettings", () => {
      beginTurn();
      wheel.remove(deadline);
      session.isReady = true;
      this.#options.onConnect(true);
      if (this.#closed) session.http2.close();
      this.#serveWaiters();
    });
    session.http2.on("error", (error: Error) => fail(error.message));
    session.http2.on("goaway", () => (session.isLeaving = true));
    session.http2.on("close", () => {
      fail("the connection was closed");
      wheel.remove(session.idle);
      this.#sessions.delete(session);
      if (this.#waiters.size > 0 && !this.#closed) this.#connectForWaiters();
    });
  }

  #connectForWaiters(): void {
    if (this.#sessions.size < this.#sessionsMax) this.#connect();
  }

  // Whoever waits for this connection hears of its failure: another try is a decision of theirs.
  #onConnectFailed(reason: string): void {
    this.#options.onConnect(false);
    const { host, port } = this.#options;
    for (const waiter of [...this.#waiters]) {
      this.#forget(waiter);
      waiter.user.onUnavailable("UPSTREAM_CONNECT", `${host}:${port}: ${reason}`);
    }
  }

  #openSocket(): { url: string; socket: net.Socket } {
    const { host, port, tls: secure } = this.#options;
    const authority = net.isIPv6(host) ? `[${host}]:${port}` : `${host}:${port}`;
    if (secure === null) {
      return { url: `http://${authority}`, socket: net.connect({ host, port, noDelay: true }) };
    }
    const { ca, cert, key, serverName, verify } = secure;
    const socket = tls.connect({
      host,
      port,
      servername: net.isIP(serverName) === 0 ? serverName : "",
      rejectUnauthorized: verify,
      ca: ca ?? undefined,
      cert: cert ?? undefined,
      key: key ?? undefined,
      minVersion: "TLSv1.2",
      ALPNProtocols: ["h2"],
      checkServerIdentity: (_host, certificate) => tls.checkServerIdentity(serverName, certificate),
    });
    return { url: `https://${authority}`, socket };
  }
}
