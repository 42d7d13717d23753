//! When the standby is told to apply what is in the journal. Pure; instants are passed in.

use std::time::{Duration, Instant};

use crate::mapping::JOURNAL_BYTES;

/// Not more often than this, unless there is much: what is in the journal the standby finds there in any case, and each mark costs
/// both processes some microseconds.
const EVERY: Duration = Duration::from_millis(5);

/// So much in the journal is much.
const MUCH_BYTES: u64 = JOURNAL_BYTES as u64 / 8;

/// How long it may be to the next one where nothing happens, so that a standby that does not follow any more is missed.
const LIFE_SIGN_EVERY: Duration = Duration::from_secs(5);

/// How long a standby may take to apply what it was told.
pub(super) const SILENCE_MAX: Duration = Duration::from_secs(10);

/// When there is another mark.
#[derive(Debug)]
pub(super) struct Rhythm {
    /// There is none before, unless there is much to tell.
    not_before: Instant,
    /// There is one then, whatever happens.
    at_the_latest: Instant,
    /// Since when the standby has something to apply, if it has.
    awaited_since: Option<Instant>,
}

impl Rhythm {
    pub(super) fn new(now: Instant) -> Self {
        Self { not_before: now, at_the_latest: now, awaited_since: None }
    }

    /// Whether it is time for a mark, where so many bytes are in the journal that it would tell of.
    pub(super) fn is_due(&self, untold: u64, now: Instant) -> bool {
        self.awaited_since.is_none() && now >= self.next(untold)
    }

    fn next(&self, untold: u64) -> Instant {
        match untold {
            0 => self.at_the_latest,
            MUCH_BYTES.. => self.not_before - EVERY,
            _ => self.not_before.min(self.at_the_latest),
        }
    }

    /// There is one now.
    pub(super) fn marked(&mut self, now: Instant) {
        self.not_before = now + EVERY;
        self.at_the_latest = now + LIFE_SIGN_EVERY;
        self.awaited_since = Some(now);
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
    pub(super) fn due(&self, untold: u64) -> Instant {
        self.overdue_at().unwrap_or_else(|| self.next(untold))
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
        assert!(rhythm.is_due(0, now));
        rhythm.marked(now);
        rhythm.applied();
        assert_eq!((rhythm.is_due(0, now + 1000 * MS), rhythm.due(0)), (false, now + LIFE_SIGN_EVERY));
        assert!(rhythm.is_due(0, now + LIFE_SIGN_EVERY));
        assert_eq!(rhythm.due(1), now + EVERY);
        assert!(!rhythm.is_due(1, now + 4 * MS) && rhythm.is_due(1, now + 5 * MS));
        assert!(rhythm.is_due(MUCH_BYTES, now));
    }

    #[test]
    fn there_is_no_mark_before_the_last_is_applied_and_who_takes_too_long_for_that_is_given_up() {
        let now = Instant::now();
        let mut rhythm = Rhythm::new(now);
        rhythm.marked(now);
        assert!(!rhythm.is_due(MUCH_BYTES, now + SILENCE_MAX));
        assert_eq!(rhythm.due(1), now + SILENCE_MAX);
        assert!(!rhythm.is_overdue(now + SILENCE_MAX - MS) && rhythm.is_overdue(now + SILENCE_MAX));
        // As long as the channel takes something, it takes its time.
        rhythm.sent(now + 7000 * MS);
        assert!(!rhythm.is_overdue(now + SILENCE_MAX) && rhythm.is_overdue(now + SILENCE_MAX + 7000 * MS));
        rhythm.applied();
        rhythm.sent(now);
        assert!(rhythm.is_due(1, now + EVERY) && !rhythm.is_overdue(now + 2 * SILENCE_MAX));
    }
}
