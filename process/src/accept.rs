//! Accepting connections: the listening socket, which errors concern only the one that was next, and when accepting
//! pauses and goes on.
//!
//! An edge-triggered listener that was left before `WouldBlock` never fires again by itself, so whoever accepts asks
//! [`Accepting`] what is due.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use log::debug;
use mio::net::{TcpListener, TcpStream};
use nix::errno::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with, sockopt};

use crate::address::Address;

/// How many connections are accepted in one turn.
pub const ACCEPTS_PER_TURN: u32 = 256;

/// How long accepting pauses when the process or the system is out of descriptors, unless one is closed before.
pub const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// The maximum of a backlog where the kernel does not tell: what it has been unless it is set otherwise, since 5.4.
const BACKLOG_MAX_ASSUMED: usize = 4096;

/// How often it is logged that accepting pauses.
const PAUSE_LOGGED_EVERY: Duration = Duration::from_secs(60);

/// Why a server cannot listen.
#[derive(Debug)]
pub struct ListenError {
    /// The address it should listen on.
    pub address: SocketAddr,
    /// How that failed.
    pub error: io::Error,
}

impl std::fmt::Display for ListenError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "listening on {}: {}", Address(self.address), self.error)?;
        if self.error.kind() == ErrorKind::PermissionDenied {
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

/// A socket that listens on `address`. The kernel cuts the backlog to its maximum (listen(2)).
///
/// What is set here holds for each connection that it accepts, without a system call for each: answers go out at once,
/// and a client whose host has vanished is noticed in the time that the kernel is set to (tcp(7)).
///
/// # Errors
/// If a system call fails.
pub fn listen_on(address: SocketAddr, backlog: Option<u32>) -> Result<TcpListener, ListenError> {
    try_to_listen_on(address, backlog).map_err(|error| ListenError { address, error })
}

fn try_to_listen_on(address: SocketAddr, backlog: Option<u32>) -> io::Result<TcpListener> {
    let socket = socket_for(address)?;
    bind(&socket, &address)?;
    listen(&socket, kernel_backlog(backlog))?;
    Ok(TcpListener::from_std(socket.into()))
}

/// A socket that is bound to `address` beside others with the same port, one of whose addresses includes the other's; they
/// have to [share](share_port) it. Nobody can connect before it [listens](begin_to_listen).
///
/// # Errors
/// If a system call fails.
pub fn bind_beside(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket_for(address)?;
    share_port(&socket)?;
    bind(&socket, &address)?;
    Ok(TcpListener::from_std(socket.into()))
}

/// Lets another socket of the same user that does so, too, listen on a port of this one (`SO_REUSEPORT`, socket(7)). That may
/// be said of a socket which listens already.
///
/// # Errors
/// If a system call fails.
pub fn share_port(socket: impl AsFd) -> io::Result<()> {
    Ok(sockopt::set_socket_reuseport(socket, true)?)
}

/// Has a socket listen that is bound.
///
/// # Errors
/// If a system call fails.
pub fn begin_to_listen(socket: impl AsFd, backlog: Option<u32>) -> io::Result<()> {
    Ok(listen(socket, kernel_backlog(backlog))?)
}

/// A socket on which connections to `address` can be accepted, once it is bound and listens.
fn socket_for(address: SocketAddr) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    // Connections of a server that has just stopped linger; they are no reason not to start (socket(7)).
    sockopt::set_socket_reuseaddr(&socket, true)?;
    sockopt::set_tcp_nodelay(&socket, true)?;
    sockopt::set_socket_keepalive(&socket, true)?;
    Ok(socket)
}

/// A backlog as listen(2) takes it, which cuts it to its maximum: that is also what is meant where none is given.
pub fn kernel_backlog(backlog: Option<u32>) -> i32 {
    backlog.map_or(i32::MAX, |backlog| backlog.try_into().unwrap_or(i32::MAX))
}

/// How many connections can have been waiting at one listener at most, whatever backlog it was given: the kernel cuts that to
/// its maximum, and lets one more wait (listen(2), `net.core.somaxconn`).
pub fn waiting_max() -> usize {
    let told = std::fs::read_to_string("/proc/sys/net/core/somaxconn").ok();
    let backlog_max = told.and_then(|told| told.trim().parse().ok()).unwrap_or(BACKLOG_MAX_ASSUMED);
    backlog_max.saturating_add(1)
}

/// Whether and when connections of one listener are accepted.
#[derive(Debug)]
pub struct Accepting {
    when: When,
    pause_logged: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    /// At the next event.
    OnEvent,
    /// In the next turn: this one's budget was spent.
    NextTurn,
    /// When there is room again.
    PausedFull,
    /// When there is room again, or then: there are no descriptors.
    PausedUntil(Instant),
}

