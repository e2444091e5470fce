// The primary's plugins: uploaded modules by digest, the registry of versions, and the prepared
// modules that workers compile. What is uploaded is checked whole before anything is stored, and
// stored before anything refers to it.

import { join } from "node:path";
import type { Config } from "../config/schema.ts";
import { DEFAULT_SANDBOX_LIMITS, digestOf, openModuleStore } from "../../sandbox/sandbox.ts";
import type { Manifest, ModuleStore, Prepared } from "../../sandbox/sandbox.ts";
import { LIMITS } from "../base/limits.ts";
import type { ModuleFile, PluginBinding } from "./channel.ts";
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
  readonly #files = new Map<string, PreparedFiles>();
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
    const prepared = await this.#prepare(bytes, PAGES);
    // Also within what it says to be enough for itself.
    const pages = pagesOf(PAGES, prepared.manifest);
    return pages === PAGES ? prepared : await this.#prepare(bytes, pages);
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
        const prepared = await this.#filesOf(use);
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

  async #filesOf({ version, memoryPages, threaded }: Use): Promise<PreparedFiles> {
    const { digest, manifest } = version;
    const pages = pagesOf(memoryPages, manifest);
    const key = `${digest}/${pages}`;
    let found = this.#files.get(key);
    if (found === undefined || (threaded && found.clamped === null)) {
      const prepared = await this.#prepare(await this.#originals.get(digest), pages);
      const metered = await this.#store(prepared.bytes);
      found = { ...metered, clamped: threaded ? await this.#store(prepared.clamped) : null };
      this.#files.set(key, found);
    }
    return found;
  }

  async #store(bytes: Uint8Array): Promise<ModuleFile> {
    const fileDigest = await this.#preparedFiles.put(bytes);
    return { file: this.#preparedFiles.pathOf(fileDigest), fileDigest };
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

// A plugin may narrow what it is granted, never widen it.
function pagesOf(granted: number, manifest: Manifest | null): number {
  return Math.min(granted, manifest?.limits.memory_pages ?? granted);
}

type PreparedFiles = ModuleFile & Pick<PluginBinding, "clamped">;

type Use = {
  readonly name: string;
  readonly version: PluginVersion;
  readonly memoryPages: number;
  readonly current: boolean;
  /** Some attachment runs it in threads. */
  readonly threaded: boolean;
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
      const threaded = attachment.isolation === "thread" || uses.get(key)?.threaded === true;
      uses.set(key, { name: entry.name, version, memoryPages, current, threaded });
    }
  }
  return uses;
}
