//! The beginning of the pause, as a successor knows it.

use super::successor::Objection;
use super::summary::Pause;

/// Sees that whoever says when something was has the clock of this process, or the one by which that keeps instants: it was when this process
/// was ready for it, and before it heard of it. All are ns of `CLOCK_MONOTONIC`.
///
/// # Errors
/// If it is another one.
pub(crate) fn check_clock(ready_at_ns: u64, at_ns: u64, now_ns: u64) -> Result<(), Objection> {
    let is_shared = FrozenAt::between(Some(ready_at_ns), at_ns, now_ns).shares_clock();
    if is_shared { Ok(()) } else { Err(Objection::Clock { at_ns, now_ns }) }
}

/// When the predecessor froze, by this process's clock, in ns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FrozenAt {
    Exactly(u64),
    /// The predecessor's clock is another one (time_namespaces(7)): it was not before this process was ready.
    NotBefore(u64),
}

impl FrozenAt {
    /// The predecessor says by its own clock when it was. By one that both share, that is after this process was ready,
    /// and before this process heard of it.
    pub(super) fn between(ready_at_ns: Option<u64>, told_ns: u64, heard_at_ns: u64) -> Self {
        match ready_at_ns {
            Some(ready_at_ns) if !(ready_at_ns..=heard_at_ns).contains(&told_ns) => Self::NotBefore(ready_at_ns),
            _ => Self::Exactly(told_ns),
        }
    }

    /// Whether the predecessor's clock is this process's.
    pub(super) fn shares_clock(self) -> bool {
        matches!(self, Self::Exactly(_))
    }

    /// The time up to the first poll.
    pub(super) fn pause(self, polled_at_ns: u64) -> Pause {
        match self {
            Self::Exactly(at_ns) => Pause::Exactly { us: polled_at_ns.saturating_sub(at_ns) / 1000 },
            Self::NotBefore(at_ns) => Pause::AtMost { us: polled_at_ns.saturating_sub(at_ns) / 1000 },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn freeze_by_another_clock_is_known_by_its_bounds() {
        let frozen = |told_ns| FrozenAt::between(Some(1000), told_ns, 3000);
        for told_ns in [1000, 2000, 3000] {
            assert_eq!(frozen(told_ns).pause(5_000_000), Pause::Exactly { us: (5_000_000 - told_ns) / 1000 });
        }
        for told_ns in [0, 999, 3001, 86_400_000_000_000] {
            assert_eq!(frozen(told_ns).pause(5_001_000), Pause::AtMost { us: 5000 });
        }
        assert_eq!(Pause::AtMost { us: 5 }.to_string(), "pause at most 5 us");
    }
}
