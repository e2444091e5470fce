// Which versions of which plugins exist, and which one is current: one small file, replaced whole.
// A version is immutable: the same name and version never mean other bytes. The modules themselves
// are in the module store, by digest.

import { readFile } from "node:fs/promises";
import { inc, rcompare, valid } from "semver";
import { writeFileDurably } from "../base/write-file.ts";
import type { Manifest } from "../../sandbox/sandbox.ts";

const HISTORY_MAX = 20;

export type PluginVersion = {
  readonly version: string;
  /** Of the uploaded bytes. */
  readonly digest: string;
  readonly sizeBytes: number;
  readonly exports: readonly string[];
  readonly manifest: Manifest | null;
  readonly createdAt: string;
};

export type PluginEntry = {
  readonly name: string;
  readonly current: string;
  /** What was current before, latest last: the way back. */
  readonly history: readonly string[];
  /** Newest first. */
  readonly versions: readonly PluginVersion[];
};

type RegistryFile = { readonly format: 1; readonly plugins: readonly PluginEntry[] };

/** All plugins at one moment; immutable. */
export class PluginRegistry {
  readonly #byName: ReadonlyMap<string, PluginEntry>;

  constructor(entries: Iterable<PluginEntry> = []) {
    this.#byName = new Map([...entries].map((entry) => [entry.name, entry]));
  }

  get entries(): readonly PluginEntry[] {
    return [...this.#byName.values()];
  }

  entry(name: string): PluginEntry | null {
    return this.#byName.get(name) ?? null;
  }

  version(name: string, version: string): PluginVersion | null {
    return this.entry(name)?.versions.find((each) => each.version === version) ?? null;
  }

  /** The version an upload gets that names none: the one it wishes if that is free, else the next. */
  versionFor(name: string, wished: string | null): string {
    const isFree = wished !== null && this.version(name, wished) === null;
    return isFree ? wished : this.#nextVersion(name);
  }

  #nextVersion(name: string): string {
    const newest = this.entry(name)?.versions[0];
    return newest === undefined ? "1.0.0" : (inc(newest.version, "patch") ?? "1.0.0");
  }

  /** A registry with this version; the first version of a plugin is its current one. */
  withVersion(name: string, added: PluginVersion): PluginRegistry {
    const entry = this.entry(name);
    const versions = [...(entry?.versions ?? []), added];
    versions.sort((a, b) => rcompare(a.version, b.version));
    return this.#with({
      name,
      current: entry?.current ?? added.version,
      history: entry?.history ?? [],
      versions,
    });
  }

  /** A registry in which this existing version is the current one. */
  withCurrent(name: string, version: string): PluginRegistry {
    const entry = this.entry(name);
    if (entry === null || entry.current === version) return this;
    const history = [...entry.history, entry.current].slice(-HISTORY_MAX);
    return this.#with({ ...entry, current: version, history });
  }

  /** A registry without this version; a plugin without versions is gone. */
  without(name: string, version: string): PluginRegistry {
    const entry = this.entry(name);
    if (entry === null) return this;
    const versions = entry.versions.filter((each) => each.version !== version);
    if (versions.length === 0) {
      return new PluginRegistry(this.entries.filter((each) => each.name !== name));
    }
    const history = entry.history.filter((each) => each !== version);
    return this.#with({ ...entry, history, versions });
  }

  #with(entry: PluginEntry): PluginRegistry {
    return new PluginRegistry(new Map(this.#byName).set(entry.name, entry).values());
  }
}

/** True for a full semantic version. */
export function isVersion(text: string): boolean {
  return valid(text) === text;
}

/** Reads the registry; an absent file is an empty one. Rejects on a file that is not one. */
export async function readRegistry(path: string): Promise<PluginRegistry> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") {
      return new PluginRegistry();
    }
    throw error;
  }
  const parsed = JSON.parse(text) as RegistryFile;
  if (parsed.format !== 1 || !Array.isArray(parsed.plugins)) {
    throw new Error(`${path} is not a plugin registry of format 1`);
  }
  return new PluginRegistry(parsed.plugins);
}

/** Replaces the registry on disk; when it returns the change survives a crash. */
export async function writeRegistry(path: string, registry: PluginRegistry): Promise<void> {
  const file: RegistryFile = { format: 1, plugins: registry.entries };
  await writeFileDurably(path, `${JSON.stringify(file, null, 2)}\n`);
}
