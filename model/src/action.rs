//! Everything that can happen.

use std::fmt;

use crate::channel::{Frame, Pid, Received, Sent};

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
    /// The client sends, and the process reads and answers.
    Act {
        pid: Pid,
    },
    // What a process does.
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
            | Self::Act { pid }
            | Self::Send { pid, .. }
            | Self::Receive { pid, .. }
            | Self::Deadline { pid, .. }
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
                | Self::Act { .. }
                | Self::RefuseCaller { .. }
        )
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
            Self::Act { .. } => write!(f, "reads from the peer and answers it"),
            Self::Send { frame, sent: Sent::Taken, .. } => write!(f, "sends {frame:?}"),
            Self::Send { frame, sent: Sent::Closed, .. } => write!(f, "sends {frame:?}: EPIPE"),
            Self::Receive { received: Received::Frame(frame), .. } => write!(f, "receives {frame:?}"),
            Self::Receive { received: Received::Closed, .. } => write!(f, "receives the end of the channel"),
            Self::Receive { received: Received::NotYet, .. } => write!(f, "finds nothing in the channel"),
            Self::Deadline { .. } => write!(f, "has waited too long"),
            Self::Answer { caller, .. } => write!(f, "lets in process {caller}"),
            Self::RefuseCaller { caller, .. } => write!(f, "receives Hello, and refuses process {caller}"),
            Self::Shutdown { .. } => write!(f, "calls shutdown on the channel"),
            Self::Thaw { .. } => write!(f, "closes the channel, thaws"),
            Self::FirstPoll { .. } => write!(f, "polls for the first time"),
        }
    }
}
