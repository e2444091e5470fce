//! The Sallyport SDK for Rust: what a plugin may ask of a request and say about it. Values are read
//! when they are asked for, so a plugin pays only for what it looks at. abi.md has the bounds of
//! everything here. No crate is needed: a plugin includes it as a module,
//! `#[path = "../sdk/lib.rs"] mod sallyport;`.
#![allow(dead_code)] // A plugin uses a part of it.

mod heap;
mod host;
mod json;

/// What can be asked of the request. A header, parameter or claim that is missing or empty is `None`.
pub mod request {
    use super::host::{self, give, take};

    pub fn method() -> String {
        take(unsafe { host::request_method() }).unwrap_or_default()
    }

    /// In normal form: decoded once, without dot segments.
    pub fn path() -> String {
        take(unsafe { host::request_path() }).unwrap_or_default()
    }

    /// Raw, without the question mark.
    pub fn query() -> String {
        take(unsafe { host::request_query() }).unwrap_or_default()
    }

    pub fn host() -> String {
        take(unsafe { host::request_host() }).unwrap_or_default()
    }

    pub fn scheme() -> String {
        take(unsafe { host::request_scheme() }).unwrap_or_default()
    }

    pub fn client_ip() -> String {
        take(unsafe { host::request_client_ip() }).unwrap_or_default()
    }

    /// What the TLS handshake said: "version", "server_name", "client_subject"; abi.md has them all.
    pub fn tls(name: &str) -> Option<String> {
        take(unsafe { host::request_tls(give(name)) })
    }

    pub fn id() -> String {
        take(unsafe { host::request_id() }).unwrap_or_default()
    }

    pub fn route() -> String {
        take(unsafe { host::request_route() }).unwrap_or_default()
    }

    /// Who an authentication plugin before this one found the caller to be.
    pub fn consumer() -> Option<String> {
        take(unsafe { host::request_consumer() })
    }

    pub fn query_param(name: &str) -> Option<String> {
        take(unsafe { host::request_query_param(give(name)) })
    }

    pub fn header(name: &str) -> Option<String> {
        take(unsafe { host::request_header(give(name)) })
    }

    /// A parameter of the route's path pattern.
    pub fn param(name: &str) -> Option<String> {
        take(unsafe { host::request_param(give(name)) })
    }

    /// A claim of the verified token: text as it is, everything else as JSON.
    pub fn claim(name: &str) -> Option<String> {
        take(unsafe { host::request_claim(give(name)) })
    }

    pub fn set_header(name: &str, value: &str) {
        unsafe { host::set_request_header(give(name), give(value)) }
    }

    pub fn remove_header(name: &str) {
        unsafe { host::remove_request_header(give(name)) }
    }

    pub fn set_path(path: &str) {
        unsafe { host::set_path(give(path)) }
    }
}

/// What can be asked of and said about the response.
pub mod response {
    use super::host::{self, give, take};

    /// 0 outside of `on_response`.
    pub fn status() -> u16 {
        unsafe { host::response_status() as u16 }
    }

    pub fn header(name: &str) -> Option<String> {
        take(unsafe { host::response_header(give(name)) })
    }

    pub fn set_header(name: &str, value: &str) {
        unsafe { host::set_response_header(give(name), give(value)) }
    }

    pub fn remove_header(name: &str) {
        unsafe { host::remove_response_header(give(name)) }
    }
}

/// The attachment's configuration: text as it is, everything else as JSON.
pub mod config {
    use super::host::{self, give, take};

    pub fn get(key: &str) -> Option<String> {
        take(unsafe { host::config_get(give(key)) })
    }

    pub fn get_or(key: &str, fallback: &str) -> String {
        get(key).unwrap_or_else(|| fallback.into())
    }

    /// A list of strings; `None` when the key is missing or holds anything else.
    pub fn list(key: &str) -> Option<Vec<String>> {
        super::json::strings(&get(key)?)
    }
}

/// Values for the plugins after this one, and for the access log.
pub mod values {
    use super::host::{self, give, take};

    pub fn get(name: &str) -> Option<String> {
        take(unsafe { host::value_get(give(name)) })
    }

    pub fn set(name: &str, value: &str) {
        unsafe { host::value_set(give(name), give(value)) }
    }
}

pub mod log {
    use super::host::{self, give};

    pub fn info(line: &str) {
        unsafe { host::log_info(give(line)) }
    }

    pub fn warn(line: &str) {
        unsafe { host::log_warn(give(line)) }
    }
}

/// Answers the request here; it does not reach the upstream.
pub fn respond(status: u16, body: &str) {
    unsafe { host::respond(status.into(), host::give(body)) }
}

/// Adds a header to the answer of `respond`.
pub fn respond_with_header(name: &str, value: &str) {
    unsafe { host::respond_header(host::give(name), host::give(value)) }
}

/// Refuses the request; the reason goes to the log and not to the client.
pub fn deny(status: u16, body: &str, why: &str) {
    unsafe { host::reason(host::give(why)) };
    respond(status, body);
}

/// Fails the call: the attachment's fail_mode decides what becomes of the request.
#[must_use = "an export returns it"]
pub fn fail(message: &str) -> i32 {
    unsafe { host::error_set(host::give(message)) };
    1
}
