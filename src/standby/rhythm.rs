//! When the standby is told what has changed. Pure; instants are passed in.

use std::time::{Duration, Instant};

/// Not more often than this: whoever has spoken since the last mark is lost with the active, and each mark costs the active some
/// tens of microseconds.
const EVERY: Duration = Duration::from_millis(5);

/// What it costs is at most one part in so many of the active's time.
const SHARE: u32 = 20;

/// How long it may be to the next one where nothing happens, so that a standby that does not follow any more is missed.
const LIFE_SIGN_EVERY: Duration = Duration::from_secs(5);

/// How long a standby may take to apply what it was sent.
pub(super) const SILENCE_MAX: Duration = Duration::from_secs(10);

/// When there is another mark.
#[derive(Debug)]
pub(super) struct Rhythm {
    /// Something may have changed since the last mark.
    stirred: bool,
    /// There is none before.
    not_before: Instant,
    /// There is one then, whatever happens.
    at_the_latest: Instant,
    /// Since when the standby has something to apply, if it has.
    awaited_since: Option<Instant>,
}

impl Rhythm {
    pub(super) fn new(now: Instant) -> Self {
        Self { stirred: true, not_before: now, at_the_latest: now, awaited_since: None }
    }

    /// The loop has turned.
    pub(super) fn stir(&mut self) {
        self.stirred = true;
    }

    /// Whether it is time for a mark.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.awaited_since.is_none() && (self.stirred && now >= self.not_before || self.is_late(now))
    }

    /// Whether there is to be one, also if it has nothing to tell.
    pub(super) fn is_late(&self, now: Instant) -> bool {
        now >= self.at_the_latest
    }

    /// All that had changed has been gathered, from `began` to `now`. Whether `some` had, so that the standby has something to
    /// apply; and whether there is to be one `more`, also if nothing changes.
    pub(super) fn gathered(&mut self, began: Instant, now: Instant, some: bool, more: bool) {
        self.stirred = more;
        self.not_before = now + EVERY.max((now - began) * SHARE);
        if some {
            self.at_the_latest = self.not_before.max(now + LIFE_SIGN_EVERY);
        }
        self.awaited_since = some.then_some(now);
    }

    /// The channel has taken a part of it.
    pub(super) fn sent(&mut self, now: Instant) {
        self.awaited_since = self.awaited_since.map(|_| now);
    }

    /// The standby has applied it.
    pub(super) fn applied(&mut self) {
        self.awaited_since = None;
    }

    /// Whether the standby has not, for too long.
    pub(super) fn is_overdue(&self, now: Instant) -> bool {
        self.overdue_at().is_some_and(|at| now >= at)
    }

    /// When the active is to do something about it if no event comes before.
    pub(super) fn due(&self) -> Instant {
        let next = if self.stirred { self.not_before.min(self.at_the_latest) } else { self.at_the_latest };
        self.overdue_at().unwrap_or(next)
    }

    /// When it takes the standby too long, if it has something to apply.
    pub(super) fn overdue_at(&self) -> Option<Instant> {
        self.awaited_since.map(|since| since + SILENCE_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn there_is_no_mark_while_nothing_happens_but_for_a_sign_of_life() {
        let now = Instant::now();
        let mut rhythm = Rhythm::new(now);
        assert!(rhythm.is_due(now));
        rhythm.gathered(now, now, true, false);
        rhythm.applied();
        assert_eq!((rhythm.is_due(now + 1000 * MS), rhythm.due()), (false, now + LIFE_SIGN_EVERY));
        // Nor is it put off by turns in which nothing has changed.
        rhythm.stir();
        rhythm.gathered(now + 3000 * MS, now + 3000 * MS, false, false);
        assert_eq!(rhythm.due(), now + LIFE_SIGN_EVERY);
        assert!(rhythm.is_due(now + LIFE_SIGN_EVERY) && rhythm.is_late(now + LIFE_SIGN_EVERY));
        rhythm.stir();
        assert_eq!(rhythm.due(), now + 3000 * MS + EVERY);
        assert!(!rhythm.is_due(now + 3004 * MS) && rhythm.is_due(now + 3005 * MS) && !rhythm.is_late(now + 3005 * MS));
    }

    #[test]
    fn marks_that_cost_much_are_seldom() {
        let now = Instant::now();
        let mut rhythm = Rhythm::new(now);
        rhythm.gathered(now, now + 2 * MS, true, true);
        rhythm.applied();
        assert_eq!(rhythm.due(), now + 42 * MS);
        assert!(!rhythm.is_due(now + 41 * MS) && rhythm.is_due(now + 42 * MS));
        // Also those that would tell nothing.
        rhythm.gathered(now, now + 500 * MS, true, true);
        rhythm.applied();
        assert!(!rhythm.is_due(now + 10_499 * MS) && rhythm.is_due(now + 10_500 * MS));
    }

    #[test]
    fn there_is_no_mark_before_the_last_is_applied_and_who_takes_too_long_for_that_is_given_up() {
        let now = Instant::now();
        let mut rhythm = Rhythm::new(now);
        rhythm.gathered(now, now, true, false);
        rhythm.stir();
        assert!(!rhythm.is_due(now + SILENCE_MAX));
        assert_eq!(rhythm.due(), now + SILENCE_MAX);
        assert!(!rhythm.is_overdue(now + SILENCE_MAX - MS) && rhythm.is_overdue(now + SILENCE_MAX));
        // As long as the channel takes something, it takes its time.
        rhythm.sent(now + 7000 * MS);
        assert!(!rhythm.is_overdue(now + SILENCE_MAX) && rhythm.is_overdue(now + SILENCE_MAX + 7000 * MS));
        rhythm.applied();
        rhythm.sent(now);
        assert!(rhythm.is_due(now + EVERY) && !rhythm.is_overdue(now + 2 * SILENCE_MAX));
    }
}
