//! What is said between a client and a service, as far as both have come: received and not handled, answered and not
//! written, and what may happen next. Pure: it knows neither sockets nor services.

use mio::Interest;

use super::backlog::{Backlog, Misplaced};
use super::record::{Change, Phase, Stretch};

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
    pub(crate) inbound: Backlog,
    outbound: Backlog,
    phase: Phase,
    /// Stopped by back-pressure, or restored and not served yet.
    held: bool,
}

impl Talk {
    /// Nothing has been said.
    pub(crate) fn new() -> Self {
        Self { inbound: Backlog::default(), outbound: Backlog::default(), phase: Phase::Open, held: false }
    }

    /// Goes on where another process left off.
    pub(crate) fn resume(phase: Phase, inbound: Backlog, outbound: Backlog, marks: Marks) -> Self {
        let mut talk = Self { inbound, outbound, phase, held: false };
        talk.hold_until_served(marks);
        talk
    }

    /// Follows another process, which has gone on since.
    ///
    /// # Errors
    /// If it has not gone on from here; says in which direction.
    pub(crate) fn follow(&mut self, change: &Change<'_>, marks: Marks) -> Result<(), (&'static str, Misplaced)> {
        self.inbound.shift(change.inbound).map_err(|misplaced| ("input", misplaced))?;
        self.outbound.shift(change.outbound).map_err(|misplaced| ("output", misplaced))?;
        self.phase = change.phase;
        self.hold_until_served(marks);
        Ok(())
    }

    fn hold_until_served(&mut self, marks: Marks) {
        // Until its first turn also whoever has bytes in here: by this process's marks and boundaries they may hold
        // whole messages, and those come before what is read.
        self.held = self.outbound.len() > marks.low_bytes || !self.inbound.is_empty();
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
            Phase::Open | Phase::Ended if !self.outbound.is_empty() => READING | Interest::WRITABLE,
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
        self.outbound.len()
    }

    /// What waits to be written.
    pub(crate) fn pending(&self) -> &[u8] {
        self.outbound.as_slice()
    }

    /// The same, with its position.
    pub(crate) fn outbound(&self) -> Stretch<'_> {
        self.outbound.stretch()
    }

    /// Whether something was left undone that no event will ask for.
    pub(crate) fn has_unfinished_work(&self) -> bool {
        !self.inbound.is_empty() || !self.outbound.is_empty() || self.is_closing()
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
        self.held = match self.outbound.len() {
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
