//! Why a load or a soak has no figures.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use crate::address::bracketed;

/// Why there are no figures.
#[derive(Debug)]
pub(crate) enum Error {
    /// The hard limit on open files is too low.
    TooManyConnections { connections: usize, needed: usize, limit: u64 },
    /// A connection could not be opened, after `open` of `total` others.
    Connect { server: SocketAddr, open: usize, total: usize, source: io::Error },
    /// A signal came while the connections were being opened.
    Stopped { open: usize, total: usize },
    /// Something is wrong with what TLS is to be spoken with.
    Tls(String),
    /// The server of a soak cannot be started, or does not serve.
    Server(String),
    /// The kernel denied something that no load can do without.
    System(io::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooManyConnections { connections, needed, limit } => write!(
                formatter,
                "{connections} connections need {needed} open files, and this process may open {limit} (ulimit -Hn): \
                 {} would do",
                limit.saturating_sub((needed - connections) as u64)
            ),
            Self::Connect { server, open, total, source } => {
                write!(formatter, "cannot connect to {}: {source}", bracketed(*server))?;
                if *total > 1 { write!(formatter, " ({open} of {total} connections were open)") } else { Ok(()) }
            }
            Self::Stopped { open, total } => {
                write!(formatter, "stopped while connecting: {open} of {total} connections were open")
            }
            Self::Tls(reason) | Self::Server(reason) => formatter.write_str(reason),
            Self::System(source) => write!(formatter, "the event loop cannot go on: {source}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Connect { source, .. } | Self::System(source) => Some(source),
            Self::TooManyConnections { .. } | Self::Stopped { .. } | Self::Tls(_) | Self::Server(_) => None,
        }
    }
}

impl From<io::Error> for Error {
    fn from(source: io::Error) -> Self {
        Self::System(source)
    }
}
