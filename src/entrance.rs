//! Where peers come from: a TCP listener, or the queue of the supervisor that this process works for.

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::time::Instant;

use log::{debug, info, warn};
use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};
use rustc_hash::FxHashMap;
use rustix::net::sockopt::socket_cookie;

use crate::accept::Accepting;
use crate::peer::{Address, PeerId};
use crate::worker::{ConnectionId, Queue, QueueError};

/// How many connections are asked for ahead. So many may wait in a worker that is busy while another one is free; with
/// fewer, it would wait for the supervisor more often than for its clients.
const CREDITS_MAX: u32 = 16;

/// Where peers come from.
#[derive(Debug)]
pub(crate) enum Entrance {
    /// Clients connect to this process.
    Listener(TcpListener),
    /// A supervisor accepts for this process.
    Queue(Draw),
}

impl Entrance {
    /// Registers what tells that there may be a peer.
    pub(crate) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        match self {
            Self::Listener(listener) => registry.register(listener, token, Interest::READABLE),
            // Writable again, it takes an acknowledgement that a connection waits for.
            Self::Queue(draw) => registry.register(&mut draw.queue, token, Interest::READABLE | Interest::WRITABLE),
        }
    }

    /// Says that this process serves from now on.
    pub(crate) fn announce(&mut self) -> io::Result<()> {
        match self {
            Self::Listener(listener) => info!("Starting TCP server on {}", Address(listener.local_addr()?)),
            Self::Queue(draw) => {
                info!("Starting worker on a supervisor's queue");
                let ready = draw.queue.ready();
                draw.end_at(ready);
            }
        }
        Ok(())
    }

    /// The next peer, or `None` if there is none: the next event tells of one. There is `room` for so many more.
    ///
    /// # Errors
    /// If none can be accepted for now. Accepting pauses.
    pub(crate) fn next(
        &mut self,
        accepting: &mut Accepting,
        room: usize,
        now: Instant,
    ) -> io::Result<Option<(TcpStream, SocketAddr)>> {
        match self {
            Self::Listener(listener) => accepting.accept(listener, now),
            Self::Queue(draw) => {
                let next = draw.next(room);
                if next.is_none() {
                    accepting.wait_for_event();
                }
                Ok(next)
            }
        }
    }

    /// The peer is gone.
    pub(crate) fn released(&mut self, id: PeerId) {
        if let Self::Queue(draw) = self {
            draw.released(id);
        }
    }

    /// Whether no peer will come any more.
    pub(crate) fn has_ended(&self) -> bool {
        match self {
            Self::Listener(_) => false,
            Self::Queue(draw) => draw.queue.has_ended(),
        }
    }

    /// What goes to a successor. A queue does not: each worker has its own.
    pub(crate) fn listener(&self) -> Option<&TcpListener> {
        match self {
            Self::Listener(listener) => Some(listener),
            Self::Queue(_) => None,
        }
    }

    /// Lets nobody in any more.
    pub(crate) fn close(self) {
        if let Self::Listener(listener) = self {
            // To close it would not be enough while a successor that was given up holds a duplicate (unix(7)).
            let shut = rustix::net::shutdown(&listener, rustix::net::Shutdown::Both);
            debug!("Listening ended: {shut:?}");
        }
    }
}

/// A supervisor's queue, and what was drawn from it.
#[derive(Debug)]
pub(crate) struct Draw {
    queue: Queue,
    /// How the supervisor knows the peers that it has given us.
    drawn: FxHashMap<PeerId, ConnectionId>,
}

impl Draw {
    pub(crate) fn from(queue: Queue) -> Self {
        Self { queue, drawn: FxHashMap::default() }
    }

    fn next(&mut self, room: usize) -> Option<(TcpStream, SocketAddr)> {
        let ended_before = self.queue.has_ended();
        let asked = self.ask(u32::try_from(room).unwrap_or(u32::MAX).min(CREDITS_MAX));
        self.end_at(asked);
        let accepted = self.queue.try_accept();
        let connection = self.end_at(accepted).flatten();
        if self.queue.has_ended() && !ended_before {
            info!("No more connections come from the supervisor: finishing with those that are here");
        }
        let connection = connection?;
        match socket_cookie(&connection.stream) {
            Ok(cookie) => drop(self.drawn.insert(cookie.into(), connection.id)),
            Err(error) => debug!("Connection {} has no cookie: {error}", connection.id),
        }
        Some((TcpStream::from_std(connection.stream), connection.peer))
    }

    /// Sees to it that up to so many connections are asked for, in few words.
    fn ask(&mut self, credits_max: u32) -> Result<(), QueueError> {
        let credits = self.queue.credits();
        match NonZeroU32::new(credits_max.saturating_sub(credits)) {
            Some(more) if credits <= credits_max / 2 => self.queue.want(more),
            _ => Ok(()),
        }
    }

    fn released(&mut self, id: PeerId) {
        if let Some(connection) = self.drawn.remove(&id) {
            let said = self.queue.done(connection);
            self.end_at(said);
        }
    }

    /// What a call returned, unless it says that the queue is of no use any more.
    fn end_at<T>(&mut self, result: Result<T, QueueError>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                warn!("{error}");
                None
            }
        }
    }
}
