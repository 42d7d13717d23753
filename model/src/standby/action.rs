//! Everything that can happen.

use std::fmt;

use crate::channel::Pid;

/// Everything that can happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
#[non_exhaustive]
pub enum Action {
    // What befalls a process, or is asked of it.
    Kill {
        pid: Pid,
    },
    Stop {
        pid: Pid,
    },
    Continue {
        pid: Pid,
    },
    /// The channel between a standby and its active ends, though both live.
    Break {
        pid: Pid,
    },
    /// A client says a message: one that kills whoever handles it, perhaps.
    Say {
        client: usize,
        poisonous: bool,
    },
    /// Somebody calls to take over.
    TakeOver {
        pid: Pid,
        successor: Pid,
    },
    /// The server is told to stop.
    Terminate {
        pid: Pid,
    },
    // What an active does.
    /// Somebody follows, and has copied everything once.
    Follow {
        pid: Pid,
        standby: Pid,
    },
    BeginRead {
        pid: Pid,
        peer: usize,
    },
    Read {
        pid: Pid,
        peer: usize,
        count: u8,
    },
    Handle {
        pid: Pid,
        peer: usize,
    },
    Commit {
        pid: Pid,
    },
    EmptyIntake {
        pid: Pid,
    },
    Write {
        pid: Pid,
        peer: usize,
        count: u8,
    },
    TakeUpAside {
        pid: Pid,
        peer: usize,
    },
    Convey {
        pid: Pid,
        count: u8,
    },
    WriteConveyed {
        pid: Pid,
    },
    TakeOff {
        pid: Pid,
    },
    HaveConveyed {
        pid: Pid,
    },
    SendMark {
        pid: Pid,
    },
    HearCopied {
        pid: Pid,
    },
    /// It hears that the channel has ended.
    LoseStandby {
        pid: Pid,
    },
    /// The licence is taken back: it says so, and closes the channel.
    Dismiss {
        pid: Pid,
    },
    /// The licence is claimed: it does not hang, and is to end all the same.
    Yield {
        pid: Pid,
    },
    /// It serves a peer while nobody follows: reads, handles, and writes what is pending.
    Serve {
        pid: Pid,
        peer: usize,
    },
    /// The successor is ready, and is sent the licence: nothing happens to the peers from here on.
    Offer {
        pid: Pid,
    },
    Freeze {
        pid: Pid,
    },
    SendCommit {
        pid: Pid,
    },
    /// The channel to the successor has ended: so does the takeover, if there is no Accept.
    LoseSuccessor {
        pid: Pid,
    },
    ShutDown {
        pid: Pid,
    },
    /// It looks for Accept once more, and there is none.
    Thaw {
        pid: Pid,
    },
    /// There is.
    Retire {
        pid: Pid,
    },
    Exit {
        pid: Pid,
    },
    // Ends of waits.
    /// The standby has said nothing for too long.
    Silence {
        pid: Pid,
    },
    /// What was put aside is handled though nobody follows.
    Patience {
        pid: Pid,
        peer: usize,
    },
    /// The active, whose channel has ended, has not died for too long.
    Alive {
        pid: Pid,
    },
    /// The takeover comes to nothing, if there is no Accept.
    GiveUp {
        pid: Pid,
    },
    // What a successor does.
    /// It finds that it cannot serve, or is told to stop.
    Decline {
        pid: Pid,
    },
    /// It has verified Commit, and takes the licence for itself, if it is to be had.
    PassOn {
        pid: Pid,
    },
    /// Once Accept is in the channel, it owns the peers.
    Accept {
        pid: Pid,
    },
    /// Accept cannot be sent, since the channel has ended. It owns the peers if it has the licence still.
    FindEnd {
        pid: Pid,
    },
    // What a standby does.
    ApplyMark {
        pid: Pid,
    },
    Leave {
        pid: Pid,
    },
    ServeOn {
        pid: Pid,
    },
    /// The active is dead.
    Claim {
        pid: Pid,
    },
    /// The active does not turn its loop: the standby claims the licence.
    FindHung {
        pid: Pid,
    },
    KillHung {
        pid: Pid,
    },
    /// It may not kill it, or it is dead already: the licence is given back.
    Forgo {
        pid: Pid,
    },
}

impl Action {
    /// Whether a process that runs does this sooner or later if nothing befalls it.
    pub fn is_due(self) -> bool {
        !matches!(
            self,
            Self::Kill { .. }
                | Self::Stop { .. }
                | Self::Continue { .. }
                | Self::Break { .. }
                | Self::Say { .. }
                | Self::TakeOver { .. }
                | Self::Terminate { .. }
                | Self::Decline { .. }
                | Self::FindHung { .. }
        )
    }

