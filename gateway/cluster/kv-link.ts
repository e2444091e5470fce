// A worker's side of the store of values: questions go to the primary by message, answers come back by
// number. Bounded: a worker that already waits for so many answers says no.

import type { KeyValues } from "../plugins/grants.ts";
import type { ToPrimary } from "./channel.ts";
import type { KvRequest } from "./kv-store.ts";

const WAITING_MAX = 10_000;

export class KvLink {
  readonly #send: (message: ToPrimary) => void;
  readonly #waiting = new Map<number, (value: string | number | null) => void>();
  #questions = 0;

  constructor(send: (message: ToPrimary) => void) {
    this.#send = send;
  }

  /** The values of one plugin. */
  of(plugin: string): KeyValues {
    return {
      get: async (key) => {
        const value = await this.#ask({ op: "get", plugin, key });
        return value === null ? null : String(value);
      },
      set: async (key, value, ttlMs) => {
        await this.#ask({ op: "set", plugin, key, value, ttlMs });
      },
      increment: async (key, by, ttlMs) => {
        const sum = await this.#ask({ op: "increment", plugin, key, by, ttlMs });
        if (typeof sum !== "number") throw new Error(`the value of ${key} is not a number`);
        return sum;
      },
    };
  }

  /** The primary answered. */
  onAnswer(id: number, value: string | number | null): void {
    this.#waiting.get(id)?.(value);
    this.#waiting.delete(id);
  }

  #ask(request: KvRequest): Promise<string | number | null> {
    if (this.#waiting.size >= WAITING_MAX) {
      return Promise.reject(new Error("too many questions wait for the store of values"));
    }
    const id = ++this.#questions;
    return new Promise((resolve) => {
      this.#waiting.set(id, resolve);
      this.#send({ kind: "kv", id, request });
    });
  }
}
