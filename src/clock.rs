//! The clock that all processes of a machine share, unless some are in a time namespace of their own.

use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};

/// `CLOCK_MONOTONIC` in ns, which is the same in all processes of a time namespace (clock_gettime(2),
/// time_namespaces(7)).
pub(crate) fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("Linux has a monotonic clock");
    now.tv_sec().unsigned_abs() * 1_000_000_000 + now.tv_nsec().unsigned_abs()
}

/// The same clock, read once: instants of this process as ns of `CLOCK_MONOTONIC`, and back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    read_at: Instant,
    read_at_ns: u64,
}

impl Clock {
    pub(crate) fn read() -> Self {
        Self { read_at: Instant::now(), read_at_ns: monotonic_ns() }
    }

    pub(crate) fn ns(self, instant: Instant) -> u64 {
        let since = || u64::try_from(instant.duration_since(self.read_at).as_nanos()).unwrap_or(u64::MAX);
        match self.read_at.checked_duration_since(instant) {
            None => self.read_at_ns.saturating_add(since()),
            Some(before) => self.read_at_ns.saturating_sub(u64::try_from(before.as_nanos()).unwrap_or(u64::MAX)),
        }
    }

    /// One that is further away than an instant can say is taken for the last that can be.
    #[cfg_attr(not(test), expect(dead_code, reason = "deadlines that travel will need it"))]
    pub(crate) fn instant(self, ns: u64) -> Instant {
        /// A century, within what every instant can be moved by.
        const FOREVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
        match ns.checked_sub(self.read_at_ns) {
            Some(later_ns) => self.read_at + Duration::from_nanos(later_ns).min(FOREVER),
            None => {
                let before = Duration::from_nanos(self.read_at_ns - ns);
                self.read_at.checked_sub(before).unwrap_or(self.read_at)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_survive_as_ns_in_both_directions() {
        let clock = Clock::read();
        for offset_ns in [0, 1, 999, 1_000_000_000, 86_400_000_000_000] {
            let later = clock.read_at + Duration::from_nanos(offset_ns);
            assert_eq!(clock.ns(later), clock.read_at_ns + offset_ns);
            assert_eq!(clock.instant(clock.ns(later)), later);
        }
        let earlier = clock.read_at - Duration::from_nanos(1000);
        assert_eq!(clock.ns(earlier), clock.read_at_ns - 1000);
        assert_eq!(clock.instant(clock.read_at_ns - 1000), earlier);
    }

    #[test]
    fn an_instant_beyond_all_time_is_one_still() {
        let clock = Clock::read();
        assert!(clock.instant(u64::MAX) > clock.read_at);
        assert!(clock.instant(0) <= clock.read_at);
    }
}
