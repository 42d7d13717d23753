//! Where peers are counted: what goes through the socket of whoever has its turn, and why it is not read from when that ends.

use std::io;

use super::handle::PeerHandle;
use super::peers::{Peers, Turn};
use super::shelter::Shelter;
use super::tally::Tally;
use super::turns;
use crate::peer::secured::{Opened, Secured};
use crate::peer::ties::{Holds, Outflow};
use crate::peer::{Marks, Peer, Phase, Received};

impl Peers {
    /// Counts the peer at `key` as what it is now.
    pub(super) fn count(&mut self, key: usize) {
        let peer = &mut self.slab[key];
        // That it is not read from while it is closed needs no reason.
        let now = if peer.talk.is_closing() { Holds::NONE } else { peer.talk.holds().lasting() };
        let before = std::mem::replace(&mut peer.counted, now);
        if now != before {
            self.tally.held.change(before, now);
        }
    }

    /// The peer at `key`, and where what goes through its socket is counted.
    #[inline]
    pub(super) fn line(&mut self, key: usize) -> Line<'_> {
        let Self { slab, tally, shelter, .. } = self;
        Line { peer: &mut slab[key], key, tally, shelter }
    }

    /// Writes `bytes` to the peer at `key`, after what is pending, unless its connection is being opened: then all is kept.
    pub(super) fn send_when_it_stands(&mut self, key: usize, bytes: &[u8], marks: Marks) -> io::Result<()> {
        let mut line = self.line(key);
        if line.peer.talk.phase() != Phase::Connecting {
            return line.send(bytes, marks);
        }
        line.peer.push(bytes);
        line.peer.talk.weigh(marks);
        Ok(())
    }

    /// What was sent to a peer in others' turns waits until a standby knows it, as what is sent in its own does. How far its connection has
    /// come is told with that.
    pub(super) fn defer_unsettled(&mut self, handle: PeerHandle) {
        let Self { slab, shelter: Some(shelter), .. } = self else { return };
        let waits = |peer: &&mut Peer| peer.talk.pending_bytes() > 0 && peer.talk.phase() != Phase::Connecting;
        turns::find(slab, handle).filter(waits).into_iter().for_each(|peer| shelter.defer(handle.key(), peer));
    }

    /// A peer that was counted so is none any more.
    pub(super) fn count_no_more(&mut self, counted: Holds) {
        self.tally.held.change(counted, Holds::NONE);
    }
}

/// A peer, and where what goes through its socket is counted. Each look-up of a peer costs, so a loop makes one.
pub(crate) struct Line<'t> {
    pub(crate) peer: &'t mut Peer,
    key: usize,
    tally: &'t mut Tally,
    shelter: &'t mut Option<Box<Shelter>>,
}

impl Line<'_> {
    /// Reads once from the peer, into `buffer`.
    #[inline]
    pub(crate) fn receive(&mut self, buffer: &mut [u8]) -> io::Result<Received> {
        let received = match self.shelter {
            None => self.peer.receive(buffer)?,
            Some(shelter) => shelter.receive(self.key, self.peer, buffer)?,
        };
        if let Received::Bytes(bytes) = received {
            self.tally.received_bytes += bytes as u64;
        }
        Ok(received)
    }

    /// Writes `bytes` to the peer, after what is pending, and keeps what the socket does not take.
    #[inline]
    pub(crate) fn send(&mut self, bytes: &[u8], marks: Marks) -> io::Result<()> {
        if self.shelter.is_some() {
            self.hold(bytes, marks);
            return Ok(());
        }
        self.tally.sent_bytes += self.peer.send(bytes, marks)? as u64;
        Ok(())
    }

    /// Keeps all of them until a standby knows what they are.
    #[inline(never)]
    fn hold(&mut self, bytes: &[u8], marks: Marks) {
        self.peer.push(bytes);
        self.peer.talk.weigh(marks);
        if let Some(shelter) = self.shelter.as_mut().filter(|_| !bytes.is_empty()) {
            shelter.defer(self.key, self.peer);
        }
    }

    /// Has what is pending wait until a standby knows it. False if nothing has to wait.
    fn defer(&mut self) -> bool {
        let Some(shelter) = self.shelter.as_mut().filter(|shelter| shelter.defers()) else { return false };
        shelter.defer(self.key, self.peer);
        true
    }
}

