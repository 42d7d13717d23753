//! How many log lines others can cause: some in a second, and then how many more there would have been.

use std::time::{Duration, Instant};

/// Enough to see what kind of trouble it is and who makes it, and at most some megabytes an hour.
pub const LINES_PER_SECOND: u64 = 10;

/// For which so many lines are written.
pub const SECOND: Duration = Duration::from_secs(1);

/// The limit of lines of one kind.
#[derive(Debug, Default)]
pub struct Limit {
    /// When the second began that is counted now: with the first line after the one before.
    since: Option<Instant>,
    /// How many there were in it, written or not.
    lines: u64,
}

impl Limit {
    /// Whether a line may be written. One that may not is counted.
    pub fn admits(&mut self, now: Instant) -> bool {
        // What nobody has asked for in the meantime goes on being counted, so that it is said once somebody does.
        if self.since.is_none_or(|since| self.excess() == 0 && now.saturating_duration_since(since) >= SECOND) {
            *self = Self { since: Some(now), lines: 0 };
        }
        self.lines += 1;
        self.excess() == 0
    }

    /// When there will be something to say in [`Self::left_out`], if there will.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        self.since.filter(|_| self.excess() > 0).map(|since| since + SECOND)
    }

    /// How many were not written, when their second is over.
    pub fn left_out(&mut self, now: Instant) -> Option<u64> {
        self.due().filter(|due| now >= *due)?;
        let lines = self.excess();
        *self = Self::default();
        Some(lines)
    }

    fn excess(&self) -> u64 {
        self.lines.saturating_sub(LINES_PER_SECOND)
    }
}
