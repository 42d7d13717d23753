//! The queue of the supervisor that this process works for, and what was drawn from it.

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::time::Instant;

use log::{debug, info, warn};
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use reactord_process::address::Address;
use reactord_process::limited::Limit;
use rustc_hash::FxHashMap;
use rustix::net::sockopt::socket_cookie;

use crate::peer::PeerId;
use crate::worker::{Connection, ConnectionId, Queue, QueueError, Wish};

/// How many connections are asked for ahead. So many may wait in a worker that is busy while another one is free; with
/// fewer, it would wait for the supervisor more often than for its clients.
const CREDITS_MAX: u32 = 16;

/// A supervisor's queue, and what was drawn from it.
#[derive(Debug)]
pub(crate) struct Draw {
    queue: Queue,
    /// How the supervisor knows the peers that it has given us.
    drawn: FxHashMap<PeerId, ConnectionId>,
    /// Of lines about connections that another program has given back.
    limit: Limit,
}

impl Draw {
    pub(crate) fn from(queue: Queue) -> Self {
        Self { queue, drawn: FxHashMap::default(), limit: Limit::default() }
    }

    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        // Writable again, it takes an acknowledgement that a connection waits for.
        registry.register(&mut self.queue, token, Interest::READABLE | Interest::WRITABLE)
    }

    /// Says that this process serves from now on.
    pub(super) fn announce(&mut self) {
        let ready = self.queue.ready();
        self.end_at(ready);
    }

    /// The next peer, or `None` if there is none. There is `room` for so many more.
    pub(super) fn next(&mut self, room: usize) -> Option<(TcpStream, SocketAddr)> {
        let ended_before = self.queue.has_ended();
        let asked = self.ask(u32::try_from(room).unwrap_or(u32::MAX).min(CREDITS_MAX));
        self.end_at(asked);
        let connection = self.accept();
        if self.queue.has_ended() && !ended_before {
            info!("No more connections come from the supervisor: finishing with those that are here");
        }
        let connection = connection?;
        match socket_cookie(&connection.stream) {
            Ok(cookie) => drop(self.drawn.insert(cookie.into(), connection.id)),
            Err(error) => {
                debug!("Connection {} has no cookie, and is not served: {error}", connection.id);
                let said = self.queue.done(connection.id);
                self.end_at(said);
            }
        }
        Some((TcpStream::from_std(connection.stream), connection.peer))
    }

    /// The next connection that can be served: none that another program has given back, with a state that only such a
    /// program understands.
    fn accept(&mut self) -> Option<Connection> {
        loop {
            let accepted = self.queue.try_accept();
            let connection = self.end_at(accepted).flatten()?;
            let state_bytes = connection.state.as_ref().map_or(0, Vec::len);
            if state_bytes == 0 {
                return Some(connection);
            }
            let now = Instant::now();
            if let Some(lines) = self.limit.left_out(now) {
                warn!("{lines} more connections were closed that another program has given back");
            }
            if self.limit.admits(now) {
                warn!(
                    "Connection {} of peer {} is closed: another program has given it back with {state_bytes} bytes of state",
                    connection.id,
                    Address(connection.peer)
                );
            }
            let said = self.queue.done(connection.id);
            self.end_at(said);
        }
    }

    /// Sees to it that up to so many connections are asked for, in few words.
    fn ask(&mut self, credits_max: u32) -> Result<(), QueueError> {
        let credits = self.queue.credits();
        match NonZeroU32::new(credits_max.saturating_sub(credits)) {
            Some(more) if credits <= credits_max / 2 => self.queue.want(more),
            _ => Ok(()),
        }
    }

    /// Hears the supervisor where there is no room for another peer.
    pub(super) fn hear(&mut self) {
        let heard = self.queue.hear_all();
        self.end_at(heard);
    }

    /// What the supervisor wants besides, since this was last called.
    pub(super) fn take_wishes(&mut self) -> Vec<Wish> {
        self.queue.take_wishes()
    }

    /// So many peers there are.
    pub(super) fn say_holds(&mut self, peers: usize) {
        let said = self.queue.holds(u32::try_from(peers).unwrap_or(u32::MAX));
        self.end_at(said);
    }

    /// So many were moved, as the supervisor wanted.
    pub(super) fn say_moved(&mut self, peers: u64) {
        let said = self.queue.moved(u32::try_from(peers).unwrap_or(u32::MAX));
        self.end_at(said);
    }

    /// The peer is gone.
    pub(super) fn released(&mut self, id: PeerId) {
        if let Some(connection) = self.drawn.remove(&id) {
            let said = self.queue.done(connection);
            self.end_at(said);
        }
    }

    /// Whether no peer will come any more.
    pub(super) fn has_ended(&self) -> bool {
        self.queue.has_ended()
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
