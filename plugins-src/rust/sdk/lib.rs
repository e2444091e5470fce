//! The Sallyport SDK for Rust. A plugin is a type that is made of its configuration, once, and then
//! decides about requests and responses; `export!` exports it. Values are read when they are asked
//! for, so a plugin pays only for what it looks at. abi.md has the bounds of everything here. Where
//! nothing builds it as a crate, a plugin includes it as a module:
//! `#[macro_use] #[path = "../sdk/lib.rs"] mod sdk;`.
//!
//! ```ignore
//! use sallyport::{export, Decision, Policy, Request, Table};
//!
//! struct Tier {
//!     wanted: String,
//! }
//!
//! impl Policy for Tier {
//!     fn new(config: &Table) -> Self {
//!         Tier { wanted: config.at("tier").text("gold") }
//!     }
//!
//!     fn on_request(&self, request: &Request) -> Decision {
//!         match request.header("x-tier") {
//!             Some(tier) if tier == self.wanted => Decision::pass(),
//!             _ => Decision::deny(403, "Not for you.\n").because("another tier"),
//!         }
//!     }
//! }
//!
//! export!(Tier: on_request);
//! ```
#![allow(dead_code, unused_imports, unused_macros)] // A plugin uses a part of it.

pub mod clock;
pub mod config;
mod decision;
#[cfg(not(target_arch = "wasm32"))]
mod fake;
pub mod grants;
pub mod hash;
#[cfg(target_arch = "wasm32")]
mod heap;
mod host;
pub mod json;
mod number;
pub mod path;
mod request;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;
pub mod text;

use std::cell::Cell;

pub use config::Table;
pub use decision::{Decision, ResponseEdits};
pub use request::{Request, Response};

/// What a plugin is: made of its configuration, asked about requests and responses.
pub trait Policy: Sized {
    /// Reads the configuration. What is wrong is noted by `config` itself, all of it; the policy is
    /// then dropped without being asked.
    fn new(config: &Table) -> Self;

    fn on_request(&self, _request: &Request) -> Decision {
        Decision::pass()
    }

    /// Runs for the upstream's responses and for those made here, the plugin's own too.
    fn on_response(&self, _request: &Request, _response: &Response) -> ResponseEdits {
        ResponseEdits::none()
    }

    /// For `export!`: what the exports of this name are.
    fn export_config() -> i32 {
        kept::<Self>(|_| 0)
    }

    fn export_request() -> i32 {
        kept::<Self>(|policy| policy.on_request(&Request::of_this_call()).carry_out())
    }

    fn export_response() -> i32 {
        kept::<Self>(|policy| {
            let (request, response) = (Request::of_this_call(), Response::of_this_call());
            policy.on_response(&request, &response).carry_out()
        })
    }
}

/// Exports a policy: `export!(Tier: on_request)`, `export!(Tier: on_request, on_response)`.
// It names nothing of the SDK but what a policy imports, so that it does not matter where that is.
#[macro_export]
macro_rules! export {
    ($policy:ty: $($phase:ident),+) => {
        #[no_mangle]
        pub extern "C" fn on_config() -> i32 {
            <$policy as Policy>::export_config()
        }

        $($crate::export!(@$phase $policy);)+
    };
    (@on_request $policy:ty) => {
        #[no_mangle]
        pub extern "C" fn on_request() -> i32 {
            <$policy as Policy>::export_request()
        }
    };
    (@on_response $policy:ty) => {
        #[no_mangle]
        pub extern "C" fn on_response() -> i32 {
            <$policy as Policy>::export_response()
        }
    };
}

/// The policy of this instance, once it is made: the configuration of an attachment never changes, so
/// it is read once and not for every request. A module exports one policy, whatever its type.
struct Kept(Cell<*const ()>);

// A guest has one thread, and on other machines nothing is exported.
unsafe impl Sync for Kept {}

static KEPT: Kept = Kept(Cell::new(std::ptr::null()));

fn kept<P: Policy>(ask: impl FnOnce(&P) -> i32) -> i32 {
    if KEPT.0.get().is_null() {
        match config::load::<P>() {
            Ok(policy) => KEPT
                .0
                .set(Box::leak(Box::new(policy)) as *const P as *const ()),
            Err(faults) => return fail(&faults),
        }
        #[cfg(target_arch = "wasm32")]
        heap::keep();
    }
    // Only this function fills it, of this type, and nothing empties it.
    ask(unsafe { &*(KEPT.0.get() as *const P) })
}

/// Lines of the gateway's log.
pub mod log {
    use super::host::{self, give};

    pub fn info(line: &str) {
        unsafe { host::log_info(give(line)) }
    }

    pub fn warn(line: &str) {
        unsafe { host::log_warn(give(line)) }
    }
}

// Fails the call: the attachment's fail_mode decides what becomes of the request.
fn fail(message: &str) -> i32 {
    unsafe { host::error_set(host::give(message)) };
    1
}
