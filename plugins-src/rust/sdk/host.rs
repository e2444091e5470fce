//! The host's functions, and text across the border. A handle is the address of a block of memory
//! that both sides reach; 0 is none. Nothing here can harm the guest: what a handle does not reach
//! reads as 0, and the host checks whatever it is given. Outside of Wasm, `fake` is the host.

#[cfg(not(target_arch = "wasm32"))]
pub use super::fake::*;
#[cfg(target_arch = "wasm32")]
pub use guest::*;

#[cfg(target_arch = "wasm32")]
mod guest {
    #[link(wasm_import_module = "extism:host/env")]
    extern "C" {
        fn alloc(length: u64) -> u64;
        fn free(handle: u64);
        fn length(handle: u64) -> u64;
        fn load_u8(at: u64) -> u32;
        fn load_u64(at: u64) -> u64;
        fn store_u8(at: u64, value: u32);
        fn store_u64(at: u64, value: u64);
        pub fn error_set(handle: u64);
        pub fn config_get(key: u64) -> u64;
        pub fn log_info(line: u64);
        pub fn log_warn(line: u64);
    }

    #[link(wasm_import_module = "wasi_snapshot_preview1")]
    extern "C" {
        fn clock_time_get(clock: u32, precision: u64, at: *mut u64) -> u32;
    }

    #[link(wasm_import_module = "extism:host/user")]
    extern "C" {
        pub fn request_method() -> u64;
        pub fn request_path() -> u64;
        pub fn request_query() -> u64;
        pub fn request_host() -> u64;
        pub fn request_scheme() -> u64;
        pub fn request_client_ip() -> u64;
        pub fn request_tls(name: u64) -> u64;
        pub fn request_id() -> u64;
        pub fn request_route() -> u64;
        pub fn request_consumer() -> u64;
        pub fn request_query_param(name: u64) -> u64;
        pub fn request_header(name: u64) -> u64;
        pub fn request_param(name: u64) -> u64;
        pub fn request_claim(name: u64) -> u64;
        pub fn request_claim_json(name: u64) -> u64;
        pub fn request_body() -> u64;
        pub fn request_body_is_whole() -> i32;
        pub fn value_get(name: u64) -> u64;
        pub fn value_set(name: u64, value: u64);
        pub fn respond(status: i32, body: u64);
        pub fn respond_header(name: u64, value: u64);
        pub fn reason(text: u64);
        pub fn set_path(path: u64);
        pub fn set_request_header(name: u64, value: u64);
        pub fn remove_request_header(name: u64);
        pub fn set_response_header(name: u64, value: u64);
        pub fn add_response_header(name: u64, value: u64);
        pub fn remove_response_header(name: u64);
        pub fn response_status() -> i32;
        pub fn response_header(name: u64) -> u64;
        pub fn response_header_count(name: u64) -> i32;
        pub fn response_header_at(name: u64, index: i32) -> u64;
        pub fn kv_get(key: u64) -> u64;
        pub fn kv_set(key: u64, value: u64, ttl_ms: u64);
        pub fn kv_incr(key: u64, by: i64, ttl_ms: u64) -> i64;
        pub fn http_call(request: u64) -> u64;
    }

    /// Copies a string into memory that the host can read.
    pub fn give(text: &str) -> u64 {
        if text.is_empty() {
            return 0;
        }
        let handle = unsafe { alloc(text.len() as u64) };
        let mut at = handle;
        let words = text.as_bytes().chunks_exact(8);
        let rest = words.remainder();
        for word in words.flat_map(<[u8; 8]>::try_from) {
            unsafe { store_u64(at, u64::from_le_bytes(word)) };
            at += 8;
        }
        for &byte in rest {
            unsafe { store_u8(at, byte.into()) };
            at += 1;
        }
        handle
    }

    /// Reads what the host left under a handle, and frees it; `None` for handle 0.
    pub fn take(handle: u64) -> Option<String> {
        // The host writes UTF-8 only, but for bodies.
        take_bytes(handle).map(|bytes| unsafe { String::from_utf8_unchecked(bytes) })
    }

    /// The same, where it need not be text.
    pub fn take_bytes(handle: u64) -> Option<Vec<u8>> {
        if handle == 0 {
            return None;
        }
        let end = handle + unsafe { length(handle) };
        let mut bytes = Vec::with_capacity((end - handle) as usize);
        let mut at = handle;
        while at + 8 <= end {
            bytes.extend_from_slice(&unsafe { load_u64(at) }.to_le_bytes());
            at += 8;
        }
        while at < end {
            bytes.push(unsafe { load_u8(at) } as u8);
            at += 1;
        }
        unsafe { free(handle) };
        Some(bytes)
    }

    /// Nanoseconds since 1970 by the clock that stands still during a call.
    pub fn clock_ns() -> u64 {
        let mut ns = 0;
        unsafe { clock_time_get(0, 0, &mut ns) };
        ns
    }
}
