// Which versions of which plugins exist, and which one is current: one small file, replaced whole.
// A version is immutable: the same name and version never mean other bytes, not even once it is retired.
// The modules themselves are in the module store, by digest.

import { readFile } from "node:fs/promises";
import { isDeepStrictEqual } from "node:util";
import { inc, rcompare, valid } from "semver";
import { LIMITS } from "../base/limits.ts";
import { writeFileDurably } from "../base/write-file.ts";
import type { Manifest, ModuleSignature } from "../../sandbox/sandbox.ts";

const HISTORY_MAX = 20;

/** A signature as it came; only what verifies it says what it is worth. */
export type KeptSignature = {
  readonly format: ModuleSignature["format"];
  /** Null where the format names none and no trusted key was found. */
  readonly keyId: string | null;
  /** The trusted key that it was verified by at its upload; null when there were none. */
  readonly keyName: string | null;
  readonly text: string;
};

export type PluginVersion = {
  readonly version: string;
  /** Of the uploaded bytes. */
  readonly digest: string;
  readonly sizeBytes: number;
  readonly exports: readonly string[];
  readonly manifest: Manifest | null;
  readonly createdAt: string;
  readonly signature: KeptSignature | null;
};

/** A version that nothing may use any more; its bytes stay, so that its name never means others. */
export type RetiredVersion = PluginVersion & { readonly retiredAt: string };

export type PluginEntry = {
  readonly name: string;
  readonly current: string;
  /** What was current before, latest last: the way back. Retired ones are among them. */
  readonly history: readonly string[];
  /** Newest first. */
  readonly versions: readonly PluginVersion[];
  /** Newest first; none of them is in `versions`. */
  readonly retired: readonly RetiredVersion[];
};

type RegistryFile = { readonly format: 1; readonly plugins: readonly PluginEntry[] };

/** All plugins at one moment; immutable. */
export class PluginRegistry {
  readonly #byName: ReadonlyMap<string, PluginEntry>;

  constructor(entries: Iterable<PluginEntry> = []) {
    this.#byName = new Map([...entries].map((entry) => [entry.name, entry]));
  }

  /** The plugins that have a version. */
  get entries(): readonly PluginEntry[] {
    return this.allEntries.filter(({ versions }) => versions.length > 0);
  }

  /** Those as well of which all versions are retired. */
  get allEntries(): readonly PluginEntry[] {
    return [...this.#byName.values()];
  }

  entry(name: string): PluginEntry | null {
    const entry = this.#byName.get(name);
    return entry === undefined || entry.versions.length === 0 ? null : entry;
  }

  version(name: string, version: string): PluginVersion | null {
    return this.entry(name)?.versions.find((each) => each.version === version) ?? null;
  }

  retired(name: string, version: string): RetiredVersion | null {
    return this.retiredOf(name).find((each) => each.version === version) ?? null;
  }

  retiredOf(name: string): readonly RetiredVersion[] {
    return this.#byName.get(name)?.retired ?? [];
  }

  /** The current version, or the one that was before all were retired; null for an unknown plugin. */
  currentOf(name: string): string | null {
    return this.#byName.get(name)?.current ?? null;
  }

  /** What was current before, the latest last, also of a plugin without a version. */
  historyOf(name: string): readonly string[] {
    return this.#byName.get(name)?.history ?? [];
  }

  /** A version of these bytes, one that is not retired if there is one. */
  ofDigest(name: string, digest: string): PluginVersion | null {
    return this.#all(name).find((each) => each.digest === digest) ?? null;
  }

  /** All versions that are kept of a plugin, the retired ones last. */
  #all(name: string): readonly PluginVersion[] {
    const entry = this.#byName.get(name);
    return entry === undefined ? [] : [...entry.versions, ...entry.retired];
  }

  /** True when no more versions of a plugin can be kept. */
  isFull(name: string): boolean {
    return this.#all(name).length >= LIMITS.pluginVersionsMax;
  }

  /** True while some version of some plugin has these bytes. */
  hasDigest(digest: string): boolean {
    return this.allEntries.some(({ name }) => this.ofDigest(name, digest) !== null);
  }

  /** The version an upload gets that names none: the one it wishes if that is free, else the next. */
  versionFor(name: string, wished: string | null): string {
    const isTaken = this.#all(name).some(({ version }) => version === wished);
    return wished !== null && !isTaken ? wished : this.#nextVersion(name);
  }

