// The primary's listening sockets. It binds them, keeps them over the death of every worker, and hands
// each worker the same one to accept from; it accepts nothing itself. A connection that arrives while
// no worker lives waits in the kernel's queue for the next.

import type { Config, ListenerConfig } from "../config/schema.ts";
import { connectionTimeouts } from "../http/listener-host.ts";
import type { ListenerOptions } from "../http/listener-host.ts";
import type { CertificatePem } from "../http/certificates.ts";
import { splitAddress } from "../upstream/upstream.ts";
import type { FleetListener } from "./fleet.ts";
import { bindListener } from "./listener.ts";
import type { BoundListener } from "./listener.ts";

const CONNECTIONS_MAX_DEFAULT = 20_000;

/** Reads a listener's certificates, or makes the self-signed one. */
export type LoadCertificates = (
  listener: ListenerConfig,
  shared: Config["certificates"],
) => Promise<readonly CertificatePem[]>;

type Open = { readonly address: string; readonly isTls: boolean; readonly bound: BoundListener };

export class Listeners {
  readonly #load: LoadCertificates;
  #open = new Map<string, Open>();

  constructor(load: LoadCertificates) {
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
        const certificates = isTls ? await this.#load(listener, config.certificates) : [];
        let open = this.#open.get(name);
        if (open === undefined || open.address !== address || open.isTls !== isTls) {
          // The same address under another name or scheme keeps its socket.
          const same = [...this.#open.values()].find((other) => other.address === address);
          const bound = same?.bound ?? (await bindListener(splitAddress(address)));
          if (same === undefined) added.push(bound);
          open = { address, isTls, bound };
        }
        next.set(name, open);
        const options = optionsOf(listener, config, certificates);
        fleet.push({
          name: `${name} ${address} ${isTls ? "tls" : "clear"} ${options.http2 ? "h2" : "h1"}`,
          handle: open.bound.handle,
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

  close(): void {
    this.#use(new Map());
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

function optionsOf(
  listener: ListenerConfig,
  config: Config,
  certificates: readonly CertificatePem[],
): ListenerOptions {
  return {
    name: listener.name,
    timeouts: connectionTimeouts(listener.timeouts ?? {}),
    connectionsMax: config.limits?.connections_max ?? CONNECTIONS_MAX_DEFAULT,
    certificates,
    http2: listener.http2 ?? listener.tls !== undefined,
  };
}
