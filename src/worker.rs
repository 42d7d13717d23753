//! A worker: a process that `reactord supervise` has started, and that draws connections from its queue.
//!
//! ```no_run
//! use std::io::Write;
//! use reactord::worker::Queue;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut queue = Queue::inherit()?;
//! while let Some(mut connection) = queue.accept()? {
//!     writeln!(connection.stream, "Hello, {}", connection.peer)?;
//!     connection.stream.shutdown(std::net::Shutdown::Both)?;
//!     queue.done(connection.id)?;
//! }
//! # Ok(())
//! # }
//! ```
//!
//! A connection belongs to exactly one process: to the supervisor until the worker has acknowledged it, then to the
//! worker. One that was sent to a worker and not acknowledged goes to another when the worker is gone.
//! [`Queue::accept`] acknowledges at once. A worker that lets connections wait, for a free thread for instance,
//! [receives](Queue::receive) them and [acknowledges](Queue::acknowledge) each when it serves it; an [`Offered`] cannot
//! be read or written before.
//!
//! A worker with a loop of its own registers the queue, which is a source of events for mio, says how many
//! connections it [wants](Queue::want), and takes what [has come](Queue::try_accept) without waiting.
//!
//! A worker that [gives back](Queue::giving_back) keeps its clients when it is replaced. When the supervisor wants some
//! of its connections [back](Queue::owed), all of them at the end, it [gives](Queue::try_give_back) each with a state:
//! what has come of a message, what is not sent, who the client is. Whoever gets the connection next finds it in
//! [`Connection::state`], this program or the one that replaces it:
//!
//! ```no_run
//! use std::io::{BufRead, BufReader, Write};
//! use reactord::worker::Queue;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut queue = Queue::inherit()?.giving_back();
//! 'clients: while !queue.may_exit()? {
//!     let Some(mut client) = queue.accept()? else { continue };
//!     // A counter of lines, one client at a time.
//!     let mut lines = client.state.take().map_or(0, |state| state[0]);
//!     let mut answers = client.stream.try_clone()?;
//!     let (mut reader, mut line) = (BufReader::with_capacity(1, client.stream), String::new());
//!     while reader.read_line(&mut line)? > 0 {
//!         lines += 1;
//!         writeln!(answers, "{lines}")?;
//!         if queue.terminated()? && queue.give_back(client.id, &answers, &[lines])? {
//!             // It may be refused, and then it is accepted once more.
//!             continue 'clients;
//!         }
//!     }
//!     queue.done(client.id)?;
//! }
//! # Ok(())
//! # }
//! ```
//!
//! What both sides say is in `docs/queue.md`.

mod connection;
mod error;
mod holdings;

use std::collections::VecDeque;
use std::io;
use std::num::NonZeroU32;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token, event};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, Shutdown, SocketType, shutdown, sockopt};

use reactord_process::descriptors::{self, Received};
use reactord_process::inherited;
pub use reactord_process::words::{ConnectionId, PREDECESSOR_VARIABLE, STATE_BYTES_MAX, TAKEOVER_VARIABLE};
use reactord_process::words::{
    Fraction, FromSupervisor, FromWorker, PACKET_BYTES_MAX, SOCKET_VARIABLE, VERSION, VERSION_WITHOUT_STATES,
    WORDS_BYTES_MAX,
};

pub use connection::{Connection, Offered};
pub use error::{InheritError, QueueError};
use holdings::Holdings;

/// When a connection is given back again for which too many descriptors were under way.
const RETRY_MS: u16 = 10;

/// This worker's end of the supervisor's queue.
///
/// A queue that is dropped is one that this worker has left: what was offered to it and not acknowledged goes to
/// others.
#[derive(Debug)]
pub struct Queue {
    socket: OwnedFd,
    gives_back: bool,
    is_ready: bool,
    /// How many connections were asked for and have not come.
    credits: u32,
    /// What the socket has not taken yet.
    unsent: VecDeque<FromWorker>,
    /// What has been received and not been given out.
    heard: VecDeque<Offered>,
    holdings: Holdings,
    /// It moves peers to another worker when it is told to.
    moves: bool,
    /// The process that was spoken with before has died. What it was told is passed over, up to the word to this one.
    resumes: bool,
    /// What it was told to do besides, and has not been asked about.
    wishes: Vec<Wish>,
    end: End,
    /// Room for one packet.
    buffer: Vec<u8>,
}

