//! What must be granted to an attachment by name: a plugin that uses these says so in the `needs` of
//! its plugin.json. They belong to `on_request`, and the request waits for them.

use super::host::{self, give, take};

/// Values that outlive a request, under keys of this plugin. A time to live of 0 means for good.
pub mod kv {
    use super::*;

    pub fn get(key: &str) -> Option<String> {
        take(unsafe { host::kv_get(give(key)) })
    }

    pub fn set(key: &str, value: &str, ttl_ms: u64) {
        unsafe { host::kv_set(give(key), give(value), ttl_ms) }
    }

    /// Adds to a number that begins at 0, and answers what it is then.
    pub fn increment(key: &str, by: i64, ttl_ms: u64) -> i64 {
        unsafe { host::kv_incr(give(key), by, ttl_ms) }
    }
}

/// Calls another host; `request` and the answer are JSON, as abi.md tells.
pub fn call_http(request: &str) -> String {
    take(unsafe { host::http_call(give(request)) }).unwrap_or_default()
}
