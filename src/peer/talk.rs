//! What is said between a client and a service, as far as both have come: received and not handled, answered and not
//! written, and what may happen next. Pure: it knows neither sockets nor services.

use mio::Interest;

use super::backlog::{Backlog, Misplaced};
use super::record::{Change, Phase, Stretch};
use super::ties::{Holds, Outflow, Ties};
use crate::config::Config;

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

impl From<&Config> for Marks {
    /// Those that the program has asked for. Where they are the wrong way round, the high one counts for both.
    fn from(config: &Config) -> Self {
        let high_bytes = config.outbound_high_bytes;
        Self { high_bytes, low_bytes: config.outbound_low_bytes.min(high_bytes) }
    }
}

/// How far the conversation with one client has come.
#[derive(Debug)]
pub(crate) struct Talk {
    /// Received and not handled: less than a message, unless the peer is held.
    pub(crate) inbound: Backlog,
    outbound: Backlog,
    phase: Phase,
    /// Why it is not read from, if it is not.
    holds: Holds,
    outflow: Outflow,
    /// What a peer that is joined to this one has sent waits in the kernel until this one's socket takes it.
    awaits_room: bool,
    /// When the connection came: s of the clock that the table keeps. 0 if nobody has said.
    since_s: u32,
}

impl Talk {
    /// Nothing has been said.
    pub(crate) fn new() -> Self {
        let [inbound, outbound] = [Backlog::default(), Backlog::default()];
        let (phase, holds, outflow) = (Phase::Open, Holds::NONE, Outflow::Open);
        Self { inbound, outbound, phase, holds, outflow, awaits_room: false, since_s: 0 }
    }

    /// The same of a connection that came then.
    pub(crate) fn since(self, since_s: u32) -> Self {
        Self { since_s, ..self }
    }

    pub(crate) fn since_s(&self) -> u32 {
        self.since_s
    }

    /// Nothing has been said, and nothing can be before the connection stands.
    pub(crate) fn connecting() -> Self {
        Self { phase: Phase::Connecting, ..Self::new() }
    }

    /// Goes on where another process left off.
    pub(crate) fn resume(phase: Phase, inbound: Backlog, outbound: Backlog, ties: &Ties<'_>, marks: Marks) -> Self {
        let mut talk = Self { inbound, outbound, phase, outflow: ties.outflow, ..Self::new() };
        talk.hold_until_served(ties.holds, marks);
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
        self.outflow = change.ties.outflow;
        self.hold_until_served(change.ties.holds, marks);
        Ok(())
    }

    fn hold_until_served(&mut self, told: Holds, marks: Marks) {
        self.holds = told;
        if self.outbound.len() > marks.high_bytes {
            self.hold(Holds::OUTPUT);
        }
        // Until its first turn also whoever has bytes in here: by this process's marks and boundaries they may hold
        // whole messages, and those come before what is read.
        if !self.inbound.is_empty() {
            self.hold(Holds::TURN);
        }
    }

    pub(crate) fn phase(&self) -> Phase {
        self.phase
    }

    /// What the peer is to be woken for now.
    pub(crate) fn interest(&self) -> Interest {
        match self.phase {
            Phase::Closing | Phase::Connecting => Interest::WRITABLE,
            Phase::Lingering => READING,
            Phase::Open | Phase::Ended => match (self.holds.lasting().is_none(), !self.waits_to_write()) {
                (true, true) => READING,
                (true, false) => READING | Interest::WRITABLE,
                // That something urgent comes is told whatever else is waited for: a standby counts on that.
                (false, false) => Interest::WRITABLE | Interest::PRIORITY,
                // For nothing: that it can be written to would be told at once.
                (false, true) => Interest::PRIORITY,
            },
        }
    }

    /// Whether both directions are open, nothing waits to be written, and this is all that there is of reasons not to read.
    #[inline]
    pub(crate) fn is_at_rest(&self, holds: Holds) -> bool {
        self.phase == Phase::Open && self.holds == holds && self.outflow == Outflow::Open && self.outbound.is_empty()
    }

    /// Whether it is read from and its messages are handled.
    pub(crate) fn listens(&self) -> bool {
        self.holds.is_none() && matches!(self.phase, Phase::Open | Phase::Ended)
    }

    /// Why it is not read from, if it is not.
    pub(crate) fn holds(&self) -> Holds {
        self.holds
    }

    /// Whether its pending output was over the high-water mark, and is not below the low one yet.
    pub(crate) fn is_full(&self) -> bool {
        self.holds.has(Holds::OUTPUT)
    }

    /// It is not read from, for this reason among others.
    pub(crate) fn hold(&mut self, reason: Holds) {
        self.holds = self.holds.with(reason);
    }

    /// This is no reason any more not to read from it. What was kept of its input comes first, in its next turn.
    pub(crate) fn release(&mut self, reason: Holds) {
        if self.holds.has(reason) {
            self.holds = self.holds.without(reason).with(Holds::TURN);
        }
    }

