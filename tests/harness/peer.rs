//! The client's end of one connection, which knows every byte that is to come.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::PATIENCE;

/// How long a server takes nothing before it is held to have stopped reading.
const STUCK: Duration = Duration::from_millis(300);

/// How many sequence numbers belong to one peer: an answer that reaches the wrong one shows.
const NUMBERS_PER_PEER: u32 = 1 << 14;

/// One connection.
pub(crate) struct Peer {
    stream: TcpStream,
    /// The next sequence number to be sent, and to be received.
    sending: u32,
    receiving: u32,
}

impl Peer {
    #[track_caller]
    pub(crate) fn connect(address: SocketAddr) -> Self {
        static PEERS: AtomicU32 = AtomicU32::new(0);
        let stream = TcpStream::connect(address).expect("the server's listener is always there");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
        stream.set_write_timeout(Some(PATIENCE)).expect("a timeout can be set");
        stream.set_nodelay(true).expect("no delay can be set");
        let first = PEERS.fetch_add(1, Ordering::Relaxed).wrapping_mul(NUMBERS_PER_PEER);
        Self { stream, sending: first, receiving: first }
    }

    #[track_caller]
    pub(crate) fn connect_many(address: SocketAddr, count: usize) -> Vec<Self> {
        (0..count).map(|_| Self::connect(address)).collect()
    }

    /// The client's own address, by which the server knows it.
    pub(crate) fn address(&self) -> SocketAddr {
        self.stream.local_addr().expect("a connected socket has an address")
    }

    /// Sends the next sequence number.
    #[track_caller]
    pub(crate) fn ask(&mut self) {
        self.send(&self.sending.to_be_bytes());
        self.sending = self.sending.wrapping_add(1);
    }

    /// Sends the first so many bytes of the next sequence number.
    #[track_caller]
    pub(crate) fn ask_begin(&mut self, bytes: usize) {
        self.send(&self.sending.to_be_bytes()[..bytes]);
    }

    /// Sends the rest of it.
    #[track_caller]
    pub(crate) fn ask_end(&mut self, bytes_before: usize) {
        self.send(&self.sending.to_be_bytes()[bytes_before..]);
        self.sending = self.sending.wrapping_add(1);
    }

    /// Receives the next sequence number.
    #[track_caller]
    pub(crate) fn hear(&mut self) {
        self.expect(&self.receiving.to_be_bytes());
        self.receiving = self.receiving.wrapping_add(1);
    }

    #[track_caller]
    pub(crate) fn exchange(&mut self) {
        self.ask();
        self.hear();
    }

    #[track_caller]
    pub(crate) fn send(&self, bytes: &[u8]) {
        let sent = (&self.stream).write_all(bytes);
        sent.unwrap_or_else(|error| panic!("sending {} bytes: {error}", bytes.len()));
    }

    /// Sends until the server does not read any more, which it must do, and returns how many bytes went.
    #[track_caller]
    pub(crate) fn send_until_stuck(&self, bytes: &[u8]) -> usize {
        self.stream.set_write_timeout(Some(STUCK)).expect("a timeout can be set");
        let mut sent = 0;
        while sent < bytes.len() {
            match (&self.stream).write(&bytes[sent..]) {
                Ok(more) => sent += more,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("sending after {sent} bytes: {error}"),
            }
        }
        assert!(sent < bytes.len(), "the server has read all {sent} bytes though nobody reads its answers");
        self.stream.set_write_timeout(Some(PATIENCE)).expect("a timeout can be set");
        sent
    }

    /// Receives exactly these bytes.
    #[track_caller]
    pub(crate) fn expect(&self, expected: &[u8]) {
        let mut buffer = vec![0; expected.len().min(256 * 1024)];
        let mut received = 0;
        while received < expected.len() {
            let room = buffer.len().min(expected.len() - received);
            match (&self.stream).read(&mut buffer[..room]) {
                Ok(0) => panic!("the connection ended after {received} of {} bytes", expected.len()),
                Ok(bytes) => {
                    let wanted = &expected[received..received + bytes];
                    if let Some(at) = buffer[..bytes].iter().zip(wanted).position(|(got, wanted)| got != wanted) {
                        panic!("byte {} is {}, {} was expected", received + at, buffer[at], wanted[at]);
                    }
                    received += bytes;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => panic!("receiving after {received} of {} bytes: {error}", expected.len()),
            }
        }
    }

    /// Receives whatever comes up to the end of the connection.
    #[track_caller]
    pub(crate) fn receive_to_end(&self) -> Vec<u8> {
        let mut received = Vec::new();
        if let Err(error) = (&self.stream).read_to_end(&mut received) {
            panic!("receiving after {} bytes: {error}", received.len());
        }
        received
    }

    /// Sends no more, and still receives.
    pub(crate) fn end_sending(&self) {
        self.stream.shutdown(Shutdown::Write).expect("an open connection can be half-closed");
    }

    /// The server closes the connection, in an orderly way, and sends nothing before.
    #[track_caller]
    pub(crate) fn expect_end(&self) {
        let rest = self.receive_to_end();
        assert!(rest.is_empty(), "{} bytes came before the end", rest.len());
    }

    /// The connection is gone, however that happened.
    #[track_caller]
    pub(crate) fn expect_loss(&self) {
        match (&self.stream).read(&mut [0]) {
            Ok(0) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            other => panic!("the connection should be gone: {other:?}"),
        }
    }

    /// The connection is open, and nothing has come on it.
    #[track_caller]
    pub(crate) fn assert_open_and_silent(&self) {
        self.stream.set_nonblocking(true).expect("blocking can be unset");
        match (&self.stream).read(&mut [0]) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            other => panic!("the connection should be open and silent: {other:?}"),
        }
        self.stream.set_nonblocking(false).expect("blocking can be set");
    }
}

/// Every peer sends its next number, then every peer receives it, so that all are on their way at once.
#[track_caller]
pub(crate) fn exchange_all(peers: &mut [Peer]) {
    for peer in &mut *peers {
        peer.ask();
    }
    for peer in peers {
        peer.hear();
    }
}

/// Pseudo-random bytes, the same for the same seed (xorshift).
pub(crate) struct Source(pub(crate) u64);

impl Source {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// At least so many bytes of lines of any bytes, of lengths from nothing to what is allowed.
pub(crate) fn lines(seed: u64, bytes_min: usize) -> Vec<u8> {
    let mut source = Source(seed);
    let mut lines = Vec::with_capacity(bytes_min + LINE_BYTES_MAX + 8);
    while lines.len() < bytes_min {
        let length = source.next() as usize % (LINE_BYTES_MAX + 1);
        let end = lines.len() + length;
        while lines.len() < end {
            lines.extend(source.next().to_ne_bytes().map(|byte| if byte == b'\n' { b'\r' } else { byte }));
        }
        lines.truncate(end);
        lines.push(b'\n');
    }
    lines
}

/// What a line may have before its newline.
const LINE_BYTES_MAX: usize = 64 * 1024;
