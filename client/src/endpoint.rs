//! One open connection: its stream, and what is said on it.
//!
//! It reads, writes and verifies, and never waits: whoever owns it knows when it is its turn.

use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use log::{debug, warn};

use crate::address::{Ends, bracketed};
use crate::connect::{self, Opened};
use crate::connection::{Connection, MESSAGE_BYTES};
use crate::demand::Kind;
use crate::stream::Stream;
use crate::tally::Tally;

/// How much a connection may read, or flood, before it is the turn of the others.
const BYTES_PER_TURN: usize = 256 * 1024;

/// How much a slow reader reads.
const SLOW_READ_BYTES: usize = 4 * 1024;

/// How much a slow reader writes at once.
const FLOOD_MESSAGES: u32 = 4 * 1024;

/// How far the life of a connection has come. Those that last are `Open` until the load is over.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Stage {
    Connecting,
    Open,
    /// It is closed when all answers are there.
    Leaving,
    /// The server has been told that nothing more will come, and is to say the same.
    Closing,
}

/// Whether a connection needs another turn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Progress {
    /// An event will say when it can go on.
    Blocked,
    /// It could go on, and no event will say so.
    BudgetSpent,
}

/// One open connection: its stream, and what was said on it.
pub(crate) struct Endpoint {
    pub(crate) stream: Stream,
    pub(crate) local_address: SocketAddr,
    pub(crate) server: SocketAddr,
    pub(crate) kind: Kind,
    pub(crate) stage: Stage,
    pub(crate) connection: Connection,
    /// Whether it is on the ready list.
    pub(crate) ready: bool,
    /// Whether the part of the load that waits for everybody waits for this one no more.
    pub(crate) settled: bool,
}

impl Endpoint {
    pub(crate) fn new(opened: Opened, kind: Kind) -> Self {
        debug!("{}: open, {kind:?}", bracketed(opened.local_address));
        Self {
            stream: opened.stream,
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

    /// Goes on with the opening of this connection, and says whether it is open now: then it has a first message to send.
    pub(crate) fn go_on_opening(&mut self) -> io::Result<bool> {
        let Some(local_address) = connect::finished(self.stream.socket())? else { return Ok(false) };
        if !self.stream.shake_hands()? {
            return Ok(false);
        }
        debug!("{}: open", bracketed(local_address));
        self.stage = Stage::Open;
        self.connection.queue(1, Instant::now());
        Ok(true)
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
            match self.stream.read(buffer) {
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

    /// Reads and verifies what had come before the connection ended.
    pub(crate) fn read_out(&mut self, buffer: &mut [u8], tally: &mut Tally) {
        while let Ok(Some(_)) = self.read_once(buffer, tally) {}
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

    /// Sends the first part of a message. Where there are records, every other one is sent in part instead, so that the
    /// server has half a record as often as half a message.
    pub(crate) fn begin_message(&mut self) -> io::Result<()> {
        self.connection.begin_message();
        if self.stream.is_secured() && self.connection.sent().is_multiple_of(2) {
            match self.stream.write_torn(self.connection.pending()) {
                Ok(count) => self.connection.note_written(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        self.flush()
    }

    /// Queues the rest of a message that was begun.
    pub(crate) fn complete_message(&mut self, now: Instant) {
        self.stream.mend();
        self.connection.complete_message(now);
    }

    /// Says that nothing more will come.
    pub(crate) fn close(&mut self) -> io::Result<()> {
        self.stage = Stage::Closing;
        self.stream.close()
    }

    /// Writes what is pending, as far as the socket takes it.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()?;
        while !self.connection.pending().is_empty() {
            match self.stream.write(self.connection.pending()) {
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
