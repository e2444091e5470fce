// The one object of a request: made when its head is complete, seen by every phase, dropped at the
// end. Every field is set in the constructor, so that all exchanges share one hidden class. It knows
// on which side of the line it is: before the response's head is sent an error becomes a response,
// after it an error may only cut the socket.

import type { RequestHead } from "./wire/request-head.ts";

/** Header edits by policies, in order of arrival; names are lower-case. `null` value: removed. */
export type HeaderEdits = Map<string, string | null>;

/** Edits of the response's headers, and lines that stand beside what is there: cookies come in lines. */
export class ResponseEdits extends Map<string, string | null> {
  readonly added: [name: string, value: string][] = [];

  /** One more line of this lower-case name. */
  add(name: string, value: string): void {
    this.added.push([name, value]);
  }

  /** Replaces all lines of this name, earlier additions too. */
  override set(name: string, value: string | null): this {
    for (let i = this.added.length - 1; i >= 0; i--) {
      if (this.added[i][0] === name) this.added.splice(i, 1);
    }
    return super.set(name, value);
  }

  copy(): ResponseEdits {
    const copy = new ResponseEdits();
    for (const [name, value] of this) copy.set(name, value);
    copy.added.push(...this.added);
    return copy;
  }

  /** The values of this lower-case name's lines after the edits, given those before them. */
  valuesOf(name: string, original: readonly string[]): readonly string[] {
    const edited = this.get(name);
    const kept = edited === undefined ? original : edited === null ? [] : [edited];
    const added = this.added.filter(([own]) => own === name);
    return added.length === 0 ? kept : [...kept, ...added.map(([, value]) => value)];
  }
}

/** Values that policies hand to later policies and to the access log. */
export type Values = Map<string, string>;

/** The beginning of a body, as far as policies may see it, and whether it is all of it. */
export type SeenBody = { readonly bytes: Uint8Array; readonly whole: boolean };

/** Who decided about a request: a plugin's name and version. */
export type Decider = { readonly name: string; readonly version: string };

/** Which of several versions serves a request, and wants to know what became of it. */
export interface Choice {
  finished(exchange: Exchange): void;
}

/** A verified client certificate. */
export type ClientCertificate = {
  /** Distinguished names as `CN=...,O=...`. */
  readonly subject: string;
  readonly issuer: string;
  readonly serial: string;
  /** SHA-256 of the certificate, lower-case hex. */
  readonly fingerprint: string;
  /** As OpenSSL writes it: `DNS:..., URI:...`. */
  readonly san: string;
};

/** What a handshake said about the client; made once per connection. */
export type TlsFacts = {
  readonly version: string;
  readonly cipher: string;
  /** Name of SNI, lower case; empty without one. */
  readonly serverName: string;
  /** null: the client sent none, or was not asked. */
  readonly client: ClientCertificate | null;
};

export class Exchange {
  readonly head: RequestHead;
  readonly method: string;
  /** Lower-case, without port and trailing dot. */
  readonly host: string;
  /** The normalised path; the form that routing, policies and the origin see. */
  path: string;
  /** Raw query without the question mark; empty when there is none. */
  query: string;
  readonly scheme: "http" | "https";
  /** Host and port as the client meant them; empty when HTTP/1.0 sent none. */
  readonly authority: string;
  /** What the origin gets as X-Forwarded-For. */
  readonly forwardedFor: string;
  /** The client's address: the socket's, or what a trusted proxy says. */
  readonly clientIp: string;
  readonly requestId: string;
  /** null when the client came over clear text. */
  readonly tls: TlsFacts | null;
  /** W3C traceparent to send upstream; kept or made. */
  readonly traceparent: string;
  /** Monotonic milliseconds when the head was complete. */
  readonly startedMs: number;

  /** Name of the matched route; empty before matching. */
  routeName = "";
  params: ReadonlyMap<string, string> | null = null;
  consumer: string | null = null;
  /** Verified claims of a token; set by an authentication plugin only. */
  claims: Readonly<Record<string, unknown>> | null = null;
  requestEdits: HeaderEdits | null = null;
  responseEdits: ResponseEdits | null = null;
  values: Values | null = null;
  /** What policies may see of the body; null without a body or without a policy that asked for it. */
  body: SeenBody | null = null;

  /** By the place of the chain that chose; null where nothing is rolled out. */
  choices: Map<object, Choice> | null = null;