/// How far the queue is from its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Connections come.
    Far,
    /// No more come, and the supervisor still hears what becomes of them.
    Finishing,
    /// The supervisor is told nothing more. What it refuses, to be [kept](Connection::is_kept), may still be heard.
    Gone,
    /// Nor is anything left to be heard.
    ReadOut,
}

/// What became of a connection that was to be given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a connection that was not given back is still this worker's"]
pub enum Back {
    /// It is the supervisor's. Deregister it, and drop the stream: close, and never shut down.
    Given,
    /// It is still this worker's: the socket takes nothing now. An event will tell when to try again.
    Later,
    /// It is this worker's until it ends: its state is too long, or was refused before, or nobody is there any more.
    Never,
}

/// What a supervisor wants of a worker whose peers can be moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// To know how many it has.
    Count,
    /// That it moves a part of them to the server at this takeover path.
    Move { share: Fraction, path: PathBuf },
}

impl Queue {
    /// The queue that this process was started with, from the environment. The supervisor learns that the worker is
    /// ready when it first asks for connections, or when it [says so](Self::ready).
    ///
    /// Close-on-exec is set: programs that the worker starts do not inherit the queue. Its number stays in the
    /// environment, since a Rust program cannot safely take it out of there; take it out of that of each
    /// [`Command`](std::process::Command).
    ///
    /// # Errors
    /// If the process was not started by a supervisor, has inherited its queue already, or `REACTORD_QUEUE` is not the
    /// number of a connected Unix socket of packets. The descriptor is left as it is then.
    pub fn inherit() -> Result<Self, InheritError> {
        static INHERITED: AtomicBool = AtomicBool::new(false);
        let value = std::env::var_os(SOCKET_VARIABLE).ok_or(InheritError::NotStartedBySupervisor)?;
        let number = value.to_str().and_then(|value| value.parse().ok()).filter(|number: &RawFd| *number >= 0);
        let number = number.ok_or_else(|| InheritError::NoNumber { value: value.to_string_lossy().into_owned() })?;
        if INHERITED.load(Ordering::Relaxed) {
            return Err(InheritError::Again);
        }
        let socket = inherited::duplicate(number).map_err(|error| InheritError::Io { number, error })?;
        check_kind(socket.as_fd()).map_err(|what| InheritError::WrongKind { number, what })?;
        if INHERITED.swap(true, Ordering::Relaxed) {
            return Err(InheritError::Again);
        }
        inherited::let_go(number);
        Ok(Self::on(socket))
    }

    pub(crate) fn on(socket: OwnedFd) -> Self {
        Self {
            socket,
            gives_back: false,
            is_ready: false,
            credits: 0,
            unsent: VecDeque::new(),
            heard: VecDeque::new(),
            holdings: Holdings::default(),
            moves: false,
            resumes: false,
            wishes: Vec::new(),
            end: End::Far,
            buffer: Vec::new(),
        }
    }

    /// The queue of a worker that gives connections back when it is asked to, and gets those that others gave back
    /// (version 2 of `docs/queue.md`). It has to say [`done`](Self::done) for each connection that ends.
    ///
    /// # Panics
    /// If the supervisor has already been told that this worker is ready.
    #[must_use]
    pub fn giving_back(mut self) -> Self {
        assert!(!self.is_ready, "a worker says what it speaks before anything else");
        self.gives_back = true;
        self
    }

    /// The queue of a worker that moves peers to another one when it is told to, and says how many it has.
    pub(crate) fn moving(mut self) -> Self {
        self.moves = true;
        self
    }

