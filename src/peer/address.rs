//! Where a peer connects from, as logs name it and as successors are told.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::AsFd;

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};

/// Where a peer connects from, in less room than a `SocketAddr` takes: no connection that was accepted has a flow label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    /// Of IPv4, the first four.
    octets: [u8; 16],
    /// The scope of an address of IPv6, or the process of a Unix socket.
    number: u32,
    port: u16,
    family: Family,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    V4,
    V6,
    Unix,
}

const _: () = assert!(size_of::<Address>() == 24, "an idle peer costs little");

impl Address {
    /// A Unix socket, which hardly ever has an address: the process that connected, or 0 where the kernel does not tell.
    pub(crate) fn unix(pid: u32) -> Self {
        Self { octets: [0; 16], number: pid, port: 0, family: Family::Unix }
    }

    /// The other side of a Unix socket.
    pub(crate) fn of_unix(socket: impl AsFd) -> Self {
        let credentials = getsockopt(&socket, PeerCredentials);
        Self::unix(credentials.map_or(0, |credentials| credentials.pid().unsigned_abs()))
    }

    /// The address, or the process at the other side of a Unix socket.
    pub(crate) fn ip_or_pid(self) -> Result<SocketAddr, u32> {
        let Self { octets, number, port, family } = self;
        match family {
            Family::V4 => {
                let [a, b, c, d, ..] = octets;
                Ok((Ipv4Addr::new(a, b, c, d), port).into())
            }
            Family::V6 => Ok(SocketAddrV6::new(Ipv6Addr::from(octets), port, 0, number).into()),
            Family::Unix => Err(number),
        }
    }

    /// The address, where there is one.
    pub(crate) fn ip(self) -> Option<SocketAddr> {
        self.ip_or_pid().ok()
    }
}

impl<A: Into<SocketAddr>> From<A> for Address {
    fn from(address: A) -> Self {
        match address.into() {
            SocketAddr::V4(address) => {
                let mut octets = [0; 16];
                octets[..4].copy_from_slice(&address.ip().octets());
                Self { octets, number: 0, port: address.port(), family: Family::V4 }
            }
            SocketAddr::V6(address) => {
                let (octets, number) = (address.ip().octets(), address.scope_id());
                Self { octets, number, port: address.port(), family: Family::V6 }
            }
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ip_or_pid() {
            Ok(address) => reactord_process::address::Address(address).fmt(f),
            Err(pid) => write!(f, "[unix]:{pid}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_are_named_by_address_or_by_process() {
        assert_eq!(Address::from(([127, 0, 0, 1], 80)).to_string(), "[127.0.0.1]:80");
        for ip in ["127.0.0.1:80", "[::ffff:127.0.0.1]:80", "[fe80::1%7]:65535"] {
            let ip: SocketAddr = ip.parse().expect("it is one");
            assert_eq!(Address::from(ip).ip(), Some(ip));
        }
        let (one, _other) = std::os::unix::net::UnixStream::pair().expect("a pair of sockets");
        assert_eq!(Address::of_unix(&one).to_string(), format!("[unix]:{}", std::process::id()));
    }
}
