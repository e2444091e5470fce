// What can be asked of the request and of the response. A header, parameter or claim that is missing
// or empty is null. Every question goes to the host, so ask once and keep the answer.

import * as calls from "./host";
import { give, take, takeBytes, takeText } from "./text";

export namespace Request {
  export function method(): string { return takeText(calls.requestMethod()); }
  /** In normal form: decoded once, without dot segments. */
  export function path(): string { return takeText(calls.requestPath()); }
  /** Raw, without the question mark. */
  export function query(): string { return takeText(calls.requestQuery()); }
  export function host(): string { return takeText(calls.requestHost()); }
  /** `http` or `https`. */
  export function scheme(): string { return takeText(calls.requestScheme()); }
  export function clientIp(): string { return takeText(calls.requestClientIp()); }
  /** What the TLS handshake said: "version", "server_name", "client_subject"; abi.md has them all. */
  export function tls(name: string): string | null { return take(calls.requestTls(give(name))); }
  export function id(): string { return takeText(calls.requestId()); }
  export function route(): string { return takeText(calls.requestRoute()); }
  /** Who an authentication plugin before this one found the caller to be. */
  export function consumer(): string | null { return take(calls.requestConsumer()); }
  /** The first parameter of this name, decoded as a form is. */
  export function queryParam(name: string): string | null { return take(calls.requestQueryParam(give(name))); }
  /** All headers of this name, joined. */
  export function header(name: string): string | null { return take(calls.requestHeader(give(name))); }
  /** A parameter of the route's path pattern. */
  export function param(name: string): string | null { return take(calls.requestParam(give(name))); }
  /**
   * A claim of the verified token: text as it is, everything else as JSON. The text `true` and the
   * claim true look alike: where that matters, ask for `claimJson`.
   */
  export function claim(name: string): string | null { return take(calls.requestClaim(give(name))); }
  /** A claim of the verified token as JSON, texts in quotes too; for `parseJson`. */
  export function claimJson(name: string): string | null { return take(calls.requestClaimJson(give(name))); }
  /** The body, or as much of it as the attachment's grant shows; empty without a grant. */
  export function body(): ArrayBuffer { return takeBytes(calls.requestBody()); }
  /** True when `body` is all of it. */
  export function bodyIsWhole(): bool { return calls.requestBodyIsWhole() != 0; }
  /** A value that a plugin before this one set. */
  export function value(name: string): string | null { return take(calls.valueGet(give(name))); }
}

export namespace Response {
  export function status(): i32 { return calls.responseStatus(); }
  /** The first header of this name. */
  export function header(name: string): string | null { return take(calls.responseHeader(give(name))); }
  /** Number of headers of this name. */
  export function headerCount(name: string): i32 { return calls.responseHeaderCount(give(name)); }
  /** Every header of this name, in order; an empty one is an empty text. */
  export function headers(name: string): string[] {
    const count = headerCount(name);
    const all = new Array<string>(count);
    for (let i = 0; i < count; i++) all[i] = takeText(calls.responseHeaderAt(give(name), i));
    return all;
  }
}
