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
//! What both sides say is in `docs/queue.md`.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::num::NonZeroU32;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token, event};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketType, sockopt};

use reactord_process::descriptors::{self, Received};
use reactord_process::inherited;
pub use reactord_process::words::{ConnectionId, PREDECESSOR_VARIABLE, TAKEOVER_VARIABLE};
use reactord_process::words::{FromSupervisor, FromWorker, SOCKET_VARIABLE, VERSION_WITHOUT_STATES, WORDS_BYTES_MAX};

/// Why there is no queue to draw from.
#[derive(Debug)]
#[non_exhaustive]
pub enum InheritError {
    /// `REACTORD_QUEUE` is not in the environment.
    NotStartedBySupervisor,
    /// `REACTORD_QUEUE` is no number of a descriptor.
    NoNumber {
        /// What it is.
        value: String,
    },
    /// The queue has been inherited already: a process has one.
    Again,
    /// The descriptor is not the worker's end of a queue.
    WrongKind {
        /// Its number.
        number: RawFd,
        /// What it is.
        what: &'static str,
    },
    /// A system call failed.
    Io {
        /// The descriptor's number.
        number: RawFd,
        /// How it failed.
        error: io::Error,
    },
}

impl fmt::Display for InheritError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotStartedBySupervisor => write!(
                f,
                "{SOCKET_VARIABLE} is not in the environment: a worker is started by reactord supervise -- COMMAND"
            ),
            Self::NoNumber { value } => {
                write!(f, "{SOCKET_VARIABLE} is {value:?}, the number of a descriptor is expected")
            }
            Self::Again => write!(f, "the queue of {SOCKET_VARIABLE} was inherited before"),
            Self::WrongKind { number, what } => {
                write!(f, "descriptor {number} of {SOCKET_VARIABLE} is {what}, a Unix socket of packets is expected")
            }
            Self::Io { number, error } => write!(f, "descriptor {number} of {SOCKET_VARIABLE}: {error}"),
        }
    }
}

impl std::error::Error for InheritError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { error, .. } => Some(error),
            _ => None,
        }
    }
}

/// Why no connection can come any more, though the supervisor has not said so. What was offered and not acknowledged
/// goes to another worker.
#[derive(Debug)]
#[non_exhaustive]
pub enum QueueError {
    /// The supervisor said something that this version does not understand.
    Malformed {
        /// What it said, in quotes.
        packet: String,
    },
    /// A connection came with so many descriptors instead of one.
    Descriptors {
        /// How many arrived.
        arrived: usize,
    },
    /// A connection's descriptor was lost on the way: this process has reached its limit of open files.
    DescriptorLost,
    /// A system call failed.
    Io(io::Error),
}

impl fmt::Display for QueueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the supervisor's queue: ")?;
        match self {
            Self::Malformed { packet } => f.write_str(packet),
            Self::Descriptors { arrived } => write!(f, "a connection came with {arrived} descriptors, 1 is expected"),
            Self::DescriptorLost => f.write_str("a descriptor was lost: the limit of open files is reached"),
            Self::Io(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for QueueError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            _ => None,
        }
    }
}

impl From<Errno> for QueueError {
    fn from(errno: Errno) -> Self {
        Self::Io(errno.into())
    }
}

/// A connection that the supervisor offers, and still owns. To drop it is to leave it alone: when this process is gone,
/// another worker gets it.
#[derive(Debug)]
pub struct Offered {
    id: ConnectionId,
    peer: SocketAddr,
    local: SocketAddr,
    socket: OwnedFd,
}

impl Offered {
    /// Which it is.
    #[must_use]
    pub fn id(&self) -> ConnectionId {
        self.id
    }

    /// The client's address.
    #[must_use]
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// The server's address, from which a worker of several ports knows which of them it was.
    #[must_use]
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    fn into_connection(self, wait: Wait) -> Result<Connection, QueueError> {
        let Self { id, peer, local, socket } = self;
        let stream = TcpStream::from(socket);
        // It belongs to the connection and not to the descriptor, so whoever held it last may have changed it.
        stream.set_nonblocking(wait == Wait::No).map_err(QueueError::Io)?;
        Ok(Connection { id, peer, local, stream })
    }
}

/// A connection that this worker owns.
///
/// The supervisor closes its duplicate a moment after the acknowledgement. To close the stream ends the connection no
/// sooner than that; `shutdown` does so at once.
#[derive(Debug)]
pub struct Connection {
    /// Which it is.
    pub id: ConnectionId,
    /// The client's address.
    pub peer: SocketAddr,
    /// The server's address, from which a worker of several ports knows which of them it was.
    pub local: SocketAddr,
    /// The connection itself.
    pub stream: TcpStream,
}

/// This worker's end of the supervisor's queue.
///
/// A queue that is dropped is one that this worker has left: what was offered to it and not acknowledged goes to
/// others.
#[derive(Debug)]
pub struct Queue {
    socket: OwnedFd,
    is_ready: bool,
    /// How many connections were asked for and have not come.
    credits: u32,
    /// What the socket has not taken yet.
    unsent: VecDeque<FromWorker>,
    /// What has been received and not been given out.
    offered: Option<Offered>,
    end: End,
}

