//! An established connection: bytes of the socket to data, and data to bytes of the socket. No I/O, no clock, no
//! randomness.
//!
//! # Nonces
//! A number that seals two different records under one key gives away what both hold, and lets anybody forge more
//! (RFC 5116 section 5.1.1). So whoever holds a [`Session`] keeps to this:
//! - Of one connection only one process seals. [`Session::save`] does not end the session, since a connection is copied
//!   while it is served. What is saved is good only for as long as nothing has been sealed or opened since: who goes on
//!   saves again, and a successor seals nothing, not even an alert, before it owns the connection.
//! - What has been sealed is sent before anything that is sealed later, or never: it goes to the successor with the session.
//!
//! The types help as far as they can: sealing needs `&mut`, nothing here can be cloned, and what is saved is used up
//! when it is restored.

use std::fmt;

use crate::alert::Alert;
use crate::direction::Direction;
use crate::messages::{Message, Partial, Role};
use crate::record::{self, CONTENT_BYTES_MAX, kind};
use crate::suite::{Suite, Version};
use crate::violation::Violation;

mod saved;
mod state;

pub use saved::{NotRestored, SavedSession};
use state::{Incoming, Outgoing, PATIENCE, RESERVED, State};

/// Why a session is over, or at least the direction that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The other side broke the protocol, and is told so by an alert at the end of what is to be sent.
    Broken(Violation),
    /// The other side sent this alert.
    Alerted(Alert),
    /// The keys of TLS 1.2 have sealed as much as they may. The other side is told that nothing more will come; data
    /// that has not been sealed is lost to this connection.
    Exhausted,
    /// This direction had ended before.
    Ended,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broken(violation) => write!(f, "{violation} ({})", violation.alert()),
            Self::Alerted(alert) => write!(f, "the other side ended it: {alert}"),
            Self::Exhausted => f.write_str("its keys have sealed as many records as they may"),
            Self::Ended => f.write_str("it has ended"),
        }
    }
}

impl std::error::Error for Failure {}

impl From<Violation> for Failure {
    fn from(violation: Violation) -> Self {
        Self::Broken(violation)
    }
}

/// How the other side ended, when its socket says that nothing more will come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It said so itself before: all that it sent has come.
    Orderly,
    /// It did not. Something may be missing, and anybody may have cut it off (RFC 8446 section 6.1).
    Truncated,
}

/// An established connection.
pub struct Session {
    state: State,
    tx: Direction,
    rx: Direction,
}

/// What comes of the records that are opened in one go.
struct Opening<'a> {
    plain: &'a mut Vec<u8>,
    out: &'a mut Vec<u8>,
}

impl Session {
    pub(crate) fn new(suite: Suite, role: Role, tx: Direction, rx: Direction) -> Self {
        Self { state: State::new(suite, role), tx, rx }
    }

    /// The cipher suite that was agreed on.
    #[must_use]
    pub fn suite(&self) -> Suite {
        self.state.suite
    }

    /// The numbers of the next records: that it seals, that it opens.
    #[must_use]
    pub fn sequences(&self) -> (u64, u64) {
        (self.tx.sequence(), self.rx.sequence())
    }

    /// The bytes of the longest record that comes. [`Session::open`] leaves fewer.
    pub const RECORD_BYTES_MAX: usize = record::RECORD_BYTES_MAX;

    /// The number of the layout of what [`Session::save`] gives: a process that knows another one cannot restore it.
    pub const LAYOUT: u8 = saved::LAYOUT;

    /// The whole state of the connection. The session goes on: what is saved is outdated with the next record that it
    /// seals or opens.
    #[must_use]
    pub fn save(&self) -> SavedSession {
        SavedSession::write(&self.state, &self.tx, &self.rx)
    }

    /// The session that was saved, which goes on where it was. What was saved is used up: two sessions from it would seal
    /// with the same numbers.
    ///
    /// # Errors
    /// If it is not what [`Session::save`] of this layout gives.
    pub fn restore(saved: SavedSession) -> Result<Self, NotRestored> {
        let (state, tx, rx) = saved.parts()?;
        Ok(Self { state, tx, rx })
    }

    /// How the other side ended, if its socket says now that nothing more will come.
    #[must_use]
    pub fn end(&self) -> End {
        if self.state.incoming == Incoming::Closed { End::Orderly } else { End::Truncated }
    }

