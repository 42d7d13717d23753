//! The queue of the supervisor that this process works for, and what was drawn from it.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use log::{debug, info, warn};
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use reactord_process::address::Address;
use reactord_process::channel::DESCRIPTORS_PER_FRAME_MAX;
use reactord_process::limited::Limit;
use rustc_hash::FxHashMap;
use rustix::net::sockopt::socket_cookie;

use crate::fault::{self, StandbyStep};
use crate::peer::PeerId;
use crate::worker::{Connection, ConnectionId, Offered, Queue, QueueError, Wish};

/// How many connections are asked for ahead. So many may wait in a worker that is busy while another one is free; with
/// fewer, it would wait for the supervisor more often than for its clients.
const CREDITS_MAX: u32 = 16;

/// A supervisor's queue, and what was drawn from it.
#[derive(Debug)]
pub(crate) struct Draw {
    queue: Queue,
    /// How the supervisor knows the peers that it has given us.
    drawn: FxHashMap<PeerId, ConnectionId>,
    /// Where a standby is armed: how many of those who are offered it knows. Nobody else is taken.
    known: Option<usize>,
    /// Whom the process that this one has followed may have taken, until the supervisor is told that they are here.
    untold: Option<Untold>,
    /// The same from then on, until they are let in.
    inherited: VecDeque<Inherited>,
    /// It was said that no more come.
    said_end: bool,
    /// Of lines about connections that another program has given back.
    limit: Limit,
}

/// Somebody who is offered, and not taken yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Offer<'d> {
    pub(crate) id: ConnectionId,
    /// As whom it will be known.
    pub(crate) peer: PeerId,
    pub(crate) socket: BorrowedFd<'d>,
}

impl<'d> Offer<'d> {
    fn of(offered: &'d Offered) -> Self {
        let socket = offered.socket();
        // One that has no cookie is not served in any case.
        let peer = socket_cookie(socket).unwrap_or_default().into();
        Self { id: offered.id(), peer, socket }
    }
}

/// Somebody who was offered to a process that is dead.
#[derive(Debug)]
pub(crate) struct Inherited {
    pub(crate) id: ConnectionId,
    pub(crate) socket: OwnedFd,
}

/// Those of whom the supervisor is to be told before they are let in.
#[derive(Debug)]
struct Untold {
    inherited: Vec<Inherited>,
    /// It was said, and the socket may not have taken all of it.
    is_said: bool,
}

impl Draw {
    pub(crate) fn from(queue: Queue) -> Self {
        Self {
            queue,
            drawn: FxHashMap::default(),
            known: None,
            untold: None,
            inherited: VecDeque::new(),
            said_end: false,
            limit: Limit::default(),
        }
    }

