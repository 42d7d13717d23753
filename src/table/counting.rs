//! Where peers are counted: what goes through the socket of whoever has its turn, and why it is not read from when that ends.

use std::io;

use super::peers::{Peers, Turn};
use super::tally::Tally;
use crate::peer::ties::Holds;
use crate::peer::{Marks, Peer, Received};

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

    /// A peer that was counted so is none any more.
    pub(super) fn count_no_more(&mut self, counted: Holds) {
        self.tally.held.change(counted, Holds::NONE);
    }
}

impl Tally {
    /// Reads once from a peer, into `buffer`.
    #[inline]
    pub(crate) fn receive(&mut self, peer: &mut Peer, buffer: &mut [u8]) -> io::Result<Received> {
        let received = peer.receive(buffer)?;
        if let Received::Bytes(bytes) = received {
            self.received_bytes += bytes as u64;
        }
        Ok(received)
    }

    /// Writes `bytes` to a peer, after what is pending, and keeps what the socket does not take.
    #[inline]
    pub(crate) fn send(&mut self, peer: &mut Peer, bytes: &[u8], marks: Marks) -> io::Result<()> {
        self.sent_bytes += peer.send(bytes, marks)? as u64;
        Ok(())
    }
}

/// What goes through the socket of whoever has its turn is counted.
impl Turn<'_> {
    /// The peer, and where what goes through its socket is counted. Each look-up of a peer costs, so a loop makes one.
    #[inline]
    pub(crate) fn counted(&mut self) -> (&mut Peer, &mut Tally) {
        let key = self.key();
        (&mut self.peers.slab[key], &mut self.peers.tally)
    }

    /// Reads once, into `buffer`.
    #[inline]
    pub(crate) fn receive(&mut self, buffer: &mut [u8]) -> io::Result<Received> {
        let (peer, tally) = self.counted();
        tally.receive(peer, buffer)
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
        let marks = self.marks();
        let sent = (**self).send_when_it_stands(bytes, marks)?;
        self.peers.tally.sent_bytes += sent as u64;
        Ok(())
    }

    /// Writes as much of the pending output as the socket takes, and holds the peer or lets it go.
    #[inline]
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        let marks = self.marks();
        let sent = (**self).flush(marks)?;
        self.peers.tally.sent_bytes += sent as u64;
        Ok(())
    }
}
