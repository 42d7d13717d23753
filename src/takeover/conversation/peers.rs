//! Peers of which only what a record says is left, on both sides.

use slab::Slab;

use crate::originals::Originals;
use crate::peer::backlog::Misplaced;
use crate::peer::record::{Change, Phase, Record, SecuredChange, SecuredRecord};
use crate::peer::ties::Ties;
use crate::peer::{Address, Backlog};
use crate::service::{Entries, Keyed};

/// What the bytes of a peer go through: of a stream that seals, only the number of the next record is left.
#[derive(Debug, Default)]
pub(crate) struct FakeStream {
    facts: Vec<u8>,
    next: [u8; 8],
    partial: Backlog,
}

impl FakeStream {
    fn new(cookie: u64) -> Self {
        Self { facts: cookie.to_be_bytes().to_vec(), ..Self::default() }
    }

    /// The number of the record that it seals next.
    pub(crate) fn next(&self) -> u64 {
        u64::from_be_bytes(self.next)
    }

    /// It opens a record, or some of the next one comes; and it seals one.
    fn change(&mut self, changes: usize) {
        if changes.is_multiple_of(3) {
            self.partial.advance(self.partial.len());
        }
        self.partial.push(&vec![5; changes % 7]);
        self.next = (self.next() + 1).to_be_bytes();
    }

    /// Some more of a record has come, and nothing else.
    pub(crate) fn drip(&mut self, bytes: &[u8]) {
        self.partial.push(bytes);
    }

    /// What has come is a whole record.
    pub(crate) fn use_up(&mut self) {
        self.partial.advance(self.partial.len());
    }

    fn record(&self) -> SecuredRecord<'_> {
        SecuredRecord { facts: &self.facts, state: &self.next, partial: self.partial.stretch() }
    }

    fn of(record: &SecuredRecord<'_>) -> Self {
        let SecuredRecord { facts, state, partial } = *record;
        let next = state.try_into().expect("the state of a stream is a number");
        Self { facts: facts.to_vec(), next, partial: Backlog::at(partial.start, partial.bytes) }
    }

    /// Without the facts, where a frame was lost: the digest shows that.
    fn begin_to_follow(change: &SecuredChange<'_>) -> Self {
        let SecuredChange { facts, state, partial } = *change;
        Self::of(&SecuredRecord { facts: facts.unwrap_or_default(), state, partial: partial.appended })
    }

    fn follow(&mut self, change: &SecuredChange<'_>) -> Result<(), Misplaced> {
        self.next = change.state.try_into().expect("the state of a stream is a number");
        self.partial.shift(change.partial)
    }
}

/// A peer of the predecessor.
#[derive(Debug)]
pub(crate) struct FakePeer {
    pub(crate) cookie: u64,
    pub(crate) session: Vec<u8>,
    pub(crate) inbound: Backlog,
    pub(crate) outbound: Backlog,
    /// Every other one has a stream.
    pub(crate) stream: Option<FakeStream>,
    deadline_ns: Option<u64>,
    changes: usize,
}

impl FakePeer {
    pub(crate) fn new(cookie: u64, session_bytes: usize) -> Self {
        let [inbound, outbound] = [Backlog::default(), Backlog::default()];
        let stream = cookie.is_multiple_of(2).then(|| FakeStream::new(cookie));
        Self { cookie, session: vec![0; session_bytes], inbound, outbound, stream, deadline_ns: None, changes: 0 }
    }

    pub(crate) fn record(&self) -> Record<'_> {
        Record {
            cookie: self.cookie,
            address: ([127, 0, 0, 1], 1).into(),
            phase: if self.cookie.is_multiple_of(3) { Phase::Ended } else { Phase::Open },
            session: &self.session,
            secured: self.stream.as_ref().map(FakeStream::record),
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
        // Some come to have one only now.
        if self.cookie % 4 == 1 && self.changes == 2 {
            self.stream = Some(FakeStream::new(self.cookie));
        }
        if let Some(stream) = &mut self.stream {
            stream.change(self.changes);
        }
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
        let record = self.get(key)?.record();
        let secured =
            record.secured.map(|SecuredRecord { partial, .. }| SecuredRecord { partial, ..Default::default() });
        Some(Record { session: &[], secured, ..record })
    }

    fn save_session(&self, key: usize, saved: &mut Vec<u8>) {
        saved.extend_from_slice(&self[key].session);
    }

    fn save_secured(&self, key: usize, saved: &mut Vec<u8>) {
        self[key].stream.iter().for_each(|stream| saved.extend_from_slice(&stream.next));
    }

    fn save_facts(&self, key: usize, saved: &mut Vec<u8>) {
        self[key].stream.iter().for_each(|stream| saved.extend_from_slice(&stream.facts));
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

    fn save_secured(&self, key: usize, saved: &mut Vec<u8>) {
        self.peers.save_secured(key, saved);
    }

    fn save_facts(&self, key: usize, saved: &mut Vec<u8>) {
        self.peers.save_facts(key, saved);
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
    pub(crate) stream: Option<FakeStream>,
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
            stream: record.secured.as_ref().map(FakeStream::of),
            deadline_ns: record.deadline_ns,
        }
    }

    pub(crate) fn record(&self) -> Record<'_> {
        Record {
            cookie: self.cookie,
            address: self.address,
            phase: self.phase,
            session: &self.session,
            secured: self.stream.as_ref().map(FakeStream::record),
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
        match (&mut self.stream, &change.secured) {
            (Some(stream), Some(change)) => stream.follow(change)?,
            (stream @ None, Some(change)) => *stream = Some(FakeStream::begin_to_follow(change)),
            (None, None) => {}
            (Some(_), None) => panic!("who has a stream keeps it"),
        }
        self.phase = change.phase;
        self.deadline_ns = change.deadline_ns;
        if let Some(session) = change.session {
            self.session = session.to_vec();
        }
        Ok(())
    }
}
