//! What a process that serves nobody asks of one that answers on a path.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::channel::{Channel, ChannelError, Deadline};
use crate::frame::{REFUSE, RawFrame, Refuse, WireError, printable};
use crate::path::{Call, call};

/// How long a process may take to hear a request, and to answer what it knows.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Why a server has not answered.
#[derive(Debug)]
pub struct AskError {
    path: PathBuf,
    cause: Cause,
}

/// What has become of asking.
#[derive(Debug)]
pub enum Cause {
    /// Nobody could be reached.
    Io(std::io::Error),
    /// It has not answered.
    Channel(ChannelError),
    /// It has refused, and says why.
    Refused(String),
    /// It has answered with something else: a frame that is called so.
    OutOfTurn(String),
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
            Cause::OutOfTurn(kind) => write!(f, "it answered with {kind}"),
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
    pub fn at(path: &Path) -> impl FnOnce(Cause) -> Self {
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

/// Asks who answers on `path` with this frame, and waits so long for its answer, which is no refusal.
///
/// # Errors
/// If nobody answers there who may be asked, or not in time, or if it refuses.
pub fn exchange(path: &Path, request: &[u8], patience: Duration) -> Result<RawFrame, Cause> {
    Conversation::begin(path, request)?.next(patience)
}

/// What is asked on a path, and answered in any number of frames.
#[derive(Debug)]
pub struct Conversation {
    channel: Channel,
    pid: u32,
}

impl Conversation {
    /// Asks who answers on `path` with this frame.
    ///
    /// # Errors
    /// If nobody answers there who may be asked, or does not listen.
    pub fn begin(path: &Path, request: &[u8]) -> Result<Self, Cause> {
        let Call { socket, pid } = call(path).map_err(Cause::Io)?;
        let mut channel = Channel::of_successor(socket)?;
        channel.send_by(request, &[], Deadline::after(PATIENCE))?;
        Ok(Self { channel, pid })
    }

    /// The process id of whoever answers, as this process sees it: 0 if it is in another PID namespace that is not below
    /// this one's.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Waits so long for what is said next, which is no refusal.
    ///
    /// # Errors
    /// If it is one, or if nothing comes.
    pub fn next(&mut self, patience: Duration) -> Result<RawFrame, Cause> {
        let answer = self.channel.receive_by(Deadline::after(patience))?;
        if answer.kind() == REFUSE {
            return Err(Cause::Refused(printable(&answer.decode::<Refuse>()?.reason)));
        }
        Ok(answer)
    }
}
