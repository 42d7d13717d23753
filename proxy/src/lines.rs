//! Log lines that clients and servers can cause as many of as they like: some of each kind in a second, and then how many
//! more there would have been.

use std::fmt;
use std::time::Instant;

use log::warn;
use reactord_process::limited::Limit;

/// What a line is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    /// A client that is let go without a server.
    Refused,
    /// A connection to a server that cannot be opened.
    Unreachable,
    /// Connections that this machine has no room for.
    Shortage,
}

const KINDS: [(About, &str); 3] = [
    (About::Refused, "clients that are refused"),
    (About::Unreachable, "servers that cannot be reached"),
    (About::Shortage, "connections that there is no room for"),
];

/// The limits of all kinds.
#[derive(Debug, Default)]
pub struct Lines([Limit; KINDS.len()]);

impl Lines {
    /// Writes a warning, unless there are too many.
    pub fn warn(&mut self, about: About, now: Instant, line: fmt::Arguments<'_>) {
        if self.0[about as usize].admits(now) {
            warn!("{line}");
        }
    }

    /// When there will be something to say of lines that were left out, if there will.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        self.0.iter().filter_map(Limit::due).min()
    }

    /// Says how many were left out in seconds that are over.
    pub fn say_left_out(&mut self, now: Instant) {
        for (limit, (_, what)) in self.0.iter_mut().zip(KINDS) {
            if let Some(lines) = limit.left_out(now) {
                warn!("{lines} more lines about {what} left out within a second");
            }
        }
    }
}
