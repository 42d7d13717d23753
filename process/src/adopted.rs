//! Sockets on which another process has begun to listen, and goes on doing so when this one has ended: a service manager's,
//! for instance (sd_listen_fds(3)).

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::io::Errno;
use rustix::net::sockopt::{set_socket_keepalive, set_tcp_nodelay, socket_acceptconn, socket_type};
use rustix::net::{AddressFamily, SocketAddrAny, SocketAddrUnix, SocketType, getsockname, listen};

use crate::accept::kernel_backlog;

/// A socket that listens.
#[derive(Clone, Debug)]
pub struct Adopted {
    socket: Arc<OwnedFd>,
    at: At,
}

/// Where it listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum At {
    /// On a TCP port.
    Tcp(SocketAddr),
    /// On a Unix stream socket with this path.
    Unix(PathBuf),
}

/// Why a descriptor cannot be listened on.
#[derive(Debug)]
#[non_exhaustive]
pub enum NotListening {
    /// It is not a socket.
    NoSocket,
    /// It is a socket that passes no streams.
    NoStream,
    /// Nobody listens on it: it is connected, or was never told to listen.
    NoListener,
    /// Its address is neither a TCP address nor a path.
    Address,
    /// A system call failed.
    Io(io::Error),
}

impl fmt::Display for NotListening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSocket => f.write_str("it is not a socket"),
            Self::NoStream => f.write_str("it is a socket that passes no streams (ListenStream= does)"),
            Self::NoListener => f.write_str("nobody listens on it: it is one connection (Accept=yes), or unused"),
            Self::Address => f.write_str("its address is neither a TCP port nor a path"),
            Self::Io(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for NotListening {}

impl From<Errno> for NotListening {
    fn from(errno: Errno) -> Self {
        if errno == Errno::NOTSOCK { Self::NoSocket } else { Self::Io(errno.into()) }
    }
}

impl Adopted {
    /// A socket that listens already, if it does.
    ///
    /// # Errors
    /// Why it does not, or not so that streams come in from an address or a path.
    pub fn new(socket: OwnedFd) -> Result<Self, NotListening> {
        if socket_type(&socket)? != SocketType::STREAM {
            return Err(NotListening::NoStream);
        }
        if !socket_acceptconn(&socket)? {
            return Err(NotListening::NoListener);
        }
        let at = At::of(&getsockname(&socket)?).ok_or(NotListening::Address)?;
        Ok(Self { socket: Arc::new(socket), at })
    }

    /// Where it listens.
    pub fn at(&self) -> &At {
        &self.at
    }

    /// A duplicate to accept from: without waiting, and with what each connection is to have, as from a socket that this
    /// process had opened itself. A backlog that is given replaces the one that it has.
    ///
    /// # Errors
    /// If a system call fails.
    pub fn open(&self, backlog: Option<u32>) -> io::Result<OwnedFd> {
        let socket = self.socket.try_clone()?;
        rustix::io::ioctl_fionbio(&socket, true)?;
        if let At::Tcp(_) = self.at {
            set_tcp_nodelay(&socket, true)?;
            set_socket_keepalive(&socket, true)?;
        }
        if backlog.is_some() {
            listen(&socket, kernel_backlog(backlog))?;
        }
        Ok(socket)
    }
}

impl At {
    fn of(address: &SocketAddrAny) -> Option<Self> {
        match address.address_family() {
            AddressFamily::UNIX => {
                let address = SocketAddrUnix::try_from(address.clone()).ok()?;
                let path = address.path_bytes().filter(|path| !path.is_empty())?;
                Some(Self::Unix(OsStr::from_bytes(path).into()))
            }
            _ => SocketAddr::try_from(address.clone()).ok().map(Self::Tcp),
        }
    }
}

impl AsFd for Adopted {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// They are the same if they are one.
impl PartialEq for Adopted {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.socket, &other.socket)
    }
}

impl Eq for Adopted {}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr as UnixAddress, UnixListener};

    use super::*;

    #[test]
    fn a_socket_that_listens_is_told_from_all_that_does_not() {
        let listens = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listens.local_addr().unwrap();
        let connection = TcpStream::connect(address).unwrap();
        assert_eq!(*Adopted::new(listens.into()).unwrap().at(), At::Tcp(address));
        let name = UnixAddress::from_abstract_name(format!("reactord-adopted-{}", std::process::id())).unwrap();
        let nameless = UnixListener::bind_addr(&name).unwrap();
        for (other, why) in [
            (OwnedFd::from(File::open("/dev/null").unwrap()), "it is not a socket"),
            (UdpSocket::bind("127.0.0.1:0").unwrap().into(), "no streams"),
            (connection.into(), "it is one connection"),
            (nameless.into(), "neither a TCP port nor a path"),
        ] {
            let error = Adopted::new(other).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn a_socket_is_opened_without_waiting_and_with_what_connections_are_to_have() {
        let listens = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listens.local_addr().unwrap();
        let opened = TcpListener::from(Adopted::new(listens.into()).unwrap().open(None).unwrap());
        assert_eq!(opened.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        let _client = TcpStream::connect(address).unwrap();
        assert!(opened.accept().unwrap().0.nodelay().unwrap());
    }
}