/// How far the queue is from its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Connections come.
    Far,
    /// No more come, and the supervisor still hears what becomes of them.
    Finishing,
    /// Nobody is there.
    Gone,
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
        Self { socket, is_ready: false, credits: 0, unsent: VecDeque::new(), offered: None, end: End::Far }
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
        if self.credits == 0 && self.offered.is_none() {
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
        let connection = offered.into_connection(Wait::Yes)?;
        self.say(FromWorker::Took(connection.id));
        self.flush(Wait::Yes)?;
        Ok((self.end != End::Gone).then_some(connection))
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
            return Ok(None);
        }
        let Some(offered) = self.next_offered(Wait::No)? else {
            return Ok(None);
        };
        match self.send(FromWorker::Took(offered.id), Wait::No)? {
            Sent::Now => offered.into_connection(Wait::No).map(Some),
            Sent::Later => {
                self.offered = Some(offered);
                Ok(None)
            }
            Sent::Never => Ok(None),
        }
    }

    /// Tells the supervisor that a connection has ended, so that it knows how many this worker has. It need not be
    /// told.
    ///
    /// # Errors
    /// If a system call fails.
    pub fn done(&mut self, id: ConnectionId) -> Result<(), QueueError> {
        self.say(FromWorker::Done(id));
        self.flush(Wait::No).map(drop)
    }

    /// Whether this worker is to finish what it has, and exit. It is worth asking while a connection is served that may
    /// last.
    ///
    /// # Errors
    /// If no connection can come any more though the supervisor has not said so.
    pub fn terminated(&mut self) -> Result<bool, QueueError> {
        if !self.has_ended() && self.offered.is_none() {
            self.offered = self.next_offered(Wait::No)?;
        }
        Ok(self.has_ended())
    }

    /// The same, as far as it is known without a look at the socket.
    pub(crate) fn has_ended(&self) -> bool {
        self.end != End::Far
    }

    // ── The socket ─────────────────────────────────────────────────────────────────────────────────────────────────

    fn announce(&mut self) {
        if !std::mem::replace(&mut self.is_ready, true) {
            self.say(FromWorker::Ready { version: VERSION_WITHOUT_STATES });
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
        if self.end != End::Gone {
            self.unsent.push_back(word);
        }
    }

    /// Sends what the socket has not taken yet.
    fn flush(&mut self, wait: Wait) -> Result<Sent, QueueError> {
        while let Some(&word) = self.unsent.front() {
            match self.send(word, wait)? {
                Sent::Now => drop(self.unsent.pop_front()),
                unsent => return Ok(unsent),
            }
        }
        Ok(Sent::Now)
    }

    fn send(&mut self, word: FromWorker, wait: Wait) -> Result<Sent, QueueError> {
        if self.end == End::Gone {
            return Ok(Sent::Never);
        }
        let packet = word.to_string();
        match wait.on(&self.socket, PollFlags::POLLOUT, || descriptors::send(&self.socket, packet.as_bytes(), &[])) {
            Ok(_) => Ok(Sent::Now),
            Err(Errno::AGAIN) => Ok(Sent::Later),
            Err(errno) => self.leave(errno).map(|()| Sent::Never),
        }
    }

    /// What was received last and not given out, or what the supervisor offers next.
    fn next_offered(&mut self, wait: Wait) -> Result<Option<Offered>, QueueError> {
        if let Some(offered) = self.offered.take() {
            return Ok(Some(offered));
        }
        let mut buffer = [0; WORDS_BYTES_MAX + 1];
        while self.end == End::Far {
            let mut arrived = Vec::new();
            let received = wait.on(&self.socket, PollFlags::POLLIN, || {
                descriptors::receive(&self.socket, &mut buffer, Some(&mut arrived))
            });
            let received = match received {
                Ok(Received { bytes: 0, .. }) => return self.leave(Errno::PIPE).map(|()| None),
                Ok(received) => received,
                Err(Errno::AGAIN) => return Ok(None),
                Err(errno) => return self.leave(errno).map(|()| None),
            };
            let said = FromSupervisor::parse(&buffer[..received.bytes])
                .map_err(|malformed| QueueError::Malformed { packet: malformed.to_string() });
            let offered = match said {
                Ok(Some((FromSupervisor::Finish, _))) => {
                    self.credits = 0;
                    self.end = End::Finishing;
                    return Ok(None);
                }
                Ok(Some((FromSupervisor::Connection { id, peer, local }, _))) => {
                    only_descriptor(arrived, received.descriptors_lost).map(|socket| Offered {
                        id,
                        peer,
                        local,
                        socket,
                    })
                }
                // A word of a later version; what came with it is closed.
                Ok(_) => continue,
                Err(error) => Err(error),
            };
            return match offered {
                Ok(offered) => {
                    self.credits = self.credits.saturating_sub(1);
                    Ok(Some(offered))
                }
                Err(error) => {
                    self.end();
                    Err(error)
                }
            };
        }
        Ok(None)
    }

    /// The socket is of no use any more. That the supervisor is gone is no error.
    fn leave(&mut self, errno: Errno) -> Result<(), QueueError> {
        self.end();
        match errno {
            // After ECONNRESET there may be more to read, but nothing of it could be acknowledged.
            Errno::PIPE | Errno::CONNRESET => Ok(()),
            errno => Err(errno.into()),
        }
    }

    /// Ends the queue for both sides: the supervisor gives what was not acknowledged to others.
    fn end(&mut self) {
        self.end = End::Gone;
        self.credits = 0;
        self.offered = None;
        self.unsent.clear();
        // The only error is ENOTCONN, and then it has ended already.
        let _ = rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Both);
    }
}

/// Whether a call may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    Yes,
    No,
}

impl Wait {
    /// Makes a call that does not wait, and another one when `socket` is ready for it, if this may wait.
    fn on<T>(
        self,
        socket: &OwnedFd,
        events: PollFlags,
        mut call: impl FnMut() -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        loop {
            match call() {
                Err(Errno::AGAIN) if self == Self::Yes => {
                    match poll(&mut [PollFd::new(socket.as_fd(), events)], PollTimeout::NONE) {
                        Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                        Err(errno) => return Err(Errno::from_raw_os_error(errno as i32)),
                    }
                }
                result => return result,
            }
        }
    }
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
