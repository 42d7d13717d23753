//! The clock that all processes of a machine share, unless some are in a time namespace of their own.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};

/// For ever, as far as anybody waits, and within what every instant can be moved by.
pub(crate) const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// How often both clocks are read.
const READINGS: usize = 4;

/// `CLOCK_MONOTONIC` in ns, which is the same in all processes of a time namespace (clock_gettime(2),
/// time_namespaces(7)).
pub(crate) fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("Linux has a monotonic clock");
    now.tv_sec().unsigned_abs() * 1_000_000_000 + now.tv_nsec().unsigned_abs()
}

/// A duration in ns. Longer ones than that can say are taken for the longest that it can.
#[inline]
pub(crate) fn as_ns(duration: Duration) -> u64 {
    duration.as_secs().saturating_mul(1_000_000_000).saturating_add(duration.subsec_nanos().into())
}

/// The same clock, read once: instants of this process as ns of `CLOCK_MONOTONIC`, and back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    read_at: Instant,
    read_at_ns: u64,
}

impl Clock {
    /// What was read first in this process: whoever asks gets the same, so that all agree to the ns.
    pub(crate) fn read() -> Self {
        static FIRST: OnceLock<Clock> = OnceLock::new();
        *FIRST.get_or_init(Self::read_now)
    }

    /// `Instant` is the same clock, but keeps its number to itself. So both are read, and again, for between the two
    /// another process may have had its turn.
    fn read_now() -> Self {
        let readings = std::iter::repeat_with(|| {
            let read_at = Instant::now();
            let read_at_ns = monotonic_ns();
            (read_at.elapsed(), Self { read_at, read_at_ns })
        });
        let closest = readings.take(READINGS).min_by_key(|(apart, _)| *apart);
        closest.expect("there are several").1
    }

    pub(crate) fn ns(self, instant: Instant) -> u64 {
        match self.read_at.checked_duration_since(instant) {
            None => self.read_at_ns.saturating_add(as_ns(instant.duration_since(self.read_at))),
            Some(before) => self.read_at_ns.saturating_sub(as_ns(before)),
        }
    }

    /// One that is further away than an instant can say is taken for the last that can be.
    pub(crate) fn instant(self, ns: u64) -> Instant {
        match ns.checked_sub(self.read_at_ns) {
            Some(later_ns) => self.read_at + Duration::from_nanos(later_ns).min(CENTURY),
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
    fn a_duration_beyond_all_numbers_is_the_longest() {
        assert_eq!(as_ns(Duration::from_millis(1500)), 1_500_000_000);
        assert_eq!(as_ns(Duration::MAX), u64::MAX);
    }

    #[test]
    fn an_instant_beyond_all_time_is_one_still() {
        let clock = Clock::read();
        assert!(clock.instant(u64::MAX) > clock.read_at);
        assert!(clock.instant(0) <= clock.read_at);
    }
}
