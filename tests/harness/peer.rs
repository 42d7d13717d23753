//! The client's end of one connection, which knows every byte that is to come.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use procfs::FromBufReadSI;
use procfs::net::{TcpNetEntries, TcpNetEntry};
use rustix::net::{SendFlags, sockopt};

use super::{PATIENCE, Server};

/// How long a server that takes nothing gets before it is looked at again. It decides nothing: see [`Peer::is_held_by`].
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// A connection that has ended, and after how much of what was to be sent or received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lost(pub(crate) String);

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
        Self::try_connect(address).expect("the server's listener is always there")
    }

    /// Connects, unless nobody listens any more.
    #[track_caller]
    pub(crate) fn try_connect(address: SocketAddr) -> Result<Self, Lost> {
        static PEERS: AtomicU32 = AtomicU32::new(0);
        let stream = match TcpStream::connect(address) {
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset) => {
                return Err(Lost(format!("connecting: {error}")));
            }
            connected => connected.expect("a client can connect"),
        };
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
        stream.set_write_timeout(Some(PATIENCE)).expect("a timeout can be set");
        stream.set_nodelay(true).expect("no delay can be set");
        let first = PEERS.fetch_add(1, Ordering::Relaxed).wrapping_mul(NUMBERS_PER_PEER);
        Ok(Self { stream, sending: first, receiving: first })
    }

    #[track_caller]
    pub(crate) fn connect_many(address: SocketAddr, count: usize) -> Vec<Self> {
        (0..count).map(|_| Self::connect(address)).collect()
    }

    /// The client's own address, by which the server knows it.
    pub(crate) fn address(&self) -> SocketAddr {
        self.stream.local_addr().expect("a connected socket has an address")
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
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

    /// Sends the next sequence number and receives it, unless the connection ends before.
    #[track_caller]
    pub(crate) fn try_exchange(&mut self) -> Result<(), Lost> {
        self.try_ask_end(0)?;
        self.try_hear()
    }

    /// Sends the rest of the next sequence number, unless the connection has ended.
    #[track_caller]
    pub(crate) fn try_ask_end(&mut self, bytes_before: usize) -> Result<(), Lost> {
        self.try_send(&self.sending.to_be_bytes()[bytes_before..])?;
        self.sending = self.sending.wrapping_add(1);
        Ok(())
    }

    /// Receives the next sequence number, unless the connection ends before.
    #[track_caller]
    pub(crate) fn try_hear(&mut self) -> Result<(), Lost> {
        self.try_expect(&self.receiving.to_be_bytes())?;
        self.receiving = self.receiving.wrapping_add(1);
        Ok(())
    }

    #[track_caller]
    pub(crate) fn send(&self, bytes: &[u8]) {
        self.try_send(bytes).expect("the connection is open");
    }

    /// Sends, unless the connection has ended.
    #[track_caller]
    pub(crate) fn try_send(&self, bytes: &[u8]) -> Result<(), Lost> {
        match (&self.stream).write_all(bytes) {
            Ok(()) => Ok(()),
            Err(error) if is_loss(&error) => Err(Lost(format!("sending {} bytes: {error}", bytes.len()))),
            Err(error) => panic!("sending {} bytes: {error}", bytes.len()),
        }
    }

    /// Sends until the server does not read any more, which it must do, and returns how many bytes went. That may be all of
    /// them: its kernel keeps what it does not read, up to `tcp_rmem`.
    #[track_caller]
    pub(crate) fn send_until_stuck(&self, server: &Server, bytes: &[u8]) -> usize {
        let sent = self.send_unless_stuck(server, bytes);
        let deadline = Instant::now() + PATIENCE;
        while sent == bytes.len() && !self.is_left_unread(server).0 {
            let end = self.server_end();
            assert!(Instant::now() < deadline, "it reads all {sent} bytes though nobody reads its answers: {end:?}");
        }
        sent
    }

    /// Sends all, or until the server does not read any more, and returns how many bytes went.
    #[track_caller]
    pub(crate) fn send_unless_stuck(&self, server: &Server, bytes: &[u8]) -> usize {
        let (mut sent, mut deadline) = (0, Instant::now() + PATIENCE);
        loop {
            let more = self.send_some(&bytes[sent..]);
            sent += more;
            if sent == bytes.len() {
                return sent;
            }
            if more > 0 {
                deadline = Instant::now() + PATIENCE;
            } else if self.is_stuck(server) {
                return sent;
            }
            assert!(Instant::now() < deadline, "after {sent} bytes, nothing goes on: {:?}", self.server_end());
        }
    }

    /// Sends all, or until nothing has been taken for so long, unless the connection is lost, and returns how many bytes went: for
    /// whoever does not mind whether the server has stopped reading or is slow, or how much the kernel keeps.
    #[track_caller]
    pub(crate) fn try_send_until_slow(&self, silence: Duration, bytes: &[u8]) -> Result<usize, Lost> {
        self.stream.set_write_timeout(Some(silence)).expect("a timeout can be set");
        let mut sent = 0;
        while sent < bytes.len() {
            match (&self.stream).write(&bytes[sent..]) {
                Ok(more) => sent += more,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                // A call with a time-out is interrupted where the process is stopped and goes on (signal(7)).
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if is_loss(&error) => return Err(Lost(format!("sending after {sent} bytes: {error}"))),
                Err(error) => panic!("sending after {sent} bytes: {error}"),
            }
        }
        self.stream.set_write_timeout(Some(PATIENCE)).expect("a timeout can be set");
        Ok(sent)
    }

    /// The same of a peer that cannot send.
    #[track_caller]
    fn is_stuck(&self, server: &Server) -> bool {
        let (is_left_unread, takes_more) = self.is_left_unread(server);
        is_left_unread && !takes_more
    }

    /// Whether the server goes to sleep with something unread, and something that it could not write; and whether the peer can
    /// send, for which it is waited a little, in which the server sleeps if it can. One that is only slow does not sleep then,
    /// however little of the processor it gets.
    #[track_caller]
    fn is_left_unread(&self, server: &Server) -> (bool, bool) {
        let held = |end: &TcpNetEntry| end.rx_queue > 0 && end.tx_queue > 0;
        let look = || self.server_end().filter(held).map(|end| (end.rx_queue, end.tx_queue));
        let (before, sleeps) = (look(), server.sleeps());
        let takes_more = any_takes_more(std::slice::from_ref(self));
        (before.is_some() && server.has_slept_since(sleeps) && look() == before, takes_more)
    }

    /// Receives exactly these bytes.
    #[track_caller]
    pub(crate) fn expect(&self, expected: &[u8]) {
        self.try_expect(expected).expect("the connection is open");
    }

    /// Receives exactly these bytes, unless the connection ends before.
    #[track_caller]
    pub(crate) fn try_expect(&self, expected: &[u8]) -> Result<(), Lost> {
        let mut buffer = vec![0; expected.len().min(256 * 1024)];
        let mut received = 0;
        while received < expected.len() {
            let room = buffer.len().min(expected.len() - received);
            match (&self.stream).read(&mut buffer[..room]) {
                Ok(0) => return Err(Lost(format!("the end came after {received} of {} bytes", expected.len()))),
                Ok(bytes) => {
                    let wanted = &expected[received..received + bytes];
                    // First as a whole, which takes a fraction of the time.
                    if buffer[..bytes] != *wanted
                        && let Some(at) = buffer[..bytes].iter().zip(wanted).position(|(got, wanted)| got != wanted)
                    {
                        panic!("byte {} is {}, {} was expected", received + at, buffer[at], wanted[at]);
                    }
                    received += bytes;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if is_loss(&error) => {
                    return Err(Lost(format!("receiving after {received} of {} bytes: {error}", expected.len())));
                }
                Err(error) => panic!("receiving after {received} of {} bytes: {error}", expected.len()),
            }
        }
        Ok(())
    }

    /// Receives so many bytes, whatever they are.
    #[track_caller]
    pub(crate) fn receive(&self, bytes: usize) -> Vec<u8> {
        let mut received = vec![0; bytes];
        (&self.stream).read_exact(&mut received).expect("the connection is open");
        received
    }

    /// Receives so many bytes, whatever they are, unless the connection ends before.
    #[track_caller]
    pub(crate) fn try_receive(&self, bytes: usize) -> Result<Vec<u8>, Lost> {
        let mut received = vec![0; bytes];
        match (&self.stream).read_exact(&mut received) {
            Ok(()) => Ok(received),
            Err(error) if is_loss(&error) || error.kind() == ErrorKind::UnexpectedEof => {
                Err(Lost(format!("receiving {bytes} bytes: {error}")))
            }
            Err(error) => panic!("receiving {bytes} bytes: {error}"),
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

    /// Has the kernel keep little on this side, in both directions, however long it lasts.
    pub(crate) fn keep_little(&self) {
        sockopt::set_socket_recv_buffer_size(&self.stream, 64 * 1024).expect("a buffer can be made small");
        sockopt::set_socket_send_buffer_size(&self.stream, 64 * 1024).expect("a buffer can be made small");
    }

    /// Ends the connection with a reset.
    pub(crate) fn reset(self) {
        sockopt::set_socket_linger(&self.stream, Some(Duration::ZERO)).expect("a socket can be told not to linger");
    }

    /// Sends a byte that is urgent (tcp(7)), and is no part of what comes before and after it.
    #[track_caller]
    pub(crate) fn send_urgent(&self) {
        rustix::net::send(&self.stream, b"!", SendFlags::OOB).expect("an open connection takes a byte");
    }

    /// Sends what can be sent at once, and says how much that was.
    #[track_caller]
    pub(crate) fn send_some(&self, bytes: &[u8]) -> usize {
        match rustix::net::send(&self.stream, bytes, SendFlags::DONTWAIT) {
            Ok(sent) => sent,
            Err(rustix::io::Errno::AGAIN) => 0,
            Err(errno) => panic!("sending: {errno}"),
        }
    }

    /// Nothing comes for so long, and the connection stays open.
    #[track_caller]
    pub(crate) fn stays_silent_for(&self, time: Duration) {
        self.stream.set_read_timeout(Some(time)).expect("a timeout can be set");
        match (&self.stream).read(&mut [0]) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            other => panic!("the connection should be open and silent: {other:?}"),
        }
        self.stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    }

    /// What the kernel knows of the server's end of this connection, if there still is one.
    #[track_caller]
    pub(crate) fn server_end(&self) -> Option<TcpNetEntry> {
        let (server, client) = (self.stream.peer_addr().ok()?, self.address());
        let ends = ends_of(&[client.port()]);
        ends.into_iter().find(|socket| socket.local_address == server && socket.remote_address == client)
    }

    /// Sends no more, and still receives.
    pub(crate) fn end_sending(&self) {
        self.stream.shutdown(Shutdown::Write).expect("an open connection can be half-closed");
    }

    /// The server closes the connection, in an orderly way, and sends nothing before.
    #[track_caller]
    pub(crate) fn expect_end(&self) {
        self.try_expect_end().expect("the end is an orderly one");
    }

    /// The same, unless the connection is lost.
    #[track_caller]
    pub(crate) fn try_expect_end(&self) -> Result<(), Lost> {
        let mut rest = Vec::new();
        match (&self.stream).read_to_end(&mut rest) {
            Ok(bytes) => assert_eq!(bytes, 0, "so many bytes came before the end"),
            Err(error) if is_loss(&error) => return Err(Lost(format!("waiting for the end: {error}"))),
            Err(error) => panic!("waiting for the end: {error}"),
        }
        Ok(())
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
        match self.receive_some(&mut [0]) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            other => panic!("the connection should be open and silent: {other:?}"),
        }
    }

    /// Whether the connection is open, and nothing has come on it.
    pub(crate) fn is_open_and_silent(&self) -> bool {
        self.receive_some(&mut [0]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }

    /// Receives what there is, without waiting.
    fn receive_some(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_nonblocking(true).expect("blocking can be unset");
        let received = (&self.stream).read(buffer);
        self.stream.set_nonblocking(false).expect("blocking can be set");
        received
    }
}

/// What the kernel knows of the ends of connections at these ports, on either side.
fn ends_of(ports: &[u16]) -> Vec<TcpNetEntry> {
    let table = std::fs::read_to_string("/proc/net/tcp").expect("the kernel lists its sockets");
    // There may be tens of thousands, and to understand a line takes long.
    let ports: Vec<String> = ports.iter().map(|port| format!(":{port:04X} ")).collect();
    let is_of_one = |line: &str| ports.iter().any(|port| line.contains(port));
    let lines = table.lines().enumerate().filter(|(index, line)| *index == 0 || is_of_one(line));
    let few: String = lines.flat_map(|(_, line)| [line, "\n"]).collect();
    let TcpNetEntries(sockets) = TcpNetEntries::from_buf_read(few.as_bytes(), procfs::current_system_info())
        .expect("the kernel writes what it should");
    sockets
}

/// The inodes of the server's ends of these connections, of each that has one.
pub(crate) fn inodes_of_server_ends(streams: &[&TcpStream]) -> Vec<Option<u64>> {
    let address = |stream: &TcpStream| stream.local_addr().expect("a connected socket has an address");
    let ends = ends_of(&streams.iter().map(|stream| address(stream).port()).collect::<Vec<u16>>());
    let inode = |stream: &&TcpStream| {
        // Two servers may have clients with the same address.
        let (server, client) = (stream.peer_addr().ok()?, address(stream));
        ends.iter().find(|end| end.local_address == server && end.remote_address == client).map(|end| end.inode)
    };
    streams.iter().map(inode).collect()
}

pub(super) fn is_loss(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::ConnectionAborted)
}

/// Whether any of these connections comes to take something within a moment.
fn any_takes_more(peers: &[Peer]) -> bool {
    let mut awaited: Vec<_> = peers.iter().map(|peer| PollFd::new(peer.stream.as_fd(), PollFlags::POLLOUT)).collect();
    let timeout = PollTimeout::try_from(LOOK_AGAIN).expect("it is short");
    poll(&mut awaited, timeout).expect("descriptors can be waited for") > 0
}

/// Whether the server has stopped reading from all of these connections, each of which has sent all that it could.
#[track_caller]
pub(crate) fn all_are_stuck(peers: &[Peer], server: &Server) -> bool {
    !any_takes_more(peers) && peers.iter().all(|peer| peer.is_stuck(server))
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
