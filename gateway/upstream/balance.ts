// Which target a request goes to. Pure: time and chance are arguments, nothing is allocated per pick.
// A target of weight 0 gets nothing.

import { createHash } from "node:crypto";
import { hashText } from "../base/hash-text.ts";

export type BalancerTarget = { readonly address: string; readonly weight: number };

export type BalancerOptions = {
  readonly algorithm: "round-robin" | "least-connections" | "consistent-hash" | "ewma";
  readonly targets: readonly BalancerTarget[];
  readonly random?: () => number;
  /** Monotonic milliseconds. */
  readonly nowMs: () => number;
};

export interface Balancer {
  /** Index of a target, or -1 when there is none. `exclude` (or -1) is avoided if another exists. */
  pick(hashKey: string, exclude: number): number;
  /** A request to this target begins. */
  started(index: number): void;
  /** It has ended; `latencyMs` up to the response's head. */
  finished(index: number, latencyMs: number, ok: boolean): void;
}

export function createBalancer(options: BalancerOptions): Balancer {
  switch (options.algorithm) {
    case "least-connections":
      return new LeastConnections(options);
    case "consistent-hash":
      return new ConsistentHash(options);
    case "ewma":
      return new PeakEwma(options);
    default:
      return new RoundRobin(options);
  }
}

abstract class Counting implements Balancer {
  protected readonly weights: Float64Array;
  protected readonly active: Float64Array;
  protected readonly random: () => number;

  constructor({ targets, random }: BalancerOptions) {
    this.weights = Float64Array.from(targets, ({ weight }) => weight);
    this.active = new Float64Array(targets.length);
    this.random = random ?? Math.random;
  }

  abstract pick(hashKey: string, exclude: number): number;

  started(index: number): void {
    this.active[index]++;
  }

  finished(index: number, _latencyMs: number, _ok: boolean): void {
    this.active[index]--;
  }

  /** The only target left when the excluded one is all there is. */
  protected lastResort(exclude: number): number {
    return exclude >= 0 && this.weights[exclude] > 0 ? exclude : -1;
  }
}

/**
 * Smooth weighted round-robin, as nginx does it: every pick adds each target's weight to its credit,
 * takes the richest and charges it the total. Starts at a random place, so that workers do not march
 * in step.
 */
class RoundRobin extends Counting {
  readonly #credits: Float64Array;

  constructor(options: BalancerOptions) {
    super(options);
    this.#credits = Float64Array.from(this.weights, (weight) => weight * this.random());
  }

  pick(_hashKey: string, exclude: number): number {
    const { weights } = this;
    let best = -1;
    let total = 0;
    for (let i = 0; i < weights.length; i++) {
      if (weights[i] === 0 || i === exclude) continue;
      total += weights[i];
      this.#credits[i] += weights[i];
      if (best === -1 || this.#credits[i] > this.#credits[best]) best = i;
    }
    if (best === -1) return this.lastResort(exclude);
    this.#credits[best] -= total;
    return best;
  }
}

/** Fewest requests under way per weight; ties go round. */
class LeastConnections extends Counting {
  #turn = 0;

  pick(_hashKey: string, exclude: number): number {
    const { weights, active } = this;
    const count = weights.length;
    let best = -1;
    let bestLoad = Infinity;
    this.#turn = (this.#turn + 1) % Math.max(count, 1);
    for (let step = 0; step < count; step++) {
      const i = (this.#turn + step) % count;
      if (weights[i] === 0 || i === exclude) continue;
      const load = (active[i] + 1) / weights[i];
      if (load < bestLoad) {
        best = i;
        bestLoad = load;
      }
    }
    return best === -1 ? this.lastResort(exclude) : best;
  }
}

const POINTS_PER_WEIGHT = 100;
const POINTS_MAX = 100_000;
/** Of 32 bits each: a full ring of 100,000 takes 70 ms, and not 390. */
const POINTS_PER_DIGEST = 8;

/**
 * A ring of hashed points, each target's share by weight (ketama): when a target goes, only its own
 * keys move.
 */
class ConsistentHash extends Counting {
  readonly #points: Uint32Array;
  readonly #owners: Uint32Array;

