//! What is said between a client and a service, as far as both have come: received and not handled, answered and not
//! written, and what may happen next. Pure: it knows neither sockets nor services.

use mio::Interest;

use super::record::Phase;

/// What a peer is woken for when it is read from. Urgent data (tcp(7)) is read like any other, but the kernel has reads
/// stop short before it; so the loop must know of it.
pub(crate) const READING: Interest = Interest::READABLE.add(Interest::PRIORITY);

/// The marks of pending output between which a peer is read from, or not.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Marks {
    /// With more bytes pending, a peer is held: it is not read from, and its messages are not handled.
    pub(crate) high_bytes: usize,
    /// With no more bytes pending, a held peer is let go.
    pub(crate) low_bytes: usize,
}

/// How far the conversation with one client has come.
#[derive(Debug)]
pub(crate) struct Talk {
    /// Received and not handled: less than a message, unless the peer is held.
    pub(crate) inbound: Vec<u8>,
    outbound: Outbound,
    phase: Phase,
    /// Stopped by back-pressure, or restored and not served yet.
    held: bool,
}

impl Talk {
    /// Nothing has been said.
    pub(crate) fn new() -> Self {
        Self { inbound: Vec::new(), outbound: Outbound::default(), phase: Phase::Open, held: false }
    }

    /// Goes on where another process left off.
    pub(crate) fn resume(phase: Phase, inbound: Vec<u8>, outbound: Vec<u8>, marks: Marks) -> Self {
        // Until its first turn also whoever has bytes in here: by this process's marks and boundaries they may hold
        // whole messages, and those come before what is read.
        let held = outbound.len() > marks.low_bytes || !inbound.is_empty();
        Self { inbound, outbound: Outbound { bytes: outbound, written: 0 }, phase, held }
    }

    pub(crate) fn phase(&self) -> Phase {
        self.phase
    }

    /// What the peer is to be woken for now.
    pub(crate) fn interest(&self) -> Interest {
        match self.phase {
            Phase::Closing => Interest::WRITABLE,
            Phase::Lingering => READING,
            Phase::Open | Phase::Ended if self.held => Interest::WRITABLE,
            Phase::Open | Phase::Ended if self.outbound.pending() > 0 => READING | Interest::WRITABLE,
            Phase::Open | Phase::Ended => READING,
        }
    }

    /// Whether it is read from and its messages are handled.
    pub(crate) fn listens(&self) -> bool {
        !self.held && !self.is_closing()
    }

    /// Whether the service has said its last word.
    pub(crate) fn is_closing(&self) -> bool {
        matches!(self.phase, Phase::Closing | Phase::Lingering)
    }

    /// How many bytes wait to be written.
    pub(crate) fn pending_bytes(&self) -> usize {
        self.outbound.pending()
    }

    /// What waits to be written.
    pub(crate) fn pending(&self) -> &[u8] {
        self.outbound.as_slice()
    }

    /// Whether something was left undone that no event will ask for.
    pub(crate) fn has_unfinished_work(&self) -> bool {
        !self.inbound.is_empty() || self.outbound.pending() > 0 || self.is_closing()
    }

    /// Adds to what waits to be written.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.outbound.push(bytes);
    }

    /// So many bytes were written.
    pub(crate) fn written(&mut self, bytes: usize) {
        self.outbound.advance(bytes);
    }

    /// Holds the peer, or lets it go, by what waits to be written.
    pub(crate) fn weigh(&mut self, marks: Marks) {
        self.held = match self.outbound.pending() {
            pending if pending > marks.high_bytes => true,
            pending if pending <= marks.low_bytes => false,
            _ => self.held,
        };
    }

    /// The client has sent all it will send. True if that is news.
    pub(crate) fn end(&mut self) -> bool {
        let is_news = self.phase == Phase::Open;
        if is_news {
            self.phase = Phase::Ended;
        }
        is_news
    }

    /// The service has said its last word.
    pub(crate) fn close(&mut self) {
        if self.phase != Phase::Lingering {
            self.phase = Phase::Closing;
        }
    }

    /// The last word is written, and nothing that the client says is listened to.
    pub(crate) fn linger(&mut self) {
        self.phase = Phase::Lingering;
    }
}

/// Bytes that wait to be written. It holds no memory while it is empty.
#[derive(Debug, Default)]
struct Outbound {
    bytes: Vec<u8>,
    /// So many of them are written already.
    written: usize,
}

impl Outbound {
    fn as_slice(&self) -> &[u8] {
        &self.bytes[self.written..]
    }

    fn pending(&self) -> usize {
        self.bytes.len() - self.written
    }

    fn push(&mut self, bytes: &[u8]) {
        // What is written makes room before the buffer would grow.
        if self.bytes.len() + bytes.len() > self.bytes.capacity() {
            self.bytes.drain(..std::mem::take(&mut self.written));
        }
        self.bytes.extend_from_slice(bytes);
    }

    fn advance(&mut self, written: usize) {
        self.written += written;
        if self.pending() == 0 {
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outbound_keeps_the_order_and_frees_its_memory_when_empty() {
        let mut outbound = Outbound::default();
        let mut expected = Vec::new();
        for round in 0..100u8 {
            outbound.push(&[round; 7]);
            expected.extend([round; 7]);
            outbound.advance(5);
            expected.drain(..5);
            assert_eq!(outbound.as_slice(), expected);
        }
        outbound.advance(outbound.pending());
        assert_eq!((outbound.pending(), outbound.bytes.capacity()), (0, 0));
    }
}
