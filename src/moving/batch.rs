//! Peers that change their owner in one step: what the giver's book of a takeover is kept of, for a few instead of all.

use std::os::fd::BorrowedFd;

use rustc_hash::FxHashMap;

use crate::lane::AnyLane;
use crate::originals::Originals;
use crate::peer::Peer;
use crate::peer::record::Record;
use crate::table::{PeerHandle, Touch};

/// How many peers move at once, unless more are tied together. Each takes the taker about 1 us when it has accepted, before the
/// last is served: with this few, none stands still for longer than in a takeover, and hardly anybody waits for anybody.
pub(super) const PEERS_PER_BATCH: usize = 16;

/// Some peers of a lane. In the conversation with the taker they go by their places here, as in a table of their own.
#[derive(Debug)]
pub(super) struct Batch {
    lane: usize,
    /// The taker can go on with those who speak TLS, and both sides look after their secrets.
    has_secrets: bool,
    /// `None` for who has left since.
    peers: Vec<Option<PeerHandle>>,
    places: FxHashMap<usize, usize>,
}

impl Batch {
    /// Some of whom speak TLS if it `has_secrets`.
    pub(super) fn of(lane: usize, peers: Vec<PeerHandle>, has_secrets: bool) -> Self {
        let places = peers.iter().enumerate().map(|(place, handle)| (handle.key(), place)).collect();
        Self { lane, has_secrets, peers: peers.into_iter().map(Some).collect(), places }
    }

    /// The number of the lane.
    pub(super) fn lane(&self) -> usize {
        self.lane
    }

    /// Whether somebody could be taken along, as far as its secrets go.
    pub(super) fn has_room_for(&self, peer: &Peer) -> bool {
        self.has_secrets || !peer.speaks_tls_once_it_stands()
    }

    /// How many places there are.
    pub(super) fn places(&self) -> usize {
        self.peers.len()
    }

    /// Those who have not left.
    pub(super) fn handles(&self) -> impl Iterator<Item = PeerHandle> {
        self.peers.iter().flatten().copied()
    }

    /// Takes along somebody who was tied to one of these. Its place is the last.
    pub(super) fn take_along(&mut self, handle: PeerHandle) -> usize {
        let place = self.peers.len();
        self.places.insert(handle.key(), place);
        self.peers.push(Some(handle));
        place
    }

    /// A peer does not go after all. Returns its place, if it had one.
    pub(super) fn leave_behind(&mut self, handle: PeerHandle) -> Option<usize> {
        let place = self.places.remove(&handle.key())?;
        self.peers[place] = None;
        Some(place)
    }

    /// Whether a peer is one of these.
    pub(super) fn has(&self, handle: PeerHandle) -> bool {
        self.places.get(&handle.key()).is_some_and(|place| self.peers[*place] == Some(handle))
    }

    /// What has happened in the lane, as far as it has happened to one of these. Whoever has left is not here any more.
    pub(super) fn note(&mut self, touches: Vec<Touch>) -> Vec<Touch> {
        touches.into_iter().filter_map(|touch| self.note_one(touch)).collect()
    }

    fn note_one(&mut self, touch: Touch) -> Option<Touch> {
        match touch {
            Touch::Changed { key, session } => Some(Touch::Changed { key: *self.places.get(&key)?, session }),
            Touch::Flushed { key, id } => Some(Touch::Flushed { key: *self.places.get(&key)?, id }),
            Touch::Gone { key, id } => {
                let place = self.places.remove(&key)?;
                self.peers[place] = None;
                Some(Touch::Gone { key: place, id })
            }
        }
    }

    /// These peers, for whoever copies them.
    pub(super) fn originals<'b>(&'b self, lane: &'b dyn AnyLane) -> OfBatch<'b> {
        OfBatch { lane, batch: self }
    }

    /// The descriptors of the peers at these places.
    ///
    /// # Panics
    /// If somebody there has left.
    pub(super) fn descriptors<'l>(
        &self,
        lane: &'l dyn AnyLane,
        places: impl Iterator<Item = usize>,
    ) -> Vec<BorrowedFd<'l>> {
        let key = |place: usize| self.peers[place].expect("its record was written in this turn").key();
        lane.descriptors(&mut places.map(key))
    }
}

/// The peers of a batch as they are now.
pub(super) struct OfBatch<'b> {
    lane: &'b dyn AnyLane,
    batch: &'b Batch,
}

impl OfBatch<'_> {
    fn key(&self, place: usize) -> Option<usize> {
        self.batch.peers.get(place).copied().flatten().map(PeerHandle::key)
    }
}

impl Originals for OfBatch<'_> {
    fn record(&self, place: usize) -> Option<Record<'_>> {
        self.lane.record(self.key(place)?)
    }

    fn save_session(&self, place: usize, saved: &mut Vec<u8>) {
        self.lane.save_session(self.key(place).expect("somebody is there, whose record was asked for"), saved);
    }

    fn save_secured(&self, place: usize, saved: &mut Vec<u8>) {
        self.lane.save_secured(self.key(place).expect("somebody is there, whose record was asked for"), saved);
    }

    fn save_facts(&self, place: usize, saved: &mut Vec<u8>) {
        self.lane.save_facts(self.key(place).expect("somebody is there, whose record was asked for"), saved);
    }
}
