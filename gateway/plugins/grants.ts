// What an attachment may grant its plugin beyond the request: values that outlive it, and calls of other
// hosts. Both answer later. Nothing is granted unless the attachment says so.

/** Values shared by all workers, apart for each plugin. Rejects when the store cannot be reached. */
export interface KeyValues {
  get(key: string): Promise<string | null>;
  /** `ttlMs` 0: until it is evicted. */
  set(key: string, value: string, ttlMs: number): Promise<void>;
  /** Adds to a number, which begins at 0 and then ends after `ttlMs`; answers the sum. */
  increment(key: string, by: number, ttlMs: number): Promise<number>;
}

/** A request a plugin makes; checked before it is sent. */
export type CallRequest = {
  readonly method: string;
  readonly url: URL;
  readonly headers: readonly (readonly [name: string, value: string])[];
  readonly body: string;
  readonly timeoutMs: number;
};

/** Its answer; status 0 and a word for why when there is none. */
export type CallAnswer = {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
  readonly error: string;
};

/** Calls of the hosts that were granted. Never rejects: a failure is an answer. */
export interface HttpCaller {
  /** Why this URL may not be called; null when it may. */
  refusal(url: URL): string | null;
  call(request: CallRequest): Promise<CallAnswer>;
  close(): void;
}

export type Grants = {
  readonly kv: KeyValues | null;
  readonly http: HttpCaller | null;
  /** How many bytes of a request's body; null for none. */
  readonly body: number | null;
};

export const NO_GRANTS: Grants = Object.freeze({ kv: null, http: null, body: null });

/** How much of a body an attachment's grant shows. */
export function bodyBytesOf(grant: { readonly bytes_max?: number }): number {
  return grant.bytes_max ?? 65_536;
}

/** Bounds of what is stored and sent; texts are UTF-8. */
export const GRANT_LIMITS = {
  keyBytesMax: 256,
  valueBytesMax: 4_096,
  ttlMsMax: 30 * 86_400_000,
  callRequestBytesMax: 65_536,
  callResponseBytesMax: 65_536,
  callHeadersMax: 32,
  callTimeoutMs: 200,
  callRedirectsMax: 3,
} as const;
