//! When the standby is told what has changed. Pure; instants are passed in.

use std::time::{Duration, Instant};

/// Not more often than this: whoever has spoken since the last mark is lost with the active, and each mark costs the active some
/// tens of microseconds.
const EVERY: Duration = Duration::from_millis(5);

/// What it costs is at most one part in so many of the active's time.
const SHARE: u32 = 20;

/// How long a standby may take to apply what it was sent.
pub(super) const SILENCE_MAX: Duration = Duration::from_secs(10);

/// When there is another mark.
#[derive(Debug)]
pub(super) struct Rhythm {
    /// Something may have changed since the last mark.
    stirred: bool,
    /// There is none before.
    not_before: Instant,
    /// Since when the standby has something to apply, if it has.
    awaited_since: Option<Instant>,
}

impl Rhythm {
    pub(super) fn new(now: Instant) -> Self {
        Self { stirred: true, not_before: now, awaited_since: None }
    }

    /// The loop has turned.
    pub(super) fn stir(&mut self) {
        self.stirred = true;
    }

    /// Whether it is time for a mark.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.stirred && self.awaited_since.is_none() && now >= self.not_before
    }

    /// All that had changed has been gathered, from `began` to `now`. Whether `some` had, so that the standby has something to
    /// apply; and whether there is to be one `more`, also if nothing changes.
    pub(super) fn gathered(&mut self, began: Instant, now: Instant, some: bool, more: bool) {
        self.stirred = more;
        self.not_before = now + EVERY.max((now - began) * SHARE);
        self.awaited_since = some.then_some(now);
    }

    /// The standby has applied it.
    pub(super) fn applied(&mut self) {
        self.awaited_since = None;
    }

    /// Whether the standby has not, for too long.
    pub(super) fn is_overdue(&self, now: Instant) -> bool {
        self.awaited_since.is_some_and(|since| now >= since + SILENCE_MAX)
    }

    /// When the active is to do something about it if no event comes before.
    pub(super) fn due(&self) -> Option<Instant> {
        match self.awaited_since {
            Some(since) => Some(since + SILENCE_MAX),
            None => self.stirred.then_some(self.not_before),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn there_is_no_mark_while_nothing_happens() {
        let now = Instant::now();
        let mut rhythm = Rhythm::new(now);
        assert!(rhythm.is_due(now));
        rhythm.gathered(now, now, false, false);
        assert_eq!((rhythm.is_due(now + 1000 * MS), rhythm.due()), (false, None));
        rhythm.stir();
        assert_eq!(rhythm.due(), Some(now + EVERY));
        assert!(!rhythm.is_due(now + 4 * MS) && rhythm.is_due(now + 5 * MS));
    }

    #[test]
    fn marks_that_cost_much_are_seldom() {
        let now = Instant::now();
        let mut rhythm = Rhythm::new(now);
        rhythm.gathered(now, now + 2 * MS, true, true);
        rhythm.applied();
        assert_eq!(rhythm.due(), Some(now + 42 * MS));
        assert!(!rhythm.is_due(now + 41 * MS) && rhythm.is_due(now + 42 * MS));
    }

    #[test]
    fn there_is_no_mark_before_the_last_is_applied_and_who_takes_too_long_for_that_is_given_up() {
        let now = Instant::now();
        let mut rhythm = Rhythm::new(now);
        rhythm.gathered(now, now, true, false);
        rhythm.stir();
        assert!(!rhythm.is_due(now + SILENCE_MAX));
        assert_eq!(rhythm.due(), Some(now + SILENCE_MAX));
        assert!(!rhythm.is_overdue(now + SILENCE_MAX - MS) && rhythm.is_overdue(now + SILENCE_MAX));
        rhythm.applied();
        assert!(rhythm.is_due(now + EVERY) && !rhythm.is_overdue(now + 2 * SILENCE_MAX));
    }
}
