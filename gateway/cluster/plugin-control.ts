// Uploaded plugins as the admin API sees them: stored, made current, removed and tried. What is uploaded
// is checked whole before anything is stored; a change of versions is one transaction of all workers.

import { ControlError } from "../../admin/api/control.ts";
import type {
  AttachedPlugin,
  CurrentChange,
  LoadRequest,
  LoadResult,
  PluginSample,
  PluginVersionInfo,
  PluginsControl,
  RolloutPlace,
} from "../../admin/api/control.ts";
import { lt } from "semver";
import { DEFAULT_SANDBOX_LIMITS, digestOf, parseSignatureField } from "../../sandbox/sandbox.ts";
import type { ModuleSignature, SignatureRefusal } from "../../sandbox/sandbox.ts";
import { nowMs } from "../base/clock.ts";
import { LIMITS } from "../base/limits.ts";
import type { CheckContext } from "../config/context.ts";
import type { AttachmentConfig, Config } from "../config/schema.ts";
import { checkFollowers } from "../config/plugin-schema.ts";
import { versionOf } from "../config/version-range.ts";
import { BUILTINS } from "../plugins/builtin/registry.ts";
import { usersOf } from "./config-grounds.ts";
import { refusing } from "./live.ts";
import type { PluginQuarantine } from "./plugin-quarantine.ts";
import { isVersion } from "./plugin-registry.ts";
import type { PluginRegistry, PluginVersion, RetiredVersion } from "./plugin-registry.ts";
import { PluginRetirement, refuseUnknown } from "./plugin-retirement.ts";
import type { RetirementParts } from "./plugin-retirement.ts";
import type { JudgedVersion, ModuleOfDigest } from "./plugin-signatures.ts";
import { keepSignature, makeVersion } from "./plugin-store.ts";
import { trySample } from "./sample.ts";

export type PluginControlParts = RetirementParts & {
  readonly quarantine: PluginQuarantine;
  readonly checkContext: Omit<CheckContext, "plugins">;
};

export class PluginControl implements PluginsControl {
  readonly #parts: PluginControlParts;
  readonly #retirement: PluginRetirement;

  constructor(parts: PluginControlParts) {
    this.#parts = parts;
    this.#retirement = new PluginRetirement(parts);
  }

  list(options = { retired: false }): readonly PluginVersionInfo[] {
    const { allEntries } = this.#parts.plugins.registry;
    const users = this.#users();
    return allEntries.flatMap(({ name, versions, retired }) =>
      [...versions, ...(options.retired ? retired : [])].map((version) =>
        this.#describe(name, version, users),
      ),
    );
  }

  attached(route: string): readonly AttachedPlugin[] {
    const { live, plugins, quarantine } = this.#parts;
    const { config, resolution } = live.state;
    const found = config.routes?.find(({ name }) => name === route);
    if (found === undefined) {
      throw new ControlError(404, "unknown_route", `There is no route ${route}.`);
    }
    const { registry } = plugins;
    const serving = quarantine.serving(registry);
    return (found.plugins ?? []).map((attachment) => {
      const { plugin, version = null } = attachment;
      const wanted = versionOf(attachment, resolution) ?? serving.entry(plugin)?.current ?? "";
      const resolved = registry.version(plugin, wanted)?.version ?? null;
      const current = resolved !== null && resolved === registry.entry(plugin)?.current;
      return { plugin, version, resolved, current };
    });
  }

  history(name: string): readonly string[] {
    return this.#parts.plugins.registry.historyOf(name);
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
    const signature = signatureOf(request);
    // The checks run beside other changes; only what depends on the registry takes its turn.
    const prepared = await refusing(() => plugins.inspect(request.bytes));
    const { manifest } = prepared;
    const wishes = signature?.signedAs ?? manifest;
    const name = request.name ?? wishes?.name ?? null;
    if (name === null) {
      throw new ControlError(400, "missing_name", "The module names no plugin; add ?name=NAME.");
    }
    checkName(name);
    return await live.exclusively(async () => {
      const wanted = request.version ?? wishes?.version ?? null;
      const version = this.#versionFor(name, wanted, request, digest);
      const known = plugins.registry.version(name, version);
      const restored = plugins.registry.retired(name, version) !== null;
      const judged = { name, version, digest, signature };
      const module = { bytes: request.bytes, manifest };
      const verdict = await this.#believed(judged, async () => module);
      if (known === null && request.makeCurrent) this.#refuseDowngrade(name, version);
      const kept = signature === null ? null : keepSignature(signature, verdict);
      let { registry } = plugins;
      if (restored) registry = registry.withRestored(name, version);
      else if (known === null) {
        refuseFull(registry, name);
        const added = makeVersion(version, request.bytes, prepared, kept);
        registry = registry.withVersion(name, added);
      }
      if (kept !== null) registry = registry.withSignature(name, version, kept);
      if (request.makeCurrent) registry = registry.withCurrent(name, version);
      this.#mustFit(name, registry);
      await plugins.putModule(request.bytes);
      if (registry !== plugins.registry) await live.changePlugins({ registry });
      return {
        ...this.#describe(name, this.#existing(name, version)),
        created: known === null && !restored,
        restored,
        tookMs: Math.round((nowMs() - beganMs) * 10) / 10,
        limits: { ...DEFAULT_SANDBOX_LIMITS },
      };
    });
  }