/// What goes through the socket of whoever has its turn is counted.
impl Turn<'_> {
    /// The peer, and where what goes through its socket is counted.
    #[inline]
    pub(crate) fn line(&mut self) -> Line<'_> {
        self.peers.line(self.key())
    }

    /// Reads once, into `buffer`.
    #[inline]
    pub(crate) fn receive(&mut self, buffer: &mut [u8]) -> io::Result<Received> {
        self.line().receive(buffer)
    }

    /// Whether it has its turn for what had to wait, and something has been done to it since, for which another turn comes.
    pub(super) fn is_to_be_settled_first(&self) -> bool {
        self.unsettled && self.peers.shelter.as_ref().is_some_and(|shelter| !shelter.defers())
    }

    /// Whether nothing waits any more of what a standby knows, which has waited for this turn.
    pub(super) fn is_flushed(&self) -> bool {
        self.is_at_rest() && self.peers.shelter.as_ref().is_some_and(|shelter| !shelter.defers())
    }

    /// Has what is to be written to it, or done to its connection, wait until a standby knows it. False if nothing has to wait.
    pub(super) fn defer(&mut self) -> bool {
        self.peers.shelter.is_some() && self.line().defer()
    }

    /// Where its bytes go through something: says behind what is pending that nothing more comes, if it is so.
    pub(super) fn end_stream(&mut self) -> io::Result<()> {
        let has_said_all = match self.talk.outflow() {
            Outflow::Reset | Outflow::LastWords => false,
            Outflow::Finishing | Outflow::Finished => true,
            Outflow::Open => self.talk.phase() == Phase::Closing,
        };
        if has_said_all && self.secured().is_some() {
            self.say_last_word();
            self.flush()?;
        }
        Ok(())
    }

    /// Its connection stands, and its service knows that. What came with the end of a handshake is told by no event, and who
    /// the other side is has been looked at by whoever wants to know.
    pub(crate) fn settle_into_tls(&mut self) {
        let Some(secured) = self.secured_mut() else { return };
        secured.forget_certificates();
        let key = self.key();
        self.peers.make_due(key);
    }

    /// Reads once, and opens what came, if something did: what that says goes to the end of `plain`.
    pub(crate) fn receive_secured(&mut self, buffer: &mut [u8], plain: &mut Vec<u8>) -> io::Result<(Received, Opened)> {
        if self.secured_mut().is_some_and(Secured::take_unheard) {
            // There may be more behind it.
            return Ok((Received::Bytes(buffer.len()), self.open(&mut [], plain)));
        }
        let received = self.receive(buffer)?;
        let opened = match received {
            Received::Bytes(bytes) => {
                let key = self.key();
                self.peers.keep_warm(key);
                self.open(&mut buffer[..bytes], plain)
            }
            // It may have ended in a turn in which it could not be told.
            Received::WouldBlock if self.secured().is_some_and(Secured::ended_orderly) => Opened::Last,
            Received::WouldBlock | Received::Later => Opened::Whole,
            Received::End if self.secured().is_none_or(Secured::ended_orderly) => Opened::Last,
            // A client that speaks TLS says that it ends. Who does not may have been cut off, by anybody (RFC 8446 section 6.1).
            Received::End => Opened::Failed("TLS: the connection ends without a word that it is to end".to_owned()),
        };
        Ok((received, opened))
    }

    /// What was kept of its input is about to be handled, or was. A standby is to know that it was this if the process dies of it; of what
    /// is read it does.
    pub(crate) fn handles_kept(&self, is_begun: bool) {
        if let Some(shelter) = &self.peers.shelter {
            shelter.handle_kept(is_begun.then(|| self.id()));
        }
    }

    /// Throws away what the client still sends, as far as a turn goes.
    pub(crate) fn discard(&mut self, buffer: &mut [u8], reads_max: u32) -> io::Result<Received> {
        let mut received = Received::WouldBlock;
        for _ in 0..reads_max {
            received = self.receive(buffer)?;
            if !matches!(received, Received::Bytes(_)) {
                break;
            }
        }
        Ok(received)
    }

    /// Writes `bytes`, after what is pending, unless its connection is being opened: then all is kept.
    pub(crate) fn send_when_it_stands(&mut self, bytes: &[u8]) -> io::Result<()> {
        let (key, marks) = (self.key(), self.marks());
        self.peers.send_when_it_stands(key, bytes, marks)
    }

    /// Writes as much of the pending output as the socket takes, and holds the peer or lets it go.
    #[inline]
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        if self.peers.shelter.is_some() {
            return self.flush_if_known();
        }
        let marks = self.marks();
        let sent = (**self).flush(marks)?;
        self.peers.tally.sent_bytes += sent as u64;
        Ok(())
    }

    /// The same while a standby follows, which has to know what is written.
    #[inline(never)]
    fn flush_if_known(&mut self) -> io::Result<()> {
        let marks = self.marks();
        if self.talk.pending_bytes() > 0 && self.defer() {
            self.talk.weigh(marks);
            return Ok(());
        }
        let sent = (**self).flush(marks)?;
        let key = self.key();
        self.peers.tally.sent_bytes += sent as u64;
        self.peers.shelter.iter_mut().for_each(|shelter| shelter.have_written(key, sent));
        Ok(())
    }
}
