// The primary's plugins: uploaded modules by digest, the registry of versions, and the prepared
// modules that workers compile. What is uploaded is checked whole before anything is stored, and
// stored before anything refers to it.

import { join } from "node:path";
import type { Config } from "../config/schema.ts";
import {
  DEFAULT_SANDBOX_LIMITS,
  digestOf,
  openModuleStore,
  readManifest,
} from "../../sandbox/sandbox.ts";
import type {
  Manifest,
  ModuleSignature,
  ModuleStore,
  Prepared,
  SignatureVerdict,
} from "../../sandbox/sandbox.ts";
import { LIMITS } from "../base/limits.ts";
import type { ModuleFile, PluginBinding, RolloutSpec } from "./channel.ts";
import { memoryPagesOf } from "./plugin-slots.ts";
import { PluginRegistry, isVersion, readRegistry, writeRegistry } from "./plugin-registry.ts";
import type { KeptSignature, PluginVersion } from "./plugin-registry.ts";
import { PluginSignatures } from "./plugin-signatures.ts";
import type { JudgedVersion, ModuleOfDigest } from "./plugin-signatures.ts";

const PAGES = DEFAULT_SANDBOX_LIMITS.memoryPagesMax;

/** Checks a module and writes the sandbox's bounds into it, away from this thread. */
export type Prepare = (bytes: Uint8Array, memoryPagesMax: number) => Promise<Prepared>;

export class PluginStore {
  readonly #originals: ModuleStore;
  readonly #preparedFiles: ModuleStore;
  readonly #registryPath: string;
  readonly #prepare: Prepare;
  readonly signatures = new PluginSignatures();
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