    /// The queue of a worker that this process has followed, and serves on as. It is [to say so](Self::survive) before anything else.
    ///
    /// # Errors
    /// What it is, if it is no such socket.
    pub(crate) fn followed(socket: OwnedFd) -> Result<Self, &'static str> {
        check_kind(socket.as_fd())?;
        Ok(Self { is_ready: true, resumes: true, ..Self::on(socket) })
    }

    /// Says that it goes on, and which it has of those that may not have been taken by the process before it.
    pub(crate) fn survive(&mut self, has: impl IntoIterator<Item = ConnectionId>) {
        // Also where nobody hears it: it is known by that what was not said.
        self.unsent.extend(has.into_iter().map(FromWorker::Has));
        self.say(FromWorker::Survived);
    }

    /// Whether the socket has taken the word that this process has the connection. It is this process's then, whatever becomes of the queue.
    pub(crate) fn has_claimed(&self, id: ConnectionId) -> bool {
        !self.unsent.contains(&FromWorker::Has(id))
    }

    /// Whether the socket has taken all that was said.
    pub(crate) fn has_said_all(&mut self) -> Result<bool, QueueError> {
        self.flush(Wait::No).map(|sent| sent == Sent::Now)
    }

    /// Says which process follows this one, and could serve on as this worker; `None` if none does any more.
    pub(crate) fn followed_by(&mut self, pid: Option<u32>) -> Result<(), QueueError> {
        self.say(FromWorker::Standby(pid.unwrap_or(0)));
        self.flush(Wait::No).map(drop)
    }

    /// What has come by now and is not acknowledged, in the order in which it is to be.
    pub(crate) fn offered(&mut self) -> Result<impl Iterator<Item = &Offered>, QueueError> {
        self.flush(Wait::No)?;
        while self.hear(Wait::No)? {}
        Ok(self.heard.iter())
    }

    /// How many have been heard of and are not acknowledged.
    pub(crate) fn unacknowledged(&self) -> usize {
        self.heard.len()
    }

    /// What the supervisor wants of a worker that [moves](Self::moving) peers, since this was last called.
    pub(crate) fn take_wishes(&mut self) -> Vec<Wish> {
        std::mem::take(&mut self.wishes)
    }

    /// Answers [`Wish::Count`].
    pub(crate) fn holds(&mut self, peers: u32) -> Result<(), QueueError> {
        self.say(FromWorker::Holds(peers));
        self.flush(Wait::No).map(drop)
    }

    /// Answers [`Wish::Move`].
    pub(crate) fn moved(&mut self, peers: u32) -> Result<(), QueueError> {
        self.say(FromWorker::Moved(peers));
        self.flush(Wait::No).map(drop)
    }

    /// Hears what has come, says what has not been taken yet, and gives out no connection.
    pub(crate) fn hear_all(&mut self) -> Result<(), QueueError> {
        self.flush(Wait::No)?;
        while self.moves && self.hear(Wait::No)? {}
        Ok(())
    }

    // ── Waiting ────────────────────────────────────────────────────────────────────────────────────────────────────

    /// Waits for the next connection, and acknowledges it. `None`: finish what you have, and exit.
    ///
    /// The stream blocks.
    ///
    /// # Errors
    /// If no connection can come any more though the supervisor has not said so.
    pub fn accept(&mut self) -> Result<Option<Connection>, QueueError> {
        match self.receive()? {
            Some(offered) => self.acknowledge(offered),
            None => Ok(None),
        }
    }

    /// Waits for the next connection, and leaves it to the supervisor for the time being. `None`: acknowledge what you
    /// will still serve, finish that, and exit.
    ///
    /// # Errors
    /// If no connection can come any more though the supervisor has not said so.
    pub fn receive(&mut self) -> Result<Option<Offered>, QueueError> {
        if self.credits == 0 && self.heard.is_empty() {
            self.ask(NonZeroU32::MIN);
        }
        self.flush(Wait::Yes)?;
        self.next_offered(Wait::Yes)
    }

    /// Makes a connection this worker's own. `None`: it cannot be any more, because the supervisor is gone or has ended
    /// this worker's queue; another worker may serve it by now.
    ///
    /// The stream blocks.
    ///
    /// # Errors
    /// If a system call fails.
    pub fn acknowledge(&mut self, offered: Offered) -> Result<Option<Connection>, QueueError> {
        let is_kept = offered.is_kept;
        if !is_kept {
            self.say(FromWorker::Took(offered.id));
            self.flush(Wait::Yes)?;
        }
        if is_kept || !self.is_gone() { self.own(offered, Wait::Yes).map(Some) } else { Ok(None) }
    }

    /// Gives a connection back, so that another worker goes on with it and with its state, as soon as the socket takes
    /// it. True: it is the supervisor's. Drop all that this worker has of its stream then: close, and never shut down.
    /// False: it is this worker's until it ends.
    ///
    /// # Errors
    /// If a system call fails. The connection is this worker's then.
    pub fn give_back(&mut self, id: ConnectionId, stream: impl AsFd, state: &[u8]) -> Result<bool, QueueError> {
        loop {
            match self.try_give_back(id, &stream, state)? {
                Back::Given => return Ok(true),
                Back::Never => return Ok(false),
                Back::Later => self.wait_to_give()?,
            }
        }
    }

    /// Waits until it is worth trying again. Where the socket has room, too many descriptors are under way, and no event tells when that
    /// is over.
    fn wait_to_give(&mut self) -> Result<(), QueueError> {
        if !wait_until(&self.socket, PollFlags::POLLOUT, PollTimeout::ZERO)? {
            return self.wait_for_room();
        }
        wait_until(&self.socket, PollFlags::POLLIN, RETRY_MS.into())?;
        self.hear_on()
    }

    // ── Not waiting ────────────────────────────────────────────────────────────────────────────────────────────────

    /// Tells the supervisor that this worker serves, unless it knows. To ask for connections does so, too.
    ///
    /// # Errors
    /// If a system call fails.
    pub fn ready(&mut self) -> Result<(), QueueError> {
        self.announce();
        self.flush(Wait::No).map(drop)
    }

    /// Asks for so many more connections.
    ///
    /// # Errors
    /// If a system call fails.
    pub fn want(&mut self, credits: NonZeroU32) -> Result<(), QueueError> {
        self.ask(credits);
        self.flush(Wait::No).map(drop)
    }

    /// How many connections were asked for and have not come.
    #[must_use]
    pub fn credits(&self) -> u32 {
        self.credits
    }

    /// The next connection, acknowledged, or `None` if there is none now: an event will tell, if there will ever be
    /// one. Whether there will, [`terminated`](Self::terminated) knows.
    ///
    /// The stream does not block. Register the queue for reading and writing, and call this after each event until
    /// there is none.
    ///
    /// # Errors
    /// If no connection can come any more though the supervisor has not said so.
    pub fn try_accept(&mut self) -> Result<Option<Connection>, QueueError> {
        if self.flush(Wait::No)? == Sent::Later {
            return self.hear_on().map(|()| None);
        }
        while let Some(offered) = self.next_offered(Wait::No)? {
            if offered.is_kept {
                return self.own(offered, Wait::No).map(Some);
            }
            match self.send(FromWorker::Took(offered.id))? {
                Sent::Now => return self.own(offered, Wait::No).map(Some),
                Sent::Later => {
                    self.heard.push_front(offered);
                    return self.hear_on().map(|()| None);
                }
                Sent::Never => {}
            }
        }
        Ok(None)
    }

    /// How many connections the supervisor wants back now, as far as was heard: it is heard by
    /// [`try_accept`](Self::try_accept) and [`terminated`](Self::terminated). They are never more than this worker has
    /// and may give; all of them, once it is to finish. Give them when you can, usually at the end of a message, and
    /// finish those that you cannot give.
    #[must_use]
    pub fn owed(&self) -> u32 {
        if self.gives_back && !self.is_gone() { self.holdings.owed() } else { 0 }
    }

    /// Gives a connection back with its state, unless the socket takes nothing now. The state has up to
    /// [`STATE_BYTES_MAX`] bytes, and the stream was not read or written since it was made.
    ///
    /// # Errors
    /// If a system call fails. The connection is this worker's then.
    pub fn try_give_back(&mut self, id: ConnectionId, stream: impl AsFd, state: &[u8]) -> Result<Back, QueueError> {
        if !self.gives_back || !self.holdings.may_give(id) || state.len() > STATE_BYTES_MAX {
            return Ok(Back::Never);
        }
        match self.flush(Wait::No)? {
            Sent::Now => {}
            Sent::Later => return Ok(Back::Later),
            Sent::Never => return Ok(Back::Never),
        }
        match descriptors::send(&self.socket, &FromWorker::Back(id).packet(Some(state)), &[stream.as_fd()]) {
            Ok(_) => {
                self.holdings.gave_back();
                Ok(Back::Given)
            }
            // The second: so many descriptors of this user are under way, which passes as a full socket does.
            Err(Errno::AGAIN | Errno::TOOMANYREFS) => Ok(Back::Later),
            Err(errno @ (Errno::PIPE | Errno::CONNRESET)) => self.leave(errno).map(|()| Back::Never),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Whether a worker that has no connection left may exit: it is to finish, and nothing that it gave back was
    /// refused. It tells the supervisor that it leaves, and one that [gives back](Self::giving_back) listens until that
    /// has answered all it was told, and ends the queue, too. If it may not, call [`accept`](Self::accept), which waits
    /// for that, or [`try_accept`](Self::try_accept) after an event.
    ///
    /// # Errors
    /// If a system call fails.
    pub fn may_exit(&mut self) -> Result<bool, QueueError> {
        if !self.has_ended() || !self.heard.is_empty() {
            return Ok(false);
        }
        if !self.is_gone() {
            self.end(Shutdown::Write);
        }
        self.hear_on()?;
        Ok(self.heard.is_empty() && (self.end == End::ReadOut || !self.gives_back))
    }

    /// Tells the supervisor that a connection has ended, so that it knows how many this worker has. It need not be
    /// told, unless this worker [gives back](Self::giving_back).
    ///
    /// # Errors
    /// If a system call fails.
    pub fn done(&mut self, id: ConnectionId) -> Result<(), QueueError> {
        self.holdings.ended(id);
        self.say(FromWorker::Done(id));
        self.flush(Wait::No).map(drop)
    }

    /// Whether this worker is to finish what it has, and exit. It is worth asking while a connection is served that may
    /// last.
    ///
    /// # Errors
    /// If no connection can come any more though the supervisor has not said so.
    pub fn terminated(&mut self) -> Result<bool, QueueError> {
        while !self.has_ended() && (self.gives_back || self.heard.is_empty()) && self.hear(Wait::No)? {}
        Ok(self.has_ended())
    }

    /// The same, as far as it is known without a look at the socket.
    pub(crate) fn has_ended(&self) -> bool {
        self.end != End::Far
    }

    // ── The socket ─────────────────────────────────────────────────────────────────────────────────────────────────

    fn announce(&mut self) {
        if !std::mem::replace(&mut self.is_ready, true) {
            let version = if self.gives_back || self.moves { VERSION } else { VERSION_WITHOUT_STATES };
            self.say(FromWorker::Ready { version });
        }
    }

    fn ask(&mut self, credits: NonZeroU32) {
        self.announce();
        if self.end == End::Far {
            self.credits = self.credits.saturating_add(credits.get());
            self.say(FromWorker::Want(credits));
        }
    }

    /// Says something as soon as the socket takes it.
    fn say(&mut self, word: FromWorker) {
        if !self.is_gone() {
            self.unsent.push_back(word);
        }
    }

    /// Sends what the socket has not taken yet.
    fn flush(&mut self, wait: Wait) -> Result<Sent, QueueError> {
        while let Some(&word) = self.unsent.front() {
            match self.send(word)? {
                Sent::Now => drop(self.unsent.pop_front()),
                Sent::Later if wait == Wait::Yes => self.wait_for_room()?,
                unsent => return Ok(unsent),
            }
        }
        Ok(if self.is_gone() { Sent::Never } else { Sent::Now })
    }

    fn send(&mut self, word: FromWorker) -> Result<Sent, QueueError> {
        if self.is_gone() {
            return Ok(Sent::Never);
        }
        match descriptors::send(&self.socket, &word.packet(None), &[]) {
            Ok(_) => Ok(Sent::Now),
            Err(Errno::AGAIN) => Ok(Sent::Later),
            Err(errno) => self.leave(errno).map(|()| Sent::Never),
        }
    }

    /// Waits until the socket takes something. A worker that gives back hears meanwhile: the supervisor may wait for
    /// it to do so, before it hears more itself.
    fn wait_for_room(&mut self) -> Result<(), QueueError> {
        let hears = if self.gives_back { PollFlags::POLLIN } else { PollFlags::empty() };
        wait_until(&self.socket, PollFlags::POLLOUT | hears, PollTimeout::NONE)?;
        self.hear_on()
    }

    /// Hears what has come, to give it out later.
    fn hear_on(&mut self) -> Result<(), QueueError> {
        while self.gives_back && self.hear(Wait::No)? {}
        Ok(())
    }

    /// What was received last and not given out, or what the supervisor offers next.
    fn next_offered(&mut self, wait: Wait) -> Result<Option<Offered>, QueueError> {
        loop {
            match self.heard.pop_front() {
                Some(offered) => return Ok(Some(offered)),
                None if self.hear(wait)? => {}
                None => return Ok(None),
            }
        }
    }

    /// Whether anything may still come that is worth hearing.
    fn listens(&self, wait: Wait) -> bool {
        match self.end {
            End::Far => true,
            // What was given back may be refused, and whoever waits for connections does not wait for that.
            End::Finishing => (self.gives_back || self.moves) && wait == Wait::No,
            End::Gone => self.gives_back,
            End::ReadOut => false,
        }
    }

    /// Hears one packet. False if there is none, now or ever.
    fn hear(&mut self, wait: Wait) -> Result<bool, QueueError> {
        if !self.listens(wait) {
            return Ok(false);
        }
        self.buffer.resize(1 + if self.gives_back { PACKET_BYTES_MAX } else { WORDS_BYTES_MAX }, 0);
        let mut arrived = Vec::new();
        match descriptors::receive(&self.socket, &mut self.buffer, Some(&mut arrived)) {
            Ok(Received { bytes: 0, .. }) => {
                self.end(Shutdown::Both);
                self.end = End::ReadOut;
                Ok(false)
            }
            Ok(received) => match self.understand(&received, arrived) {
                Ok(()) => Ok(true),
                Err(error) => {
                    self.end(Shutdown::Both);
                    Err(error)
                }
            },
            Err(Errno::AGAIN) if wait == Wait::Yes => {
                wait_until(&self.socket, PollFlags::POLLIN, PollTimeout::NONE).map(|_| true)
            }
            Err(Errno::AGAIN) => Ok(false),
            // There may be more to read. Nothing of it could be acknowledged, but what was refused is this worker's.
            Err(errno) => self.leave(errno).map(|()| self.gives_back),
        }
    }

    /// Notes what a packet says.
    fn understand(&mut self, received: &Received, arrived: Vec<OwnedFd>) -> Result<(), QueueError> {
        let said = FromSupervisor::parse(&self.buffer[..received.bytes])
            .map_err(|malformed| QueueError::Malformed { packet: malformed.to_string() })?;
        match said {
            // To another one, it was said to a survivor that has died as well.
            Some((FromSupervisor::Resumed(pid), _)) => self.resumes &= pid.get() != std::process::id(),
            // What was said to the process before is void, or is said again.
            _ if self.resumes => {}
            Some((FromSupervisor::Connection { id, peer, local }, state)) if !self.is_gone() => {
                let state = state.map(<[u8]>::to_vec);
                let socket = only_descriptor(arrived, received.descriptors_lost)?;
                self.credits = self.credits.saturating_sub(1);
                self.heard.push_back(Offered { id, peer, local, socket, state, is_kept: false });
            }
            Some((FromSupervisor::Keep(id), Some(state))) if self.gives_back => {
                let state = state.to_vec();
                match Offered::kept(id, only_descriptor(arrived, received.descriptors_lost)?, state) {
                    Some(offered) => self.heard.push_back(offered),
                    None => self.say(FromWorker::Done(id)),
                }
            }
            Some((FromSupervisor::Give(count), _)) => self.holdings.asked_for(count),
            Some((FromSupervisor::Finish, _)) => self.finish(),
            Some((FromSupervisor::Count, _)) if self.moves => self.wishes.push(Wish::Count),
            Some((FromSupervisor::Move { share, path }, _)) if self.moves => {
                self.wishes.push(Wish::Move { share, path: path.into() });
            }
            // A word of another version, or what cannot be acknowledged; what came with it is closed.
            _ => {}
        }
        Ok(())
    }

    /// It is this worker's.
    fn own(&mut self, offered: Offered, wait: Wait) -> Result<Connection, QueueError> {
        if offered.is_kept {
            self.holdings.kept(offered.id)
        } else {
            self.holdings.took()
        }
        offered.into_connection(wait == Wait::Yes).map_err(QueueError::Io)
    }

    /// No more connections come.
    fn finish(&mut self) {
        self.credits = 0;
        self.holdings.asked_for_all();
        if self.end == End::Far {
            self.end = End::Finishing;
        }
    }

    /// Whether the supervisor is told nothing more.
    pub(crate) fn is_gone(&self) -> bool {
        matches!(self.end, End::Gone | End::ReadOut)
    }

    /// The socket is of no use any more. That the supervisor is gone is no error.
    fn leave(&mut self, errno: Errno) -> Result<(), QueueError> {
        self.end(Shutdown::Both);
        match errno {
            Errno::PIPE | Errno::CONNRESET => Ok(()),
            errno => Err(errno.into()),
        }
    }

    /// Ends the queue for both sides, or for this one: the supervisor gives what was not acknowledged to others.
    fn end(&mut self, sides: Shutdown) {
        self.end = End::Gone;
        self.credits = 0;
        self.heard.retain(|offered| offered.is_kept);
        // It is never said any more, and so it is not so.
        self.unsent.retain(|word| matches!(word, FromWorker::Has(_)));
        // The only error is ENOTCONN, and then it has ended already.
        let _ = shutdown(&self.socket, sides);
    }
}

/// Waits until the socket is ready for one of these. Returns whether it is, as far as that is known.
fn wait_until(socket: &OwnedFd, events: PollFlags, timeout: PollTimeout) -> Result<bool, QueueError> {
    match poll(&mut [PollFd::new(socket.as_fd(), events)], timeout) {
        Ok(ready) => Ok(ready > 0),
        Err(nix::errno::Errno::EINTR) => Ok(false),
        Err(errno) => Err(QueueError::Io(errno.into())),
    }
}

/// Whether a call may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    Yes,
    No,
}

