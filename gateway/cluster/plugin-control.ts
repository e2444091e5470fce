// Uploaded plugins as the admin API sees them: stored, made current, removed and tried. What is uploaded
// is checked whole before anything is stored; a change of versions is one transaction of all workers.

import { ControlError } from "../../admin/api/control.ts";
import type {
  LoadRequest,
  LoadResult,
  PluginSample,
  PluginVersionInfo,
  PluginsControl,
} from "../../admin/api/control.ts";
import { DEFAULT_SANDBOX_LIMITS, digestOf } from "../../sandbox/sandbox.ts";
import { nowMs } from "../base/clock.ts";
import { BUILTINS } from "../plugins/builtin/registry.ts";
import type { KvStore } from "./kv-store.ts";
import { refusing } from "./live.ts";
import type { Live } from "./live.ts";
import type { PluginQuarantine } from "./plugin-quarantine.ts";
import { isVersion } from "./plugin-registry.ts";
import type { PluginVersion } from "./plugin-registry.ts";
import { makeVersion } from "./plugin-store.ts";
import type { PluginStore } from "./plugin-store.ts";
import { trySample } from "./sample.ts";

export type PluginControlParts = {
  readonly live: Live;
  readonly plugins: PluginStore;
  readonly quarantine: PluginQuarantine;
  readonly values: KvStore;
};

export class PluginControl implements PluginsControl {
  readonly #parts: PluginControlParts;

  constructor(parts: PluginControlParts) {
    this.#parts = parts;
  }

  list(): readonly PluginVersionInfo[] {
    return this.#parts.plugins.registry.entries.flatMap((entry) =>
      entry.versions.map((version) => this.#describe(entry.name, version)),
    );
  }

  history(name: string): readonly string[] {
    return this.#parts.plugins.registry.entry(name)?.history ?? [];
  }

  async load(request: LoadRequest): Promise<LoadResult> {
    const beganMs = nowMs();
    const { live, plugins } = this.#parts;
    const digest = digestOf(request.bytes);
    if (request.sha256 !== null && `sha256:${request.sha256}` !== digest) {
      throw new ControlError(422, "hash_mismatch", `The body's digest is ${digest}.`, {
        step: "hash",
      });
    }
    // The checks run beside other changes; only what depends on the registry takes its turn.
    const prepared = await refusing(() => plugins.inspect(request.bytes));
    const { manifest } = prepared;
    const name = request.name ?? manifest?.name ?? null;
    if (name === null) {
      throw new ControlError(400, "missing_name", "The module names no plugin; add ?name=NAME.");
    }
    checkName(name);
    await plugins.putModule(request.bytes);
    return await live.exclusively(async () => {
      const wanted = request.version ?? manifest?.version ?? null;
      const version = this.#versionFor(name, wanted, request, digest);
      const known = plugins.registry.version(name, version);
      const added = known ?? makeVersion(version, request.bytes, prepared);
      let registry = known === null ? plugins.registry.withVersion(name, added) : plugins.registry;
      if (request.makeCurrent) registry = registry.withCurrent(name, version);
      if (registry !== plugins.registry) await live.changePlugins(registry);
      return {
        ...this.#describe(name, added),
        created: known === null,
        tookMs: Math.round((nowMs() - beganMs) * 10) / 10,
        limits: { ...DEFAULT_SANDBOX_LIMITS },
      };
    });
  }

  async setCurrent(
    name: string,
    version: string,
  ): Promise<{ readonly from: string; readonly to: string }> {
    const { live } = this.#parts;
    return await live.exclusively(async () => {
      const { registry } = this.#parts.plugins;
      const entry = registry.entry(name);
      this.#existing(name, version);
      this.#parts.quarantine.lift(name, version);
      await live.changePlugins(registry.withCurrent(name, version));
      return { from: entry?.current ?? "", to: version };
    });
  }

  async remove(name: string, version: string): Promise<void> {
    const { live, plugins } = this.#parts;
    await live.exclusively(async () => {
      const known = this.#existing(name, version);
      const { routes, current } = this.#describe(name, known);
      if (routes.length > 0) {
        throw new ControlError(
          409,
          "plugin_referenced",
          `${name}@${version} is used by ${routes.slice(0, 10).join(", ")}; detach it first.`,
          { routes },
        );
      }
      const entry = plugins.registry.entry(name);
      if (current && entry !== null && entry.versions.length > 1) {
        throw new ControlError(
          409,
          "plugin_referenced",
          `${version} is the current version of ${name}; make another one current first.`,
        );
      }
      await plugins.save(plugins.registry.without(name, version));
      if (plugins.registry.entry(name) === null) this.#parts.values.forget(name);
    });
  }

  async test(
    name: string,
    version: string,
    sample: PluginSample,
  ): Promise<Readonly<Record<string, unknown>>> {
    const known = this.#existing(name, version);
    const bytes = await refusing(() => this.#parts.plugins.preparedBytes(known.digest));
    return await trySample({ name, version, bytes, manifest: known.manifest }, sample);
  }

  #versionFor(name: string, wanted: string | null, request: LoadRequest, digest: string): string {
    const { registry } = this.#parts.plugins;
    if (wanted !== null && !isVersion(wanted)) {
      throw new ControlError(400, "bad_version", `${wanted} is not a semantic version like 1.2.0.`);
    }
    const same = registry.entry(name)?.versions.find((each) => each.digest === digest);
    if (request.version === null) {
      // The manifest's version is a wish: taken while it is free, else the next patch number.
      if (same !== undefined) return same.version;
      return registry.versionFor(name, wanted);
    }
    const known = registry.version(name, request.version);
    if (known !== null && known.digest !== digest) {
      throw new ControlError(
        409,
        "version_exists",
        `${name}@${request.version} exists with other bytes; versions are immutable, choose another.`,
        { digest: known.digest },
      );
    }
    return request.version;
  }

  #existing(name: string, version: string): PluginVersion {
    const known = this.#parts.plugins.registry.version(name, version);
    if (known === null) {
      throw new ControlError(404, "unknown_plugin", `There is no plugin ${name}@${version}.`);
    }
    return known;
  }

  #describe(name: string, version: PluginVersion): PluginVersionInfo {
    const entry = this.#parts.plugins.registry.entry(name);
    const isCurrent = entry?.current === version.version;
    const routes = (this.#parts.live.state.config.routes ?? [])
      .filter((route) =>
        route.plugins?.some(
          (each) =>
            each.plugin === name &&
            (each.version === undefined ? isCurrent : each.version === version.version),
        ),
      )
      .map((route) => route.name);
    return {
      name,
      version: version.version,
      digest: version.digest,
      sizeBytes: version.sizeBytes,
      abi: version.manifest?.abi ?? 1,
      exports: version.exports,
      createdAt: version.createdAt,
      current: isCurrent,
      setAside: this.#parts.quarantine.of(name, version.version),
      routes,
    };
  }
}

function checkName(name: string): void {
  if (BUILTINS.has(name)) {
    throw new ControlError(
      409,
      "reserved_name",
      `${name} is a built-in plugin; choose another name.`,
    );
  }
  if (!/^[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?$/.test(name)) {
    throw new ControlError(
      400,
      "bad_name",
      "A name is 1 to 64 of a-z, 0-9, dot, dash, underscore.",
    );
  }
}
