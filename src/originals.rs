//! What somebody who copies peers, and what they share, asks of those who own them, whatever service they are served by.

use crate::peer::record::Record;
use crate::service::Entries;

/// The peers of a lane, as they are now.
pub(crate) trait Originals {
    /// The peer at `key`, without its session, and without the state of what its bytes go through. `None` if nobody is there.
    fn record(&self, key: usize) -> Option<Record<'_>>;

    /// Appends the session of the peer at `key`.
    ///
    /// # Panics
    /// If nobody is there.
    fn save_session(&self, key: usize, saved: &mut Vec<u8>);

    /// Appends the state of what the bytes of the peer at `key` go through, if they are not written and read as they are.
    ///
    /// # Panics
    /// If nobody is there.
    fn save_secured(&self, key: usize, saved: &mut Vec<u8>);

    /// Appends what was agreed on when that began.
    ///
    /// # Panics
    /// If nobody is there.
    fn save_facts(&self, key: usize, saved: &mut Vec<u8>);

    /// Whether what is saved of each of them is secret.
    fn are_secret(&self) -> bool {
        false
    }

    /// The timers of the service, each with its instant: `CLOCK_MONOTONIC`, ns.
    fn timers(&self) -> Vec<(u32, u64)> {
        Vec::new()
    }

    /// The map with this number of the entries that all peers share. `None` if there are not so many.
    fn entries(&mut self, map: usize) -> Option<&mut dyn Entries> {
        let _ = map;
        None
    }
}
