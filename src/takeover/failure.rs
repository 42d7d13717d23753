//! Why a takeover failed, as the predecessor sees it.

use std::fmt;

use reactord_process::channel::{Channel, ChannelError};
use reactord_process::frame::{Refuse, printable};

use super::freeze::Overdue;
use super::panicked::Panicked;
use super::predecessor::Mistake;
use super::wire::Frame;

/// Why a takeover failed. The predecessor owns the peers, and serves on.
#[derive(Debug)]
pub(crate) enum Failure {
    Channel(ChannelError),
    Successor(Mistake),
    /// The freeze took too long.
    Overdue(Overdue),
    /// The service did, while it was saved.
    Panicked(Panicked),
    /// The successor was started for an upgrade that has taken too long.
    GivenUp,
}

impl Failure {
    /// The failure as the successor hears it.
    pub(crate) fn frame(&self) -> Vec<u8> {
        Frame::Refuse(Refuse::because(self)).encode()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Channel(error) => error.fmt(f),
            Self::Successor(mistake) => mistake.fmt(f),
            Self::Overdue(overdue) => overdue.fmt(f),
            Self::Panicked(panicked) => panicked.fmt(f),
            Self::GivenUp => f.write_str("the upgrade has taken too long, and was given up"),
        }
    }
}

impl<E: Into<ChannelError>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Channel(error.into())
    }
}

impl From<Panicked> for Failure {
    fn from(panicked: Panicked) -> Self {
        Self::Panicked(panicked)
    }
}

impl From<Mistake> for Failure {
    fn from(mistake: Mistake) -> Self {
        Self::Successor(mistake)
    }
}

/// Why a successor gave up that takes no more: it may have said so before it closed the channel.
pub(crate) fn last_word(channel: &mut Channel) -> Option<Failure> {
    while let Ok(Some(raw)) = channel.receive() {
        if let Ok(Frame::Refuse(refuse)) = raw.decode() {
            return Some(Mistake::GaveUp { reason: printable(&refuse.reason) }.into());
        }
    }
    None
}
