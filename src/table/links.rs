//! Peers that are tied to one another: coupled, so that one is not read from while too much is pending for the other, or
//! joined, so that what either sends is written to the other.
//!
//! What ties them is kept as ids, and looked up when it is needed: so the two may come to a successor in any order.

use std::collections::hash_map::Entry;
use std::io::{self, ErrorKind};
use std::num::NonZeroU64;
use std::time::Duration;

use super::deadlines::REACHED_NS;
use super::handle::PeerHandle;
use super::peers::{Peers, SendError, Turn};
use crate::clock::as_ns;
use crate::peer::closed::Closed;
use crate::peer::ties::{Holds, Joined, Outflow};
use crate::peer::{Peer, PeerId};

impl Peers {
    /// From now on `reader` is not read from while `writer` has more pending than it should. A peer that is gone is coupled
    /// to nobody.
    pub(crate) fn couple(&mut self, reader: PeerId, writer: PeerId) {
        let (Some(reader_key), Some(writer_key)) = (self.key(reader), self.key(writer)) else {
            return;
        };
        let writer_is_full = self.slab[writer_key].talk.is_full();
        self.forget_reader(reader_key);
        let peer = &mut self.slab[reader_key];
        peer.talk.release(Holds::RELAYED);
        let rarities = peer.particulars_mut().rarities_mut();
        rarities.writer = Some(writer.into());
        rarities.ephemeral = false;
        if writer_is_full && reader_key != writer_key {
            peer.talk.hold(Holds::PARTNER);
        }
        self.unsettled.push(reader_key, peer);
        self.know_reader(reader_key);
        let is_mutual = writer_of(&self.slab[writer_key]) == Some(reader);
        if is_mutual && reader_key != writer_key {
            for key in [reader_key, writer_key] {
                let peer = &mut self.slab[key];
                peer.talk.hold(Holds::RELAYED);
                self.unsettled.push(key, peer);
            }
        }
    }

    /// Whether a peer is not read from because of whom it is coupled to.
    pub(crate) fn waits_for_writer(&self, reader: PeerId) -> bool {
        let is_held = |peer: &Peer| peer.talk.holds().has(Holds::PARTNER);
        !self.readers.is_empty() && self.find(reader).is_some_and(is_held)
    }

    /// Has the peer at `key` be found by whoever gets what it sends, if it is coupled.
    pub(super) fn know_reader(&mut self, key: usize) {
        let peer = &self.slab[key];
        if let Some(writer) = coupled_to(peer) {
            self.readers.entry(writer.into()).or_default().insert(peer.id());
        }
    }

    /// From now on, what either of the two sends is written to the other.
    pub(crate) fn join(&mut self, one: PeerId, other: PeerId, idle: Option<Duration>) -> Result<(), SendError> {
        let free = |id| self.handle(id).filter(|handle| is_free(&self.slab[handle.key()]));
        let (Some(one), Some(other)) = (free(one), free(other).filter(|_| one != other)) else {
            return Err(SendError::Gone);
        };
        for (handle, partner) in [(one, other), (other, one)] {
            let partner = NonZeroU64::new(self.slab[partner.key()].id().into()).expect("the kernel counts from 1");
            self.join_to(handle, partner, idle.map(idle_ns));
        }
        Ok(())
    }

    /// From now on nothing may move for so long between two who are joined, either of whom has this id.
    pub(crate) fn set_idle(&mut self, id: PeerId, idle: Option<Duration>) {
        let Some(key) = self.key(id) else { return };
        let partner = partner_of(&self.slab[key]).and_then(|partner| self.key(partner));
        for key in [Some(key), partner].into_iter().flatten() {
            let handle = self.handle_at(key).expect("it was just looked up");
            let peer = &mut self.slab[key];
            let Some(joined) = peer.particulars().and_then(|particulars| particulars.joined) else { continue };
            peer.particulars_mut().joined = Some(Joined { idle_ns: idle.map(idle_ns), ..joined });
            self.unsettled.push(key, peer);
            self.set_alarm(handle);
        }
    }

