//! The only calls of the service: it gets what peers send, in order, and what it answers is written.

use std::io;
use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use log::warn;

use super::carrying::{READS_PER_TURN, carry};
use super::wake::Wake;
use crate::limited::{Kind, Limited};
use crate::peer::closed::Closed;
use crate::peer::connect::Unreached;
use crate::peer::secured::{Opened, Secured};
use crate::peer::ties::{Holds, Outflow};
use crate::peer::{Backlog, Phase, Received};
use crate::service::{Accepted, Context, StreamService, Violation};
use crate::table::{Gone, Peers, Sessions, Turn, TurnEnd};

/// If it takes the service longer to use up what one read has brought, it is the others' turn at once, and the next read
/// takes less. Only a read that has filled the buffer is timed: others are the last in their turn.
const READ_USED_WITHIN: Duration = Duration::from_micros(500);

/// A read takes this much at least, so that the calls of the kernel do not count beside what the service does.
const READ_BYTES_MIN: usize = 8 * 1024;

/// What is opened at once has room for the largest record, and not for a number of pages: buffers of whole pages lie one behind the
/// other so that each begins 16 bytes later in its page than the one before, and there some processors copy twenty times as
/// slowly (`rep movsb` where the source is up to 32 bytes before the destination, modulo 4,096).
const PLAIN_BYTES: usize = 17 * 1024;

/// A service with its sessions, and what it has answered in the call that is under way.
pub(super) struct Answering<S: StreamService> {
    service: S,
    sessions: Sessions<S::Session>,
    replies: Vec<u8>,
    /// What was opened last. It is empty between two turns.
    plain: Vec<u8>,
    /// The time of this turn of the loop.
    now: Instant,
    /// How many lines peers may cause.
    limited: Limited,
    /// How much one read takes at most, by how long the service has needed for it.
    read_bytes_max: usize,
}

/// What came of calls of the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// The service waits for more.
    Incomplete,
    /// Answers are over the high-water mark.
    TooMuchPending,
    /// The peer is to be closed.
    Over,
}

impl<S: StreamService> Answering<S> {
    pub(super) fn new(service: S, capacity: usize) -> Self {
        Self {
            service,
            sessions: Sessions::new(capacity),
            replies: Vec::new(),
            plain: Vec::new(),
            now: Instant::now(),
            limited: Limited::default(),
            read_bytes_max: usize::MAX,
        }
    }

    pub(super) fn begin_turn(&mut self, now: Instant) {
        self.now = now;
    }

    pub(super) fn limited(&self) -> &Limited {
        &self.limited
    }

    pub(super) fn limited_mut(&mut self) -> &mut Limited {
        &mut self.limited
    }

    /// Whether a line of this kind may be written.
    pub(super) fn admits(&mut self, kind: Kind) -> bool {
        self.limited.admits(kind, self.now)
    }

    pub(super) fn service(&self) -> &S {
        &self.service
    }

    pub(super) fn service_mut(&mut self) -> &mut S {
        &mut self.service
    }

    // ── Sessions ───────────────────────────────────────────────────────────────────────────────────────────────────

    pub(super) fn save_session(&self, key: usize, saved: &mut Vec<u8>) {
        let session = self.sessions.get(key).expect("every peer has a session between two calls of the service");
        self.service.save_session(session, saved);
    }

    pub(super) fn insert_session(&mut self, key: usize, session: S::Session) {
        self.sessions.insert(key, session);
    }

    pub(super) fn drop_session(&mut self, key: usize) {
        self.sessions.remove(key);
    }

    // ── A peer's life ──────────────────────────────────────────────────────────────────────────────────────────────

    /// A peer has come.
    pub(super) fn open(&mut self, turn: &mut Turn<'_>, how: &Accepted<'_>) -> io::Result<TurnEnd> {
        let Self { service, sessions, replies, now, .. } = self;
        let (key, id, address) = (turn.key(), turn.id(), turn.address());
        let mut context = Context::new(id, address, *now, replies, turn.everybody(), sessions.all());
        let session = service.accepted(how, &mut context);
        let (closing, deadline_ns) = (context.is_closing(), context.deadline_ns());
        sessions.insert(key, session);
        settle(turn, closing, deadline_ns);
        self.write_replies(turn)?;
        Ok(TurnEnd::Drained)
    }

