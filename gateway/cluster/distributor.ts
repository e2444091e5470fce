// Accepting in the primary: each connection goes to the next worker in turn. It costs more than to let
// workers accept, and a connection on its way to a worker that dies is lost, but it is exactly fair.

import { LIMITS } from "../base/limits.ts";

/** Node's own handle of an accepted connection, to be sent to a worker. */
export type NativeConnection = { close(): void };

type NativeListener = {
  onconnection: ((status: number, connection: NativeConnection | undefined) => void) | null;
  listen(backlog: number): number;
};

const BACKLOG = 511;

export class Distributor {
  readonly #give: (connection: NativeConnection) => boolean;
  #held: NativeConnection[] = [];

  /**
   * Listens on a bound handle, for as long as it is open. `give` passes a connection on; false when
   * there is no worker to take it, and then it waits for `retry`.
   */
  constructor(handle: unknown, give: (connection: NativeConnection) => boolean) {
    this.#give = give;
    const listener = handle as NativeListener;
    listener.onconnection = (status, connection) => {
      if (status === 0 && connection !== undefined) this.take(connection);
    };
    listener.listen(BACKLOG);
  }

  /** A worker has become ready. */
  retry(): void {
    const held = this.#held;
    this.#held = [];
    for (const connection of held) this.take(connection);
  }

  /** Passes a connection on, or holds it, bounded, until a worker is ready. */
  take(connection: NativeConnection): void {
    if (this.#give(connection)) return;
    if (this.#held.length < LIMITS.heldConnectionsMax) this.#held.push(connection);
    else connection.close();
  }
}
