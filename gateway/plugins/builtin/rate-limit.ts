// Rate limiting by the generic cell rate algorithm (ITU-T I.371): one number a key, no windows with
// edges, no timers. The table is bounded. When it is full the least indebted of a few entries goes,
// so that a flood of fresh keys pushes out other fresh keys and not the clients that are being held
// back. Each worker counts for itself: with n workers a client may reach n times the limit.

import { createHash } from "node:crypto";
import type { Exchange } from "../../exchange.ts";
import type { Builtin, Plugin, PluginServices } from "../phases.ts";
import { problem } from "../problem.ts";
import type { Verdict } from "../verdict.ts";
import { ownText } from "./credentials.ts";

const ENTRIES_MAX_DEFAULT = 100_000;
const KEY_CHARS_MAX = 64;
const CANDIDATES = 8;

type RateLimitConfig = {
  readonly limit: number;
  readonly window_ms: number;
  readonly by?: "consumer" | "ip" | "header" | "route";
  readonly header?: string;
  readonly burst?: number;
  readonly entries_max?: number;
};

/** The `rate-limit` plugin: 429 with Retry-After over the limit; RateLimit headers otherwise. */
export const rateLimit: Builtin = { name: "rate-limit", perRoute: true, create };

function create(config: Readonly<Record<string, unknown>>, services: PluginServices): Plugin {
  const given = config as RateLimitConfig;
  const by = given.by ?? "ip";
  const header = (given.header ?? "").toLowerCase();
  const limiter = new Limiter({
    intervalMs: given.window_ms / given.limit,
    burst: given.burst ?? given.limit,
    entriesMax: given.entries_max ?? ENTRIES_MAX_DEFAULT,
  });
  const limitText = String(given.limit);
  const policyText = `${given.limit};w=${Math.max(1, Math.ceil(given.window_ms / 1000))}`;
  return {
    name: "rate-limit",
    version: "builtin",
    onRequest(exchange) {
      const nowMs = services.nowMs();
      const waitMs = limiter.take(keyOf(exchange, by, header), nowMs);
      if (waitMs > 0) return refuse(exchange, { waitMs, limitText, policyText });
      announce(exchange, { limiter, limitText, policyText });
      return null;
    },
    onResponse: null,
    close() {},
  };
}

/** What a limiter is made of: milliseconds per request, requests at once, keys kept at most. */
export type LimiterOptions = {
  readonly intervalMs: number;
  readonly burst: number;
  readonly entriesMax: number;
};

/** Theoretical arrival times by key; the time is an argument and monotonic. */
export class Limiter {
  /** Of the last `take`: requests that would still pass at once. */
  remaining = 0;
  /** Of the last `take`: milliseconds until the key's debt is paid off. */
  resetMs = 0;
  readonly #intervalMs: number;
  readonly #depthMs: number;
  readonly #entriesMax: number;
  readonly #debts = new Map<string, Debt>();
  // One living iterator: starting anew at the front of a Map passes over all deleted entries,
  // which costs time in proportion to the table.
  #hand: MapIterator<[string, Debt]>;

  constructor(options: LimiterOptions) {
    this.#intervalMs = options.intervalMs;
    this.#depthMs = options.burst * options.intervalMs;
    this.#entriesMax = Math.max(1, options.entriesMax);
    this.#hand = this.#debts.entries();
  }

  /** Keys in the table; at most `entriesMax`. */
  get size(): number {
    return this.#debts.size;
  }

