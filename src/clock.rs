//! The clock that all processes of a machine share, unless some are in a time namespace of their own.

use nix::time::{ClockId, clock_gettime};

/// `CLOCK_MONOTONIC` in ns, which is the same in all processes of a time namespace (clock_gettime(2),
/// time_namespaces(7)).
pub(crate) fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("Linux has a monotonic clock");
    now.tv_sec().unsigned_abs() * 1_000_000_000 + now.tv_nsec().unsigned_abs()
}
