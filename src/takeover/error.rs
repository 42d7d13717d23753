//! Why a takeover failed, as the successor sees it.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;
use reactord_process::channel::{Channel, ChannelError};
use reactord_process::frame::{Refuse, WireError};
use reactord_process::path::PathError;
use reactord_process::requests::version_of;

use super::panicked::Panicked;
use super::successor::Objection;
use super::user::UserError;
use super::wire::{Frame, Process};
use crate::build_id::BUILD;
use crate::lane::AdoptError;
use crate::listen::ListenError;
use crate::peer::Address;
use crate::service::RestoreError;

/// Why a takeover failed before the commit point: no peer was touched, and a predecessor that lives serves on.
#[derive(Debug)]
pub struct TakeoverError {
    pub(crate) path: Box<Path>,
    pub(crate) predecessor: Who,
    pub(crate) cause: Cause,
}

/// The predecessor, as far as it is known.
#[derive(Debug)]
pub(crate) enum Who {
    /// Nobody has answered.
    Nobody,
    /// This process has.
    Pid(u32),
    /// It has said who it is.
    Known(Box<Process>),
}

#[derive(Debug)]
pub(crate) enum Cause {
    Connect(io::Error),
    Channel(ChannelError),
    Objection(Objection),
    Path(PathError),
    Cookie {
        record: u64,
        socket: u64,
    },
    Listener {
        what: &'static str,
    },
    Listen(ListenError),
    DescriptorsLeft {
        count: usize,
    },
    Adopt {
        address: Address,
        error: AdoptError,
    },
    /// Somebody who waits for a TLS handshake cannot be adopted.
    Handshake {
        why: String,
    },
    State(RestoreError),
    /// The service did, while its shared state or a peer's session was restored.
    Panicked {
        address: Option<Address>,
        panicked: Panicked,
    },
    /// This process is not the user that its predecessor is.
    User(UserError),
    Signal(Signal),
    /// Another thread has asked for that.
    Stopped,
    TooLate,
    /// The predecessor has died, and its standby owns the peers.
    ServedOn,
    /// The predecessor ended the takeover after the freeze, and no reason came through.
    Ended {
        since_ready: Duration,
    },
    Io {
        what: &'static str,
        error: io::Error,
    },
}

impl TakeoverError {
    /// Whether there is no predecessor, or none any more.
    #[must_use]
    pub fn nobody_answers(&self) -> bool {
        match &self.cause {
            Cause::Connect(error) => matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused),
            Cause::Channel(ChannelError::Closed) => true,
            _ => false,
        }
    }
}

impl fmt::Display for TakeoverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, predecessor, cause } = self;
        let path = path.display();
        let here = format!("pid {} ({})", std::process::id(), version_of(BUILD));
        match predecessor {
            Who::Nobody => write!(f, "takeover on {path} by {here}: {cause}"),
            Who::Pid(pid) => write!(f, "takeover from pid {pid} on {path} by {here}: {cause}"),
            Who::Known(known) => {
                let Process { build, pid, generation } = &**known;
                let version = version_of(build);
                write!(f, "takeover from pid {pid} ({version}, generation {generation}) on {path} by {here}: {cause}")
            }
        }
    }
}

impl Cause {
    /// Tells the predecessor, unless it has said so itself, and leaves.
    pub(crate) fn tell(&self, channel: Channel) {
        if !matches!(self, Self::Objection(Objection::Refused { .. })) {
            channel.close_with(&self.frame());
        }
    }

    /// The cause as the predecessor hears it.
    pub(crate) fn frame(&self) -> Vec<u8> {
        Frame::Refuse(Refuse::because(self)).encode()
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(error) if error.kind() == io::ErrorKind::NotFound => write!(f, "there is no such path"),
            Self::Connect(error) if error.kind() == io::ErrorKind::ConnectionRefused => write!(f, "nobody answers"),
            Self::Connect(error) => write!(f, "connect: {error}"),
            Self::Channel(error) => error.fmt(f),
            Self::Objection(objection) => objection.fmt(f),
            Self::Path(error) => error.fmt(f),
            Self::Cookie { record, socket } => {
                write!(f, "the record with cookie {record} came with the socket that has cookie {socket}")
            }
            Self::Listener { what } => write!(f, "the descriptor of {what} is something else"),
            Self::Listen(error) => error.fmt(f),
            Self::DescriptorsLeft { count } => write!(f, "{count} descriptors came that no frame speaks of"),
            Self::Adopt { address, error } => write!(f, "peer {address}: {error}"),
            Self::Handshake { why } => write!(f, "a TLS handshake: {why}"),
            Self::State(error) => write!(f, "the shared state: {error}"),
            Self::Panicked { address: Some(address), panicked } => write!(f, "peer {address}: {panicked}"),
            Self::Panicked { address: None, panicked } => write!(f, "the shared state: {panicked}"),
            Self::User(error) => error.fmt(f),
            Self::Signal(signal) => write!(f, "{signal} came before the peers were taken over"),
            Self::Stopped => write!(f, "the server was stopped before the peers were taken over"),
            Self::TooLate => write!(f, "too late: the predecessor has taken up its peers again"),
            Self::ServedOn => write!(f, "too late: the predecessor is dead, and its standby serves on"),
            Self::Ended { since_ready } => write!(
                f,
                "the predecessor ended the takeover, {} ms after this process was ready: its log has the reason, which may be \
                 its freeze timeout (--freeze-timeout, Config::freeze_timeout)",
                since_ready.as_millis()
            ),
            Self::Io { what, error } => write!(f, "{what}: {error}"),
        }
    }
}

impl Error for TakeoverError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        // What a cause wraps is what it displays, so the source is what that one has; a system call's error is one.
        match &self.cause {
            Cause::Connect(error) | Cause::Io { error, .. } => Some(error),
            Cause::Channel(error) => error.source(),
            Cause::Path(error) => error.source(),
            Cause::Listen(error) => error.source(),
            _ => None,
        }
    }
}

impl From<Objection> for Cause {
    fn from(objection: Objection) -> Self {
        Self::Objection(objection)
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

impl From<PathError> for Cause {
    fn from(error: PathError) -> Self {
        Self::Path(error)
    }
}

/// What was being done when a system call failed.
pub(crate) fn in_context(what: &'static str) -> impl FnOnce(io::Error) -> Cause {
    move |error| Cause::Io { what, error }
}
