//! The wall clock, which is looked at once.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// What the wall clock shows at an instant.
#[derive(Debug)]
pub(crate) struct Clock {
    begun: Instant,
    begun_ms: u64,
}

impl Clock {
    pub(crate) fn new() -> Self {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { begun: Instant::now(), begun_ms: since_1970.as_millis() as u64 }
    }

    /// In milliseconds since 1970.
    pub(crate) fn ms(&self, now: Instant) -> u64 {
        self.begun_ms + now.saturating_duration_since(self.begun).as_millis() as u64
    }
}