    fn join_to(&mut self, handle: PeerHandle, partner: NonZeroU64, idle_ns: Option<NonZeroU64>) {
        self.forget_reader(handle.key());
        let peer = &mut self.slab[handle.key()];
        let particulars = peer.particulars_mut();
        particulars.joined = Some(Joined { partner, idle_ns, moved_ns: self.now_ns });
        if let Some(rarities) = particulars.rarities_if_any() {
            rarities.writer = None;
            rarities.ephemeral = false;
        }
        particulars.tidy();
        // What is kept of its input comes first, if the partner takes it.
        peer.talk.hold(Holds::TURN.with(Holds::RELAYED));
        self.unsettled.push(handle.key(), peer);
        self.set_alarm(handle);
    }

    /// Tells those who are coupled to the peer at `key` whether it takes more.
    #[cold]
    pub(super) fn tell_readers(&mut self, key: usize) {
        let writer = &self.slab[key];
        let (id, is_full) = (writer.id(), writer.talk.is_full());
        let Some(coupled) = self.readers.remove(&id) else { return };
        for reader in &coupled {
            if let Some(reader_key) = self.key(*reader).filter(|reader_key| *reader_key != key) {
                self.hold_reader(reader_key, id, is_full);
            }
        }
        self.readers.insert(id, coupled);
    }

    fn hold_reader(&mut self, key: usize, writer: PeerId, hold: bool) {
        let reader = &mut self.slab[key];
        if writer_of(reader) != Some(writer) {
            return;
        }
        if hold {
            reader.talk.hold(Holds::PARTNER);
            self.unsettled.push(key, reader);
        } else {
            reader.talk.release(Holds::PARTNER);
            // Not in this turn of the loop: two who are quick enough would never let it end.
            self.due.push(key, reader);
        }
    }

    /// The peer at `key` is not found any more by whoever gets what it sends.
    pub(super) fn forget_reader(&mut self, key: usize) {
        let peer = &self.slab[key];
        let Some(writer) = coupled_to(peer) else { return };
        if let Entry::Occupied(mut readers) = self.readers.entry(writer.into()) {
            readers.get_mut().remove(&peer.id());
            if readers.get().is_empty() {
                readers.remove();
            }
        }
    }

    /// A peer is gone: nobody is tied to it any more. Whom it was joined to ends as it did.
    pub(super) fn unlink(&mut self, gone: &Peer, how: &Closed) {
        let id = gone.id();
        for reader in self.readers.remove(&id).into_iter().flatten() {
            if let Some(key) = self.key(reader) {
                self.hold_reader(key, id, false);
                self.slab[key].talk.release(Holds::RELAYED);
            }
        }
        let Some(key) = partner_of(gone).and_then(|partner| self.key(partner)) else {
            return;
        };
        let partner = &mut self.slab[key];
        if partner_of(partner) != Some(id) {
            return;
        }
        partner.particulars_mut().joined = None;
        let is_lost = matches!(how, Closed::Lost(_) | Closed::Unreachable(_)) || gone.talk.outflow() == Outflow::Reset;
        if is_lost {
            let reason = "the connection that it was joined to was lost";
            partner.end_because(Closed::Lost(io::Error::new(ErrorKind::ConnectionAborted, reason)));
            partner.talk.reset();
        } else {
            partner.talk.close();
        }
        self.unsettled.push(key, partner);
    }

    /// Writes what one peer has sent to whom it is joined to, and keeps there what the socket does not take. Says whether that
    /// one takes more; `None` if it was not taken at all.
    fn pass_on(&mut self, to: PeerId, bytes: &[u8]) -> Option<bool> {
        let key = self.key(to)?;
        let (marks, now_ns, peer) = (self.marks, self.now_ns, &mut self.slab[key]);
        if !peer.talk.takes_output() {
            return None;
        }
        let had_pending = peer.talk.pending_bytes() > 0;
        match peer.send_when_it_stands(bytes, marks) {
            Ok(sent) => self.tally.sent_bytes += sent as u64,
            Err(error) => {
                self.lose(key, error);
                return Some(true);
            }
        }
        if had_pending || peer.talk.pending_bytes() > 0 {
            // Also if nothing is pending any more: whoever copies it knows of what was.
            peer.note_movement(now_ns);
            self.unsettled.push(key, peer);
        }
        Some(self.takes_more(&self.slab[key]))
    }

