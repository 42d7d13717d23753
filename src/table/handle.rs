//! Who a turn or an event is for.

use mio::Token;

const _: () = assert!(usize::BITS == 64, "a token holds a stamp and a key of 32 bits each");

/// Stamps of peers are below this; what a token has from here on is no peer.
pub(crate) const STAMPS: u32 = u32::MAX;

/// The bits of a stamp in which peers of one lane differ; those above are the lane's number. They are used again after 268
/// million peers, when no event in a batch and nobody in a queue is as old as that.
const STAMP_BITS: u32 = 28;

/// How many lanes a server may have.
pub(crate) const LANES_MAX: usize = 1 << (u32::BITS - STAMP_BITS);

/// The stamps that the peers of one lane get, one after another.
#[derive(Debug)]
pub(crate) struct Stamps {
    lane: u32,
    last: u32,
}

impl Stamps {
    /// # Panics
    /// If no server has that many lanes.
    pub(crate) fn of_lane(number: usize) -> Self {
        assert!(number < LANES_MAX, "a server has at most {LANES_MAX} lanes");
        Self { lane: (number as u32) << STAMP_BITS, last: 0 }
    }

    pub(crate) fn next(&mut self) -> u32 {
        // One fewer than there could be: all bits set are what no peer has that can be reached.
        self.last = (self.last + 1) % ((1 << STAMP_BITS) - 1);
        self.lane | self.last
    }

    /// The stamp of a peer that no handle is for.
    pub(crate) fn of_nobody(&self) -> u32 {
        self.lane | ((1 << STAMP_BITS) - 1)
    }
}

/// A peer by its key in the table, and by the stamp that tells it from those who had the key before: an event that was
/// already in the batch must not reach the next owner of the key. The stamp has the number of its lane in its upper bits,
/// and no two tables of a server have a stamp in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PeerHandle {
    key: u32,
    stamp: u32,
}

impl PeerHandle {
    /// # Panics
    /// If the key has more than 32 bits, which is more than a process can have files open.
    pub(crate) fn new(key: usize, stamp: u32) -> Self {
        Self { key: u32::try_from(key).expect("a process opens fewer than 4 billion files"), stamp }
    }

    pub(crate) fn key(self) -> usize {
        self.key as usize
    }

    pub(crate) fn stamp(self) -> u32 {
        self.stamp
    }

    /// The number of the lane that it is a peer of.
    pub(crate) fn lane(self) -> usize {
        (self.stamp >> STAMP_BITS) as usize
    }

    /// The peer that an event with this token is for, if it is for a peer.
    pub(crate) fn from_token(Token(token): Token) -> Option<Self> {
        let [key, stamp] = [token & 0xffff_ffff, token >> 32].map(|half| u32::try_from(half).expect("it has 32 bits"));
        (stamp < STAMPS).then_some(Self { key, stamp })
    }
}

impl From<PeerHandle> for Token {
    fn from(PeerHandle { key, stamp }: PeerHandle) -> Self {
        Self((stamp as usize) << 32 | key as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_handle_survives_its_token() {
        for handle in [PeerHandle::new(0, 0), PeerHandle::new(3, 1), PeerHandle::new(0xffff_ffff, STAMPS - 1)] {
            assert_eq!(PeerHandle::from_token(handle.into()), Some(handle));
        }
        assert_eq!(PeerHandle::from_token(Token((STAMPS as usize) << 32 | 7)), None);
    }

    #[test]
    fn a_stamp_is_of_its_lane_and_a_peers_whatever_came_before() {
        for number in [0, 1, LANES_MAX - 1] {
            let mut stamps = Stamps::of_lane(number);
            for last in [0, 1, (1 << STAMP_BITS) - 3, (1 << STAMP_BITS) - 2] {
                stamps.last = last;
                let handle = PeerHandle::new(7, stamps.next());
                assert_eq!(handle.lane(), number);
                assert_eq!(PeerHandle::from_token(handle.into()), Some(handle));
            }
        }
    }
}
