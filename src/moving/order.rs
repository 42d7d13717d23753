//! What is to be moved: some peers, chosen as the table is walked, so that it takes no time to say so.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::time::Instant;

use reactord_process::channel::Channel;
use reactord_process::words::Fraction;

use super::batch::PEERS_PER_BATCH;
use crate::lanes::Lanes;
use crate::table::{PeerHandle, Table};
use crate::takeover::wire::{Moved, Which};

/// So many keys are passed in one turn of the loop: most of them have nobody where many peers have left.
const KEYS_PER_TURN: usize = 4096;

/// Who wants to know what came of it.
#[derive(Debug)]
pub(super) enum Asker {
    Caller(Channel),
    /// The supervisor that this process works for.
    Supervisor,
}

/// Some peers that are to go to a taker.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) asker: Asker,
    /// The key of the taker.
    pub(super) taker: usize,
    /// What is known of it by now.
    pub(super) moved: Moved,
    pub(super) began: Instant,
    /// How many are left to be chosen, if that is a number.
    left: u64,
    /// Where they connect from, if that is what they are chosen by: those who have not been found.
    from: Option<BTreeSet<String>>,
    /// How many are asked for depends on how many there are.
    is_relative: bool,
    lane: usize,
    key: usize,
}

/// Who is next.
pub(super) enum Next {
    /// These, of the lane with this number.
    Batch(usize, Vec<PeerHandle>),
    /// Others first: there are more keys to look at.
    Later,
    /// Nobody is left.
    Nobody,
}

impl Order {
    pub(super) fn new<L: Lanes>(which: &Which, asker: Asker, taker: usize, lanes: &L, now: Instant) -> Self {
        let peers: u64 = lanes.all().filter(|lane| lane.is_movable()).map(|lane| lane.peers() as u64).sum();
        let (left, from) = match which {
            // Whoever comes meanwhile takes nobody's place.
            Which::All => (u64::MAX, None),
            Which::Count(count) => (*count, None),
            Which::Share(parts, of) => (share(peers, *parts, *of), None),
            Which::From(addresses) => {
                let addresses: BTreeSet<String> = addresses.iter().cloned().collect();
                (addresses.len() as u64, Some(addresses))
            }
        };
        let asked = if *which == Which::All { peers } else { left };
        let moved = Moved { asked, giver_pid: std::process::id(), ..Moved::default() };
        let is_relative = matches!(which, Which::All | Which::Share(..));
        Self { asker, taker, moved, began: now, left, from, is_relative, lane: 0, key: 0 }
    }

    /// Whom to move next. Whoever is tied to one of them comes along.
    pub(super) fn next<L: Lanes>(&mut self, lanes: &L) -> Next {
        let mut batch: Vec<PeerHandle> = Vec::new();
        for _ in 0..KEYS_PER_TURN {
            if self.lane == L::COUNT || self.left == 0 {
                break;
            }
            let lane = lanes.lane(self.lane);
            if !lane.is_movable() || self.key >= lane.table().peers().keys_end() {
                if !batch.is_empty() {
                    break;
                }
                (self.lane, self.key) = (self.lane + 1, 0);
                continue;
            }
            let handle = lane.table().peers().handle_at(self.key);
            self.key += 1;
            let Some(handle) = handle.filter(|handle| !batch.contains(handle)) else { continue };
            batch.extend(self.choose(handle, lane.table()));
            if batch.len() >= PEERS_PER_BATCH {
                break;
            }
        }
        match batch.is_empty() {
            false => Next::Batch(self.lane, batch),
            true if self.lane == L::COUNT || self.left == 0 => Next::Nobody,
            true => Next::Later,
        }
    }

    /// A peer with all who go along with it. Nobody, if it is not meant, or one of them ends with this process.
    fn choose(&mut self, handle: PeerHandle, table: &Table) -> Vec<PeerHandle> {
        if self.from.as_ref().is_some_and(|from| !from.contains(&address(handle, table))) {
            return Vec::new();
        }
        let together = table.tied_together(handle);
        if table.stays(&together) {
            return Vec::new();
        }
        match self.from {
            None => self.left = self.left.saturating_sub(together.len() as u64),
            Some(_) => self.have_found(together.iter().copied(), table),
        }
        together
    }

    /// These need not be looked for any more, if they were. Whoever only goes along was not.
    pub(super) fn have_found(&mut self, handles: impl Iterator<Item = PeerHandle>, table: &Table) {
        if let Some(from) = &mut self.from {
            handles.map(|handle| address(handle, table)).for_each(|address| {
                from.remove(&address);
            });
            self.left = from.len() as u64;
        }
    }

    /// So many of a batch have moved. Those who had left by then are none of the number that was asked for: others are chosen.
    pub(super) fn have_moved(&mut self, peers: u64) {
        self.moved.moved += peers;
        if self.from.is_none() && self.left < u64::MAX {
            self.left = self.moved.asked.saturating_sub(self.moved.moved);
        }
    }

    /// All who could be moved are. Says so, and why that is fewer than were asked for.
    pub(super) fn conclude(&mut self) {
        if self.is_relative {
            // Those who have left meanwhile are not missing.
            self.moved.asked = self.moved.moved;
        }
        let missing = self.moved.asked.saturating_sub(self.moved.moved);
        // Whoever is tied to one of them comes along.
        self.moved.asked = self.moved.asked.max(self.moved.moved);
        let unknown = self.from.iter().flatten().next();
        self.moved.why = match (missing, unknown) {
            (_, Some(address)) => Some(format!("no peer connects from {address}")),
            (0, None) => None,
            (1, None) => Some("there was 1 peer too few".to_owned()),
            (missing, None) => Some(format!("there were {missing} peers too few")),
        };
    }
}

/// Where a peer connects from.
///
/// # Panics
/// If it has left.
fn address(handle: PeerHandle, table: &Table) -> String {
    table.peers().get(handle.key()).expect("it was chosen from the table").address().to_string()
}

/// So many parts of so many, rounded; never more than all.
fn share(peers: u64, parts: u32, of: u32) -> u64 {
    let part = Fraction::new(parts.min(of), NonZeroU32::new(of).unwrap_or(NonZeroU32::MIN));
    part.expect("it is no more than all").of(peers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_rounded_and_never_more_than_all() {
        for (peers, parts, of, expected) in [
            (10, 1, 3, 3),
            (10, 2, 3, 7),
            (10, 1, 1, 10),
            (10, 5, 1, 10),
            (0, 1, 2, 0),
            (u64::MAX, 1, 1, u64::MAX),
            (7, 1, 0, 0),
        ] {
            assert_eq!(share(peers, parts, of), expected, "{parts}/{of} of {peers}");
        }
    }
}
