//! What wire version 2 adds, in a build that only tests have (the feature `wire-2`; `docs/wire.md` says what it is
//! for).
//!
//! A Round has a new optional field, which a version that does not know it skips. Census is a new frame, sent before
//! Commit, and only to a successor that speaks version 2.

use log::info;

use super::wire::{Census, Frame, Hello, Round, WIRE_VERSIONS, agree};

/// The version that brought the frame.
const CENSUS_SINCE: u32 = 2;

/// What goes before Commit, to a successor that said this.
pub(super) fn before_commit(hello: &Hello, peers: u64) -> Option<Vec<u8>> {
    let agreed = agree(WIRE_VERSIONS, hello.wire_versions);
    agreed.is_some_and(|version| version >= CENSUS_SINCE).then(|| Frame::Census(Census { peers }).encode())
}

/// The field that is new in a Round, if the predecessor has sent it.
pub(super) fn note(round: &Round) {
    if let Some(pending) = round.pending {
        info!("Wire version 2: {pending} peers are pending after round {}", round.number);
    }
}

/// What the predecessor has counted.
pub(super) fn count(census: &Census) -> u64 {
    info!("Wire version 2: a census of {} peers", census.peers);
    census.peers
}
