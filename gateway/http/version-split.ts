// One place of a chain with two versions of a plugin in it: which of them a request gets. The stable one
// answers whenever the candidate fails, so that a rollout fails no request; who holds a deploy key may
// choose. Routes without a rollout never come here.

import { createHash, timingSafeEqual } from "node:crypto";
import { ERRORS, isGatewayError } from "../base/errors.ts";
import type { Choice, Exchange } from "../exchange.ts";
import type { Plugin, ResponseView } from "../plugins/phases.ts";
import type { Verdict } from "../plugins/verdict.ts";
import { callerOfAddress, isInShare } from "../rollout/share.ts";
import type { Sticky } from "../rollout/share.ts";
import type { ArmCounter } from "../rollout/counts.ts";
import { cookieValue } from "./hash-key.ts";

/** Chooses versions: `name=version`, several with commas. */
export const OVERRIDE_HEADER = "x-plugin-version";
/** A deploy key, which the override needs. */
export const OVERRIDE_KEY_HEADER = "x-plugin-version-key";

/** One version of a rollout in this worker. */
export class Arm implements Choice {
  readonly plugin: Plugin;
  readonly #counter: ArmCounter;

  constructor(plugin: Plugin, counter: ArmCounter) {
    this.plugin = plugin;
    this.#counter = counter;
  }

  asked(): void {
    this.#counter.asked();
  }

  decided(verdict: Verdict): void {
    this.#counter.decided(verdict === null ? 0 : verdict.response.status);
  }

  finished({ upstreamName, status }: Exchange): void {
    if (upstreamName !== "") this.#counter.forwarded(status);
  }
}

export type RouteSplit = {
  readonly stable: Arm;
  readonly candidate: Arm;
  /** Percent of the callers that get the candidate; in a shadow 0. */
  readonly weight: number;
  readonly salt: string;
  readonly sticky: Sticky;
};

export type VersionSplitOptions = {
  /** What routes get that have no rollout of this plugin. */
  readonly base: Plugin;
  readonly routes: ReadonlyMap<string, RouteSplit>;
  /** SHA-256 of the keys whose holders may choose. */
  readonly overrideKeys: readonly Buffer[];
};

export class VersionSplit implements Plugin {
  readonly name: string;
  readonly version: string;
  readonly onRequest: Plugin["onRequest"];
  readonly onResponse: Plugin["onResponse"];
  readonly #options: VersionSplitOptions;

  constructor(options: VersionSplitOptions) {
    this.#options = options;
    this.name = options.base.name;
    this.version = options.base.version;
    const isAsked = this.plugins.some(({ onRequest }) => onRequest !== null);
    const seesResponse = this.plugins.some(({ onResponse }) => onResponse !== null);
    this.onRequest = isAsked ? (exchange) => this.#request(exchange) : null;
    this.onResponse = seesResponse
      ? (exchange, response) => this.#response(exchange, response)
      : null;
  }

  /** All that may run here. */
  get plugins(): readonly Plugin[] {
    const { base, routes } = this.#options;
    const arms = [...routes.values()].flatMap(({ stable, candidate }) => [stable, candidate]);
    return [base, ...arms.map(({ plugin }) => plugin)];
  }

  /** Its parts are held, and closed, by who made them. */
  close(): void {}

  #request(exchange: Exchange): Verdict | Promise<Verdict> {
    const { base, routes } = this.#options;
    const split = routes.get(exchange.routeName);
    if (split === undefined) return ask(base, exchange);
    const arm = this.#choose(split, exchange);
    if (arm === split.stable) return askCounted(arm, exchange);
    const fallBack = (error: unknown) => {
      if (!isFailedCall(error)) throw error;
      this.#remember(exchange, split.stable);
      return askCounted(split.stable, exchange);
    };
    try {
      const verdict = askCounted(arm, exchange);
      return verdict instanceof Promise ? verdict.catch(fallBack) : verdict;
    } catch (error) {
      return fallBack(error);
    }
  }

  #response(exchange: Exchange, response: ResponseView): void | Promise<void> {
    const { base, routes } = this.#options;
    const split = routes.get(exchange.routeName);
    if (split === undefined) return base.onResponse?.(exchange, response);
    const arm = this.#choose(split, exchange);
    if (arm === split.stable) return arm.plugin.onResponse?.(exchange, response);
    const fallBack = (error: unknown) => {
      if (!isFailedCall(error)) throw error;
      return split.stable.plugin.onResponse?.(exchange, response);
    };
    try {
      return arm.plugin.onResponse?.(exchange, response)?.catch(fallBack);
    } catch (error) {
      return fallBack(error);
    }
  }

  // Once for both phases: what a caller is known by may come to light between them.
  #choose(split: RouteSplit, exchange: Exchange): Arm {
    const chosen = exchange.choices?.get(this);
    if (chosen !== undefined) return chosen as Arm;
    const wanted = exchange.head.get(OVERRIDE_HEADER);
    const mayChoose = wanted !== null && this.#mayOverride(exchange.head.get(OVERRIDE_KEY_HEADER));
    const isCandidate = isInShare(split.salt, callerOf(split.sticky, exchange), split.weight);
    const arm =
      (mayChoose ? armOf(wanted, split) : null) ?? (isCandidate ? split.candidate : split.stable);
    if (mayChoose) {
      // Who may choose is told what was chosen: a misspelt wish would pass for the other version.
      const { name, version } = arm.plugin;
      exchange.addResponseHeader(OVERRIDE_HEADER, `${name}=${version}`);
    }
    this.#remember(exchange, arm);
    return arm;
  }

  #remember(exchange: Exchange, arm: Arm): void {
    (exchange.choices ??= new Map()).set(this, arm);
  }

  #mayOverride(key: string | null): boolean {
    if (key === null) return false;
    const digest = createHash("sha256").update(key).digest();
    return this.#options.overrideKeys.some((known) => timingSafeEqual(known, digest));
  }
}

function armOf(wanted: string, { stable, candidate }: RouteSplit): Arm | null {
  const arms = [stable, candidate];
  for (const choice of wanted.split(",", 32)) {
    const [name, version] = choice.trim().split("=", 2);
    const arm = arms.find(({ plugin }) => plugin.name === name && plugin.version === version);
    if (arm !== undefined) return arm;
  }
  return null;
}

function ask(plugin: Plugin, exchange: Exchange): Verdict | Promise<Verdict> {
  if (plugin.onRequest === null) return null;
  exchange.decidedBy = plugin;
  return plugin.onRequest(exchange);
}

function askCounted(arm: Arm, exchange: Exchange): Verdict | Promise<Verdict> {
  if (arm.plugin.onRequest === null) return null;
  arm.asked();
  const verdict = ask(arm.plugin, exchange);
  if (!(verdict instanceof Promise)) {
    arm.decided(verdict);
    return verdict;
  }
  return verdict.then((settled) => {
    arm.decided(settled);
    return settled;
  });
}

function isFailedCall(error: unknown): boolean {
  return isGatewayError(error) && ERRORS[error.code].blame === "plugin";
}

/** What a caller is known by; the address where the chosen part is missing. */
export function callerOf({ by, name }: Sticky, exchange: Exchange): string {
  const own =
    by === "header"
      ? exchange.header(name)
      : by === "cookie"
        ? cookieValue(exchange.header("cookie"), name)
        : by === "consumer"
          ? exchange.consumer
          : null;
  return own ?? callerOfAddress(exchange.clientIp);
}
