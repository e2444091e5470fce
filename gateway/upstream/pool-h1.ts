// Connections to one origin address, in one worker. Idle ones are reused last in, first out, so that
// a quiet pool shrinks; connections, waiters and waiting time are all bounded. A pool that is closed
// lets its requests end and keeps nothing.

import net from "node:net";
import tls from "node:tls";
import { beginTurn, turnMs } from "../base/clock.ts";
import { Deadline } from "../base/timer-wheel.ts";
import type { TimerWheel } from "../base/timer-wheel.ts";
import { OriginConnection } from "./origin-connection.ts";
import type { ChannelPool, OriginUser } from "./channel.ts";
import type { OriginOwner, OriginTimeouts } from "./origin-connection.ts";
import type { ReadBuffers } from "../base/read-buffers.ts";
import { proxyHeaderV1, proxyHeaderV2 } from "../wire/proxy-protocol.ts";

export type OriginTls = {
  /** Name for SNI and for the certificate's check. */
  readonly serverName: string;
  readonly verify: boolean;
  /** PEM text of the authorities to trust; the system's when null. */
  readonly ca: string | null;
  /** PEM text of the certificate that the origin asks for, and its key; null when there is none. */
  readonly cert: string | null;
  readonly key: string | null;
};

export type OriginPoolOptions = {
  readonly host: string;
  readonly port: number;
  readonly tls: OriginTls | null;
  /** A connection is then one client's, and serves one request. */
  readonly proxyProtocol: "v1" | "v2" | null;
  readonly socketsMax: number;
  readonly waitersMax: number;
  readonly waitMs: number;
  readonly connectMs: number;
  readonly timeouts: OriginTimeouts;
  readonly wheel: TimerWheel;
  readonly buffers: ReadBuffers;
  /** Told of every attempt to connect. */
  onConnect(ok: boolean): void;
};

type Waiter = { readonly user: OriginUser; readonly deadline: Deadline };

export class OriginPool implements OriginOwner, ChannelPool {
  readonly wheel: TimerWheel;
  readonly buffers: ReadBuffers;
  readonly timeouts: OriginTimeouts;
  readonly #options: OriginPoolOptions;
  readonly #idle: OriginConnection[] = [];
  readonly #waiters = new Set<Waiter>();
  readonly #connecting = new Set<Pending>();
  /** Idle connections that get a request at the end of this turn. */
  #promised: Pending[] = [];
  /** Connecting, in use and idle. */
  #sockets = 0;
  #closed = false;
  #session: Buffer | undefined;

  constructor(options: OriginPoolOptions) {
    this.#options = options;
    this.wheel = options.wheel;
    this.buffers = options.buffers;
    this.timeouts = options.timeouts;
  }

  get socketCount(): number {
    return this.#sockets;
  }

  get idleCount(): number {
    return this.#idle.length;
  }