  #nextVersion(name: string): string {
    const [newest] = this.#all(name)
      .map(({ version }) => version)
      .sort(rcompare);
    return newest === undefined ? "1.0.0" : (inc(newest, "patch") ?? "1.0.0");
  }

  /** A registry with this version; the first version of a plugin is its current one. */
  withVersion(name: string, added: PluginVersion): PluginRegistry {
    const entry = this.#byName.get(name);
    const isOnly = entry === undefined || entry.versions.length === 0;
    const current = isOnly ? added.version : entry.current;
    // What was current before all were retired is the way back.
    const before = entry !== undefined && entry.current !== current ? [entry.current] : [];
    return this.#with({
      name,
      current,
      history: [...(entry?.history ?? []), ...before].slice(-HISTORY_MAX),
      versions: sorted([...(entry?.versions ?? []), added]),
      retired: entry?.retired ?? [],
    });
  }

  /** A registry in which this existing version is retired. */
  withRetired(name: string, version: string, retiredAt: string): PluginRegistry {
    const entry = this.entry(name);
    const found = this.version(name, version);
    if (entry === null || found === null) return this;
    const versions = entry.versions.filter((each) => each !== found);
    const retired = sorted([...entry.retired, { ...found, retiredAt }]);
    return this.#with({ ...entry, versions, retired });
  }

  /** A registry in which a version is not retired any more. */
  withRestored(name: string, version: string): PluginRegistry {
    const entry = this.#byName.get(name);
    const found = this.retired(name, version);
    if (entry === undefined || found === null) return this;
    const retired = entry.retired.filter((each) => each !== found);
    const { retiredAt: _, ...restored } = found;
    return this.#with({ ...entry, retired }).withVersion(name, restored);
  }

  /** A registry in which this existing version is signed so. */
  withSignature(name: string, version: string, signature: KeptSignature): PluginRegistry {
    const entry = this.entry(name);
    if (entry === null || isDeepStrictEqual(this.version(name, version)?.signature, signature)) {
      return this;
    }
    const versions = entry.versions.map((each) =>
      each.version === version ? { ...each, signature } : each,
    );
    return this.#with({ ...entry, versions });
  }

  /** A registry in which this existing version is the current one. */
  withCurrent(name: string, version: string): PluginRegistry {
    const entry = this.entry(name);
    if (entry === null || entry.current === version) return this;
    const history = [...entry.history, entry.current].slice(-HISTORY_MAX);
    return this.#with({ ...entry, current: version, history });
  }

  /** A registry that does not know of a retired version any more. */
  withoutRetired(name: string, version: string): PluginRegistry {
    const entry = this.#byName.get(name);
    if (entry === undefined) return this;
    const retired = entry.retired.filter((each) => each.version !== version);
    const history = entry.history.filter((each) => each !== version);
    if (retired.length > 0 || entry.versions.length > 0) {
      return this.#with({ ...entry, history, retired });
    }
    return new PluginRegistry(this.allEntries.filter((each) => each.name !== name));
  }

  #with(entry: PluginEntry): PluginRegistry {
    return new PluginRegistry(new Map(this.#byName).set(entry.name, entry).values());
  }
}

/** True for a full semantic version without build metadata: two that differ in it would be equal. */
export function isVersion(text: string): boolean {
  return valid(text) === text;
}

function sorted<V extends PluginVersion>(versions: V[]): V[] {
  return versions.sort((a, b) => rcompare(a.version, b.version));
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
  return new PluginRegistry(
    parsed.plugins.map((entry: PluginEntry) => ({
      ...entry,
      versions: entry.versions.map((each) => ({ ...each, signature: keptSignature(each) })),
      // Files of before have none.
      retired: (entry.retired ?? []).map((each) => ({ ...each, signature: keptSignature(each) })),
    })),
  );
}

// Files of before have none; what somebody wrote in its place is none either.
function keptSignature({ signature }: Partial<PluginVersion>): KeptSignature | null {
  return typeof signature?.text === "string" ? signature : null;
}

/** Replaces the registry on disk; when it returns the change survives a crash. */
export async function writeRegistry(path: string, registry: PluginRegistry): Promise<void> {
  const file: RegistryFile = { format: 1, plugins: registry.allEntries };
  await writeFileDurably(path, `${JSON.stringify(file, null, 2)}\n`);
}
