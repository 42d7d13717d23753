//! How bytes go from a joined peer to the other one: they are copied, go through a pipe, or are looked at and left with the
//! kernel until the other one takes them.
//!
//! The last is the way of all while somebody copies the peers: then no byte is in this process that was not there before,
//! nothing is to be told of who only passes bytes on, and whoever has the peers next goes on at the byte at which this
//! process has left off.

use std::io;

use super::pairs::Pairs;
use super::peers::{Peers, Turn};
use crate::fault::{self, StandbyStep};
use crate::peer::closed::Closed;
use crate::peer::record::Phase;
use crate::peer::secured::Opened;
use crate::peer::ties::{Holds, Outflow};
use crate::peer::way::Way;
use crate::peer::{Peer, Received};

/// What came of one step of passing on what a joined peer has sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Passed {
    /// There may be more.
    Some,
    /// There was no more, unless somebody knows better.
    All,
    /// There is nothing now, or nobody who takes it.
    Nothing,
    /// It has sent all it will send.
    End,
}

/// What another process is told of a joined peer that passes bytes on. Why it is not read from now is not part of it: whoever
/// goes on with it sees that by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Face {
    phase: Phase,
    holds: Holds,
    outflow: Outflow,
    inbound: (u64, usize),
    outbound: (u64, usize),
    moved_ns: Option<u64>,
}

impl Face {
    fn of(peer: &Peer, pairs: &Pairs) -> Self {
        let talk = &peer.talk;
        let place = |stretch: crate::peer::record::Stretch<'_>| (stretch.start, stretch.bytes.len());
        Self {
            phase: talk.phase(),
            holds: talk.holds().lasting().without(Holds::PARTNER),
            outflow: talk.outflow(),
            inbound: place(talk.inbound.stretch()),
            outbound: place(talk.outbound()),
            moved_ns: peer.pair_end.map(|end| pairs.joined(end).told().moved_ns),
        }
    }
}

impl Peers {
    /// Somebody copies the peers from now on, or nobody does any more.
    pub(super) fn be_copied(&mut self, is_copied: bool) {
        self.conduit.leaves_bytes = is_copied;
        self.forget_turn();
    }

    /// Whatever the turn that ends has come to, it is not over with that.
    pub(super) fn forget_turn(&mut self) {
        self.conduit.nothing_told = false;
    }

    /// Whether what is sent to a joined peer goes to its socket at once.
    fn takes_at_once(&self, peer: &Peer) -> bool {
        let stands = matches!(peer.talk.phase(), Phase::Open | Phase::Ended);
        stands && !peer.talk.waits_to_write()
    }

    /// Whether whoever is joined to this peer is read from. What comes before its connection stands may wait here for that.
    pub(super) fn takes_more(&self, peer: &Peer) -> bool {
        match peer.talk.phase() {
            Phase::Connecting => !self.conduit.leaves_bytes && !peer.talk.is_full(),
            _ => !peer.talk.waits_to_write(),
        }
    }
}

