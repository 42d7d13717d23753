//! The loop: one thread, one poll, edge-triggered.
//!
//! Nobody else has interest registered, and nobody else calls the service. Whatever happens to a peer ends in
//! [`Reactor::settle`]. It knows the takeover as two things: [`Callers`], one of whom says Hello, and a [`Handover`] that
//! gets a turn between two polls and in the end says to freeze.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use log::{debug, info, warn};
use mio::event::Event;
use mio::net::TcpStream;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use nix::sys::signal::Signal;
use rustix::net::sockopt::socket_cookie;

use crate::accept::{ACCEPTS_PER_TURN, Accepting};
use crate::entrance::Entrance;
use crate::open_files;
use crate::peer::{Address, Marks, Peer, PeerId, Phase, READING, Received};
use crate::peers::{GENERATIONS, Peers};
use crate::server::{Config, Error, Outcome};
use crate::service::{Context, RestoreError, Service, Violation};
use crate::signals::Signals;
use crate::takeover::arrival::Arrival;
use crate::takeover::callers::{Callers, Greeting};
use crate::takeover::channel::ChannelError;
use crate::takeover::fault::{self, PredecessorStep, SuccessorStep};
use crate::takeover::handover::{Failure, Handover, Turn};
use crate::takeover::monotonic_ns;
use crate::takeover::path::TakeoverListener;
use crate::takeover::predecessor::{Estate, Refusal, greet};
use crate::takeover::wire::Record;
use crate::undelivered::Undelivered;

/// Events taken from one poll.
const EVENTS_PER_TURN: usize = 1024;

/// What one read takes at most. One buffer of this size serves all peers.
const READ_BYTES: usize = 64 * 1024;

/// How often one peer is read from in one turn; then it is the others' turn.
const READS_PER_TURN: u32 = 4;

/// How many peers get a turn without an event in one turn of the loop, so that many of them do not hold up the others.
const DUE_PER_TURN: usize = 256;

/// How often a successor looks for what arrives while it looks for what has arrived.
const SIFTED_MORE: usize = 16;

/// How long a client may take to end a connection that the server has ended.
const LINGER_MAX: Duration = Duration::from_secs(2);

/// A predecessor waits a little, then closes so many peers, about 100 us of work, and rests, so often that it does not
/// take long for all that.
const DISBAND_DELAY: Duration = Duration::from_millis(50);
const DISBAND_CHUNK: usize = 64;
const DISBAND_REST: Duration = Duration::from_micros(100);
const DISBAND_RESTS_MAX: usize = 1000;

const _: () = assert!(usize::BITS == 64, "a token holds a generation and a key of 32 bits each");

/// Who an event is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Entrance,
    TakeoverListener,
    Signals,
    Successor,
    Caller(usize),
    /// An event that was already in the batch must not reach the next peer that gets the key; hence the generation.
    Peer {
        key: usize,
        generation: u32,
    },
}

/// The generation in tokens of what is no peer.
const NO_PEER: usize = (GENERATIONS as usize) << 32;

impl From<Source> for Token {
    fn from(source: Source) -> Self {
        Self(match source {
            Source::Entrance => NO_PEER,
            Source::TakeoverListener => NO_PEER | 1,
            Source::Signals => NO_PEER | 2,
            Source::Successor => NO_PEER | 3,
            Source::Caller(key) => NO_PEER | (4 + key),
            Source::Peer { key, generation } => (generation as usize) << 32 | key,
        })
    }
}

impl From<Token> for Source {
    fn from(Token(token): Token) -> Self {
        match (token >> 32, token & 0xffff_ffff) {
            (generation, key) if generation != GENERATIONS as usize => {
                Self::Peer { key, generation: u32::try_from(generation).expect("the upper half of 64 bits has 32") }
            }
            (_, 0) => Self::Entrance,
            (_, 1) => Self::TakeoverListener,
            (_, 2) => Self::Signals,
            (_, 3) => Self::Successor,
            (_, key) => Self::Caller(key - 4),
        }
    }
}

/// Why a peer has its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wake {
    /// The kernel says so. Unless it says that the client has stopped sending, or has sent urgent data, a short read
    /// has read everything.
    Event { readable: bool, read_closed: bool },
    /// No event will come for what it has left to do: its last turn ended with its budget, it has been taken over with
    /// bytes in its buffers.
    Due,
    /// The service has sent to it or closed it while it handled another peer.
    SentTo,
}

/// How far a peer came in its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// Nothing is left to do until the next event.
    Drained,
    /// There may be more to read.
    BudgetSpent,
    /// The connection has come to its end.
    Over,
}

