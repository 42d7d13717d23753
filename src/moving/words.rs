//! What moves are told in: how many peers, and what went wrong with a batch.

use std::fmt;

/// What went wrong in the words of a move: whoever speaks of the two sides of a takeover means those of a move here.
pub(super) fn in_words_of_a_move(what: &dyn fmt::Display) -> String {
    what.to_string().replace("the successor", "the taker").replace("the predecessor", "the giver")
}

/// So many peers.
pub(super) struct Peers(pub(super) u64);

impl fmt::Display for Peers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(count) = self;
        write!(f, "{count} {}", if *count == 1 { "peer" } else { "peers" })
    }
}
