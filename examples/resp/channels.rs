//! Who has subscribed to what. Sessions know it as well, each for its own client, so it need not be saved.

use std::collections::BTreeMap;

use reactord::PeerId;

use super::reply::Protocol;

/// The subscribers of each channel that has any, and how each wants to be told.
#[derive(Debug, Default)]
pub(crate) struct Channels(BTreeMap<Vec<u8>, BTreeMap<PeerId, Protocol>>);

impl Channels {
    pub(crate) fn subscribe(&mut self, channel: &[u8], peer: PeerId, protocol: Protocol) {
        self.0.entry(channel.to_vec()).or_default().insert(peer, protocol);
    }

    pub(crate) fn unsubscribe(&mut self, channel: &[u8], peer: PeerId) {
        if let Some(subscribers) = self.0.get_mut(channel) {
            subscribers.remove(&peer);
            if subscribers.is_empty() {
                self.0.remove(channel);
            }
        }
    }

    pub(crate) fn subscribers(&self, channel: &[u8]) -> impl Iterator<Item = (PeerId, Protocol)> {
        self.0.get(channel).into_iter().flatten().map(|(peer, protocol)| (*peer, *protocol))
    }
}
