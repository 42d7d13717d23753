//! Where a peer connects from, as logs name it and as successors are told.

use std::fmt;
use std::net::SocketAddr;
use std::os::fd::AsFd;

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};

/// Where a peer connects from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    Ip(SocketAddr),
    /// A Unix socket, which hardly ever has an address: the process that connected, or 0 where the kernel does not tell.
    Unix {
        pid: u32,
    },
}

const _: () = assert!(size_of::<Address>() == size_of::<SocketAddr>(), "an idle peer costs little");

impl Address {
    /// The other side of a Unix socket.
    pub(crate) fn of_unix(socket: impl AsFd) -> Self {
        let credentials = getsockopt(&socket, PeerCredentials);
        Self::Unix { pid: credentials.map_or(0, |credentials| credentials.pid().unsigned_abs()) }
    }

    /// The address, where there is one.
    pub(crate) fn ip(self) -> Option<SocketAddr> {
        match self {
            Self::Ip(address) => Some(address),
            Self::Unix { .. } => None,
        }
    }
}

impl<A: Into<SocketAddr>> From<A> for Address {
    fn from(address: A) -> Self {
        Self::Ip(address.into())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => reactord_process::address::Address(*address).fmt(f),
            Self::Unix { pid } => write!(f, "[unix]:{pid}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_are_named_by_address_or_by_process() {
        assert_eq!(Address::from(([127, 0, 0, 1], 80)).to_string(), "[127.0.0.1]:80");
        let (one, _other) = std::os::unix::net::UnixStream::pair().expect("a pair of sockets");
        assert_eq!(Address::of_unix(&one).to_string(), format!("[unix]:{}", std::process::id()));
    }
}
