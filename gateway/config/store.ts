// Every revision on disk, and which one is live. A revision is acknowledged only once `current` names
// it; both are written beside their place, flushed and renamed, so that a crash at any moment leaves
// the last acknowledged one. What a crash left over is removed when the store is opened.

import { createHash } from "node:crypto";
import { mkdir, readFile, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { LIMITS } from "../base/limits.ts";
import { writeFileDurably } from "../base/write-file.ts";
import type { Config } from "./schema.ts";

/** A revision without its configuration. */
export type RevisionFacts = {
  readonly revision: number;
  /** When it became live, ISO 8601. */
  readonly at: string;
  readonly actor: string;
  readonly message: string;
};

export type Revision = RevisionFacts & { readonly config: Config };

type RevisionFile = Revision & { readonly checksum: string };

/** Opens the store below a data directory; heals what a crash left. */
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
  readonly #directory: string;
  #numbers: number[];
  #current = 0;

  constructor(directory: string, numbers: number[]) {
    this.#directory = directory;
    this.#numbers = numbers;
  }

  /** Finds the live revision and removes what was never acknowledged. */
  async heal(): Promise<void> {
    const text = await readFile(this.#currentPath(), "utf8").catch(() => "");
    const named = /^\d{1,15}\n$/.test(text) ? Number(text) : 0;
    if (named > 0 && (await this.read(named)) !== null) {
      this.#current = named;
      const unacknowledged = this.#numbers.filter((revision) => revision > named);
      for (const revision of unacknowledged) await rm(this.#path(revision), { force: true });
      this.#numbers = this.#numbers.filter((revision) => revision <= named);
      return;
    }
    // The pointer or what it names is damaged: the newest whole revision serves.
    for (const revision of [...this.#numbers].reverse()) {
      if ((await this.read(revision)) === null) continue;
      await writeFileDurably(this.#currentPath(), `${revision}\n`);
      this.#current = revision;
      return;
    }
  }

  /** The live revision; null before the first. */
  async current(): Promise<Revision | null> {
    return this.#current === 0 ? null : await this.read(this.#current);
  }

  /** Makes a configuration the live revision; when it returns that survives a crash. */
  async append(entry: {
    readonly config: Config;
    readonly actor: string;
    readonly message: string;
  }): Promise<RevisionFacts> {
    const revision = Math.max(this.#current, this.#numbers.at(-1) ?? 0) + 1;
    const { config, actor, message } = entry;
    const facts = { revision, at: new Date().toISOString(), actor, message };
    const file: RevisionFile = { ...facts, config, checksum: checksumOf({ ...facts, config }) };
    await writeFileDurably(this.#path(revision), `${JSON.stringify(file)}\n`);
    await writeFileDurably(this.#currentPath(), `${revision}\n`);
    this.#numbers.push(revision);
    this.#current = revision;
    await this.#prune();
    return facts;
  }

  /** A revision, or null when there is none or its file is damaged. */
  async read(revision: number): Promise<Revision | null> {
    if (!this.#numbers.includes(revision)) return null;
    try {
      const file = JSON.parse(await readFile(this.#path(revision), "utf8")) as RevisionFile;
      const { checksum, ...rest } = file;
      return file.revision === revision && checksumOf(rest) === checksum ? rest : null;
    } catch {
      return null;
    }
  }

  /** All revisions that can be read, newest first. */
  async list(): Promise<RevisionFacts[]> {
    const found: RevisionFacts[] = [];
    for (const number of [...this.#numbers].reverse()) {
      const entry = await this.read(number);
      if (entry === null) continue;
      const { revision, at, actor, message } = entry;
      found.push({ revision, at, actor, message });
    }
    return found;
  }

  async #prune(): Promise<void> {
    while (this.#numbers.length > LIMITS.revisionsKept) {
      const oldest = this.#numbers.shift();
      if (oldest !== undefined) await rm(this.#path(oldest), { force: true });
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
  const match = /^(\d{1,15})\.json$/.exec(name);
  return match === null ? 0 : Number(match[1]);
}

function checksumOf(revision: Revision): string {
  return createHash("sha256").update(JSON.stringify(revision)).digest("hex");
}
