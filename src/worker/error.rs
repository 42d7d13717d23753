//! Why there is no queue to draw from, and why one has ended.

use std::fmt;
use std::io;
use std::os::fd::RawFd;

use reactord_process::words::SOCKET_VARIABLE;
use rustix::io::Errno;

/// Why there is no queue to draw from.
#[derive(Debug)]
#[non_exhaustive]
pub enum InheritError {
    /// `REACTORD_QUEUE` is not in the environment.
    NotStartedBySupervisor,
    /// `REACTORD_QUEUE` is no number of a descriptor.
    NoNumber {
        /// What it is.
        value: String,
    },
    /// The queue has been inherited already: a process has one.
    Again,
    /// The descriptor is not the worker's end of a queue.
    WrongKind {
        /// Its number.
        number: RawFd,
        /// What it is.
        what: &'static str,
    },
    /// A system call failed.
    Io {
        /// The descriptor's number.
        number: RawFd,
        /// How it failed.
        error: io::Error,
    },
}

impl fmt::Display for InheritError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotStartedBySupervisor => write!(
                f,
                "{SOCKET_VARIABLE} is not in the environment: a worker is started by reactord supervise -- COMMAND"
            ),
            Self::NoNumber { value } => {
                write!(f, "{SOCKET_VARIABLE} is {value:?}, the number of a descriptor is expected")
            }
            Self::Again => write!(f, "the queue of {SOCKET_VARIABLE} was inherited before"),
            Self::WrongKind { number, what } => {
                write!(f, "descriptor {number} of {SOCKET_VARIABLE} is {what}, a Unix socket of packets is expected")
            }
            Self::Io { number, error } => write!(f, "descriptor {number} of {SOCKET_VARIABLE}: {error}"),
        }
    }
}

impl std::error::Error for InheritError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { error, .. } => Some(error),
            _ => None,
        }
    }
}

/// Why no connection can come any more, though the supervisor has not said so. What was offered and not acknowledged
/// goes to another worker.
#[derive(Debug)]
#[non_exhaustive]
pub enum QueueError {
    /// The supervisor said something that this version does not understand.
    Malformed {
        /// What it said, in quotes.
        packet: String,
    },
    /// A connection came with so many descriptors instead of one.
    Descriptors {
        /// How many arrived.
        arrived: usize,
    },
    /// A connection's descriptor was lost on the way: this process has reached its limit of open files.
    DescriptorLost,
    /// A system call failed.
    Io(io::Error),
}

impl fmt::Display for QueueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the supervisor's queue: ")?;
        match self {
            Self::Malformed { packet } => f.write_str(packet),
            Self::Descriptors { arrived } => write!(f, "a connection came with {arrived} descriptors, 1 is expected"),
            Self::DescriptorLost => f.write_str("a descriptor was lost: the limit of open files is reached"),
            Self::Io(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for QueueError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            _ => None,
        }
    }
}

impl From<Errno> for QueueError {
    fn from(errno: Errno) -> Self {
        Self::Io(errno.into())
    }
}
