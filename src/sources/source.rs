//! The shape that all sources have, and their tokens.

use std::io;
use std::time::Instant;

use mio::event::Event;
use mio::{Registry, Token};

use crate::table::STAMPS;

/// What the loop listens to besides peers. What a source brings when it is tended is its own matter.
pub(crate) trait Source {
    /// Has the loop woken for it.
    fn register(&mut self, registry: &Registry, tokens: Tokens) -> io::Result<()>;

    /// Notes an event of the part that has this key.
    fn hear(&mut self, key: usize, event: &Event);

    /// When it is to be tended if no event comes before.
    fn due(&self, now: Instant) -> Option<Instant>;
}

/// Which source an event is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    Entrance,
    Callers,
    Departure,
    Signals,
    Asks,
    Giver,
    Taker,
    Upgrade,
    Listings,
    Vestibule,
    Standby,
}

impl Name {
    const ALL: [Self; 11] = [
        Self::Entrance,
        Self::Callers,
        Self::Departure,
        Self::Signals,
        Self::Asks,
        Self::Giver,
        Self::Taker,
        Self::Upgrade,
        Self::Listings,
        Self::Vestibule,
        Self::Standby,
    ];
}

/// The bits of a token that hold the key of a source's part.
const KEY_BITS: u32 = 24;

/// The tokens of a source: one for each of its parts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tokens(Name);

impl Tokens {
    pub(crate) fn of(name: Name) -> Self {
        Self(name)
    }

    /// # Panics
    /// If the key has more than 24 bits: no source has that many parts.
    pub(crate) fn token(self, key: usize) -> Token {
        assert!(key < 1 << KEY_BITS, "a source has few parts");
        Token((STAMPS as usize) << 32 | (self.0 as usize) << KEY_BITS | key)
    }

    /// The source, and the key of its part, that a token is for which is not a peer's.
    pub(crate) fn find(Token(token): Token) -> Option<(Name, usize)> {
        let name = *Name::ALL.get((token & 0xffff_ffff) >> KEY_BITS)?;
        Some((name, token & ((1 << KEY_BITS) - 1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::PeerHandle;

    #[test]
    fn every_source_survives_its_token_and_none_is_a_peer() {
        for name in Name::ALL {
            for key in [0, 1, (1 << KEY_BITS) - 1] {
                let token = Tokens::of(name).token(key);
                assert_eq!(Tokens::find(token), Some((name, key)));
                assert_eq!(PeerHandle::from_token(token), None);
            }
        }
    }
}
