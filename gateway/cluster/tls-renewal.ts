// TLS of listeners beside the configuration: certificate files that were replaced on disk, and the keys
// of session tickets, which all workers share and which are renewed.

import { digestOf } from "../../sandbox/sandbox.ts";
import { nowMs } from "../base/clock.ts";
import { LIMITS } from "../base/limits.ts";
import type { Log } from "../base/log.ts";
import type { Config } from "../config/schema.ts";
import type { Fleet } from "./fleet.ts";
import type { Listeners, PreparedListeners } from "./listeners.ts";

export type RenewalParts = {
  readonly log: Log;
  readonly fleet: Fleet;
  readonly listeners: Listeners;
};

export class TlsRenewal {
  readonly #parts: RenewalParts;
  #ticketKeysMs = nowMs();
  #digest = "";
  #trouble = "";

  /** `prepared` is what the workers have. */
  constructor(parts: RenewalParts, prepared: PreparedListeners) {
    this.#parts = parts;
    this.applied(prepared);
  }

  /** The workers were given these. */
  applied(prepared: PreparedListeners): void {
    this.#digest = digestOfTls(prepared);
  }

  /**
   * Gives workers what has changed. What cannot be read leaves the old serving; the log says so once for
   * each reason. Call it within the fleet's exclusive section.
   */
  async renew(base: Config): Promise<void> {
    const { fleet, listeners, log } = this.#parts;
    try {
      if (nowMs() - this.#ticketKeysMs > LIMITS.ticketKeysMs) {
        listeners.rotateTicketKeys();
        this.#ticketKeysMs = nowMs();
      }
      const prepared = await listeners.prepare(base);
      const digest = digestOfTls(prepared);
      this.#trouble = "";
      if (digest === this.#digest) return;
      this.#digest = digest;
      await fleet.listen(prepared.fleet);
      log.info("certificates or ticket keys were renewed");
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      if (reason !== this.#trouble) log.error("certificates cannot be renewed", { reason });
      this.#trouble = reason;
    }
  }
}

function digestOfTls({ fleet }: PreparedListeners): string {
  return digestOf(Buffer.from(JSON.stringify(fleet.map(({ options }) => options.tls))));
}
