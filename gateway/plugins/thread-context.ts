// A call's context on its way to a thread and back: what a plugin may ask of the request and the response,
// as plain data, and the same again in the thread with the interface that host functions read. Made by
// us on both sides; what a plugin decided comes back by thread.ts.

import type { Exchange } from "../exchange.ts";
import type { AskedRequest, AskedResponse, CallContext } from "./abi.ts";
import { Decision } from "./decision.ts";
import { NO_GRANTS } from "./grants.ts";
import type { Grants } from "./grants.ts";
import type { ResponseView } from "./phases.ts";

type RequestData = Omit<AskedRequest, "header"> & {
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
export function contextData({
  exchange,
  response,
  grants,
}: Pick<CallContext, "exchange" | "response" | "grants">): ContextData {
  return {
    request: exchange === null ? null : requestData(exchange as Exchange, grants.body ?? 0),
    response: response === null ? null : responseData(response as ResponseView),
    bodyBytesMax: grants.body,
  };
}

/** The context of a call in the thread. */
export function contextOf(data: unknown): CallContext {
  const context = data as ContextData;
  // The others answer later, and are not served in a thread.
  return contextWith(context, { ...NO_GRANTS, body: context.bodyBytesMax });
}

/** The context of a call that is made once more, with grants of its own. */
export function contextWith({ request, response }: ContextData, grants: Grants): CallContext {
  const decision = new Decision();
  decision.begin();
  return {
    exchange: request === null ? null : askedRequest(request),
    response: response === null ? null : askedResponse(response),
    decision,
    grants,
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
    // A copy as well: what is shown later must not have what the plugin adds.
    values: exchange.values && new Map(exchange.values),
    body: body === null || bytes === null ? null : { bytes, whole: body.whole },
    headers: exchange.headers(),
  };
}

function responseData(response: ResponseView): ResponseData {
  const headers = new Map<string, readonly string[]>();
  for (const name of response.names()) headers.set(name, response.values(name));
  return { status: response.status, headers };
}

function askedRequest({ headers, ...request }: RequestData): AskedRequest {
  return { ...request, header: (nameLower) => headers.get(nameLower) ?? null };
}

function askedResponse({ status, headers }: ResponseData): AskedResponse {
  const values = (name: string) => headers.get(name) ?? [];
  return { status, values, header: (name) => values(name)[0] ?? null };
}