  /**
   * Gives the user a connection, now or later, or tells it why there is none. `fresh` asks for a new
   * one, after an idle one was found dead.
   */
  acquire(user: OriginUser, fresh: boolean): void {
    while (!fresh) {
      const idle = this.#idle.pop();
      if (idle === undefined) break;
      if (!idle.usable) {
        idle.destroy();
        continue;
      }
      this.#promise(idle, user);
      return;
    }
    if (this.#sockets < this.#options.socketsMax) this.#connect(user);
    else if (this.#waiters.size < this.#options.waitersMax) this.#wait(user);
    else user.onUnavailable("UPSTREAM_BUSY", "all connections and waiting places are taken");
  }

  /** The user no longer wants a connection; one that is being made is kept for the next. */
  cancel(user: OriginUser): void {
    for (const waiter of this.#waiters) {
      if (waiter.user === user) this.#forget(waiter);
    }
    for (const pending of [...this.#connecting, ...this.#promised]) {
      if (pending.user === user) pending.user = null;
    }
  }

  /** Closes what is idle and refuses what waits; requests under way end as they would. */
  close(): void {
    this.#closed = true;
    while (this.#idle.length > 0) this.#idle.pop()?.destroy();
    for (const waiter of [...this.#waiters]) {
      this.#forget(waiter);
      waiter.user.onUnavailable("UPSTREAM_NO_TARGET", "the target was removed");
    }
  }

  onReusable(connection: OriginConnection): void {
    if (this.#options.proxyProtocol !== null) {
      connection.destroy();
      return;
    }
    const [waiter] = this.#waiters;
    if (waiter !== undefined) {
      this.#forget(waiter);
      this.#promise(connection, waiter.user);
    } else if (this.#closed) {
      connection.destroy();
    } else {
      this.#idle.push(connection);
    }
  }

  onGone(connection: OriginConnection): void {
    this.#sockets--;
    const at = this.#idle.lastIndexOf(connection);
    if (at !== -1) this.#idle.splice(at, 1);
    this.#connectForWaiter();
  }

  // Bytes that nobody asked for may have come already and not been read yet: a request sent now would
  // take them for its answer. What had come before this turn of the event loop is read within it, so
  // the connection is only used when it is silent until the turn's end.
  #promise(connection: OriginConnection, user: OriginUser): void {
    if (this.#promised.push(new Pending(user, connection)) === 1) setImmediate(this.#onTurnEnd);
  }

  readonly #onTurnEnd = (): void => {
    beginTurn();
    const promised = this.#promised;
    this.#promised = [];
    for (const { connection, user } of promised) {
      if (!connection.usable) {
        connection.destroy();
        if (user !== null) this.acquire(user, false);
      } else if (user === null) {
        this.onReusable(connection);
      } else {
        connection.assign(user);
        user.onConnected(connection, true);
      }
    }
  };

  #connectForWaiter(): void {
    const [waiter] = this.#waiters;
    if (waiter === undefined || this.#sockets >= this.#options.socketsMax) return;
    this.#forget(waiter);
    this.#connect(waiter.user);
  }

  #wait(user: OriginUser): void {
    const waiter: Waiter = {
      user,
      deadline: new Deadline(() => {
        this.#waiters.delete(waiter);
        user.onUnavailable("UPSTREAM_BUSY", `no connection within ${this.#options.waitMs} ms`);
      }),
    };
    this.#waiters.add(waiter);
    this.wheel.arm(waiter.deadline, turnMs(), this.#options.waitMs);
  }

  #forget(waiter: Waiter): void {
    this.#waiters.delete(waiter);
    this.wheel.remove(waiter.deadline);
  }

  #connect(user: OriginUser): void {
    this.#sockets++;
    const connecting = new Pending(user, new OriginConnection(this));
    this.#connecting.add(connecting);
    const socket = this.#open(connecting.connection, user.clientIp);
    const settle = (failure: string | null) => {
      if (!this.#connecting.delete(connecting)) return;
      beginTurn();
      this.wheel.remove(deadline);
      socket.removeAllListeners("error");
      socket.removeAllListeners("close");
      this.#options.onConnect(failure === null);
      if (failure === null) this.#onConnected(connecting, socket);
      else this.#onConnectFailed(connecting, socket, failure);
    };
    const { connectMs } = this.#options;
    const deadline = new Deadline(() => settle(`not connected within ${connectMs} ms`));
    this.wheel.arm(deadline, turnMs(), connectMs);
    socket.once(this.#options.tls === null ? "connect" : "secureConnect", () => settle(null));
    socket.once("error", (error) => settle(error.message));
    socket.once("close", () => settle("the connection was closed"));
  }

  #onConnected(connecting: Pending, socket: net.Socket): void {
    const { connection, user } = connecting;
    connection.adopt(socket);
    if (user !== null) {
      connection.assign(user);
      user.onConnected(connection, false);
    } else {
      this.onReusable(connection);
    }
  }

  #onConnectFailed(connecting: Pending, socket: net.Socket, failure: string): void {
    // A late error of a socket that nobody waits for must not end the worker.
    socket.on("error", () => {});
    socket.destroy();
    this.#sockets--;
    const { host, port } = this.#options;
    connecting.user?.onUnavailable("UPSTREAM_CONNECT", `${host}:${port}: ${failure}`);
    this.#connectForWaiter();
  }

  #open(connection: OriginConnection, clientIp: string): net.Socket {
    const { host, port, tls: secure } = this.#options;
    if (secure === null) {
      const socket = net.connect({
        host,
        port,
        noDelay: true,
        onread: { buffer: connection.nextBuffer, callback: connection.onRead },
      });
      this.#introduce(socket, clientIp);
      return socket;
    }
    // The PROXY header goes before the handshake.
    const under = net.connect({ host, port, noDelay: true });
    this.#introduce(under, clientIp);
    const socket = tls.connect({
      socket: under,
      servername: net.isIP(secure.serverName) === 0 ? secure.serverName : "",
      rejectUnauthorized: secure.verify,
      ca: secure.ca ?? undefined,
      cert: secure.cert ?? undefined,
      key: secure.key ?? undefined,
      minVersion: "TLSv1.2",
      ALPNProtocols: ["http/1.1"],
      session: this.#session,
      checkServerIdentity: (_host, certificate) =>
        tls.checkServerIdentity(secure.serverName, certificate),
    });
    socket.on("session", (session) => (this.#session = session));
    socket.on("data", (chunk: Buffer) => connection.onBytes(chunk, chunk.length));
    return socket;
  }

  // Says whom the connection is for. The client's port is not known behind another proxy.
  #introduce(socket: net.Socket, clientIp: string): void {
    const { host, port, proxyProtocol } = this.#options;
    if (proxyProtocol === null) return;
    const header = proxyProtocol === "v1" ? proxyHeaderV1 : proxyHeaderV2;
    socket.write(header({ address: clientIp, port: 0 }, { address: host, port }));
  }
}

/** A connection and who is to have it; null: nobody any more. */
class Pending {
  user: OriginUser | null;
  readonly connection: OriginConnection;

  constructor(user: OriginUser, connection: OriginConnection) {
    this.user = user;
    this.connection = connection;
  }
}
