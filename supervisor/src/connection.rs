//! The connections that the supervisor has, and what it has to know of those that workers may give back.

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use reactord_process::words::ConnectionId;
use rustix::net::sockopt::{set_socket_linger, socket_cookie, socket_linger};

/// A client's socket. Whoever closes it does not wait for that.
#[derive(Debug)]
pub(crate) struct ClientSocket(OwnedFd);

impl From<OwnedFd> for ClientSocket {
    fn from(socket: OwnedFd) -> Self {
        Self(socket)
    }
}

impl AsFd for ClientSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Drop for ClientSocket {
    /// A worker may want to wait for its client when it closes (`SO_LINGER`, socket(7)). The connection has that, and not the descriptor:
    /// whoever is the last one to close waits, also where nothing else is waited for. With a time of 0 nobody waits: the client is reset.
    fn drop(&mut self) {
        if socket_linger(&self.0).is_ok_and(|linger| linger.is_some_and(|time| !time.is_zero())) {
            // What can be asked of a socket can be told it: there is nothing that could fail.
            let _ = set_socket_linger(&self.0, None);
        }
    }
}

/// A connection that no worker has.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) socket: ClientSocket,
    /// The client's address.
    pub(crate) peer: SocketAddr,
    /// The server's address.
    pub(crate) local: SocketAddr,
    /// What the worker that gave it back wants the next one to know.
    pub(crate) state: Option<Box<[u8]>>,
}

/// What comes with the word that gives a connection back.
#[derive(Debug)]
pub(crate) struct Parcel {
    pub(crate) socket: ClientSocket,
    pub(crate) state: Box<[u8]>,
}

/// What goes with a connection.
pub(crate) type Lent<'c> = (BorrowedFd<'c>, Option<&'c [u8]>);

/// What is to be known of a connection that a worker has, in case it gives it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) peer: SocketAddr,
    pub(crate) local: SocketAddr,
    /// Which socket it is (`SO_COOKIE`, socket(7)): another one must not come in its place.
    pub(crate) cookie: u64,
}

/// What was given back is another socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WrongSocket(ConnectionId);

impl fmt::Display for WrongSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "it gave back connection {} with the descriptor of something else", self.0)
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    here: HashMap<ConnectionId, Connection>,
    /// Those that workers have which may give them back.
    away: HashMap<ConnectionId, Origin>,
    /// What the states of those that are here have together.
    states_bytes: usize,
}

impl Connections {
    /// Those that an earlier binary had.
    pub(crate) fn of(here: HashMap<ConnectionId, Connection>, away: HashMap<ConnectionId, Origin>) -> Self {
        let states_bytes = here.values().map(Connection::state_bytes).sum();
        Self { here, away, states_bytes }
    }

    /// One more is here.
    pub(crate) fn insert(&mut self, id: ConnectionId, connection: Connection) {
        self.states_bytes += connection.state_bytes();
        self.here.insert(id, connection);
    }

    /// How many are here: each has a descriptor.
    pub(crate) fn len(&self) -> usize {
        self.here.len()
    }

    /// What their states have together.
    pub(crate) fn states_bytes(&self) -> usize {
        self.states_bytes
    }

    pub(crate) fn get(&self, id: ConnectionId) -> Option<&Connection> {
        self.here.get(&id)
    }

    pub(crate) fn here(&self) -> impl Iterator<Item = (ConnectionId, &Connection)> {
        self.here.iter().map(|(id, connection)| (*id, connection))
    }

    pub(crate) fn away(&self) -> impl Iterator<Item = (ConnectionId, Origin)> {
        self.away.iter().map(|(id, origin)| (*id, *origin))
    }

