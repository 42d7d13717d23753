//! A peer as it is told to whoever asks for all of them.

use super::peers::Peers;
use crate::peer::Peer;
use crate::peer::delivery::Counted;
use crate::peer::record::Phase;
use crate::peer::ties::Holds;
use crate::status::PeerStatus;

impl Peers {
    /// The peer at `key`, if there is one. This asks the kernel, which takes a microsecond or two.
    pub(crate) fn described(&self, key: usize) -> Option<PeerStatus> {
        let peer = self.get(key)?;
        let counted = Counted::known(peer);
        Some(PeerStatus {
            service: String::new(),
            address: peer.address().to_string(),
            id: u64::from(peer.id()),
            age_s: self.age_s(peer),
            received_bytes: counted.map(|counted| counted.received_bytes),
            sent_bytes: counted.map(|counted| counted.acknowledged_bytes),
            inbound_bytes: peer.talk.inbound.len() as u64,
            outbound_bytes: peer.talk.pending_bytes() as u64,
            phase: self.phase(peer).to_owned(),
            held: reasons(peer.talk.holds()).map(str::to_owned).collect(),
        })
    }

    /// How far it has come, in one word.
    fn phase(&self, peer: &Peer) -> &'static str {
        match peer.talk.phase() {
            _ if !self.is_in_reach(peer) => "moving",
            Phase::Connecting => "connecting",
            Phase::Closing | Phase::Lingering => "closing",
            _ if peer.pair_end.is_some() => "joined",
            _ if !peer.talk.holds().lasting().is_none() => "held",
            Phase::Ended => "ended",
            Phase::Open => "serving",
        }
    }
}

fn reasons(holds: Holds) -> impl Iterator<Item = &'static str> {
    let reasons =
        [("output", Holds::OUTPUT), ("partner", Holds::PARTNER), ("asked", Holds::ASKED), ("given", Holds::GIVEN)];
    reasons.into_iter().filter(move |(_, reason)| holds.has(*reason)).map(|(name, _)| name)
}
