//! The TLS handshake of a connection that a service opens, until it is over. It is told that something may have come, and neither waits
//! nor knows who waits for it.
//!
//! Those of connections that were accepted are elsewhere (`sources/vestibule.rs`): they are no peers yet, and may move.

use std::io::{self, ErrorKind, Read, Write};

use reactord_tls::{Handshake, HandshakeFailure, Progress};

use super::Secured;
use crate::peer::connect::{ConnectTls, Unreached};
use crate::tls::Connectors;

/// A handshake that is under way.
#[derive(Debug)]
pub(crate) struct Handshaking {
    handshake: Handshake,
    /// What the other side has sent and is not heard.
    wire: Vec<u8>,
    /// What it is sent and has not taken.
    out: Vec<u8>,
    /// What fails, if it does.
    what: String,
}

impl Handshaking {
    /// Begins one, with one of these.
    ///
    /// # Errors
    /// If none of them is meant, or what it is to connect to is no name.
    pub(crate) fn begin(how: &ConnectTls, connectors: &Connectors) -> Result<Self, Unreached> {
        let ConnectTls { with, name, preface } = how;
        let connector = connectors.find(with).ok_or_else(|| unknown(with))?;
        let (mut out, what) = (preface.clone(), format!("TLS with {name}"));
        let handshake = Handshake::connect(connector, name, &mut out).map_err(|failure| failed(&what, &failure))?;
        Ok(Self { handshake, wire: Vec::new(), out, what })
    }

    /// Whether there is something to be sent that the socket did not take.
    pub(crate) fn waits_to_write(&self) -> bool {
        !self.out.is_empty()
    }

    /// Hears what has come, and answers, as far as both go. Says whether it is over.
    ///
    /// # Errors
    /// If the connection is lost, or the handshake has failed: of that the other side has been told.
    pub(crate) fn go_on(&mut self, socket: &mut (impl Read + Write), buffer: &mut [u8]) -> Result<bool, Unreached> {
        loop {
            self.write(socket)?;
            let came = match socket.read(buffer) {
                Ok(0) => return Err(left_early().into()),
                Ok(bytes) => &buffer[..bytes],
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            };
            self.wire.extend_from_slice(came);
            let heard = self.handshake.hear(&self.wire, &mut self.out);
            // Also if it has failed: then this says why. Whoever cannot be told need not be.
            let written = self.write(socket);
            let (used, progress) = heard.map_err(|failure| failed(&self.what, &failure))?;
            written?;
            self.wire.drain(..used);
            if progress == Progress::Done {
                return Ok(true);
            }
        }
    }

    fn write(&mut self, socket: &mut impl Write) -> io::Result<()> {
        while !self.out.is_empty() {
            match socket.write(&self.out) {
                Ok(bytes) => drop(self.out.drain(..bytes)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The connection that comes of it, and what is to be sent before anything else.
    ///
    /// # Errors
    /// If it was no good.
    pub(crate) fn finish(self) -> Result<(Secured, Vec<u8>), Unreached> {
        let Self { handshake, wire, out, what, .. } = self;
        let established = handshake.finish().map_err(|failure| failed(&what, &failure))?;
        Ok((Secured::new(established, &wire), out))
    }
}

fn failed(what: &str, failure: &HandshakeFailure) -> Unreached {
    Unreached::HandshakeFailed(io::Error::new(ErrorKind::InvalidData, format!("{what}: {failure}")))
}

fn unknown(with: &str) -> io::Error {
    io::Error::new(ErrorKind::NotFound, format!("this server opens no connections with TLS of the name {with:?}"))
}

fn left_early() -> io::Error {
    io::Error::new(ErrorKind::UnexpectedEof, "it has ended the connection before the TLS handshake was over")
}
