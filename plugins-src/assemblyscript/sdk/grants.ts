// What must be granted to an attachment by name: a plugin that uses these says so in the `needs` of its
// plugin.json. They belong to onRequest, and the request waits for them.

import { httpCall, kvGet, kvIncr, kvSet } from "./host";
import { give, take, takeText } from "./text";

/** Values that outlive a request, under keys of this plugin. A time to live of 0 means for good. */
export namespace Kv {
  export function get(key: string): string | null { return take(kvGet(give(key))); }
  export function set(key: string, value: string, ttlMs: i64): void { kvSet(give(key), give(value), ttlMs); }
  /** Adds to a number that begins at 0, and answers what it is then. */
  export function increment(key: string, by: i64, ttlMs: i64): i64 { return kvIncr(give(key), by, ttlMs); }
}

/** Calls another host; `request` and the answer are JSON, as abi.md tells. */
export function callHttp(request: string): string { return takeText(httpCall(give(request))); }
