//! Peers that are in the table and out of everybody's reach, since another process may own them: no handle is for one, no
//! id finds it, and whoever asks for all does not get it. So nothing happens to it, whatever the loop had in store for it.

use super::handle::PeerHandle;
use super::peers::Peers;
use super::turns;
use crate::peer::secured::Secured;
use crate::peer::{Peer, PeerId};

impl Peers {
    /// Puts the peer that a handle is for out of reach. False if it has left.
    pub(super) fn put_out_of_reach(&mut self, handle: PeerHandle) -> bool {
        let of_nobody = self.stamp_of_nobody();
        let Some(peer) = turns::find(&mut self.slab, handle) else { return false };
        peer.set_stamp(of_nobody);
        // Who has had its keys at hand for longest is looked for by handle, and this one would keep them for ever.
        peer.secured_mut().into_iter().for_each(Secured::cool_down);
        let id = peer.id();
        self.keys.remove(handle.key(), id);
        true
    }

    /// A peer was to have a turn, and did not get it. One that is only out of reach is to have it when it is back.
    #[cold]
    pub(super) fn miss(&mut self, handle: PeerHandle) {
        let key = handle.key();
        if self.slab.get(key).is_some_and(|peer| !self.is_in_reach(peer)) {
            self.missed.insert(key);
        }
    }

    /// Brings it back. Says whether it was to have a turn meanwhile.
    pub(super) fn bring_back(&mut self, handle: PeerHandle) -> bool {
        let key = handle.key();
        let peer = &mut self.slab[key];
        peer.set_stamp(handle.stamp());
        peer.is_in_no_queue();
        self.keys.insert(key, &self.slab);
        self.know_reader(key);
        self.find_partner(key);
        let deadline_ns = self.deadlines.get(key);
        self.deadlines.forget(key);
        self.follow_deadline(handle, deadline_ns);
        self.set_alarm_anew(handle);
        self.missed.remove(&key)
    }

    /// Those who must be in one process with the peer at `key`: whom it is joined or coupled to, and who is coupled to it.
    pub(super) fn tied_to(&self, key: usize) -> Vec<PeerHandle> {
        let peer = &self.slab[key];
        let partner = self.partner_key(peer).and_then(|key| self.handle_at(key));
        let writer = peer.particulars().and_then(|particulars| particulars.writer).map(PeerId::from);
        let readers = self.readers.get(&peer.id()).into_iter().flatten().copied();
        partner.into_iter().chain(writer.into_iter().chain(readers).filter_map(|id| self.handle(id))).collect()
    }

    /// Whether a peer can be reached.
    pub(super) fn is_in_reach(&self, peer: &Peer) -> bool {
        peer.stamp() != self.stamp_of_nobody()
    }
}
