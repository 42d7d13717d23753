//! A session as bytes, and back. Always as many of them, and nothing is allocated.

use std::fmt;

use zeroize::Zeroize;

use super::state::{Incoming, Outgoing, RESERVED, State};
use crate::direction::Direction;
use crate::messages::{PARTIAL_BYTES, Partial, Role};
use crate::record::CONTENT_BYTES_MAX;
use crate::secret::{SECRET_BYTES_MAX, Secret};
use crate::suite::{Suite, Version};

/// How the bytes are laid out. Another layout gets another number, from the first release on.
pub(crate) const LAYOUT: u8 = 1;

const DIRECTION_BYTES: usize = 8 + SECRET_BYTES_MAX;

/// Layout, suite, state, content of a record, three counters, a message under way, both directions.
const BYTES: usize = 1 + 2 + 1 + 2 + 3 + PARTIAL_BYTES + 2 * DIRECTION_BYTES;

/// The bits of the state.
mod bit {
    pub(super) const CLIENT: u8 = 1;
    pub(super) const OUTGOING_ENDED: u8 = 2;
    pub(super) const INCOMING_CLOSED: u8 = 4;
    pub(super) const INCOMING_FAILED: u8 = 8;
    pub(super) const UPDATE_DUE: u8 = 16;
}

/// A session that has been written down: its secrets in clear. It is wiped when it is dropped, and shows nothing.
///
/// Whoever copies its bytes elsewhere answers for the copy.
pub struct SavedSession([u8; BYTES]);

impl SavedSession {
    /// How many bytes it has.
    pub const BYTES: usize = BYTES;

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8; BYTES] {
        &self.0
    }

    /// What another process has saved.
    ///
    /// # Errors
    /// If it is longer or shorter.
    pub fn read(bytes: &[u8]) -> Result<Self, NotRestored> {
        let exact = bytes.try_into().map_err(|_| NotRestored::Length { bytes: bytes.len(), expected: BYTES })?;
        Ok(Self(exact))
    }
}

impl Drop for SavedSession {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for SavedSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SavedSession")
    }
}

/// Why a session is not restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotRestored {
    /// It has another length.
    Length {
        /// Its bytes.
        bytes: usize,
        /// Those that it should have.
        expected: usize,
    },
    /// It is laid out in a way that this build does not know.
    Layout {
        /// The number of that way.
        layout: u8,
        /// The one that is known.
        known: u8,
    },
    /// It has a cipher suite that this build does not know.
    Suite(u16),
    /// It says what no session can be like.
    Impossible(&'static str),
}

impl fmt::Display for NotRestored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length { bytes, expected } => write!(f, "a saved session has {bytes} bytes instead of {expected}"),
            Self::Layout { layout, known } => {
                write!(f, "a saved session has layout {layout}, {known} is known")
            }
            Self::Suite(suite) => write!(f, "a saved session has the unknown cipher suite {suite:#06x}"),
            Self::Impossible(what) => write!(f, "a saved session is damaged: its {what} cannot be"),
        }
    }
}

impl std::error::Error for NotRestored {}

impl SavedSession {
    pub(crate) fn write(state: &State, tx: &Direction, rx: &Direction) -> Self {
        let mut saved = Self([0; BYTES]);
        let mut writer = Writer(&mut saved.0);
        writer.put(&[LAYOUT]);
        writer.put(&state.suite.number().to_be_bytes());
        writer.put(&[bits(state)]);
        writer.put(&state.content_bytes_max.to_be_bytes());
        writer.put(&[state.patience, state.warnings_left, state.renegotiations_left]);
        writer.put(&state.partial.save());
        for direction in [tx, rx] {
            writer.put(&direction.sequence().to_be_bytes());
            writer.put(direction.secret().bytes());
        }
        debug_assert!(writer.0.is_empty(), "all that is saved has been written");
        saved
    }

    /// What it was written of. It is used up.
    pub(crate) fn parts(self) -> Result<(State, Direction, Direction), NotRestored> {
        let mut reader = Reader(&self.0);
        let [layout] = reader.array();
        if layout != LAYOUT {
            return Err(NotRestored::Layout { layout, known: LAYOUT });
        }
        let state = reader.state()?;
        let (tx, rx) = (reader.direction(state.suite)?, reader.direction(state.suite)?);
        check(&state, tx.sequence())?;
        Ok((state, tx, rx))
    }
}