  /** Counts a request: 0 when it may pass, otherwise the milliseconds until one would. */
  take(key: string, nowMs: number): number {
    let debt = this.#debts.get(key);
    if (debt === undefined) {
      if (this.#debts.size >= this.#entriesMax) this.#evict(nowMs);
      debt = new Debt(nowMs);
      this.#debts.set(ownText(key), debt);
    }
    const start = Math.max(debt.paidOffMs, nowMs);
    const next = start + this.#intervalMs;
    const overMs = next - nowMs - this.#depthMs;
    // A sum of fractions may be over by a rounding error where it should be level.
    if (overMs > 1e-6) {
      this.remaining = 0;
      this.resetMs = start - nowMs;
      return overMs;
    }
    debt.paidOffMs = next;
    this.remaining = Math.floor((-overMs + 1e-6) / this.#intervalMs);
    this.resetMs = next - nowMs;
    return 0;
  }

  #evict(nowMs: number): void {
    let victim = "";
    let least = Infinity;
    for (let tried = 0; tried < CANDIDATES; tried++) {
      let step = this.#hand.next();
      if (step.done) {
        this.#hand = this.#debts.entries();
        step = this.#hand.next();
        if (step.done) break;
      }
      const [key, debt] = step.value;
      if (debt.paidOffMs < least) {
        least = debt.paidOffMs;
        victim = key;
      }
      if (least <= nowMs) break;
    }
    this.#debts.delete(victim);
  }
}

class Debt {
  /** Monotonic milliseconds at which the key has no debt left (theoretical arrival time). */
  paidOffMs: number;

  constructor(nowMs: number) {
    this.paidOffMs = nowMs;
  }
}

// The first letter keeps kinds of keys apart: a header value cannot pose as an address. Without a
// consumer or header the address counts, since "no key" must not mean "no limit".
function keyOf(exchange: Exchange, by: string, header: string): string {
  if (by === "route") return "r";
  if (by === "consumer" && exchange.consumer !== null) return `c${bounded(exchange.consumer)}`;
  if (by === "header") {
    const value = exchange.header(header);
    if (value !== null) return `h${bounded(value)}`;
  }
  return `i${addressKey(exchange.clientIp)}`;
}

// Latin-1 and short, as the table copies it; anything else counts by its digest.
function bounded(text: string): string {
  if (text.length <= KEY_CHARS_MAX && isLatin1(text)) return text;
  return `#${createHash("sha256").update(text).digest("base64url")}`;
}

function isLatin1(text: string): boolean {
  for (let i = 0; i < text.length; i++) if (text.charCodeAt(i) > 255) return false;
  return true;
}

/**
 * The address that counts: IPv4 as it is (also when mapped into IPv6), IPv6 by its first 64 bits,
 * since one client usually owns that many addresses.
 */
export function addressKey(ip: string): string {
  if (!ip.includes(":")) return ip;
  if (ip.startsWith("::ffff:") && ip.includes(".")) return ip.slice(7);
  const gap = ip.indexOf("::");
  const groups = (gap === -1 ? ip : ip.slice(0, gap)).split(":").filter((group) => group !== "");
  if (gap !== -1) {
    const after = ip.slice(gap + 2).split(":");
    const zeros = 8 - groups.length - after.filter((group) => group !== "").length;
    for (let i = 0; i < zeros; i++) groups.push("0");
    groups.push(...after);
  }
  return groups.slice(0, 4).join(":");
}

type Announcement = { limiter: Limiter; limitText: string; policyText: string };

// With several limits on a route, the one nearest to its end is what the client should hear of.
function announce(exchange: Exchange, { limiter, limitText, policyText }: Announcement): void {
  const other = exchange.responseEdits?.get("ratelimit-remaining") ?? null;
  if (other !== null && Number(other) <= limiter.remaining) return;
  exchange.editResponseHeader("ratelimit-policy", policyText);
  exchange.editResponseHeader("ratelimit-limit", limitText);
  exchange.editResponseHeader("ratelimit-remaining", String(limiter.remaining));
  exchange.editResponseHeader("ratelimit-reset", String(Math.ceil(limiter.resetMs / 1000)));
}

type Refusal = { waitMs: number; limitText: string; policyText: string };

function refuse(exchange: Exchange, { waitMs, limitText, policyText }: Refusal): Verdict {
  const waitText = String(Math.max(1, Math.ceil(waitMs / 1000)));
  const headers: [string, string][] = [
    ["retry-after", waitText],
    ["ratelimit-policy", policyText],
    ["ratelimit-limit", limitText],
    ["ratelimit-remaining", "0"],
    ["ratelimit-reset", waitText],
  ];
  // An earlier limit that still had room must not contradict this answer.
  for (const [name] of headers) exchange.responseEdits?.delete(name);
  return {
    kind: "respond",
    response: problem("RATE_LIMITED", exchange.requestId, headers),
    reason: "rate-limit: over the limit",
  };
}
