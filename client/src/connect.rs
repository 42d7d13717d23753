//! Opens all connections, before any of them carries a message.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::load::Error;
use crate::wakeups::Signals;

/// Open files besides the connections: standard streams, epoll, signals, alarm, and what a parent may have left open.
const OTHER_FILES: usize = 16;

/// How many connects are under way at once. A listener's backlog may be as small as this, and a connect that finds it
/// full is only tried again after a second.
const UNDER_WAY_MAX: usize = 256;

/// How many connections share a source address: with more, the kernel's search for a free port gets slow.
const CONNECTIONS_PER_SOURCE: usize = 8_000;

/// An open connection.
pub(crate) struct Opened {
    pub(crate) socket: TcpStream,
    /// Kept, because a connection that was reset cannot be asked any more.
    pub(crate) local_address: SocketAddr,
}

/// Raises the limit on open files as far as it goes, and says whether that is far enough.
pub(crate) fn make_room(connections: usize) -> Result<(), Error> {
    let (_, limit) = getrlimit(Resource::RLIMIT_NOFILE).map_err(io::Error::from)?;
    let needed = connections + OTHER_FILES;
    if needed as u64 > limit {
        return Err(Error::TooManyConnections { connections, needed, limit });
    }
    setrlimit(Resource::RLIMIT_NOFILE, limit, limit).map_err(io::Error::from)?;
    Ok(())
}

/// Opens `total` connections to `server` and registers each under its index, for reading and writing, edge-triggered.
///
/// An event that is not about opening is dropped: whoever goes on must look at each connection once before it waits.
pub(crate) fn open_all(
    poll: &mut Poll,
    signals: (Token, &mut Signals),
    server: SocketAddr,
    total: usize,
) -> Result<Vec<Opened>, Error> {
    let (signals_token, signals) = signals;
    let mut sockets: Vec<TcpStream> = Vec::with_capacity(total);
    let mut local_addresses: Vec<Option<SocketAddr>> = vec![None; total];
    let mut open = 0;
    let mut events = Events::with_capacity(UNDER_WAY_MAX);
    while open < total {
        let refused = |source| Error::Connect { server, open, total, source };
        while sockets.len() < total && sockets.len() - open < UNDER_WAY_MAX {
            let index = sockets.len();
            let mut socket = begin(server, index).map_err(refused)?;
            poll.registry().register(&mut socket, Token(index), Interest::READABLE | Interest::WRITABLE)?;
            sockets.push(socket);
        }
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            result => result?,
        }
        for event in &events {
            if event.token() == signals_token {
                if signals.read()? > 0 {
                    return Err(Error::Stopped { open, total });
                }
                continue;
            }
            let Token(index) = event.token();
            if local_addresses[index].is_none() {
                let refused = |source| Error::Connect { server, open, total, source };
                local_addresses[index] = finished(&sockets[index], server).map_err(refused)?;
                open += usize::from(local_addresses[index].is_some());
            }
        }
    }
    let local_addresses = local_addresses.into_iter().flatten();
    Ok(sockets
        .into_iter()
        .zip(local_addresses)
        .map(|(socket, local_address)| Opened { socket, local_address })
        .collect())
}

/// Begins to connect.
fn begin(server: SocketAddr, index: usize) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(server), Type::STREAM.nonblocking().cloexec(), None)?;
    socket.set_tcp_nodelay(true)?;
    if let Some(source) = source_address(server, index) {
        // Otherwise the port would be chosen now, without knowing that it may be shared between destinations.
        setsockopt(&socket, sockopt::IpBindAddressNoPort, &true)?;
        socket.bind(&SockAddr::from(SocketAddr::new(source, 0)))?;
    }
    match socket.connect(&SockAddr::from(server)) {
        Err(error) if error.raw_os_error() != Some(Errno::EINPROGRESS as i32) => Err(error),
        _ => Ok(TcpStream::from_std(socket.into())),
    }
}

/// Where the connection of this index comes from: on the loopback network of IPv4 every address is ours, so the
/// connections are spread over as many as they need.
fn source_address(server: SocketAddr, index: usize) -> Option<IpAddr> {
    match server.ip() {
        IpAddr::V4(ip) if ip.is_loopback() => {
            let offset = u32::try_from(index / CONNECTIONS_PER_SOURCE).expect("the number of open files is limited");
            Some(Ipv4Addr::from(u32::from(Ipv4Addr::LOCALHOST) + offset).into())
        }
        _ => None,
    }
}

/// The local address of a connection, once it is open.
fn finished(socket: &TcpStream, server: SocketAddr) -> io::Result<Option<SocketAddr>> {
    if let Some(error) = socket.take_error()? {
        return Err(error);
    }
    match socket.peer_addr() {
        Ok(_) => {
            let local_address = socket.local_addr()?;
            // On one machine, a port that nobody listens on can be connected to itself.
            if local_address == server {
                return Err(Errno::ECONNREFUSED.into());
            }
            Ok(Some(local_address))
        }
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_connections_are_spread_over_source_addresses() {
        let source = |server: &str, index| source_address(server.parse().unwrap(), index).map(|ip| ip.to_string());
        assert_eq!(source("127.0.0.1:1", 0).as_deref(), Some("127.0.0.1"));
        assert_eq!(source("127.0.0.1:1", 7_999).as_deref(), Some("127.0.0.1"));
        assert_eq!(source("127.0.0.1:1", 8_000).as_deref(), Some("127.0.0.2"));
        assert_eq!(source("127.0.0.1:1", 8_000 * 255).as_deref(), Some("127.0.1.0"));
        assert_eq!(source("10.0.0.1:1", 8_000), None);
        assert_eq!(source("[::1]:1", 8_000), None);
    }
}
