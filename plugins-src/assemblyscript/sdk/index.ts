// The Sallyport SDK for AssemblyScript: what a plugin may ask of a request and say about it. Values
// are read when they are asked for, so a plugin pays only for what it looks at. abi.md has the
// bounds of everything here.

@external("extism:host/env", "alloc") declare function kernelAlloc(length: u64): u64;
@external("extism:host/env", "free") declare function kernelFree(handle: u64): void;
@external("extism:host/env", "length") declare function kernelLength(handle: u64): u64;
@external("extism:host/env", "load_u8") declare function kernelLoad8(at: u64): u32;
@external("extism:host/env", "load_u64") declare function kernelLoad64(at: u64): u64;
@external("extism:host/env", "store_u8") declare function kernelStore8(at: u64, value: u32): void;
@external("extism:host/env", "store_u64") declare function kernelStore64(at: u64, value: u64): void;
@external("extism:host/env", "error_set") declare function kernelError(handle: u64): void;
@external("extism:host/env", "config_get") declare function configGet(key: u64): u64;
@external("extism:host/env", "log_info") declare function logInfo(handle: u64): void;
@external("extism:host/env", "log_warn") declare function logWarn(handle: u64): void;

@external("extism:host/user", "request_method") declare function requestMethod(): u64;
@external("extism:host/user", "request_path") declare function requestPath(): u64;
@external("extism:host/user", "request_query") declare function requestQuery(): u64;
@external("extism:host/user", "request_host") declare function requestHost(): u64;
@external("extism:host/user", "request_scheme") declare function requestScheme(): u64;
@external("extism:host/user", "request_client_ip") declare function requestClientIp(): u64;
@external("extism:host/user", "request_tls") declare function requestTls(name: u64): u64;
@external("extism:host/user", "request_id") declare function requestId(): u64;
@external("extism:host/user", "request_route") declare function requestRoute(): u64;
@external("extism:host/user", "request_consumer") declare function requestConsumer(): u64;
@external("extism:host/user", "request_query_param") declare function requestQueryParam(name: u64): u64;
@external("extism:host/user", "request_header") declare function requestHeader(name: u64): u64;
@external("extism:host/user", "request_param") declare function requestParam(name: u64): u64;
@external("extism:host/user", "request_claim") declare function requestClaim(name: u64): u64;
@external("extism:host/user", "value_get") declare function valueGet(name: u64): u64;
@external("extism:host/user", "value_set") declare function valueSet(name: u64, value: u64): void;
@external("extism:host/user", "respond") declare function hostRespond(status: i32, body: u64): void;
@external("extism:host/user", "respond_header") declare function respondHeader(name: u64, value: u64): void;
@external("extism:host/user", "reason") declare function hostReason(text: u64): void;
@external("extism:host/user", "set_path") declare function setPath(path: u64): void;
@external("extism:host/user", "set_request_header") declare function setRequestHeader(name: u64, value: u64): void;
@external("extism:host/user", "remove_request_header") declare function removeRequestHeader(name: u64): void;
@external("extism:host/user", "set_response_header") declare function setResponseHeader(name: u64, value: u64): void;
@external("extism:host/user", "remove_response_header") declare function removeResponseHeader(name: u64): void;
@external("extism:host/user", "response_status") declare function responseStatus(): i32;
@external("extism:host/user", "response_header") declare function responseHeader(name: u64): u64;

// Copies a string into memory that the host can read.
function give(text: string): u64 {
  const bytes = String.UTF8.encode(text);
  const length = bytes.byteLength;
  if (length == 0) return 0;
  const handle = kernelAlloc(length);
  const at = changetype<usize>(bytes);
  let i: i32 = 0;
  for (; i + 8 <= length; i += 8) kernelStore64(handle + i, load<u64>(at + i));
  for (; i < length; i++) kernelStore8(handle + i, load<u8>(at + i));
  return handle;
}