    /// Whether nothing holds it but that it has not had its turn since it was let go.
    pub(crate) fn waits_for_its_turn(&self) -> bool {
        let others = self.holds.without(Holds::TURN);
        self.holds != others && others.is_none() && !self.is_closing()
    }

    /// It has its turn.
    pub(crate) fn begin_turn(&mut self) {
        self.holds = self.holds.without(Holds::TURN);
    }

    /// Whether the service has said its last word.
    pub(crate) fn is_closing(&self) -> bool {
        matches!(self.phase, Phase::Closing | Phase::Lingering)
    }

    /// Whether the server has said its last word, or is saying it, whether or not it still listens.
    #[inline]
    pub(crate) fn is_ending(&self) -> bool {
        self.is_closing() || self.outflow != Outflow::Open
    }

    pub(crate) fn outflow(&self) -> Outflow {
        self.outflow
    }

    /// Whether what is sent to it will be written.
    pub(crate) fn takes_output(&self) -> bool {
        self.outflow == Outflow::Open && !self.is_closing()
    }

    /// The same of what the call that is under way answers.
    pub(crate) fn takes_answers(&self) -> bool {
        matches!(self.outflow, Outflow::Open | Outflow::LastWords) && !self.is_closing()
    }

    /// Whether something is to be written to it when its socket takes more.
    pub(crate) fn waits_to_write(&self) -> bool {
        !self.outbound.is_empty() || self.awaits_room
    }

    /// Whether what is to be written to it is not here, but in the kernel still.
    pub(crate) fn awaits_room(&self) -> bool {
        self.awaits_room
    }

    /// From now on that is so, or not any more.
    pub(crate) fn await_room(&mut self, awaits_room: bool) {
        self.awaits_room = awaits_room;
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
        let is_connecting = self.phase == Phase::Connecting;
        let is_held_for_another = self.holds.has(Holds::PARTNER);
        let waits = !self.inbound.is_empty() || !self.outbound.is_empty();
        // Also whose output has drained, if nobody has said so yet.
        waits || self.is_full() || is_connecting || is_held_for_another || self.is_ending()
    }

    /// Adds to what waits to be written.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.outbound.push(bytes);
    }

    /// The same with bytes that are needed nowhere else.
    pub(crate) fn append(&mut self, bytes: Vec<u8>) {
        self.outbound.append(bytes);
    }

    /// So many bytes were written.
    pub(crate) fn written(&mut self, bytes: usize) {
        self.outbound.advance(bytes);
    }

    /// Holds the peer, or lets it go, by what waits to be written.
    pub(crate) fn weigh(&mut self, marks: Marks) {
        self.holds = match self.outbound.len() {
            pending if pending > marks.high_bytes => self.holds.with(Holds::OUTPUT),
            pending if pending <= marks.low_bytes => self.holds.without(Holds::OUTPUT),
            _ => self.holds,
        };
    }

    /// It was full, and is not any more: its service is told so when its turn comes, and before what was kept of its input. False if
    /// there is nothing to tell.
    pub(crate) fn drain_later(&mut self) -> bool {
        let has_drained = !self.is_full() && self.takes_output();
        if has_drained {
            self.hold(Holds::OUTPUT);
        }
        has_drained
    }

    /// The client has sent all it will send. True if that is news.
    pub(crate) fn end(&mut self) -> bool {
        let is_news = self.phase == Phase::Open;
        if is_news {
            self.phase = Phase::Ended;
        }
        is_news
    }

    /// The service has said its last word. A connection that does not stand is given up.
    pub(crate) fn close(&mut self) {
        match self.phase {
            Phase::Lingering => {}
            Phase::Connecting => self.reset(),
            Phase::Open | Phase::Ended | Phase::Closing => self.phase = Phase::Closing,
        }
    }

    /// What is pending is the last that is written.
    pub(crate) fn finish(&mut self) {
        if matches!(self.outflow, Outflow::Open | Outflow::LastWords) {
            self.outflow = Outflow::Finishing;
        }
    }

    /// What is pending, and what the call under way will answer, is the last that is written.
    pub(crate) fn finish_after_call(&mut self) {
        if self.outflow == Outflow::Open {
            self.outflow = Outflow::LastWords;
        }
    }

    /// Ends the output if all of it is written, and says so. When the client has ended too, both have said all.
    pub(crate) fn finish_output(&mut self) -> bool {
        let finishes =
            self.outflow == Outflow::Finishing && self.outbound.is_empty() && self.phase != Phase::Connecting;
        if finishes {
            self.outflow = Outflow::Finished;
        }
        if self.phase == Phase::Ended && self.outflow != Outflow::Open {
            self.phase = Phase::Closing;
        }
        finishes
    }

    /// The connection is to be reset.
    pub(crate) fn reset(&mut self) {
        self.phase = Phase::Closing;
        self.outflow = Outflow::Reset;
    }

    /// The connection that the service opened stands.
    pub(crate) fn stand(&mut self) {
        self.phase = Phase::Open;
        self.hold(Holds::TURN);
    }

    /// The last word is written, and nothing that the client says is listened to.
    pub(crate) fn linger(&mut self) {
        self.phase = Phase::Lingering;
    }
}
