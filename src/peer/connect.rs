//! Connections that a service opens: what it asks for, and how far the kernel has come with it. It knows sockets, not
//! peers.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::{IpBindAddressNoPort, IpTransparent};
use rustix::io::Errno;
use rustix::net::sockopt::{set_socket_keepalive, set_tcp_nodelay, socket_error};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, getpeername, socket_with};

use super::address::Address;
use crate::listen::Target;

/// A connection that a service [opens](crate::Context::connect).
#[derive(Clone, Debug)]
pub struct Connect {
    /// What to connect to.
    pub to: Target,
    /// The source address of a TCP connection; port 0 is one that the kernel chooses. Default: the kernel chooses both.
    pub from: Option<SocketAddr>,
    /// Whether the source address may be somebody else's (`IP_TRANSPARENT`, ip(7)), for which the process needs
    /// `CAP_NET_ADMIN`. Default: no.
    pub transparent: bool,
    /// After so long it is given up. Default: 10 s.
    pub within: Duration,
    /// Whether the connection is left to end with this process, like that of a health check: it is not copied to a
    /// successor, which makes its own, and its service hears nothing of its end in a takeover. Default: no.
    pub ephemeral: bool,
    /// How it speaks TLS, if it does. Then it stands when the handshake is over, which has to be so `within` that time, too; if
    /// that fails, the connection is [`Closed::Unreachable`](crate::Closed::Unreachable) with the reason. What the
    /// handshake has found out is told by `Context::tls` (feature `tls`). Default: it does not.
    pub tls: Option<ConnectTls>,
}

/// How a connection that a service opens speaks TLS.
///
/// If a takeover comes in the middle of the handshake, the successor opens the connection anew, before anything of what the service
/// has sent has gone out: the server sees one connection that was given up, and another one. Only one to a Unix socket, which
/// cannot be opened anew, is [`Unreachable`](crate::Closed::Unreachable) then, with an error of the kind
/// [`Interrupted`](io::ErrorKind::Interrupted).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectTls {
    /// The name of settings of the server: one of its [connectors](crate::Config::connectors).
    pub with: String,
    /// What the server has to be called in its certificate: a DNS name, which it is told as the one that is asked for
    /// (RFC 6066 section 3), or an IP address.
    pub name: String,
    /// What is sent in clear before the handshake, such as a header of the PROXY protocol. Default: nothing.
    pub preface: Vec<u8>,
}

impl ConnectTls {
    /// TLS with a server of this name, by the settings that are called `with`.
    #[must_use]
    pub fn to(name: impl Into<String>, with: impl Into<String>) -> Self {
        Self { with: with.into(), name: name.into(), preface: Vec::new() }
    }
}

impl Connect {
    /// A connection to this, with all defaults.
    #[must_use]
    pub fn to(target: Target) -> Self {
        Self {
            to: target,
            from: None,
            transparent: false,
            within: Duration::from_secs(10),
            ephemeral: false,
            tls: None,
        }
    }

    /// A connection to this TCP address, with all defaults.
    #[must_use]
    pub fn to_tcp(address: SocketAddr) -> Self {
        Self::to(Target::Tcp(address))
    }
}

/// A connection that the kernel is opening.
#[derive(Debug)]
pub(crate) struct Dialled {
    pub(crate) socket: OwnedFd,
    pub(crate) address: Address,
    /// Where the kernel may have forgotten the attempt: see [`try_again`].
    pub(crate) path: Option<PathBuf>,
}

/// Begins to connect.
///
/// # Errors
/// What is known at once: there is no descriptor or no port, the source address is not one's own, nobody listens.
pub(crate) fn dial(how: &Connect) -> io::Result<Dialled> {
    match &how.to {
        Target::Tcp(to) => Ok(Dialled { socket: dial_tcp(*to, how)?, address: (*to).into(), path: None }),
        Target::Unix(path) => {
            let socket = stream(AddressFamily::UNIX)?;
            try_again(&socket, path)?;
            Ok(Dialled { socket, address: Address::unix(0), path: Some(path.clone()) })
        }
    }
}

fn dial_tcp(to: SocketAddr, how: &Connect) -> io::Result<OwnedFd> {
    let socket = stream(if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 })?;
    set_tcp_nodelay(&socket, true)?;
    set_socket_keepalive(&socket, true)?;
    if how.transparent {
        setsockopt(&socket, IpTransparent, &true)?;
    }
    if let Some(from) = how.from {
        // Many connections may then have the same port, if they lead to different places (ip(7)).
        setsockopt(&socket, IpBindAddressNoPort, &true)?;
        bind(&socket, &from)?;
    }
    match connect(&socket, &to) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(error) => Err(error.into()),
    }
}

fn stream(family: AddressFamily) -> io::Result<OwnedFd> {
    Ok(socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?)
}

/// Tries to connect to a Unix socket; says whether that stands. With a full backlog the kernel says no more than that it
/// is full (EAGAIN, connect(2)), and will not tell when it is not.
///
/// # Errors
/// If nobody listens there.
pub(crate) fn try_again(socket: impl AsFd, path: &Path) -> io::Result<bool> {
    match connect(socket, &SocketAddrUnix::new(path)?) {
        Ok(()) | Err(Errno::ISCONN) => Ok(true),
        Err(Errno::AGAIN) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Why a connection that is being opened never will stand.
#[derive(Debug)]
pub(crate) enum Unreached {
    /// There is none, or it is lost.
    Lost(io::Error),
    /// It is there, and its TLS handshake has failed. The other side is told why, if it can be.
    #[cfg_attr(not(feature = "tls"), expect(dead_code, reason = "nobody begins one"))]
    HandshakeFailed(io::Error),
}

impl From<io::Error> for Unreached {
    fn from(error: io::Error) -> Self {
        Self::Lost(error)
    }
}

/// Whether a TCP connection that the kernel is opening stands.
///
/// # Errors
/// If it never will. The kernel says why once (`SO_ERROR`, socket(7)), to whoever asks first.
pub(crate) fn stands(socket: impl AsFd) -> io::Result<bool> {
    match getpeername(&socket) {
        Ok(_) => Ok(true),
        Err(Errno::NOTCONN) => socket_error(&socket)?.map(|()| false).map_err(io::Error::from),
        Err(error) => Err(error.into()),
    }
}
