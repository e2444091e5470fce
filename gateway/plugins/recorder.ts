// The last requests of a route as its plugins saw them, and what these decided: to try another version on.
// Kept where an operator asks for it, in memory, within bounds and without secrets.

import { serialize } from "node:v8";
import type { Exchange } from "../exchange.ts";
import { redactWitnessed } from "./redact.ts";
import type { Redaction } from "./redact.ts";
import type { Witness, Witnessed } from "./witness.ts";

/** All that one route keeps in one worker. */
const BYTES_MAX = 8 * 1024 * 1024;
/** Calls that are written down together, and how long the first of them waits. */
const FRESH_MAX = 32;
const FRESH_MS = 50;

export type RecorderOptions = {
  readonly recordsMax: number;
  readonly redaction: Redaction;
  readonly body: boolean;
};

/** One call of a plugin; `data` is a serialized Witnessed without secrets. */
export type CallRecord = {
  readonly plugin: string;
  readonly version: string;
  readonly data: Buffer;
};

/** One route's records. */
export class Recorder {
  #options: RecorderOptions;
  readonly #records: CallRecord[] = [];
  #bytes = 0;
  // What has not been written down yet: no request waits for that.
  #fresh: (Omit<CallRecord, "data"> & { readonly witnessed: Witnessed })[] = [];
  #timer: NodeJS.Timeout | null = null;

  constructor(options: RecorderOptions) {
    this.#options = options;
  }

  /** Bounds and names may change while it records. */
  set options(options: RecorderOptions) {
    this.#options = options;
    this.#drop();
  }

  add(witnessed: Witnessed, plugin: string, version: string): void {
    this.#fresh.push({ witnessed, plugin, version });
    if (this.#fresh.length >= FRESH_MAX) this.#write();
    else this.#timer ??= setTimeout(() => this.#write(), FRESH_MS).unref();
  }

  /** The latest last. */
  list(): readonly CallRecord[] {
    this.#write();
    return this.#records;
  }

  #write(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    const { redaction, body } = this.#options;
    for (const { witnessed, plugin, version } of this.#fresh.splice(0)) {
      const data = serialize(redactWitnessed(witnessed, redaction, { body }));
      this.#records.push({ plugin, version, data });
      this.#bytes += data.length;
    }
    this.#drop();
  }

  #drop(): void {
    while (this.#records.length > this.#options.recordsMax || this.#bytes > BYTES_MAX) {
      this.#bytes -= this.#records.shift()?.data.length ?? 0;
    }
  }
}

/** The records of all routes of a worker. */
export class Recorders {
  readonly #byRoute = new Map<string, Recorder>();

  /** These routes record from now on, and no others. */
  use(routes: ReadonlyMap<string, RecorderOptions>): void {
    for (const name of this.#byRoute.keys()) if (!routes.has(name)) this.#byRoute.delete(name);
    for (const [name, options] of routes) {
      const recorder = this.#byRoute.get(name);
      if (recorder === undefined) this.#byRoute.set(name, new Recorder(options));
      else recorder.options = options;
    }
  }

  /** What witnesses the calls of a plugin. */
  witness(plugin: string): Witness {
    return {
      wants: ({ routeName }: Exchange) => this.#byRoute.has(routeName),
      take: (witnessed, { routeName }, version) =>
        this.#byRoute.get(routeName)?.add(witnessed, plugin, version),
    };
  }

  /** Of one route; of one plugin, or of all. The latest last. */
  list(route: string, plugin: string | null): readonly CallRecord[] {
    const records = this.#byRoute.get(route)?.list() ?? [];
    return plugin === null ? records : records.filter((record) => record.plugin === plugin);
  }
}
