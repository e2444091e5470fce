// Watches a file for new content, however it is replaced: editors and deployments rename another file
// into its place, so the folder is watched, and polled besides, since some file systems tell nothing.
// What decides is the content: the same again is no change.

import { createHash } from "node:crypto";
import { watch } from "node:fs";
import type { FSWatcher } from "node:fs";
import { open } from "node:fs/promises";
import { basename, dirname } from "node:path";
import { LIMITS } from "../base/limits.ts";

const DEBOUNCE_MS = 50;
// A file that is written without pause is looked at all the same.
const DEBOUNCES_MAX = 20;
const POLL_MS = 5_000;

export type WatchOptions = {
  /** Called with the new text, never for content that is the same as before. */
  onChange(text: string): void;
  /** Called once for each new reason why the file cannot be watched or read. */
  onError(error: unknown): void;
  /** What the file held when it was last read; without it the first look says nothing. */
  readonly knownText?: string;
  readonly debounceMs?: number;
  readonly pollMs?: number;
};

/** Starts watching. After `close` nothing is called any more. */
export function watchFile(path: string, options: WatchOptions): { close(): void } {
  const watcher = new FileWatcher(path, options);
  watcher.start();
  return watcher;
}

class FileWatcher {
  readonly #path: string;
  readonly #options: WatchOptions;
  #known: string | null;
  #trouble = "";
  #timer: NodeJS.Timeout | null = null;
  #poll: NodeJS.Timeout | null = null;
  #debounces = 0;
  #watcher: FSWatcher | null = null;
  /** Looks run one after the other, or an older content could be taken for the newer. */
  #look: Promise<void> = Promise.resolve();
  #isClosed = false;

  constructor(path: string, options: WatchOptions) {
    this.#path = path;
    this.#options = options;
    this.#known = options.knownText === undefined ? null : digestOf(options.knownText);
  }

  start(): void {
    const { onError, pollMs = POLL_MS } = this.#options;
    const name = basename(this.#path);
    try {
      // A mounted map of files is switched by a link whose name begins with two dots.
      this.#watcher = watch(dirname(this.#path), { persistent: false }, (_event, changed) => {
        if (changed === null || changed === name || changed.startsWith("..")) this.#soon();
      });
      this.#watcher.on("error", onError);
    } catch (error) {
      onError(error); // Polling goes on.
    }
    this.#poll = setInterval(() => this.#lookNow(), pollMs);
    this.#poll.unref();
    this.#lookNow();
  }

  close(): void {
    this.#isClosed = true;
    this.#watcher?.close();
    if (this.#poll !== null) clearInterval(this.#poll);
    if (this.#timer !== null) clearTimeout(this.#timer);
  }

  // Waits until the writer pauses: half a file is no configuration.
  #soon(): void {
    if (this.#isClosed || this.#debounces >= DEBOUNCES_MAX) return;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#debounces++;
    this.#timer = setTimeout(() => this.#lookNow(), this.#options.debounceMs ?? DEBOUNCE_MS);
    this.#timer.unref();
  }

  #lookNow(): void {
    this.#debounces = 0;
    this.#look = this.#look.then(() => this.#readAndCompare());
  }

  async #readAndCompare(): Promise<void> {
    if (this.#isClosed) return;
    try {
      const text = await readBounded(this.#path);
      this.#trouble = "";
      const digest = digestOf(text);
      const isNews = this.#known !== null && digest !== this.#known;
      this.#known = digest;
      if (isNews && !this.#isClosed) this.#options.onChange(text);
    } catch (error) {
      // Between two renames there may be no file: the next look will find it.
      const trouble =
        error instanceof Error && "code" in error ? String(error.code) : String(error);
      if (this.#isClosed || trouble === this.#trouble || trouble === "ENOENT") return;
      this.#trouble = trouble;
      this.#options.onError(error);
    }
  }
}

async function readBounded(path: string): Promise<string> {
  await using file = await open(path, "r");
  const { size } = await file.stat();
  if (size > LIMITS.configBytesMax)
    throw new Error(`${path} has over ${LIMITS.configBytesMax} bytes`);
  return await file.readFile("utf8");
}

function digestOf(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}
