// Plugin versions that are set aside because they had to be stopped too often. While one is, the
// version that was current before it serves; then it gets another try, and at each relapse twice as
// long a pause. In memory only: a restart is a new chance, and an operator who makes the version
// current again gives it one at once.

import { LIMITS } from "../base/limits.ts";
import type { Log } from "../base/log.ts";
import { PluginRegistry } from "./plugin-registry.ts";

/** Why a version is set aside, and for how long. */
export type SetAside = { readonly until: string; readonly reason: string };

type Case = { setAside: SetAside | null; holdMs: number; timer: NodeJS.Timeout | null };

export type QuarantineOptions = {
  readonly log: Log;
  /** Binds versions anew in all workers; called after each change. */
  rebind(): Promise<void>;
};

export class PluginQuarantine {
  readonly #options: QuarantineOptions;
  readonly #cases = new Map<string, Case>();

  constructor(options: QuarantineOptions) {
    this.#options = options;
  }

  /** Sets a version aside; known already, nothing changes. */
  add(name: string, version: string, reason: string): void {
    const key = `${name}@${version}`;
    const found = this.#cases.get(key);
    if (found !== undefined && found.setAside !== null) return;
    const holdMs = Math.min(
      found === undefined ? LIMITS.pluginQuarantineMs : found.holdMs * 2,
      LIMITS.pluginQuarantineMsMax,
    );
    const until = new Date(Date.now() + holdMs).toISOString();
    const timer = setTimeout(() => this.#tryAgain(key), holdMs);
    timer.unref();
    this.#cases.set(key, { setAside: { until, reason }, holdMs, timer });
    this.#options.log.error("a plugin had to be stopped too often and is set aside", {
      plugin: name,
      version,
      reason,
      until,
    });
    this.#rebind();
  }

  /** Forgets all about a version: an operator wants it. */
  lift(name: string, version: string): void {
    const key = `${name}@${version}`;
    const found = this.#cases.get(key);
    if (found?.timer) clearTimeout(found.timer);
    this.#cases.delete(key);
  }

  /** Null when the version serves. */
  of(name: string, version: string): SetAside | null {
    return this.#cases.get(`${name}@${version}`)?.setAside ?? null;
  }

  /** The registry as it is to serve: of each plugin, the newest current version that is not set aside. */
  serving(registry: PluginRegistry): PluginRegistry {
    if (this.#cases.size === 0) return registry;
    return new PluginRegistry(
      registry.entries.map((entry) => {
        const retired = new Set(entry.retired.map(({ version }) => version));
        const before = entry.history.filter((each) => !retired.has(each));
        const candidates = [entry.current, ...before.reverse()];
        // With none left it stays: the workers then refuse to call it, as its fail_mode says.
        const current = candidates.find((each) => this.of(entry.name, each) === null);
        return { ...entry, current: current ?? entry.current };
      }),
    );
  }

  #tryAgain(key: string): void {
    const found = this.#cases.get(key);
    if (found === undefined) return;
    found.setAside = null;
    found.timer = null;
    this.#options.log.info("a plugin that was set aside is tried again", { plugin: key });
    this.#rebind();
  }

  #rebind(): void {
    this.#options.rebind().catch((error: unknown) => {
      this.#options.log.error("plugin versions could not be bound anew", { error });
    });
  }
}
