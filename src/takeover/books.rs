//! The predecessor's books of all lanes: one [`Mirror`] each, read as one. Pure.
//!
//! A round is one of all lanes, and so are the number of peers and the digest with which the takeover ends.

use super::mirror::{Batch, Mirror};
use super::pace::{Load, Pending};
use crate::originals::Originals;

/// What the successor knows of all lanes. Those whose peers they are about are always given in the order of their numbers.
#[derive(Debug)]
pub(crate) struct Books(Vec<Mirror>);

impl Books {
    /// Empty books. All peers have keys below those of their lane in `keys_end`.
    pub(crate) fn new(keys_end: &[usize]) -> Self {
        let lanes = (0..).zip(keys_end);
        Self(lanes.map(|(lane, &keys_end)| Mirror::new(lane, keys_end)).collect())
    }

    /// The book of the lane with this number.
    pub(crate) fn of_lane(&mut self, number: usize) -> &mut Mirror {
        &mut self.0[number]
    }

    /// How many peers the successor knows.
    pub(crate) fn peers(&self) -> u64 {
        self.0.iter().map(Mirror::peers).sum()
    }

    /// The same of the first so many lanes.
    pub(crate) fn peers_of(&self, lanes: usize) -> u64 {
        self.0.iter().take(lanes).map(Mirror::peers).sum()
    }

    /// How many peers the successor holds: those that it knows, and those that are gone and that it has not been told of.
    pub(crate) fn held(&self) -> u64 {
        self.0.iter().map(Mirror::held).sum()
    }

    /// The sum of the digests of all records that the successor knows.
    pub(crate) fn digest(&self) -> u64 {
        self.0.iter().map(Mirror::digest).fold(0, u64::wrapping_add)
    }

    /// How many peers the successor does not know as they are, leaving out those that the walks will find.
    pub(crate) fn pending(&self) -> usize {
        self.0.iter().map(Mirror::pending).sum()
    }

    /// What all that is in about as many bytes as it will take in frames, and who has the most of it.
    pub(crate) fn load(&self, originals: &[&mut dyn Originals]) -> Load {
        let loads = self.0.iter().zip(originals).map(|(mirror, originals)| mirror.load(&**originals));
        let nothing = Load { pending: Pending { peers: 0, entries: 0, bytes: 0 }, most: None };
        loads.fold(nothing, |sum, load| Load {
            pending: Pending {
                peers: sum.pending.peers + load.pending.peers,
                bytes: sum.pending.bytes + load.pending.bytes,
                ..sum.pending
            },
            most: sum.most.into_iter().chain(load.most).max_by_key(|(_, bytes)| *bytes),
        })
    }

    /// The cookies of those, of all lanes, of whom it is only to be told that all is written: see [`Mirror::take_flushed`].
    pub(crate) fn take_flushed(&mut self) -> Vec<u64> {
        self.0.iter_mut().flat_map(Mirror::take_flushed).collect()
    }

    /// Has those that are gone told of next, and not in the next round. False if there are none.
    pub(crate) fn tell_closed(&mut self) -> bool {
        // All of them, and not only up to the first that has some.
        self.0.iter_mut().filter_map(|mirror| mirror.tell_closed().then_some(())).count() > 0
    }

    /// Everything that is pending now belongs to the round that begins.
    pub(crate) fn begin_round(&mut self) {
        self.0.iter_mut().for_each(Mirror::begin_round);
    }

    /// What to send next in this round, or `None` at its end. Each batch is followed by [`Books::sent`] or
    /// [`Books::unsent`] before anything else happens to the books.
    pub(crate) fn next_batch(&mut self, originals: &[&mut dyn Originals]) -> Option<Batch> {
        let closed = self.0.iter_mut().find_map(Mirror::next_closed);
        closed.or_else(|| {
            self.0.iter_mut().zip(originals).find_map(|(mirror, originals)| mirror.next_batch(&**originals))
        })
    }

    /// The batch is in the channel.
    pub(crate) fn sent(&mut self, batch: Batch) {
        self.of_lane(batch.lane()).sent(batch);
    }

    /// The channel did not take the batch: it is as if it had never been.
    pub(crate) fn unsent(&mut self, batch: Batch) {
        self.of_lane(batch.lane()).unsent(batch);
    }
}