/// Why a peer that is being taken over cannot be adopted.
#[derive(Debug)]
pub(crate) enum AdoptError {
    Restore(RestoreError),
    Register(io::Error),
    Twice,
}

impl std::fmt::Display for AdoptError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Restore(error) => write!(f, "its session: {error}"),
            Self::Register(error) => write!(f, "registering it: {error}"),
            Self::Twice => f.write_str("it is there twice"),
        }
    }
}

/// The loop, with everything that it serves.
pub(crate) struct Reactor<S: Service> {
    poll: Poll,
    service: S,
    peers: Peers<S::Session>,
    /// Peers that get a turn without an event: key and generation.
    due: VecDeque<(usize, u32)>,
    /// Peers that linger, and until when: key and generation, in the order in which they began.
    lingering: VecDeque<(Instant, usize, u32)>,
    /// Where peers come from, until a stop begins.
    entrance: Option<Entrance>,
    accepting: Accepting,
    /// Who calls on the takeover path, if there is one.
    callers: Option<Callers>,
    handover: Option<Handover>,
    signals: Option<Signals>,
    /// Since a signal asked for it: stop when all is written, at the latest then.
    stop_by: Option<Instant>,
    config: Config,
    /// What the configuration and the limit of open files allow.
    max_peers: usize,
    now: Instant,
    /// What was read last.
    input: Box<[u8]>,
    /// What the service has answered in the call that is under way.
    replies: Vec<u8>,
}

impl<S: Service> Reactor<S> {
    /// A loop without sources, with room for `capacity` peers.
    pub(crate) fn new(service: S, config: &Config, capacity: usize) -> io::Result<Self> {
        let marks = Marks {
            high_bytes: config.outbound_high_bytes,
            low_bytes: config.outbound_low_bytes.min(config.outbound_high_bytes),
        };
        // Counted now, while they are few: what the limit of open files leaves is for peers.
        let files_left = open_files::limit().saturating_sub(open_files::count() + open_files::RESERVED);
        Ok(Self {
            poll: Poll::new()?,
            service,
            peers: Peers::new(marks, capacity),
            due: VecDeque::new(),
            lingering: VecDeque::new(),
            entrance: None,
            accepting: Accepting::begin(),
            callers: None,
            handover: None,
            signals: None,
            stop_by: None,
            config: config.clone(),
            max_peers: config.max_peers.min(files_left),
            now: Instant::now(),
            input: vec![0; READ_BYTES].into_boxed_slice(),
            replies: Vec::new(),
        })
    }

    /// Lets peers in, once the loop runs.
    pub(crate) fn open_entrance(&mut self, mut entrance: Entrance) -> io::Result<()> {
        entrance.register(self.poll.registry(), Source::Entrance.into())?;
        self.entrance = Some(entrance);
        Ok(())
    }

    /// Answers callers on a takeover listener, once the loop runs.
    pub(crate) fn answer_on(&mut self, listener: TakeoverListener) -> io::Result<()> {
        let callers = self.callers.insert(Callers::on(listener, |key| Source::Caller(key).into()));
        callers.register(self.poll.registry(), Source::TakeoverListener.into())
    }

    fn takeover_listener(&self) -> Option<&TakeoverListener> {
        self.callers.as_ref().map(Callers::listener)
    }

    /// Stops at SIGTERM and SIGINT, if the configuration asks for that.
    pub(crate) fn watch_signals(&mut self) -> io::Result<()> {
        if self.config.stop_on_signals {
            let signals = Signals::watch(&[Signal::SIGTERM, Signal::SIGINT])?;
            let descriptor = signals.as_fd().as_raw_fd();
            self.poll.registry().register(&mut SourceFd(&descriptor), Source::Signals.into(), Interest::READABLE)?;
            self.signals = Some(signals);
        }
        Ok(())
    }

    /// The signals that stop it, if it watches them.
    pub(crate) fn signals(&self) -> Option<&Signals> {
        self.signals.as_ref()
    }

    /// Takes in a peer of the predecessor, which owns it until the commit point.
    pub(crate) fn adopt(
        &mut self,
        socket: std::net::TcpStream,
        record: &Record<'_>,
        version: u32,
    ) -> Result<(), AdoptError> {
        let session = self.service.restore_session(version, record.session).map_err(AdoptError::Restore)?;
        let marks = self.peers.marks();
        let address = Address(record.address);
        let inserted = self.peers.insert(TcpStream::from_std(socket), record.cookie.into(), address);
        let key = inserted.map_err(|_| AdoptError::Twice)?;
        let peer = self.peers.get_mut(key).expect("it was just inserted");
        peer.restore(record, session, marks);
        // For reading alone: all sockets are writable at once, and that many events would prolong the pause.
        let token = Source::Peer { key, generation: peer.generation() }.into();
        self.poll.registry().register(peer.source(), token, READING).map_err(AdoptError::Register)?;
        peer.registered = Some(READING);
        self.take_up(key);
        debug!("Holding connection with Peer {address}");
        Ok(())
    }

