// For threads that are to cost others nothing. Elsewhere than on Linux they keep their priority.

import { execFile } from "node:child_process";
import { readlinkSync } from "node:fs";
import { setPriority } from "node:os";
import { basename } from "node:path";

/** A tenth of what a thread of the gateway gets on a CPU that both want. */
const NICE = 10;

/** Lowers this thread's own priority: somebody waits for its work, but others come first. */
export function giveWay(): void {
  try {
    setPriority(Number(threadId()), NICE);
  } catch {
    // It is only slower to be polite.
  }
}

/**
 * This thread runs from now on only where a CPU has nothing else to do: nobody waits for its work. However
 * nice a thread is, it keeps a CPU from one that wakes up for some milliseconds; not so under SCHED_IDLE
 * (sched(7)), which is beyond what Node can ask for and is left to util-linux's `chrt`.
 */
export function runWhenIdle(): void {
  giveWay();
  try {
    execFile("chrt", ["--idle", "--pid", "0", threadId()], () => {
      // Without it, being nice has to do.
    });
  } catch {
    // No room for one more process: the same.
  }
}

function threadId(): string {
  return basename(readlinkSync("/proc/thread-self"));
}
