//! What can be asked of the request and of the response. A header, parameter or claim that is
//! missing or empty is `None`.

use super::host::{self, give, take, take_bytes};

/// The request of this call. Every question goes to the host, so ask once and keep the answer.
pub struct Request(());

impl Request {
    pub(super) fn of_this_call() -> Self {
        Request(())
    }

    pub fn method(&self) -> String {
        take(unsafe { host::request_method() }).unwrap_or_default()
    }

    /// In normal form: decoded once, without dot segments.
    pub fn path(&self) -> String {
        take(unsafe { host::request_path() }).unwrap_or_default()
    }

    /// Raw, without the question mark.
    pub fn query(&self) -> String {
        take(unsafe { host::request_query() }).unwrap_or_default()
    }

    pub fn host(&self) -> String {
        take(unsafe { host::request_host() }).unwrap_or_default()
    }

    /// `http` or `https`.
    pub fn scheme(&self) -> String {
        take(unsafe { host::request_scheme() }).unwrap_or_default()
    }

    pub fn client_ip(&self) -> String {
        take(unsafe { host::request_client_ip() }).unwrap_or_default()
    }

    /// What the TLS handshake said: "version", "server_name", "client_subject"; abi.md has them all.
    pub fn tls(&self, name: &str) -> Option<String> {
        take(unsafe { host::request_tls(give(name)) })
    }

    pub fn id(&self) -> String {
        take(unsafe { host::request_id() }).unwrap_or_default()
    }

    pub fn route(&self) -> String {
        take(unsafe { host::request_route() }).unwrap_or_default()
    }

    /// Who an authentication plugin before this one found the caller to be.
    pub fn consumer(&self) -> Option<String> {
        take(unsafe { host::request_consumer() })
    }

    /// The first parameter of this name, decoded as a form is.
    pub fn query_param(&self, name: &str) -> Option<String> {
        take(unsafe { host::request_query_param(give(name)) })
    }

    /// All headers of this name, joined.
    pub fn header(&self, name: &str) -> Option<String> {
        take(unsafe { host::request_header(give(name)) })
    }

    /// A parameter of the route's path pattern.
    pub fn param(&self, name: &str) -> Option<String> {
        take(unsafe { host::request_param(give(name)) })
    }

    /// A claim of the verified token: text as it is, everything else as JSON. The text `true` and
    /// the claim true look alike: where that matters, ask for `claim_json`.
    pub fn claim(&self, name: &str) -> Option<String> {
        take(unsafe { host::request_claim(give(name)) })
    }

    /// A claim of the verified token as JSON, texts in quotes too; for `json::parse`.
    pub fn claim_json(&self, name: &str) -> Option<String> {
        take(unsafe { host::request_claim_json(give(name)) })
    }

    /// The body, or as much of it as the attachment's grant shows; empty without a grant.
    pub fn body(&self) -> Vec<u8> {
        take_bytes(unsafe { host::request_body() }).unwrap_or_default()
    }

    /// True when `body` is all of it.
    pub fn body_is_whole(&self) -> bool {
        unsafe { host::request_body_is_whole() != 0 }
    }

    /// A value that a plugin before this one set.
    pub fn value(&self, name: &str) -> Option<String> {
        take(unsafe { host::value_get(give(name)) })
    }
}

/// The response of this call.
pub struct Response(());

impl Response {
    pub(super) fn of_this_call() -> Self {
        Response(())
    }

    pub fn status(&self) -> u16 {
        unsafe { host::response_status() as u16 }
    }

    /// The first header of this name.
    pub fn header(&self, name: &str) -> Option<String> {
        take(unsafe { host::response_header(give(name)) })
    }

    /// Number of headers of this name.
    pub fn header_count(&self, name: &str) -> usize {
        unsafe { host::response_header_count(give(name)) as usize }
    }

    /// Every header of this name, in order; an empty one is an empty text.
    pub fn headers(&self, name: &str) -> Vec<String> {
        let at = |index| take(unsafe { host::response_header_at(give(name), index as i32) });
        (0..self.header_count(name))
            .map(|index| at(index).unwrap_or_default())
            .collect()
    }
}
