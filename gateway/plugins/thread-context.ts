// A call's context on its way to a thread and back: what a plugin may ask of the request and the response,
// as plain data, and the same again in the thread with the interface that host functions read. Made by
// us on both sides; what a plugin decided comes back by thread.ts.

import type { Exchange, SeenBody, TlsFacts } from "../exchange.ts";
import type { AskedRequest, AskedResponse, CallContext } from "./abi.ts";
import { Decision } from "./decision.ts";
import { NO_GRANTS } from "./grants.ts";
import type { ResponseView } from "./phases.ts";

type RequestData = {
  readonly method: string;
  readonly path: string;
  readonly query: string;
  readonly host: string;
  readonly scheme: "http" | "https";
  readonly clientIp: string;
  readonly requestId: string;
  readonly routeName: string;
  readonly consumer: string | null;
  readonly tls: TlsFacts | null;
  readonly params: ReadonlyMap<string, string> | null;
  readonly claims: Readonly<Record<string, unknown>> | null;
  readonly values: Map<string, string> | null;
  readonly hasBody: boolean;
  /** What the attachment may see of it. */
  readonly body: { readonly bytes: Uint8Array; readonly whole: boolean } | null;
  /** By lower-case name, as `Exchange.header` answers. */
  readonly headers: ReadonlyMap<string, string>;
};

type ResponseData = {
  readonly status: number;
  /** The values of the lines of each lower-case name, as edited so far. */
  readonly headers: ReadonlyMap<string, readonly string[]>;
};

export type ContextData = {
  /** null while the configuration is checked. */
  readonly request: RequestData | null;
  readonly response: ResponseData | null;
  readonly bodyBytesMax: number | null;
};

/** What the thread needs of a context. */
export function contextData({ exchange, response, grants }: CallContext): ContextData {
  return {
    request: exchange === null ? null : requestData(exchange as Exchange, grants.body ?? 0),
    response: response === null ? null : responseData(response as ResponseView),
    bodyBytesMax: grants.body,
  };
}

/** The context of a call in the thread. */
export function contextOf(data: unknown): CallContext {
  const { request, response, bodyBytesMax } = data as ContextData;
  const decision = new Decision();
  decision.begin();
  return {
    exchange: request === null ? null : new RequestCopy(request),
    response: response === null ? null : new ResponseCopy(response),
    decision,
    // The others answer later, and are not served in a thread.
    grants: { ...NO_GRANTS, body: bodyBytesMax },
  };
}

function requestData(exchange: Exchange, bodyBytesMax: number): RequestData {
  const { body } = exchange;
  // One byte more shows that there is more. A copy: what is sent takes all of its memory along.
  const bytes = body === null ? null : Uint8Array.from(body.bytes.subarray(0, bodyBytesMax + 1));
  return {
    method: exchange.method,
    path: exchange.path,
    query: exchange.query,
    host: exchange.host,
    scheme: exchange.scheme,
    clientIp: exchange.clientIp,
    requestId: exchange.requestId,
    routeName: exchange.routeName,
    consumer: exchange.consumer,
    tls: exchange.tls,
    params: exchange.params,
    claims: exchange.claims,
    values: exchange.values,
    hasBody: exchange.head.hasBody,
    body: body === null || bytes === null ? null : { bytes, whole: body.whole },
    headers: exchange.headers(),
  };
}

function responseData(response: ResponseView): ResponseData {
  const headers = new Map<string, readonly string[]>();
  for (const name of response.names()) headers.set(name, response.values(name));
  return { status: response.status, headers };
}

class RequestCopy implements AskedRequest {
  readonly method: string;
  readonly path: string;
  readonly query: string;
  readonly host: string;
  readonly scheme: "http" | "https";
  readonly clientIp: string;
  readonly requestId: string;
  readonly routeName: string;
  readonly consumer: string | null;
  readonly tls: TlsFacts | null;
  readonly params: ReadonlyMap<string, string> | null;
  readonly claims: Readonly<Record<string, unknown>> | null;
  readonly values: Map<string, string> | null;
  readonly head: { readonly hasBody: boolean };
  readonly body: SeenBody | null;
  readonly #headers: ReadonlyMap<string, string>;

  constructor(data: RequestData) {
    this.method = data.method;
    this.path = data.path;
    this.query = data.query;
    this.host = data.host;
    this.scheme = data.scheme;
    this.clientIp = data.clientIp;
    this.requestId = data.requestId;
    this.routeName = data.routeName;
    this.consumer = data.consumer;
    this.tls = data.tls;
    this.params = data.params;
    this.claims = data.claims;
    this.values = data.values;
    this.head = { hasBody: data.hasBody };
    this.body = data.body === null ? null : { ...data.body, bytes: Buffer.from(data.body.bytes) };
    this.#headers = data.headers;
  }

  header(nameLower: string): string | null {
    return this.#headers.get(nameLower) ?? null;
  }
}

class ResponseCopy implements AskedResponse {
  readonly status: number;
  readonly #headers: ReadonlyMap<string, readonly string[]>;

  constructor({ status, headers }: ResponseData) {
    this.status = status;
    this.#headers = headers;
  }

  header(name: string): string | null {
    return this.values(name)[0] ?? null;
  }

  values(name: string): readonly string[] {
    return this.#headers.get(name) ?? [];
  }
}