/// What became of a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sent {
    /// It is in the socket.
    Now,
    /// The socket is full.
    Later,
    /// Nobody is there.
    Never,
}

impl AsFd for Queue {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl event::Source for Queue {
    fn register(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        SourceFd(&self.socket.as_raw_fd()).register(registry, token, interests)
    }

    fn reregister(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        SourceFd(&self.socket.as_raw_fd()).reregister(registry, token, interests)
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        SourceFd(&self.socket.as_raw_fd()).deregister(registry)
    }
}

/// The descriptor of the connection that a packet speaks of. Surplus ones are closed.
fn only_descriptor(descriptors: Vec<OwnedFd>, some_lost: bool) -> Result<OwnedFd, QueueError> {
    let arrived = descriptors.len();
    match descriptors.into_iter().next() {
        _ if some_lost => Err(QueueError::DescriptorLost),
        Some(socket) if arrived == 1 => Ok(socket),
        _ => Err(QueueError::Descriptors { arrived }),
    }
}

/// Whether this may be a worker's end of a queue, or else what it is.
fn check_kind(socket: BorrowedFd<'_>) -> Result<(), &'static str> {
    match (sockopt::socket_domain(socket), sockopt::socket_type(socket)) {
        (Err(_), _) | (_, Err(_)) => Err("no socket"),
        (Ok(AddressFamily::UNIX), Ok(SocketType::SEQPACKET)) => match rustix::net::getpeername(socket) {
            Ok(_) => Ok(()),
            Err(_) => Err("a socket that is not connected"),
        },
        (Ok(AddressFamily::UNIX), Ok(_)) => Err("a Unix socket of another type"),
        (Ok(_), Ok(_)) => Err("no Unix socket"),
    }
}

#[cfg(test)]
mod tests;
