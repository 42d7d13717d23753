//! The predecessor's book of the shared state by keys that its successor knows. Pure.
//!
//! A service has any number of maps of entries, and knows itself what of them is to be sent next. It writes that as a
//! piece, which is cut into parts of a frame each: an entry may be larger than any frame. What the channel does not take is
//! kept, so the service is never asked for anything twice.

use super::pace::Pending;
use super::wire::{Entries as Part, EntriesSent, Frame};
use crate::originals::Originals;
use crate::recipient::Recipient;
use crate::service::{Entries, MAPS_MAX};

/// A piece ends when it is as large as this, so that to write it delays nobody for long; and so does a part.
const PIECE_BYTES: usize = 64 * 1024;

/// What was sent, and what has been written to be sent.
#[derive(Debug)]
pub(crate) struct Pieces {
    to: Recipient,
    /// Whether the maps have been told that they are copied.
    begun: bool,
    round: Round,
    /// The lane, and the map of its entries, that the piece is of.
    lane: usize,
    map: usize,
    piece: Vec<u8>,
    /// How many bytes of the piece the channel has taken.
    piece_sent: usize,
    sent: EntriesSent,
}

/// How much is left to send in this round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Round {
    /// Whatever is pending when its turn comes.
    #[default]
    Begins,
    /// So many entries. What changes meanwhile is for the next round, for there must be an end.
    Entries(usize),
    /// All: nothing changes any more.
    Frozen,
}

/// A part of a piece, and the frame with it.
#[must_use]
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) frame: Vec<u8>,
    bytes: usize,
    digest: u32,
}

impl Pieces {
    /// For a recipient that knows nothing.
    pub(crate) fn new(to: Recipient) -> Self {
        Self {
            to,
            begun: false,
            round: Round::default(),
            lane: 0,
            map: 0,
            piece: Vec::new(),
            piece_sent: 0,
            sent: EntriesSent::default(),
        }
    }

    /// Who is told.
    pub(crate) fn to(&self) -> Recipient {
        self.to
    }

    /// What is pending from here on belongs to the round that begins.
    pub(crate) fn begin_round(&mut self) {
        (self.round, self.lane, self.map) = (Round::Begins, 0, 0);
    }

    /// Nothing changes any more, and all of it is to be sent.
    pub(crate) fn freeze(&mut self) {
        (self.round, self.lane, self.map) = (Round::Frozen, 0, 0);
    }

    /// What was sent up to now.
    pub(crate) fn sent_up_to_now(&self) -> EntriesSent {
        self.sent
    }

    /// How many entries the successor does not know.
    pub(crate) fn pending(&mut self, originals: &mut [&mut dyn Originals]) -> usize {
        self.begin(originals);
        usize::from(self.piece_sent < self.piece.len()) + sum_of_maps(originals, |entries| entries.pending(self.to))
    }

    /// The same with their bytes.
    pub(crate) fn load(&mut self, originals: &mut [&mut dyn Originals]) -> Pending {
        let entries = self.pending(originals);
        let rest = self.piece.len() - self.piece_sent;
        Pending { peers: 0, entries, bytes: rest + sum_of_maps(originals, |entries| entries.pending_bytes(self.to)) }
    }

    /// What to send next in this round, or `None` at its end. What is not [sent](Self::sent) is next again.
    ///
    /// # Panics
    /// If the service does, or if it is not as [`Entries`](crate::service::Entries) says.
    pub(crate) fn next(&mut self, originals: &mut [&mut dyn Originals]) -> Option<Written> {
        self.begin(originals);
        if self.piece_sent == self.piece.len() {
            self.write(originals)?;
        }
        let rest = &self.piece[self.piece_sent..];
        let part = &rest[..rest.len().min(PIECE_BYTES)];
        let [lane, map] = [self.lane, self.map].map(|number| u32::try_from(number).expect("there are few"));
        let part = Part { part, lane, map, last: part.len() == rest.len() };
        let (bytes, digest) = (part.part.len(), part.digest());
        Some(Written { frame: Frame::Entries(part).encode(), bytes, digest })
    }

    /// The channel has taken it.
    pub(crate) fn sent(&mut self, written: &Written) {
        self.piece_sent += written.bytes;
        self.sent.note(written.bytes, written.digest);
    }

    /// Tells the maps that a copy begins, unless they have been told.
    fn begin(&mut self, originals: &mut [&mut dyn Originals]) {
        if std::mem::replace(&mut self.begun, true) {
            return;
        }
        for lane in originals {
            let begin = |map: &usize| lane.entries(*map).map(|entries| entries.begin_copy(self.to)).is_some();
            let maps = (0..MAPS_MAX).take_while(begin).count();
            let more = maps == MAPS_MAX && lane.entries(maps).is_some();
            assert!(!more, "the service has over {MAPS_MAX} maps of entries");
        }
    }

    /// Writes the next piece of this round, if there is one.
    fn write(&mut self, originals: &mut [&mut dyn Originals]) -> Option<()> {
        if self.round == Round::Begins {
            self.round = Round::Entries(self.pending(originals));
        }
        (self.piece, self.piece_sent) = (Vec::new(), 0);
        while self.round != Round::Entries(0) {
            let lane = originals.get_mut(self.lane)?;
            let Some(entries) = lane.entries(self.map) else {
                (self.lane, self.map) = (self.lane + 1, 0);
                continue;
            };
            let entries = entries.copy_next(self.to, PIECE_BYTES, &mut self.piece);
            assert!((entries == 0) == self.piece.is_empty(), "{entries} entries are {} bytes", self.piece.len());
            if let Round::Entries(left) = &mut self.round {
                *left = left.saturating_sub(entries);
            }
            if entries > 0 {
                self.sent.entries += entries as u64;
                return Some(());
            }
            self.map += 1;
        }
        None
    }
}

/// The sum of what each map of each lane says.
fn sum_of_maps(originals: &mut [&mut dyn Originals], of_map: impl Fn(&dyn Entries) -> usize) -> usize {
    let of_lane = |lane: &mut &mut dyn Originals| -> usize {
        (0..MAPS_MAX).map_while(|map| lane.entries(map).map(|entries| of_map(entries))).sum()
    };
    originals.iter_mut().map(of_lane).sum()
}