impl Turn<'_> {
    /// What is told of it now, if somebody copies the peers and has nothing else to hear of it.
    pub(crate) fn face(&mut self) -> Option<Face> {
        if !self.peers.conduit.leaves_bytes {
            // Who copies it later has its session as it is.
            self.session_changed = false;
            return None;
        }
        (!self.session_changed && self.secured().is_none()).then(|| Face::of(self, &self.peers.pairs))
    }

    /// Its turn ends. Whoever copies the peers need not hear of it if it is what it was.
    pub(crate) fn compare(&mut self, before: Option<Face>) {
        self.peers.conduit.nothing_told = before.is_some_and(|before| before == Face::of(self, &self.peers.pairs));
    }

    /// It has its turn another time.
    #[cold]
    pub(crate) fn pass_over(&mut self) {
        self.peers.conduit.nothing_told = self.peers.conduit.leaves_bytes;
    }

    /// Whether nothing is to be told of the turn that ends.
    pub(crate) fn has_nothing_to_tell(&mut self) -> bool {
        std::mem::take(&mut self.peers.conduit.nothing_told) && !self.session_changed && !self.talk.is_ending()
    }

    /// Writes what is pending for it. Whom it is joined to goes on if that had to wait and need not any more; so it does if
    /// this one's connection `stands` since this turn.
    pub(crate) fn write_waiting(&mut self, stands: bool) -> io::Result<()> {
        let (pending_bytes, awaits_room) = (self.talk.pending_bytes(), self.talk.awaits_room());
        self.flush()?;
        if awaits_room && self.has_room() {
            self.talk.await_room(false);
        }
        let has_waited = pending_bytes > 0 || awaits_room || stands;
        if has_waited && self.peers.takes_more(self) {
            self.let_partner_go();
        }
        if self.talk.pending_bytes() < pending_bytes {
            self.note_movement();
        }
        Ok(())
    }

    /// Whom it is joined to is read from again, which had to wait for it.
    #[cold]
    fn let_partner_go(&mut self) {
        let (Some(end), Some(partner_key)) = (self.pair_end, self.peers.partner_key(self)) else { return };
        let waited_ns = self.peers.now_ns.saturating_sub(self.peers.pairs.joined(end).moved_ns);
        let partner = &mut self.peers.slab[partner_key];
        // One that does not stand yet sees for itself when it does.
        if partner.talk.holds().has(Holds::PARTNER) && partner.talk.phase() != Phase::Connecting {
            partner.way = partner.way.after_wait(waited_ns);
            partner.talk.release(Holds::PARTNER);
            // Not in this turn of the loop: two who are quick enough would never let it end.
            self.peers.make_due(partner_key);
        }
    }

    /// Reads once from it, and passes that on to whom it is joined to.
    ///
    /// # Errors
    /// If its own connection is lost.
    pub(crate) fn convey(&mut self, buffer: &mut [u8]) -> io::Result<Passed> {
        match self.way {
            _ if self.secured().is_some() => self.convey_opened(buffer),
            _ if self.peers.speaks_tls && self.is_joined_to_secured() => self.convey_by_copy(buffer),
            _ if self.peers.conduit.leaves_bytes => self.convey_by_peeking(buffer),
            Way::Peeked { .. } => self.convey_by_peeking(buffer),
            Way::Piped => self.convey_by_pipe(buffer),
            Way::Copied { .. } => self.convey_by_copy(buffer),
        }
    }

    /// What has come is opened, and what is passed on may be sealed: the kernel can keep neither.
    fn convey_opened(&mut self, buffer: &mut [u8]) -> io::Result<Passed> {
        let mut plain = std::mem::take(&mut self.peers.conduit.plain);
        let (received, opened) = self.receive_secured(buffer, &mut plain)?;
        if !plain.is_empty() {
            self.pass_on(&plain);
            plain.clear();
        }
        self.peers.conduit.plain = plain;
        self.flush()?;
        Ok(match (received, opened) {
            (_, Opened::Last) => Passed::End,
            (_, Opened::Broken(why) | Opened::Failed(why)) => {
                self.close_as_lost(why);
                Passed::Nothing
            }
            (Received::Bytes(bytes), Opened::Whole) if bytes == buffer.len() => Passed::Some,
            (Received::Bytes(_), Opened::Whole) => Passed::All,
            (Received::WouldBlock | Received::End, Opened::Whole) => Passed::Nothing,
            (Received::Later, Opened::Whole) => Passed::Some,
        })
    }

    fn is_joined_to_secured(&self) -> bool {
        self.peers.partner_key(self).is_some_and(|partner_key| self.peers.slab[partner_key].secured().is_some())
    }

    fn convey_by_copy(&mut self, buffer: &mut [u8]) -> io::Result<Passed> {
        let bytes = match self.receive(buffer)? {
            Received::Bytes(bytes) => bytes,
            Received::WouldBlock => return Ok(Passed::Nothing),
            Received::End => return Ok(Passed::End),
            Received::Later => return Ok(Passed::Some),
        };
        self.way = self.way.after_copy(bytes, buffer.len());
        self.pass_on(&buffer[..bytes]);
        Ok(if bytes < buffer.len() { Passed::All } else { Passed::Some })
    }

    /// What whom it is joined to does not take at once is read out of the pipe, which is empty in the end.
    fn convey_by_pipe(&mut self, buffer: &mut [u8]) -> io::Result<Passed> {
        let Some(partner_key) = self.partner_that_takes_at_once() else { return self.convey_by_copy(buffer) };
        let Some(mut pipe) = self.peers.conduit.take_pipe() else {
            self.way = Way::COPIED;
            return self.convey_by_copy(buffer);
        };
        let bytes = pipe.fill(&**self)?;
        self.way = self.way.after_pipe(bytes);
        if bytes == 0 {
            self.peers.conduit.give_back(pipe);
            return self.convey_by_copy(buffer);
        }
        self.peers.tally.received_bytes += bytes as u64;
        self.note_movement();
        let rest = match pipe.empty_into(&self.peers.slab[partner_key], bytes) {
            Ok(left) => &mut buffer[..left],
            Err(error) => {
                self.peers.lose(partner_key, error);
                return Ok(Passed::Nothing);
            }
        };
        pipe.read_out(rest)?;
        self.peers.conduit.give_back(pipe);
        self.peers.tally.sent_bytes += (bytes - rest.len()) as u64;
        if !rest.is_empty() {
            self.pass_on(rest);
        }
        Ok(Passed::Some)
    }

    fn convey_by_peeking(&mut self, buffer: &mut [u8]) -> io::Result<Passed> {
        let bytes = match self.peek(buffer)? {
            Received::Bytes(bytes) => bytes,
            Received::WouldBlock => return Ok(Passed::Nothing),
            Received::End => return Ok(Passed::End),
            Received::Later => return Ok(Passed::Some),
        };
        let Some(partner_key) = self.partner_that_takes_at_once() else {
            self.wait_for_partner();
            return Ok(Passed::Nothing);
        };
        if !self.may_convey(partner_key) {
            return Ok(Passed::Some);
        }
        let written = match self.peers.slab[partner_key].write(&buffer[..bytes]) {
            Ok(written) => written,
            Err(error) => {
                self.peers.lose(partner_key, error);
                return Ok(Passed::Nothing);
            }
        };
        fault::here_while_sheltered(StandbyStep::TakeOff);
        self.take_off(&mut buffer[..written])?;
        self.have_conveyed(partner_key, written);
        self.count_conveyed(written);
        if written < bytes {
            self.talk.hold(Holds::PARTNER);
            self.peers.have_await_room(partner_key);
            return Ok(Passed::Nothing);
        }
        self.way = self.way.after_peek(bytes, buffer.len());
        Ok(if bytes < buffer.len() { Passed::All } else { Passed::Some })
    }

    /// What it has sent may be written to the peer at this key now. While a standby follows, that knows what is about to happen then.
    #[inline]
    fn may_convey(&mut self, partner_key: usize) -> bool {
        let key = self.key();
        let Peers { slab, shelter, .. } = &mut *self.peers;
        shelter.as_mut().is_none_or(|shelter| shelter.convey((key, &slab[key]), (partner_key, &slab[partner_key])))
    }

    #[inline]
    fn have_conveyed(&mut self, partner_key: usize, bytes: usize) {
        let key = self.key();
        self.peers.shelter.iter_mut().for_each(|shelter| shelter.have_conveyed(key, partner_key, bytes));
    }

    fn count_conveyed(&mut self, bytes: usize) {
        if bytes > 0 {
            self.peers.tally.received_bytes += bytes as u64;
            self.peers.tally.sent_bytes += bytes as u64;
            self.note_movement();
        }
    }

    /// The key of whom it is joined to, if that one's socket takes bytes now, as far as is known.
    fn partner_that_takes_at_once(&self) -> Option<usize> {
        let key = self.peers.partner_key(self)?;
        let partner = &self.peers.slab[key];
        (partner.talk.takes_output() && self.peers.takes_at_once(partner)).then_some(key)
    }

    /// What it has sent stays where it is until whom it is joined to takes it. If that one takes nothing any more, it is
    /// closed.
    fn wait_for_partner(&mut self) {
        let partner_key = self.peers.partner_key(self);
        if partner_key.is_some_and(|key| self.peers.slab[key].talk.takes_output()) {
            self.talk.hold(Holds::PARTNER);
        } else {
            self.talk.close();
        }
    }
}

impl Peers {
    /// The socket of the peer at `key` takes no more, and what is for it waits in the kernel. It has a turn of its own, in
    /// which nothing happens of which anybody would have to be told.
    fn have_await_room(&mut self, key: usize) {
        let peer = &mut self.slab[key];
        peer.talk.await_room(true);
        if let Some(end) = peer.pair_end {
            self.pairs.note_movement(end, self.now_ns);
        }
        self.make_due(key);
    }

    /// The connection of the peer at `key` is lost, as a write has shown.
    pub(super) fn lose(&mut self, key: usize, error: io::Error) {
        let peer = &mut self.slab[key];
        peer.end_because(Closed::Lost(error));
        peer.talk.reset();
        self.unsettled.push(key, peer);
    }
}
