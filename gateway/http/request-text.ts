// A request as an origin gets it, from an exchange and what its route does: its head, and how it is to be
// forwarded.

import type { Exchange } from "../exchange.ts";
import type { RequestHead } from "../wire/request-head.ts";
import type { ForwardPlan } from "../upstream/forward.ts";
import { hashKey } from "./hash-key.ts";
import { buildRequestHead } from "./hygiene.ts";
import type { RouteAction } from "./snapshot.ts";

/** `address` stands for the host where the client named none, or where the upstream wants its own. */
export function requestText(
  exchange: Exchange,
  head: RequestHead,
  action: RouteAction | null,
  address: string,
): string {
  const upstream = action?.kind === "upstream" ? action.upstream.config : null;
  const rule = upstream?.host_header;
  let host = exchange.authority === "" ? address : exchange.authority;
  if (rule === "target") host = address;
  else if (rule !== undefined && rule !== "preserve") host = rule;
  return buildRequestHead(exchange, {
    host,
    forwardedFor: exchange.forwardedFor,
    forwardedHost: exchange.authority,
    contentLength: head.contentLength,
    chunked: head.chunked,
    websocket: head.websocket,
    trailers: upstream?.protocol === "http2",
  });
}

/** What an upstream must know of a request. */
export function forwardPlan(
  exchange: Exchange,
  head: RequestHead,
  { hash, attemptsMax, retryOn }: RouteAction & { kind: "upstream" },
): ForwardPlan {
  return {
    method: exchange.method,
    hasBody: head.hasBody,
    chunkedBody: head.chunked,
    mayUpgrade: head.websocket,
    clientIp: exchange.clientIp,
    hashKey: hash === null ? "" : hashKey(hash, exchange),
    attemptsMax,
    retryOn,
  };
}