  async setCurrent(name: string, version: string): Promise<CurrentChange> {
    const { live, plugins } = this.#parts;
    return await live.exclusively(() => this.#makeCurrent(name, version, plugins.registry));
  }

  async rollback(
    name: string,
    version: string | null,
  ): Promise<CurrentChange & { readonly restored: boolean }> {
    const { live, plugins } = this.#parts;
    return await live.exclusively(async () => {
      const { registry } = plugins;
      const to = version ?? registry.historyOf(name).at(-1);
      if (to === undefined) {
        const only = registry.currentOf(name);
        if (only === null) {
          throw new ControlError(404, "unknown_plugin", `There is no plugin ${name}.`);
        }
        const detail = `${name}@${only} is the only version that ever was current; a route goes on without it once its plugins leave it out.`;
        throw new ControlError(409, "no_history", detail);
      }
      const restored = registry.retired(name, to) !== null;
      const change = await this.#makeCurrent(name, to, registry.withRestored(name, to));
      return { ...change, restored };
    });
  }

  // Within the exclusive section.
  async #makeCurrent(
    name: string,
    version: string,
    registry: PluginRegistry,
  ): Promise<CurrentChange> {
    const beganMs = nowMs();
    const { live, plugins, quarantine } = this.#parts;
    const from = plugins.registry.entry(name)?.current ?? "";
    await this.#believed({ ...this.#existing(name, version, registry), name });
    const next = registry.withCurrent(name, version);
    this.#mustFit(name, next);
    quarantine.lift(name, version);
    await live.changePlugins({ registry: next });
    return { from, to: version, tookMs: Math.round((nowMs() - beganMs) * 10) / 10 };
  }

  async retire(name: string, version: string): Promise<void> {
    await this.#retirement.retire(name, version);
  }

  async purge(name: string, version: string): Promise<void> {
    await this.#retirement.purge(name, version);
  }

  async test(
    name: string,
    version: string,
    sample: PluginSample,
  ): Promise<Readonly<Record<string, unknown>>> {
    const known = this.#existing(name, version);
    await this.#believed({ ...known, name });
    const bytes = await refusing(() => this.#parts.plugins.preparedBytes(known.digest));
    return await trySample({ name, version, bytes, manifest: known.manifest }, sample);
  }

  /** Refuses a stored version that no trusted key signed, where the configuration asks for signatures. */
  async believe(name: string, version: string): Promise<void> {
    await this.#believed({ ...this.#existing(name, version), name });
  }

  // Refuses what no trusted key signed; null when the configuration asks for no signatures.
  async #believed(judged: JudgedVersion, load?: () => Promise<ModuleOfDigest>) {
    const { live, plugins } = this.#parts;
    const verdict = await refusing(() => plugins.judge(live.state.config, judged, load));
    if (verdict?.ok === false) throw notBelieved(verdict);
    return verdict;
  }

  /** Refuses a version whose schema does not take what a route attaches of its plugin. */
  mustFitAt({ route, plugin }: RolloutPlace, version: string): void {
    const { config } = this.#parts.live.state;
    const followed = (attachment: AttachmentConfig) => {
      const { version: _, ...rest } = attachment;
      return rest;
    };
    // As if it alone followed: the places of faults stay those of the configuration.
    const routes = (config.routes ?? []).map((each) => ({
      ...each,
      plugins: each.name === route ? (each.plugins ?? []).map(followed) : [],
    }));
    this.#mustTake({ ...config, routes }, this.#existing(plugin, version), plugin);
  }

