// Choices by chance, the same for the same seed.

import { seededRandom } from "./random.ts";

export class Chance {
  readonly #random: () => number;

  constructor(seed: number) {
    this.#random = seededRandom(seed);
  }

  /** A whole number in [0, count). */
  below(count: number): number {
    return Math.floor(this.#random() * count);
  }

  /** A whole number in [least, most]. */
  between(least: number, most: number): number {
    return least + this.below(most - least + 1);
  }

  oneIn(count: number): boolean {
    return this.below(count) === 0;
  }

  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)];
  }

  /** Some of the list, at least one: what a run may use. */
  some<T>(list: readonly T[]): readonly T[] {
    const share = this.#random();
    const kept = list.filter(() => this.#random() < share);
    return kept.length === 0 ? [this.pick(list)] : kept;
  }

  /** A seed for something that draws by itself. */
  seed(): number {
    return this.below(2 ** 31);
  }
}