    /// What a standby goes on with.
    pub(crate) fn queue(&self) -> BorrowedFd<'_> {
        self.queue.as_fd()
    }

    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        // Writable again, it takes an acknowledgement that a connection waits for.
        registry.register(&mut self.queue, token, Interest::READABLE | Interest::WRITABLE)
    }

    /// Says that this process serves from now on.
    pub(super) fn announce(&mut self) {
        self.survive();
        let ready = self.queue.ready();
        self.end_at(ready);
    }

    // ── With a standby ─────────────────────────────────────────────────────────────────────────────────────────────

    /// A standby is armed, or none is any more. One that `hears_first` is to know whom there is before they are taken.
    pub(super) fn followed_by(&mut self, pid: Option<u32>, hears_first: bool) {
        self.known = pid.filter(|_| hears_first).map(|_| 0);
        let said = self.queue.followed_by(pid);
        self.end_at(said);
    }

    /// Whether the supervisor can hear all that it was told, or nobody hears it any more.
    pub(super) fn has_told_all(&mut self) -> bool {
        let has_said_all = self.queue.has_said_all();
        self.end_at(has_said_all).unwrap_or(false) || self.queue.is_gone()
    }

    /// Who is offered now, for a standby: as many as there is room for. It is to know them, and then they may be taken.
    pub(super) fn offers(&mut self, room: usize) -> Vec<Offer<'_>> {
        let Self { queue, known: Some(known), .. } = self else { return Vec::new() };
        let offered = match queue.offered() {
            Ok(offered) => offered,
            Err(error) => {
                warn!("{error}");
                return Vec::new();
            }
        };
        *known = 0;
        // Whoever has a state that only another program understands is closed, and need not be known for that.
        let counted = offered.take(room.min(DESCRIPTORS_PER_FRAME_MAX)).inspect(|_| *known += 1);
        counted.filter(|offered| !offered.has_state()).map(Offer::of).collect()
    }

    /// Whether somebody was offered, and has not been taken.
    pub(super) fn has_offers(&self) -> bool {
        self.queue.unacknowledged() > 0
    }

    /// A standby could not be told of them.
    pub(super) fn withhold(&mut self) {
        self.known = self.known.map(|_| 0);
    }

    /// This process goes on with the queue of one that has died, which may have taken these.
    pub(super) fn inherit(&mut self, inherited: Vec<Inherited>) {
        self.untold = Some(Untold { inherited, is_said: false });
    }

    /// Tells the supervisor so, before anything else.
    fn survive(&mut self) {
        let Some(Untold { inherited, is_said }) = &mut self.untold else { return };
        if !std::mem::replace(is_said, true) {
            self.queue.survive(inherited.iter().map(|inherited| inherited.id));
        }
        if self.has_told_all()
            && let Some(Untold { inherited, .. }) = self.untold.take()
        {
            // If nobody hears it any more, somebody else may have by now whom the supervisor was not told of.
            self.inherited = inherited.into_iter().filter(|inherited| self.queue.has_claimed(inherited.id)).collect();
        }
    }

    /// The next one who is this process's already.
    pub(super) fn next_inherited(&mut self) -> Option<(TcpStream, SocketAddr)> {
        self.survive();
        loop {
            let Inherited { id, socket } = self.inherited.pop_front()?;
            match Connection::inherited(id, socket) {
                Ok(connection) => return Some(self.let_in(connection)),
                Err(error) => {
                    debug!("Connection {id} is gone: {error}");
                    let said = self.queue.done(id);
                    self.end_at(said);
                }
            }
        }
    }

    // ── Coming and going ───────────────────────────────────────────────────────────────────────────────────────────

    /// The next peer, or `None` if there is none. There is `room` for so many more.
    pub(super) fn next(&mut self, room: usize) -> Option<(TcpStream, SocketAddr)> {
        // Those who are here and not taken yet will need some of that.
        let room = room.saturating_sub(self.queue.unacknowledged());
        let asked = self.ask(u32::try_from(room).unwrap_or(u32::MAX).min(CREDITS_MAX));
        self.end_at(asked);
        let connection = self.accept();
        if self.queue.has_ended() && !std::mem::replace(&mut self.said_end, true) {
            info!("No more connections come from the supervisor: finishing with those that are here");
        }
        connection.map(|connection| self.let_in(connection))
    }

    /// It is this process's, which knows it as a peer from now on.
    fn let_in(&mut self, connection: Connection) -> (TcpStream, SocketAddr) {
        match socket_cookie(&connection.stream) {
            Ok(cookie) => drop(self.drawn.insert(cookie.into(), connection.id)),
            Err(error) => {
                debug!("Connection {} has no cookie, and is not served: {error}", connection.id);
                let said = self.queue.done(connection.id);
                self.end_at(said);
            }
        }
        (TcpStream::from_std(connection.stream), connection.peer)
    }

    /// The next connection that can be served: none that another program has given back, with a state that only such a
    /// program understands.
    fn accept(&mut self) -> Option<Connection> {
        loop {
            if self.known == Some(0) {
                return None;
            }
            let accepted = self.queue.try_accept();
            let connection = self.end_at(accepted).flatten()?;
            if let Some(known) = &mut self.known {
                *known -= 1;
                fault::here_while_sheltered(StandbyStep::Took);
            }
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

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpListener;

    use reactord_process::descriptors;
    use rustix::net::{AddressFamily, RecvFlags, Shutdown, SocketFlags, SocketType, recv, shutdown, socketpair};

    use super::*;

    #[test]
    fn whom_the_supervisor_was_told_of_is_let_in_though_it_ends_the_queue_before_it_is_told_of_all() {
        let (supervisor, socket) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        while descriptors::send(&socket, b"want 1", &[]).is_ok() {}
        // There is room for one word.
        recv(&supervisor, &mut [0; 16], RecvFlags::empty()).unwrap();
        let mut draw = Draw::from(Queue::followed(socket).unwrap());

        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut clients = [(); 2].map(|()| std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap());
        let inherited = (1..=2).map(|number| Inherited {
            id: ConnectionId::from_number(number).unwrap(),
            socket: listener.accept().unwrap().0.into(),
        });
        draw.inherit(inherited.collect());
        draw.announce();
        assert!(draw.next_inherited().is_none(), "it has not been told of all");
        shutdown(&supervisor, Shutdown::Both).unwrap();
        let (_stream, peer) = draw.next_inherited().expect("it was told of one");
        assert_eq!(peer, clients[0].local_addr().unwrap());
        assert!(draw.next_inherited().is_none());
        assert_eq!(clients[1].read(&mut [0]).unwrap(), 0, "somebody else may have it by now");
    }
}
