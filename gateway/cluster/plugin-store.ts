// The primary's plugins: uploaded modules by digest, the registry of versions, and the prepared
// modules that workers compile. What is uploaded is checked whole before anything is stored, and
// stored before anything refers to it.

import { join } from "node:path";
import type { Config } from "../config/schema.ts";
import { DEFAULT_SANDBOX_LIMITS, digestOf, openModuleStore } from "../../sandbox/sandbox.ts";
import type { ModuleStore, Prepared } from "../../sandbox/sandbox.ts";
import { LIMITS } from "../base/limits.ts";
import type { PluginBinding } from "./channel.ts";
import { memoryPagesOf } from "./generations.ts";
import { PluginRegistry, readRegistry, writeRegistry } from "./plugin-registry.ts";
import type { PluginVersion } from "./plugin-registry.ts";

const PAGES = DEFAULT_SANDBOX_LIMITS.memoryPagesMax;

/** Checks a module and writes the sandbox's bounds into it, away from this thread. */
export type Prepare = (bytes: Uint8Array, memoryPagesMax: number) => Promise<Prepared>;

export class PluginStore {
  readonly #originals: ModuleStore;
  readonly #preparedFiles: ModuleStore;
  readonly #registryPath: string;
  readonly #prepare: Prepare;
  /** Bindings' files by `digest/pages`; made again at each start, never trusted from disk. */
  readonly #files = new Map<string, { file: string; fileDigest: string }>();
  registry: PluginRegistry;

  private constructor(parts: {
    originals: ModuleStore;
    preparedFiles: ModuleStore;
    registryPath: string;
    registry: PluginRegistry;
    prepare: Prepare;
  }) {
    this.#originals = parts.originals;
    this.#preparedFiles = parts.preparedFiles;
    this.#registryPath = parts.registryPath;
    this.registry = parts.registry;
    this.#prepare = parts.prepare;
  }

  /** Opens the store below the data directory. */
  static async open(directory: string, prepare: Prepare): Promise<PluginStore> {
    const moduleBytesMax = LIMITS.pluginBytesMax;
    const originals = await openModuleStore({
      directory: join(directory, "modules"),
      moduleBytesMax,
    });
    const preparedFiles = await openModuleStore({
      directory: join(directory, "prepared"),
      moduleBytesMax: moduleBytesMax * 2,
    });
    const registryPath = join(directory, "registry.json");
    const registry = await readRegistry(registryPath);
    return new PluginStore({ originals, preparedFiles, registryPath, registry, prepare });
  }

  /** Checks uploaded bytes; rejects with a SandboxError. Stores nothing. */
  async inspect(bytes: Uint8Array): Promise<Prepared> {
    return await this.#prepare(bytes, PAGES);
  }

  /** The prepared bytes of a stored module. */
  async preparedBytes(digest: string): Promise<Uint8Array> {
    return (await this.#prepare(await this.#originals.get(digest), PAGES)).bytes;
  }

  /** Stores the bytes of a version; the registry does not know of it yet. */
  async putModule(bytes: Uint8Array): Promise<string> {
    return await this.#originals.put(bytes);
  }

  /**
   * Stores a module as the next version and makes it current, unless its bytes are known: what was
   * rolled back since must not come back with a restart. Rejects with a SandboxError.
   */
  async seed(name: string, bytes: Uint8Array): Promise<void> {
    const digest = digestOf(bytes);
    const versions = this.registry.entry(name)?.versions ?? [];
    if (versions.some((version) => version.digest === digest)) return;
    const prepared = await this.inspect(bytes);
    await this.putModule(bytes);
    const version = this.registry.versionFor(name, prepared.manifest?.version ?? null);
    const added = makeVersion(version, bytes, prepared);
    await this.save(this.registry.withVersion(name, added).withCurrent(name, version));
  }

  /** Makes a registry the durable one. */
  async save(registry: PluginRegistry): Promise<void> {
    await writeRegistry(this.#registryPath, registry);
    this.registry = registry;
  }

  /** Names and versions for the checker of configurations. */
  known(): ReadonlyMap<string, ReadonlySet<string>> {
    return new Map(
      this.registry.entries.map(({ name, versions }) => [
        name,
        new Set(versions.map(({ version }) => version)),
      ]),
    );
  }

  /**
   * What workers need for the plugins that a configuration uses. A version whose module is missing
   * or no longer acceptable is left out, with a warning: its attachments' fail_mode decides.
   */
  async bindings(
    config: Config,
    registry: PluginRegistry,
    warn: (message: string) => void,
  ): Promise<PluginBinding[]> {
    const bindings: PluginBinding[] = [];
    for (const use of usesOf(config, registry).values()) {
      const { name, version, memoryPages, current } = use;
      try {
        const prepared = await this.#file(version.digest, memoryPages);
        bindings.push({
          name,
          version: version.version,
          digest: version.digest,
          ...prepared,
          memoryPages,
          current,
          manifest: version.manifest,
        });
      } catch (error) {
        const reason = error instanceof Error ? error.message : String(error);
        warn(`plugin ${name}@${version.version} cannot be loaded: ${reason}`);
      }
    }
    return bindings;
  }

  async #file(digest: string, memoryPages: number): Promise<{ file: string; fileDigest: string }> {
    const key = `${digest}/${memoryPages}`;
    let found = this.#files.get(key);
    if (found === undefined) {
      const bytes = await this.#originals.get(digest);
      const prepared = await this.#prepare(bytes, memoryPages);
      const fileDigest = await this.#preparedFiles.put(prepared.bytes);
      found = { file: this.#preparedFiles.pathOf(fileDigest), fileDigest };
      this.#files.set(key, found);
    }
    return found;
  }
}

/** The entry of the registry for an admitted module. */
export function makeVersion(
  version: string,
  bytes: Uint8Array,
  { digest, exports, manifest }: Prepared,
): PluginVersion {
  const createdAt = new Date().toISOString();
  return { version, digest, sizeBytes: bytes.length, exports, manifest, createdAt };
}

type Use = {
  readonly name: string;
  readonly version: PluginVersion;
  readonly memoryPages: number;
  readonly current: boolean;
};

function usesOf(config: Config, registry: PluginRegistry): Map<string, Use> {
  const uses = new Map<string, Use>();
  for (const route of config.routes ?? []) {
    for (const attachment of route.plugins ?? []) {
      const entry = registry.entry(attachment.plugin);
      if (entry === null) continue;
      const wanted = attachment.version ?? entry.current;
      const version = registry.version(entry.name, wanted);
      if (version === null) continue;
      const memoryPages = memoryPagesOf(attachment);
      const current = version.version === entry.current;
      const key = `${entry.name}@${wanted}/${memoryPages}`;
      uses.set(key, { name: entry.name, version, memoryPages, current });
    }
  }
  return uses;
}