  /** Once true, errors may only cut the socket. */
  headSent = false;
  status = 0;
  bytesReceived = 0;
  bytesSent = 0;
  /** The plugin that answered or failed, for the log; null if none did. */
  decidedBy: Decider | null = null;
  /** Why: a plugin's reason or an error code; empty for an ordinary response. */
  reason = "";
  upstreamName = "";
  upstreamAddress = "";
  attempts = 0;

  constructor(fields: ExchangeFields) {
    this.head = fields.head;
    this.method = fields.head.method;
    this.host = fields.host;
    this.path = fields.path;
    this.query = fields.query;
    this.scheme = fields.scheme;
    this.authority = fields.authority;
    this.clientIp = fields.clientIp;
    this.forwardedFor = fields.forwardedFor;
    this.requestId = fields.requestId;
    this.tls = fields.tls;
    this.traceparent = fields.traceparent;
    this.startedMs = fields.startedMs;
  }

  /** As policies see it now, for who looks at it later: none of what they change of it is shared. */
  copy(): Exchange {
    const copy = new Exchange(this);
    copy.routeName = this.routeName;
    copy.params = this.params;
    copy.consumer = this.consumer;
    copy.claims = this.claims;
    copy.requestEdits = this.requestEdits && new Map(this.requestEdits);
    copy.responseEdits = this.responseEdits && this.responseEdits.copy();
    copy.values = this.values && new Map(this.values);
    copy.body = this.body;
    return copy;
  }

  /**
   * The request header as the origin will see it: policy edits first, then all of the client's fields
   * of that name as one. What the gateway itself says to origins is never what a client claims.
   */
  header(nameLower: string): string | null {
    const edits = this.requestEdits;
    if (edits !== null) {
      const edited = edits.get(nameLower);
      if (edited !== undefined) return edited;
    }
    const own = OWN_HEADERS.get(nameLower);
    return own === undefined ? this.head.fields.getAll(nameLower) : own(this);
  }

  /** Every header that `header` has an answer to, by lower-case name. */
  headers(): Map<string, string> {
    const all = new Map<string, string>();
    const add = (nameLower: string) => {
      const value = this.header(nameLower);
      if (value !== null) all.set(nameLower, value);
    };
    this.head.fields.forEach(add);
    for (const name of OWN_HEADERS.keys()) add(name);
    for (const name of this.requestEdits?.keys() ?? []) add(name);
    return all;
  }

  /** Sets (or with null removes) a header of the request to the origin. The name is lower-case. */
  editRequestHeader(nameLower: string, value: string | null): void {
    (this.requestEdits ??= new Map()).set(nameLower, value);
  }

  /** Sets (or with null removes) a header of the response to the client. The name is lower-case. */
  editResponseHeader(nameLower: string, value: string | null): void {
    (this.responseEdits ??= new ResponseEdits()).set(nameLower, value);
  }

  /** Adds a line to the response to the client, beside those of this lower-case name. */
  addResponseHeader(nameLower: string, value: string): void {
    (this.responseEdits ??= new ResponseEdits()).add(nameLower, value);
  }
}

const NONE = () => null;

/** Headers that the gateway writes, by what it writes; null for those that it only takes out. */
const OWN_HEADERS = new Map<string, (exchange: Exchange) => string | null>([
  ["host", ({ authority }) => (authority === "" ? null : authority)],
  ["x-request-id", ({ requestId }) => requestId],
  ["traceparent", ({ traceparent }) => traceparent],
  ["x-forwarded-for", ({ forwardedFor }) => forwardedFor],
  ["x-forwarded-host", ({ authority }) => authority],
  ["x-forwarded-proto", ({ scheme }) => scheme],
  ["x-forwarded-port", NONE],
  ["x-forwarded-client-cert", NONE],
  ["x-real-ip", NONE],
  ["forwarded", NONE],
  // The second is a key of the operator's.
  ["x-plugin-version", NONE],
  ["x-plugin-version-key", NONE],
]);

/** True for a header of which the gateway has the word, whatever a client says; the name is lower-case. */
export function isOwnHeader(nameLower: string): boolean {
  return OWN_HEADERS.has(nameLower);
}

export type ExchangeFields = {
  head: RequestHead;
  host: string;
  path: string;
  query: string;
  scheme: "http" | "https";
  authority: string;
  clientIp: string;
  forwardedFor: string;
  requestId: string;
  tls: TlsFacts | null;
  traceparent: string;
  startedMs: number;
};