/// Whether its numbers are such that it can have come to be.
fn check(state: &State, tx_sequence: u64) -> Result<(), NotRestored> {
    let content = (1..=CONTENT_BYTES_MAX).contains(&state.content_bytes_max.into());
    // So that no alert can come to the end of the key.
    let free = if state.outgoing == Outgoing::Open { RESERVED / 2 } else { 0 };
    let sequence = tx_sequence <= state.suite.records_max() - free;
    match (state.has_possible_counters(), content, sequence) {
        (false, _, _) => Err(NotRestored::Impossible("counters")),
        (_, false, _) => Err(NotRestored::Impossible("length of a record")),
        (_, _, false) => Err(NotRestored::Impossible("number of the next record")),
        _ => Ok(()),
    }
}

fn bits(state: &State) -> u8 {
    let role = if state.role == Role::Client { bit::CLIENT } else { 0 };
    let outgoing = if state.outgoing == Outgoing::Ended { bit::OUTGOING_ENDED } else { 0 };
    let incoming = match state.incoming {
        Incoming::Open => 0,
        Incoming::Closed => bit::INCOMING_CLOSED,
        Incoming::Failed => bit::INCOMING_FAILED,
    };
    let update = if state.update_due { bit::UPDATE_DUE } else { 0 };
    role | outgoing | incoming | update
}

/// What the bits of the state say, if that can be in this version.
fn states(state: u8, version: Version) -> Option<(Role, Outgoing, Incoming, bool)> {
    let role = if state & bit::CLIENT == 0 { Role::Server } else { Role::Client };
    let outgoing = if state & bit::OUTGOING_ENDED == 0 { Outgoing::Open } else { Outgoing::Ended };
    let update_due = state & bit::UPDATE_DUE != 0;
    if update_due && (version != Version::Tls13 || outgoing == Outgoing::Ended) {
        return None;
    }
    let incoming = match state & !(bit::CLIENT | bit::OUTGOING_ENDED | bit::UPDATE_DUE) {
        0 => Incoming::Open,
        bit::INCOMING_CLOSED => Incoming::Closed,
        bit::INCOMING_FAILED if outgoing == Outgoing::Ended => Incoming::Failed,
        _ => return None,
    };
    Some((role, outgoing, incoming, update_due))
}

/// What is still free of the bytes that are written.
struct Writer<'a>(&'a mut [u8]);

impl Writer<'_> {
    fn put(&mut self, bytes: &[u8]) {
        let (front, rest) = std::mem::take(&mut self.0).split_at_mut(bytes.len());
        front.copy_from_slice(bytes);
        self.0 = rest;
    }
}

/// What is still to be read of bytes whose number is right.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> [u8; N] {
        let (front, rest) = self.0.split_first_chunk().expect("the parts are as long as the whole");
        self.0 = rest;
        *front
    }

    fn state(&mut self) -> Result<State, NotRestored> {
        let number = u16::from_be_bytes(self.array());
        let suite = Suite::from_number(number).ok_or(NotRestored::Suite(number))?;
        let [bits] = self.array();
        let content_bytes_max = u16::from_be_bytes(self.array());
        let [patience, warnings_left, renegotiations_left] = self.array();
        let states = states(bits, suite.version()).ok_or(NotRestored::Impossible("state"))?;
        let (role, outgoing, incoming, update_due) = states;
        let partial = Partial::restore(role, suite.version(), self.array());
        let partial = partial.ok_or(NotRestored::Impossible("handshake message"))?;
        Ok(State {
            suite,
            role,
            outgoing,
            incoming,
            partial,
            update_due,
            content_bytes_max,
            patience,
            warnings_left,
            renegotiations_left,
        })
    }

    fn direction(&mut self, suite: Suite) -> Result<Direction, NotRestored> {
        let sequence = u64::from_be_bytes(self.array());
        let mut bytes = self.array();
        let secret = Secret::restore(suite, &bytes);
        bytes.zeroize();
        Ok(Direction::new(secret.ok_or(NotRestored::Impossible("secret"))?, sequence))
    }
}
