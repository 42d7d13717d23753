//! One open connection: its socket, and what is said on it.
//!
//! It reads, writes and verifies, and never waits: whoever owns it knows when it is its turn.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::Instant;

use log::{debug, warn};
use mio::net::TcpStream;

use crate::address::{Ends, bracketed};
use crate::connect::Opened;
use crate::connection::{Connection, MESSAGE_BYTES};
use crate::demand::Kind;
use crate::tally::Tally;

/// How much a connection may read, or flood, before it is the turn of the others.
const BYTES_PER_TURN: usize = 256 * 1024;

/// How much a slow reader reads.
const SLOW_READ_BYTES: usize = 4 * 1024;

/// How much a slow reader writes at once.
const FLOOD_MESSAGES: u32 = 4 * 1024;

/// How far the life of a connection has come. Those that last are always `Open`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Stage {
    Connecting,
    Open,
    /// It is closed when all answers are there.
    Leaving,
}

/// Whether a connection needs another turn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Progress {
    /// An event will say when it can go on.
    Blocked,
    /// It could go on, and no event will say so.
    BudgetSpent,
}

/// One open connection: its socket, and what was said on it.
pub(crate) struct Endpoint {
    pub(crate) socket: TcpStream,
    pub(crate) local_address: SocketAddr,
    pub(crate) server: SocketAddr,
    pub(crate) kind: Kind,
    pub(crate) stage: Stage,
    pub(crate) connection: Connection,
    /// Whether it is on the ready list.
    pub(crate) ready: bool,
    /// Whether the second part of the load has found everything answered.
    pub(crate) settled: bool,
}

impl Endpoint {
    pub(crate) fn new(opened: Opened, kind: Kind) -> Self {
        debug!("{}: open, {kind:?}", bracketed(opened.local_address));
        Self {
            socket: opened.socket,
            local_address: opened.local_address,
            server: opened.server,
            kind,
            stage: Stage::Open,
            // The round trips of a slow reader would measure the reader, and an idle connection has its only one in
            // the second part, where none are measured. The first one of a passing connection includes its opening.
            connection: Connection::new(matches!(kind, Kind::Sending | Kind::Fragmenting)),
            ready: false,
            settled: false,
        }
    }

    pub(crate) fn ends(&self) -> Ends {
        Ends { client: self.local_address, server: self.server }
    }

    /// Reads what there is, and sends until `depth` messages are in flight.
    pub(crate) fn exchange(
        &mut self,
        depth: u32,
        read_to_end: bool,
        buffer: &mut [u8],
        tally: &mut Tally,
    ) -> io::Result<Progress> {
        let progress = self.read(read_to_end, buffer, tally)?;
        let due = self.connection.due();
        if due < u64::from(depth) {
            self.connection.queue(depth - due as u32, Instant::now());
        }
        self.flush()?;
        Ok(progress)
    }

    /// Reads until there is no more, or the budget is spent.
    ///
    /// A read that does not fill the buffer has emptied the socket, and what arrives later is a new edge (`epoll(7)`):
    /// another read would find nothing. Only the end of the stream still has to be read, so that one is `read_to_end`.
    fn read(&mut self, read_to_end: bool, buffer: &mut [u8], tally: &mut Tally) -> io::Result<Progress> {
        let mut budget_bytes = BYTES_PER_TURN;
        while budget_bytes > 0 {
            let Some(count) = self.read_once(buffer, tally)? else { return Ok(Progress::Blocked) };
            if count < buffer.len() && !read_to_end {
                return Ok(Progress::Blocked);
            }
            budget_bytes = budget_bytes.saturating_sub(count);
        }
        Ok(Progress::BudgetSpent)
    }

    /// Reads little, whether or not there is more.
    pub(crate) fn read_slowly(&mut self, buffer: &mut [u8], tally: &mut Tally) -> io::Result<()> {
        self.read_once(&mut buffer[..SLOW_READ_BYTES], tally).map(|_| ())
    }

    /// Reads once and verifies what came. `None` if nothing was there; the end of the stream is an error.
    fn read_once(&mut self, buffer: &mut [u8], tally: &mut Tally) -> io::Result<Option<usize>> {
        let count = loop {
            match self.socket.read(buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => break count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        };
        let now = Instant::now();
        let local_address = self.local_address;
        self.connection.receive(&buffer[..count], |answer| {
            if let Some(sent_at) = answer.sent_at {
                tally.record(sent_at, now);
            }
            if answer.is_discontinuity() {
                tally.note_discontinuity();
                warn!("{}: expected {}, received {}", bracketed(local_address), answer.expected, answer.received);
            }
        });
        Ok(Some(count))
    }

    /// Sends until the socket takes no more, or the budget is spent.
    pub(crate) fn flood(&mut self) -> io::Result<Progress> {
        for _ in 0..BYTES_PER_TURN / (FLOOD_MESSAGES as usize * MESSAGE_BYTES) {
            if self.connection.pending().is_empty() {
                self.connection.queue(FLOOD_MESSAGES, Instant::now());
            }
            self.flush()?;
            if !self.connection.pending().is_empty() {
                return Ok(Progress::Blocked);
            }
        }
        Ok(Progress::BudgetSpent)
    }

    /// Writes what is pending, as far as the socket takes it.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        while !self.connection.pending().is_empty() {
            match self.socket.write(self.connection.pending()) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => self.connection.note_written(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
