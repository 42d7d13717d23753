//! One connection: its socket, its buffers, its session.
//!
//! A peer moves bytes between its socket and its buffers and says what it wants to be woken for. It does not know the
//! loop, does not call the service, and does not register itself.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use mio::Interest;
use mio::net::TcpStream;
use rustix::net::sockopt::set_tcp_user_timeout;

pub(crate) use crate::takeover::wire::Phase;
use crate::takeover::wire::Record;

/// The identity of a peer. It stays the same through every takeover, and no other peer ever has it, so that sessions
/// and shared state may hold it.
///
/// It is the socket's cookie (`SO_COOKIE`, socket(7)), which the kernel gives once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(u64);

impl From<u64> for PeerId {
    /// An id that was saved as a number.
    fn from(cookie: u64) -> Self {
        Self(cookie)
    }
}

impl From<PeerId> for u64 {
    /// An id as a number, to be saved.
    fn from(id: PeerId) -> Self {
        id.0
    }
}

/// An address as the log writes it: `[127.0.0.1]:1234`, IPv4 and IPv6 alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Address(pub(crate) SocketAddr);

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "[{}]:{}", self.0.ip(), self.0.port())
    }
}

/// What a peer is woken for when it is read from. Urgent data (tcp(7)) is read like any other, but the kernel has reads
/// stop short before it; so the loop must know of it.
pub(crate) const READING: Interest = Interest::READABLE.add(Interest::PRIORITY);

/// The marks of pending output between which a peer is read from, or not.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Marks {
    /// With more bytes pending, a peer is held: it is not read from, and its messages are not handled.
    pub(crate) high_bytes: usize,
    /// With no more bytes pending, a held peer is let go.
    pub(crate) low_bytes: usize,
}

/// What became of reading from a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// So many bytes came.
    Bytes(usize),
    /// Nothing is there now.
    WouldBlock,
    /// The client has sent all it will send.
    End,
}

/// One connection. `T` is its session.
#[derive(Debug)]
pub(crate) struct Peer<T> {
    socket: TcpStream,
    /// Which of the peers that had this one's key it is; see the reactor's tokens.
    generation: u32,
    id: PeerId,
    address: Address,
    /// `None` only while the service handles a call about this peer.
    pub(crate) session: Option<T>,
    /// Received and not handled: less than a message, unless the peer is held.
    pub(crate) inbound: Vec<u8>,
    outbound: Outbound,
    pub(crate) phase: Phase,
    /// Stopped by back-pressure, or restored and not served yet.
    held: bool,
    /// Somebody else's message waits for this peer to be settled at the end of the turn.
    pub(crate) unsettled: bool,
    /// It gets its next turn without an event.
    pub(crate) due: bool,
    /// What the loop wakes it for.
    pub(crate) registered: Option<Interest>,
}

impl<T> Peer<T> {
    /// A connection that has just been accepted. Its session comes when the service has opened it.
    pub(crate) fn new(socket: TcpStream, generation: u32, id: PeerId, address: Address) -> Self {
        Self {
            socket,
            generation,
            id,
            address,
            session: None,
            inbound: Vec::new(),
            outbound: Outbound::default(),
            phase: Phase::Open,
            held: false,
            unsettled: false,
            due: false,
            registered: None,
        }
    }

    /// Goes on where a record says that another process left off.
    pub(crate) fn restore(&mut self, record: &Record<'_>, session: T, marks: Marks) {
        self.session = Some(session);
        self.inbound = record.inbound.to_vec();
        self.outbound = Outbound { bytes: record.outbound.to_vec(), written: 0 };
        self.phase = record.phase;
        // Until its first turn also whoever has bytes in here: by this process's marks and boundaries they may hold
        // whole messages, and those come before what is read.
        self.held = self.outbound.pending() > marks.low_bytes || !self.inbound.is_empty();
    }

    /// What another process needs to go on, besides the descriptor. `session` is the session as the service saved it.
    pub(crate) fn record<'a>(&'a self, session: &'a [u8]) -> Record<'a> {
        Record {
            cookie: self.id.into(),
            address: self.address.0,
            phase: self.phase,
            session,
            inbound: &self.inbound,
            outbound: self.outbound.as_slice(),
        }
    }

    pub(crate) fn id(&self) -> PeerId {
        self.id
    }

    pub(crate) fn address(&self) -> Address {
        self.address
    }

    pub(crate) fn generation(&self) -> u32 {
        self.generation
    }

    /// The socket, for the loop to register.
    pub(crate) fn source(&mut self) -> &mut TcpStream {
        &mut self.socket
    }

    /// What the peer is to be woken for now.
    pub(crate) fn interest(&self) -> Interest {
        match self.phase {
            Phase::Closing => Interest::WRITABLE,
            Phase::Lingering => READING,
            Phase::Open | Phase::Ended if self.held => Interest::WRITABLE,
            Phase::Open | Phase::Ended if self.outbound.pending() > 0 => READING | Interest::WRITABLE,
            Phase::Open | Phase::Ended => READING,
        }
    }

    /// Whether it is read from and its messages are handled.
    pub(crate) fn listens(&self) -> bool {
        !self.held && matches!(self.phase, Phase::Open | Phase::Ended)
    }

