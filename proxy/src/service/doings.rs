//! What a listener has done since it was first known, which a successor counts on.

use std::collections::BTreeMap;

use minicbor::{Decode, Encode};
use reactord::{RestoreError, Save};

use crate::access_log::End;

/// What a listener has done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(super) struct Doings {
    /// Clients that have connected.
    #[n(0)]
    pub(super) accepted: u64,
    /// Connections that have ended, by the words of the access log for how.
    #[n(1)]
    pub(super) ends: BTreeMap<String, u64>,
    /// Bytes that have come from clients, of connections that have ended.
    #[n(2)]
    pub(super) received_bytes: u64,
    /// Bytes that clients have acknowledged, of connections that have ended.
    #[n(3)]
    pub(super) sent_bytes: u64,
}

impl Doings {
    /// One more connection has ended so.
    pub(super) fn add(&mut self, end: End) {
        match self.ends.get_mut(end.word()) {
            Some(count) => *count += 1,
            None => drop(self.ends.insert(end.word().to_owned(), 1)),
        }
    }
}

impl Save for Doings {
    fn save(&self, record: &mut Vec<u8>) {
        minicbor::encode(self, record).expect("a vector takes everything");
    }

    fn restore(_: u32, record: &[u8]) -> Result<Self, RestoreError> {
        minicbor::decode(record).map_err(|error| RestoreError::new(format!("what a listener has done: {error}")))
    }
}