    /// Whether it ends a wait for no other reason than that it was long.
    pub fn is_deadline(self) -> bool {
        matches!(self, Self::Silence { .. } | Self::Patience { .. } | Self::Alive { .. } | Self::GiveUp { .. })
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill { pid } => write!(f, "process {pid} is killed"),
            Self::Stop { pid } => write!(f, "process {pid} is stopped"),
            Self::Continue { pid } => write!(f, "process {pid} is continued"),
            Self::Break { pid } => write!(f, "the channel of standby {pid} breaks"),
            Self::Say { client, poisonous: false } => write!(f, "client {client} says something"),
            Self::Say { client, poisonous: true } => write!(f, "client {client} says what kills whoever handles it"),
            Self::TakeOver { pid, successor } => write!(f, "process {successor} begins to take over from {pid}"),
            Self::Terminate { pid } => write!(f, "process {pid} is told to stop"),
            Self::Follow { pid, standby } => write!(f, "process {standby} follows {pid}"),
            Self::BeginRead { pid, peer } => {
                write!(f, "process {pid} notes in the intake that it reads from peer {peer}")
            }
            Self::Read { pid, peer, count } => write!(f, "process {pid} reads {count} from peer {peer}"),
            Self::Handle { pid, peer } => {
                write!(f, "process {pid} notes how much that was, and handles it (peer {peer})")
            }
            Self::Commit { pid } => write!(f, "process {pid} commits"),
            Self::EmptyIntake { pid } => write!(f, "process {pid} empties the intake"),
            Self::Write { pid, peer, count } => write!(f, "process {pid} writes {count} to peer {peer}"),
            Self::TakeUpAside { pid, peer } => write!(f, "process {pid} handles what was put aside of peer {peer}"),
            Self::Convey { pid, count } => {
                write!(f, "process {pid} notes that it passes on {count}, which it has seen")
            }
            Self::WriteConveyed { pid } => write!(f, "process {pid} writes that to the other peer"),
            Self::TakeOff { pid } => write!(f, "process {pid} takes that off"),
            Self::HaveConveyed { pid } => write!(f, "process {pid} notes that it has passed that on"),
            Self::SendMark { pid } => write!(f, "process {pid} sends the first mark"),
            Self::HearCopied { pid } => write!(f, "process {pid} hears that the mark is applied"),
            Self::LoseStandby { pid } => {
                write!(f, "process {pid} hears the end of the channel, and takes back the licence")
            }
            Self::Dismiss { pid } => write!(f, "process {pid} says its last word, and closes the channel"),
            Self::Serve { pid, peer } => write!(f, "process {pid} serves peer {peer}, and nobody follows"),
            Self::Yield { pid } => write!(f, "process {pid} kills itself, since its licence is claimed"),
            Self::Offer { pid } => write!(f, "process {pid} stops its loop, and sends its successor the licence"),
            Self::Freeze { pid } => write!(f, "process {pid} freezes"),
            Self::SendCommit { pid } => write!(f, "process {pid} sends Commit"),
            Self::LoseSuccessor { pid } => write!(f, "process {pid} finds that its successor is gone"),
            Self::ShutDown { pid } => write!(f, "process {pid} shuts the channel to its successor down"),
            Self::Thaw { pid } => write!(f, "process {pid} finds no Accept, and thaws"),
            Self::Retire { pid } => write!(f, "process {pid} finds Accept, and exits"),
            Self::Decline { pid } => write!(f, "successor {pid} gives up"),
            Self::PassOn { pid } => write!(f, "successor {pid} passes the licence on to itself, if it can"),
            Self::Accept { pid } => write!(f, "process {pid} accepts"),
            Self::FindEnd { pid } => write!(f, "successor {pid} finds the channel ended, and looks at the licence"),
            Self::Exit { pid } => write!(f, "process {pid} exits"),
            Self::Silence { pid } => {
                write!(f, "process {pid} has heard nothing of its standby for too long, and takes back the licence")
            }
            Self::Patience { pid, peer } => {
                write!(f, "process {pid} handles what was put aside of {peer}: nobody follows")
            }
            Self::Alive { pid } => write!(f, "standby {pid} has waited too long for its active to be dead, and leaves"),
            Self::GiveUp { pid } => write!(f, "process {pid} gives its successor up"),
            Self::ApplyMark { pid } => write!(f, "standby {pid} applies the first mark"),
            Self::Leave { pid } => write!(f, "standby {pid} leaves"),
            Self::ServeOn { pid } => write!(f, "standby {pid} serves on"),
            Self::Claim { pid } => write!(f, "standby {pid} claims the licence"),
            Self::FindHung { pid } => write!(f, "standby {pid} finds that its active hangs, and claims the licence"),
            Self::KillHung { pid } => write!(f, "standby {pid} kills its active"),
            Self::Forgo { pid } => write!(f, "standby {pid} cannot kill its active, and gives the licence back"),
        }
    }
}
