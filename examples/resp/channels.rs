//! Who has subscribed to what.

use std::collections::BTreeMap;

use minicbor::bytes::{ByteSlice, ByteVec};
use minicbor::{Decode, Encode};
use reactord::PeerId;

use super::reply::Protocol;

/// The subscribers of each channel that has any, and how each wants to be told.
#[derive(Debug, Default, Encode, Decode)]
#[cbor(transparent)]
pub(crate) struct Channels(#[n(0)] BTreeMap<ByteVec, BTreeMap<u64, Protocol>>);

impl Channels {
    pub(crate) fn subscribe(&mut self, channel: &[u8], peer: PeerId, protocol: Protocol) {
        self.0.entry(channel.to_vec().into()).or_default().insert(peer.into(), protocol);
    }

    pub(crate) fn unsubscribe(&mut self, channel: &[u8], peer: PeerId) {
        let channel = <&ByteSlice>::from(channel);
        if let Some(subscribers) = self.0.get_mut(channel) {
            subscribers.remove(&peer.into());
            if subscribers.is_empty() {
                self.0.remove(channel);
            }
        }
    }

    pub(crate) fn subscribers(&self, channel: &[u8]) -> impl Iterator<Item = (PeerId, Protocol)> {
        let subscribers = self.0.get(<&ByteSlice>::from(channel)).into_iter().flatten();
        subscribers.map(|(peer, protocol)| (PeerId::from(*peer), *protocol))
    }
}