  // Attachments that follow the current version must have configurations that its schema takes.
  #mustFit(name: string, registry: PluginRegistry): void {
    const { live, plugins } = this.#parts;
    const current = registry.entry(name)?.current ?? "";
    const next = registry.version(name, current);
    if (next === null || current === plugins.registry.entry(name)?.current) return;
    this.#mustTake(live.state.config, next, name);
  }

  #mustTake(config: Config, { version, manifest }: PluginVersion, name: string): void {
    const schema = manifest?.configSchema ?? null;
    const faults = checkFollowers(config, { plugin: name, schema }, this.#parts.checkContext);
    if (faults.length === 0) return;
    const count = faults.length === 1 ? "1 fault" : `${faults.length} faults`;
    throw new ControlError(
      422,
      "invalid_config",
      `By the config_schema of ${name}@${version} the live configuration has ${count}.`,
      { step: "config", faults },
    );
  }

  // An old version with a fault that became known is as well signed as its successor.
  #refuseDowngrade(name: string, version: string): void {
    const { live, plugins } = this.#parts;
    const current = plugins.registry.entry(name)?.current;
    const isTrusting = plugins.signatures.trusted(live.state.config) !== null;
    if (!isTrusting || current === undefined || !lt(version, current)) return;
    throw new ControlError(
      422,
      "version_downgrade",
      `${name}@${version} is older than the current ${current}; store it without making it current, then roll back to it.`,
      { step: "signature" },
    );
  }

  #versionFor(name: string, wanted: string | null, request: LoadRequest, digest: string): string {
    const { registry } = this.#parts.plugins;
    if (wanted !== null && !isVersion(wanted)) {
      const why = wanted.includes("+")
        ? "has build metadata, and versions that differ in it only would be equal"
        : "is not a semantic version like 1.2.0";
      throw new ControlError(400, "bad_version", `${wanted} ${why}.`);
    }
    const same = registry.ofDigest(name, digest);
    if (request.version === null) {
      // The manifest's version is a wish: taken while it is free, else the next patch number.
      if (same !== null) return same.version;
      return registry.versionFor(name, wanted);
    }
    const retired = registry.retired(name, request.version);
    const known = registry.version(name, request.version) ?? retired;
    if (known !== null && known.digest !== digest) {
      const verb = retired === null ? "exists" : "is retired, and was";
      throw new ControlError(
        409,
        "version_exists",
        `${name}@${request.version} ${verb} with other bytes; versions are immutable, choose another.`,
        { digest: known.digest },
      );
    }
    return request.version;
  }

  #existing(name: string, version: string, registry = this.#parts.plugins.registry): PluginVersion {
    const known = registry.version(name, version);
    return known ?? refuseUnknown(registry, name, version);
  }

  #users(): ReadonlyMap<string, readonly string[]> {
    const { live, plugins } = this.#parts;
    return usersOf(live.state, plugins.registry);
  }

  #describe(
    name: string,
    version: PluginVersion | RetiredVersion,
    users = this.#users(),
  ): PluginVersionInfo {
    const { live, plugins } = this.#parts;
    const entry = plugins.registry.entry(name);
    const retiredAt = "retiredAt" in version ? version.retiredAt : null;
    const trusted = plugins.signatures.trusted(live.state.config);
    return {
      name,
      version: version.version,
      digest: version.digest,
      sizeBytes: version.sizeBytes,
      abi: version.manifest?.abi ?? 1,
      exports: version.exports,
      createdAt: version.createdAt,
      current: retiredAt === null && entry?.current === version.version,
      retiredAt,
      setAside: this.#parts.quarantine.of(name, version.version),
      signature: version.signature,
      signedBy: plugins.signatures.signer({ ...version, name }, trusted),
      routes: users.get(`${name}@${version.version}`) ?? [],
    };
  }
}

function refuseFull(registry: PluginRegistry, name: string): void {
  if (!registry.isFull(name)) return;
  throw new ControlError(
    409,
    "too_many_versions",
    `${name} has ${LIMITS.pluginVersionsMax} versions, the retired ones included; forget some: ` +
      `sallyport plugin rm ${name}@VERSION, then the same with --purge.`,
  );
}

function signatureOf({ signature }: LoadRequest): ModuleSignature | null {
  if (signature === null) return null;
  const parsed = parseSignatureField(signature);
  if (!parsed.ok) throw notBelieved(parsed);
  return parsed.signature;
}

function notBelieved({ code, message }: SignatureRefusal): ControlError {
  return new ControlError(422, code, message, { step: "signature" });
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
