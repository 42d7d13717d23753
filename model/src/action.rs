//! Everything that can happen.

use std::fmt;

use crate::channel::{Frame, Pid, Received, Sent, Slip};

/// Everything that can happen. What a channel answers is part of the action, so that a path reads like a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
#[non_exhaustive]
pub enum Action {
    // What befalls a process.
    Start {
        pid: Pid,
    },
    Kill {
        pid: Pid,
    },
    Stop {
        pid: Pid,
    },
    Continue {
        pid: Pid,
    },
    /// SIGTERM.
    Terminate {
        pid: Pid,
    },
    /// Any call but those on the channel fails.
    Fail {
        pid: Pid,
    },
    /// A mistake of the predecessor befalls the change that it has sent last.
    Slip {
        pid: Pid,
        to: Pid,
        slip: Slip,
    },
    /// The successor says Accept although it has not been asked to, and goes on as if it had not.
    AcceptUnasked {
        pid: Pid,
    },
    /// The client sends, and the process reads and answers.
    Act {
        pid: Pid,
    },
    /// What the peer's server waits for comes.
    Come {
        pid: Pid,
    },
    // What a process does.
    /// The process learns of that, and tells the service.
    Learn {
        pid: Pid,
    },
    Send {
        pid: Pid,
        frame: Frame,
        sent: Sent,
    },
    Receive {
        pid: Pid,
        from: Pid,
        received: Received,
    },
    /// A deadline ends a wait.
    Deadline {
        pid: Pid,
        with: Pid,
    },
    /// Ready is received, and too much is pending to freeze.
    AnotherRound {
        pid: Pid,
    },
    /// Nobody has taken over from a server that was told to stop, and it waits no longer.
    Drain {
        pid: Pid,
    },
    /// A call on the takeover path is let in.
    Answer {
        pid: Pid,
        caller: Pid,
    },
    /// Hello is heard, and refused.
    RefuseCaller {
        pid: Pid,
        caller: Pid,
    },
    Shutdown {
        pid: Pid,
    },
    Thaw {
        pid: Pid,
    },
    FirstPoll {
        pid: Pid,
    },
}

impl Action {
    pub(crate) fn pid(self) -> Pid {
        match self {
            Self::Start { pid }
            | Self::Kill { pid }
            | Self::Stop { pid }
            | Self::Continue { pid }
            | Self::Terminate { pid }
            | Self::Fail { pid }
            | Self::Slip { pid, .. }
            | Self::AcceptUnasked { pid }
            | Self::Act { pid }
            | Self::Come { pid }
            | Self::Learn { pid }
            | Self::Send { pid, .. }
            | Self::Receive { pid, .. }
            | Self::Deadline { pid, .. }
            | Self::AnotherRound { pid }
            | Self::Drain { pid }
            | Self::Answer { pid, .. }
            | Self::RefuseCaller { pid, .. }
            | Self::Shutdown { pid }
            | Self::Thaw { pid }
            | Self::FirstPoll { pid } => pid,
        }
    }

    /// Whether a process that runs does this sooner or later if nothing befalls it.
    pub fn is_due(self) -> bool {
        !matches!(
            self,
            Self::Start { .. }
                | Self::Kill { .. }
                | Self::Stop { .. }
                | Self::Continue { .. }
                | Self::Terminate { .. }
                | Self::Fail { .. }
                | Self::Slip { .. }
                | Self::AcceptUnasked { .. }
                | Self::Act { .. }
                | Self::Come { .. }
                | Self::RefuseCaller { .. }
        )
    }

    /// Whether it ends a wait for no other reason than that it was long.
    pub fn is_deadline(self) -> bool {
        matches!(self, Self::Deadline { .. } | Self::Drain { .. })
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} ", self.pid())?;
        match self {
            Self::Start { .. } => write!(f, "is started, and calls on the takeover path"),
            Self::Kill { .. } => write!(f, "is killed"),
            Self::Stop { .. } => write!(f, "is stopped"),
            Self::Continue { .. } => write!(f, "is continued"),
            Self::Terminate { .. } => write!(f, "gets SIGTERM"),
            Self::Fail { .. } => write!(f, "fails at what it is doing"),
            Self::Slip { to, slip, .. } => write!(f, "has its last change to process {to} {slip:?}"),
            Self::AcceptUnasked { .. } => write!(f, "sends Accept unasked"),
            Self::Act { .. } => write!(f, "reads from the peer and answers it"),
            Self::Come { .. } => write!(f, "has a peer whose connect ends, or whose deadline is reached"),
            Self::Learn { .. } => write!(f, "learns of that, and tells the service"),
            Self::Send { frame, sent: Sent::Taken, .. } => write!(f, "sends {frame:?}"),
            Self::Send { frame, sent: Sent::Closed, .. } => write!(f, "sends {frame:?}: EPIPE"),
            Self::Receive { received: Received::Frame(frame), .. } => write!(f, "receives {frame:?}"),
            Self::Receive { received: Received::Closed, .. } => write!(f, "receives the end of the channel"),
            Self::Receive { received: Received::NotYet, .. } => write!(f, "finds nothing in the channel"),
            Self::Deadline { .. } => write!(f, "has waited too long"),
            Self::AnotherRound { .. } => write!(f, "receives Ready, and begins another round"),
            Self::Drain { .. } => write!(f, "waits for no successor any longer, and stops"),
            Self::Answer { caller, .. } => write!(f, "lets in process {caller}"),
            Self::RefuseCaller { caller, .. } => write!(f, "receives Hello, and refuses process {caller}"),
            Self::Shutdown { .. } => write!(f, "calls shutdown on the channel"),
            Self::Thaw { .. } => write!(f, "closes the channel, thaws"),
            Self::FirstPoll { .. } => write!(f, "polls for the first time"),
        }
    }
}