    /// What a worker is sent of it.
    pub(crate) fn lend(&self, id: ConnectionId) -> Option<Lent<'_>> {
        let Connection { socket, state, .. } = self.here.get(&id)?;
        Some((socket.as_fd(), state.as_deref()))
    }

    /// A worker has it from now on: the duplicate is closed, and its state forgotten. It may come back or not.
    pub(crate) fn let_go(&mut self, id: ConnectionId, may_come_back: bool) {
        let Some(connection) = self.here.remove(&id) else {
            return;
        };
        self.states_bytes -= connection.state_bytes();
        let Connection { socket, peer, local, .. } = connection;
        if may_come_back && let Ok(cookie) = socket_cookie(&socket) {
            self.away.insert(id, Origin { peer, local, cookie });
        }
    }

    /// It will not come back.
    pub(crate) fn forget(&mut self, id: ConnectionId) {
        self.away.remove(&id);
    }

    /// It is here again.
    ///
    /// # Errors
    /// If it is not what came.
    pub(crate) fn take_back(&mut self, id: ConnectionId, parcel: Parcel) -> Result<(), WrongSocket> {
        let Parcel { socket, state } = parcel;
        let Some(Origin { peer, local, cookie }) = self.away.remove(&id) else {
            return Err(WrongSocket(id));
        };
        if socket_cookie(&socket) != Ok(cookie) {
            return Err(WrongSocket(id));
        }
        self.insert(id, Connection { socket, peer, local, state: Some(state) });
        Ok(())
    }
}

impl Connection {
    /// How many bytes are kept for it.
    pub(crate) fn state_bytes(&self) -> usize {
        self.state.as_ref().map_or(0, |state| state.len())
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::time::Duration;

    use super::*;

    fn connection() -> (TcpStream, Connection) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (socket, peer) = listener.accept().unwrap();
        let local = socket.local_addr().unwrap();
        (client, Connection { socket: OwnedFd::from(socket).into(), peer, local, state: None })
    }

    fn parcel(connections: &Connections, id: ConnectionId, state: &[u8]) -> Parcel {
        let socket = connections.here[&id].socket.as_fd().try_clone_to_owned().unwrap();
        Parcel { socket: socket.into(), state: state.into() }
    }

    #[test]
    fn whoever_closes_does_not_wait_for_the_client_though_a_worker_wanted_to_and_resets_it_if_that_did() {
        let some = Some(Duration::from_secs(5));
        for (linger, left) in [(some, None), (Some(Duration::ZERO), Some(Duration::ZERO)), (None, None)] {
            let (_client, connection) = connection();
            let workers = connection.socket.as_fd().try_clone_to_owned().unwrap();
            set_socket_linger(&workers, linger).unwrap();
            let mut connections = Connections::default();
            connections.insert(ConnectionId::FIRST, connection);
            connections.let_go(ConnectionId::FIRST, true);
            assert_eq!(socket_linger(&workers), Ok(left), "{linger:?}");
        }
    }

    #[test]
    fn what_comes_back_is_what_it_was_with_a_state_that_is_counted_while_it_is_here() {
        let (_client, connection) = connection();
        let (peer, local, id) = (connection.peer, connection.local, ConnectionId::FIRST);
        let mut connections = Connections::default();
        connections.insert(id, connection);
        for state in [&b"Ada"[..], b"", b"Ada Lovelace"] {
            let parcel = parcel(&connections, id, state);
            connections.let_go(id, true);
            assert_eq!((connections.len(), connections.states_bytes()), (0, 0));
            connections.take_back(id, parcel).unwrap();
            assert_eq!((connections.len(), connections.states_bytes()), (1, state.len()));
            assert_eq!(connections.lend(id).unwrap().1, Some(state));
            let back = connections.get(id).unwrap();
            assert_eq!((back.peer, back.local), (peer, local));
        }
    }

    #[test]
    fn nothing_comes_back_that_is_another_socket_or_was_let_go_for_good() {
        let ((_client, one), (_other_client, other)) = (connection(), connection());
        let (first, second) = (ConnectionId::FIRST, ConnectionId::FIRST.next());
        let mut connections = Connections::default();
        connections.insert(first, one);
        connections.insert(second, other);
        let (one, other) = (parcel(&connections, first, b""), parcel(&connections, second, b""));
        connections.let_go(first, true);
        connections.let_go(second, false);
        let error = connections.take_back(first, other).unwrap_err().to_string();
        assert_eq!(error, "it gave back connection 1 with the descriptor of something else");
        assert_eq!(connections.take_back(second, one), Err(WrongSocket(second)));
        assert_eq!((connections.len(), connections.away().count()), (0, 0));
    }
}
