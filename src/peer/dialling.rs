//! A connection that a service opens, from when the kernel is asked for it until it stands: for the kernel, and where it is to
//! speak TLS, with the handshake over. It knows its socket, and no peer.
//!
//! A handshake that is under way stays in its process: the private key of its key exchange is in there. Nothing of what the
//! service has sent is on its way by then, so whoever has the peer next opens the connection anew, on the same socket. The
//! server sees one that is given up, and another one.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::path::PathBuf;

use mio::Interest;
use mio::net::TcpStream;
use rustix::io::Errno;
use rustix::net::{connect, connect_unspec};

use super::connect::{ConnectTls, Unreached, stands, try_again};
use super::secured::{Handshaking, Secured};
use super::talk::READING;
use crate::tls::Connectors;

/// What one read of a handshake takes at most: what most servers say first fits.
const READ_BYTES: usize = 8 * 1024;

/// A connection that is being opened.
#[derive(Debug)]
pub(crate) struct Dialling {
    /// It is given up then: `CLOCK_MONOTONIC`.
    pub(crate) until_ns: u64,
    /// Where it leads, if that is a Unix socket.
    pub(crate) path: Option<PathBuf>,
    /// How it is to speak TLS before it stands, if it is to.
    pub(crate) tls: Option<DialledTls>,
}

/// The TLS of a connection that is being opened.
#[derive(Debug)]
pub(crate) struct DialledTls {
    pub(crate) how: ConnectTls,
    stage: Stage,
}

/// How far its handshake is.
#[derive(Debug)]
enum Stage {
    NotBegun,
    UnderWay(Box<Handshaking>),
    /// It was under way in another process.
    Elsewhere,
}

/// How far a connection is.
#[derive(Debug)]
pub(crate) enum Reached {
    /// It does not stand yet.
    Awaited,
    /// It stands.
    Stands,
    /// It stands, and its bytes go through this, after others that are to be written first.
    Secured(Box<Secured>, Vec<u8>),
}

impl Dialling {
    /// What it is to be woken for, if not for that the kernel has opened it.
    pub(crate) fn interest(&self) -> Option<Interest> {
        let Stage::UnderWay(handshake) = &self.tls.as_ref()?.stage else { return None };
        Some(if handshake.waits_to_write() { READING | Interest::WRITABLE } else { READING })
    }

    /// Sees how far it is, and does what there is to be done for it. `to` is the address that it leads to, if it has one.
    ///
    /// # Errors
    /// If it never will stand, or is given up by now.
    pub(crate) fn advance(
        &mut self,
        socket: &mut TcpStream,
        to: Option<SocketAddr>,
        now_ns: u64,
        connectors: &Connectors,
    ) -> Result<Reached, Unreached> {
        if let Some(tls) = &mut self.tls {
            tls.begin_anew(socket, to)?;
        }
        let reached = self.reach(socket, connectors)?;
        if matches!(reached, Reached::Awaited) && now_ns >= self.until_ns {
            return Err(self.overdue().into());
        }
        Ok(reached)
    }

    fn reach(&mut self, socket: &mut TcpStream, connectors: &Connectors) -> Result<Reached, Unreached> {
        let is_open = self.tls.as_ref().is_some_and(DialledTls::is_begun)
            || match &self.path {
                Some(path) => try_again(&*socket, path)?,
                None => stands(&*socket)?,
            };
        match &mut self.tls {
            _ if !is_open => Ok(Reached::Awaited),
            Some(tls) => tls.shake_hands(socket, connectors),
            None => Ok(Reached::Stands),
        }
    }

    fn overdue(&self) -> io::Error {
        match &self.tls {
            Some(tls) if tls.is_begun() => {
                let what = format!("TLS with {}: the handshake is not over in time", tls.how.name);
                io::Error::new(ErrorKind::TimedOut, what)
            }
            _ => ErrorKind::TimedOut.into(),
        }
    }
}

impl DialledTls {
    /// How a connection is to speak it, whose handshake was under way in another process, or in none.
    pub(crate) fn new(how: ConnectTls, was_under_way: bool) -> Self {
        Self { how, stage: if was_under_way { Stage::Elsewhere } else { Stage::NotBegun } }
    }

    /// Whether the server may have heard something.
    pub(crate) fn is_begun(&self) -> bool {
        !matches!(self.stage, Stage::NotBegun)
    }

    /// If another process was in the middle of a handshake, asks the kernel for another connection (connect(2), `AF_UNSPEC`).
    /// The socket stays, and with it who the peer is.
    fn begin_anew(&mut self, socket: &TcpStream, to: Option<SocketAddr>) -> io::Result<()> {
        if !matches!(self.stage, Stage::Elsewhere) {
            return Ok(());
        }
        let Some(to) = to else {
            let what =
                "a Unix socket cannot be connected anew, and another process was in the middle of a TLS handshake";
            return Err(io::Error::new(ErrorKind::Interrupted, what));
        };
        self.stage = Stage::NotBegun;
        connect_unspec(socket)?;
        match connect(socket, &to) {
            Ok(()) | Err(Errno::INPROGRESS) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn shake_hands(&mut self, socket: &mut TcpStream, connectors: &Connectors) -> Result<Reached, Unreached> {
        let mut handshake = match std::mem::replace(&mut self.stage, Stage::NotBegun) {
            Stage::UnderWay(handshake) => handshake,
            Stage::NotBegun | Stage::Elsewhere => Box::new(Handshaking::begin(&self.how, connectors)?),
        };
        if handshake.go_on(socket, &mut [0; READ_BYTES])? {
            let (secured, out) = handshake.finish()?;
            return Ok(Reached::Secured(Box::new(secured), out));
        }
        self.stage = Stage::UnderWay(handshake);
        Ok(Reached::Awaited)
    }
}
