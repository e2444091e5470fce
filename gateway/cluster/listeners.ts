// The primary's listening sockets. It binds them, keeps them over the death of every worker, and hands
// each worker the same one to accept from; it accepts nothing itself. A connection that arrives while
// no worker lives waits in the kernel's queue for the next.

import { randomBytes } from "node:crypto";
import type { Config, ListenerConfig } from "../config/schema.ts";
import { connectionTimeouts } from "../http/listener-host.ts";
import type { ListenerOptions, TlsOptions } from "../http/listener-host.ts";
import { CertificateSet } from "../http/certificates.ts";
import type { CertificatePem } from "../http/certificates.ts";
import { splitAddress } from "../upstream/upstream.ts";
import type { Accepting } from "./channel.ts";
import type { FleetListener } from "./fleet.ts";
import { bindListener } from "./listener.ts";
import type { BoundListener } from "./listener.ts";

const CONNECTIONS_MAX_DEFAULT = 20_000;

/** What a listener's TLS is made of: its certificates, and the authorities of its clients'. */
export type TlsFiles = {
  readonly certificates: readonly CertificatePem[];
  readonly clientCa: string | null;
};

/** Reads the files that a listener's TLS names, or makes the self-signed certificate. */
export type LoadTls = (
  listener: ListenerConfig,
  shared: Config["certificates"],
) => Promise<TlsFiles>;

const TICKET_KEY_BYTES = 48;

type Open = { readonly address: string; readonly isTls: boolean; readonly bound: BoundListener };

export class Listeners {
  readonly #load: LoadTls;
  /** Shared by all workers; a ticket of before a rotation is answered with a whole handshake. */
  #ticketKeys: Buffer = randomBytes(TICKET_KEY_BYTES);
  #open = new Map<string, Open>();

  constructor(load: LoadTls) {
    this.#load = load;
  }

  /** What listens now. */
  get addresses(): { name: string; address: string; tls: boolean }[] {
    return [...this.#open].map(([name, { bound, isTls }]) => ({
      name,
      address: `${bound.address.includes(":") ? `[${bound.address}]` : bound.address}:${bound.port}`,
      tls: isTls,
    }));
  }

  /**
   * Binds what a configuration adds, and leaves what it keeps. Nothing is closed: `commit` makes the
   * new set the open one, `abort` closes what was added. Rejects when an address cannot be bound.
   */
  async prepare(config: Config): Promise<PreparedListeners> {
    const next = new Map<string, Open>();
    const added: BoundListener[] = [];
    const fleet: FleetListener[] = [];
    try {
      for (const listener of config.listeners ?? []) {
        const { name, address } = listener;
        const isTls = listener.tls !== undefined;
        const secure = isTls ? await this.#loadTls(listener, config) : null;
        let open = this.#open.get(name);
        if (open === undefined || open.address !== address || open.isTls !== isTls) {
          // The same address under another name or scheme keeps its socket.
          const same = [...this.#open.values()].find((other) => other.address === address);
          const reusePort = listener.accept === "reuse-port";
          const bound =
            same?.bound ?? (await bindListener({ ...splitAddress(address), reusePort }));
          if (same === undefined) added.push(bound);
          open = { address, isTls, bound };
        }
        next.set(name, open);
        const options = optionsOf(listener, config, secure);
        fleet.push({
          name: `${name} ${address} ${isTls ? "tls" : "clear"}`,
          handle: open.bound.handle,
          accepting: acceptingOf(listener, open.bound),
          options,
        });
      }
    } catch (error) {
      for (const bound of added) bound.close();
      throw error;
    }
    return {
      fleet,
      commit: () => this.#use(next),
      abort: () => {
        for (const bound of added) bound.close();
      },
    };
  }

  /** Makes new ticket keys; the next `prepare` hands them out. */
  rotateTicketKeys(): void {
    this.#ticketKeys = randomBytes(TICKET_KEY_BYTES);
  }

  close(): void {
    this.#use(new Map());
  }

  async #loadTls(listener: ListenerConfig, config: Config): Promise<TlsOptions> {
    const { certificates, clientCa } = await this.#load(listener, config.certificates);
    const secure: TlsOptions = {
      certificates,
      clientCa,
      minVersion: listener.tls?.min_version === "1.3" ? "TLSv1.3" : "TLSv1.2",
      clientAuth: listener.tls?.client_auth ?? "none",
      ticketKeys: this.#ticketKeys,
    };
    try {
      // Fails here, in the primary, for a key that is not its certificate's.
      void new CertificateSet(certificates, secure);
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      throw new Error(`the certificates of listener ${listener.name}: ${reason}`, { cause: error });
    }
    return secure;
  }

  #use(next: Map<string, Open>): void {
    const kept = new Set([...next.values()].map(({ bound }) => bound));
    for (const { bound } of this.#open.values()) if (!kept.has(bound)) bound.close();
    this.#open = next;
  }
}

export type PreparedListeners = {
  /** What workers are told; a changed address or scheme is another listener to them. */
  readonly fleet: readonly FleetListener[];
  commit(): void;
  abort(): void;
};

function acceptingOf({ accept = "shared" }: ListenerConfig, bound: BoundListener): Accepting {
  const { address: host, port } = bound;
  return accept === "reuse-port" ? { mode: accept, host, port } : { mode: accept };
}

function optionsOf(
  listener: ListenerConfig,
  config: Config,
  secure: TlsOptions | null,
): ListenerOptions {
  return {
    name: listener.name,
    timeouts: connectionTimeouts(listener.timeouts ?? {}),
    connectionsMax: config.limits?.connections_max ?? CONNECTIONS_MAX_DEFAULT,
    connectionsPerAddressMax: config.limits?.connections_per_address_max ?? null,
    proxyProtocol: listener.proxy_protocol === true ? (config.trusted_proxies ?? []) : null,
    tls: secure,
    http2: listener.http2 ?? secure !== null,
  };
}
