// Where verification keys come from: the configuration, or a JWK set fetched over HTTP. A fetch is
// bounded in time, bytes and frequency, follows no redirect and is shared by all who wait for it.
// Keys once fetched are kept through failures, but not for ever; no keys at all means 503, never
// "let it pass".

import type { Agent } from "undici";
import { GatewayError } from "../../base/errors.ts";
import type { PluginServices } from "../phases.ts";
import { KeySet, readJwks } from "./jwt-keys.ts";
import type { VerificationKey } from "./jwt-keys.ts";

/** Times and sizes of JWK set fetches, in milliseconds and bytes. */
export const JWKS_LIMITS = {
  bytesMax: 1024 * 1024,
  fetchMs: 5_000,
  /** Between two fetches while there are keys: a flood of unknown ids costs one fetch per that. */
  cooldownMs: 10_000,
  /** Between two fetches while there are none. */
  keylessCooldownMs: 1_000,
  /** Keys older than that are not believed any more. */
  staleMsMax: 24 * 3_600_000,
} as const;

/** Keys, and the generation of the source that they are from. */
export type KeyChoice = {
  readonly keys: readonly VerificationKey[];
  readonly generation: number;
};

/** A source of keys. `generation` changes whenever the keys do. */
export interface KeySource {
  readonly generation: number;
  /** Monotonic milliseconds from which `ready` must be asked before a cached token is believed. */
  readonly refreshAtMs: number;
  /** Starts a due refresh; false when the caller must not use cached tokens meanwhile. */
  ready(nowMs: number): boolean;
  /** Keys that may have signed a token of this header; a promise when they must be fetched first. */
  find(alg: string, kid: string | null): KeyChoice | Promise<KeyChoice>;
  close(): void;
}

/** The configured keys: always there, never changing. */
export class StaticKeys implements KeySource {
  readonly generation = 0;
  readonly refreshAtMs = Infinity;
  readonly #keys: KeySet;

  constructor(keys: KeySet) {
    this.#keys = keys;
  }

  ready(): boolean {
    return true;
  }

  find(alg: string, kid: string | null): KeyChoice {
    return { keys: this.#keys.select(alg, kid), generation: this.generation };
  }

  close(): void {}
}

/** What a JWKS source is made of. */
export type JwksOptions = {
  readonly uri: string;
  readonly refreshMs: number;
  readonly algorithms: readonly string[] | undefined;
  readonly services: PluginServices;
};

/** Keys of a JWK set: fetched at first need, then again every `refreshMs` of use. */
export class JwksKeys implements KeySource {
  generation = 0;
  refreshAtMs = -Infinity;
  readonly #options: JwksOptions;
  #agent: Agent | null = null;
  readonly #closed = new AbortController();
  #keys: KeySet | null = null;
  #text = "";
  #fetchedMs = -Infinity;
  #triedMs = -Infinity;
  #flight: Promise<void> | null = null;

  constructor(options: JwksOptions) {
    const { protocol } = new URL(options.uri);
    if (protocol !== "https:" && protocol !== "http:") throw new Error("jwks_uri is not http(s)");
    this.#options = options;
  }

  ready(nowMs: number): boolean {
    if (nowMs < this.refreshAtMs) return true;
    this.#dropOutdated(nowMs);
    const flight = this.#refresh(nowMs);
    // A set that was not looked at for long (an idle route) may lack keys that were withdrawn
    // since: then wait for the answer. After a failed fetch the old keys serve on.
    return flight === null || nowMs - this.#fetchedMs < 2 * this.#options.refreshMs;
  }

  /** Rejects with a GatewayError when there are no keys at all. */
  find(alg: string, kid: string | null): KeyChoice | Promise<KeyChoice> {
    const nowMs = this.#options.services.nowMs();
    const isReady = this.ready(nowMs);
    const keys = this.#keys;
    if (isReady && keys !== null && (kid === null || keys.hasKid(kid))) {
      return { keys: keys.select(alg, kid), generation: this.generation };
    }
    return this.#fetchAndFind(alg, kid);
  }