  constructor(options: BalancerOptions) {
    super(options);
    const total = this.weights.reduce((sum, weight) => sum + weight, 0);
    // Halved, not scaled: a target that goes changes the total, but only where it crosses a halving
    // do the others' points, and with them their keys, change as well.
    let perWeight = POINTS_PER_WEIGHT;
    while (total * perWeight > POINTS_MAX) perWeight /= 2;
    const ring: { point: number; owner: number }[] = [];
    options.targets.forEach(({ address, weight }, owner) => {
      const count = weight === 0 ? 0 : Math.max(1, Math.round(weight * perWeight));
      for (let i = 0; i < count; i += POINTS_PER_DIGEST) {
        const digest = createHash("sha256").update(`${address}#${i}`).digest();
        for (let j = 0; j < POINTS_PER_DIGEST && i + j < count; j++) {
          ring.push({ point: digest.readUInt32LE(j * 4), owner });
        }
      }
    });
    ring.sort((a, b) => a.point - b.point);
    this.#points = Uint32Array.from(ring, ({ point }) => point);
    this.#owners = Uint32Array.from(ring, ({ owner }) => owner);
  }

  pick(hashKey: string, exclude: number): number {
    const count = this.#points.length;
    if (count === 0) return -1;
    const start = this.#firstAtOrAfter(hashText(hashKey));
    for (let step = 0; step < count; step++) {
      const owner = this.#owners[(start + step) % count];
      if (owner !== exclude) return owner;
    }
    return this.lastResort(exclude);
  }

  #firstAtOrAfter(hash: number): number {
    let low = 0;
    let high = this.#points.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#points[middle] < hash) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

const DECAY_MS = 10_000;
/** What a failure counts as: much more than any answer that is worth waiting for. */
const FAILURE_MS = 5_000;

/**
 * Peak EWMA with the power of two choices (as in Finagle): a target's cost is its decaying latency,
 * which jumps to any peak at once, times what is under way. Of two targets at random the cheaper wins.
 */
class PeakEwma extends Counting {
  readonly #costs: Float64Array;
  readonly #stampsMs: Float64Array;
  readonly #nowMs: () => number;
  readonly #candidates: number[] = [];

  constructor(options: BalancerOptions) {
    super(options);
    this.#nowMs = options.nowMs;
    this.#costs = new Float64Array(options.targets.length);
    this.#stampsMs = new Float64Array(options.targets.length).fill(options.nowMs());
    this.weights.forEach((weight, i) => {
      if (weight > 0) this.#candidates.push(i);
    });
  }

  pick(_hashKey: string, exclude: number): number {
    const first = this.#draw(exclude, -1);
    if (first === -1) return this.lastResort(exclude);
    const second = this.#draw(exclude, first);
    if (second === -1) return first;
    return this.#load(second) < this.#load(first) ? second : first;
  }

  override finished(index: number, latencyMs: number, ok: boolean): void {
    super.finished(index, latencyMs, ok);
    const observed = ok ? latencyMs : Math.max(latencyMs, FAILURE_MS);
    const cost = this.#decayed(index);
    const now = this.#nowMs();
    const weight = Math.exp((this.#stampsMs[index] - now) / DECAY_MS);
    this.#costs[index] =
      observed > cost ? observed : this.#costs[index] * weight + observed * (1 - weight);
    this.#stampsMs[index] = now;
  }

  #draw(exclude: number, other: number): number {
    const { length } = this.#candidates;
    const start = Math.floor(this.random() * length);
    for (let step = 0; step < length; step++) {
      const index = this.#candidates[(start + step) % length];
      if (index !== exclude && index !== other) return index;
    }
    return -1;
  }

  #load(index: number): number {
    // One more than nothing, so that an unknown target is tried but not flooded.
    return ((this.#decayed(index) + 1) * (this.active[index] + 1)) / this.weights[index];
  }

  // Without answers a cost fades, so that a target which was slow gets another chance.
  #decayed(index: number): number {
    const elapsedMs = this.#nowMs() - this.#stampsMs[index];
    return this.#costs[index] * Math.exp(-elapsedMs / DECAY_MS);
  }
}
