// The functions of the plugin interface that answer later: values that outlive a request, and calls of
// other hosts. The guest is suspended meanwhile. Each must be granted to the attachment by name; what
// is asked for is checked here, before anything leaves the worker.

import type { Guest, HostFunction } from "../../sandbox/sandbox.ts";
import { FRAMING_HEADERS } from "../base/header-names.ts";
import type { CallContext } from "./abi.ts";
import { GRANT_LIMITS } from "./grants.ts";
import type { CallAnswer, CallRequest, Grants, HttpCaller, KeyValues } from "./grants.ts";

type G = Guest<CallContext>;
type HostTable = Readonly<Record<string, HostFunction<CallContext>>>;

/** What a grant lets a plugin import. */
export const GRANTED: Readonly<Record<keyof Grants, readonly string[]>> = {
  body: ["request_body", "request_body_is_whole"],
  kv: ["kv_get", "kv_set", "kv_incr"],
  http: ["http_call"],
};

export const LATER: HostTable = {
  kv_get: {
    params: ["i64"],
    results: ["i64"],
    suspends: true,
    run: async (guest: G, key: bigint) => {
      const value = await kvOf(guest).get(keyOf(guest, key));
      return value === null ? 0n : guest.writeString(value);
    },
  },
  kv_set: {
    params: ["i64", "i64", "i64"],
    results: [],
    suspends: true,
    run: (guest: G, key: bigint, value: bigint, ttlMs: bigint) => {
      const bytesMax = GRANT_LIMITS.valueBytesMax;
      const text = guest.readString(value, bytesMax);
      if (Buffer.byteLength(text) > bytesMax) guest.fail(`a value has at most ${bytesMax} bytes`);
      return kvOf(guest).set(keyOf(guest, key), text, ttlOf(guest, ttlMs));
    },
  },
  kv_incr: {
    params: ["i64", "i64", "i64"],
    results: ["i64"],
    suspends: true,
    run: async (guest: G, key: bigint, by: bigint, ttlMs: bigint) => {
      const amount = Number(by);
      if (!Number.isSafeInteger(amount)) guest.fail("kv_incr adds at most 2^53");
      return BigInt(await kvOf(guest).increment(keyOf(guest, key), amount, ttlOf(guest, ttlMs)));
    },
  },
  http_call: {
    params: ["i64"],
    results: ["i64"],
    suspends: true,
    run: async (guest: G, request: bigint) => {
      const { http } = guest.context.grants;
      if (http === null) return guest.fail("http is not granted to this attachment");
      const answer = await http.call(readCall(guest, http, request));
      return guest.writeString(showAnswer(answer));
    },
  },
};

function kvOf(guest: G): KeyValues {
  return guest.context.grants.kv ?? guest.fail("kv is not granted to this attachment");
}

function keyOf(guest: G, handle: bigint): string {
  const bytesMax = GRANT_LIMITS.keyBytesMax;
  const key = guest.readString(handle, bytesMax);
  if (key === "" || Buffer.byteLength(key) > bytesMax) {
    guest.fail(`a key has 1 to ${bytesMax} bytes`);
  }
  return key;
}

function ttlOf(guest: G, ttlMs: bigint): number {
  if (ttlMs >= 0n && ttlMs <= BigInt(GRANT_LIMITS.ttlMsMax)) return Number(ttlMs);
  return guest.fail(`a time to live has 0 to ${GRANT_LIMITS.ttlMsMax} ms`);
}

const CALL_KEYS = ["method", "url", "headers", "body", "timeout_ms"];
const METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];
const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}$/;
const VALUE = /^[\t\x20-\x7e\x80-\xff]{0,8192}$/;
function readCall(guest: G, http: HttpCaller, request: bigint): CallRequest {
  const fields = parseObject(guest, guest.readString(request, GRANT_LIMITS.callRequestBytesMax));
  for (const key of Object.keys(fields)) {
    if (!CALL_KEYS.includes(key)) guest.fail(`http_call knows no ${key}: ${CALL_KEYS.join(", ")}`);
  }
  const { method = "GET", url, headers = {}, body = "", timeout_ms: timeoutMs } = fields;
  if (typeof method !== "string" || !METHODS.includes(method)) {
    guest.fail(`http_call can ${METHODS.join(", ")}`);
  }
  if (typeof body !== "string") guest.fail("the body of http_call is a text");
  const target = typeof url === "string" ? URL.parse(url) : null;
  if (target === null) return guest.fail("http_call needs a url");
  const refusal = http.refusal(target);
  if (refusal !== null) guest.fail(refusal);
  const limitMs = timeoutMs ?? GRANT_LIMITS.callTimeoutMs;
  if (typeof limitMs !== "number" || !(limitMs >= 1 && limitMs <= 60_000)) {
    return guest.fail("timeout_ms is a number from 1 to 60000");
  }
  return { method, url: target, headers: headersOf(guest, headers), body, timeoutMs: limitMs };
}

function headersOf(guest: G, headers: unknown): [string, string][] {
  if (!isObject(headers)) return guest.fail("the headers of http_call are an object");
  const list = Object.entries(headers);
  if (list.length > GRANT_LIMITS.callHeadersMax) guest.fail("http_call has too many headers");
  return list.map(([name, value]) => {
    if (!TOKEN.test(name) || typeof value !== "string" || !VALUE.test(value)) {
      guest.fail("a header of http_call is malformed");
    }
    if (FRAMING_HEADERS.has(name.toLowerCase())) guest.fail(`http_call cannot set ${name}`);
    return [name, value];
  });
}

function parseObject(guest: G, text: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(text);
    if (isObject(value)) return value;
  } catch {
    // Said below.
  }
  return guest.fail("the request of http_call is no JSON object");
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function showAnswer({ status, headers, body, error }: CallAnswer): string {
  return JSON.stringify(status === 0 ? { status, error } : { status, headers, body });
}