    /// Whether nothing has moved between the two who are joined for too long: then both are closed. Otherwise it is looked
    /// at again when that may be so.
    pub(super) fn close_if_idle(&mut self, handle: PeerHandle) -> bool {
        let peer = &self.slab[handle.key()];
        let Some(Joined { partner, idle_ns: Some(idle_ns), moved_ns }) = joined(peer) else { return false };
        let partner = self.handle(partner.get().into());
        let partner_moved_ns =
            partner.and_then(|partner| joined(&self.slab[partner.key()])).map(|joined| joined.moved_ns);
        let moved_ns = partner_moved_ns.unwrap_or(0).max(moved_ns);
        if self.now_ns < moved_ns.saturating_add(idle_ns.get()) {
            self.look_at(handle, moved_ns.saturating_add(idle_ns.get()));
            return false;
        }
        for handle in partner.into_iter().chain([handle]) {
            let peer = &mut self.slab[handle.key()];
            if !peer.talk.is_closing() {
                peer.talk.close();
                self.deadlines.set(handle, REACHED_NS);
                self.unsettled.push(handle.key(), peer);
            }
        }
        true
    }
}

impl Turn<'_> {
    /// Whether it is joined to another.
    pub(crate) fn is_joined(&self) -> bool {
        joined(self).is_some()
    }

    /// Something has come from it or was written to it.
    pub(crate) fn note_movement(&mut self) {
        let now_ns = self.peers.now_ns;
        (**self).note_movement(now_ns);
    }

    /// Holds it or lets it go by whether whoever gets what it sends takes more. In a successor, whose marks may be others,
    /// nobody has told it.
    pub(crate) fn look_at_writer(&mut self) {
        let writer = writer_of(self).filter(|writer| *writer != self.id()).and_then(|writer| self.peers.find(writer));
        let takes_no_more = match writer {
            Some(writer) if self.is_joined() => !self.peers.takes_more(writer),
            Some(writer) => writer.talk.is_full(),
            None => false,
        };
        if takes_no_more {
            self.talk.hold(Holds::PARTNER);
        } else {
            self.talk.release(Holds::PARTNER);
        }
    }

    /// Passes on what it has sent to whom it is joined to. If that one takes nothing any more, it is closed.
    pub(crate) fn pass_on(&mut self, bytes: &[u8]) {
        self.note_movement();
        match partner_of(self).and_then(|partner| self.peers.pass_on(partner, bytes)) {
            Some(true) => {}
            Some(false) => self.talk.hold(Holds::PARTNER),
            None => self.talk.close(),
        }
    }

    /// Passes on that it has sent all it will send.
    pub(crate) fn pass_on_end(&mut self) {
        if let Some(partner) = partner_of(self) {
            self.peers.finish(partner);
        }
    }
}

/// For how long nothing may move. Who is to be closed at once is closed in a moment.
fn idle_ns(idle: Duration) -> NonZeroU64 {
    NonZeroU64::new(as_ns(idle)).unwrap_or(NonZeroU64::MIN)
}

/// Whether a peer can be joined.
fn is_free(peer: &Peer) -> bool {
    joined(peer).is_none() && !peer.talk.is_ending()
}

pub(super) fn joined(peer: &Peer) -> Option<Joined> {
    peer.particulars()?.joined
}

/// Whom it is joined to.
pub(super) fn partner_of(peer: &Peer) -> Option<PeerId> {
    joined(peer).map(|joined| joined.partner.get().into())
}

/// The cookie of whom it is coupled to.
fn coupled_to(peer: &Peer) -> Option<u64> {
    peer.particulars()?.rarities().writer
}

/// Who gets what it sends.
fn writer_of(peer: &Peer) -> Option<PeerId> {
    partner_of(peer).or(coupled_to(peer).map(PeerId::from))
}