    /// The record of an adopted peer has changed.
    pub(crate) fn change(&mut self, record: &Record<'_>, version: u32) -> Result<(), AdoptError> {
        let session = self.service.restore_session(version, record.session).map_err(AdoptError::Restore)?;
        let marks = self.peers.marks();
        let key = self.peers.key(record.cookie.into()).expect("the conversation knows whom it has copied");
        let peer = self.peers.get_mut(key).expect("a key in the index is a key in the table");
        peer.restore(record, session, marks);
        self.take_up(key);
        Ok(())
    }

    /// Sees to it that an adopted peer goes on where it was, once the loop runs.
    fn take_up(&mut self, key: usize) {
        let peer = self.peers.get_mut(key).expect("the caller has just restored it");
        if peer.phase == Phase::Lingering {
            // The loop's own time stands still until it runs.
            self.lingering.push_back((Instant::now() + LINGER_MAX, key, peer.generation()));
        }
        if peer.has_unfinished_work() {
            self.make_due(key);
        }
    }

    /// An adopted peer has left the predecessor. Only the duplicate is closed: the connection is not ours.
    pub(crate) fn discard(&mut self, id: PeerId) {
        let key = self.peers.key(id).expect("the conversation knows whom it has copied");
        let mut peer = self.peers.remove(key);
        self.deregister(&mut peer);
    }