    /// How many bytes wait to be written.
    pub(crate) fn pending_bytes(&self) -> usize {
        self.outbound.pending()
    }

    /// Whether something was left undone that no event will ask for.
    pub(crate) fn has_unfinished_work(&self) -> bool {
        !self.inbound.is_empty()
            || self.outbound.pending() > 0
            || matches!(self.phase, Phase::Closing | Phase::Lingering)
    }

    /// Reads once, into `buffer`.
    pub(crate) fn receive(&mut self, buffer: &mut [u8]) -> io::Result<Received> {
        loop {
            match self.socket.read(buffer) {
                Ok(0) => return Ok(Received::End),
                Ok(bytes) => return Ok(Received::Bytes(bytes)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Received::WouldBlock),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Adds `bytes` to the pending output, and writes as much of it as the socket takes.
    pub(crate) fn send(&mut self, bytes: &[u8], marks: Marks) -> io::Result<()> {
        let written = match self.outbound.pending() {
            0 => write_all_possible(&mut self.socket, bytes)?,
            _ => 0,
        };
        self.outbound.push(&bytes[written..]);
        self.flush(marks)
    }

    /// Adds `bytes` to the pending output, to be [flushed](Self::flush) later.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.outbound.push(bytes);
    }

    /// Writes as much of the pending output as the socket takes, and holds the peer or lets it go.
    pub(crate) fn flush(&mut self, marks: Marks) -> io::Result<()> {
        if self.outbound.pending() > 0 {
            let written = write_all_possible(&mut self.socket, self.outbound.as_slice())?;
            self.outbound.advance(written);
        }
        self.held = match self.outbound.pending() {
            pending if pending > marks.high_bytes => true,
            pending if pending <= marks.low_bytes => false,
            _ => self.held,
        };
        Ok(())
    }

    /// Tells the client that nothing more will come. A client that is gone already cannot be told, and need not be.
    pub(crate) fn end_output(&self) {
        let _ = self.socket.shutdown(Shutdown::Write);
    }

    /// Has the kernel end the connection when the client takes nothing of what is pending for so long
    /// (`TCP_USER_TIMEOUT`, tcp(7)). Only the kernel sees what a client takes: a socket with a large buffer is writable
    /// again after a long while. Another process that takes over this peer finds the timeout set.
    pub(crate) fn give_up_after(&self, timeout: Duration) -> io::Result<()> {
        let timeout_ms = timeout.as_millis().try_into().unwrap_or(u32::MAX);
        match set_tcp_user_timeout(&self.socket, timeout_ms) {
            // The loop's own tests have peers on socket pairs.
            Err(rustix::io::Errno::OPNOTSUPP) => Ok(()),
            set => Ok(set?),
        }
    }

    /// Throws away what the client still sends, as far as a turn goes.
    pub(crate) fn discard(&mut self, buffer: &mut [u8], reads_max: u32) -> io::Result<Received> {
        let mut received = Received::WouldBlock;
        for _ in 0..reads_max {
            received = self.receive(buffer)?;
            if !matches!(received, Received::Bytes(_)) {
                break;
            }
        }
        Ok(received)
    }

    /// Ends the connection, also where another process holds a duplicate of its socket: to close it would not.
    pub(crate) fn hang_up(&self) {
        // A connection that has failed has ended already.
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}

impl<T> AsFd for Peer<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Writes until everything is written or the socket takes no more, and says how much it took.
fn write_all_possible(socket: &mut TcpStream, bytes: &[u8]) -> io::Result<usize> {
    let mut written = 0;
    while written < bytes.len() {
        match socket.write(&bytes[written..]) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(more) => written += more,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(written)
}

/// Bytes that wait to be written. It holds no memory while it is empty.
#[derive(Debug, Default)]
struct Outbound {
    bytes: Vec<u8>,
    /// So many of them are written already.
    written: usize,
}

impl Outbound {
    fn as_slice(&self) -> &[u8] {
        &self.bytes[self.written..]
    }

    fn pending(&self) -> usize {
        self.bytes.len() - self.written
    }

    fn push(&mut self, bytes: &[u8]) {
        // What is written makes room before the buffer would grow.
        if self.bytes.len() + bytes.len() > self.bytes.capacity() {
            self.bytes.drain(..std::mem::take(&mut self.written));
        }
        self.bytes.extend_from_slice(bytes);
    }

    fn advance(&mut self, written: usize) {
        self.written += written;
        if self.pending() == 0 {
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outbound_keeps_the_order_and_frees_its_memory_when_empty() {
        let mut outbound = Outbound::default();
        let mut expected = Vec::new();
        for round in 0..100u8 {
            outbound.push(&[round; 7]);
            expected.extend([round; 7]);
            outbound.advance(5);
            expected.drain(..5);
            assert_eq!(outbound.as_slice(), expected);
        }
        outbound.advance(outbound.pending());
        assert_eq!((outbound.pending(), outbound.bytes.capacity()), (0, 0));
    }

    #[test]
    fn an_address_is_written_alike_for_both_families() {
        assert_eq!(Address("127.0.0.1:80".parse().unwrap()).to_string(), "[127.0.0.1]:80");
        assert_eq!(Address("[::1]:80".parse().unwrap()).to_string(), "[::1]:80");
    }
}
