//! A connection that no worker has taken yet.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;

#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) socket: OwnedFd,
    /// The client's address.
    pub(crate) peer: SocketAddr,
    /// The server's address.
    pub(crate) local: SocketAddr,
}
