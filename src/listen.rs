//! Where a server listens, as its program says, and what it connects to.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use reactord_process::address::Address;
use reactord_process::adopted::At;
pub use reactord_process::adopted::{Adopted, NotListening};

use crate::tls::Tls;

/// How many listeners a server may have: a successor gets them all at once, with the takeover listener.
pub(crate) const LISTENERS_MAX: usize = 128;

/// Where somebody listens, and can be connected to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Target {
    /// On a TCP port. Who listens on port 0 lets the kernel choose one.
    Tcp(SocketAddr),
    /// On a Unix stream socket with this path, of 1 to 107 bytes when it is made absolute.
    Unix(PathBuf),
}

impl From<SocketAddr> for Target {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

impl From<PathBuf> for Target {
    fn from(path: PathBuf) -> Self {
        Self::Unix(path)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => Address(*address).fmt(f),
            Self::Unix(path) => path.display().fmt(f),
        }
    }
}

/// A listener of a service.
///
/// ```
/// use std::net::SocketAddr;
/// use reactord::Listen;
///
/// let clients = Listen::on("clients", SocketAddr::from(([0, 0, 0, 0], 1883)));
/// let local = Listen { backlog: Some(16), ..Listen::on("local", std::path::PathBuf::from("/run/mqtt.socket")) };
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// What the service calls it ([`Accepted::listener`](crate::Accepted::listener)), whatever its address is. No other
    /// listener of the server has this name.
    pub name: String,
    /// Where it listens. The path of a Unix socket is for this user alone (mode 0600); one that nobody answers on is
    /// replaced, one that is removed meanwhile is made anew, and it is removed at a stop.
    pub at: Target,
    /// How many connections may wait in the kernel to be accepted (listen(2)). `None` is the kernel's maximum. A listener
    /// that a takeover keeps has this backlog from when the successor serves; one that was not given here, but is taken over
    /// because its service was given none, keeps its own.
    pub backlog: Option<u32>,
    /// The socket that listens there already, if another process has opened it. That one may go on listening when this server
    /// has ended, so neither a stop nor a takeover ends it, and its path stays.
    pub socket: Option<Adopted>,
    /// What its clients speak TLS with, if they do. With the feature `tls`.
    pub tls: Option<Tls>,
}

impl Listen {
    /// A listener with this name at this address or path, and the kernel's maximum of connections that may wait.
    #[must_use]
    pub fn on(name: impl Into<String>, at: impl Into<Target>) -> Self {
        Self { name: name.into(), at: at.into(), backlog: None, socket: None, tls: None }
    }

    /// A listener with this name on a socket that listens already, blocking or not: one that a service manager has passed to
    /// this process, for instance (sd_listen_fds(3)). It is where it is, and has the backlog that it has. A successor gets it
    /// as any other listener.
    ///
    /// ```
    /// use reactord::Listen;
    ///
    /// let socket = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// let clients = Listen::adopted("clients", socket.into()).expect("it listens");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// Why nobody can connect there.
    pub fn adopted(name: impl Into<String>, socket: OwnedFd) -> Result<Self, NotListening> {
        Adopted::new(socket).map(|socket| Self::on_socket(name, socket))
    }

    /// The same on a socket of which it is known already that it listens.
    #[must_use]
    pub fn on_socket(name: impl Into<String>, socket: Adopted) -> Self {
        let at = match socket.at() {
            At::Tcp(address) => Target::Tcp(*address),
            At::Unix(path) => Target::Unix(path.clone()),
        };
        Self { socket: Some(socket), ..Self::on(name, at) }
    }
}

/// Why a server cannot listen.
#[derive(Debug)]
pub struct ListenError {
    /// Where it should listen.
    pub at: Target,
    /// How that failed.
    pub error: io::Error,
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "listening on {}: {}", self.at, self.error)?;
        if matches!(self.at, Target::Tcp(_)) && self.error.kind() == io::ErrorKind::PermissionDenied {
            write!(f, "; a port that low needs CAP_NET_BIND_SERVICE (capabilities(7))")?;
        }
        Ok(())
    }
}

impl std::error::Error for ListenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}
