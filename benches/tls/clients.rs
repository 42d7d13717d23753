//! A client that speaks TLS: it waits for nothing longer than it should.

use std::io::{Error, ErrorKind, Read, Result, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use reactord_tls::{Connector, End, Handshake, Progress, Session, Suite};

use super::certificate::NAME;

/// Nothing is waited for longer than this.
pub(crate) const WAITED_MAX: Duration = Duration::from_secs(20);

/// How long thousands of clients may take for their last exchange and their last words, in s.
pub(crate) const DRAIN_S: &str = "60";

const READ_BYTES: usize = 64 * 1024;

/// One connection.
pub(crate) struct Client {
    pub(crate) socket: TcpStream,
    pub(crate) secured: Secured,
}

/// What lies on its socket.
pub(crate) struct Secured {
    session: Session,
    wire: Vec<u8>,
    plain: Vec<u8>,
    out: Vec<u8>,
}

impl Client {
    /// Connects, and shakes hands.
    pub(crate) fn connect(address: SocketAddr, connector: &Connector) -> Result<Self> {
        let mut socket = TcpStream::connect_timeout(&address, WAITED_MAX)?;
        socket.set_read_timeout(Some(WAITED_MAX))?;
        socket.set_write_timeout(Some(WAITED_MAX))?;
        socket.set_nodelay(true)?;
        let (mut wire, mut out) = (Vec::new(), Vec::new());
        let mut handshake = Handshake::connect(connector, NAME, &mut out).map_err(Error::other)?;
        let mut progress = Progress::More;
        let mut buffer = [0; 4096];
        loop {
            socket.write_all(&std::mem::take(&mut out))?;
            if progress == Progress::Done {
                break;
            }
            match socket.read(&mut buffer)? {
                0 => return Err(Error::new(ErrorKind::UnexpectedEof, "cut off in the handshake")),
                bytes => wire.extend_from_slice(&buffer[..bytes]),
            }
            let (taken, reached) = handshake.hear(&wire, &mut out).map_err(Error::other)?;
            wire.drain(..taken);
            progress = reached;
        }
        let session = handshake.finish().map_err(Error::other)?.session;
        Ok(Self { socket, secured: Secured { session, wire, plain: Vec::new(), out } })
    }

    /// What was agreed on.
    pub(crate) fn suite(&self) -> Suite {
        self.secured.session.suite()
    }

    /// Says something, and hears the same.
    pub(crate) fn echo(&mut self, message: &[u8]) -> Result<()> {
        self.socket.write_all(self.secured.seal(message)?)?;
        let mut buffer = [0; 4096];
        while !self.secured.has_come(message)? {
            self.receive(&mut buffer)?;
        }
        Ok(())
    }

    /// Says that nothing more will come, and hears the same.
    pub(crate) fn leave(mut self) -> Result<()> {
        let mut out = Vec::new();
        self.secured.session.close(&mut out);
        self.socket.write_all(&out)?;
        let mut buffer = [0; 4096];
        while self.secured.session.end() != End::Orderly {
            self.receive(&mut buffer)?;
        }
        Ok(())
    }

    fn receive(&mut self, buffer: &mut [u8]) -> Result<()> {
        match self.socket.read(buffer)? {
            0 => Err(Error::new(ErrorKind::UnexpectedEof, "cut off")),
            bytes => self.secured.open(&buffer[..bytes]),
        }
    }
}

impl Secured {
    /// Something as it is sent.
    pub(crate) fn seal(&mut self, message: &[u8]) -> Result<&[u8]> {
        self.out.clear();
        self.session.seal(message, &mut self.out).map_err(Error::other)?;
        Ok(&self.out)
    }

    /// Opens what has come.
    pub(crate) fn open(&mut self, came: &[u8]) -> Result<()> {
        self.wire.extend_from_slice(came);
        let mut answers = Vec::new();
        let taken = self.session.open(&mut self.wire, &mut self.plain, &mut answers).map_err(Error::other)?;
        self.wire.drain(..taken);
        Ok(())
    }

    /// Whether this has come whole, and then takes it.
    pub(crate) fn has_come(&mut self, message: &[u8]) -> Result<bool> {
        if self.plain.len() < message.len() {
            return Ok(false);
        }
        let is_right = self.plain == message;
        self.plain.clear();
        if is_right { Ok(true) } else { Err(Error::other("something else came than was sent")) }
    }

    /// Reads what there is.
    pub(crate) fn read(&mut self, socket: &mut impl Read, buffer: &mut [u8]) -> Result<()> {
        loop {
            match socket.read(buffer) {
                Ok(0) => return Err(Error::new(ErrorKind::UnexpectedEof, "cut off")),
                Ok(bytes) => {
                    self.open(&buffer[..bytes])?;
                    if bytes < buffer.len() {
                        return Ok(());
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    /// Room for what is read at once.
    pub(crate) fn buffer() -> Vec<u8> {
        vec![0; READ_BYTES]
    }
}