  /** A version's prepared bytes and manifest, within so many pages of memory. */
  async preparedFor(
    { digest }: PluginVersion,
    memoryPages: number,
  ): Promise<{ readonly bytes: Uint8Array; readonly manifest: Manifest | null }> {
    const { bytes, manifest } = await this.#moduleOf(digest);
    return { bytes: (await this.#prepare(bytes, pagesOf(memoryPages, manifest))).bytes, manifest };
  }

  /** Stores the bytes of a version; the registry does not know of it yet. */
  async putModule(bytes: Uint8Array): Promise<string> {
    return await this.#originals.put(bytes);
  }

  /**
   * Whether a key that the configuration trusts signed a version; null when it asks for no signatures.
   * Rejects when the version's module is not as it was stored.
   */
  async judge(
    config: Config,
    judged: JudgedVersion,
    load: () => Promise<ModuleOfDigest> = () => this.#moduleOf(judged.digest),
  ): Promise<SignatureVerdict | null> {
    const trusted = this.signatures.trusted(config);
    return trusted === null ? null : await this.signatures.judge(judged, trusted, load);
  }

  /**
   * Stores a module as the next version and makes it current, unless its bytes are known: what was
   * rolled back or retired since must not come back with a restart; only its signature may be another
   * one now. A plugin without a version gets it back. Rejects with a SandboxError.
   */
  async seed(name: string, bytes: Uint8Array, signature: ModuleSignature | null): Promise<void> {
    const digest = digestOf(bytes);
    const kept = signature === null ? null : keepSignature(signature, null);
    const known = this.registry.ofDigest(name, digest);
    if (known !== null) {
      let { registry } = this;
      if (registry.entry(name) === null) registry = registry.withRestored(name, known.version);
      if (kept !== null) registry = registry.withSignature(name, known.version, kept);
      if (registry !== this.registry) await this.save(registry);
      return;
    }
    if (this.registry.isFull(name)) {
      throw new Error(`${name} has ${LIMITS.pluginVersionsMax} versions: no other one is stored`);
    }
    const prepared = await this.inspect(bytes);
    await this.putModule(bytes);
    const wished = signature?.signedAs?.version ?? prepared.manifest?.version ?? null;
    const isFit = wished !== null && isVersion(wished);
    const version = this.registry.versionFor(name, isFit ? wished : null);
    const added = makeVersion(version, bytes, prepared, kept);
    await this.save(this.registry.withVersion(name, added).withCurrent(name, version));
  }

  /** Makes a registry the durable one. */
  async save(registry: PluginRegistry): Promise<void> {
    await writeRegistry(this.#registryPath, registry);
    this.registry = registry;
  }

  /** Removes a module, unless a version still has its bytes. */
  async removeModule(digest: string): Promise<void> {
    if (!this.registry.hasDigest(digest)) await this.#originals.remove(digest);
  }

  /**
   * What workers need for the plugins that a configuration uses. A version whose module is missing,
   * no longer acceptable or signed by nobody who is trusted is left out, with a warning: its
   * attachments' fail_mode decides.
   */
  async bindings(
    config: Config,
    { registry, rollouts }: { registry: PluginRegistry; rollouts: readonly RolloutSpec[] },
    warn: (message: string) => void,
  ): Promise<PluginBinding[]> {
    const bindings: PluginBinding[] = [];
    for (const use of usesOf(config, registry, rollouts).values()) {
      const { name, version, memoryPages, current } = use;
      try {
        const verdict = await this.judge(config, { ...version, name });
        if (verdict?.ok === false) throw new Error(`${verdict.code}: ${verdict.message}`);
        const prepared = await this.#filesOf(use);
        bindings.push({
          name,
          version: version.version,
          digest: version.digest,
          ...prepared,
          memoryPages,
          current,
        });
      } catch (error) {
        const reason = error instanceof Error ? error.message : String(error);
        warn(`plugin ${name}@${version.version} cannot be loaded: ${reason}`);
      }
    }
    return bindings;
  }

  async #filesOf({ version: { digest }, memoryPages, threaded }: Use): Promise<PreparedFiles> {
    const key = `${digest}/${memoryPages}`;
    let found = this.#files.get(key);
    if (found === undefined || (threaded && found.clamped === null)) {
      const { bytes, manifest } = await this.#moduleOf(digest);
      const prepared = await this.#prepare(bytes, pagesOf(memoryPages, manifest));
      const metered = await this.#store(prepared.bytes);
      const clamped = threaded ? await this.#store(prepared.clamped) : null;
      found = { ...metered, clamped, manifest };
      this.#files.set(key, found);
    }
    return found;
  }

  // The manifest of the bytes: the registry is a file that somebody may have edited.
  async #moduleOf(
    digest: string,
  ): Promise<ModuleOfDigest & { readonly manifest: Manifest | null }> {
    const bytes = await this.#originals.get(digest);
    return { bytes, manifest: readManifest(bytes) };
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
  signature: KeptSignature | null,
): PluginVersion {
  const createdAt = new Date().toISOString();
  return { version, digest, sizeBytes: bytes.length, exports, manifest, createdAt, signature };
}

/** What the registry keeps of a signature that a trusted key was found for, or not. */
export function keepSignature(
  { format, keyId, text }: ModuleSignature,
  verdict: Extract<SignatureVerdict, { ok: true }> | null,
): KeptSignature {
  return { format, keyId: keyId ?? verdict?.keyId ?? null, keyName: verdict?.by ?? null, text };
}

// A plugin may narrow what it is granted, never widen it.
function pagesOf(granted: number, manifest: Manifest | null): number {
  return Math.min(granted, manifest?.limits.memory_pages ?? granted);
}

type PreparedFiles = ModuleFile & Pick<PluginBinding, "clamped" | "manifest">;

type Use = {
  readonly name: string;
  readonly version: PluginVersion;
  readonly memoryPages: number;
  readonly current: boolean;
  /** Some attachment runs it in threads. */
  readonly threaded: boolean;
};

/** What a configuration and its rollouts use of a registry's plugins, each with the memory it is granted. */
export function usesOf(
  config: Config,
  registry: PluginRegistry,
  rollouts: readonly RolloutSpec[] = [],
): Map<string, Use> {
  const uses = new Map<string, Use>();
  for (const route of config.routes ?? []) {
    for (const attachment of route.plugins ?? []) {
      const entry = registry.entry(attachment.plugin);
      if (entry === null) continue;
      const wanted = new Set([attachment.version ?? entry.current]);
      for (const rollout of rollouts) {
        if (rollout.route !== route.name || rollout.plugin !== entry.name) continue;
        wanted.add(rollout.stable).add(rollout.candidate);
      }
      for (const number of wanted) {
        const version = registry.version(entry.name, number);
        if (version === null) continue;
        const memoryPages = memoryPagesOf(attachment);
        const current = version.version === entry.current;
        const key = `${entry.name}@${number}/${memoryPages}`;
        const threaded = attachment.isolation === "thread" || uses.get(key)?.threaded === true;
        uses.set(key, { name: entry.name, version, memoryPages, current, threaded });
      }
    }
  }
  return uses;
}
