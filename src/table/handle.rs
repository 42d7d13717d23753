//! Who a turn or an event is for.

use mio::Token;

const _: () = assert!(usize::BITS == 64, "a token holds a stamp and a key of 32 bits each");

/// Stamps of peers are below this; what a token has from here on is no peer.
pub(crate) const STAMPS: u32 = u32::MAX;

/// A peer by its key in the table, and by the stamp that tells it from those who had the key before: an event that was
/// already in the batch must not reach the next owner of the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Handle {
    key: u32,
    stamp: u32,
}

impl Handle {
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

    /// The peer that an event with this token is for, if it is for a peer.
    pub(crate) fn from_token(Token(token): Token) -> Option<Self> {
        let [key, stamp] = [token & 0xffff_ffff, token >> 32].map(|half| u32::try_from(half).expect("it has 32 bits"));
        (stamp < STAMPS).then_some(Self { key, stamp })
    }
}

impl From<Handle> for Token {
    fn from(Handle { key, stamp }: Handle) -> Self {
        Self((stamp as usize) << 32 | key as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_handle_survives_its_token() {
        for handle in [Handle::new(0, 0), Handle::new(3, 1), Handle::new(0xffff_ffff, STAMPS - 1)] {
            assert_eq!(Handle::from_token(handle.into()), Some(handle));
        }
        assert_eq!(Handle::from_token(Token((STAMPS as usize) << 32 | 7)), None);
    }
}
