//! How a connection came to its end, as its service is told.

use std::io;

use super::violation::Violation;

/// How a connection came to its end.
#[derive(Debug)]
#[non_exhaustive]
pub enum Closed {
    /// The service closed it, or both directions have ended, and all that was to be written is written.
    Ended,
    /// The connection failed: the client reset it, for instance, or its host has vanished.
    Lost(io::Error),
    /// It was closed when its [deadline](crate::Context::set_deadline) was reached.
    Deadline,
    /// What the service was to connect to could not be reached, within the time that it had given. It may try another.
    Unreachable(io::Error),
    /// The client broke the protocol.
    Violation(Violation),
    /// It is open, and goes on in another process, to which it was [given](crate::Context::give_away) or moved.
    Moved,
}

impl std::fmt::Display for Closed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ended => f.write_str("it has ended"),
            Self::Lost(error) => write!(f, "lost: {error}"),
            Self::Deadline => f.write_str("its deadline was reached"),
            Self::Unreachable(error) => write!(f, "unreachable: {error}"),
            Self::Violation(violation) => write!(f, "it broke the protocol: {violation}"),
            Self::Moved => f.write_str("it goes on in another process"),
        }
    }
}
