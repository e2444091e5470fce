// A listening socket that outlives workers. The primary binds it and keeps it; workers get the same
// socket over IPC, listen on it and accept from it. The primary must never listen on it itself: libuv
// would then accept connections that nobody serves (seen: a client that waits for ever). Once a
// worker has listened, connections wait in the kernel's queue even while no worker lives.

import net from "node:net";
import { portHolder } from "./port-holder.ts";

export type BoundListener = {
  /** The native handle, to be sent to workers. */
  readonly handle: unknown;
  readonly address: string;
  readonly port: number;
  close(): void;
};

export type BindAddress = {
  readonly host: string;
  readonly port: number;
  /** Others of this user may bind the same port. */
  readonly reusePort?: boolean;
};

/** Of libuv's uv_tcp_flags. */
const REUSE_PORT = 2;

type NativeHandle = {
  getsockname(into: { address?: string; port?: number }): number;
  close(): void;
};

// Node keeps this for the cluster module, which needs the very same: a bound socket that is passed on.
type NetInternals = {
  _createServerHandle(
    address: string,
    port: number,
    family: 4 | 6,
    fd: number | undefined,
    flags: number,
  ): NativeHandle | number;
};

/** Binds; rejects with a sentence that names who holds the port. Port 0 takes a free one. */
export async function bindListener(at: BindAddress): Promise<BoundListener> {
  const { host, port, reusePort = false } = at;
  const family = net.isIPv6(host) ? 6 : 4;
  const internals = net as unknown as NetInternals;
  const handle = internals._createServerHandle(
    host,
    port,
    family,
    undefined,
    reusePort ? REUSE_PORT : 0,
  );
  if (typeof handle === "number") throw await bindError(host, port, handle);
  const bound: { address?: string; port?: number } = {};
  // libuv keeps a bind that found the address taken until it is asked for something.
  const failure = handle.getsockname(bound);
  if (failure !== 0) {
    handle.close();
    throw await bindError(host, port, failure);
  }
  let isOpen = true;
  return {
    handle,
    address: bound.address ?? host,
    port: bound.port ?? port,
    close: () => {
      if (isOpen) handle.close();
      isOpen = false;
    },
  };
}

async function bindError(host: string, port: number, errno: number): Promise<Error> {
  const place = host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
  const codes: Readonly<Record<number, string>> = {
    [-98]: "taken",
    [-48]: "taken",
    [-13]: "denied",
  };
  switch (codes[errno]) {
    case "taken": {
      const holder = await portHolder(port);
      const by = holder === null ? "another program" : `${holder.program} (pid ${holder.pid})`;
      return new Error(`${place} is taken by ${by}; stop it, or choose another address`);
    }
    case "denied":
      return new Error(
        `${place} may not be opened by this user; ports below 1024 need CAP_NET_BIND_SERVICE`,
      );
    default:
      return new Error(
        `${place} cannot be opened (errno ${-errno}); is it an address of this machine?`,
      );
  }
}
