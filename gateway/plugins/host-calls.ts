// Calls of a plugin's host functions that answer later, as they were answered: noted while a version runs,
// and answered once more, without asking anybody, when another version sees the same request. What runs
// beside the traffic must not count, store or call anything twice.

import { createHash } from "node:crypto";
import type { CallAnswer, CallRequest, Grants, HttpCaller, KeyValues } from "./grants.ts";

/** One call and its answer. */
export type HostCall = {
  readonly name: "kv_get" | "kv_incr" | "http_call";
  /** What was asked, as text: equal for equal questions. */
  readonly question: string;
  readonly answer: string | number | CallAnswer | null;
};

/** The beginning of the detail of a call that failed because nobody had asked that before. */
export const UNRECORDED = "not recorded";

/** The same grants; what they answer is added to `calls`. */
export function notingGrants(grants: Grants, calls: HostCall[]): Grants {
  const { kv, http, body } = grants;
  const note = <T extends HostCall["answer"]>(
    name: HostCall["name"],
    question: string,
    answer: T,
  ): T => {
    calls.push({ name, question, answer });
    return answer;
  };
  const notingKv: KeyValues | null = kv && {
    get: async (key) => note("kv_get", key, await kv.get(key)),
    set: (key, value, ttlMs) => kv.set(key, value, ttlMs),
    increment: async (key, by, ttlMs) =>
      note("kv_incr", `${by} ${key}`, await kv.increment(key, by, ttlMs)),
  };
  const notingHttp: HttpCaller | null = http && {
    refusal: (url) => http.refusal(url),
    call: async (request) => note("http_call", questionOf(request), await http.call(request)),
    close: () => {},
  };
  return { kv: notingKv, http: notingHttp, body };
}

/** Grants of the same kinds that answer from what was noted; each answer is given once. */
export function replayedGrants(
  granted: { readonly kv: boolean; readonly http: boolean; readonly body: number | null },
  calls: readonly HostCall[],
): Grants {
  const left = [...calls];
  const answer = (name: HostCall["name"], question: string): Promise<HostCall["answer"]> => {
    const at = left.findIndex((call) => call.name === name && call.question === question);
    if (at === -1) return Promise.reject(new Error(`${UNRECORDED}: ${name} ${question}`));
    return Promise.resolve(left.splice(at, 1)[0].answer);
  };
  const kv: KeyValues = {
    get: async (key) => (await answer("kv_get", key)) as string | null,
    set: () => Promise.resolve(),
    increment: async (key, by) => (await answer("kv_incr", `${by} ${key}`)) as number,
  };
  const http: HttpCaller = {
    refusal: () => null,
    call: async (request) => (await answer("http_call", questionOf(request))) as CallAnswer,
    close: () => {},
  };
  return {
    kv: granted.kv ? kv : null,
    http: granted.http ? http : null,
    body: granted.body,
  };
}

// By digest what may be secret: recordings are looked at by people.
function questionOf({ method, url, headers, body }: CallRequest): string {
  const whole = JSON.stringify([url.href, headers, body]);
  const digest = createHash("sha256").update(whole).digest("hex");
  return `${method} ${url.origin}${url.pathname} ${digest}`;
}
