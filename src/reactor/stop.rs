//! A stop that a signal has asked for, and when it goes on. Pure.

use std::time::{Duration, Instant};

/// How long a server that is to stop goes on, for a successor that is on its way: whoever replaces a server by starting
/// one and stopping the other does both at about the same time.
pub(super) const LAST_CALL: Duration = Duration::from_millis(100);

/// How far a stop has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// Everybody is served as before, in case somebody takes over: until then if nobody does, and as long as it may take
    /// if somebody does.
    LastCall { until: Instant, taken_over_by: Instant, drained_by: Instant },
    /// Nobody is let in and nobody is listened to; what is pending is written, at the latest until then.
    Draining { by: Instant },
}

impl Stop {
    /// Somebody could take over. What is left of the time after that is for what has been answered, should it not succeed.
    pub(super) fn last_call(now: Instant, drain_timeout: Duration) -> Self {
        Self::LastCall {
            until: now + LAST_CALL,
            taken_over_by: now + drain_timeout / 2,
            drained_by: now + drain_timeout,
        }
    }

    /// When it goes on. Somebody may be taking over, or be about to.
    pub(super) fn due(self, is_called: bool) -> Instant {
        match self {
            Self::LastCall { until, .. } if !is_called => until,
            Self::LastCall { taken_over_by, .. } => taken_over_by,
            Self::Draining { by } => by,
        }
    }

    /// Nobody has taken over by `now`: when all that is pending must be written.
    pub(super) fn to_be_drained(self, is_called: bool, now: Instant) -> Option<Instant> {
        match self {
            Self::LastCall { drained_by, .. } if now >= self.due(is_called) => Some(drained_by),
            _ => None,
        }
    }

    pub(super) fn is_draining(self) -> bool {
        matches!(self, Self::Draining { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_call_waits_longer_where_somebody_is_taking_over() {
        let (now, drain_timeout) = (Instant::now(), Duration::from_secs(30));
        let stop = Stop::last_call(now, drain_timeout);
        assert_eq!(stop.due(false), now + LAST_CALL);
        assert_eq!(stop.due(true), now + drain_timeout / 2);

        assert_eq!(stop.to_be_drained(false, now), None);
        assert_eq!(stop.to_be_drained(false, now + LAST_CALL), Some(now + drain_timeout));
        assert_eq!(stop.to_be_drained(true, now + LAST_CALL), None);
        assert_eq!(stop.to_be_drained(true, now + drain_timeout / 2), Some(now + drain_timeout));
    }

    #[test]
    fn whoever_drains_does_not_begin_to_again() {
        let now = Instant::now();
        let stop = Stop::Draining { by: now };
        assert!(stop.is_draining());
        assert_eq!((stop.due(false), stop.to_be_drained(false, now)), (now, None));
    }
}
