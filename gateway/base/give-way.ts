// For threads whose work nobody waits for.

import { readlinkSync } from "node:fs";
import { setPriority } from "node:os";
import { basename } from "node:path";

/** A tenth of what a thread of the gateway gets on a CPU that both want. */
const NICE = 10;

/** Lowers this thread's own priority, by its number in the kernel; elsewhere than on Linux it keeps it. */
export function giveWay(): void {
  try {
    setPriority(Number(basename(readlinkSync("/proc/thread-self"))), NICE);
  } catch {
    // It is only slower to be polite.
  }
}
