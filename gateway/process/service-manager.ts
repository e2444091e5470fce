// What systemd is told of the gateway's state (sd_notify(3)). The protocol is a datagram to a Unix
// socket, which Node cannot send: systemd's own program does, and waits until it was received.

import { execFile } from "node:child_process";
import type { Log } from "../base/log.ts";

const TELL_MS = 5_000;

export type ServiceManager = {
  /** Tells a state such as `READY=1`; resolves when it was taken, or at once without a manager. */
  tell(...assignments: readonly string[]): Promise<void>;
};

/** The manager that started this process; one that does nothing when none did. */
export function serviceManager(log: Log): ServiceManager {
  const socket = process.env["NOTIFY_SOCKET"];
  if (socket === undefined || socket === "") return { tell: async () => {} };
  return {
    tell: (...assignments) =>
      new Promise((resolve) => {
        execFile("systemd-notify", assignments, { timeout: TELL_MS }, (error) => {
          if (error !== null) log.warn("the service manager was not told", { assignments, error });
          resolve();
        });
      }),
  };
}
