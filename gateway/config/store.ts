// Every revision on disk, and which one is live. A revision is acknowledged only once `current` names
// it; both are written beside their place, flushed and renamed, so that a crash at any moment leaves
// the last acknowledged one. What a crash left over is removed when the store is opened.

import { createHash } from "node:crypto";
import { mkdir, open, readFile, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { LIMITS } from "../base/limits.ts";
import { writeFileDurably } from "../base/write-file.ts";
import type { Config } from "./schema.ts";
import type { Resolution } from "./version-range.ts";

/** A revision without its configuration. */
export type RevisionFacts = {
  readonly revision: number;
  /** When it became live, ISO 8601. */
  readonly at: string;
  readonly actor: string;
  readonly message: string;
};

export type Revision = RevisionFacts & {
  readonly config: Config;
  /** What the ranges of its attachments came to. */
  readonly resolution: Resolution;
};

/** What becomes a revision. */
export type RevisionEntry = {
  readonly config: Config;
  readonly resolution?: Resolution;
  readonly actor: string;
  readonly message: string;
};

/** As it is written: `versions` only where there are ranges, and none in files of before. */
type Written = RevisionFacts & { readonly config: Config; readonly versions?: Resolution };
type RevisionFile = Written & { readonly checksum: string };

// The facts come first in a file: a list of revisions reads no configuration. Actor and message
// take at most six bytes for each character, as JSON writes control characters.
const HEAD_BYTES = 8192;
const HEAD_END = ',"config":';
const FACT_CHARS_MAX = 500;

/**
 * Opens the store below a data directory and heals what a crash left. Only one process may have it
 * open; what was found damaged is in `notes`.
 */
export async function openStore(dataDir: string): Promise<RevisionStore> {
  const directory = join(dataDir, "revisions");
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const names = await readdir(directory);
  for (const name of names) {
    if (name.endsWith(".tmp")) await rm(join(directory, name), { force: true });
  }
  const numbers = names.map(revisionOf).filter((revision) => revision > 0);
  numbers.sort((a, b) => a - b);
  const store = new RevisionStore(directory, numbers);
  await store.heal();
  return store;
}

export class RevisionStore {
  /** What was found damaged, for the log. */
  readonly notes: string[] = [];
  readonly #directory: string;
  #numbers: number[];
  #current = 0;
  #writing: Promise<unknown> = Promise.resolve();

  constructor(directory: string, numbers: number[]) {
    this.#directory = directory;
    this.#numbers = numbers;
  }

  /** Finds the live revision and removes what was never acknowledged. */
  async heal(): Promise<void> {
    const text = await readFile(this.#currentPath(), "utf8").catch(() => null);
    const named = revisionNamedBy(text ?? "");
    // Without a pointer one lone first revision is what a crash left over of a first start. With a
    // damaged one nothing says which were acknowledged: then all count.
    const isFirstStart = text === null && this.#numbers.length === 1 && this.#numbers[0] === 1;
    const newest = named > 0 ? named : isFirstStart ? 0 : Infinity;
    for (const revision of this.#numbers.filter((number) => number > newest)) {
      await rm(this.#path(revision), { force: true });
    }
    this.#numbers = this.#numbers.filter((revision) => revision <= newest);
    for (const revision of [...this.#numbers].reverse()) {
      if ((await this.read(revision)) === null) {
        this.notes.push(`revision ${revision} is damaged`);
        continue;
      }
      this.#current = revision;
      if (revision === named) return;
      this.notes.push(`revision ${revision} is live: the pointer or what it names is damaged`);
      await writeFileDurably(this.#currentPath(), pointerTo(revision));
      return;
    }
  }

  /** The live revision; null before the first. */
  async current(): Promise<Revision | null> {
    return this.#current === 0 ? null : await this.read(this.#current);
  }

  /** Makes a configuration the live revision; when it returns that survives a crash. */
  async append(entry: RevisionEntry): Promise<RevisionFacts> {
    // One after the other: two would take the same number.
    const written = this.#writing.then(() => this.#write(entry));
    this.#writing = written.catch(() => {});
    return await written;
  }

  /** A revision, or null when there is none or its file is damaged. */
  async read(revision: number): Promise<Revision | null> {
    if (!this.#numbers.includes(revision)) return null;
    try {
      const file = JSON.parse(await readFile(this.#path(revision), "utf8")) as RevisionFile;
      const { checksum, ...rest } = file;
      if (file.revision !== revision || checksumOf(rest) !== checksum) return null;
      const { versions: resolution = {}, ...facts } = rest;
      return { ...facts, resolution };
    } catch {
      return null;
    }
  }

  /** All revisions, newest first, without those whose file does not even say what it is. */
  async list(): Promise<RevisionFacts[]> {
    const found: RevisionFacts[] = [];
    for (const revision of [...this.#numbers].reverse()) {
      const facts = await this.#readFacts(revision);
      if (facts !== null) found.push(facts);
    }
    return found;
  }

  /** The numbers of the revisions that a test holds for, newest first; damaged ones are left out. */
  async numbersOf(isOne: (revision: Revision) => boolean): Promise<number[]> {
    const found: number[] = [];
    for (const number of [...this.#numbers].reverse()) {
      const revision = await this.read(number);
      if (revision !== null && isOne(revision)) found.push(number);
    }
    return found;
  }

  async #write(entry: RevisionEntry): Promise<RevisionFacts> {
    const revision = Math.max(this.#current, this.#numbers.at(-1) ?? 0) + 1;
    const actor = entry.actor.slice(0, FACT_CHARS_MAX);
    const message = entry.message.slice(0, FACT_CHARS_MAX);
    const facts = { revision, at: new Date().toISOString(), actor, message };
    const { config, resolution = {} } = entry;
    const hasRanges = Object.keys(resolution).length > 0;
    const rest: Written = { ...facts, config, ...(hasRanges ? { versions: resolution } : {}) };
    const file: RevisionFile = { ...rest, checksum: checksumOf(rest) };
    await writeFileDurably(this.#path(revision), `${JSON.stringify(file)}\n`);
    await writeFileDurably(this.#currentPath(), pointerTo(revision));
    this.#numbers.push(revision);
    this.#current = revision;
    await this.#prune();
    return facts;
  }

  async #readFacts(revision: number): Promise<RevisionFacts | null> {
    try {
      await using file = await open(this.#path(revision), "r");
      const { buffer, bytesRead } = await file.read(Buffer.alloc(HEAD_BYTES), 0, HEAD_BYTES, 0);
      const head = buffer.toString("utf8", 0, bytesRead);
      // Within a string of the facts its quotes would be escaped.
      const end = head.indexOf(HEAD_END);
      const facts = JSON.parse(`${head.slice(0, end)}}`) as RevisionFacts;
      return end > 0 && facts.revision === revision ? facts : null;
    } catch {
      return null;
    }
  }

  async #prune(): Promise<void> {
    while (this.#numbers.length > LIMITS.revisionsKept) {
      const oldest = this.#numbers[0];
      // It is acknowledged already: a file that cannot be removed is no failure of the change.
      await rm(this.#path(oldest), { force: true }).catch(() => {});
      this.#numbers.shift();
    }
  }

  #path(revision: number): string {
    return join(this.#directory, `${revision}.json`);
  }

  #currentPath(): string {
    return join(this.#directory, "current");
  }
}

function revisionOf(name: string): number {
  const match = /^([1-9]\d{0,14})\.json$/.exec(name);
  return match === null ? 0 : Number(match[1]);
}

// With a checksum: a number that a flipped bit turned into a lower one would have the revisions
// above it removed.
function pointerTo(revision: number): string {
  return `${revision} ${sha256(String(revision)).slice(0, 16)}\n`;
}

// 0 for a pointer that is damaged.
function revisionNamedBy(text: string): number {
  const revision = Number.parseInt(text, 10);
  return revision > 0 && pointerTo(revision) === text ? revision : 0;
}

function checksumOf(revision: Written): string {
  return sha256(JSON.stringify(revision));
}

function sha256(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}
