//! When a worker that died is replaced: at once if it had proven itself, and ever later the more have failed.

use std::time::{Duration, Instant};

use super::record::{BackOffRecord, instant_at, milliseconds_to};

/// The delay after the first failure. It doubles with each further one, so that the fifth start comes after 1.5 s, and
/// the sixth after 3.1 s.
const DELAY_MIN: Duration = Duration::from_millis(100);

/// One start a minute is what a worker costs that cannot start.
const DELAY_MAX: Duration = Duration::from_secs(60);

/// A worker that dies after it has served so long was no failure to start.
pub(crate) const PROVEN: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct BackOff {
    /// In a row.
    failures: u32,
    /// The last one.
    failed_at: Option<Instant>,
}

impl BackOff {
    /// When the next worker may be started, if one has died.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.failed_at.map(|failed_at| failed_at + self.delay())
    }

    /// Whether it is to be seen first whether a worker can be started at all.
    pub(crate) fn is_in_doubt(&self) -> bool {
        self.failures > 0
    }

    /// Whether a worker that was started then shows what comes after the last failure.
    pub(crate) fn is_after(&self, started: Instant) -> bool {
        self.failed_at.is_none_or(|failed_at| started >= failed_at)
    }

    /// A worker has died that was started then, and has served since then.
    pub(crate) fn note(&mut self, started: Instant, serving_since: Option<Instant>, now: Instant) {
        // Those that die together are one failure. After a failure the next is started later than that.
        let together = |failed_at| started < failed_at || (started == failed_at && self.failures > 0);
        if self.failed_at.is_some_and(together) {
            return;
        }
        let proven = serving_since.is_some_and(|since| now - since >= PROVEN);
        self.failures = if proven { 0 } else { self.failures.saturating_add(1) };
        self.failed_at = Some(now);
    }

    fn delay(&self) -> Duration {
        match self.failures {
            0 => Duration::ZERO,
            // 2^10 times the first delay is over the last one.
            failures => (DELAY_MIN * 2u32.pow((failures - 1).min(10))).min(DELAY_MAX),
        }
    }

    pub(crate) fn record(&self, now: Instant) -> BackOffRecord {
        let failed_at_ms = self.failed_at.map(|failed_at| milliseconds_to(failed_at, now));
        BackOffRecord { failures: self.failures, failed_at_ms }
    }

    pub(crate) fn from_record(record: &BackOffRecord, now: Instant) -> Self {
        let failed_at = record.failed_at_ms.map(|failed_at_ms| instant_at(failed_at_ms, now));
        Self { failures: record.failures, failed_at }
    }
}
