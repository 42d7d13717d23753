//! What happens to peers, as those hear of it who copy them.

use crate::peer::PeerId;

/// What happened to a peer, for whoever watches the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Touch {
    /// There is a peer at this key that is new, or is not what it was.
    Changed {
        key: usize,
        /// Whether its session may be another one, too.
        session: bool,
    },
    /// All that waited to be written to the peer at this key, and was told, is written; nothing else has become of it. Only whoever is told
    /// what waits before it is written hears of that, for whom it is much less than a change.
    Flushed { key: usize, id: PeerId },
    /// The peer at this key is gone.
    Gone { key: usize, id: PeerId },
}
