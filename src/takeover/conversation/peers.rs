//! Peers of which only what a record says is left, on both sides.

use slab::Slab;

use crate::originals::Originals;
use crate::peer::backlog::Misplaced;
use crate::peer::record::{Change, Phase, Record};
use crate::peer::ties::Ties;
use crate::peer::{Address, Backlog};
use crate::service::{Entries, Keyed};

/// A peer of the predecessor.
#[derive(Debug)]
pub(crate) struct FakePeer {
    pub(crate) cookie: u64,
    pub(crate) session: Vec<u8>,
    pub(crate) inbound: Backlog,
    pub(crate) outbound: Backlog,
    deadline_ns: Option<u64>,
    changes: usize,
}

impl FakePeer {
    pub(crate) fn new(cookie: u64, session_bytes: usize) -> Self {
        let [inbound, outbound] = [Backlog::default(), Backlog::default()];
        Self { cookie, session: vec![0; session_bytes], inbound, outbound, deadline_ns: None, changes: 0 }
    }

    pub(crate) fn record(&self) -> Record<'_> {
        Record {
            cookie: self.cookie,
            address: ([127, 0, 0, 1], 1).into(),
            phase: if self.cookie.is_multiple_of(3) { Phase::Ended } else { Phase::Open },
            session: &self.session,
            secured: &[],
            inbound: self.inbound.stretch(),
            outbound: self.outbound.stretch(),
            parting: None,
            deadline_ns: self.deadline_ns,
            since_s: 0,
            ties: Ties::default(),
        }
    }

    /// Something happens to it. Says whether that changed the session.
    pub(crate) fn change(&mut self) -> bool {
        self.changes += 1;
        self.inbound.advance(self.inbound.len() / 2);
        self.inbound.push(&vec![7; self.changes % 5]);
        self.outbound.advance(self.outbound.len().min(3));
        self.outbound.push(&vec![9; self.changes % 4]);
        self.deadline_ns = (!self.changes.is_multiple_of(4)).then_some(self.changes as u64 * 1_000_000_000);
        let session_changed = !self.changes.is_multiple_of(3);
        if session_changed {
            let changes = u32::try_from(self.changes).unwrap();
            self.session[..4].copy_from_slice(&changes.to_be_bytes());
        }
        session_changed
    }
}

impl Originals for Slab<FakePeer> {
    fn record(&self, key: usize) -> Option<Record<'_>> {
        self.get(key).map(|peer| Record { session: &[], ..peer.record() })
    }

    fn save_session(&self, key: usize, saved: &mut Vec<u8>) {
        saved.extend_from_slice(&self[key].session);
    }

    /// One for each of some peers.
    fn timers(&self) -> Vec<(u32, u64)> {
        let timer = |peer: &FakePeer| (peer.changes as u32, peer.cookie);
        self.iter().filter(|(key, _)| key % 2 == 1).map(|(_, peer)| timer(peer)).collect()
    }
}

/// The entries that all peers share.
pub(crate) type Map = Keyed<u32, Vec<u8>>;

/// The peers with the entries that they share.
pub(crate) struct With<'o, P> {
    pub(crate) peers: &'o P,
    pub(crate) maps: &'o mut [Map],
}

impl<P: Originals> Originals for With<'_, P> {
    fn record(&self, key: usize) -> Option<Record<'_>> {
        self.peers.record(key)
    }

    fn save_session(&self, key: usize, saved: &mut Vec<u8>) {
        self.peers.save_session(key, saved);
    }

    fn timers(&self) -> Vec<(u32, u64)> {
        self.peers.timers()
    }

    fn entries(&mut self, map: usize) -> Option<&mut dyn Entries> {
        self.maps.get_mut(map).map(|map| map as &mut dyn Entries)
    }
}

/// A peer as the successor has it.
#[derive(Debug)]
pub(crate) struct Adopted {
    cookie: u64,
    address: Address,
    phase: Phase,
    session: Vec<u8>,
    inbound: Backlog,
    outbound: Backlog,
    deadline_ns: Option<u64>,
}

impl Adopted {
    pub(crate) fn of(record: &Record<'_>) -> Self {
        Self {
            cookie: record.cookie,
            address: record.address,
            phase: record.phase,
            session: record.session.to_vec(),
            inbound: Backlog::at(record.inbound.start, record.inbound.bytes),
            outbound: Backlog::at(record.outbound.start, record.outbound.bytes),
            deadline_ns: record.deadline_ns,
        }
    }

    pub(crate) fn record(&self) -> Record<'_> {
        Record {
            cookie: self.cookie,
            address: self.address,
            phase: self.phase,
            session: &self.session,
            secured: &[],
            inbound: self.inbound.stretch(),
            outbound: self.outbound.stretch(),
            parting: None,
            deadline_ns: self.deadline_ns,
            since_s: 0,
            ties: Ties::default(),
        }
    }

    pub(crate) fn follow(&mut self, change: &Change<'_>) -> Result<(), Misplaced> {
        self.inbound.shift(change.inbound)?;
        self.outbound.shift(change.outbound)?;
        self.phase = change.phase;
        self.deadline_ns = change.deadline_ns;
        if let Some(session) = change.session {
            self.session = session.to_vec();
        }
        Ok(())
    }
}
