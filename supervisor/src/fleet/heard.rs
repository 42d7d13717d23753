//! What comes of what a worker says, and what it must not say.

use std::collections::BTreeSet;
use std::fmt;

use reactord_process::words::{ConnectionId, FromWorker, VERSION, VERSION_WITHOUT_STATES};

use super::queue::KNOWN_MAX;

/// What becomes of a connection by what a worker says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// Nothing.
    Noted,
    /// It is the worker's.
    Took(ConnectionId),
    /// It has ended.
    Ended(ConnectionId),
    /// The standby of the worker serves on, and has these no more of those that the process before it had.
    Survived(BTreeSet<ConnectionId>),
    /// It is nobody's: it is to be [put back](super::Fleet::put_back), or to be [kept](super::Fleet::keep).
    GaveBack(ConnectionId),
}

/// What a worker must not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Breach {
    Version(u32),
    ReadyTwice,
    NotReady,
    NotSent(ConnectionId),
    NotHeld(ConnectionId),
    NotAsked(FromWorker),
    /// It says what only the standby of a worker says, and there is none.
    NoStandby(FromWorker),
    HasTooMany,
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(version) => write!(
                f,
                "it speaks version {version} of the queue, {VERSION_WITHOUT_STATES} to {VERSION} are spoken here"
            ),
            Self::ReadyTwice => write!(f, "it said twice that it is ready"),
            Self::NotReady => write!(f, "it spoke before it was ready"),
            Self::NotSent(id) => write!(f, "connection {id} is not under way to it"),
            Self::NotHeld(id) => write!(f, "it does not have connection {id}"),
            Self::NoStandby(said) => write!(f, "it says \"{said}\", and has no standby that could serve on"),
            Self::HasTooMany => write!(f, "its standby says of more than {KNOWN_MAX} connections that it has them"),
            Self::NotAsked(said) => write!(f, "it says \"{said}\", and was not asked"),
        }
    }
}