  async #fetchAndFind(alg: string, kid: string | null): Promise<KeyChoice> {
    const nowMs = this.#options.services.nowMs();
    if (!this.ready(nowMs) || this.#keys === null) await this.#refresh(nowMs);
    if (kid !== null && this.#keys !== null && !this.#keys.hasKid(kid)) {
      await this.#refresh(this.#options.services.nowMs());
    }
    const keys: KeySet | null = this.#keys;
    if (keys === null)
      throw new GatewayError("PLUGIN_UNAVAILABLE", "jwt: no keys could be fetched");
    return { keys: keys.select(alg, kid), generation: this.generation };
  }

  close(): void {
    this.#closed.abort();
    // Only fails when it was closed before.
    this.#agent?.destroy().catch(() => {});
  }

  /** The running fetch, or a new one where the last try is long enough ago; null otherwise. */
  #refresh(nowMs: number): Promise<void> | null {
    if (this.#flight !== null) return this.#flight;
    const cooldownMs = this.#keys === null ? JWKS_LIMITS.keylessCooldownMs : JWKS_LIMITS.cooldownMs;
    if (nowMs - this.#triedMs < cooldownMs || this.#closed.signal.aborted) return null;
    this.#triedMs = nowMs;
    this.#flight = this.#fetchAndTake(nowMs).finally(() => {
      // From its end: what was not in the answer just read needs no second look.
      this.#triedMs = this.#options.services.nowMs();
      this.#flight = null;
    });
    return this.#flight;
  }

  async #fetchAndTake(nowMs: number): Promise<void> {
    const { algorithms, refreshMs, services, uri } = this.#options;
    try {
      const text = await this.#fetch();
      if (text !== this.#text || this.#keys === null) {
        const { keys, skipped } = readJwks(text, algorithms);
        if (skipped > 0) services.warn("jwt: keys of a JWK set were passed over", { uri, skipped });
        this.#keys = keys;
        this.#text = text;
        this.generation++;
      }
      this.#fetchedMs = nowMs;
      this.refreshAtMs = nowMs + refreshMs;
    } catch (error) {
      if (this.#closed.signal.aborted) return;
      this.refreshAtMs = nowMs + JWKS_LIMITS.cooldownMs;
      services.warn("jwt: fetching the JWK set failed", { uri, error });
      this.#dropOutdated(services.nowMs());
    }
  }

  #dropOutdated(nowMs: number): void {
    if (this.#keys === null || nowMs - this.#fetchedMs <= JWKS_LIMITS.staleMsMax) return;
    this.#keys = null;
    this.generation++;
  }

  async #fetch(): Promise<string> {
    const signal = AbortSignal.any([this.#closed.signal, AbortSignal.timeout(JWKS_LIMITS.fetchMs)]);
    // Loaded with the first fetch: a worker without a remote key set saves 25 MB and 80 ms.
    const { Agent, request } = await import("undici");
    this.#agent ??= new Agent({
      connections: 1,
      allowH2: false,
      connectTimeout: JWKS_LIMITS.fetchMs,
      headersTimeout: JWKS_LIMITS.fetchMs,
      bodyTimeout: JWKS_LIMITS.fetchMs,
      maxHeaderSize: 16_384,
      maxResponseSize: JWKS_LIMITS.bytesMax,
    });
    const { statusCode, body } = await request(this.#options.uri, {
      dispatcher: this.#agent,
      headers: { accept: "application/jwk-set+json, application/json" },
      signal,
    });
    if (statusCode !== 200) {
      // Destroying an unread body raises an error event, which nobody else would hear.
      body.on("error", () => {}).destroy();
      throw new Error(`status ${statusCode}`);
    }
    const chunks: Buffer[] = [];
    let bytes = 0;
    for await (const chunk of body as AsyncIterable<Buffer>) {
      bytes += chunk.length;
      if (bytes > JWKS_LIMITS.bytesMax) throw new Error("the JWK set is too large");
      chunks.push(chunk);
    }
    return new TextDecoder("utf-8", { fatal: true }).decode(Buffer.concat(chunks));
  }
}
