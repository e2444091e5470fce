// An exchange made from a few lines of a request, as if a connection had parsed it: the real head
// parser runs, so that a test cannot hold a head that no client could send.

import assert from "node:assert/strict";
import { Exchange } from "../../gateway/exchange.ts";
import { RequestHead, parseRequestHead } from "../../gateway/wire/request-head.ts";

export type MadeRequest = {
  readonly method?: string;
  readonly path?: string;
  readonly query?: string;
  readonly headers?: readonly (readonly [name: string, value: string])[];
  readonly clientIp?: string;
  readonly startedMs?: number;
};

/** Builds an exchange for api.example.com. */
export function makeExchange(request: MadeRequest = {}): Exchange {
  const { method = "GET", path = "/orders", query = "", headers = [] } = request;
  const target = query === "" ? path : `${path}?${query}`;
  const lines = headers.map(([name, value]) => `${name}: ${value}\r\n`).join("");
  const text = `${method} ${target} HTTP/1.1\r\nHost: api.example.com\r\n${lines}\r\n`;
  const head = parseRequestHead(text);
  assert.ok(head instanceof RequestHead, `the request is refused: ${String(head)}`);
  return new Exchange({
    head,
    host: "api.example.com",
    path,
    query,
    scheme: "https",
    tls: null,
    authority: "api.example.com",
    clientIp: request.clientIp ?? "192.0.2.1",
    forwardedFor: request.clientIp ?? "192.0.2.1",
    requestId: "0123456789abcdef0123456789abcdef",
    traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00",
    startedMs: request.startedMs ?? 0,
  });
}
