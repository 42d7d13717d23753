//! Everything that can happen.

use std::fmt;

use super::state::{Frame, GIVER, Peers};
use crate::channel::{Pid, Received, Sent, Side};

/// Everything that can happen. What a channel answers is part of the action, so that a path reads like a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
#[non_exhaustive]
pub enum Action {
    // What befalls a process.
    Kill {
        pid: Pid,
    },
    Stop {
        pid: Pid,
    },
    Continue {
        pid: Pid,
    },
    /// Any call but those on the channel fails.
    Fail {
        pid: Pid,
        side: Side,
    },
    /// The taker says what it has not been asked for, and goes on as if it had not.
    SayUnasked {
        pid: Pid,
        frame: Frame,
    },
    /// A client sends a byte.
    ClientSends {
        pid: Pid,
        peer: usize,
    },
    /// The service joins the pair.
    Join {
        pid: Pid,
    },
    /// Somebody calls to take over.
    AskForTakeover {
        pid: Pid,
    },
    /// The process calls the other one, to wait for peers.
    Wait {
        pid: Pid,
    },
    /// The process is told to give these: by a service, or by an operator.
    Give {
        pid: Pid,
        wanted: Peers,
    },
    // What a process does.
    /// It reads from a peer and answers.
    Act {
        pid: Pid,
        peer: usize,
    },
    Send {
        pid: Pid,
        side: Side,
        frame: Frame,
        sent: Sent,
    },
    Receive {
        pid: Pid,
        side: Side,
        received: Received<Frame>,
    },
    /// A deadline ends a wait.
    Deadline {
        pid: Pid,
        side: Side,
    },
    Shutdown {
        pid: Pid,
    },
    Thaw {
        pid: Pid,
    },
    /// The giver has nothing more to give, and closes the channel.
    End {
        pid: Pid,
    },
    /// The successor takes over.
    TakenOver {
        pid: Pid,
    },
}

impl Action {
    pub(crate) fn pid(self) -> Pid {
        match self {
            Self::Kill { pid }
            | Self::Stop { pid }
            | Self::Continue { pid }
            | Self::Fail { pid, .. }
            | Self::SayUnasked { pid, .. }
            | Self::ClientSends { pid, .. }
            | Self::Join { pid }
            | Self::AskForTakeover { pid }
            | Self::Wait { pid }
            | Self::Give { pid, .. }
            | Self::Act { pid, .. }
            | Self::Send { pid, .. }
            | Self::Receive { pid, .. }
            | Self::Deadline { pid, .. }
            | Self::Shutdown { pid }
            | Self::Thaw { pid }
            | Self::End { pid }
            | Self::TakenOver { pid } => pid,
        }
    }

    /// Whether a process that runs does this sooner or later if nothing befalls it.
    pub fn is_due(self) -> bool {
        matches!(
            self,
            Self::Act { .. }
                | Self::Send { .. }
                | Self::Receive { .. }
                | Self::Deadline { .. }
                | Self::Shutdown { .. }
                | Self::Thaw { .. }
                | Self::End { .. }
                | Self::TakenOver { .. }
        )
    }

    /// Whether it ends a wait for no other reason than that it was long.
    pub fn is_deadline(self) -> bool {
        matches!(self, Self::Deadline { .. })
    }

    /// Whether it is anything that may make a batch fail.
    pub(crate) fn disturbs(self) -> bool {
        matches!(
            self,
            Self::Kill { .. } | Self::Stop { .. } | Self::Fail { .. } | Self::SayUnasked { .. } | Self::Deadline { .. }
        )
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let role = |side: &Side| if *side == GIVER { "as the giver" } else { "as the taker" };
        write!(f, "process {} ", self.pid())?;
        match self {
            Self::Kill { .. } => write!(f, "is killed"),
            Self::Stop { .. } => write!(f, "is stopped"),
            Self::Continue { .. } => write!(f, "is continued"),
            Self::Fail { side, .. } => write!(f, "fails {}", role(side)),
            Self::SayUnasked { frame, .. } => write!(f, "sends {frame:?} unasked"),
            Self::ClientSends { peer, .. } => write!(f, "has a peer, {peer}, whose client sends a byte"),
            Self::Join { .. } => write!(f, "joins the pair"),
            Self::AskForTakeover { .. } => write!(f, "is called by a successor"),
            Self::Wait { .. } => write!(f, "calls, and waits to be given peers"),
            Self::Give { wanted, .. } => write!(f, "is told to give {wanted:?}"),
            Self::Act { peer, .. } => write!(f, "reads from peer {peer} and answers it"),
            Self::Send { side, frame, sent: Sent::Taken, .. } => write!(f, "sends {frame:?} {}", role(side)),
            Self::Send { side, frame, sent: Sent::Closed, .. } => write!(f, "sends {frame:?} {}: EPIPE", role(side)),
            Self::Receive { side, received: Received::Frame(frame), .. } => {
                write!(f, "receives {frame:?} {}", role(side))
            }
            Self::Receive { side, received: Received::Closed, .. } => {
                write!(f, "receives the end of the channel {}", role(side))
            }
            Self::Receive { received: Received::NotYet, .. } => write!(f, "finds nothing in the channel"),
            Self::Deadline { side, .. } => write!(f, "has waited too long {}", role(side)),
            Self::Shutdown { .. } => write!(f, "calls shutdown on the channel"),
            Self::Thaw { .. } => write!(f, "closes the channel, thaws"),
            Self::End { .. } => write!(f, "has given all, and closes the channel"),
            Self::TakenOver { .. } => write!(f, "is taken over from"),
        }
    }
}