// Reads what the host left under a handle, and frees it; null for handle 0.
function take(handle: u64): string | null {
  if (handle == 0) return null;
  const length = <i32>kernelLength(handle);
  const bytes = new ArrayBuffer(length);
  const at = changetype<usize>(bytes);
  let i: i32 = 0;
  for (; i + 8 <= length; i += 8) store<u64>(at + i, kernelLoad64(handle + i));
  for (; i < length; i++) store<u8>(at + i, <u8>kernelLoad8(handle + i));
  kernelFree(handle);
  return String.UTF8.decode(bytes);
}

function text(handle: u64): string {
  const value = take(handle);
  return value === null ? "" : value;
}

/** What can be asked of the request. A missing header, parameter or claim is null. */
export namespace Request {
  export function method(): string { return text(requestMethod()); }
  /** In normal form: decoded once, without dot segments. */
  export function path(): string { return text(requestPath()); }
  /** Raw, without the question mark. */
  export function query(): string { return text(requestQuery()); }
  export function host(): string { return text(requestHost()); }
  export function scheme(): string { return text(requestScheme()); }
  export function clientIp(): string { return text(requestClientIp()); }
  /** What the TLS handshake said: "version", "server_name", "client_subject"; abi.md has them all. */
  export function tls(name: string): string | null { return take(requestTls(give(name))); }
  export function id(): string { return text(requestId()); }
  export function route(): string { return text(requestRoute()); }
  /** Who an authentication plugin before this one found the caller to be. */
  export function consumer(): string | null { return take(requestConsumer()); }
  export function queryParam(name: string): string | null { return take(requestQueryParam(give(name))); }
  export function header(name: string): string | null { return take(requestHeader(give(name))); }
  /** A parameter of the route's path pattern. */
  export function param(name: string): string | null { return take(requestParam(give(name))); }
  /** A claim of the verified token: text as it is, everything else as JSON. */
  export function claim(name: string): string | null { return take(requestClaim(give(name))); }
  export function setHeader(name: string, value: string): void { setRequestHeader(give(name), give(value)); }
  export function removeHeader(name: string): void { removeRequestHeader(give(name)); }
  export function setPathTo(path: string): void { setPath(give(path)); }
}

/** What can be asked of and said about the response. */
export namespace Response {
  /** 0 outside of on_response. */
  export function status(): i32 { return responseStatus(); }
  export function header(name: string): string | null { return take(responseHeader(give(name))); }
  export function setHeader(name: string, value: string): void { setResponseHeader(give(name), give(value)); }
  export function removeHeader(name: string): void { removeResponseHeader(give(name)); }
}

/** The attachment's configuration: text as it is, everything else as JSON. */
export namespace Config {
  export function get(key: string): string | null { return take(configGet(give(key))); }
  export function getOr(key: string, fallback: string): string {
    const value = get(key);
    return value === null ? fallback : value;
  }
}

/** Values for the plugins after this one, and for the access log. */
export namespace Values {
  export function get(name: string): string | null { return take(valueGet(give(name))); }
  export function set(name: string, value: string): void { valueSet(give(name), give(value)); }
}

export namespace Log {
  export function info(line: string): void { logInfo(give(line)); }
  export function warn(line: string): void { logWarn(give(line)); }
}

/** Answers the request here; it does not reach the upstream. */
export function respond(status: i32, body: string): void {
  hostRespond(status, give(body));
}

/** Adds a header to the answer of `respond`. */
export function respondWithHeader(name: string, value: string): void {
  respondHeader(give(name), give(value));
}

/** Refuses the request; the reason goes to the log and not to the client. */
export function deny(status: i32, body: string, why: string): void {
  hostReason(give(why));
  respond(status, body);
}

/** Fails the call: the attachment's fail_mode decides what becomes of the request. */
export function fail(message: string): i32 {
  kernelError(give(message));
  return 1;
}
