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
    /// The peer at this key is gone.
    Gone { key: usize, id: PeerId },
}
