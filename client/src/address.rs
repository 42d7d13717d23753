//! How an address is written, and what tells one connection from another.

use std::net::SocketAddr;

/// The two ends of a connection. One alone does not tell which connection it is: the kernel gives the same local port to
/// connections that lead to different servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Ends {
    pub(crate) client: SocketAddr,
    pub(crate) server: SocketAddr,
}

/// `[address]:port`, for both address families alike.
pub(crate) fn bracketed(address: SocketAddr) -> String {
    format!("[{}]:{}", address.ip(), address.port())
}
