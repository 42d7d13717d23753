//! A handshake that is under way as bytes, and back: what was heard, what was drawn, and a digest of what was answered.
//!
//! Whoever restores it lets rustls hear the same again, with the same drawn. If that says what was said, it is in the
//! same state, and goes on.

use std::fmt;

use zeroize::Zeroizing;

use super::failure::HandshakeFailure;
use crate::bytes::{Reader, put};
use crate::tape::Tape;

/// How the bytes are laid out. Another layout gets another number.
pub(crate) const LAYOUT: u8 = 1;

/// Why a handshake cannot move to another process: this one has to finish it, or it is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unmovable {
    /// This side opened the connection: rustls holds the private key of the exchange from the first byte on.
    Client,
    /// TLS 1.2, after this side's first flight: rustls holds that key until the client answers.
    KeyHeld,
    /// It has drawn more often than fits the tape. Only a client that offers very many tickets causes that.
    TooLong,
    /// It is over: what is to be saved is the session.
    Done,
}

impl fmt::Display for Unmovable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Client => "the handshake of a connection that was opened cannot move",
            Self::KeyHeld => "a handshake of TLS 1.2 whose key exchange has begun cannot move",
            Self::TooLong => "a handshake that draws so often cannot move",
            Self::Done => "the handshake is over",
        })
    }
}

impl std::error::Error for Unmovable {}

/// Why a handshake that was saved cannot be continued here.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum NotContinued {
    /// It is laid out in a way that this build does not know.
    Layout {
        /// The number of that way.
        layout: u8,
        /// The one that is known.
        known: u8,
    },
    /// It is damaged.
    Damaged,
    /// The same bytes are not answered here as they were there: another version of rustls, or other settings.
    Differs,
    /// What was heard there with success fails here.
    Fails(HandshakeFailure),
}

impl fmt::Display for NotContinued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Layout { layout, known } => write!(f, "a saved handshake has layout {layout}, {known} is known"),
            Self::Damaged => f.write_str("a saved handshake is damaged"),
            Self::Differs => {
                f.write_str("a saved handshake is not answered here as it was: the settings or rustls differ")
            }
            Self::Fails(failure) => write!(f, "a saved handshake fails here: {failure}"),
        }
    }
}

impl std::error::Error for NotContinued {}

/// A handshake that has been written down, with its secrets in clear. It is wiped when it is dropped, and shows
/// nothing.
///
/// Whoever copies its bytes elsewhere answers for the copy.
pub struct SavedHandshake(Zeroizing<Vec<u8>>);

impl SavedHandshake {
    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// What another process has saved.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Self {
        Self(Zeroizing::new(bytes.to_vec()))
    }

    /// Whether the other side had been told anything. Of what this build cannot read it is not known, and taken to be so.
    #[must_use]
    pub fn has_answered(&self) -> bool {
        let mut reader = Reader(&self.0);
        (reader.array(), reader.array().map(u64::from_be_bytes)) != (Some([LAYOUT]), Some(0))
    }
}

impl fmt::Debug for SavedHandshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SavedHandshake({} bytes)", self.0.len())
    }
}

/// What a handshake is saved as.
pub(crate) struct Parts<'a> {
    pub(crate) said: Digest,
    /// All whole records that were heard.
    pub(crate) heard: &'a [u8],
    pub(crate) tape: Tape,
}

/// How much was said, and what, as far as it can be compared.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Digest {
    pub(crate) bytes: u64,
    pub(crate) sha256: [u8; 32],
}

impl SavedHandshake {
    pub(crate) fn write(said: Digest, heard: &[u8], tape: &Tape) -> Self {
        // Room for all of it, so that nothing is left where it was too small.
        let room = 1 + 8 + said.sha256.len() + 4 + heard.len() + tape.saved_bytes();
        let mut saved = Zeroizing::new(Vec::with_capacity(room));
        saved.push(LAYOUT);
        saved.extend_from_slice(&said.bytes.to_be_bytes());
        saved.extend_from_slice(&said.sha256);
        put(&mut saved, heard);
        tape.save(&mut saved);
        debug_assert!(saved.len() == room, "{} bytes instead of {room}", saved.len());
        Self(saved)
    }

    /// What it was written of.
    pub(crate) fn parts(&self) -> Result<Parts<'_>, NotContinued> {
        let mut reader = Reader(&self.0);
        let [layout] = reader.array().ok_or(NotContinued::Damaged)?;
        if layout != LAYOUT {
            return Err(NotContinued::Layout { layout, known: LAYOUT });
        }
        read(reader).ok_or(NotContinued::Damaged)
    }
}

fn read(mut reader: Reader<'_>) -> Option<Parts<'_>> {
    let said = Digest { bytes: u64::from_be_bytes(reader.array()?), sha256: reader.array()? };
    let heard = reader.bytes()?;
    Some(Parts { said, heard, tape: Tape::restore(reader)? })
}