    /// Takes from the epoll set what has become of no interest since it was registered. Whatever arrived for a peer
    /// during the copy has left an entry there, also where the predecessor has read it long ago, and the first poll
    /// would look at all of them while nobody serves. Nothing is read from anybody: who has something to read becomes
    /// due.
    pub(crate) fn sift(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS_PER_TURN);
        // Often enough to see every peer once, and some more. Clients may send faster than this looks at them.
        for _ in 0..self.peers.len() / EVENTS_PER_TURN + SIFTED_MORE {
            match self.poll.poll(&mut events, Some(Duration::ZERO)) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                polled => polled?,
            }
            if events.is_empty() {
                break;
            }
            for event in &events {
                // The others are all looked after in the first turn in any case.
                if let Source::Peer { key, generation } = event.token().into()
                    && self.peers.get(key).is_some_and(|peer| peer.generation() == generation)
                {
                    self.make_due(key);
                }
            }
        }
        Ok(())
    }

    /// Gives a peer a turn without an event, once.
    fn make_due(&mut self, key: usize) {
        if let Some(peer) = self.peers.get_mut(key)
            && !std::mem::replace(&mut peer.due, true)
        {
            self.due.push_back((key, peer.generation()));
        }
    }

    /// Restores the state that all peers share.
    pub(crate) fn restore(&mut self, version: u32, state: &[u8]) -> Result<(), RestoreError> {
        self.service.restore(version, state)
    }

    /// Gives up before it has served, and leaves no takeover path that was bound for it.
    pub(crate) fn leave(self) {
        if let Some(listener) = self.takeover_listener().filter(|listener| listener.bound_here()) {
            listener.remove();
        }
    }

    /// Serves, until it is stopped or a successor has taken over.
    pub(crate) fn run(mut self, arrival: Option<Arrival>) -> Result<Outcome, Error> {
        let mut events = Events::with_capacity(EVENTS_PER_TURN);
        match arrival {
            Some(arrival) => self.arrive(arrival, &mut events)?,
            None => self.announce()?,
        }
        loop {
            if self.stopped() {
                // To close them would not be enough while a successor that was given up holds duplicates.
                self.peers.iter().for_each(Peer::hang_up);
                return Ok(Outcome::Stopped);
            }
            if self.finished() {
                self.leave_takeover_path();
                return Ok(Outcome::Stopped);
            }
            if let Some(pid) = self.hand_over() {
                if let Some(callers) = &mut self.callers {
                    callers.refuse(&Refusal::Busy { pid });
                }
                // What a supervisor has offered here and nobody has taken goes to another worker now.
                self.entrance = None;
                self.disband();
                return Ok(Outcome::HandedOver { pid });
            }
            let timeout = self.timeout();
            self.poll(&mut events, timeout)?;
            self.turn(&events);
        }
    }

    /// The first turn after the commit point. What it took is told and logged when all who waited have been served.
    fn arrive(&mut self, arrival: Arrival, events: &mut Events) -> Result<(), Error> {
        fault::here(SuccessorStep::Poll);
        self.poll(events, Some(Duration::ZERO))?;
        let polled_at_ns = monotonic_ns();
        self.turn(events);
        // Their events may have come before the commit point.
        self.answer();
        self.obey_signals();
        self.announce()?;
        arrival.serving(polled_at_ns, self.takeover_listener());
        fault::here(SuccessorStep::Served);
        Ok(())
    }

    fn poll(&mut self, events: &mut Events, timeout: Option<Duration>) -> Result<(), Error> {
        match self.poll.poll(events, timeout) {
            // No events, then: mio has cleared them.
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(()),
            polled => polled.map_err(|error| Error::Loop { what: "epoll_wait", error }),
        }
    }

    fn turn(&mut self, events: &Events) {
        self.now = Instant::now();
        for event in events {
            self.dispatch(event);
        }
        self.finish_turn();
    }

    fn announce(&mut self) -> Result<(), Error> {
        let in_context = |error| Error::Loop { what: "the listener's address", error };
        if let Some(entrance) = &mut self.entrance {
            entrance.announce().map_err(in_context)?;
        }
        if let Some(listener) = self.takeover_listener() {
            info!("Starting Takeover channel on [{}] domain socket", listener.path().display());
        }
        Ok(())
    }

    fn dispatch(&mut self, event: &Event) {
        match event.token().into() {
            Source::Entrance => self.accept(),
            Source::TakeoverListener => self.answer(),
            Source::Signals => self.obey_signals(),
            // It has its turn between any two polls.
            Source::Successor => {
                if let Some(handover) = self.handover.as_mut().filter(|_| event.is_writable()) {
                    handover.writable();
                }
            }
            Source::Caller(key) => self.hear_caller(key),
            Source::Peer { key, generation } => {
                let read_closed = event.is_read_closed() || event.is_error() || event.is_priority();
                let readable = event.is_readable() || read_closed;
                self.serve(key, generation, Wake::Event { readable, read_closed });
            }
        }
    }

    /// Does what no event will ask for.
    fn finish_turn(&mut self) {
        for _ in 0..self.due.len().min(DUE_PER_TURN) {
            let (key, generation) = self.due.pop_front().expect("there are at least as many");
            if let Some(peer) = self.peers.get_mut(key) {
                peer.due &= peer.generation() != generation;
            }
            self.serve(key, generation, Wake::Due);
        }
        while let Some((_, key, generation)) = self.lingering.pop_front_if(|(until, ..)| *until <= self.now) {
            if self.peers.get(key).is_some_and(|peer| peer.generation() == generation) {
                self.retire(key);
            }
        }
        if self.accepting.is_due(self.now) {
            self.accept();
        }
        while let Some((key, generation)) = self.peers.pop_unsettled() {
            self.serve(key, generation, Wake::SentTo);
        }
        if let Some(callers) = &mut self.callers {
            callers.tend(self.poll.registry(), self.now);
        }
    }

    /// How long the next poll may sleep.
    fn timeout(&self) -> Option<Duration> {
        if !self.due.is_empty() {
            return Some(Duration::ZERO);
        }
        let retry = self.accepting.due(self.now);
        let handover = self.handover.as_ref().map(|handover| handover.due(self.now));
        let callers = self.callers.as_ref().and_then(Callers::due);
        let lingering = self.lingering.front().map(|(until, ..)| *until);
        let due = [retry, handover, lingering, callers, self.stop_by].into_iter().flatten().min()?;
        Some(due.saturating_duration_since(Instant::now()))
    }

    // ── Peers ──────────────────────────────────────────────────────────────────────────────────────────────────────

    fn accept(&mut self) {
        for _ in 0..ACCEPTS_PER_TURN {
            let Some(entrance) = &mut self.entrance else {
                return self.accepting.wait_for_event();
            };
            let room = self.max_peers.saturating_sub(self.peers.len());
            if room == 0 {
                self.accepting.pause();
                return self.log_pause(&"that is the maximum");
            }
            match entrance.next(&mut self.accepting, room, self.now) {
                Ok(Some((socket, address))) => self.open(socket, address),
                Ok(None) => return,
                Err(error) => return self.log_pause(&error),
            }
        }
        self.accepting.go_on_next_turn();
    }

    /// Says that further connections are left to the kernel.
    fn log_pause(&mut self, reason: &dyn std::fmt::Display) {
        if self.accepting.pause_is_news(self.now) {
            warn!("Accepting pauses with {} peers, and goes on when one leaves: {reason}", self.peers.len());
        }
    }

    fn open(&mut self, socket: TcpStream, address: SocketAddr) {
        let address = Address(address);
        debug!("Accepting connection from Peer {address}");
        let id = match socket_cookie(&socket) {
            Ok(cookie) => PeerId::from(cookie),
            Err(error) => return warn!("Peer {address} has no cookie and is not served: {error}"),
        };
        let Ok(key) = self.peers.insert(socket, id, address) else {
            return warn!("Peer {address} has the cookie of another and is not served");
        };
        let mut context = Context::new(id, address, self.now, &mut self.replies, &mut self.peers);
        let session = self.service.open(&mut context);
        let closing = context.closing();
        let peer = self.peers.get_mut(key).expect("it was just inserted");
        peer.session = Some(session);
        if closing {
            peer.phase = Phase::Closing;
        }
        match self.write_replies(key) {
            Ok(()) => self.settle(key),
            Err(error) => self.lose(key, &error),
        }
    }

    /// Gives a peer its turn.
    fn serve(&mut self, key: usize, generation: u32, wake: Wake) {
        if self.peers.get(key).is_none_or(|peer| peer.generation() != generation) {
            return;
        }
        match self.advance(key, wake) {
            Ok(Progress::Drained) => {}
            Ok(Progress::BudgetSpent) => self.make_due(key),
            Ok(Progress::Over) => return self.retire(key),
            Err(error) => return self.lose(key, &error),
        }
        self.settle(key);
    }

    /// Writes what is pending, handles what was held back, and reads, as far as each goes.
    fn advance(&mut self, key: usize, wake: Wake) -> io::Result<Progress> {
        let marks = self.peers.marks();
        let peer = self.peers.get_mut(key).expect("the caller has found it");
        if peer.phase == Phase::Lingering {
            return self.linger(key);
        }
        let held = !peer.listens();
        peer.flush(marks)?;
        if peer.listens() && !peer.inbound.is_empty() && held {
            let inbound = std::mem::take(&mut peer.inbound);
            self.handle(key, inbound, 0)?;
        }
        // What the kernel said of a peer that was held, or in an earlier turn, is forgotten by now.
        let (readable, read_closed) = match wake {
            _ if held => (true, true),
            Wake::Event { readable, read_closed } => (readable, read_closed),
            Wake::Due => (true, true),
            Wake::SentTo => (false, false),
        };
        if !readable {
            return Ok(Progress::Drained);
        }
        let mut input = std::mem::take(&mut self.input);
        let progress = self.read(key, &mut input, read_closed);
        self.input = input;
        progress
    }

    fn read(&mut self, key: usize, input: &mut [u8], to_the_end: bool) -> io::Result<Progress> {
        for _ in 0..READS_PER_TURN {
            let peer = self.peers.get_mut(key).expect("a peer leaves the table only when it is settled");
            if !peer.listens() {
                return Ok(Progress::Drained);
            }
            match peer.receive(input)? {
                Received::Bytes(bytes) => {
                    if peer.inbound.is_empty() {
                        self.handle_in_place(key, &input[..bytes])?;
                    } else {
                        let mut inbound = std::mem::take(&mut peer.inbound);
                        let searched = inbound.len();
                        inbound.extend_from_slice(&input[..bytes]);
                        self.handle(key, inbound, searched)?;
                    }
                    if bytes < input.len() && !to_the_end {
                        return Ok(Progress::Drained);
                    }
                }
                Received::WouldBlock => return Ok(Progress::Drained),
                Received::End => {
                    if peer.phase == Phase::Open {
                        self.end(key)?;
                    }
                    return Ok(Progress::Drained);
                }
            }
        }
        Ok(Progress::BudgetSpent)
    }

    /// Handles the messages in `input`, and keeps what is left.
    fn handle_in_place(&mut self, key: usize, input: &[u8]) -> io::Result<()> {
        let handled = self.handle_messages(key, input, 0)?;
        if handled < input.len() {
            let peer = self.peers.get_mut(key).expect("a peer leaves the table only when it is settled");
            peer.inbound = input[handled..].to_vec();
        }
        Ok(())
    }

    /// Handles the messages in `inbound`, whose first `searched` bytes hold no message's end, and keeps what is left.
    fn handle(&mut self, key: usize, mut inbound: Vec<u8>, searched: usize) -> io::Result<()> {
        let handled = self.handle_messages(key, &inbound, searched)?;
        if handled < inbound.len() {
            inbound.drain(..handled);
            inbound.shrink_to(2 * inbound.len());
            self.peers.get_mut(key).expect("a peer leaves the table only when it is settled").inbound = inbound;
        }
        Ok(())
    }

    /// Calls the service with one message after another, until none is whole or the answers are over the high-water
    /// mark and the socket does not take them. Returns how many bytes need not be kept.
    fn handle_messages(&mut self, key: usize, input: &[u8], mut searched: usize) -> io::Result<usize> {
        let mut handled = 0;
        loop {
            let verdict = self.call_service(key, input, &mut handled, searched);
            searched = 0;
            self.write_replies(key)?;
            let peer = self.peers.get_mut(key).expect("a peer leaves the table only when it is settled");
            match verdict {
                Verdict::Over => {
                    peer.phase = Phase::Closing;
                    return Ok(input.len());
                }
                Verdict::Incomplete => return Ok(handled),
                Verdict::TooMuchPending if !peer.listens() => return Ok(handled),
                // The socket has taken them.
                Verdict::TooMuchPending => {}
            }
        }
    }

    fn call_service(&mut self, key: usize, input: &[u8], handled: &mut usize, mut searched: usize) -> Verdict {
        let Self { service, peers, replies, now, .. } = self;
        let high_bytes = peers.marks().high_bytes;
        let peer = peers.get(key).expect("a peer leaves the table only when it is settled");
        let (id, address, pending) = (peer.id(), peer.address(), peer.pending_bytes());
        let result = peers.with_session(key, |session, peers| {
            let mut context = Context::<S>::new(id, address, *now, replies, peers);
            while *handled < input.len() {
                if pending + context.replies_bytes() > high_bytes {
                    return Ok(Verdict::TooMuchPending);
                }
                let rest = &input[*handled..];
                let Some(message) = first_message(service, session, rest, std::mem::take(&mut searched))? else {
                    return Ok(Verdict::Incomplete);
                };
                service.message(session, message, &mut context)?;
                *handled += message.len();
                if context.closing() {
                    return Ok(Verdict::Over);
                }
            }
            Ok(Verdict::Incomplete)
        });
        result.unwrap_or_else(|violation: Violation| {
            warn!("Peer {address} broke the protocol and is closed: {violation}");
            Verdict::Over
        })
    }

    /// The client has sent all it will send.
    fn end(&mut self, key: usize) -> io::Result<()> {
        let Self { service, peers, replies, now, .. } = self;
        let peer = peers.get_mut(key).expect("a peer leaves the table only when it is settled");
        peer.phase = Phase::Ended;
        let (id, address) = (peer.id(), peer.address());
        let closing = peers.with_session(key, |session, peers| {
            let mut context = Context::new(id, address, *now, replies, peers);
            service.ended(session, &mut context);
            context.closing()
        });
        if closing {
            peers.get_mut(key).expect("a peer leaves the table only when it is settled").phase = Phase::Closing;
        }
        self.write_replies(key)
    }

    /// Writes what the service has answered to the peer at `key`, after what was pending already.
    fn write_replies(&mut self, key: usize) -> io::Result<()> {
        let marks = self.peers.marks();
        let peer = self.peers.get_mut(key).expect("a peer leaves the table only when it is settled");
        let written = peer.send(&self.replies, marks);
        self.replies.clear();
        written
    }

    /// Throws away what a peer sends to which all is written.
    fn linger(&mut self, key: usize) -> io::Result<Progress> {
        let peer = self.peers.get_mut(key).expect("a peer leaves the table only when it is settled");
        match peer.discard(&mut self.input, READS_PER_TURN)? {
            Received::End => Ok(Progress::Over),
            Received::WouldBlock => Ok(Progress::Drained),
            Received::Bytes(_) => Ok(Progress::BudgetSpent),
        }
    }

    /// The one place where every change of a peer ends: it is woken for what it wants now, or it is done with.
    fn settle(&mut self, key: usize) {
        let Some(peer) = self.peers.get_mut(key) else {
            return;
        };
        if peer.phase == Phase::Closing && peer.pending_bytes() == 0 {
            peer.phase = Phase::Lingering;
            peer.end_output();
            self.lingering.push_back((self.now + LINGER_MAX, key, peer.generation()));
            match self.linger(key) {
                Ok(Progress::Drained) => {}
                Ok(Progress::BudgetSpent) => self.make_due(key),
                Ok(Progress::Over) | Err(_) => return self.retire(key),
            }
        }
        let peer = self.peers.get_mut(key).expect("it was not retired");
        if peer.phase == Phase::Closing
            && let Err(error) = peer.give_up_after(self.config.close_timeout)
        {
            return self.lose(key, &error);
        }
        let interest = peer.interest();
        if peer.registered != Some(interest) {
            let token = Source::Peer { key, generation: peer.generation() }.into();
            let registry = self.poll.registry();
            let registered = match peer.registered {
                None => registry.register(peer.source(), token, interest),
                Some(_) => registry.reregister(peer.source(), token, interest),
            };
            match registered {
                Ok(()) => peer.registered = Some(interest),
                Err(error) => return self.lose(key, &error),
            }
        }
        if let Some(handover) = &mut self.handover {
            handover.touched(key);
        }
    }

    /// The connection has failed.
    fn lose(&mut self, key: usize, error: &io::Error) {
        let address = self.peers.get(key).expect("a peer leaves the table only when it is settled").address();
        debug!("Connection with Peer {address} lost: {error}");
        self.retire(key);
    }

    /// Ends the connection, and tells the service.
    fn retire(&mut self, key: usize) {
        let mut peer = self.peers.remove(key);
        let (id, address) = (peer.id(), peer.address());
        debug!("Releasing Peer {address}");
        self.deregister(&mut peer);
        peer.hang_up();
        if let Some(session) = peer.session.take() {
            let mut context = Context::new(id, address, self.now, &mut self.replies, &mut self.peers);
            self.service.closed(session, &mut context);
            self.replies.clear();
        }
        if let Some(handover) = &mut self.handover {
            handover.closed(key, id.into());
        }
        if let Some(entrance) = &mut self.entrance {
            entrance.released(id);
        }
        self.accepting.resume();
    }

    /// Takes a peer out of the epoll set before it is closed: a duplicate in another process would keep the entry there
    /// alive (epoll(7)).
    fn deregister(&self, peer: &mut Peer<S::Session>) {
        if peer.registered.take().is_some()
            && let Err(error) = self.poll.registry().deregister(peer.source())
        {
            warn!("Peer {} stays in the epoll set: {error}", peer.address());
        }
    }

    // ── Takeover ───────────────────────────────────────────────────────────────────────────────────────────────────

    /// Lets in those who call on the takeover path.
    fn answer(&mut self) {
        if let Some(callers) = &mut self.callers {
            callers.answer(self.poll.registry(), self.now);
        }
    }

    fn hear_caller(&mut self, key: usize) {
        let callers = self.callers.as_mut();
        if let Some(greeting) = callers.and_then(|callers| callers.hear(key, self.poll.registry(), self.now)) {
            self.begin_handover(greeting);
        }
    }

    fn begin_handover(&mut self, Greeting { channel, pid, hello }: Greeting) {
        let estate = Estate { service: S::NAME, state_version: S::STATE_VERSION, peers: self.peers.len() as u64 };
        let welcome = match (&self.handover, self.stop_by) {
            (_, Some(_)) => Err(Refusal::Stopping),
            (Some(handover), None) => Err(Refusal::Busy { pid: handover.pid() }),
            (None, None) => greet(&hello, &estate, std::process::id()),
        };
        let welcome = match welcome {
            Ok(welcome) => welcome,
            Err(refusal) => {
                warn!("Takeover by pid {pid} refused: {refusal}");
                return channel.close_with(&refusal.frame());
            }
        };
        let (Some(entrance), Some(takeover)) = (&self.entrance, self.takeover_listener()) else {
            unreachable!("both are there until a stop begins");
        };
        let listeners = (entrance.listener(), takeover);
        let keys_end = self.peers.keys_end();
        let begun = Handover::begin((channel, pid), (hello, welcome), listeners, keys_end, self.now).and_then(
            |mut handover| {
                let interest = Interest::READABLE | Interest::WRITABLE;
                self.poll
                    .registry()
                    .register(handover.source(), Source::Successor.into(), interest)
                    .map_err(ChannelError::Io)?;
                Ok(handover)
            },
        );
        match begun {
            Ok(handover) => {
                debug!("Takeover by pid {pid} begins, with {} peers", self.peers.len());
                self.handover = Some(handover);
            }
            Err(failure) => self.thaw(pid, &failure),
        }
    }

    /// Gives the takeover that is under way its turn. Returns the successor's process id when it owns the peers.
    fn hand_over(&mut self) -> Option<u32> {
        let handover = self.handover.take()?;
        let pid = handover.pid();
        let committed = match handover.turn(&self.service, &self.peers, self.now) {
            Ok(Turn::Copying(handover)) => {
                self.handover = Some(handover);
                return None;
            }
            Ok(Turn::Ready(ready)) => ready.commit(&self.service, &self.peers, self.config.freeze_timeout),
            Err(failure) => Err(failure),
        };
        match committed {
            Ok(handed_over) => Some(handed_over.retire()),
            Err(failure) => {
                self.thaw(pid, &failure);
                None
            }
        }
    }

    /// A takeover has failed. No edge was consumed while the loop was not polled, so to poll again is all there is to
    /// do.
    fn thaw(&self, pid: u32, failure: &Failure) {
        fault::here(PredecessorStep::Thaw);
        warn!("Takeover by pid {pid} failed: {failure}; serving on with {} peers", self.peers.len());
    }

    /// Closes what another process owns by now. It takes milliseconds in the kernel, in one piece if it is left to the
    /// end of the process; the successor and its clients may want the processor, so this lets their first moments pass,
    /// and gives the processor away again and again.
    fn disband(&mut self) {
        fault::here(PredecessorStep::Disband);
        if self.peers.len() > DISBAND_CHUNK {
            std::thread::sleep(DISBAND_DELAY);
        }
        for (closed, key) in self.peers.keys().into_iter().enumerate() {
            let mut peer = self.peers.remove(key);
            self.deregister(&mut peer);
            if closed % DISBAND_CHUNK == DISBAND_CHUNK - 1 && closed < DISBAND_CHUNK * DISBAND_RESTS_MAX {
                std::thread::sleep(DISBAND_REST);
            }
        }
    }

    // ── Stop ───────────────────────────────────────────────────────────────────────────────────────────────────────

    fn obey_signals(&mut self) {
        while let Some(signals) = &self.signals {
            match signals.next() {
                Ok(Some(signal)) => self.stop(signal),
                Ok(None) => return,
                Err(error) => return warn!("A signal was lost: {error}"),
            }
        }
    }

    /// Stops accepting and reading, and goes on until all that is pending is written. The second time, goes no further.
    fn stop(&mut self, signal: Signal) {
        if self.stop_by.is_some() {
            info!("{signal} again: stopping at once with {} peers", self.peers.len());
            self.stop_by = Some(self.now);
            return;
        }
        info!("{signal}: stopping with {} peers", self.peers.len());
        self.stop_by = Some(self.now + self.config.drain_timeout);
        if let Some(entrance) = self.entrance.take() {
            entrance.close();
        }
        self.leave_takeover_path();
        if let Some(handover) = self.handover.take() {
            handover.abandon(&Refusal::Stopping);
        }
        if self.peers.is_empty() {
            // To look for what is undelivered takes time where the system has many sockets.
            return;
        }
        let undelivered = Undelivered::now();
        // That may have taken a while, which is not on the account of those who linger from now on.
        self.now = Instant::now();
        for key in self.peers.keys() {
            let peer = self.peers.get_mut(key).expect("the key was just listed");
            if peer.phase == Phase::Lingering {
                continue;
            }
            let unread = matches!(peer.receive(&mut self.input), Ok(Received::Bytes(_)));
            // Whatever the client sends to a closed connection resets it, and takes along what is still on its way.
            if unread || peer.pending_bytes() > 0 || undelivered.contains(&*peer) {
                peer.phase = Phase::Closing;
                self.settle(key);
            } else {
                // It has its answers, and is asking for nothing: no reason to wait for it.
                self.retire(key);
            }
        }
    }

    /// Answers nobody on the takeover path any more.
    fn leave_takeover_path(&mut self) {
        if let Some(callers) = self.callers.take() {
            callers.leave(&Refusal::Stopping);
        }
    }

    /// Whether no peer is left, and none will come.
    fn finished(&self) -> bool {
        let finishing = self.entrance.as_ref().is_some_and(Entrance::has_ended);
        finishing && self.peers.is_empty() && self.handover.is_none()
    }

    /// Whether a stop has come to its end.
    fn stopped(&self) -> bool {
        let Some(stop_by) = self.stop_by else {
            return false;
        };
        if self.peers.is_empty() {
            return true;
        }
        if self.now < stop_by {
            return false;
        }
        let unwritten = self.peers.iter().filter(|peer| peer.pending_bytes() > 0).count();
        if unwritten > 0 {
            warn!("Stopping: the output of {unwritten} peers is not all written");
        }
        true
    }
}

/// What came of a call of the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// No further message is whole.
    Incomplete,
    /// Answers are over the high-water mark.
    TooMuchPending,
    /// The peer is to be closed.
    Over,
}

/// The first message in `input`, if it is whole.
fn first_message<'i, S: Service>(
    service: &S,
    session: &S::Session,
    input: &'i [u8],
    searched: usize,
) -> Result<Option<&'i [u8]>, Violation> {
    let bytes = service.boundary(session, input, searched)?;
    if bytes.unwrap_or(input.len()) > S::MESSAGE_BYTES_MAX {
        return Err(Violation::new(format!("a message of more than {} bytes", S::MESSAGE_BYTES_MAX)));
    }
    let message = bytes.map(|bytes| input.get(..bytes).expect("a message ends within what has come"));
    assert!(message.is_none_or(|message| !message.is_empty()), "a message has at least one byte");
    Ok(message)
}

#[cfg(any(test, fuzzing))]
pub(crate) mod script;

#[cfg(test)]
mod tests;
