//! How many files a configuration needs open at once, and whether a process may have so many.

use std::error::Error;
use std::fmt;

use crate::config::model::Config;
use crate::names::AT_ONCE;

/// What a process has open besides connections, listeners and checks: the standard streams, its log, what it waits with, the
/// path on which it is asked and those who ask, a takeover under way, and the one that resolves names.
const OTHERS: u64 = 64;

/// A process may not have open what its configuration may need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooFewFiles {
    /// How many connections the listeners may have together.
    pub connections: u64,
    /// How many files those and everything else need.
    pub needed: u64,
    /// How many the process may have open.
    pub allowed: u64,
}

impl Config {
    /// How many files it needs open at once, if each listener has as many connections as it may, with a connection to a
    /// server for each. `None` if there is a listener without a limit.
    #[must_use]
    pub fn open_files(&self) -> Option<u64> {
        Some(2 * self.connections_max()? + self.open_files_besides())
    }

    /// How many connections there can be at once, if the process may have so many files open.
    #[must_use]
    pub fn connections_within(&self, files_allowed: u64) -> u64 {
        files_allowed.saturating_sub(self.open_files_besides()) / 2
    }

    /// Whether a process that may have so many files open can have all the connections that the listeners may have.
    ///
    /// # Errors
    /// If not. A listener without a limit has what there is room for, so it always can.
    pub fn check_open_files(&self, allowed: u64) -> Result<(), TooFewFiles> {
        match (self.connections_max(), self.open_files()) {
            (Some(connections), Some(needed)) if needed > allowed => Err(TooFewFiles { connections, needed, allowed }),
            _ => Ok(()),
        }
    }

    fn connections_max(&self) -> Option<u64> {
        self.listeners.iter().map(|listener| listener.max_connections.map(u64::from)).sum()
    }

    fn open_files_besides(&self) -> u64 {
        let binds = self.listeners.iter().map(|listener| listener.bind.len()).sum::<usize>() + 1;
        let checked = self.upstreams.iter().filter(|upstream| upstream.check.is_some());
        let checks: usize = checked.map(|upstream| upstream.servers.len()).sum();
        // Some are still being resolved when a takeover begins.
        let lookups = self.names().count().min(AT_ONCE);
        OTHERS + u64::try_from(binds + checks + lookups).expect("64 bits are enough for what is in memory")
    }
}

impl fmt::Display for TooFewFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { connections, needed, allowed } = self;
        write!(
            f,
            "max_connections of all listeners, {connections}, need {needed} open files; the process may have {allowed}"
        )
    }
}

impl Error for TooFewFiles {}
