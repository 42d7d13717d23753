//! Why a supervisor could not begin, or could not go on.

use std::fmt;
use std::io;

use reactord_process::accept::ListenError;
use reactord_process::path::PathError;

use crate::asked::why;

#[derive(Debug)]
pub(crate) enum Error {
    /// It could not listen.
    Listen(ListenError),
    /// It could not be asked on the path that was chosen.
    Path(PathError),
    /// The command cannot be run.
    Command(String),
    /// What an earlier binary left is not understood.
    State(String),
    /// The loop itself could not go on.
    Loop {
        /// What was being done.
        what: &'static str,
        /// How it failed.
        error: io::Error,
    },
}

impl Error {
    /// What turns the failure of a call into the reason why the loop cannot go on.
    pub(crate) fn while_doing(what: &'static str) -> impl Fn(io::Error) -> Self {
        move |error| Self::Loop { what, error }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listen(error) => error.fmt(f),
            Self::Path(error) => write!(f, "{}; choose another path with -t", why(error)),
            Self::Command(error) => f.write_str(error),
            Self::State(error) => write!(f, "the state of the supervisor: {error}"),
            Self::Loop { what, error } => write!(f, "{what}: {error}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Listen(error) => Some(error),
            Self::Path(error) => Some(error),
            Self::Loop { error, .. } => Some(error),
            Self::Command(_) | Self::State(_) => None,
        }
    }
}
