//! How many log lines others can cause: some in a second, and then how many more there would have been.

use std::time::{Duration, Instant};

/// Enough to see what kind of trouble it is and who makes it, and at most some megabytes an hour.
pub const LINES_PER_SECOND: u64 = 10;

/// For which so many lines are written.
pub const SECOND: Duration = Duration::from_secs(1);

/// The limit of lines of one kind.
#[derive(Debug)]
pub struct Limit {
    /// How many there may be in a second.
    lines_max: u64,
    /// When the second began that is counted now: with the first line after the one before.
    since: Option<Instant>,
    /// How many there were in it, written or not.
    lines: u64,
}

impl Default for Limit {
    /// One of [`LINES_PER_SECOND`].
    fn default() -> Self {
        Self::of(LINES_PER_SECOND)
    }
}

impl Limit {
    /// One of so many lines in a second.
    #[must_use]
    pub fn of(lines_max: u64) -> Self {
        Self { lines_max, since: None, lines: 0 }
    }

    /// Whether a line may be written. One that may not is counted.
    pub fn admits(&mut self, now: Instant) -> bool {
        // What nobody has asked for in the meantime goes on being counted, so that it is said once somebody does.
        if self.since.is_none_or(|since| self.excess() == 0 && now.saturating_duration_since(since) >= SECOND) {
            *self = Self { since: Some(now), ..Self::of(self.lines_max) };
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
        *self = Self::of(self.lines_max);
        Some(lines)
    }

    fn excess(&self) -> u64 {
        self.lines.saturating_sub(self.lines_max)
    }
}
