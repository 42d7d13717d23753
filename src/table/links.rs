//! Peers that are tied to one another: coupled, so that one is not read from while too much is pending for the other, or
//! joined, so that what either sends is written to the other.
//!
//! Whom a peer is coupled to is kept as an id, and looked up when it is needed. Two who are joined have a
//! [pair](super::pairs) in common, which knows both ids. So the two may come to a successor in any order.

use std::collections::hash_map::Entry;
use std::io::{self, ErrorKind};
use std::num::NonZeroU64;
use std::time::Duration;

use super::deadlines::REACHED_NS;
use super::handle::PeerHandle;
use super::peers::{Peers, SendError, Turn};
use crate::clock::as_ns;
use crate::peer::closed::Closed;
use crate::peer::pair_end::PairEnd;
use crate::peer::ties::{Holds, Joined, Outflow};
use crate::peer::{Peer, PeerId, Phase};

impl Peers {
    /// From now on `reader` is not read from while `writer` has more pending than it should. A peer that is gone is coupled
    /// to nobody.
    pub(crate) fn couple(&mut self, reader: PeerId, writer: PeerId) {
        let (Some(reader_key), Some(writer_key)) = (self.key(reader), self.key(writer)) else {
            return;
        };
        let writer_is_full = self.slab[writer_key].talk.is_full();
        self.leave_writer(reader_key);
        let peer = &mut self.slab[reader_key];
        let particulars = peer.particulars_mut();
        (particulars.writer, particulars.ephemeral) = (Some(writer.into()), false);
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
        let partner = cookie_of(&self.slab[other.key()]);
        let joined = Joined { partner, idle_ns: idle.map(idle_ns), moved_ns: self.now_ns };
        let end = self.pairs.open(cookie_of(&self.slab[one.key()]), joined);
        for (handle, end) in [(one, end), (other, end.other())] {
            self.leave_writer(handle.key());
            self.enter_pair(handle.key(), end);
            let peer = &mut self.slab[handle.key()];
            // What is kept of its input comes first, if the partner takes it.
            peer.talk.hold(Holds::TURN);
            self.unsettled.push(handle.key(), peer);
            // Nothing goes from the one to the other before a standby knows that it does.
            self.shelter.iter_mut().for_each(|shelter| shelter.defer_joined(handle.key(), peer));
        }
        self.set_alarm(one);
        Ok(())
    }

    fn enter_pair(&mut self, key: usize, end: PairEnd) {
        self.pairs.enter(end, key);
        self.slab[key].be_joined(end);
    }

    /// Another process has told whom the peer at `key` is joined to, if to anybody.
    pub(super) fn follow_pair(&mut self, key: usize, told: Option<Joined>) {
        let known = self.slab[key].pair_end.filter(|end| told.is_some_and(|told| self.pairs.is_of(*end, told)));
        if known.is_none() {
            self.part_from_partner(key);
        }
        let Some(told) = told else { return };
        let end = known.or_else(|| self.end_beside(key, told)).unwrap_or_else(|| {
            let one = cookie_of(&self.slab[key]);
            self.pairs.open(one, told)
        });
        self.pairs.follow(end, told);
        self.enter_pair(key, end);
    }

    /// The end of the pair that is waiting for the peer at `key`, if whom it is joined to is here already.
    fn end_beside(&self, key: usize, told: Joined) -> Option<PairEnd> {
        let end = self.find(told.partner.get().into())?.pair_end?.other();
        let is_free = self.pairs.key(end).is_none();
        (is_free && self.pairs.partner(end.other()) == self.slab[key].id()).then_some(end)
    }

    /// The peer at `key` is in reach again. If whom it is joined to was not when it came, it has not been found before.
    pub(super) fn find_partner(&mut self, key: usize) {
        let alone = self.slab[key].pair_end.filter(|end| self.pairs.key(end.other()).is_none());
        if let Some(end) = alone {
            let joined = self.pairs.joined(end);
            if let Some(beside) = self.end_beside(key, joined) {
                self.pairs.leave(end);
                self.pairs.follow(beside, joined);
                self.enter_pair(key, beside);
            }
        }
    }

