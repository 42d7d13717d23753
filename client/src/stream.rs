//! What lies between a socket and what is said on it: nothing, or TLS.
//!
//! Either way it reads, writes and never waits, and whoever reads less than there is room for has read all that there is.

use std::io::{self, ErrorKind, Read, Write};

use mio::net::TcpStream;
use rustls::{ClientConnection, HandshakeKind, ProtocolVersion};

use crate::nonces::Nonces;

pub(crate) struct Stream {
    socket: TcpStream,
    secured: Option<Box<Secured>>,
}

/// What was agreed on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Agreed {
    pub(crate) suite: &'static str,
    pub(crate) resumed: bool,
}

struct Secured {
    connection: ClientConnection,
    /// Where they are seen in clear; until the end of the handshake nobody knows that.
    nonces: Option<Nonces>,
    /// The rest of a record that is sent in two parts.
    rest: Vec<u8>,
    /// It is not its time yet.
    is_torn: bool,
}

impl Stream {
    /// One on which the client speaks TLS, if there is a connection for that.
    pub(crate) fn new(socket: TcpStream, connection: Option<ClientConnection>) -> Self {
        Self { socket, secured: connection.map(|connection| Box::new(Secured::new(connection))) }
    }

    pub(crate) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    pub(crate) fn is_secured(&self) -> bool {
        self.secured.is_some()
    }

    /// Goes on with the handshake, if there is one, and says whether it is over.
    pub(crate) fn shake_hands(&mut self) -> io::Result<bool> {
        self.secured.as_mut().map_or(Ok(true), |secured| secured.shake_hands(&mut self.socket))
    }

    /// What was agreed on, at the end of the handshake.
    pub(crate) fn agreed(&self) -> Option<Agreed> {
        self.secured.as_ref().and_then(|secured| secured.agreed())
    }

    /// How many nonces were seen, and how many of them twice.
    pub(crate) fn nonces(&self) -> (u64, u64) {
        let nonces = self.secured.as_ref().and_then(|secured| secured.nonces.as_ref());
        nonces.map_or((0, 0), |nonces| (nonces.seen(), nonces.repeated()))
    }

    /// Reads as read(2) does. Nothing is the end, of which the server has told; to be cut off is an error.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.secured {
            None => self.socket.read(buffer),
            Some(secured) => secured.read(&mut self.socket, buffer),
        }
    }

    /// Writes as write(2) does. What is sealed by then may go later: see [`Stream::flush`].
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.secured {
            None => self.socket.write(bytes),
            Some(secured) => secured.write(&mut self.socket, bytes),
        }
    }

    /// Sends what is sealed, as far as the socket takes it.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.secured.as_mut().map_or(Ok(()), |secured| secured.flush(&mut self.socket))
    }

    /// Writes, but sends the record only in part: the rest goes when it is [mended](Self::mend).
    ///
    /// # Panics
    /// If there are no records.
    pub(crate) fn write_torn(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.secured.as_mut().expect("there are records").write_torn(&mut self.socket, bytes)
    }

    /// With the next flush the rest of a record goes that was sent in part.
    pub(crate) fn mend(&mut self) {
        self.secured.iter_mut().for_each(|secured| secured.is_torn = false);
    }

    /// Changes the keys of both directions (RFC 8446 section 4.6.3), and says whether it has: TLS 1.2 cannot.
    pub(crate) fn change_keys(&mut self) -> bool {
        self.secured.as_mut().is_some_and(|secured| {
            let knows_how = secured.connection.protocol_version() == Some(ProtocolVersion::TLSv1_3);
            knows_how && secured.connection.refresh_traffic_keys().is_ok()
        })
    }

    /// Says that nothing more will come.
    pub(crate) fn close(&mut self) -> io::Result<()> {
        self.secured.iter_mut().for_each(|secured| secured.connection.send_close_notify());
        self.flush()
    }
}

/// The socket, as rustls reads from it.
struct Wire<'a> {
    socket: &'a mut TcpStream,
    nonces: &'a mut Option<Nonces>,
    is_drained: bool,
}

impl Read for Wire<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.socket.read(buffer)?;
        self.is_drained = bytes < buffer.len();
        self.nonces.iter_mut().for_each(|nonces| nonces.hear(&buffer[..bytes]));
        Ok(bytes)
    }
}

/// Whether there may be more where something was read.
#[derive(PartialEq)]
enum Received {
    Some,
    /// It was all that there is.
    Last,
    Nothing,
    End,
}