    /// Whether data can still be sealed.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.state.outgoing == Outgoing::Open
    }

    /// How much of data a record that is sealed from now on has at most: 1 to 16,384 bytes; what is outside is brought
    /// inside.
    pub fn limit_content(&mut self, bytes: usize) {
        self.state.content_bytes_max = bytes.clamp(1, CONTENT_BYTES_MAX) as u16;
    }

    /// Gives back the memory of keys, which are made again from secrets when they are needed.
    pub fn idle(&mut self) {
        self.tx.idle();
        self.rx.idle();
    }

    /// Seals data, in as many records as it needs, at the end of `out`.
    ///
    /// # Errors
    /// If this direction has ended, or ends now since its keys are [exhausted](Failure::Exhausted).
    pub fn seal(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<(), Failure> {
        self.check_outgoing()?;
        for content in plain.chunks(self.state.content_bytes_max.into()) {
            if self.state.update_due {
                self.update_key(false, out);
            }
            self.spare_key(out)?;
            self.tx.seal(self.state.suite, kind::DATA, content, out);
        }
        Ok(())
    }

    /// Says that nothing more will come, once (RFC 8446 section 6.1, RFC 5246 section 7.2.1). The other direction goes
    /// on.
    pub fn close(&mut self, out: &mut Vec<u8>) {
        self.end_with(Level::Warning, Alert::CLOSE_NOTIFY, out);
    }

    /// Goes over to the next key for what is sealed, and says so; may want the other side to do the same (RFC 8446
    /// section 4.6.3). Of TLS 1.2, which has nothing like it, nothing comes.
    ///
    /// # Errors
    /// If this direction has ended.
    pub fn update(&mut self, wants_one: bool, out: &mut Vec<u8>) -> Result<(), Failure> {
        self.check_outgoing()?;
        if self.state.suite.version() == Version::Tls13 {
            self.update_key(wants_one, out);
        }
        Ok(())
    }

    fn check_outgoing(&self) -> Result<(), Failure> {
        if self.is_open() { Ok(()) } else { Err(Failure::Ended) }
    }

    /// Before another record of data: TLS 1.3 changes a key that has sealed enough (RFC 8446 section 5.5), TLS 1.2
    /// cannot.
    fn spare_key(&mut self, out: &mut Vec<u8>) -> Result<(), Failure> {
        if self.tx.sequence() < self.state.suite.records_max() - RESERVED {
            return Ok(());
        }
        if self.state.suite.version() == Version::Tls12 {
            self.close(out);
            return Err(Failure::Exhausted);
        }
        self.update_key(false, out);
        Ok(())
    }

    /// The KeyUpdate is the last record of the key that it ends.
    fn update_key(&mut self, wants_one: bool, out: &mut Vec<u8>) {
        self.tx.seal(self.state.suite, kind::HANDSHAKE, &[24, 0, 0, 1, u8::from(wants_one)], out);
        self.tx.update(self.state.suite);
        self.state.update_due = false;
    }

    /// Seals the last record of this direction, unless it has ended.
    fn end_with(&mut self, level: Level, alert: Alert, out: &mut Vec<u8>) {
        if self.is_open() {
            self.end_outgoing();
            self.tx.seal(self.state.suite, kind::ALERT, &[level as u8, alert.0], out);
        }
    }

    fn end_outgoing(&mut self) {
        self.state.outgoing = Outgoing::Ended;
        // No other data comes.
        self.state.update_due = false;
    }

    /// Opens the whole records at the front of what the socket gave, in place: data goes to the end of `plain`, what
    /// the protocol has to answer to the end of `out`. Says how many bytes are done with. The others are the beginning
    /// of a record, at most 18,437 bytes: they are to be given again, unchanged and with what follows.
    ///
    /// # Errors
    /// If the other side broke the protocol or sent a fatal alert, then or before. What is in `plain` by then came
    /// before that; what is in `out` is still to be sent.
    pub fn open(&mut self, wire: &mut [u8], plain: &mut Vec<u8>, out: &mut Vec<u8>) -> Result<usize, Failure> {
        if self.state.incoming == Incoming::Failed {
            return Err(Failure::Ended);
        }
        let mut opening = Opening { plain, out };
        let taken = self.open_records(wire, &mut opening);
        if let Err(failure) = taken {
            self.fail(failure, opening.out);
        }
        taken
    }

    /// Whether [`Session::open`] has something to do about these bytes: a whole record is at the front, or what can be none.
    #[must_use]
    pub fn hears(&self, wire: &[u8]) -> bool {
        !wire.is_empty()
            && (self.state.incoming != Incoming::Open || record::whole(wire, self.state.suite.version()) != Ok(None))
    }

    fn open_records(&mut self, wire: &mut [u8], opening: &mut Opening<'_>) -> Result<usize, Failure> {
        let mut taken = 0;
        while self.state.incoming == Incoming::Open {
            let Some(bytes) = record::whole(&wire[taken..], self.state.suite.version())? else {
                return Ok(taken);
            };
            let (kind, content) = self.rx.open(self.state.suite, &mut wire[taken..][..bytes])?;
            self.hear(kind, content, opening)?;
            taken += bytes;
        }
        // RFC 8446 section 6.1: what comes after close_notify is ignored.
        Ok(wire.len())
    }

    /// Nothing more is opened; nothing more is sealed after an alert. Secrets are forgotten (RFC 8446 section 6.2).
    fn fail(&mut self, failure: Failure, out: &mut Vec<u8>) {
        self.state.incoming = Incoming::Failed;
        if let Failure::Broken(violation) = failure {
            self.end_with(Level::Fatal, violation.alert(), out);
        }
        self.end_outgoing();
        // What cannot go on may be what no other process would take for a beginning.
        self.state.partial = Partial::default();
        self.tx.forget();
        self.rx.forget();
    }

    /// What a record says (RFC 8446 section 5.1, RFC 5246 section 6.2.1).
    fn hear(&mut self, kind: u8, content: &[u8], opening: &mut Opening<'_>) -> Result<(), Failure> {
        if self.state.partial.is_under_way() && kind != kind::HANDSHAKE {
            return Err(Violation::Interleaved.into());
        }
        match kind {
            kind::DATA if !content.is_empty() => {
                self.state.patience = PATIENCE;
                opening.plain.extend_from_slice(content);
                Ok(())
            }
            kind::DATA => Ok(self.state.bear()?),
            kind::ALERT | kind::HANDSHAKE if content.is_empty() => Err(Violation::EmptyRecord(kind).into()),
            kind::ALERT => self.hear_alert(content),
            kind::HANDSHAKE => Ok(self.hear_handshake(content, opening)?),
            _ => Err(Violation::RecordType(kind).into()),
        }
    }

    fn hear_alert(&mut self, content: &[u8]) -> Result<(), Failure> {
        let &[level, description] = content else {
            return Err(Violation::AlertLength(content.len()).into());
        };
        let alert = Alert(description);
        let warning = level == Level::Warning as u8;
        match self.state.suite.version() {
            Version::Tls12 if !warning && level != Level::Fatal as u8 => Err(Violation::AlertLevel(level).into()),
            _ if alert == Alert::CLOSE_NOTIFY => {
                self.state.incoming = Incoming::Closed;
                Ok(())
            }
            // RFC 8446 section 6: the level is ignored. All alerts but these two end the connection, known or not.
            Version::Tls13 if alert == Alert::USER_CANCELED => Ok(self.state.bear_warning()?),
            Version::Tls12 if warning => Ok(self.state.bear_warning()?),
            _ => Err(Failure::Alerted(alert)),
        }
    }

    fn hear_handshake(&mut self, mut content: &[u8], opening: &mut Opening<'_>) -> Result<(), Violation> {
        self.state.bear()?;
        while !content.is_empty() {
            match self.state.partial.take(self.state.role, self.state.suite.version(), &mut content)? {
                Some(Message::KeyUpdate { wants_one }) => {
                    self.rx.update(self.state.suite);
                    self.state.update_due |= wants_one && self.is_open();
                }
                Some(Message::Renegotiation) => self.refuse_renegotiation(opening.out)?,
                Some(Message::Ticket) | None => {}
            }
        }
        Ok(())
    }

    /// RFC 5246 section 7.2.2, no_renegotiation.
    fn refuse_renegotiation(&mut self, out: &mut Vec<u8>) -> Result<(), Violation> {
        self.state.bear_renegotiation()?;
        if self.is_open() {
            self.tx.seal(self.state.suite, kind::ALERT, &[Level::Warning as u8, Alert::NO_RENEGOTIATION.0], out);
        }
        Ok(())
    }
}

/// The level of an alert (RFC 8446 section 6).
#[derive(Clone, Copy)]
enum Level {
    Warning = 1,
    Fatal = 2,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("suite", &self.state.suite)
            .field("role", &self.state.role)
            .field("outgoing", &self.state.outgoing)
            .field("incoming", &self.state.incoming)
            .field("sequences", &self.sequences())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod rfc_8448;
#[cfg(test)]
mod tests;