    /// Calls the service about a peer that has a session, and does to the peer what comes of it. Says whether it is to be
    /// closed.
    fn call(
        &mut self,
        turn: &mut Turn<'_>,
        call: impl FnOnce(&mut S, &mut S::Session, &mut Context<'_, S>),
    ) -> io::Result<bool> {
        let Self { service, sessions, replies, now, .. } = self;
        turn.session_changed = true;
        let (id, address) = (turn.id(), turn.address());
        let (session, others) = sessions.split(turn.key()).expect("a peer has a session from its first turn on");
        let mut context = Context::new(id, address, *now, replies, turn.everybody(), others);
        call(service, session, &mut context);
        let (closing, deadline_ns) = (context.is_closing(), context.deadline_ns());
        let was_full = turn.talk.is_full();
        settle(turn, closing, deadline_ns);
        self.write_replies_beside_input(turn)?;
        if was_full {
            // That it has drained by now is said, and what was kept of its input handled, when its turn comes to that.
            turn.talk.hold(Holds::OUTPUT);
        }
        Ok(closing)
    }

    /// Tells the service something about a peer, unless that is being closed.
    pub(super) fn tell(
        &mut self,
        turn: &mut Turn<'_>,
        tell: impl FnOnce(&mut S, &mut S::Session, &mut Context<'_, S>),
    ) -> io::Result<()> {
        if turn.talk.is_closing() { Ok(()) } else { self.call(turn, tell).map(drop) }
    }

    /// A peer is gone.
    pub(super) fn part_with(&mut self, gone: Gone, peers: &mut Peers) {
        let Gone { key, address, how, departed } = gone;
        let Self { service, sessions, replies, now, .. } = self;
        let session = sessions.remove(key).expect("a peer has a session from its first turn to its last");
        let id = departed.id;
        peers.begin_to_tell(departed);
        let mut context = Context::new(id, address, *now, replies, peers, sessions.all());
        service.closed(session, &how, &mut context);
        peers.have_told();
        replies.clear();
    }

    /// A call that is about no peer.
    pub(super) fn call_alone<R>(&mut self, peers: &mut Peers, act: impl FnOnce(&mut S, &mut Context<'_, S>) -> R) -> R {
        let Self { service, sessions, replies, now, .. } = self;
        let answer = act(service, &mut Context::about_nobody(*now, replies, peers, sessions.all()));
        replies.clear();
        answer
    }

    /// Writes what is pending, handles what was held back, and reads, as far as each goes.
    // It is on the way of every message, and has several callers: as a function of its own it costs 22 instructions.
    #[inline(always)]
    pub(super) fn advance(&mut self, turn: &mut Turn<'_>, wake: Wake, input: &mut [u8]) -> io::Result<TurnEnd> {
        let peer = &**turn;
        if peer.due && peer.talk.listens() && matches!(wake, Wake::Event { .. }) {
            // It has its turn without this event, and no second one before others have theirs.
            turn.pass_over();
            return Ok(TurnEnd::Drained);
        }
        if !peer.is_at_rest() {
            return self.go_on(turn, wake, input);
        }
        let (readable, read_closed) = wake.reads();
        if readable { self.read(turn, input, read_closed) } else { Ok(TurnEnd::Drained) }
    }

    /// The same for a peer about which there is something to do besides.
    #[inline(never)]
    fn go_on(&mut self, turn: &mut Turn<'_>, wake: Wake, input: &mut [u8]) -> io::Result<TurnEnd> {
        let (was_full, was_connecting) = (turn.talk.is_full(), turn.talk.phase() == Phase::Connecting);
        match turn.talk.phase() {
            Phase::Lingering => return linger(turn, input),
            // What has become of it is told by the event that follows its registration.
            Phase::Connecting if wake == Wake::SentTo => return Ok(TurnEnd::Drained),
            Phase::Connecting if !self.connect(turn)? => return Ok(TurnEnd::Drained),
            _ => {}
        }
        if turn.is_joined() {
            let had_ended = turn.talk.phase() != Phase::Open;
            let progress = carry(turn, input, wake, was_connecting)?;
            if !had_ended && turn.talk.phase() == Phase::Ended {
                self.call(turn, S::half_closed)?;
            }
            return Ok(progress);
        }
        if turn.particulars().is_some() {
            turn.look_at_writer();
        }
        let held = !turn.talk.listens();
        turn.flush()?;
        if wake == Wake::SentTo {
            return Ok(go_on_later(turn, was_full));
        }
        if held || was_full {
            self.let_go(turn, was_full)?;
        }
        let (readable, read_closed) = wake.reads_after(held);
        match readable {
            true if turn.secured().is_some() => self.read_secured(turn, input, read_closed),
            true => self.read(turn, input, read_closed),
            false => Ok(TurnEnd::Drained),
        }
    }

    /// Sees whether a connection stands that the service has opened, and tells it.
    fn connect(&mut self, turn: &mut Turn<'_>) -> io::Result<bool> {
        match turn.stands() {
            Ok(true) => {
                turn.stand();
                self.call(turn, S::connected)?;
                turn.settle_into_tls();
                Ok(true)
            }
            Ok(false) => Ok(false),
            // So it ends, and is not reset: the other side may be on its way to hear why.
            Err(Unreached::HandshakeFailed(error)) => {
                turn.end_because(Closed::Unreachable(error));
                Err(io::ErrorKind::InvalidData.into())
            }
            Err(Unreached::Lost(error)) => {
                turn.end_because(Closed::Unreachable(error));
                turn.talk.close();
                Ok(false)
            }
        }
    }

    /// Lets a peer go on that was held, unless it still is. What was kept of its input comes before what is read.
    fn let_go(&mut self, turn: &mut Turn<'_>, was_full: bool) -> io::Result<()> {
        turn.talk.begin_turn();
        if was_full && !turn.talk.is_full() && turn.talk.takes_output() {
            self.call(turn, S::drained)?;
        }
        if turn.talk.listens() && !turn.talk.inbound.is_empty() {
            let inbound = std::mem::take(&mut turn.talk.inbound);
            turn.handles_kept(true);
            let handled = self.handle(turn, inbound, 0);
            turn.handles_kept(false);
            handled?;
        }
        Ok(())
    }

    #[inline]
    fn read(&mut self, turn: &mut Turn<'_>, input: &mut [u8], to_the_end: bool) -> io::Result<TurnEnd> {
        for _ in 0..READS_PER_TURN {
            let mut line = turn.line();
            if !line.peer.talk.listens() {
                return Ok(TurnEnd::Drained);
            }
            let room = input.len().min(self.read_bytes_max);
            match line.receive(&mut input[..room])? {
                Received::Bytes(bytes) => {
                    let begun = (bytes == room).then(Instant::now);
                    if line.peer.talk.inbound.is_empty() {
                        self.handle_in_place(turn, &input[..bytes])?;
                    } else {
                        self.handle_behind(turn, &input[..bytes])?;
                    }
                    if bytes < room && !to_the_end {
                        return Ok(TurnEnd::Drained);
                    }
                    if begun.is_some_and(|begun| self.took_long(begun.elapsed(), turn, room)) {
                        break;
                    }
                }
                Received::WouldBlock => return Ok(TurnEnd::Drained),
                Received::End => {
                    line.peer.check_end()?;
                    if line.peer.talk.end() {
                        self.end(turn)?;
                    }
                    return Ok(TurnEnd::Drained);
                }
                Received::Later => break,
            }
        }
        Ok(TurnEnd::BudgetSpent)
    }

    /// The same for a peer whose bytes go through something.
    #[inline(never)]
    fn read_secured(&mut self, turn: &mut Turn<'_>, input: &mut [u8], to_the_end: bool) -> io::Result<TurnEnd> {
        for _ in 0..READS_PER_TURN {
            if !turn.talk.listens() {
                return Ok(TurnEnd::Drained);
            }
            let (room, begun) = (input.len().min(self.read_bytes_max), Instant::now());
            let mut plain = std::mem::take(&mut self.plain);
            plain.reserve(PLAIN_BYTES);
            // What came with the end of a handshake was read before this.
            if turn.secured().is_some_and(Secured::has_unheard) {
                turn.handles_kept(true);
            }
            let (received, opened) = turn.receive_secured(&mut input[..room], &mut plain)?;
            let handled = self.handle_opened(turn, plain, opened);
            turn.handles_kept(false);
            handled?;
            match received {
                Received::Bytes(bytes) if bytes < room && !to_the_end => return Ok(TurnEnd::Drained),
                Received::Bytes(bytes) => {
                    if bytes == room && self.took_long(begun.elapsed(), turn, room) {
                        break;
                    }
                }
                Received::WouldBlock => return Ok(TurnEnd::Drained),
                Received::End => {
                    turn.check_end()?;
                    return Ok(TurnEnd::Drained);
                }
                Received::Later => break,
            }
        }
        Ok(TurnEnd::BudgetSpent)
    }

    /// Has the service handle what another process has read, which has come to nothing with that. The peer is looked at once more then.
    pub(super) fn take_up(&mut self, turn: &mut Turn<'_>, came: &mut [u8]) -> io::Result<TurnEnd> {
        if turn.talk.phase() == Phase::Lingering {
            return Ok(TurnEnd::BudgetSpent);
        }
        let mut plain = std::mem::take(&mut self.plain);
        let opened = match turn.secured() {
            Some(_) => turn.open(came, &mut plain),
            None => {
                plain.extend_from_slice(came);
                Opened::Whole
            }
        };
        if turn.is_joined() && turn.talk.inbound.is_empty() {
            turn.pass_on(&plain);
            plain.clear();
        } else if turn.is_joined() || !turn.talk.listens() {
            turn.talk.inbound.push(&plain);
            plain.clear();
        }
        self.handle_opened(turn, plain, opened)?;
        Ok(TurnEnd::BudgetSpent)
    }

    /// Has the service use what was opened, and ends what has come to its end with that.
    fn handle_opened(&mut self, turn: &mut Turn<'_>, mut plain: Vec<u8>, opened: Opened) -> io::Result<()> {
        if !plain.is_empty() {
            if turn.talk.inbound.is_empty() {
                self.handle_in_place(turn, &plain)?;
            } else {
                self.handle_behind(turn, &plain)?;
            }
            plain.clear();
        }
        self.plain = plain;
        // Whoever is held is looked at when its next turn begins: let go here, it would be read from before what was kept of its
        // input is handled, or end with that.
        if turn.talk.listens() {
            turn.flush()?;
        }
        match opened {
            Opened::Whole => {}
            // Not before all that came before it is handled: it is said again then.
            Opened::Last if turn.talk.listens() && !turn.is_joined() && turn.talk.end() => self.end(turn)?,
            Opened::Last => {}
            Opened::Broken(why) => {
                self.note_violation(turn, Violation::new(why));
                turn.talk.close();
            }
            Opened::Failed(why) => turn.close_as_lost(why),
        }
        Ok(())
    }

    /// Says whether the service has needed long for a read that has filled the buffer, and has the next one take less; or
    /// more, if it was fast. For a service that keeps what it gets, less at a time would be no less in all.
    #[cold]
    fn took_long(&mut self, time: Duration, turn: &Turn<'_>, room: usize) -> bool {
        let took_long = time > READ_USED_WITHIN;
        if turn.talk.inbound.len() < room {
            if took_long {
                self.read_bytes_max = (room / 2).max(READ_BYTES_MIN);
            } else if time < READ_USED_WITHIN / 4 {
                self.read_bytes_max = room.saturating_mul(2);
            }
        }
        took_long
    }

    /// Has the service use what is in `input`, and keeps what is left.
    fn handle_in_place(&mut self, turn: &mut Turn<'_>, input: &[u8]) -> io::Result<()> {
        let used = self.use_input(turn, input, 0)?;
        if used < input.len() {
            turn.talk.inbound.push(&input[used..]);
        }
        Ok(())
    }

    /// Has the service use `input` behind what was kept, which it has seen before.
    fn handle_behind(&mut self, turn: &mut Turn<'_>, input: &[u8]) -> io::Result<()> {
        let mut inbound = std::mem::take(&mut turn.talk.inbound);
        let searched = inbound.len();
        inbound.push(input);
        self.handle(turn, inbound, searched)
    }

    /// Has the service use what is in `inbound`, whose first `searched` bytes it has seen before, and keeps what is left.
    fn handle(&mut self, turn: &mut Turn<'_>, mut inbound: Backlog, searched: usize) -> io::Result<()> {
        let used = self.use_input(turn, inbound.as_slice(), searched)?;
        inbound.advance(used);
        turn.talk.inbound = inbound;
        Ok(())
    }

    /// Calls the service until it waits for more, or its answers are over the high-water mark and the socket does not take
    /// them. Returns how many bytes need not be kept.
    fn use_input(&mut self, turn: &mut Turn<'_>, input: &[u8], mut searched: usize) -> io::Result<usize> {
        let mut used = 0;
        loop {
            let used_before = used;
            let verdict = self.call_service(turn, &input[used..], &mut used, std::mem::take(&mut searched));
            self.write_replies(turn)?;
            match verdict {
                Verdict::Over => {
                    turn.talk.close();
                    return Ok(input.len());
                }
                Verdict::Incomplete => return Ok(used),
                Verdict::TooMuchPending if !turn.talk.listens() => return Ok(used),
                // The socket has taken them. Who uses nothing may go on answering for ever, so it is others' turn then.
                Verdict::TooMuchPending if used == used_before => {
                    turn.drain_in_next_turn();
                    return Ok(used);
                }
                Verdict::TooMuchPending if used < input.len() => {}
                Verdict::TooMuchPending => return Ok(used),
            }
        }
    }

    fn call_service(&mut self, turn: &mut Turn<'_>, input: &[u8], used: &mut usize, searched: usize) -> Verdict {
        self.answer(turn, input, used, searched).unwrap_or_else(|violation| {
            self.note_violation(turn, violation);
            Verdict::Over
        })
    }

    /// A peer is about to be closed for this, as its service will hear.
    fn note_violation(&mut self, turn: &mut Turn<'_>, violation: Violation) {
        if self.admits(Kind::BrokenProtocol) {
            warn!("Peer {} broke the protocol and is closed: {violation}", turn.address());
        }
        turn.end_because(Closed::Violation(violation));
    }

    fn answer(
        &mut self,
        turn: &mut Turn<'_>,
        input: &[u8],
        used: &mut usize,
        searched: usize,
    ) -> Result<Verdict, Violation> {
        let Self { service, sessions, replies, now, .. } = self;
        let peer = &**turn;
        let (id, address, pending) = (peer.id(), peer.address(), peer.talk.pending_bytes());
        let replies_max = turn.marks().high_bytes.saturating_sub(pending);
        let (session, others) = sessions.split(turn.key()).expect("a peer has a session from its first turn on");
        let mut context = Context::<S>::new(id, address, *now, replies, turn.everybody(), others);
        context.bound_replies(replies_max);
        let answered = service.input(session, input, searched, &mut context);
        let (is_closing, is_full, session_kept) = (context.is_closing(), context.is_full(), context.has_kept_session());
        let deadline_ns = context.deadline_ns();
        turn.session_changed |= !session_kept;
        if let Some(deadline_ns) = deadline_ns {
            turn.set_deadline(deadline_ns.get());
        }
        let more = answered?;
        assert!(more <= input.len(), "no more is used than what has come");
        *used += more;
        Ok(if is_closing {
            Verdict::Over
        } else if is_full && (more > 0 || !turn.talk.holds().has(Holds::RELAYED)) {
            // Who is read from however much is pending has to use what comes.
            Verdict::TooMuchPending
        } else if input.len() - more > S::INPUT_BYTES_MAX && turn.talk.listens() {
            return Err(Violation::new(format!("more than {} bytes that are not used", S::INPUT_BYTES_MAX)));
        } else {
            Verdict::Incomplete
        })
    }

    /// The client has sent all it will send.
    fn end(&mut self, turn: &mut Turn<'_>) -> io::Result<()> {
        self.call(turn, S::ended).map(drop)
    }

    /// The deadline of a peer seems to be reached: what it has sent by now may move it yet.
    pub(super) fn meet_deadline(&mut self, turn: &mut Turn<'_>, input: &mut [u8]) -> io::Result<TurnEnd> {
        let progress = self.advance(turn, Wake::Due, input)?;
        if turn.talk.holds().has(Holds::SUSPECT) {
            // What it has sent is there, and is not handled yet.
            turn.put_off_deadline();
            return Ok(progress);
        }
        if !turn.take_deadline() {
            return Ok(progress);
        }
        self.tell_deadline(turn)?;
        // It may have drained meanwhile, and no event will say so.
        Ok(if turn.talk.is_full() { TurnEnd::BudgetSpent } else { progress })
    }

    fn tell_deadline(&mut self, turn: &mut Turn<'_>) -> io::Result<()> {
        if self.call(turn, S::deadline)? {
            turn.close_at_deadline();
        }
        Ok(())
    }

    /// Writes what the service has answered to this peer, after what was pending already.
    fn write_replies(&mut self, turn: &mut Turn<'_>) -> io::Result<()> {
        let marks = turn.marks();
        let mut line = turn.line();
        let written = match line.peer.talk.outflow() {
            Outflow::Open => line.send(&self.replies, marks),
            _ => write_if_it_is_taken(turn, &self.replies),
        };
        self.replies.clear();
        written
    }

    /// The same where the peer's connection may not stand yet: then all is kept.
    fn write_replies_beside_input(&mut self, turn: &mut Turn<'_>) -> io::Result<()> {
        let written = write_if_it_is_taken(turn, &self.replies);
        self.replies.clear();
        written
    }
}

/// Has a peer that was let go in another's turn go on in the next turn of the loop, since two that let each other go would
/// never let this one end.
fn go_on_later(turn: &mut Turn<'_>, was_full: bool) -> TurnEnd {
    let talk = &mut turn.talk;
    let has_drained = was_full && talk.drain_later();
    if has_drained || talk.waits_for_its_turn() { TurnEnd::BudgetSpent } else { TurnEnd::Drained }
}

/// What the service has asked for in a call about this peer.
fn settle(turn: &mut Turn<'_>, closing: bool, deadline_ns: Option<NonZeroU64>) {
    if let Some(deadline_ns) = deadline_ns {
        turn.set_deadline(deadline_ns.get());
    }
    if closing {
        turn.talk.close();
    }
}

/// Writes what the service has answered to a peer, unless it has finished its output in an earlier call.
#[cold]
fn write_if_it_is_taken(turn: &mut Turn<'_>, replies: &[u8]) -> io::Result<()> {
    match turn.talk.outflow() {
        Outflow::Open => {}
        Outflow::LastWords => turn.talk.finish(),
        Outflow::Finishing | Outflow::Finished | Outflow::Reset => return Ok(()),
    }
    turn.send_when_it_stands(replies)
}

/// Throws away what a peer sends to which all is written.
fn linger(turn: &mut Turn<'_>, input: &mut [u8]) -> io::Result<TurnEnd> {
    match turn.discard(input, READS_PER_TURN)? {
        Received::End => Ok(TurnEnd::Over),
        Received::WouldBlock => Ok(TurnEnd::Drained),
        Received::Bytes(_) | Received::Later => Ok(TurnEnd::BudgetSpent),
    }
}
