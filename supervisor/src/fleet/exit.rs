//! How a worker came to its end.

use std::fmt;

use nix::sys::signal::Signal;

/// How a process ended, or what comes to the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    Code(i32),
    Signal(Signal),
    /// It never ran.
    NotStarted(String),
    /// It runs, but takes no connection any more: its queue has ended.
    QueueEnded(String),
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exited with code {code}"),
            Self::Signal(signal) => write!(f, "was killed by {signal}"),
            Self::NotStarted(error) => write!(f, "could not be started: {error}"),
            Self::QueueEnded(reason) => write!(f, "ended its queue: {reason}"),
        }
    }
}