impl Accepting {
    /// Accepting begins in the next turn.
    pub fn begin() -> Self {
        Self { when: When::NextTurn, pause_logged: None }
    }

    /// The next connection, or `None` if there is none: the next event tells of one.
    ///
    /// # Errors
    /// If none can be accepted for now. Accepting pauses.
    pub fn accept(&mut self, listener: &TcpListener, now: Instant) -> io::Result<Option<(TcpStream, SocketAddr)>> {
        self.accept_by(|| listener.accept(), now)
    }

    /// The same for a listener of any kind.
    ///
    /// # Errors
    /// As for [`Self::accept`].
    pub fn accept_by<T>(&mut self, mut accept: impl FnMut() -> io::Result<T>, now: Instant) -> io::Result<Option<T>> {
        loop {
            match accept() {
                Ok(accepted) => return Ok(Some(accepted)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.wait_for_event();
                    return Ok(None);
                }
                Err(error) if concerns_one_connection(&error) => {
                    debug!("A connection was lost before it was accepted: {error}");
                }
                Err(error) => {
                    self.when = When::PausedUntil(now + ACCEPT_PAUSE);
                    return Err(error);
                }
            }
        }
    }

    /// Nothing is left to be accepted, or nobody listens.
    pub fn wait_for_event(&mut self) {
        self.when = When::OnEvent;
    }

    /// This turn's budget is spent, and there may be more.
    pub fn go_on_next_turn(&mut self) {
        self.when = When::NextTurn;
    }

    /// There is no room for another connection until [`Self::resume`] is called.
    pub fn pause(&mut self) {
        self.when = When::PausedFull;
    }

    /// Whether it is time to log that accepting pauses: at the limit, each connection that ends makes room for one that
    /// comes, and a line for each would say nothing.
    pub fn pause_is_news(&mut self, now: Instant) -> bool {
        let news = self.pause_logged.is_none_or(|logged| now - logged >= PAUSE_LOGGED_EVERY);
        if news {
            self.pause_logged = Some(now);
        }
        news
    }

    /// A connection has ended, so there is room for another.
    pub fn resume(&mut self) {
        if matches!(self.when, When::PausedFull | When::PausedUntil(_)) {
            self.when = When::NextTurn;
        }
    }

    /// Whether accepting is due without an event.
    pub fn is_due(&self, now: Instant) -> bool {
        self.due(now).is_some_and(|due| due <= now)
    }

    /// When accepting is due without an event, if it is.
    pub fn due(&self, now: Instant) -> Option<Instant> {
        match self.when {
            When::OnEvent | When::PausedFull => None,
            When::NextTurn => Some(now),
            When::PausedUntil(instant) => Some(instant),
        }
    }
}

/// Whether accepting failed because of the one connection that was next, so that the one after it may be accepted
/// (accept(2)). Otherwise it failed for want of descriptors or memory, or for good.
fn concerns_one_connection(error: &io::Error) -> bool {
    use Errno::{
        ECONNABORTED, EHOSTDOWN, EHOSTUNREACH, EINTR, ENETDOWN, ENETUNREACH, ENONET, ENOPROTOOPT, EOPNOTSUPP, EPERM,
        EPROTO,
    };
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(errno, Some(ECONNABORTED | EINTR | EPERM | EPROTO | ENOPROTOOPT | EOPNOTSUPP))
        || matches!(errno, Some(ENETDOWN | EHOSTDOWN | ENONET | EHOSTUNREACH | ENETUNREACH))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_accepted_connection_is_without_delay_and_kept_alive() {
        let listener = listen_on(([127, 0, 0, 1], 0).into(), None).expect("the port is free");
        let _client = std::net::TcpStream::connect(listener.local_addr().expect("it is bound")).expect("it listens");
        let (accepted, _) = listener.accept().expect("a connection is there");
        assert_eq!(sockopt::tcp_nodelay(&accepted), Ok(true));
        assert_eq!(sockopt::socket_keepalive(&accepted), Ok(true));
    }

    #[test]
    fn want_of_descriptors_or_memory_concerns_every_connection_and_a_lost_one_only_itself() {
        let concerns_one = |errno: Errno| concerns_one_connection(&io::Error::from(errno));
        for errno in [Errno::EMFILE, Errno::ENFILE, Errno::ENOBUFS, Errno::ENOMEM, Errno::EBADF, Errno::EINVAL] {
            assert!(!concerns_one(errno), "after {errno} the next try fails as well, and at once");
        }
        for errno in [Errno::ECONNABORTED, Errno::EINTR, Errno::EPERM, Errno::EPROTO, Errno::EHOSTUNREACH] {
            assert!(concerns_one(errno), "after {errno} the next connection may be accepted");
        }
    }
}
