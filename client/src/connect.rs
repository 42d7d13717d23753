//! Opens all connections, with their handshakes, before any of them carries a message.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Instant;

use log::info;
use mio::net::TcpStream;
use mio::{Events, Interest, Token};
use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::address::bracketed;
use crate::error::Error;
use crate::stream::Stream;
use crate::tls::Tls;
use crate::wakeups::Wakeups;

/// Open files besides the connections: standard streams, epoll, signals, alarm, and what a parent may have left open.
pub(crate) const OTHER_FILES: usize = 16;

/// How many connects are under way at once. A listener's backlog may be as small as this, and a connect that finds it
/// full is only tried again after a second.
const UNDER_WAY_MAX: usize = 256;

/// How many connections share a source address: with more, the kernel's search for a free port gets slow.
const CONNECTIONS_PER_SOURCE: usize = 8_000;

/// An open connection.
pub(crate) struct Opened {
    pub(crate) server: SocketAddr,
    pub(crate) stream: Stream,
    /// Kept, because a connection that was reset cannot be asked any more.
    pub(crate) local_address: SocketAddr,
}

/// Raises the limit on open files as far as it goes, and says whether that is far enough for so many connections and
/// so many other files.
pub(crate) fn make_room(connections: usize, other_files: usize) -> Result<(), Error> {
    let (_, limit) = getrlimit(Resource::RLIMIT_NOFILE).map_err(io::Error::from)?;
    let needed = connections + other_files;
    if needed as u64 > limit {
        return Err(Error::TooManyConnections { connections, needed, limit });
    }
    setrlimit(Resource::RLIMIT_NOFILE, limit, limit).map_err(io::Error::from)?;
    Ok(())
}

/// A connection that is being opened.
struct Opening {
    stream: Stream,
    /// Known when the kernel has connected it.
    local_address: Option<SocketAddr>,
    is_open: bool,
}

impl Opening {
    /// Goes as far as it can, and says whether it is open now and was not before.
    fn go_on(&mut self) -> io::Result<bool> {
        if self.local_address.is_none() {
            self.local_address = finished(self.stream.socket())?;
        }
        let was_open = self.is_open;
        self.is_open = was_open || (self.local_address.is_some() && self.stream.shake_hands()?);
        Ok(self.is_open && !was_open)
    }
}

/// Opens `total` connections to `server` and registers each under its index, for reading and writing, edge-triggered.
///
/// An event that is not about opening goes to `other`, which says whether to stop, or is dropped if it is about a
/// connection that is open: whoever goes on must look at each connection once before it waits.
pub(crate) fn open_all(
    wakeups: &mut Wakeups,
    server: SocketAddr,
    tls: Option<&Tls>,
    total: usize,
    mut other: impl FnMut(Token) -> bool,
) -> Result<Vec<Opened>, Error> {
    let begun = Instant::now();
    let mut all: Vec<Opening> = Vec::with_capacity(total);
    let mut open = 0;
    let mut events = Events::with_capacity(UNDER_WAY_MAX);
    while open < total {
        let refused = |source| Error::Connect { server, open, total, source };
        while all.len() < total && all.len() - open < UNDER_WAY_MAX {
            let index = all.len();
            let mut socket = begin(server, source_address(server, index)).map_err(refused)?;
            wakeups.poll.registry().register(&mut socket, Token(index), Interest::READABLE | Interest::WRITABLE)?;
            let connection = tls.map(|tls| tls.connect(index, false)).transpose()?;
            all.push(Opening { stream: Stream::new(socket, connection), local_address: None, is_open: false });
        }
        wakeups.wait(&mut events, None)?;
        for event in &events {
            let Some(opening) = all.get_mut(event.token().0) else {
                let stop = !wakeups.take(event.token())? && other(event.token());
                if stop || wakeups.stops > 0 {
                    return Err(Error::Stopped { open, total });
                }
                continue;
            };
            let refused = |source| Error::Connect { server, open, total, source };
            open += usize::from(opening.go_on().map_err(refused)?);
        }
    }
    let milliseconds = begun.elapsed().as_secs_f64() * 1e3;
    info!("{total} connections to {} open in {milliseconds:.1} ms", bracketed(server));
    let opened = |Opening { stream, local_address, .. }| Some(Opened { server, stream, local_address: local_address? });
    Ok(all.into_iter().filter_map(opened).collect())
}

/// Begins to connect, from this address if it matters.
pub(crate) fn begin(server: SocketAddr, source: Option<IpAddr>) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(server), Type::STREAM.nonblocking().cloexec(), None)?;
    socket.set_tcp_nodelay(true)?;
    if let Some(source) = source {
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
pub(crate) fn source_address(server: SocketAddr, index: usize) -> Option<IpAddr> {
    let offset = u32::try_from(index / CONNECTIONS_PER_SOURCE).expect("the number of open files is limited");
    loopback(server, u32::from(Ipv4Addr::LOCALHOST) + offset)
}

/// Where the short-lived connection of this number comes from. Each keeps its port for a minute after its end
/// (`tcp(7)`), so they take turns on addresses that the lasting ones do not use.
pub(crate) fn passing_source_address(server: SocketAddr, number: u64) -> Option<IpAddr> {
    const ADDRESSES: u64 = 4096;
    const FIRST: Ipv4Addr = Ipv4Addr::new(127, 64, 0, 1);
    loopback(server, u32::from(FIRST) + (number % ADDRESSES) as u32)
}

/// This address, if the server is on the loopback network.
fn loopback(server: SocketAddr, address: u32) -> Option<IpAddr> {
    match server.ip() {
        IpAddr::V4(ip) if ip.is_loopback() => Some(Ipv4Addr::from(address).into()),
        _ => None,
    }
}

/// The local address of a connection, once it is open.
pub(crate) fn finished(socket: &TcpStream) -> io::Result<Option<SocketAddr>> {
    if let Some(error) = socket.take_error()? {
        return Err(error);
    }
    match socket.peer_addr() {
        Ok(peer_address) => {
            let local_address = socket.local_addr()?;
            // On one machine, a port that nobody listens on can be connected to itself.
            if local_address == peer_address {
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