impl Secured {
    fn new(connection: ClientConnection) -> Self {
        Self { connection, nonces: Some(Nonces::default()), rest: Vec::new(), is_torn: false }
    }

    fn shake_hands(&mut self, socket: &mut TcpStream) -> io::Result<bool> {
        loop {
            self.flush(socket)?;
            if !self.connection.is_handshaking() {
                if !self.shows_nonces() {
                    self.nonces = None;
                }
                return Ok(true);
            }
            match self.receive(socket)? {
                Received::Some | Received::Last => {}
                Received::Nothing => return Ok(false),
                Received::End => return Err(io::Error::other("cut off in the TLS handshake")),
            }
        }
    }

    fn agreed(&self) -> Option<Agreed> {
        let suite = self.connection.negotiated_cipher_suite()?.suite().as_str()?;
        Some(Agreed { suite, resumed: self.connection.handshake_kind() == Some(HandshakeKind::Resumed) })
    }

    fn shows_nonces(&self) -> bool {
        let version = self.connection.protocol_version();
        version == Some(ProtocolVersion::TLSv1_2) && self.agreed().is_some_and(|agreed| agreed.suite.contains("GCM"))
    }

    fn read(&mut self, socket: &mut TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
        let (mut bytes, mut received) = (0, Received::Some);
        loop {
            match self.connection.reader().read(&mut buffer[bytes..]) {
                Ok(0) => return Ok(bytes),
                Ok(more) => bytes += more,
                Err(error) if error.kind() == ErrorKind::WouldBlock && received == Received::Some => {
                    received = self.receive(socket)?;
                }
                Err(_) if bytes > 0 => return Ok(bytes),
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                    return Err(io::Error::other("cut off without close_notify"));
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Takes in what the socket has, at most one read, and answers what is to be answered.
    fn receive(&mut self, socket: &mut TcpStream) -> io::Result<Received> {
        let mut wire = Wire { socket, nonces: &mut self.nonces, is_drained: false };
        let received = match self.connection.read_tls(&mut wire) {
            Ok(0) => Received::End,
            Ok(_) if wire.is_drained => Received::Last,
            Ok(_) => Received::Some,
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(Received::Some),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Received::Nothing),
            Err(error) => return Err(error),
        };
        if let Err(error) = self.connection.process_new_packets() {
            // The alert that says why; whoever cannot be told need not be.
            let _ = self.flush(socket);
            return Err(io::Error::other(format!("TLS: {error}")));
        }
        self.flush(socket)?;
        Ok(received)
    }

    /// What was sealed before goes first: nothing more is sealed while the socket does not take that.
    fn write(&mut self, socket: &mut TcpStream, bytes: &[u8]) -> io::Result<usize> {
        self.flush(socket)?;
        if self.is_blocked() {
            return Err(ErrorKind::WouldBlock.into());
        }
        let written = self.connection.writer().write(bytes)?;
        self.flush(socket)?;
        Ok(written)
    }

    fn is_blocked(&self) -> bool {
        !self.rest.is_empty() || self.connection.wants_write()
    }

    fn write_torn(&mut self, socket: &mut TcpStream, bytes: &[u8]) -> io::Result<usize> {
        self.flush(socket)?;
        if self.is_blocked() {
            return Err(ErrorKind::WouldBlock.into());
        }
        let written = self.connection.writer().write(bytes)?;
        let mut sealed = Vec::new();
        while self.connection.wants_write() {
            self.connection.write_tls(&mut sealed)?;
        }
        let part_bytes = fastrand::usize(1..sealed.len());
        let sent_bytes = write_some(socket, &sealed[..part_bytes])?;
        self.rest = sealed.split_off(sent_bytes);
        self.is_torn = true;
        Ok(written)
    }

    fn flush(&mut self, socket: &mut TcpStream) -> io::Result<()> {
        if self.is_torn {
            return Ok(());
        }
        while !self.rest.is_empty() {
            match write_some(socket, &self.rest)? {
                0 => return Ok(()),
                sent_bytes => drop(self.rest.drain(..sent_bytes)),
            }
        }
        while self.connection.wants_write() {
            match self.connection.write_tls(socket) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                written => drop(written?),
            }
        }
        Ok(())
    }
}

/// Writes what the socket takes.
fn write_some(socket: &mut TcpStream, bytes: &[u8]) -> io::Result<usize> {
    loop {
        match socket.write(bytes) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(0),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            written => return written,
        }
    }
}
