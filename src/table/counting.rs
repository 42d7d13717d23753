//! Where peers are counted: what goes through the socket of whoever has its turn, and why it is not read from when that ends.

use std::io;

use super::peers::{Peers, Turn};
use crate::peer::Received;
use crate::peer::ties::Holds;

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

/// What goes through the socket of whoever has its turn is counted.
impl Turn<'_> {
    /// Reads once, into `buffer`.
    #[inline]
    pub(crate) fn receive(&mut self, buffer: &mut [u8]) -> io::Result<Received> {
        let received = (**self).receive(buffer)?;
        if let Received::Bytes(bytes) = received {
            self.peers.tally.received_bytes += bytes as u64;
        }
        Ok(received)
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

    /// Writes `bytes`, after what is pending, and keeps what the socket does not take.
    #[inline]
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let marks = self.marks();
        let sent = (**self).send(bytes, marks)?;
        self.peers.tally.sent_bytes += sent as u64;
        Ok(())
    }

    /// The same, unless its connection is being opened: then all is kept.
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
