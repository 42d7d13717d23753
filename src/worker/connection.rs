//! Connections, as a worker gets them: offered by its supervisor, or its own.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use reactord_process::words::ConnectionId;

/// A connection that the supervisor offers, and still owns. To drop it is to leave it alone: when this process is gone,
/// another worker gets it.
#[derive(Debug)]
pub struct Offered {
    pub(super) id: ConnectionId,
    pub(super) peer: SocketAddr,
    pub(super) local: SocketAddr,
    pub(super) socket: OwnedFd,
    pub(super) state: Option<Vec<u8>>,
    /// The supervisor does not own it any more: it has refused to take it back.
    pub(super) is_kept: bool,
}

impl Offered {
    /// What was given back and refused, or `None` if it is nobody's any more: its client has reset it.
    pub(super) fn kept(id: ConnectionId, socket: OwnedFd, state: Vec<u8>) -> Option<Self> {
        let stream = TcpStream::from(socket);
        let (peer, local) = (stream.peer_addr().ok()?, stream.local_addr().ok()?);
        Some(Self { id, peer, local, socket: stream.into(), state: Some(state), is_kept: true })
    }

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

    /// Whether another program has given it back, with what it knows of it.
    pub(crate) fn has_state(&self) -> bool {
        self.state.as_ref().is_some_and(|state| !state.is_empty())
    }

    /// Its socket, to be known by somebody else before it is taken.
    pub(crate) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// The connection, which blocks or does not.
    pub(super) fn into_connection(self, blocks: bool) -> io::Result<Connection> {
        let Self { id, peer, local, socket, state, is_kept } = self;
        let stream = TcpStream::from(socket);
        // It belongs to the connection and not to the descriptor, so whoever held it last may have changed it.
        stream.set_nonblocking(!blocks)?;
        Ok(Connection { id, peer, local, stream, state, is_kept })
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
    /// What it was [given back](super::Queue::give_back) with, by this worker or another. `None`: it is a new one.
    pub state: Option<Vec<u8>>,
    /// This worker gave it back, and the supervisor has refused it: it stays here until it ends.
    pub is_kept: bool,
}

impl Connection {
    /// One that was offered to the process before this one.
    ///
    /// # Errors
    /// If it is nobody's any more: its client has reset it.
    pub(crate) fn inherited(id: ConnectionId, socket: OwnedFd) -> io::Result<Self> {
        let stream = TcpStream::from(socket);
        let (peer, local) = (stream.peer_addr()?, stream.local_addr()?);
        stream.set_nonblocking(true)?;
        Ok(Self { id, peer, local, stream, state: None, is_kept: false })
    }
}
