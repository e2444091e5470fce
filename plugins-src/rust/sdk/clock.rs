//! The time of the call. It stands still while the call runs, so that it measures nothing.

/// Whole seconds since 1970.
pub fn now_s() -> i64 {
    (super::host::clock_ns() / 1_000_000_000) as i64
}