    /// The peer at `key` is not joined any more, if it was.
    pub(super) fn part_from_partner(&mut self, key: usize) {
        if let Some(end) = self.slab[key].pair_end.take() {
            self.pairs.leave(end);
        }
    }

    /// Where whom a peer is joined to is, if it is here.
    #[inline]
    pub(crate) fn partner_key(&self, peer: &Peer) -> Option<usize> {
        let key = self.pairs.key(peer.pair_end?.other())?;
        self.is_in_reach(&self.slab[key]).then_some(key)
    }

    /// From now on nothing may move for so long between two who are joined, either of whom has this id.
    pub(crate) fn set_idle(&mut self, id: PeerId, idle: Option<Duration>) {
        let Some(handle) = self.handle(id) else { return };
        let peer = &self.slab[handle.key()];
        let Some(end) = peer.pair_end else { return };
        let partner_key = self.partner_key(peer);
        self.pairs.set_idle(end, idle.map(idle_ns));
        self.set_alarm(handle);
        for key in [Some(handle.key()), partner_key].into_iter().flatten() {
            self.unsettled.push(key, &mut self.slab[key]);
        }
    }

    /// What was said last of that.
    pub(crate) fn idle(&self, id: PeerId) -> Option<Duration> {
        let end = self.find(id)?.pair_end?;
        self.pairs.joined(end).idle_ns.map(|idle_ns| Duration::from_nanos(idle_ns.get()))
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

    /// What the peer at `key` sends is not for whom it was for until now.
    fn leave_writer(&mut self, key: usize) {
        self.forget_reader(key);
        let peer = &self.slab[key];
        let writer_key = writer_of(peer).and_then(|writer| self.key(writer));
        let mutual = writer_key.filter(|writer_key| writer_of(&self.slab[*writer_key]) == Some(peer.id()));
        for key in mutual.into_iter().chain([key]) {
            self.relay_no_more(key);
        }
    }

    /// The peer at `key` is not coupled both ways any more, if it was.
    fn relay_no_more(&mut self, key: usize) {
        let peer = &mut self.slab[key];
        if peer.talk.holds().has(Holds::RELAYED) {
            peer.talk.release(Holds::RELAYED);
            self.unsettled.push(key, peer);
        }
    }

    /// A peer is gone: nobody is tied to it any more. Whom it was joined to, who is at `partner_key`, ends as it did.
    pub(super) fn unlink(&mut self, gone: &Peer, partner_key: Option<usize>, how: &Closed) {
        let id = gone.id();
        for reader in self.readers.remove(&id).into_iter().flatten() {
            if let Some(key) = self.key(reader) {
                self.hold_reader(key, id, false);
                self.relay_no_more(key);
            }
        }
        let Some(key) = partner_key else { return };
        self.part_from_partner(key);
        let partner = &mut self.slab[key];
        let is_lost = matches!(how, Closed::Lost(_) | Closed::Unreachable(_)) || gone.talk.outflow() == Outflow::Reset;
        if is_lost {
            let reason = "the connection that it was joined to was lost";
            partner.end_because(Closed::Lost(io::Error::new(ErrorKind::ConnectionAborted, reason)));
            partner.talk.reset();
        } else if partner.talk.phase() == Phase::Ended {
            // Both have said all: there is nothing to be awaited from it, as there is from one that is closed.
            partner.talk.finish();
        } else {
            partner.talk.close();
        }
        self.unsettled.push(key, partner);
    }

    /// Writes what one peer has sent to whom it is joined to, who is at `key`, and keeps there what the socket does not take.
    /// Says whether that one takes more; `None` if it was not taken at all.
    fn pass_on(&mut self, key: usize, bytes: &[u8]) -> Option<bool> {
        let (marks, peer) = (self.marks, &mut self.slab[key]);
        if !peer.talk.takes_output() {
            return None;
        }
        let had_pending = peer.talk.pending_bytes() > 0;
        if let Err(error) = self.send_when_it_stands(key, bytes, marks) {
            self.lose(key, error);
            return Some(true);
        }
        let peer = &mut self.slab[key];
        if had_pending || peer.talk.pending_bytes() > 0 || peer.secured().is_some() {
            // Also if nothing is pending any more: whoever copies it knows of what was.
            self.unsettled.push(key, peer);
            self.keep_warm(key);
        }
        Some(self.takes_more(&self.slab[key]))
    }

    /// Whether nothing has moved between the two who are joined for too long, as is to be seen at this instant: then both are
    /// closed. Otherwise it is looked at again when that may be so.
    pub(super) fn close_if_idle(&mut self, handle: PeerHandle, at_ns: u64) -> bool {
        let peer = &self.slab[handle.key()];
        let Some(end) = peer.pair_end.filter(|end| self.pairs.has_alarm(*end, at_ns)) else { return false };
        let partner = self.partner_key(peer).and_then(|key| self.handle_at(key));
        *self.pairs.alarm_ns(end) = None;
        if self.pairs.idle_at_ns(end).is_none_or(|idle_at_ns| self.now_ns < idle_at_ns) {
            self.set_alarm(handle);
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
        self.pair_end.is_some()
    }

    /// Something has come from it or was written to it.
    #[inline]
    pub(crate) fn note_movement(&mut self) {
        if let Some(end) = self.pair_end {
            self.peers.pairs.note_movement(end, self.peers.now_ns);
        }
    }

    /// Whether it has nothing else to do than to pass on what comes from it, and whom it is joined to takes that.
    #[inline]
    pub(crate) fn is_free_to_pass_on(&self) -> bool {
        let peer = &**self;
        let takes_more = |key: usize| self.peers.takes_more(&self.peers.slab[key]);
        peer.is_at_rest_in_pair()
            && peer.talk.inbound.is_empty()
            && self.peers.partner_key(peer).is_some_and(takes_more)
    }

    /// Holds it or lets it go by whether whom it is joined to takes more.
    pub(crate) fn look_at_partner(&mut self) {
        let partner_key = self.peers.partner_key(self);
        self.hold_for_partner(partner_key.is_some_and(|key| !self.peers.takes_more(&self.peers.slab[key])));
    }

    /// Holds it or lets it go by how much is pending for whoever it is coupled to. In a successor, whose marks may be others,
    /// nobody has told it.
    pub(crate) fn look_at_writer(&mut self) {
        let writer = writer_of(self).filter(|writer| *writer != self.id()).and_then(|writer| self.peers.find(writer));
        self.hold_for_partner(writer.is_some_and(|writer| writer.talk.is_full()));
    }

    fn hold_for_partner(&mut self, takes_no_more: bool) {
        if takes_no_more {
            self.talk.hold(Holds::PARTNER);
        } else {
            self.talk.release(Holds::PARTNER);
        }
    }

    /// Passes on what it has sent to whom it is joined to. If that one takes nothing any more, it is closed.
    pub(crate) fn pass_on(&mut self, bytes: &[u8]) {
        self.note_movement();
        match self.peers.partner_key(self).and_then(|key| self.peers.pass_on(key, bytes)) {
            Some(true) => {}
            Some(false) => self.talk.hold(Holds::PARTNER),
            None => self.talk.close(),
        }
    }

    /// Passes on that it has sent all it will send.
    pub(crate) fn pass_on_end(&mut self) {
        if let Some(key) = self.peers.partner_key(self) {
            let partner = self.peers.slab[key].id();
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
    peer.pair_end.is_none() && !peer.talk.is_ending()
}

fn cookie_of(peer: &Peer) -> NonZeroU64 {
    NonZeroU64::new(peer.id().into()).expect("the kernel counts from 1")
}

/// The cookie of whom it is coupled to.
fn coupled_to(peer: &Peer) -> Option<u64> {
    peer.particulars()?.writer
}

/// The same as an id.
fn writer_of(peer: &Peer) -> Option<PeerId> {
    coupled_to(peer).map(PeerId::from)
}
