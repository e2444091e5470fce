// Watches a file for new content, however it is replaced: editors and deployments rename another file
// into its place, so the folder is watched, and polled besides, since some file systems tell nothing.

import { createHash } from "node:crypto";
import { watch } from "node:fs";
import { readFile } from "node:fs/promises";
import { basename, dirname } from "node:path";

const DEBOUNCE_MS = 50;
const POLL_MS = 5_000;

export type WatchOptions = {
  /** Called with the new text, never for content that is the same as before. */
  onChange(text: string): void;
  onError(error: unknown): void;
  readonly debounceMs?: number;
  readonly pollMs?: number;
};

/** Starts from the content that the file has now. */
export function watchFile(path: string, options: WatchOptions): { close(): void } {
  const { debounceMs = DEBOUNCE_MS, pollMs = POLL_MS } = options;
  let known: string | null = null;
  let closed = false;
  let timer: NodeJS.Timeout | null = null;
  const look = async () => {
    try {
      const text = await readFile(path, "utf8");
      const digest = createHash("sha256").update(text).digest("hex");
      const isFirst = known === null;
      if (closed || digest === known) return;
      known = digest;
      if (!isFirst) options.onChange(text);
    } catch (error) {
      // Between two renames there may be no file: the next look will find it.
      if (!closed && !(error instanceof Error && "code" in error && error.code === "ENOENT")) {
        options.onError(error);
      }
    }
  };
  const soon = () => {
    if (closed || timer !== null) return;
    timer = setTimeout(() => {
      timer = null;
      void look();
    }, debounceMs);
    timer.unref();
  };
  void look();
  const watcher = watch(dirname(path), { persistent: false }, (_event, name) => {
    if (name === null || name === basename(path)) soon();
  });
  watcher.on("error", options.onError);
  const poll = setInterval(() => void look(), pollMs);
  poll.unref();
  return {
    close: () => {
      closed = true;
      watcher.close();
      clearInterval(poll);
      if (timer !== null) clearTimeout(timer);
    },
  };
}
