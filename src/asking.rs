//! What a process that serves nobody asks of a server on its takeover path.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::status::Status;
use crate::takeover::channel::{Channel, ChannelError, Deadline};
use crate::takeover::path::{Call, call};
use crate::takeover::wire::{self, Frame, RawFrame, WireError, printable};

/// How long a server may take to hear a request, and to answer what it knows.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why a server has not answered.
#[derive(Debug)]
pub struct AskError {
    path: PathBuf,
    cause: Cause,
}

#[derive(Debug)]
pub(crate) enum Cause {
    Io(std::io::Error),
    Channel(ChannelError),
    Refused(String),
    OutOfTurn(wire::Kind),
}

impl fmt::Display for AskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the server on {}: ", self.path.display())?;
        match &self.cause {
            Cause::Io(error) if error.kind() == std::io::ErrorKind::NotFound => f.write_str("there is no such path"),
            Cause::Io(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => f.write_str("nobody answers"),
            Cause::Io(error) => error.fmt(f),
            Cause::Channel(error) => error.fmt(f),
            Cause::Refused(reason) => write!(f, "refused: {reason}"),
            Cause::OutOfTurn(kind) => write!(f, "it answered with {kind:?}"),
        }
    }
}

impl std::error::Error for AskError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        // What a cause wraps is what it displays, so the source is what that one has; a system call's error is one.
        match &self.cause {
            Cause::Io(error) => Some(error),
            Cause::Channel(error) => error.source(),
            Cause::Refused(_) | Cause::OutOfTurn(_) => None,
        }
    }
}

impl AskError {
    /// What has become of asking the server on this path.
    pub(crate) fn at(path: &Path) -> impl FnOnce(Cause) -> Self {
        move |cause| Self { path: path.to_owned(), cause }
    }
}

impl From<ChannelError> for Cause {
    fn from(error: ChannelError) -> Self {
        Self::Channel(error)
    }
}

impl From<WireError> for Cause {
    fn from(error: WireError) -> Self {
        Self::Channel(error.into())
    }
}

impl Cause {
    /// The server has answered with something else than what was asked for.
    pub(crate) fn of_answer(frame: Frame<'_>) -> Self {
        match frame {
            Frame::Refuse(refuse) => Self::Refused(printable(&refuse.reason)),
            frame => Self::OutOfTurn(frame.kind()),
        }
    }
}

/// Asks the server on `path`, and waits so long for its answer.
pub(crate) fn exchange(path: &Path, request: &Frame<'_>, patience: Duration) -> Result<RawFrame, Cause> {
    let Call { socket, .. } = call(path).map_err(Cause::Io)?;
    let mut channel = Channel::of_successor(socket)?;
    channel.send_by(&request.encode(), &[], Deadline::after(PATIENCE))?;
    Ok(channel.receive_by(Deadline::after(patience))?)
}

impl Status {
    /// How the server stands that answers on the takeover path `path`.
    ///
    /// # Errors
    /// If nobody answers there who may be asked, or not within ten seconds.
    pub fn of(path: &Path) -> Result<Self, AskError> {
        let ask = || match exchange(path, &Frame::AskStatus, PATIENCE)?.decode()? {
            Frame::Status(status) => Ok(status),
            frame => Err(Cause::of_answer(frame)),
        };
        ask().map_err(AskError::at(path))
    }
}
