// The host's functions. A handle is the address of a block of memory that both sides reach; 0 is
// none. What a handle does not reach reads as 0, and the host checks whatever it is given.

@external("extism:host/env", "alloc") export declare function kernelAlloc(length: u64): u64;
@external("extism:host/env", "free") export declare function kernelFree(handle: u64): void;
@external("extism:host/env", "length") export declare function kernelLength(handle: u64): u64;
@external("extism:host/env", "load_u8") export declare function kernelLoad8(at: u64): u32;
@external("extism:host/env", "load_u64") export declare function kernelLoad64(at: u64): u64;
@external("extism:host/env", "store_u8") export declare function kernelStore8(at: u64, value: u32): void;
@external("extism:host/env", "store_u64") export declare function kernelStore64(at: u64, value: u64): void;
@external("extism:host/env", "error_set") export declare function errorSet(handle: u64): void;
@external("extism:host/env", "config_get") export declare function configGet(key: u64): u64;
@external("extism:host/env", "log_info") export declare function logInfo(handle: u64): void;
@external("extism:host/env", "log_warn") export declare function logWarn(handle: u64): void;

@external("wasi_snapshot_preview1", "clock_time_get")
export declare function clockTimeGet(clock: u32, precision: u64, at: usize): u32;

@external("extism:host/user", "request_method") export declare function requestMethod(): u64;
@external("extism:host/user", "request_path") export declare function requestPath(): u64;
@external("extism:host/user", "request_query") export declare function requestQuery(): u64;
@external("extism:host/user", "request_host") export declare function requestHost(): u64;
@external("extism:host/user", "request_scheme") export declare function requestScheme(): u64;
@external("extism:host/user", "request_client_ip") export declare function requestClientIp(): u64;
@external("extism:host/user", "request_tls") export declare function requestTls(name: u64): u64;
@external("extism:host/user", "request_id") export declare function requestId(): u64;
@external("extism:host/user", "request_route") export declare function requestRoute(): u64;
@external("extism:host/user", "request_consumer") export declare function requestConsumer(): u64;
@external("extism:host/user", "request_query_param") export declare function requestQueryParam(name: u64): u64;
@external("extism:host/user", "request_header") export declare function requestHeader(name: u64): u64;
@external("extism:host/user", "request_param") export declare function requestParam(name: u64): u64;
@external("extism:host/user", "request_claim") export declare function requestClaim(name: u64): u64;
@external("extism:host/user", "request_claim_json") export declare function requestClaimJson(name: u64): u64;
@external("extism:host/user", "request_body") export declare function requestBody(): u64;
@external("extism:host/user", "request_body_is_whole") export declare function requestBodyIsWhole(): i32;
@external("extism:host/user", "value_get") export declare function valueGet(name: u64): u64;
@external("extism:host/user", "value_set") export declare function valueSet(name: u64, value: u64): void;
@external("extism:host/user", "respond") export declare function respond(status: i32, body: u64): void;
@external("extism:host/user", "respond_header") export declare function respondHeader(name: u64, value: u64): void;
@external("extism:host/user", "reason") export declare function reason(text: u64): void;
@external("extism:host/user", "set_path") export declare function setPath(path: u64): void;
@external("extism:host/user", "set_request_header") export declare function setRequestHeader(name: u64, value: u64): void;
@external("extism:host/user", "remove_request_header") export declare function removeRequestHeader(name: u64): void;
@external("extism:host/user", "set_response_header") export declare function setResponseHeader(name: u64, value: u64): void;
@external("extism:host/user", "add_response_header") export declare function addResponseHeader(name: u64, value: u64): void;
@external("extism:host/user", "remove_response_header") export declare function removeResponseHeader(name: u64): void;
@external("extism:host/user", "response_status") export declare function responseStatus(): i32;
@external("extism:host/user", "response_header") export declare function responseHeader(name: u64): u64;
@external("extism:host/user", "response_header_count") export declare function responseHeaderCount(name: u64): i32;
@external("extism:host/user", "response_header_at") export declare function responseHeaderAt(name: u64, index: i32): u64;
@external("extism:host/user", "kv_get") export declare function kvGet(key: u64): u64;
@external("extism:host/user", "kv_set") export declare function kvSet(key: u64, value: u64, ttlMs: u64): void;
@external("extism:host/user", "kv_incr") export declare function kvIncr(key: u64, by: i64, ttlMs: u64): i64;
@external("extism:host/user", "http_call") export declare function httpCall(request: u64): u64;
