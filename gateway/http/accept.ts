// From a parsed head to an Exchange: who asks, for which host, which path, in normal form. The last
// place that sees the request as it came; everything after it sees the one normal form.

import { turnMs } from "../base/clock.ts";
import type { ErrorCode } from "../base/errors.ts";
import { isSaneRequestId } from "../base/ids.ts";
import type { IdSource } from "../base/ids.ts";
import { Exchange } from "../exchange.ts";
import { NormalTarget, normalizeHost, normalizeTarget } from "../routing/normalize.ts";
import type { RequestHead } from "../wire/request-head.ts";
import { resolveClient } from "./client-address.ts";
import type { Downstream } from "./downstream.ts";
import type { Snapshot } from "./snapshot.ts";

export interface Acceptor {
  readonly ids: IdSource;
  /** The snapshot that serves now. */
  readonly snapshot: Snapshot;
}

/** A request with everything that its head says. */
export type Accepted = {
  readonly snapshot: Snapshot;
  readonly exchange: Exchange;
  /** Why the request is refused; its exchange then only serves the refusal. */
  readonly fault: ErrorCode | null;
};

const NO_TARGET = new NormalTarget();
/** Of a request about the server as a whole. */
const SERVER_TARGET: NormalTarget = { path: "*", query: "" };

/** Makes the exchange of a request, refused ones included. */
export function acceptRequest(acceptor: Acceptor, client: Downstream, head: RequestHead): Accepted {
  const { snapshot, ids } = acceptor;
  const { scheme, peer } = client;
  const absolute = head.target.charCodeAt(0) === 0x2f ? null : splitAbsolute(head.target);
  const target = absolute === null ? head.target : absolute.target;
  // RFC 9112, 3.2.2: the host of an absolute target replaces the Host field.
  const authority = absolute === null ? (head.hostField ?? "") : absolute.authority;
  const host = authority === "" ? "" : normalizeHost(authority);
  const isHostGood =
    absolute === null
      ? authority !== "" || head.minor === 0
      : isGoodBeside(head.hostField, authority);
  const normal = isAboutServer(head) ? SERVER_TARGET : normalizeTarget(target);
  let fault: ErrorCode | null = null;
  if (normal === null) fault = "BAD_TARGET";
  else if (host === null || !isHostGood) fault = "BAD_HOST";
  const { path, query } = normal ?? NO_TARGET;
  const sentId = head.get("x-request-id");
  const trusted = snapshot.trustedProxies;
  const origin =
    trusted === null
      ? { clientIp: peer.address, forwardedFor: peer.address, scheme }
      : resolveClient(head, { address: peer.address, scheme }, trusted);
  const exchange = new Exchange({
    head,
    host: host ?? "",
    path,
    query,
    scheme: origin.scheme,
    authority,
    clientIp: origin.clientIp,
    forwardedFor: origin.forwardedFor,
    tls: peer.tls,
    requestId: sentId !== null && isSaneRequestId(sentId) ? sentId : ids.requestId(),
    traceparent: ids.traceparent(head.get("traceparent")),
    startedMs: turnMs(),
  });
  return { snapshot, exchange, fault };
}

// RFC 9112, 3.2: a Host that is wrong is refused also where an absolute target replaces it.
function isGoodBeside(hostField: string | null, authority: string): boolean {
  const isGood = hostField === null || (hostField !== "" && normalizeHost(hostField) !== null);
  return authority !== "" && isGood;
}

/** The asterisk form (RFC 9112, 3.2.4): it asks about the server and not about a resource. */
export function isAboutServer({ method, target }: RequestHead): boolean {
  return target === "*" && method === "OPTIONS";
}

// Absolute form of http and https; null for anything else, which normalizeTarget then refuses.
function splitAbsolute(target: string): { authority: string; target: string } | null {
  const match = /^https?:\/\//i.exec(target);
  if (match === null) return null;
  const start = match[0].length;
  let end = start;
  while (end < target.length && target[end] !== "/" && target[end] !== "?") end++;
  const rest = target.slice(end);
  return {
    authority: target.slice(start, end),
    target: rest.startsWith("/") ? rest : `/${rest}`,
  };
}
