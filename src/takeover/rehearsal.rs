//! What wire version 2 adds, in a build that only tests have (the feature `wire-2`; `docs/wire.md` says what it is
//! for).
//!
//! A Round has a new optional field, which a version that does not know it skips. Census is a new frame, sent before
//! Commit, and only to a successor that speaks version 2.

use log::info;
use minicbor::{Decode, Encode};

use super::successor::Fault;
use super::wire::{Frame, Hello, Round, WIRE_VERSIONS, agree};

/// The version that brought the frame.
const CENSUS_SINCE: u32 = 2;

/// Predecessor: how many peers it hands over.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Census {
    #[n(0)]
    peers: u64,
}

impl Census {
    /// # Errors
    /// If another number of peers has come.
    pub(super) fn verify(&self, arrived: u64) -> Result<(), Fault> {
        info!("Wire version 2: a census of {} peers", self.peers);
        match self.peers {
            sent if sent == arrived => Ok(()),
            sent => Err(Fault::Incomplete { what: "number of peers in the census", arrived, sent }),
        }
    }
}

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
